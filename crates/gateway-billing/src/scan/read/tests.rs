use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use gateway_core::{Clock as _, OrgId, SystemClock};
use rusqlite::Connection;

use super::*;
use crate::money::Currency;

/// 2026-11-23 12:00:00 UTC, in milliseconds.
const NOON_MS: u64 = 1_795_435_200_000;
const ACME: [u8; 16] = [1; 16];
const OTHER: [u8; 16] = [2; 16];

fn id(ms: u64, n: u8) -> [u8; 16] {
    *RequestId::v7(ms, [n; 10]).as_bytes()
}

/// Two accounts with a wallet each, 1 and 2, and one in test money, 3.
fn ledger() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    for migration in ["0001_ledger.sql", "0002_fewer_pages_a_commit.sql", "0003_who_spends.sql", "0004_request_facts.sql"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(migration);
        connection.execute_batch(&std::fs::read_to_string(path).unwrap()).unwrap();
    }
    for (wallet, org, currency) in [(1, ACME, "USD"), (2, OTHER, "USD"), (3, ACME, "XTS")] {
        connection.execute("INSERT INTO wallet(id, org, currency) VALUES (?1, ?2, ?3)", params![wallet, &org[..], currency]).unwrap();
    }
    connection.execute_batch("INSERT INTO served VALUES (1, 'house', 'up-1', 'model'), (2, 'shed', 'up-2', 'dear')").unwrap();
    connection
}

struct Spent {
    wallet: i64,
    served: i64,
    attempt: i64,
    leaves: &'static [u8],
}

impl Default for Spent {
    fn default() -> Self {
        Self { wallet: 1, served: 1, attempt: 1, leaves: b"{\"tok.in\":7}" }
    }
}

fn settle(connection: &Connection, ms: u64, n: u8, spent: &Spent) {
    let at = i64::try_from(ms * 1_000).unwrap();
    let id = id(ms, n);
    connection
        .execute(
            "INSERT INTO hold(id, wallet, api_key, amount, pins, state, boot, requested_model, stream, created_at, tag) \
             VALUES (?1, ?2, ?3, 0, x'', 1, 1, 'asked', 1, ?4, 'alice')",
            params![&id[..], spent.wallet, &[n; 16][..], at],
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO settlement VALUES (?1, 0, ?2, 1, ?3, ?4, 11, 12, NULL, ?5, 7, 0, 0, 4, 100, 90, 0, 10, 80, NULL, ?6)",
            params![&id[..], spent.wallet, spent.attempt, spent.served, spent.leaves, at + 5],
        )
        .unwrap();
}

fn limit(within: Duration) -> Limit {
    let deadline = SystemClock.monotonic() + within;
    Limit { clock: Arc::new(SystemClock), deadline, left: Arc::new(AtomicBool::new(false)) }
}

fn of_acme() -> Scan {
    let from = i64::try_from(NOON_MS * 1_000).unwrap();
    Scan::of(Currency::USD, Some(OrgId::from_bytes(ACME)), from, from + 60_000_000)
}

fn found(connection: &Connection, scan: &Scan, page: i64) -> Vec<RequestId> {
    let mut ids = Vec::new();
    let covered = settlements(connection, scan, &limit(Duration::from_secs(60)), page, |settled| {
        ids.push(settled.id);
        Ok(())
    });
    assert_eq!(covered.unwrap(), Covered::Whole);
    ids
}

#[track_caller]
fn check_key(us: i64, expected_ms: u64) {
    let key = key_at(us);
    assert_eq!(&key[..6], &expected_ms.to_be_bytes()[2..], "{us}");
    let (before, within) = (id(expected_ms.saturating_sub(1), 0xff), id(expected_ms, 0));
    assert!(expected_ms == 0 || before < key, "{us}");
    assert!(within >= key, "{us}");
}

#[test]
fn a_moment_divides_the_ids_before_it_from_those_after() {
    check_key(-5, 0);
    check_key(0, 0);
    check_key(1_795_435_200_000_000, NOON_MS);
    // Within a millisecond, the next whole one.
    check_key(1_795_435_200_000_001, NOON_MS + 1);
    assert_eq!(arrival(key_at(1_795_435_200_000_000)), 1_795_435_200_000_000);
    assert_eq!(&key_at(i64::MAX)[..6], &i64::MAX.unsigned_abs().div_ceil(1_000).min((1 << 48) - 1).to_be_bytes()[2..]);
}

#[test]
fn every_request_of_a_period_is_shown_once_whatever_the_size_of_pages() {
    let connection = ledger();
    let mut expected = Vec::new();
    for n in 0..40u8 {
        // Three in a millisecond, every fourth of somebody else, every seventh in test money.
        let ms = NOON_MS + u64::from(n / 3);
        let wallet = if n % 4 == 3 {
            2
        } else if n % 7 == 6 {
            3
        } else {
            1
        };
        settle(&connection, ms, n, &Spent { wallet, ..Spent::default() });
        if wallet == 1 {
            expected.push(RequestId::from_bytes(id(ms, n)));
        }
    }
    // Just outside.
    settle(&connection, NOON_MS - 1, 200, &Spent::default());
    settle(&connection, NOON_MS + 60_000, 201, &Spent::default());
    settle(&connection, NOON_MS + 59_999, 202, &Spent::default());
    expected.push(RequestId::from_bytes(id(NOON_MS + 59_999, 202)));
    // Within a millisecond, in the order of ids.
    expected.sort_unstable();
    for page in [1, 2, 3, 7, 41, PAGE] {
        assert_eq!(found(&connection, &of_acme(), page), expected, "{page} a page");
    }
    let all = Scan { org: None, ..of_acme() };
    assert_eq!(found(&connection, &all, 5).len(), 41 - (0..40).filter(|n| n % 4 != 3 && n % 7 == 6).count());
}

