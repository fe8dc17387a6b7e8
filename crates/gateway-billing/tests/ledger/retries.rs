//! What failed attempts come to in hints.

use gateway_billing::{hint::HintAsk, report::Scope};
use gateway_core::{Fault, FaultKind, Mode, Origin, Retry, testing::Act};
use serde_json::{Value, json};

use super::{
    hinting::{money, of, rule, the},
    hold::{provider, send},
    stage::{Stage, routed},
};

async fn hints(stage: &Stage, scope: Scope) -> Value {
    let day = [("from", "2026-11-23"), ("to", "2026-11-24")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let ask = HintAsk::parse(scope, Mode::Live, &day, stage.ledger.clock().unix_us()).unwrap();
    serde_json::to_value(&*stage.ledger.hints(ask).await.unwrap()).unwrap()
}

/// So many calls of 20,000 tokens that all fail so.
async fn fail(stage: &Stage, fault: impl Fn() -> Act, times: u32) {
    let provider = provider(fault());
    for _ in 0..times {
        let call = stage.call("model").input(&"y".repeat(80_000)).output_limit(100);
        assert!(send(stage, &provider, routed(call, &[("model", "house")])).await.is_err());
    }
    stage.settled().await;
}

#[tokio::test]
async fn failed_attempts_are_told_by_cause_and_their_cost_to_operators() {
    let stage = Stage::new(1_000_000_000).await;
    let worked = || Act::fault(Fault::new(FaultKind::Timeout, Origin::Provider, "nothing came").after_work_began());
    fail(&stage, worked, 3).await;
    fail(&stage, || Act::fails(FaultKind::RateLimited, Retry::Never), 7).await;
    let own = hints(&stage, Scope::Account(stage.org)).await;
    let hint = the(&own, "retry_waste");
    assert_eq!((money(hint), &hint["effect"], &hint["requests"]), ((0, 0, 0), &json!("time"), &json!(10)));
    assert_eq!(hint["details"]["causes"], json!({ "timeout": { "attempts": 3 }, "rate_limited": { "attempts": 7 } }));
    assert!(!own.to_string().contains("cost"), "what providers bill is not an account's to see: {own:#}");
    let operators = hints(&stage, Scope::Operator(Some("Acme".to_owned()))).await;
    let hint = the(&operators, "retry_waste");
    // Three times 20,000 tokens at 2,000 nano.
    assert_eq!((money(hint), &hint["effect"]), ((120_000_000, 0, 120_000_000), &json!("cost")));
    let timeout = json!({ "attempts": 3, "cost_usd": "0.120000000" });
    assert_eq!((&hint["details"]["causes"]["timeout"], &hint["details"]["attempts"]), (&timeout, &json!(10)));
    assert_eq!(hint["scope"], json!({ "provider": "house", "upstream_model": "model-upstream" }));
}

#[tokio::test]
async fn a_few_failures_without_cost_are_no_hint() {
    let stage = Stage::new(1_000_000_000).await;
    fail(&stage, || Act::fails(FaultKind::RateLimited, Retry::Never), 9).await;
    for scope in [Scope::Account(stage.org), Scope::Operator(None)] {
        let hints = hints(&stage, scope).await;
        assert_eq!((of(&hints, "retry_waste"), &rule(&hints, "retry_waste")["requests"]), (Vec::<&Value>::new(), &json!(9)));
    }
    let other = hints(&stage, Scope::Account(gateway_core::OrgId::from_bytes([9; 16]))).await;
    assert_eq!(rule(&other, "retry_waste")["requests"], 0);
}
