//! Statements: what they say, that they follow one another, and that nobody changes them.

use std::{sync::Arc, time::Duration};

use gateway_billing::{
    api::{ApiRequest, BillingApi, Sight, Viewer},
    error::LedgerError,
    ledger::{Grant, NewAccount},
    verify::verify_file,
};
use gateway_core::{Mode, OrgId};
use http::Method;
use serde_json::Value;

use super::{
    spending::{Spending, Spent, nano},
    stage::check,
};

const DAY_US: i64 = 86_400_000_000;

async fn statement(spending: &Spending, account: &str, number: &str) -> Value {
    let view = spending.ledger.statement(account, Mode::Live, number).await.unwrap();
    serde_json::to_value(&view).unwrap()
}

/// The numbers and months of an account's live statements.
async fn months(spending: &Spending, account: &str) -> Vec<(String, String)> {
    let page = spending.ledger.statements(account, Mode::Live, None).await.unwrap();
    page.data.into_iter().map(|head| (head.number, head.month)).collect()
}

#[tokio::test]
async fn a_statement_says_what_the_books_say_and_the_next_goes_on_from_it() {
    let spending = Spending::new().await;
    let (mut november, mut december) = (0, 0);
    for n in 0..5 {
        november += spending.spend(&Spent::of(1_000 + n, 20)).await;
    }
    // From the 23rd into the 4th: two more in December.
    spending.clock.skip_us(11 * DAY_US);
    december += spending.spend(&Spent { key: 1, ..Spent::of(5_000, 7) }).await;
    december += spending.spend(&Spent { model: "dear", provider: "shed", ..Spent::of(10, 1) }).await;
    spending.credit(7_000_000_000).await;
    let early = spending.ledger.issue_statement("Acme", Mode::Live, "2026-12").await.unwrap_err();
    assert!(matches!(&early, LedgerError::Invalid { param: "month", .. }) && early.to_string().contains("not over"), "{early}");
    for month in ["2026-13", "november", "2026-1"] {
        let refused = spending.ledger.issue_statement("Acme", Mode::Live, month).await;
        assert!(matches!(refused, Err(LedgerError::Invalid { param: "month", .. })), "{month}");
    }
    spending.clock.skip_us(30 * DAY_US);
    let head = spending.ledger.issue_statement("Acme", Mode::Live, "2026-12").await.unwrap();
    assert_eq!(spending.ledger.issue_statement("Acme", Mode::Live, "2026-12").await.unwrap(), head, "the same again");

    let page = spending.ledger.statements("Acme", Mode::Live, None).await.unwrap();
    assert_eq!(page.data.iter().map(|head| head.month.as_str()).collect::<Vec<_>>(), ["2026-11", "2026-12"]);
    let first = statement(&spending, "Acme", &page.data[0].number).await;
    let second = statement(&spending, "Acme", &page.data[1].number).await;
    let (one, two) = (&first["statement"], &second["statement"]);
    assert_eq!((nano(&one["opening"]), nano(&one["credits"]["credit"])), (0, 1_000_000_000_000));
    assert_eq!((nano(&one["usage"]["paid"]), nano(&one["closing"])), (november, 1_000_000_000_000 - november));
    assert_eq!((&one["usage"]["requests"], &one["from"]), (&Value::from(5), &Value::from("2026-11-01T00:00:00Z")));
    assert_eq!((&two["opening"], nano(&two["credits"]["credit"])), (&one["closing"], 7_000_000_000));
    assert_eq!(nano(&two["closing"]), 1_000_000_000_000 - november + 7_000_000_000 - december);
    let by = |group: &str| two["usage"][group].as_object().unwrap().values().map(|line| nano(&line["charge"])).sum::<i64>();
    for group in ["by_model", "by_provider", "by_team", "by_key"] {
        assert_eq!(by(group), december, "{group}");
    }
    assert!(one["notice"].as_str().unwrap().contains("not a tax invoice"));
    let report = spending.read("/cost-report?period=2026-12").await;
    assert_eq!(nano(&report["total_cost"]), december, "the report and the statement agree");

    let csv = spending.ask(Sight::Account, &format!("/statements/{}.csv", page.data[1].number)).await;
    let text = String::from_utf8(csv.body().to_vec()).unwrap();
    let (mut opening, mut moved, mut closing) = (0, 0, 0);
    for line in text.lines().skip(1) {
        let amount: i64 = line.rsplit(',').next().unwrap().replace('.', "").parse().unwrap_or(0);
        match line.split(',').next().unwrap() {
            "opening" => opening = amount,
            "closing" => closing = amount,
            "credit" | "expired" | "adjustment" | "usage" => moved += amount,
            _ => {}
        }
    }
    assert_eq!((opening + moved, closing), (closing, nano(&two["closing"])), "{text}");
    check(&spending.ledger).await;
}

