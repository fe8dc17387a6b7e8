//! Random business over changing prices and plans: priced again as it was, it is the ledger to the nano; priced otherwise, it
//! is what each request's own receipt would say.

use gateway_billing::{
    hold::Billing as _,
    ledger::NewPlanVersion,
    money::Ppm,
    price::{PriceVersionId, ServedAt, charge},
    usage::leaves_of,
};
use gateway_core::{Mode, Usage, testing::deployment};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::json;

use super::{HOUR_US, Routes, nano, operator, priced, publish, reasons, sums};
use crate::{
    spending::{Spending, Spent},
    stage::check,
};
use gateway_billing::what_if::Directory as _;

const CASES: u32 = 24;
const MODELS: [&str; 2] = ["model", "dear"];
const PROVIDERS: [&str; 2] = ["house", "shed"];

#[derive(Debug, Clone)]
enum Step {
    Spend { key: usize, model: usize, provider: usize, usage: Box<Usage>, failed: bool },
    Later { minutes: i64 },
    Price { model: usize, input: u32, output: u32, shape: u8 },
    Plan { name: usize, ppm: u32 },
}

/// What the test knows of a request.
struct Done {
    model: &'static str,
    provider: &'static str,
    failed: bool,
    usage: Usage,
    arrived_us: i64,
    plan: (String, Ppm),
    version: PriceVersionId,
    charge: i64,
}

fn usage() -> impl Strategy<Value = Usage> {
    let few = || prop::option::of(0u64..20_000);
    let tier = prop::option::of(prop_oneof![Just("batch"), Just("Flex"), Just("default")]);
    (few(), few(), few(), few(), few(), few(), prop::option::of(0u64..4), tier).prop_map(
        |(input, read, written, audio, output, thought, searches, tier)| Usage {
            input_uncached: input,
            input_cache_read: read,
            input_cache_write_1h: written,
            input_audio: audio,
            output_text: output,
            output_reasoning: thought,
            web_searches: searches,
            service_tier: tier.map(Into::into),
            ..Usage::default()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..2, 0usize..2, 0usize..2, usage(), any::<bool>())
            .prop_map(|(key, model, provider, usage, failed)| Step::Spend { key, model, provider, usage: Box::new(usage), failed }),
        2 => (1i64..1_000).prop_map(|minutes| Step::Later { minutes }),
        2 => (0usize..2, 1u32..60_000, 1u32..90_000, 0u8..6)
            .prop_map(|(model, input, output, shape)| Step::Price { model, input, output, shape }),
        1 => (0usize..2, 100_000u32..3_000_000).prop_map(|(name, ppm)| Step::Plan { name, ppm }),
    ]
}

/// Thousandths of a dollar a million tokens, in one of the forms that prices have.
fn price(input: u32, output: u32, shape: u8) -> serde_json::Value {
    let mills = |mills: u32| format!("{}.{:03}", mills / 1_000, mills % 1_000);
    let mut price = json!({ "input": mills(input), "output": mills(output) });
    let extra = match shape {
        0 => json!({}),
        1 => json!({ "input_cache_read": "0.01", "input_audio": "9", "input_audio_cache_read": "1", "web_search": "10" }),
        2 => json!({ "overrides": [{ "input_tokens_over": 20_000, "input": "77.7" }] }),
        3 => json!({ "overrides": [{ "service_tier": "batch", "factor": "0.5" }, { "service_tier": "flex", "output": "0.333" }] }),
        4 => {
            json!({ "overrides": [{ "window": { "tz": "Asia/Shanghai", "days": "1-5", "from": "09:00", "to": "23:30" }, "factor": "1.7" }] })
        }
        _ => json!({ "min_charge": "0.001", "call.request": "123" }),
    };
    price.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    price
}

async fn play(spending: &Spending, steps: Vec<Step>) -> Vec<Done> {
    let mut done = Vec::new();
    for step in steps {
        // Nothing arrives in the microsecond in which a price or plan begins.
        spending.clock.skip_us(1_000);
        match step {
            Step::Later { minutes } => spending.clock.skip_us(minutes * HOUR_US / 60),
            Step::Price { model, input, output, shape } => {
                publish(spending, vec![priced("sell:default", MODELS[model], price(input, output, shape))]).await;
            }
            Step::Plan { name, ppm } => {
                let plan = ["default", "pro"][name];
                let new = NewPlanVersion {
                    plan: plan.to_owned(),
                    multiplier: Ppm::new(ppm).unwrap(),
                    effective_from: None,
                    idempotency_key: format!("{plan}-{}", spending.clock.now_us()),
                };
                spending.ledger.publish_plan(new).await.unwrap();
                spending.ledger.put_on_plan("Acme", plan).await.unwrap();
            }
            Step::Spend { key, model, provider, usage, failed } => {
                let (model, provider) = (MODELS[model], PROVIDERS[provider]);
                let arrived_us = spending.clock.now_us();
                let tariff = spending.ledger.tariff(spending.org, Mode::Live, arrived_us);
                let at = std::sync::Arc::new(deployment(model, provider));
                let version = tariff.price(&at, arrived_us).unwrap().unwrap().price.id;
                let other = PROVIDERS[usize::from(provider == PROVIDERS[0])];
                let before = [other];
                let spent =
                    Spent { key, model, provider, tag: None, usage: Usage::clone(&usage), failed: if failed { &before } else { &[] } };
                let charge = spending.spend(&spent).await;
                let plan = spending.ledger.account("Acme").await.unwrap().plan;
                done.push(Done {
                    model,
                    provider,
                    failed,
                    usage: *usage,
                    arrived_us,
                    plan: (plan, tariff.plan.multiplier),
                    version,
                    charge,
                });
            }
        }
    }
    done
}

