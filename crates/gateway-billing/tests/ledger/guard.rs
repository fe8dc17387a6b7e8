//! The caller's own limit on a call, against attempts that use all that they may.

use std::sync::Arc;

use gateway_billing::{
    hold::{AdmitRequest, Billing, FinalUsage, OutputAsk, PinnedPlan, PricedCandidate},
    ledger::NewPlanVersion,
    money::{Nano, Ppm},
    price::{PriceKey, SELL_BOOK},
};
use gateway_core::{
    Attempt, AttemptEnd, Deployment, FaultKind, InputSize, Mode, PartialUsage, Reached, Usage,
    testing::{TestCall, deployment},
};

use sqlx::Row as _;

use crate::stage::Stage;

/// Numbers that depend on nothing but the first.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What an honest count of this prompt can come to.
fn most_input(bytes: u64) -> u64 {
    bytes + 64 + 1_024
}

fn request(stage: &Stage, places: &[Arc<Deployment>], dice: &mut Dice) -> AdmitRequest {
    let now = stage.ledger.clock().unix_us();
    let price = |model: &str| {
        let key = PriceKey { book: SELL_BOOK, provider: "house", upstream_model: "x", model };
        stage.ledger.prices().lookup(key, now).unwrap().unwrap()
    };
    // Now and then the provider bills more than the caller pays.
    let cost = (dice.below(3) == 0).then(|| price("dear"));
    let priced =
        |place: &Arc<Deployment>| PricedCandidate { deployment: Arc::clone(place), price: price(&place.model), cost: cost.clone() };
    let bytes = dice.below(5_000);
    AdmitRequest {
        id: gateway_core::RequestId::v7(1, std::array::from_fn(|_| dice.below(256) as u8)),
        org: stage.org,
        key: gateway_core::KeyId::from_bytes([2; 16]),
        mode: gateway_core::Mode::Live,
        team: None,
        user: None,
        tag: None,
        plan: PinnedPlan::DEFAULT,
        requested_model: "model".into(),
        stream: false,
        received_at: now,
        candidates: places.iter().map(priced).collect(),
        input: InputSize { text_bytes: bytes, prompt_bytes: bytes, items: 1, ..InputSize::default() },
        output: OutputAsk { limit: (dice.below(3) > 0).then(|| dice.below(2_000) as u32), choices: 1 + dice.below(3) as u32 },
        names_tier: false,
        max_total_cost: Some(Nano::new(dice.below(400_000_000) as i64)),
        facts: None,
    }
}

/// What the attempt may come to: now and then all of it.
fn used(attempt: &Attempt, request: &AdmitRequest, dice: &mut Dice) -> (u64, u64) {
    let limit = attempt.output_limit.unwrap().min(attempt.deployment.limits.output_tokens_max.unwrap());
    let (input, output) = (most_input(request.input.text_bytes), u64::from(limit) * u64::from(request.output.choices));
    if dice.below(3) == 0 { (dice.below(input + 1), dice.below(output + 1)) } else { (input, output) }
}

#[tokio::test]
async fn no_chain_of_attempts_passes_the_limit_though_each_uses_all_it_may() {
    let stage = Stage::new(1_000_000_000_000).await;
    let places = ["model", "dear"].map(|model| Arc::new(deployment(model, "house")));
    let call = TestCall::to("model").build();
    let half = NewPlanVersion {
        plan: "half".to_owned(),
        multiplier: Ppm::new(500_000).unwrap(),
        effective_from: None,
        idempotency_key: "half".to_owned(),
    };
    stage.ledger.publish_plan(half).await.unwrap();
    stage.ledger.put_on_plan("Acme", "half").await.unwrap();
    let half = stage.ledger.tariff(stage.org, Mode::Live, stage.ledger.clock().unix_us()).plan;
    let mut dice = Dice(20_261_123);
    let (mut served, mut vetoed, mut close, mut failed) = (0, 0, 0, 0);
    for n in 0..400 {
        let plan = if dice.below(2) == 0 { half } else { PinnedPlan::DEFAULT };
        let request = AdmitRequest { plan, ..request(&stage, &places, &mut dice) };
        let most = request.max_total_cost.unwrap().get();
        let admission = stage.ledger.try_admit(&request).unwrap();
        assert!(admission.amount().get() <= most, "no more is held than the call can cost");
        let log = admission.log();
        let mut charged = None;
        for ordinal in 1..=6 {
            let place = &places[dice.below(2) as usize];
            let (limit, log) = (Some(admission.output_limit()), Arc::clone(&log));
            let deadline = call.ctx().deadline;
            let mut attempt =
                Attempt { call: Arc::clone(&call), deployment: Arc::clone(place), ordinal, deadline, output_limit: limit, log };
            if let Err(fault) = attempt.log.clone().may_start(&mut attempt) {
                vetoed += 1;
                assert_eq!((fault.kind(), fault.code()), (FaultKind::InsufficientFunds, Some("max_total_cost_exceeded")));
                continue;
            }
            assert!(attempt.output_limit <= limit && (request.output.limit.is_none() || attempt.output_limit == limit));
            attempt.log.started(&attempt);
            let (input, output) = used(&attempt, &request, &mut dice);
            let usage = Usage { input_uncached: Some(input), ..Usage::default() };
            if dice.below(3) == 0 {
                attempt.log.ended(ordinal, AttemptEnd::Served, &PartialUsage::default());
                // Some providers ignore the limit they are given.
                let output = if dice.below(4) == 0 { output * 5 + 1_000 } else { output };
                charged = Some((Arc::clone(place), FinalUsage::Reported(Usage { output_text: Some(output), ..usage })));
                break;
            }
            failed += 1;
            let end = AttemptEnd::Failed { kind: FaultKind::BadUpstream, status: None, reached: Reached::Work };
            attempt.log.ended(ordinal, end, &PartialUsage { usage, content_bytes: output * 4 });
        }
        let charge = match charged {
            Some((place, usage)) => {
                served += 1;
                admission.settle(&place, &usage).paid.get()
            }
            None => {
                drop(admission);
                0
            }
        };
        stage.settled().await;
        let lost = sqlx::query("SELECT COALESCE(SUM(cost), 0) FROM attempt WHERE hold = ?1").bind(request.id.as_bytes().to_vec());
        let lost: i64 = lost.fetch_one(stage.ledger.reader()).await.unwrap().get(0);
        // Without a price list of the provider's, what is lost counts at the caller's own prices.
        let at_list = request.candidates[0].cost.is_some();
        let lost = if at_list { lost } else { i64::try_from(i128::from(lost) * i128::from(plan.multiplier.get()) / 1_000_000).unwrap() };
        assert!(charge + lost <= most, "call {n}: {charge} charged and {lost} lost of {most}: {request:?}");
        close += u32::from((charge + lost) * 10 > most * 9);
    }
    stage.check().await;
    // Each of these happened often, or nothing was tried.
    assert!(served > 50 && vetoed > 200 && close > 20 && failed > 100, "{served} {vetoed} {close} {failed}");
}
