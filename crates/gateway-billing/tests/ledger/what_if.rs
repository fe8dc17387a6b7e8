//! Usage priced again: under its own prices it is the ledger, under others what they say.

mod random;

use std::{collections::BTreeMap, sync::Arc};

use gateway_billing::{
    api::{ApiRequest, BillingApi, Sight, Viewer},
    error::LedgerError,
    ledger::{Grant, NewAccount, NewKey, NewPlanVersion},
    money::Currency,
    price::{Calendars, Coverage, Draft, PriceInput, Source},
    report::{Scope, UsageAsk},
    what_if::{Directory, WhatIfAsk},
};
use gateway_core::{Deployment, Mode, Usage, testing::deployment};
use http::Method;
use serde_json::{Value, json};

use super::{
    spending::{Spending, Spent, nano},
    stage::draft,
};

const HOUR_US: i64 = 3_600_000_000;
const ALWAYS: [(&str, &str); 2] = [("from", "2026-11-01"), ("to", "2027-11-01")];

/// `model` and `dear` are served by `house`, then `shed`; `rare` by `house` alone.
#[derive(Debug)]
struct Routes;

impl Directory for Routes {
    fn deployments(&self, model: &str) -> Vec<Arc<Deployment>> {
        let providers: &[&str] = match model {
            "model" | "dear" | "unsold" => &["house", "shed"],
            "rare" => &["house"],
            // Another name of `model`, and one of its places.
            "alias" | "house/alias" => return self.deployments("model"),
            "shed/model" => return vec![Arc::new(deployment("model", "shed"))],
            _ => &[],
        };
        providers.iter().map(|provider| Arc::new(deployment(model, provider))).collect()
    }
}

/// A question over the whole year.
fn question(mut body: Value) -> Vec<u8> {
    for (end, date) in ALWAYS {
        let ends = body.as_object_mut().unwrap();
        ends.entry(end).or_insert_with(|| json!(date));
    }
    body.to_string().into_bytes()
}

async fn try_operator(spending: &Spending, body: Value) -> Result<Value, LedgerError> {
    let ask = WhatIfAsk::of_operator(&question(body), spending.clock.now_us(), Arc::new(Calendars::default()))?;
    Ok(serde_json::to_value(spending.ledger.what_if(ask, Arc::new(Routes)).await?).unwrap())
}

async fn operator(spending: &Spending, body: Value) -> Value {
    try_operator(spending, body).await.unwrap()
}

async fn try_account(spending: &Spending, body: Value) -> Result<Value, LedgerError> {
    let ask = WhatIfAsk::of_account(spending.org, None, Mode::Live, &question(body), spending.clock.now_us())?;
    Ok(serde_json::to_value(spending.ledger.what_if(ask, Arc::new(Routes)).await?).unwrap())
}

async fn account(spending: &Spending, body: Value) -> Value {
    try_account(spending, body).await.unwrap()
}

/// What it was, what it would have been, and the difference between the two, which must be right.
#[track_caller]
fn sums(answer: &Value) -> (i64, i64) {
    let (current, other) = (nano(&answer["current"]["charge"]), nano(&answer["alternative"]["charge"]));
    assert_eq!(nano(&answer["difference"]), other - current, "{answer:#}");
    for side in ["current", "alternative"] {
        let rows: i64 = answer["by_model"].as_array().unwrap().iter().map(|row| nano(&row[side]["charge"])).sum();
        assert_eq!(rows, nano(&answer[side]["charge"]), "the rows add up: {answer:#}");
    }
    (current, other)
}

#[track_caller]
fn reasons(answer: &Value) -> BTreeMap<&str, u64> {
    let rows = answer["unpriced"]["reasons"].as_array().unwrap();
    let reasons: BTreeMap<&str, u64> =
        rows.iter().map(|row| (row["reason"].as_str().unwrap(), row["requests"].as_u64().unwrap())).collect();
    assert_eq!(reasons.values().sum::<u64>(), answer["unpriced"]["requests"].as_u64().unwrap());
    reasons
}

fn priced(book: &str, model: &str, price: Value) -> Draft {
    let input: PriceInput = serde_json::from_value(price).unwrap();
    Draft {
        book: book.into(),
        model: model.into(),
        route: "".into(),
        terms: input.terms().unwrap().0,
        source: Source { kind: "manual".to_owned(), reference: "test".to_owned() },
    }
}

