//! What a call is charged by and what it costs us: plans, price lists of providers, and answers nobody waited for.

use gateway_billing::{
    ledger::{LedgerOptions, NewPlanVersion},
    money::{Currency, Nano, Ppm},
    price::{Calendars, Coverage, Draft, PriceInput, Source, Terms},
};
use gateway_core::{
    ReplyBody, Usage,
    ir::{Delta, Event, PartKind},
    testing::{Act, Beat},
};
use tower::{Service as _, ServiceExt as _};

use crate::{
    hold::{header, one, options, provider, send},
    stage::{Stage, draft, routed},
};

/// Ten tokens of input, reported early, some text, and no end.
fn unfinished() -> Vec<Beat> {
    let early = Usage { input_uncached: Some(10), ..Usage::default() };
    let events = [
        Event::Usage { usage: early, is_final: false },
        Event::PartStart { choice: 0, part: 0, kind: PartKind::Text },
        Event::Delta { choice: 0, part: 0, delta: Delta::Text("x".repeat(400).into()) },
    ];
    events.into_iter().map(Beat::Event).chain([Beat::Hang]).collect()
}

async fn plan(stage: &Stage, name: &str, multiplier: u32) {
    let new = NewPlanVersion {
        plan: name.to_owned(),
        multiplier: Ppm::new(multiplier).unwrap(),
        effective_from: None,
        idempotency_key: format!("{name}-{multiplier}"),
    };
    stage.ledger.publish_plan(new).await.unwrap();
}

#[tokio::test]
async fn a_plan_multiplies_what_is_held_and_charged_and_may_have_prices_of_its_own() {
    let stage = Stage::new(1_000_000_000).await;
    plan(&stage, "resale", 1_050_000).await;
    stage.ledger.put_on_plan("Acme", "resale").await.unwrap();
    assert_eq!(stage.ledger.account("Acme").await.unwrap().plan, "resale");
    let provider = provider(Act::text("three words here"));
    let ask = |model: &'static str| routed(stage.call(model).output_limit(100), &[(model, "house")]);
    let reply = send(&stage, &provider, ask("model")).await.unwrap();
    // 44,000 × 1.05.
    assert_eq!(header(&reply, "x-bellwether-cost-usd"), "0.000046200");
    let own = Draft { book: "sell:resale".into(), ..draft("model", "4", "8") };
    stage.ledger.publish_prices(vec![own], Coverage::Part, Calendars::default()).await.unwrap();
    let reply = send(&stage, &provider, ask("model")).await.unwrap();
    // (10 × 4,000,000 + 3 × 8,000,000) × 1.05; cost stays at the list price without the plan's factor.
    assert_eq!(header(&reply, "x-bellwether-cost-usd"), "0.000067200");
    stage.check().await;
    assert_eq!(one(&stage, "SELECT SUM(cost) FROM settlement").await, 44_000 + 64_000);
    assert!(stage.ledger.put_on_plan("Acme", "no such plan").await.is_err());
}

#[tokio::test]
async fn a_version_published_meanwhile_changes_no_running_request() {
    let stage = Stage::new(1_000_000_000).await;
    let provider = provider(Act::stream(unfinished()));
    let ask = routed(stage.call("model").streamed().output_limit(100), &[("model", "house")]);
    let mut reply = stage.stack(&provider, options(0, false)).ready().await.unwrap().call(ask).await.unwrap();
    let ReplyBody::Stream(body) = &mut reply.body else { panic!("not a stream") };
    tokio::time::timeout(std::time::Duration::from_millis(50), crate::hold::read(body, 100)).await.unwrap_err();
    plan(&stage, "dear", 9_000_000).await;
    stage.ledger.put_on_plan("Acme", "dear").await.unwrap();
    stage.ledger.publish_prices(vec![draft("model", "200", "800")], Coverage::Part, Calendars::default()).await.unwrap();
    drop(reply);
    stage.check().await;
    let charged = one(&stage, "SELECT SUM(charge) FROM settlement").await;
    assert!(charged == 820_000, "{charged}: neither the new price nor the new plan");
}

#[tokio::test]
async fn a_providers_own_price_list_is_what_it_costs_in_its_own_currency() {
    let stage = Stage::new(1_000_000_000).await;
    let rates = [("input", "7"), ("output", "14")].map(|(name, price)| (name.to_owned(), price.to_owned())).into();
    let (terms, _) = PriceInput { rates, ..PriceInput::default() }.terms().unwrap();
    let list = Draft {
        book: "cost:house".into(),
        model: "model".into(),
        route: "".into(),
        terms: Terms { currency: Currency::new("CNY").unwrap(), ..terms },
        source: Source { kind: "manual".to_owned(), reference: "test".to_owned() },
    };
    stage.ledger.publish_prices(vec![list], Coverage::Part, Calendars::default()).await.unwrap();
    let provider = provider(Act::text("three words here"));
    let reply = send(&stage, &provider, routed(stage.call("model").output_limit(100), &[("model", "house")])).await.unwrap();
    assert_eq!(header(&reply, "x-bellwether-cost-usd"), "0.000044000");
    stage.check().await;
    // 10 × 7,000,000 + 3 × 14,000,000 pico-yuan, and not a cent of it in dollars.
    let posted = "SELECT posted FROM account WHERE code = 5100 AND currency = 'CNY'";
    assert_eq!(one(&stage, posted).await, 112_000);
    assert_eq!(one(&stage, "SELECT COUNT(*) FROM account WHERE code = 5100 AND currency = 'USD'").await, 0);
    assert_eq!(one(&stage, "SELECT COUNT(*) FROM rollup WHERE cost_currency = 'CNY' AND cost = 112000").await, 1);
    // Test money never reaches a provider's account.
    let test = routed(stage.call_in(gateway_core::Mode::Test, "model").output_limit(100), &[("model", "house")]);
    send(&stage, &provider, test).await.unwrap();
    assert_eq!(one(&stage, posted).await, 112_000);
    stage.check().await;
}

#[tokio::test]
async fn leaving_before_the_first_byte_is_free_up_to_the_days_allowance() {
    let allowance = |options| LedgerOptions { abandon_allowance: Nano::new(50_000), ..options };
    let stage = Stage::with(1_000_000_000, allowance).await;
    let provider = provider(Act::stream(unfinished()));
    let leave = async || {
        let ask = routed(stage.call("model").streamed().output_limit(100), &[("model", "house")]);
        let reply = stage.stack(&provider, options(0, false)).ready().await.unwrap().call(ask).await.unwrap();
        drop(reply);
        stage.settled().await;
    };
    // The scripted provider reports ten tokens of input early: 20,000 each time.
    let mut charges = Vec::new();
    for _ in 0..4 {
        leave().await;
        charges.push(1_000_000_000 - stage.available().await);
    }
    assert_eq!(charges, [0, 0, 20_000, 40_000], "two are free; from then on the input is paid for");
    stage.check().await;
    assert_eq!(one(&stage, "SELECT SUM(amount) FROM abandoned").await, 40_000);
    assert_eq!(one(&stage, "SELECT COUNT(*) FROM settlement WHERE flags & 32 AND tokens_out = 0 AND cost = 0").await, 2);
    let failed = one(&stage, "SELECT posted FROM account WHERE code = 5110").await;
    assert!(failed >= 80_000, "what the provider bills for all four is booked: {failed}");
}
