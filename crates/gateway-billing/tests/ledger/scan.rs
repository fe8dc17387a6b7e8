//! Scans over a ledger that has done business.

use std::sync::Arc;

use gateway_billing::{
    api::Sight,
    error::LedgerError,
    ledger::{Grant, NewAccount},
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

#[tokio::test(flavor = "multi_thread")]
async fn few_scan_at_once_and_an_account_once_at_a_time() {
    let spending = Spending::new().await;
    spending.spend(&Spent::of(1_000, 10)).await;
    let scan = |org| Scan::of(Currency::USD, org, 0, i64::MAX);
    // Its callback waits for the test, so the turn is taken for as long as the test wants.
    let (begun, begins) = std::sync::mpsc::channel();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let ledger = Arc::clone(&spending.ledger);
    let ask = scan(Some(spending.org));
    let running = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(ledger.scan(ask, 0u64, move |seen, _| {
            *seen += 1;
            begun.send(()).unwrap();
            gate.recv().unwrap();
            Ok(())
        }))
    });
    tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
    let refused = spending.ledger.scan(scan(Some(spending.org)), (), |(), _| Ok(())).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Occupied { .. }), "{refused}");
    let asked = spending.send(Sight::Account, &Method::POST, "/v1/billing/what-if", b"{}").await;
    assert_eq!((asked.status().as_u16(), asked.headers()["retry-after"].to_str().unwrap()), (503, "10"));
    assert!(asked.body().windows(17).any(|word| word == b"readings_occupied"), "{:?}", asked.body());
    spending.ledger.scan(scan(None), (), |(), _| Ok(())).await.expect("a second place is free for others");
    go.send(()).unwrap();
    let (seen, _) = tokio::task::spawn_blocking(move || running.join().unwrap()).await.unwrap().unwrap();
    assert_eq!(seen, 1);
    spending.ledger.scan(scan(Some(spending.org)), (), |(), _| Ok(())).await.expect("the turn has ended");
}
