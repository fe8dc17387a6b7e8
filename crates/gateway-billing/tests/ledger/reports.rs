//! Reports against requests of known size at known moments.

use std::collections::BTreeMap;

use gateway_billing::{
    api::Sight,
    money::Currency,
    report::{Scope, UsageAsk},
};
use gateway_core::Usage;
use serde_json::{Value, json};

use super::{
    spending::{Spending, Spent, nano},
    stage::check,
};

const MINUTE_US: i64 = 60_000_000;

/// The sum of a member of all rows by what `group` says.
fn by<'v>(rows: &'v Value, group: &str, figure: impl Fn(&'v Value) -> i64) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for row in rows["data"].as_array().unwrap() {
        *sums.entry(row[group].as_str().unwrap_or("none").to_owned()).or_default() += figure(row);
    }
    sums
}

#[tokio::test]
async fn every_grouping_adds_up_to_the_same_bill() {
    let spending = Spending::new().await;
    let mut seed = 7u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let (mut total, mut by_model, mut by_key, mut by_tag, mut by_day) =
        (0, BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for _ in 0..120 {
        // From the 23rd on, through the first days of December.
        spending.clock.skip_us(i64::try_from(random(240)).unwrap() * MINUTE_US);
        let spent = Spent {
            key: usize::try_from(random(2)).unwrap(),
            model: ["model", "dear"][usize::try_from(random(2)).unwrap()],
            provider: ["house", "shed"][usize::try_from(random(2)).unwrap()],
            tag: [None, Some("alice"), Some("=bob")][usize::try_from(random(3)).unwrap()],
            usage: Usage {
                input_uncached: Some(random(5_000)),
                input_cache_read: Some(random(900)),
                output_text: Some(random(700)),
                output_reasoning: Some(random(50)),
                ..Usage::default()
            },
            failed: &[],
        };
        let charge = spending.spend(&spent).await;
        total += charge;
        *by_model.entry(spent.model.to_owned()).or_insert(0) += charge;
        *by_key.entry(spending.keys[spent.key].to_string()).or_insert(0) += charge;
        *by_tag.entry(spent.tag.unwrap_or("none").to_owned()).or_insert(0) += charge;
        // In Nepal, 5:45 ahead of UTC.
        let local = (spending.clock.now_us() + 345 * MINUTE_US).div_euclid(1_440 * MINUTE_US);
        let day = jiff::Timestamp::from_second(local * 86_400).unwrap().to_string()[..10].to_owned();
        *by_day.entry(day).or_insert(0) += charge;
    }
    let span = "from=2026-11-01&to=2027-01-01";
    let charge = |row: &Value| nano(&row["charge"]);
    let whole = spending.read(&format!("/usage?{span}&group_by=")).await;
    assert_eq!((whole["data"].as_array().unwrap().len(), charge(&whole["data"][0])), (1, total));
    assert_eq!(whole["data"][0]["requests"], 120);
    for (group, expected) in [("model", &by_model), ("key", &by_key), ("tag", &by_tag)] {
        let rows = spending.read(&format!("/usage?{span}&group_by={group}")).await;
        assert_eq!(by(&rows, group, charge), *expected, "by {group}");
    }
    let days = spending.read("/usage?from=2026-11-01&to=2027-01-01&tz=Asia/Kathmandu&group_by=day").await;
    assert_eq!(by(&days, "day", charge), by_day);
    // Two groupings at once, in pages of three rows each.
    let (mut rows, mut next) = (Vec::new(), Value::Null);
    loop {
        let after = next.as_str().map(|next| format!("&after={next}")).unwrap_or_default();
        let page = spending.read(&format!("/usage?{span}&group_by=tag,model,day,upstream&limit=3{after}")).await;
        rows.extend(page["data"].as_array().unwrap().iter().cloned());
        assert_eq!(page["has_more"] == true, page["next"].is_string());
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
    }
    let paged = json!({ "data": rows });
    assert_eq!(by(&paged, "tag", charge), by_tag);
    assert_eq!(by(&paged, "model", charge), by_model);
    let mut distinct: Vec<_> = rows.iter().map(|row| [&row["day"], &row["tag"], &row["model"], &row["provider"]]).collect();
    distinct.dedup();
    assert_eq!(distinct.len(), rows.len());

    let report = spending.read("/cost-report?period=all").await;
    assert_eq!(nano(&report["total_cost"]), total);
    let months: i64 = nano(&spending.read("/cost-report?period=2026-11").await["total_cost"])
        + nano(&spending.read("/cost-report?period=2026-12").await["total_cost"]);
    assert_eq!(months, total);
    check(&spending.ledger).await;
}

#[tokio::test]
async fn teams_and_users_are_named_and_costs_are_the_operators_alone() {
    let spending = Spending::new().await;
    let first = spending.spend(&Spent::of(1_000, 10)).await;
    let second = spending.spend(&Spent { key: 1, tag: Some("=cmd|' /C calc'!A0"), ..Spent::of(2_000, 20) }).await;
    let rows = spending.read("/usage?group_by=team,user,key").await;
    let row = |name: &str| rows["data"].as_array().unwrap().iter().find(|row| row["key_name"] == name).unwrap().clone();
    assert_eq!((nano(&row("first")["charge"]), nano(&row("=second()")["charge"])), (first, second));
    assert_eq!((&row("first")["team_name"], &row("first")["user_name"]), (&json!("research"), &json!("ada")));
    assert_eq!((&row("=second()")["team"], &row("=second()")["user"]), (&Value::Null, &Value::Null));
    assert!(rows["data"][0].get("cost").is_none(), "a caller does not see our cost");

    let csv = spending.ask(Sight::Account, "/usage?group_by=tag&format=csv&limit=1").await;
    assert_eq!(csv.headers()["content-type"], "text/csv; charset=utf-8");
    let next = csv.headers()["x-bellwether-next"].to_str().unwrap().to_owned();
    let text = String::from_utf8(csv.body().to_vec()).unwrap();
    assert!(text.starts_with("tag,requests,tokens_in,tokens_out,cache_read,cache_write,reasoning,charge_usd,written_off_usd\n"), "{text}");
    assert!(text.contains("\n,1,1000,10,,,,0.002080000,0.000000000\n"), "{text}");
    let csv = spending.ask(Sight::Account, &format!("/usage?group_by=tag&format=csv&after={next}")).await;
    let text = String::from_utf8(csv.body().to_vec()).unwrap();
    assert!(text.contains("\n'=cmd|' /C calc'!A0,1,2000,20,"), "{text}");

    let ask = |account: Option<&str>| {
        let pairs = [("group_by".to_owned(), "account,model".to_owned())];
        UsageAsk::parse(Scope::Operator(account.map(str::to_owned)), Currency::USD, &pairs, spending.clock.now_us()).unwrap()
    };
    for account in [None, Some("Acme")] {
        let page = spending.ledger.usage(ask(account)).await.unwrap();
        let page = serde_json::to_value(&page).unwrap();
        let row = &page["data"][0];
        assert_eq!((nano(&row["charge"]), row["account_name"].as_str()), (first + second, Some("Acme")));
        assert_eq!(nano(&row["margin"]), first + second - nano(&row["cost"]));
    }
    assert!(spending.ledger.usage(ask(Some("nobody"))).await.unwrap_err().to_string().contains("no account `nobody`"));
    for (query, message) in
        [("group_by=tag,key", "cannot have `tag` together with `key`"), ("format=xml", "`json` or `csv`"), ("x=1", "no parameter `x`")]
    {
        let refused = spending.ask(Sight::Account, &format!("/usage?{query}")).await;
        let body = String::from_utf8(refused.body().to_vec()).unwrap();
        assert!(refused.status() == 400 && body.contains(message), "{body}");
    }
}
