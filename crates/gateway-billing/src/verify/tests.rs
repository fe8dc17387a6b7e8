use super::*;

#[test]
fn what_is_no_ledger_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(verify_file(&folder.path().join("none.db")).unwrap_err().to_string().contains("no such file"));
    let path = folder.path().join("other.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE note(text)").unwrap();
    assert!(verify_file(&path).unwrap_err().to_string().contains("not a ledger"));
}
