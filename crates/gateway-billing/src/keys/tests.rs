use gateway_core::SystemClock;
use ring::rand::SystemRandom;

use super::*;

fn ring() -> KeyRing {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, b"a secret for tests");
    KeyRing { secret, records: RwLock::default(), clock: Arc::new(SystemClock) }
}

fn add(ring: &KeyRing, expires_at: Option<i64>) -> Secret {
    let key = make(Mode::Test, &SystemRandom::new()).unwrap();
    let row = KeyRow {
        id: KeyId::from_bytes([7; 16]),
        org: OrgId::from_bytes([1; 16]),
        team: None,
        user: None,
        mode: Mode::Test,
        models: ModelAllowList::All,
        expires_at,
        revoked: false,
    };
    ring.insert(ring.hash(key.expose()), row);
    key
}

#[test]
fn each_wrong_key_is_told_what_is_wrong_with_it() {
    let ring = ring();
    let key = add(&ring, None);
    let text = key.expose();
    let check = |presented: &str, expected: Result<(), KeyRefusal>| {
        assert_eq!(ring.find(presented).map(|_| ()), expected, "{presented}");
    };
    check(text, Ok(()));
    check(&format!("  {text}\r\n"), Ok(()));
    check(&text[..text.len() - 1], Err(KeyRefusal::Mistyped));
    check(&text.replace("hs_test_", "hs_live_"), Err(KeyRefusal::Mistyped));
    check(&format!("{text}x"), Err(KeyRefusal::Mistyped));
    check("hs_test_ключ", Err(KeyRefusal::Mistyped));
    check("sk-proj-0123456789", Err(KeyRefusal::Foreign));
    check("", Err(KeyRefusal::Malformed));
    check("letmein", Err(KeyRefusal::Malformed));
    check(make(Mode::Test, &SystemRandom::new()).unwrap().expose(), Err(KeyRefusal::Unknown));
    check(add(&ring, Some(1)).expose(), Err(KeyRefusal::Expired));
    ring.revoke(KeyId::from_bytes([7; 16]));
    check(text, Err(KeyRefusal::Revoked));
}

#[test]
fn every_single_wrong_character_is_caught() {
    let key = make(Mode::Live, &SystemRandom::new()).unwrap();
    for at in 8..key.expose().len() {
        let mut text = key.expose().to_owned().into_bytes();
        text[at] = if text[at] == b'a' { b'b' } else { b'a' };
        assert_eq!(format::check(std::str::from_utf8(&text).unwrap()), Err(KeyRefusal::Mistyped), "at {at}");
    }
}

#[test]
fn a_secret_is_made_once_and_kept_private() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("ledger.db");
    let sign = |secret: secret::ServerSecret| (hmac::sign(&secret.keys, b"x").as_ref().to_vec(), secret.receipts.id().to_owned());
    let first = sign(server_secret(None, &database, &SystemRandom::new()).unwrap());
    assert_eq!(first, sign(server_secret(None, &database, &SystemRandom::new()).unwrap()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path().join("ledger.db.secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let error = server_secret(Some(&Secret::new("short")), &database, &SystemRandom::new()).unwrap_err();
    assert!(error.to_string().contains("at least 32"), "{error}");
}
