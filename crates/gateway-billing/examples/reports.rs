//! How long reports, hints, statements and what-ifs take over a month of N requests, and how large its file is.
//!
//! `cargo run --release -p gateway-billing --example reports -- 1000000` loads N settlements over November 2026 straight into a
//! ledger of its own: ten keys, four models at two providers, a transaction for every ten requests. They are rows as
//! reports, statements, what-ifs and `rollups` of the verification read them; each is charged $2 and $8 a million, and no lot drawn.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot run has nothing to say, and prints what it finds")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use gateway_billing::{
    facts::RequestFacts,
    hint::{HintAsk, Offer, Place},
    ledger::{Grant, Ledger, LedgerOptions, NewAccount},
    money::Currency,
    price::{Calendars, Coverage, Draft, PriceInput, SELL_BOOK, Source},
    report::{Scope, UsageAsk},
    what_if::{NoDirectory, WhatIfAsk},
};
use gateway_core::{Clock, Mode, OrgId, RequestId, SystemClock, testing::TestClock};
use rusqlite::{Connection, params};

/// 2026-11-01T00:00:00Z, in microseconds.
const NOVEMBER: i64 = 1_793_491_200_000_000;
const MONTH_US: i64 = 30 * 86_400_000_000;
const PER_TXN: i64 = 10;