#[tokio::test]
async fn a_clock_set_back_posts_nothing_into_a_stated_month() {
    let spending = Spending::new().await;
    let before = spending.spend(&Spent::of(1_000, 20)).await;
    spending.clock.skip_us(10 * DAY_US);
    let number = spending.ledger.issue_statement("Acme", Mode::Live, "2026-11").await.unwrap().number;
    spending.clock.skip_us(-10 * DAY_US);
    let after = spending.spend(&Spent::of(2_000, 20)).await;
    spending.credit(3_000_000_000).await;
    check(&spending.ledger).await;
    spending.clock.skip_us(45 * DAY_US);
    spending.ledger.issue_statements().await.unwrap();
    let december = spending.ledger.statements("Acme", Mode::Live, None).await.unwrap().data[1].number.clone();
    let (one, two) = (statement(&spending, "Acme", &number).await, statement(&spending, "Acme", &december).await);
    let paid = |statement: &Value| nano(&statement["statement"]["usage"]["paid"]);
    assert_eq!((paid(&one), paid(&two)), (before, after));
    assert_eq!(nano(&two["statement"]["credits"]["credit"]), 3_000_000_000);
    check(&spending.ledger).await;
}

#[tokio::test]
async fn numbers_have_no_gap_a_zone_that_changes_leaves_none_and_others_see_nothing() {
    let spending = Spending::new().await;
    spending.ledger.create_account(NewAccount { name: "Other".to_owned(), grant: Grant::None }).await.unwrap();
    spending.spend(&Spent::of(1_000, 20)).await;
    spending.clock.skip_us(10 * DAY_US);
    // Four wallets have a November.
    assert_eq!(spending.ledger.issue_statements().await.unwrap(), 4);
    assert_eq!(spending.ledger.issue_statements().await.unwrap(), 0);
    spending.ledger.put_in_zone("Acme", "Asia/Shanghai").await.unwrap();
    let paid = spending.spend(&Spent::of(2_000, 20)).await;
    spending.clock.skip_us(65 * DAY_US);
    let (one, other) = tokio::join!(spending.ledger.issue_statements(), spending.ledger.issue_statements());
    assert_eq!(one.unwrap() + other.unwrap(), 8, "two hands at once issue each statement once");
    let page = spending.ledger.statements("Acme", Mode::Live, None).await.unwrap();
    assert_eq!(page.data.iter().map(|head| head.month.as_str()).collect::<Vec<_>>(), ["2026-11", "2026-12", "2027-01"]);
    for pair in page.data.windows(2) {
        assert_eq!((&pair[0].to, &pair[0].closing), (&pair[1].from, &pair[1].opening));
    }
    assert_eq!(page.data[1].to, "2026-12-31T16:00:00Z");
    let december = statement(&spending, "Acme", &page.data[1].number).await;
    assert_eq!(nano(&december["statement"]["usage"]["paid"]), paid);

    let theirs = months(&spending, "Other").await;
    for path in ["", ".json", ".csv"].map(|form| format!("/statements/{}{form}", theirs[0].0)) {
        assert_eq!(spending.ask(Sight::Account, &path).await.status(), 404, "{path}");
    }
    let stranger = Viewer { org: OrgId::from_bytes([9; 16]), key: None, mode: Mode::Live, sight: Sight::Account };
    let api = BillingApi::new(Arc::clone(&spending.ledger));
    let path = format!("/v1/billing/statements/{}.json", page.data[0].number);
    let asked = api.handle(&stranger, ApiRequest { method: &Method::GET, path: &path, query: None, body: b"" }).await;
    assert_eq!(asked.status(), 404);
    assert_eq!(spending.ask(Sight::Account, &format!("/statements/{}.pdf", page.data[0].number)).await.status(), 404);
    check(&spending.ledger).await;
}

