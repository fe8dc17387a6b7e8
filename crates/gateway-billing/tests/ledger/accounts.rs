//! Accounts, credit and keys through the public surface, with the books checked after each story.

use std::time::{Duration, SystemTime};

use gateway_billing::{
    error::LedgerError,
    ledger::{Credit, Grant, Ledger, LedgerOptions, NewAccount, NewKey, PageRequest},
    money::Nano,
};
use gateway_core::{KeyRefusal, KeyStore as _, Mode, Secret};

async fn ledger(folder: &tempfile::TempDir) -> std::sync::Arc<Ledger> {
    Ledger::open(LedgerOptions::at(folder.path().join("ledger.db"))).await.unwrap()
}

async fn check(ledger: &Ledger) {
    let report = ledger.verify().await.unwrap();
    assert!(report.ok, "{report:#?}");
    assert_eq!(report.earlier_boot_holds, 0);
}

fn account(name: &str, grant: Grant) -> NewAccount {
    NewAccount { name: name.to_owned(), grant }
}

fn credit(account: &str, nano: i64, key: Option<&str>) -> Credit {
    Credit {
        account: account.to_owned(),
        mode: Mode::Live,
        amount: Nano::new(nano),
        reason: "bank transfer 17".to_owned(),
        actor: "admin".to_owned(),
        idempotency_key: key.map(str::to_owned),
        expires_at: None,
    }
}

#[tokio::test]
async fn an_account_starts_with_its_grants_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = ledger(&folder).await;
    let acme = first.create_account(account("Acme", Grant::SignUp)).await.unwrap();
    first.create_account(account("Bare", Grant::None)).await.unwrap();
    assert!(matches!(first.create_account(account(" Acme ", Grant::None)).await, Err(LedgerError::Conflict { .. })));
    assert!(matches!(first.create_account(account("", Grant::None)).await, Err(LedgerError::Invalid { .. })));
    assert!(matches!(first.create_account(account(&acme.id.to_string(), Grant::None)).await, Err(LedgerError::Invalid { .. })));
    check(&first).await;
    first.stop(Duration::from_secs(1)).await;
    drop(first);

    let second = ledger(&folder).await;
    for (name, mode, promo) in
        [("Acme", Mode::Live, 5_000_000_000), ("Bare", Mode::Live, 0), (&acme.id.to_string(), Mode::Test, 1_000_000_000_000_000)]
    {
        let balance = second.balance(name, mode).await.unwrap();
        assert_eq!((balance.promo.amount.get(), balance.available.amount.get(), balance.paid.amount.get()), (promo, promo, 0), "{name}");
    }
    let page = second.accounts(PageRequest { limit: 1, after: None }).await.unwrap();
    assert!(page.has_more && page.data.len() == 1);
    let rest = second.accounts(PageRequest { limit: 1, after: page.next }).await.unwrap();
    assert_eq!((rest.has_more, rest.data[0].name.as_str()), (false, "Bare"));
    assert!(matches!(second.balance("Nobody", Mode::Live).await, Err(LedgerError::NotFound { .. })));
    check(&second).await;
}

#[tokio::test]
async fn the_sign_up_grant_is_what_the_options_say() {
    let open = async |folder: &tempfile::TempDir, nano| {
        let options = LedgerOptions { sign_up_grant: Nano::new(nano), ..LedgerOptions::at(folder.path().join("ledger.db")) };
        Ledger::open(options).await
    };
    for nano in [0, 1, 12_340_000_000] {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(&folder, nano).await.unwrap();
        ledger.create_account(account("Acme", Grant::SignUp)).await.unwrap();
        let balance = ledger.balance("Acme", Mode::Live).await.unwrap();
        assert_eq!((balance.promo.amount.get(), balance.available.amount.get()), (nano, nano));
        check(&ledger).await;
    }
    let refused = open(&tempfile::tempdir().unwrap(), -1).await;
    assert!(matches!(refused, Err(LedgerError::Invalid { param: "sign_up_grant", .. })));
}