#[tokio::main]
async fn main() {
    let count: i64 = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let org = prepare(&path).await;
    let began = SystemClock.monotonic();
    load(&path, org, count);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("loaded {count} requests in {:.1?}; {} bytes each", began.elapsed(), bytes / count.unsigned_abs().max(1));

    let ledger = opened(&path, NOVEMBER + MONTH_US - 3_600_000_000).await;
    for groups in ["model", "key,model", "day,model", "hour", "tag"] {
        let pairs =
            [("group_by", groups), ("from", "2026-11-01"), ("to", "2026-12-01")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let ask = UsageAsk::parse(Scope::Account(org), Currency::USD, &pairs, ledger.clock().unix_us()).unwrap();
        let began = SystemClock.monotonic();
        let page = ledger.usage(ask).await.unwrap();
        println!("usage by {groups}: {} rows in {:.1?}", page.data.len(), began.elapsed());
    }
    for change in ["", r#","models":{"model-0":"model-1"}"#, r#","prices_at":"now","cost":true"#] {
        let body = format!(r#"{{"account":"Acme","from":"2026-11-01","to":"2026-12-01"{change}}}"#);
        let ask = WhatIfAsk::of_operator(body.as_bytes(), ledger.clock().unix_us(), Arc::default()).unwrap();
        let began = SystemClock.monotonic();
        let answer = ledger.what_if(ask, Arc::new(NoDirectory)).await.unwrap();
        let (took, requests, repriced) = (began.elapsed(), answer.requests, answer.repriced);
        println!(
            "what if{change}: {requests} requests, {repriced} otherwise, exact {:?}, complete {} in {took:.1?}",
            answer.exact, answer.complete
        );
    }
    for scope in [Scope::Account(org), Scope::Operator(None)] {
        let began = SystemClock.monotonic();
        let ask = HintAsk::parse(scope, Mode::Live, &[], ledger.clock().unix_us()).unwrap();
        let hints = serde_json::to_value(&*ledger.hints(ask).await.unwrap()).unwrap();
        println!("hints: {} of {} requests in {:.1?}", hints["data"].as_array().unwrap().len(), hints["requests"], began.elapsed());
    }
    ledger.stop(Duration::from_secs(1)).await;
    drop(ledger);
    let ledger = opened(&path, NOVEMBER + MONTH_US + 1_000_000).await;
    let began = SystemClock.monotonic();
    let head = ledger.issue_statement("Acme", Mode::Live, "2026-11").await.unwrap();
    println!("statement {} in {:.1?}: closing {}", head.number, began.elapsed(), head.closing);
    ledger.stop(Duration::from_secs(1)).await;
}

async fn opened(path: &Path, now_us: i64) -> Arc<Ledger> {
    let clock = TestClock::at(UNIX_EPOCH + Duration::from_micros(now_us.unsigned_abs()));
    Ledger::open(LedgerOptions { clock: Arc::new(clock), offers: offers(), ..LedgerOptions::at(path) }).await.unwrap()
}

/// Four models of one class at two providers each.
fn offers() -> Arc<[Offer]> {
    let offer = |n| {
        let model: Arc<str> = format!("model-{n}").into();
        let place = |provider: &str| Place {
            provider: provider.into(),
            upstream_model: Arc::clone(&model),
            in_use: true,
            context_window: None,
            output_tokens_max: None,
        };
        Offer { places: vec![place("p0"), place("p1")], model, class: Some("any".into()) }
    };
    (0..4).map(offer).collect()
}

async fn prepare(path: &Path) -> OrgId {
    let ledger = opened(path, NOVEMBER).await;
    let account = ledger.create_account(NewAccount { name: "Acme".to_owned(), grant: Grant::None }).await.unwrap();
    let rates = [("input", "2"), ("output", "8")].map(|(name, price)| (name.to_owned(), price.to_owned())).into();
    let (terms, _) = PriceInput { rates, ..PriceInput::default() }.terms().unwrap();
    let source = Source { kind: "manual".to_owned(), reference: "example".to_owned() };
    let price = |n| Draft {
        book: SELL_BOOK.into(),
        model: format!("model-{n}").into(),
        route: "".into(),
        terms: terms.clone(),
        source: source.clone(),
    };
    ledger.publish_prices((0..4).map(price).collect(), Coverage::Part, Calendars::default()).await.unwrap();
    ledger.stop(Duration::from_secs(1)).await;
    account.id
}

fn load(path: &Path, org: OrgId, count: i64) {
    let mut connection = Connection::open(path).unwrap();
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000").unwrap();
    let all = connection.transaction().unwrap();
    let wallet: i64 =
        all.query_row("SELECT id FROM wallet WHERE org = ?1 AND currency = 'USD'", [&org.as_bytes()[..]], |row| row.get(0)).unwrap();
    let account = |code: i64, owner: &[u8]| {
        all.execute("INSERT INTO account(code, owner, currency) VALUES (?1, ?2, 'USD') ON CONFLICT DO NOTHING", params![code, owner])
            .unwrap();
        all.query_row("SELECT id FROM account WHERE code = ?1 AND owner = ?2 AND currency = 'USD'", params![code, owner], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap()
    };
    let (paid, revenue) = (account(2100, org.as_bytes()), account(4100, &[0; 16]));
    for n in 0..4 {
        all.execute(
            "INSERT INTO served(provider, upstream_model, model) VALUES (?1, ?2, ?2)",
            params![format!("p{}", n % 2), format!("model-{n}")],
        )
        .unwrap();
    }
    let mut txn: i64 = all.query_row("SELECT COALESCE(MAX(id), 0) FROM txn", [], |row| row.get(0)).unwrap();
    let mut insert_txn = all
        .prepare("INSERT INTO txn(id, at, kind, idem, prev_hash, hash) VALUES (?1, ?2, 'usage', ?3, zeroblob(32), zeroblob(32))")
        .unwrap();
    let mut posting = all.prepare("INSERT INTO posting(txn, seq, account, amount) VALUES (?1, ?2, ?3, ?4)").unwrap();
    let mut hold = all
        .prepare(
            "INSERT INTO hold(id, wallet, api_key, amount, pins, state, boot, requested_model, stream, created_at, ended_at, tag, \
             facts) VALUES (?1, ?2, ?3, 1000000, x'0102030405060708', 1, 1, ?4, 0, ?5, ?5, ?6, ?7)",
        )
        .unwrap();
    let mut settlement = all
        .prepare("INSERT INTO settlement VALUES (?1, 0, ?2, ?3, 1, ?4, ?4, 1, NULL, ?5, ?6, ?7, 0, 0, ?8, ?8, 0, 0, ?8, NULL, ?9)")
        .unwrap();
    for first in (0..count).step_by(PER_TXN.unsigned_abs().try_into().unwrap()) {
        let last = count.min(first + PER_TXN);
        txn += 1;
        let at = |n: i64| NOVEMBER + i64::try_from(i128::from(n) * i128::from(MONTH_US - 7_200_000_000) / i128::from(count)).unwrap();
        let mut sum = 0;
        insert_txn.execute(params![txn, at(last - 1), format!("usage:{txn}")]).unwrap();
        for n in first..last {
            let mut random = [0; 10];
            random[2..].copy_from_slice(&n.to_be_bytes());
            let id = RequestId::v7(at(n).unsigned_abs() / 1_000, random);
            let (input, output, model) = (500 + n * 7_919 % 4_000, 50 + n * 104_729 % 900, n * 31 % 4);
            let charge = input * 2_000 + output * 8_000;
            sum += charge;
            let key = [u8::try_from(n * 17 % 10).unwrap(); 16];
            let tag = (n % 3 == 0).then(|| format!("person-{}", n % 97));
            let facts = facts(n, input).encode();
            hold.execute(params![&id.as_bytes()[..], wallet, &key[..], format!("model-{model}"), at(n), tag, &facts[..]]).unwrap();
            let leaves = format!("{{\"tok.in\":{},\"tok.in.cache_read\":100,\"tok.out\":{output}}}", input - 100);
            settlement
                .execute(params![&id.as_bytes()[..], wallet, txn, model + 1, leaves.as_bytes(), input, output, charge, at(n)])
                .unwrap();
        }
        posting.execute([txn, 0, paid, sum]).unwrap();
        posting.execute([txn, 1, revenue, -sum]).unwrap();
    }
    drop((insert_txn, posting, hold, settlement));
    sum_up(&all);
    all.commit().unwrap();
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

/// Every hundredth body comes again, and prompts have one of a few hundred beginnings.
fn facts(n: i64, input: i64) -> RequestFacts {
    let (n, prompt_bytes) = (n.unsigned_abs(), 4 * input.unsigned_abs());
    let body = if n % 100 == 0 { 0 } else { n };
    let beginnings = (0..u64::from(prompt_bytes >= 4_096) + u64::from(prompt_bytes >= 8_192)).map(|level| n % 300 * 8 + level);
    RequestFacts { body, prompt_bytes, prefixes: beginnings.collect(), output_limit: Some(4_096), choices: 1 }
}

/// The sums that the writer would have kept.
fn sum_up(all: &Connection) {
    all.execute(
        "INSERT INTO rollup SELECT s.wallet, t.at / 900000000, s.served, h.api_key, 'USD', COUNT(*), SUM(s.tokens_in), SUM(s.tokens_out), \
         100 * COUNT(*), 0, 0, SUM(s.charge), 0, SUM(s.cost) \
         FROM settlement s JOIN txn t ON t.id = s.txn JOIN hold h ON h.id = s.hold GROUP BY 1, 2, 3, 4",
        [],
    )
    .unwrap();
    all.execute(
        "INSERT INTO rollup_tag SELECT s.wallet, t.at / 900000000, h.tag, s.served, COUNT(*), SUM(s.tokens_in), SUM(s.tokens_out), \
         SUM(s.charge), 0 FROM settlement s JOIN txn t ON t.id = s.txn JOIN hold h ON h.id = s.hold WHERE h.tag IS NOT NULL GROUP BY 1, 2, 3, 4",
        [],
    )
    .unwrap();
}
