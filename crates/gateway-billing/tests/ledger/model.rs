//! Random commands against the real ledger and a small model of one wallet; every promise is checked after each sequence.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::stage::Stage;
use gateway_billing::{
    hold::{Admission, AdmitRequest, Billing as _, FinalUsage, OutputAsk, PinnedPlan, PricedCandidate, Refusal, ReleaseReason},
    price::{PriceKey, SELL_BOOK},
};
use gateway_core::{Deployment, InputSize, KeyId, Mode, PartialUsage, RequestId, Usage, testing::deployment};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Credit(i64),
    Admit { limit: u32 },
    Progress { which: usize, bytes: u64 },
    Settle { which: usize, output: u64 },
    Release { which: usize },
    Drop { which: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (1i64..5_000_000).prop_map(Step::Credit),
        6 => (1u32..400).prop_map(|limit| Step::Admit { limit }),
        3 => (any::<usize>(), 0u64..2_000).prop_map(|(which, bytes)| Step::Progress { which, bytes }),
        4 => (any::<usize>(), 0u64..900).prop_map(|(which, output)| Step::Settle { which, output }),
        2 => any::<usize>().prop_map(|which| Step::Release { which }),
        2 => any::<usize>().prop_map(|which| Step::Drop { which }),
    ]
}

/// One wallet: what it has, and the open holds with what their owners last reported.
#[derive(Default)]
struct Model {
    posted: i64,
    open: Vec<(Admission, i64, Option<i64>)>,
}

impl Model {
    fn available(&self) -> i64 {
        self.posted - self.open.iter().map(|(_, amount, _)| amount).sum::<i64>()
    }

    /// Ends one hold with this charge: from the hold, then from what is free.
    fn charge(&mut self, amount: i64, charge: i64) {
        self.posted -= charge.min(amount);
        let extra = (charge - amount).max(0).min(self.available());
        self.posted -= extra;
    }
}

/// $2 and $8 per million tokens, ten tokens in.
pub(crate) fn price(output: u64) -> i64 {
    20_000 + 8_000 * i64::try_from(output).unwrap()
}

pub(crate) fn usage(output: Option<u64>) -> Usage {
    Usage { input_uncached: Some(10), output_text: output, ..Usage::default() }
}

pub(crate) fn request(stage: &Stage, at: &Arc<Deployment>, limit: u32) -> AdmitRequest {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let received_at = stage.ledger.clock().unix_us();
    let key = PriceKey { book: SELL_BOOK, provider: "house", upstream_model: "x", model: "model" };
    let price = stage.ledger.prices().lookup(key, received_at).unwrap().unwrap();
    AdmitRequest {
        id: RequestId::v7(NEXT.fetch_add(1, Ordering::Relaxed), [0; 10]),
        org: stage.org,
        key: KeyId::from_bytes([2; 16]),
        mode: Mode::Live,
        team: None,
        user: None,
        tag: None,
        plan: PinnedPlan::DEFAULT,
        requested_model: "model".into(),
        stream: false,
        received_at,
        candidates: [PricedCandidate { deployment: Arc::clone(at), price, cost: None }].into(),
        input: InputSize::default(),
        output: OutputAsk { limit: Some(limit), choices: 1 },
        names_tier: false,
    }
}

async fn play(stage: &Stage, steps: Vec<Step>) {
    let at = Arc::new(deployment("model", "house"));
    let mut model = Model { posted: stage.available().await, open: Vec::new() };
    for step in steps {
        match step {
            Step::Credit(nano) => {
                stage.credit(nano).await;
                model.posted += nano;
            }
            Step::Admit { limit } => match stage.ledger.try_admit(&request(stage, &at, limit)) {
                Ok(admission) => {
                    let amount = admission.amount().get();
                    assert!(amount <= model.available(), "{amount} were held of {}", model.available());
                    model.open.push((admission, amount, None));
                }
                Err(Refusal::InsufficientFunds { required, available, .. }) => {
                    assert_eq!(available.amount.get(), model.available());
                    assert!(required.amount.get() > model.available());
                }
                Err(other) => panic!("{other:?}"),
            },
            Step::Progress { which, bytes } if !model.open.is_empty() => {
                let which = which % model.open.len();
                let (admission, _, seen) = &mut model.open[which];
                admission.progress(&at, PartialUsage { usage: usage(None), content_bytes: bytes });
                *seen = Some(price(bytes / 4));
            }
            Step::Settle { which, output } if !model.open.is_empty() => {
                let (admission, amount, _) = model.open.swap_remove(which % model.open.len());
                admission.settle(&at, &FinalUsage::Reported(usage(Some(output))));
                model.charge(amount, price(output));
            }
            Step::Release { which } if !model.open.is_empty() => {
                let (admission, ..) = model.open.swap_remove(which % model.open.len());
                admission.release(ReleaseReason::Failed);
            }
            Step::Drop { which } if !model.open.is_empty() => {
                let (admission, amount, seen) = model.open.swap_remove(which % model.open.len());
                drop(admission);
                model.charge(amount, seen.unwrap_or(0));
            }
            Step::Progress { .. } | Step::Settle { .. } | Step::Release { .. } | Step::Drop { .. } => {}
        }
        assert_eq!(stage.available().await, model.available());
    }
    for (admission, ..) in model.open.drain(..) {
        admission.release(ReleaseReason::Failed);
    }
    stage.check().await;
}

#[test]
fn any_sequence_keeps_the_books() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stage = runtime.block_on(Stage::new(3_000_000));
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in proptest::collection::vec(step(), 50))| {
        runtime.block_on(play(&stage, steps));
    });
}