#[test]
fn filters_leave_out_what_they_do_not_name() {
    let connection = ledger();
    settle(&connection, NOON_MS, 1, &Spent::default());
    settle(&connection, NOON_MS, 2, &Spent { served: 2, ..Spent::default() });
    connection.execute("UPDATE hold SET tag = NULL WHERE id = ?1", [&id(NOON_MS, 2)[..]]).unwrap();
    connection
        .execute(
            "INSERT INTO api_key(id, org, mode, name, hash, prefix, created_at, team) VALUES (?1, ?2, 'live', 'k', x'00', 'p', 0, ?3)",
            params![&[2u8; 16][..], &ACME[..], &[9u8; 16][..]],
        )
        .unwrap();
    let (first, second) = (RequestId::from_bytes(id(NOON_MS, 1)), RequestId::from_bytes(id(NOON_MS, 2)));
    let check = |scan: Scan, expected: &[RequestId]| assert_eq!(found(&connection, &scan, PAGE), expected, "{scan:?}");
    check(of_acme(), &[first, second]);
    check(Scan { model: Some("model".to_owned()), ..of_acme() }, &[first]);
    check(Scan { model: Some("asked".to_owned()), ..of_acme() }, &[]);
    check(Scan { key: Some(KeyId::from_bytes([1; 16])), ..of_acme() }, &[first]);
    check(Scan { team: Some(gateway_core::TeamId::from_bytes([9; 16])), ..of_acme() }, &[second]);
    check(Scan { tag: Some("alice".to_owned()), ..of_acme() }, &[first]);
    check(Scan { org: Some(OrgId::from_bytes(OTHER)), ..of_acme() }, &[]);
}

#[test]
fn a_row_says_what_its_request_was() {
    let connection = ledger();
    settle(&connection, NOON_MS, 1, &Spent { attempt: 3, ..Spent::default() });
    for (n, provider, outcome) in [(1, "first", "unavailable"), (2, "second", "timeout"), (3, "house", "served")] {
        connection
            .execute(
                "INSERT INTO attempt(hold, n, provider, upstream_model, started_at, outcome) VALUES (?1, ?2, ?3, 'u', 0, ?4)",
                params![&id(NOON_MS, 1)[..], n, provider, outcome],
            )
            .unwrap();
    }
    let mut seen = 0;
    settlements(&connection, &of_acme(), &limit(Duration::from_secs(60)), PAGE, |settled| {
        seen += 1;
        assert_eq!((settled.requested_model, settled.tag, settled.stream), ("asked", Some("alice"), true));
        assert_eq!((&*settled.served.provider, &*settled.served.upstream_model, &*settled.served.model), ("house", "up-1", "model"));
        assert_eq!(
            (settled.charge, settled.written_off, settled.cost, settled.cost_reported),
            (Nano::new(100), Nano::new(10), Nano::new(80), None)
        );
        assert_eq!((settled.price_version, settled.plan_version, settled.cost_version), (PriceVersionId(11), PlanVersionId(12), None));
        assert_eq!((settled.arrived_us, settled.ended_us), (1_795_435_200_000_000, 1_795_435_200_000_005));
        assert_eq!(settled.source, Some(UsageSource::Reported));
        assert!(settled.flags.has(UsageFlags::CALENDAR_UNKNOWN));
        assert_eq!(settled.leaves().unwrap().input_tokens(), 7);
        assert_eq!(settled.failed_at, ["first".into(), "second".into()]);
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn a_scan_ends_when_its_time_is_up_or_nobody_waits() {
    let connection = ledger();
    for n in 0..10 {
        settle(&connection, NOON_MS + u64::from(n), n, &Spent::default());
    }
    let mut seen = 0u64;
    let over = limit(Duration::ZERO);
    assert_eq!(settlements(&connection, &of_acme(), &over, 3, |_| Ok(())).unwrap(), Covered::Until(1_795_435_200_000_000));
    // The caller leaves while the first page is read, so there is no second.
    let left = limit(Duration::from_secs(60));
    let ended = settlements(&connection, &of_acme(), &left, 3, |_| {
        seen += 1;
        left.left.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    });
    assert!(matches!(ended, Err(LedgerError::Stopped)) && seen == 3, "{ended:?} after {seen}");
}

#[test]
fn damage_is_told_and_never_a_panic() {
    let connection = ledger();
    settle(&connection, NOON_MS, 1, &Spent { leaves: b"\xff\xfe", ..Spent::default() });
    let mut unreadable = 0;
    settlements(&connection, &of_acme(), &limit(Duration::from_secs(60)), PAGE, |settled| {
        unreadable += u64::from(settled.leaves().is_err());
        Ok(())
    })
    .unwrap();
    assert_eq!(unreadable, 1);
    settle(&connection, NOON_MS + 1, 2, &Spent { served: 77, ..Spent::default() });
    let error = settlements(&connection, &of_acme(), &limit(Duration::from_secs(60)), PAGE, |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("names place 77"), "{error}");
}