async fn publish(spending: &Spending, drafts: Vec<Draft>) {
    spending.ledger.publish_prices(drafts, Coverage::Part, Calendars::default()).await.unwrap();
}

async fn plan(spending: &Spending, name: &str, multiplier: &str) {
    let idempotency_key = format!("{name}-{multiplier}-{}", spending.clock.now_us());
    let new = NewPlanVersion { plan: name.to_owned(), multiplier: multiplier.parse().unwrap(), effective_from: None, idempotency_key };
    spending.ledger.publish_plan(new).await.unwrap();
}

#[tokio::test]
async fn nothing_changed_is_the_ledger_to_the_nano() {
    let spending = Spending::new().await;
    let mut total = 0;
    for n in 0..20u64 {
        total += spending.spend(&Spent { key: usize::try_from(n % 2).unwrap(), ..Spent::of(1_000 + n, 7 * n) }).await;
        spending.clock.skip_us(HOUR_US);
    }
    let answer = account(&spending, json!({})).await;
    assert_eq!(sums(&answer), (total, total));
    assert_eq!(
        (&answer["exact"], &answer["complete"], &answer["requests"], &answer["repriced"]),
        (&json!(true), &json!(true), &json!(20), &json!(0))
    );
    assert_eq!(nano(&spending.read("/cost-report?period=all").await["total_cost"]), total, "and it is what the report says");
    let first = account(&spending, json!({ "filter": { "key": spending.keys[0].to_string() } })).await;
    let team = account(&spending, json!({ "filter": { "team": "research" } })).await;
    assert_eq!((&first["requests"], sums(&first)), (&json!(10), sums(&team)), "the first key is the team's");
}

#[tokio::test]
async fn another_model_is_priced_by_its_own_price_of_that_moment() {
    let spending = Spending::new().await;
    let usage = Usage { input_uncached: Some(900), input_cache_read: Some(100), output_text: Some(10), ..Usage::default() };
    let dear = spending.spend(&Spent { model: "dear", provider: "shed", usage, ..Spent::of(0, 0) }).await;
    let plain = spending.spend(&Spent::of(500, 5)).await;
    // 1,000 × 20,000 + 10 × 80,000 pico-dollars in thousandths, and 500 × 2,000 + 5 × 8,000: no rate of its own for the cache.
    assert_eq!((dear, plain), (20_800_000, 1_040_000));
    let answer = account(&spending, json!({ "models": { "dear": "model" } })).await;
    assert_eq!(sums(&answer), (dear + plain, 2_080_000 + plain));
    assert_eq!((&answer["requests"], &answer["repriced"], &answer["exact"]), (&json!(2), &json!(1), &Value::Null));
    let row = answer["by_model"].as_array().unwrap().iter().find(|row| row["model"] == "dear").unwrap();
    assert_eq!(
        (&row["provider"], &row["alternative_model"], &row["alternative_provider"]),
        (&json!("shed"), &json!("model"), &json!("house"))
    );
    assert!(answer["assumptions"].as_array().unwrap().iter().any(|said| said.as_str().unwrap().contains("tokenizer")), "{answer:#}");

    // At a named provider, which has a price of its own for it.
    let cheap = Draft { route: "shed/model-upstream".into(), ..draft("model", "1", "4") };
    publish(&spending, vec![cheap]).await;
    spending.clock.skip_us(HOUR_US);
    spending.spend(&Spent { model: "dear", ..Spent::of(1_000, 10) }).await;
    let at_shed = json!({ "models": { "dear": { "model": "model", "provider": "shed" } }, "from": "2026-11-23T13:00:00Z" });
    assert_eq!(sums(&account(&spending, at_shed).await), (20_800_000, 1_040_000));
    let first = json!({ "models": { "dear": "model" }, "from": "2026-11-23T13:00:00Z" });
    assert_eq!(sums(&account(&spending, first).await), (20_800_000, 2_080_000));
}