#[tokio::test]
async fn a_credit_counts_once_per_key_and_refuses_another_body() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder).await;
    let acme = ledger.create_account(account("Acme", Grant::None)).await.unwrap();
    let first = ledger.credit(credit("Acme", 20_000_000_000, Some("k1"))).await.unwrap();
    assert_eq!(first.0["balance"]["available"]["usd"], "20.000000000");
    // The same account by id is the same credit.
    assert_eq!(ledger.credit(credit(&acme.id.to_string(), 20_000_000_000, Some("k1"))).await.unwrap(), first);
    assert!(matches!(ledger.credit(credit("Acme", 20_000_000_001, Some("k1"))).await, Err(LedgerError::Conflict { .. })));
    ledger.credit(credit("Acme", 1, None)).await.unwrap();
    for (wrong, param) in [
        (credit("Acme", 0, None), "amount_usd"),
        (credit("Acme", -5, None), "amount_usd"),
        (Credit { reason: "  ".to_owned(), ..credit("Acme", 5, None) }, "reason"),
        (credit("Acme", 5, Some("")), "Idempotency-Key"),
    ] {
        match ledger.credit(wrong).await {
            Err(LedgerError::Invalid { param: found, .. }) => assert_eq!(found, param),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(ledger.credit(credit("Nobody", 5, None)).await, Err(LedgerError::NotFound { .. })));
    assert_eq!(ledger.balance("Acme", Mode::Live).await.unwrap().paid.amount.get(), 20_000_000_001);
    check(&ledger).await;
}

#[tokio::test]
async fn a_thousand_copies_of_one_credit_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder).await;
    ledger.create_account(account("Acme", Grant::None)).await.unwrap();
    let copies = (0..1_000).map(|_| ledger.credit(credit("Acme", 7, Some("same"))));
    let answers = futures_util::future::join_all(copies).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first));
    assert_eq!(ledger.balance("Acme", Mode::Live).await.unwrap().paid.amount.get(), 7);
    check(&ledger).await;
}

#[tokio::test]
async fn a_key_works_until_it_is_revoked_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let first = ledger(&folder).await;
    let acme = first.create_account(account("Acme", Grant::None)).await.unwrap();
    let new = |mode, expires_at| NewKey {
        user: None,
        team: None,
        account: "Acme".to_owned(),
        mode,
        name: "ci".to_owned(),
        models: Some(vec!["gpt-4.1".to_owned()]),
        expires_at,
    };
    let key = first.create_key(new(Mode::Test, None)).await.unwrap();
    assert!(!format!("{key:?}").contains(&key.key));
    let other = first.create_key(new(Mode::Live, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000)))).await.unwrap();
    assert!(matches!(first.create_key(new(Mode::Live, Some(SystemTime::UNIX_EPOCH))).await, Err(LedgerError::Invalid { .. })));
    let secret = Secret::new(key.key.as_str());
    let principal = first.authenticate(&secret).await.unwrap();
    assert_eq!((principal.org, principal.key, principal.mode), (acme.id, key.record.id, Mode::Test));
    assert!(principal.models.allows("gpt-4.1") && !principal.models.allows("gpt-4.1-mini"));
    first.revoke_key(key.record.id).await.unwrap();
    assert_eq!(first.authenticate(&secret).await.unwrap_err(), KeyRefusal::Revoked);
    let again = first.revoke_key(key.record.id).await.unwrap();
    drop(first);

    let second = ledger(&folder).await;
    assert_eq!(second.authenticate(&secret).await.unwrap_err(), KeyRefusal::Revoked);
    assert!(second.authenticate(&Secret::new(other.key.as_str())).await.is_ok());
    let listed = second.keys(Some("Acme")).await.unwrap();
    assert_eq!(listed[0], again);
    assert_eq!(listed[1], other.record);
    let json = serde_json::to_value(&other).unwrap();
    assert_eq!(json["mode"], "live");
    assert!(json["key"].as_str().unwrap().starts_with(json["prefix"].as_str().unwrap()));
}

#[tokio::test]
async fn another_secret_is_noticed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    drop(ledger(&folder).await);
    let secret = Some(Secret::new("0123456789abcdef0123456789abcdef"));
    let error = Ledger::open(LedgerOptions { secret, ..LedgerOptions::at(folder.path().join("ledger.db")) }).await.unwrap_err();
    assert!(error.to_string().contains("BELLWETHER_SECRET"), "{error}");
}

#[tokio::test]
async fn a_changed_past_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = ledger(&folder).await;
    ledger.create_account(account("Acme", Grant::SignUp)).await.unwrap();
    ledger.credit(credit("Acme", 20_000_000_000, None)).await.unwrap();
    ledger.stop(Duration::from_secs(1)).await;
    let path = folder.path().join("ledger.db");
    let thief = rusqlite::Connection::open(&path).unwrap();
    assert!(thief.execute("UPDATE txn SET reason = 'gift' WHERE kind = 'credit'", []).is_err());
    thief.execute_batch("DROP TRIGGER txn_keeps; UPDATE txn SET reason = 'gift' WHERE kind = 'credit'").unwrap();
    thief.execute_batch("UPDATE wallet SET posted = posted + 1").unwrap();
    let report = gateway_billing::verify::verify_file(&path).unwrap();
    let wrong: Vec<_> = report.checks.iter().filter(|check| !check.violations.is_empty()).map(|check| check.id).collect();
    assert_eq!((report.ok, wrong), (false, vec!["INV-11", "chain"]));
}