#[tokio::test]
async fn a_start_after_a_downtime_issues_what_is_missing_and_expiries_are_on_it() {
    let spending = Spending::new().await;
    spending.ledger.create_account(NewAccount { name: "Granted".to_owned(), grant: Grant::SignUp }).await.unwrap();
    let spending = spending.restarted_after(130 * DAY_US).await;
    let found = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let months = months(&spending, "Granted").await;
            if months.len() == 5 {
                return months;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let found = found.await.expect("the task catches up by itself");
    assert_eq!(found.iter().map(|(_, month)| month.as_str()).collect::<Vec<_>>(), ["2026-11", "2026-12", "2027-01", "2027-02", "2027-03"]);
    let last = statement(&spending, "Granted", &found[4].0).await;
    assert_eq!(nano(&last["statement"]["closing"]), 5_000_000_000);
    // The grant ended in February, while nothing ran; the start took it, on the 2nd of April.
    spending.clock.skip_us(40 * DAY_US);
    spending.ledger.issue_statements().await.unwrap();
    let all = months(&spending, "Granted").await;
    let april = statement(&spending, "Granted", &all.last().unwrap().0).await;
    assert_eq!(april["statement"]["month"], "2027-04");
    assert_eq!((nano(&april["statement"]["expired"]), nano(&april["statement"]["closing"])), (5_000_000_000, 0));
    check(&spending.ledger).await;
}

#[tokio::test]
async fn whatever_is_changed_behind_our_back_is_found() {
    let spending = Spending::new().await;
    spending.spend(&Spent::of(1_000, 20)).await;
    spending.clock.skip_us(40 * DAY_US);
    spending.ledger.issue_statements().await.unwrap();
    check(&spending.ledger).await;
    let path = spending.ledger.path().to_owned();
    let database = rusqlite::Connection::open(&path).unwrap();
    let refused = database.execute("UPDATE statement SET closing = closing + 1 WHERE no = 1", []).unwrap_err();
    assert!(refused.to_string().contains("never changed"), "{refused}");
    assert!(database.execute("DELETE FROM statement", []).is_err());
    for (change, words) in [
        ("UPDATE statement SET closing = closing + 1 WHERE no = 1", "its transactions come to"),
        (
            "UPDATE statement SET closing = closing - 1 WHERE no = 1; UPDATE statement SET body = replace(body, 'USD', 'EUR') WHERE no = 1",
            "not what was issued",
        ),
        (
            "UPDATE statement SET body = replace(body, 'EUR', 'USD') WHERE no = 1; DELETE FROM statement WHERE no = 1",
            "stands where ST-000001 should",
        ),
    ] {
        database
            .execute_batch(&format!("DROP TRIGGER IF EXISTS statement_keeps; DROP TRIGGER IF EXISTS statement_stays; {change}"))
            .unwrap();
        let report = verify_file(&path).unwrap();
        let check = report.checks.iter().find(|check| check.id == "INV-19").unwrap();
        assert!(check.violations.iter().any(|violation| violation.contains(words)), "{change}: {check:?}");
    }
}