#[tokio::test]
async fn prices_of_another_moment_are_those_that_held_then_for_all_of_the_period() {
    let spending = Spending::new().await;
    let start = jiff::Timestamp::from_microsecond(spending.clock.now_us()).unwrap().to_string();
    let before = spending.spend(&Spent::of(1_000, 10)).await;
    spending.clock.skip_us(HOUR_US);
    publish(&spending, vec![draft("model", "4", "16")]).await;
    let after = spending.spend(&Spent::of(1_000, 10)).await;
    assert_eq!((before, after), (2_080_000, 4_160_000));
    assert_eq!(sums(&account(&spending, json!({})).await), (6_240_000, 6_240_000));
    let then = account(&spending, json!({ "prices_at": start })).await;
    assert_eq!((sums(&then), &then["repriced"]), ((6_240_000, 4_160_000), &json!(1)));
    let now = account(&spending, json!({ "prices_at": "now" })).await;
    assert_eq!((sums(&now), &now["repriced"]), ((6_240_000, 8_320_000), &json!(1)));
    let long_ago = account(&spending, json!({ "prices_at": "2020-01-01T00:00:00Z" })).await;
    assert_eq!(sums(&long_ago), (6_240_000, 6_240_000), "what cannot be priced keeps its charge in both sums");
    assert_eq!(reasons(&long_ago), [("model_not_priced", 2)].into());
    assert_eq!(nano(&long_ago["unpriced"]["charge"]), 6_240_000);
    let ahead = try_account(&spending, json!({ "prices_at": "2027-01-01T00:00:00Z" })).await.unwrap_err();
    assert!(ahead.to_string().contains("`prices_at` lies ahead"), "{ahead}");
}

#[tokio::test]
async fn hours_are_judged_by_a_requests_own_arrival_whatever_the_moment_of_the_prices() {
    let spending = Spending::new().await;
    let noon = json!({ "window": { "tz": "UTC", "from": "12:00", "to": "13:00" }, "factor": "2" });
    publish(&spending, vec![priced("sell:default", "model", json!({ "input": "2", "output": "8", "overrides": [noon] }))]).await;
    spending.clock.skip_us(1_000);
    let dear = spending.spend(&Spent::of(1_000, 10)).await;
    spending.clock.skip_us(HOUR_US);
    let plain = spending.spend(&Spent::of(1_000, 10)).await;
    assert_eq!((dear, plain), (4_160_000, 2_080_000));
    for at in ["2026-11-23T12:30:00Z", "2026-11-23T13:00:00Z"] {
        assert_eq!(sums(&account(&spending, json!({ "prices_at": at })).await), (6_240_000, 6_240_000), "{at}");
    }
}

#[tokio::test]
async fn another_plan_has_its_factor_and_its_own_book() {
    let spending = Spending::new().await;
    plan(&spending, "gold", "1.05").await;
    publish(&spending, vec![Draft { book: "sell:gold".into(), ..draft("dear", "10", "40") }]).await;
    spending.clock.skip_us(1_000);
    spending.spend(&Spent::of(1_000, 10)).await;
    spending.spend(&Spent { model: "dear", ..Spent::of(1_000, 10) }).await;
    // (2,080,000 + 10,400,000) × 1.05.
    let gold = operator(&spending, json!({ "account": "Acme", "plan": "gold" })).await;
    assert_eq!((sums(&gold), &gold["repriced"]), ((22_880_000, 13_104_000), &json!(2)));
    // Those who are on the plan pay by it, and stay exact.
    spending.ledger.put_on_plan("Acme", "gold").await.unwrap();
    spending.clock.skip_us(1_000);
    let paid = spending.spend(&Spent { model: "dear", ..Spent::of(1_000, 10) }).await;
    assert_eq!(paid, 10_920_000);
    let same = account(&spending, json!({})).await;
    assert_eq!((&same["exact"], sums(&same)), (&json!(true), (33_800_000, 33_800_000)));
    // A plan that had not begun when a request arrived cannot price it, unless at another moment.
    spending.clock.skip_us(1_000);
    plan(&spending, "new", "0.1").await;
    let new = operator(&spending, json!({ "plan": "new" })).await;
    assert_eq!((sums(&new).1, reasons(&new)), (33_800_000, [("plan_not_in_force", 3)].into()));
    let today = operator(&spending, json!({ "plan": "new", "prices_at": "now" })).await;
    // Without a book of its own: 2,080,000 + 20,800,000 twice, a tenth of it.
    assert_eq!(sums(&today), (33_800_000, 4_368_000));
    let none = try_operator(&spending, json!({ "plan": "nonsense" })).await.unwrap_err();
    assert!(matches!(none, LedgerError::NotFound { what: "plan", .. }), "{none}");
}