/// Models swapped and providers put into an order, at a moment's prices.
struct Question {
    to: &'static str,
    order: [&'static str; 2],
    at_us: Option<i64>,
}

impl Done {
    /// By hand: where it would have gone, and what its receipt would have said. `None`: it cannot be priced.
    fn otherwise(&self, spending: &Spending, question: &Question) -> Option<i64> {
        let model = if self.model == "dear" { question.to } else { self.model };
        let failed = PROVIDERS[usize::from(self.provider == PROVIDERS[0])];
        let provider = question.order.into_iter().find(|provider| !(self.failed && *provider == failed))?;
        let upstream_model = Routes.deployments(model)[0].upstream_model.clone();
        let at = ServedAt { provider, upstream_model: &upstream_model, model };
        let moment = question.at_us.unwrap_or(self.arrived_us);
        let price = spending.ledger.prices().sell(&self.plan.0, at, moment).unwrap()?;
        let receipt = charge(&price, self.plan.1, &leaves_of(&self.usage).leaves, self.arrived_us).unwrap();
        (!receipt.flags.unpriced || price.id == self.version).then(|| receipt.total.get())
    }
}

async fn holds(steps: Vec<Step>, swap: bool, house_first: bool, moment: Option<usize>) {
    let spending = Spending::new().await;
    // Hours of the day and rates of their own matter in every case, not only where the dice publish such a price.
    publish(
        &spending,
        vec![priced("sell:default", "model", price(2_000, 8_000, 4)), priced("sell:default", "dear", price(20_000, 80_000, 1))],
    )
    .await;
    spending.clock.skip_us(1_000);
    let done = play(&spending, steps).await;
    let total: i64 = done.iter().map(|done| done.charge).sum();

    let same = operator(&spending, json!({ "account": "Acme", "cost": true })).await;
    assert_eq!(sums(&same), (total, total));
    assert_eq!((&same["exact"], same["requests"].as_u64()), (&json!(true), u64::try_from(done.len()).ok()));
    assert_eq!((&same["repriced"], &same["current"]["cost"]), (&json!(0), &same["alternative"]["cost"]));
    assert_eq!(nano(&spending.read("/cost-report?period=all").await["total_cost"]), total);

    let to = if swap { "model" } else { "dear" };
    let order = if house_first { PROVIDERS } else { [PROVIDERS[1], PROVIDERS[0]] };
    let at_us = moment.and_then(|n| done.get(n % done.len().max(1))).map(|done| done.arrived_us);
    let question = Question { to, order, at_us };
    let mut body = json!({ "models": { "dear": to }, "order": { "model": order, "dear": order } });
    if let Some(at) = at_us {
        body["prices_at"] = json!(jiff::Timestamp::from_microsecond(at).unwrap().to_string());
    }
    let answer = operator(&spending, body).await;
    let expected: i64 = done.iter().map(|done| done.otherwise(&spending, &question).unwrap_or(done.charge)).sum();
    assert_eq!(sums(&answer), (total, expected), "{answer:#}");
    let kept = done.iter().filter(|done| done.otherwise(&spending, &question).is_none()).count();
    assert_eq!(reasons(&answer).values().sum::<u64>(), u64::try_from(kept).unwrap());
    check(&spending.ledger).await;
}

#[test]
fn any_business_priced_again_is_the_ledger_or_what_its_receipts_would_say() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let steps = prop::collection::vec(step(), 1..30);
    let mut runner = TestRunner::new(Config { cases: CASES, max_shrink_iters: 60, failure_persistence: None, ..Config::default() });
    let strategy = (steps, any::<bool>(), any::<bool>(), prop::option::of(any::<usize>()));
    runner
        .run(&strategy, |(steps, swap, house_first, moment)| {
            runtime.block_on(holds(steps, swap, house_first, moment));
            Ok(())
        })
        .unwrap();
}
