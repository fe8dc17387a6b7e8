//! Scans over a ledger that has done business.

use std::{
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
};

use gateway_billing::{
    api::Sight,
    error::LedgerError,
    ledger::{Grant, Ledger, NewAccount},
    money::Currency,
    scan::{Covered, Scan},
};

use http::Method;

use super::spending::{Spending, Spent};

const HOUR_US: i64 = 3_600_000_000;

#[tokio::test]
async fn a_scan_sees_what_was_just_settled_of_one_account_at_a_time() {
    let mut spending = Spending::new().await;
    let start = spending.clock.now_us();
    let first = spending.spend(&Spent::of(1_000, 10)).await;
    spending.clock.skip_us(HOUR_US - 1);
    let second = spending.spend(&Spent { model: "dear", ..Spent::of(2_000, 20) }).await;
    spending.clock.skip_us(1);
    let third = spending.spend(&Spent::of(3_000, 30)).await;
    let other = spending.ledger.create_account(NewAccount { name: "Other".to_owned(), grant: Grant::SignUp }).await.unwrap();
    let acme = std::mem::replace(&mut spending.org, other.id);
    let foreign = spending.spend(&Spent::of(4_000, 40)).await;
    spending.org = acme;

    let charges = async |org, from, to| {
        let scan = Scan::of(Currency::USD, org, from, to);
        let gathered = spending.ledger.scan(scan, Vec::new(), |charges, settled| {
            charges.push((settled.arrived_us, settled.charge.get()));
            Ok(())
        });
        let (charges, covered) = gathered.await.unwrap();
        assert_eq!(covered, Covered::Whole);
        charges
    };
    let hour = start + HOUR_US;
    assert_eq!(charges(Some(acme), start, hour).await, [(start, first), (hour - 1, second)], "the end is not in it");
    assert_eq!(charges(Some(acme), hour, hour + HOUR_US).await, [(hour, third)], "the beginning is");
    assert_eq!(charges(Some(other.id), start, hour + HOUR_US).await, [(hour, foreign)]);
    assert_eq!(charges(None, hour, hour + HOUR_US).await.len(), 2);
}

/// A scan that stands at its first settlement until it is told to go on.
struct Parked {
    go: Sender<()>,
    running: JoinHandle<Result<(u64, Covered), LedgerError>>,
}

/// Begins a scan of one settlement, and comes back when that is read.
async fn park(ledger: &Arc<Ledger>, scan: Scan) -> Parked {
    let (begun, begins) = channel();
    let (go, gate) = channel();
    let ledger = Arc::clone(ledger);
    let running = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(ledger.scan(scan, 0u64, move |seen, _| {
            *seen += 1;
            begun.send(()).unwrap();
            gate.recv().unwrap();
            Ok(())
        }))
    });
    tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
    Parked { go, running }
}

impl Parked {
    async fn end(self) {
        self.go.send(()).unwrap();
        let (seen, _) = tokio::task::spawn_blocking(move || self.running.join().unwrap()).await.unwrap().unwrap();
        assert_eq!(seen, 1);
    }
}

/// Whether a scan is let in now; it is none that anybody turns away for another reason.
async fn is_let_in(ledger: &Ledger, scan: Scan) -> bool {
    match ledger.scan(scan, (), |(), _| Ok(())).await {
        Ok(_) => true,
        Err(LedgerError::Occupied { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_scan_at_once_and_an_account_once_at_a_time() {
    let mut spending = Spending::new().await;
    let mut orgs = vec![spending.org];
    for name in ["Second", "Third"] {
        orgs.push(spending.ledger.create_account(NewAccount { name: name.to_owned(), grant: Grant::SignUp }).await.unwrap().id);
    }
    for org in &orgs {
        spending.org = *org;
        spending.spend(&Spent::of(1_000, 10)).await;
    }
    spending.org = orgs[0];
    let own = |n: usize| Scan::of(Currency::USD, Some(orgs[n]), 0, i64::MAX);
    let operators = |n: usize| Scan { by_operator: true, ..own(n) };
    let ledger = &spending.ledger;
    let first = park(ledger, own(0)).await;
    assert!(!is_let_in(ledger, own(0)).await, "an account scans once at a time");
    let asked = spending.send(Sight::Account, &Method::POST, "/v1/billing/what-if", b"{}").await;
    assert_eq!((asked.status().as_u16(), asked.headers()["retry-after"].to_str().unwrap()), (503, "10"));
    assert!(asked.body().windows(17).any(|word| word == b"readings_occupied"), "{:?}", asked.body());
    assert!(is_let_in(ledger, own(1)).await, "a second place is free for others");
    let second = park(ledger, own(1)).await;
    assert!(!is_let_in(ledger, own(2)).await, "two accounts take all the places that accounts have");
    // Operators keep a place of their own, and what they ask about an account is not that account's asking.
    assert!(is_let_in(ledger, operators(0)).await && is_let_in(ledger, Scan::of(Currency::USD, None, 0, 1)).await);
    let third = park(ledger, operators(0)).await;
    assert!(!is_let_in(ledger, operators(2)).await, "and no more than that");
    first.end().await;
    assert!(is_let_in(ledger, own(0)).await, "the turn has ended, though an operator still reads of the account");
    assert!(is_let_in(ledger, operators(2)).await, "operators may have what accounts leave free");
    second.end().await;
    third.end().await;
}