#[tokio::test]
async fn an_order_of_providers_passes_over_those_that_failed() {
    let spending = Spending::new().await;
    let cheap = Draft { route: "shed/model-upstream".into(), ..draft("model", "1", "4") };
    publish(&spending, vec![cheap]).await;
    spending.clock.skip_us(1_000);
    let at_house = spending.spend(&Spent::of(1_000, 10)).await;
    let after_shed = spending.spend(&Spent { failed: &["shed"], ..Spent::of(1_000, 10) }).await;
    let at_shed = spending.spend(&Spent { provider: "shed", ..Spent::of(1_000, 10) }).await;
    assert_eq!((at_house, after_shed, at_shed), (2_080_000, 2_080_000, 1_040_000));
    let order = |providers: &[&str]| json!({ "order": { "model": providers } });
    let shed_first = account(&spending, order(&["shed", "house"])).await;
    assert_eq!(sums(&shed_first), (5_200_000, 1_040_000 + 2_080_000 + 1_040_000));
    assert_eq!((&shed_first["repriced"], &shed_first["unpriced"]["requests"]), (&json!(1), &json!(0)));
    let house_first = account(&spending, order(&["house", "shed"])).await;
    assert_eq!(sums(&house_first), (5_200_000, 3 * 2_080_000));
    let only_shed = account(&spending, order(&["shed"])).await;
    assert_eq!((sums(&only_shed).1, reasons(&only_shed)), (4_160_000, [("no_provider_left", 1)].into()));
    for (body, expected) in [
        (order(&["nobody"]), "`model` is not served by `nobody`; it is by house, shed"),
        (order(&[]), "must list 1 to 32 providers for `model`"),
        (json!({ "order": { "nonsense": ["house"] } }), "names `nonsense`, which is not served here"),
    ] {
        let error = try_account(&spending, body).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn what_has_no_other_price_is_counted_apart_and_never_free() {
    let spending = Spending::new().await;
    let search = json!({ "input": "2", "output": "8", "web_search": "10" });
    publish(&spending, vec![priced("sell:default", "rare", search)]).await;
    spending.clock.skip_us(1_000);
    let searched = Usage { input_uncached: Some(1_000), output_text: Some(10), web_searches: Some(3), ..Usage::default() };
    let with_search = spending.spend(&Spent { model: "rare", usage: searched, ..Spent::of(0, 0) }).await;
    let without = spending.spend(&Spent { model: "rare", ..Spent::of(1_000, 10) }).await;
    assert_eq!((with_search, without), (32_080_000, 2_080_000));
    let answer = account(&spending, json!({ "models": { "rare": "dear" } })).await;
    assert_eq!(sums(&answer), (34_160_000, with_search + 20_800_000));
    assert_eq!((reasons(&answer), &answer["repriced"]), ([("sku_not_priced", 1)].into(), &json!(1)));
    let kept = answer["by_model"].as_array().unwrap().iter().find(|row| row["alternative_model"].is_null()).unwrap();
    assert_eq!((nano(&kept["current"]["charge"]), nano(&kept["difference"])), (with_search, 0));
    // Served here and never sold.
    let unsold = account(&spending, json!({ "models": { "rare": "unsold" } })).await;
    assert_eq!((sums(&unsold), reasons(&unsold)), ((34_160_000, 34_160_000), [("model_not_priced", 2)].into()));
    let unknown = try_account(&spending, json!({ "models": { "rare": "dere" } })).await.unwrap_err().to_string();
    assert!(unknown.contains("names `dere`, which is not served here"), "{unknown}");
}

#[tokio::test]
async fn a_request_of_another_account_or_moment_is_never_counted() {
    let mut spending = Spending::new().await;
    let first = spending.spend(&Spent::of(1_000, 10)).await;
    spending.clock.skip_us(HOUR_US - 1);
    let last = spending.spend(&Spent::of(2_000, 20)).await;
    spending.clock.skip_us(1);
    let next = spending.spend(&Spent::of(4_000, 40)).await;
    let other = spending.ledger.create_account(NewAccount { name: "Other".to_owned(), grant: Grant::SignUp }).await.unwrap();
    let acme = std::mem::replace(&mut spending.org, other.id);
    let foreign = spending.spend(&Spent::of(8_000, 80)).await;
    let key = NewKey {
        account: "Other".to_owned(),
        mode: Mode::Live,
        user: None,
        team: None,
        name: String::new(),
        models: Some(vec!["model".to_owned()]),
        expires_at: None,
    };
    let key = spending.ledger.create_key(key).await.unwrap().record.id;
    spending.org = acme;

    let hour = json!({ "from": "2026-11-23T12:00:00Z", "to": "2026-11-23T13:00:00Z" });
    assert_eq!(sums(&account(&spending, hour.clone()).await).0, first + last, "the first microsecond is in it, the end is not");
    let rest = json!({ "from": "2026-11-23T13:00:00Z", "to": "2026-11-23T14:00:00Z" });
    assert_eq!(sums(&account(&spending, rest.clone()).await).0, next);
    assert_eq!(sums(&operator(&spending, rest).await).0, next + foreign);
    assert_eq!(sums(&operator(&spending, json!({ "account": "Other" })).await).0, foreign);
    // Another's key and team are not there, whether or not there are such.
    let theirs = json!({ "filter": { "key": key.to_string() } });
    assert!(matches!(try_account(&spending, theirs).await, Err(LedgerError::NotFound { what: "key", .. })));
    let team = json!({ "filter": { "team": gateway_core::TeamId::from_bytes([1; 16]).to_string() } });
    assert!(matches!(try_account(&spending, team).await, Err(LedgerError::NotFound { what: "team", .. })));
    // A key that may use one model is told of no other's price.
    let ask = |target: &str| {
        let body = question(json!({ "models": { "dear": target } }));
        WhatIfAsk::of_account(other.id, Some(key), Mode::Live, &body, spending.clock.now_us()).unwrap()
    };
    spending.ledger.what_if(ask("model"), Arc::new(Routes)).await.unwrap();
    let refused = spending.ledger.what_if(ask("dear"), Arc::new(Routes)).await.unwrap_err().to_string();
    assert!(refused.contains("names `dear`, which is not served here"), "{refused}");
    let test = WhatIfAsk::of_account(acme, None, Mode::Test, &question(json!({})), spending.clock.now_us()).unwrap();
    assert_eq!(spending.ledger.what_if(test, Arc::new(Routes)).await.unwrap().requests, 0, "test money is another wallet");
}

#[tokio::test]
async fn names_lead_to_one_model_each_and_places_are_pinned() {
    let spending = Spending::new().await;
    publish(&spending, vec![Draft { route: "shed/model-upstream".into(), ..draft("model", "1", "4") }]).await;
    spending.clock.skip_us(1_000);
    spending.spend(&Spent { model: "dear", ..Spent::of(1_000, 10) }).await;
    // An order of the model's providers goes before its first place, and not before one that was named.
    for (target, order, expected) in [
        (json!("model"), ["shed", "house"], 1_040_000),
        (json!("alias"), ["shed", "house"], 1_040_000),
        (json!("house/alias"), ["shed", "house"], 1_040_000),
        (json!("model"), ["house", "shed"], 2_080_000),
        (json!("shed/model"), ["house", "shed"], 1_040_000),
        (json!({ "model": "model", "provider": "shed" }), ["house", "shed"], 1_040_000),
    ] {
        let body = json!({ "models": { "dear": target }, "order": { "model": order } });
        assert_eq!(sums(&account(&spending, body.clone()).await), (20_800_000, expected), "{body}");
    }
    for (body, expected) in [
        (json!({ "models": { "model": "dear", "alias": "rare" } }), "`models` names `alias` and `model`, which are one model"),
        (json!({ "order": { "model": ["shed"], "house/alias": ["house"] } }), "`order` names `house/alias` and `model`"),
        (json!({ "models": { "shed/model": "dear" } }), "`models` names `shed/model`, one place of `model`"),
        (json!({ "order": { "shed/model": ["shed"] } }), "write `model`"),
    ] {
        for error in [try_account(&spending, body.clone()).await, try_operator(&spending, body.clone()).await] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}

#[tokio::test]
async fn an_account_is_told_of_no_model_that_only_another_plan_has() {
    let spending = Spending::new().await;
    plan(&spending, "gold", "1").await;
    publish(&spending, vec![Draft { book: "sell:gold".into(), ..draft("secret", "1", "4") }]).await;
    spending.clock.skip_us(1_000);
    spending.spend(&Spent::of(1_000, 10)).await;
    let body = json!({ "models": { "model": "secret" } });
    let (secret, nonsense) =
        (try_account(&spending, body.clone()).await, try_account(&spending, json!({ "models": { "model": "sesame" } })).await);
    let told = [secret, nonsense].map(|refused| refused.unwrap_err().to_string());
    assert_eq!(told[0].replace("secret", "sesame"), told[1], "it is as unknown as what there is not");
    assert_eq!(reasons(&operator(&spending, body.clone()).await), [("model_not_priced", 1)].into(), "operators know all books");
    spending.ledger.put_on_plan("Acme", "gold").await.unwrap();
    spending.clock.skip_us(1_000);
    spending.spend(&Spent::of(1_000, 10)).await;
    assert_eq!(sums(&account(&spending, body).await), (4_160_000, 2_080_000 + 1_040_000));
}

#[tokio::test]
async fn what_was_written_off_is_charged_all_the_same_and_damage_is_told() {
    let mut spending = Spending::new().await;
    let poor = spending.ledger.create_account(NewAccount { name: "Poor".to_owned(), grant: Grant::SignUp }).await.unwrap();
    spending.org = poor.id;
    let paid = spending.spend(&Spent::of(1_000, 5_000_000)).await;
    let charge = 2_000_000 + 40_000_000_000;
    assert!(paid <= 5_000_000_000, "{paid}");
    let answer = account(&spending, json!({})).await;
    assert_eq!((sums(&answer), &answer["exact"]), ((charge, charge), &json!(true)));
    assert_eq!(nano(&answer["current"]["written_off"]), charge - paid);

    let damage = spending.database();
    damage.execute_batch("DROP TRIGGER settlement_keeps; UPDATE settlement SET leaves = x'ff00'").unwrap();
    let unreadable = account(&spending, json!({})).await;
    assert_eq!((sums(&unreadable), reasons(&unreadable)), ((charge, charge), [("usage_unreadable", 1)].into()));
    assert_eq!(unreadable["exact"], false);
    damage.execute("UPDATE settlement SET leaves = CAST('{\"tok.in\":1}' AS BLOB), price_version = 999", []).unwrap();
    assert_eq!(reasons(&account(&spending, json!({})).await), [("version_missing", 1)].into());
    damage.execute("UPDATE settlement SET price_version = 1, plan_version = 999", []).unwrap();
    assert_eq!(reasons(&account(&spending, json!({})).await), [("version_missing", 1)].into());
    damage.execute("UPDATE settlement SET plan_version = 1", []).unwrap();
    let wrong = account(&spending, json!({})).await;
    assert_eq!((sums(&wrong), &wrong["exact"]), ((charge, 2_000), &json!(false)), "its usage no longer comes to its charge");
}

#[tokio::test]
async fn an_operator_tries_prices_and_sees_what_providers_bill() {
    let spending = Spending::new().await;
    let yuan = priced("cost:shed", "model", json!({ "input": "7", "output": "14", "currency": "CNY" }));
    publish(&spending, vec![yuan, priced("cost:house", "dear", json!({ "input": "10", "output": "50" }))]).await;
    spending.clock.skip_us(1_000);
    spending.spend(&Spent { model: "dear", ..Spent::of(1_000, 10) }).await;
    spending.spend(&Spent { provider: "shed", ..Spent::of(1_000, 10) }).await;
    // No price list, so as much as ours.
    spending.spend(&Spent::of(1_000, 10)).await;
    let reported = Usage { reported_cost: Some(777), ..Spent::of(1_000, 10).usage };
    spending.spend(&Spent { usage: reported, ..Spent::of(0, 0) }).await;

    let same = operator(&spending, json!({ "cost": true })).await;
    for side in ["current", "alternative"] {
        assert_eq!(nano(&same[side]["cost"]), 10_500_000 + 2_080_000 + 777, "{same:#}");
        assert_eq!(nano(&same[side]["cost_in_other_currencies"]["CNY"]), 7_140_000);
    }
    let ask = UsageAsk::parse(Scope::Operator(None), Currency::USD, &ALWAYS.map(|(a, b)| (a.to_owned(), b.to_owned())), 0).unwrap();
    let report = serde_json::to_value(spending.ledger.usage(ask).await.unwrap()).unwrap();
    let billed: i64 = report["data"].as_array().unwrap().iter().map(|row| nano(&row["cost"])).sum();
    assert_eq!(nano(&same["current"]["cost"]), billed, "and it is what the report says");

    let moved = operator(&spending, json!({ "cost": true, "models": { "dear": { "model": "model", "provider": "shed" } } })).await;
    assert_eq!(nano(&moved["alternative"]["cost"]), 2_080_000 + 777);
    assert_eq!(nano(&moved["alternative"]["cost_in_other_currencies"]["CNY"]), 14_280_000);
    assert_eq!(sums(&moved), (27_040_000, 8_320_000));

    let list = json!({ "book": "sell:default", "source": { "kind": "manual", "ref": "offer" },
        "prices": [{ "model": "model", "price": { "input": "3", "output": "9" } }] });
    let tried = operator(&spending, json!({ "prices": list, "cost": true })).await;
    // 3 × (3,000,000 + 90,000), and the other model as it was.
    assert_eq!((sums(&tried), &tried["repriced"]), ((27_040_000, 20_800_000 + 9_270_000), &json!(3)));
    assert_eq!(spending.ledger.prices().len(), 4, "nothing was published");
    let mut bad = list;
    bad["prices"][0]["price"] = json!({ "input": "3" });
    let refused = try_operator(&spending, json!({ "prices": bad })).await.unwrap_err().to_string();
    assert!(refused.contains("`prices` cannot be used") && refused.contains("tok.out"), "{refused}");
}

#[tokio::test]
async fn a_question_is_refused_by_the_name_of_what_is_wrong_with_it() {
    let spending = Spending::new().await;
    let api = BillingApi::new(Arc::clone(&spending.ledger)).with_models(Arc::new(Routes));
    let viewer = Viewer { org: spending.org, key: Some(spending.keys[0]), mode: Mode::Live, sight: Sight::Account };
    let post = async |body: &[u8]| {
        let request = ApiRequest { method: &Method::POST, path: "/v1/billing/what-if", query: None, body };
        let response = api.handle(&viewer, request).await;
        (response.status().as_u16(), serde_json::from_slice::<Value>(response.body()).unwrap())
    };
    let long = format!("{{\"tz\":\"{}\"}}", "x".repeat(70_000));
    for (body, param, expected) in [
        ("", "body", "is not what this address takes"),
        ("[]", "body", "is not what this address takes"),
        (r#"{"model":{}}"#, "body", "unknown field `model`"),
        (r#"{"models":{"a":{"model":"b","at":"c"}}}"#, "body", "unknown field `at`"),
        (r#"{"models":{"a":7}}"#, "body", "a model's name, or"),
        (r#"{"filter":{"user":"x"}}"#, "body", "unknown field `user`"),
        (r#"{"plan":"gold"}"#, "plan", "the operator's to ask"),
        (r#"{"account":"Other"}"#, "account", "the operator's to ask"),
        (r#"{"cost":true}"#, "cost", "the operator's to ask"),
        (r#"{"prices_at":"yesterday"}"#, "prices_at", "must be `now` or a time"),
        (r#"{"from":"2026-11-02","to":"2026-11-01"}"#, "to", "later than `from`"),
        (r#"{"from":"2026-11-02T00:01:00Z"}"#, "from", "full quarter of an hour"),
        (r#"{"tz":"Moon"}"#, "tz", "no IANA zone"),
        (&long, "body", "longer than 65536 bytes"),
    ] {
        let (status, answer) = post(body.as_bytes()).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(expected), "{body:.80}: {status} {message}");
        assert_eq!(answer["error"]["param"], param, "{message}");
    }
    let (status, answer) = post(b"{}").await;
    assert_eq!((status, &answer["object"], &answer["requests"], &answer["exact"]), (200, &json!("what_if"), &json!(0), &json!(true)));
}

#[tokio::test]
async fn an_absurd_report_keeps_nobody_from_the_answer() {
    let spending = Spending::new().await;
    publish(&spending, vec![priced("sell:default", "free", json!({ "input": "0", "output": "0" }))]).await;
    for _ in 0..3 {
        spending.spend(&Spent { model: "free", ..Spent::of(0, 400_000_000_000_000) }).await;
    }
    let honest = spending.spend(&Spent::of(1_000, 10)).await;
    // Each alone is an amount, three of them are none.
    let answer = operator(&spending, json!({ "models": { "free": "model" } })).await;
    assert_eq!(reasons(&answer), BTreeMap::from([("too_large", 2)]));
    assert_eq!(sums(&answer), (honest, honest + 400_000_000_000_000 * 8_000));
}
