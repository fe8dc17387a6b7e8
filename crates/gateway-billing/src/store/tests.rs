use super::*;

#[track_caller]
fn problem(result: Result<(Store, Connection), LedgerError>) -> String {
    match result {
        Ok(_) => panic!("the database was opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_foreign_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE note(text)").unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(problem(Store::open(&StoreOptions::at(&path)).await).contains("another program's data"));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    std::fs::write(&path, "Dear Sir or Madam, this is not a database at all. ".repeat(40)).unwrap();
    assert!(problem(Store::open(&StoreOptions::at(&path)).await).contains("not a SQLite database"));
}

#[tokio::test]
async fn a_database_has_one_owner_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::at(folder.path().join("ledger.db"));
    let first = Store::open(&options).await.unwrap();
    assert!(problem(Store::open(&options).await).contains("another process"));
    drop(first);
    let (store, _writer) = Store::open(&options).await.unwrap();
    let refused = sqlx::query("DELETE FROM plan_version").execute(store.reader()).await.unwrap_err();
    assert!(refused.to_string().contains("readonly"), "{refused}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_is_the_file_it_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("ledger.db"), folder.path().join("link.db"));
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let first = Store::open(&StoreOptions::at(&link)).await.unwrap();
    assert!(problem(Store::open(&StoreOptions::at(&file)).await).contains("another process"));
    drop(first);
    drop(Store::open(&StoreOptions::at(&file)).await.unwrap());
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = problem(Store::open(&StoreOptions::at(folder.path().join("no/such/ledger.db"))).await);
    assert!(text.contains("no/such/ledger.db") && text.contains("permissions"), "{text}");
}

#[test]
fn urls_name_files() {
    assert_eq!(StoreOptions::from_url("sqlite://bellwether.db").unwrap().path, Path::new("bellwether.db"));
    assert_eq!(StoreOptions::from_url("sqlite:///var/lib/b.db?mode=rwc").unwrap().path, Path::new("/var/lib/b.db"));
    assert!(StoreOptions::from_url("postgres://host/db").unwrap_err().to_string().contains("SQLite"));
    assert!(StoreOptions::from_url("sqlite://:memory:").is_err());
}
