//! Random commands against a wallet whose credit ends, and a small model of it: which parcel pays, what expires and when.

use std::{sync::Arc, time::Duration};

use crate::grants::{DAY, Scene, bought, scene, settle};
use gateway_billing::hold::{Admission, ReleaseReason};
use gateway_core::OrgId;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Gift { nano: i64, days: u32 },
    Credit(i64),
    Admit { tokens: u32 },
    Settle { which: usize, tokens: u64 },
    Release { which: usize },
    Sleep { days: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1i64..200_000, 1u32..5).prop_map(|(nano, days)| Step::Gift { nano, days }),
        1 => (1i64..200_000).prop_map(Step::Credit),
        5 => (1u32..12).prop_map(|tokens| Step::Admit { tokens }),
        4 => (any::<usize>(), 0u64..20).prop_map(|(which, tokens)| Step::Settle { which, tokens }),
        2 => any::<usize>().prop_map(|which| Step::Release { which }),
        2 => (1u32..4).prop_map(|days| Step::Sleep { days }),
    ]
}

struct Parcel {
    /// The day on which it ends; bought credit never does.
    ends: Option<u32>,
    left: i64,
}

/// One wallet, its parcels in the order in which they were made.
#[derive(Default)]
struct Model {
    today: u32,
    parcels: Vec<Parcel>,
    open: Vec<(Admission, i64, u32)>,
}

impl Model {
    fn available(&self) -> i64 {
        let posted: i64 = self.parcels.iter().map(|parcel| parcel.left).sum();
        posted - self.open.iter().map(|(_, amount, _)| amount).sum::<i64>()
    }

    /// Parcels in the order in which a request that began on `day` is paid from them.
    fn order(&self, day: u32) -> Vec<usize> {
        let mut order: Vec<_> = (0..self.parcels.len()).collect();
        order.sort_by_key(|n| {
            let ends = self.parcels[*n].ends;
            (ends.is_some_and(|ends| ends <= day), ends.is_none(), ends)
        });
        order
    }

    /// Of what ended at one date there stays at most what requests hold that began before it; the rest leaves if it is free.
    fn expire(&mut self) {
        let mut ends: Vec<_> = (0..self.parcels.len()).filter(|n| self.parcels[*n].ends.is_some_and(|ends| ends <= self.today)).collect();
        ends.sort_by_key(|n| self.parcels[*n].ends);
        let mut kept = 0;
        for n in ends {
            let before: i64 = self.open.iter().filter(|(.., day)| Some(*day) < self.parcels[n].ends).map(|(_, amount, _)| amount).sum();
            let keeps = self.parcels[n].left.min((before - kept).max(0));
            kept += keeps;
            self.parcels[n].left -= (self.parcels[n].left - keeps).min(self.available());
        }
    }

    fn end(&mut self, (amount, day): (i64, u32), charge: i64) {
        // The hold is closed by now, so what it had is part of what is free; the charge comes before expiry.
        let mut paid = charge.min(self.available().max(charge.min(amount)));
        for n in self.order(day) {
            let taken = self.parcels[n].left.min(paid);
            self.parcels[n].left -= taken;
            paid -= taken;
        }
        self.expire();
    }
}

async fn play(scene: &Scene, org: OrgId, name: &'static str, steps: Vec<Step>) {
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Gift { nano, days } => {
                scene.gift(name, nano, days).await;
                model.parcels.push(Parcel { ends: Some(model.today + days), left: nano });
            }
            Step::Credit(nano) => {
                scene.ledger.credit(bought(name, nano)).await.unwrap();
                model.parcels.push(Parcel { ends: None, left: nano });
            }
            Step::Admit { tokens } => match scene.hold(org, tokens) {
                Ok(admission) => {
                    let amount = admission.amount().get();
                    assert!(amount <= model.available(), "{amount} were held of {}", model.available());
                    model.open.push((admission, amount, model.today));
                }
                Err(_) => assert!(i64::from(tokens) * 8_000 > model.available(), "{tokens} tokens of {}", model.available()),
            },
            Step::Settle { which, tokens } if !model.open.is_empty() => {
                let (admission, amount, day) = model.open.swap_remove(which % model.open.len());
                settle(admission, tokens);
                model.end((amount, day), i64::try_from(tokens).unwrap() * 8_000);
            }
            Step::Release { which } if !model.open.is_empty() => {
                let (admission, amount, day) = model.open.swap_remove(which % model.open.len());
                admission.release(ReleaseReason::Failed);
                model.end((amount, day), 0);
            }
            Step::Sleep { days } => {
                scene.clock.skip(DAY * days);
                model.today += days;
                model.expire();
            }
            Step::Settle { .. } | Step::Release { .. } => {}
        }
        scene.becomes(name, model.available()).await;
    }
    for (admission, ..) in std::mem::take(&mut model.open) {
        admission.release(ReleaseReason::Failed);
    }
    model.expire();
    scene.becomes(name, model.available()).await;
    scene.check().await;
}

#[test]
fn any_sequence_lets_expire_what_nobody_holds() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig { cases: 32, max_shrink_iters: 12, failure_persistence: None, ..ProptestConfig::default() };
    let scene = Arc::new(runtime.block_on(scene(|options| options)));
    let next = std::cell::Cell::new(0);
    proptest!(config, |(steps in proptest::collection::vec(step(), 24))| {
        let name: &'static str = Box::leak(format!("account-{}", next.replace(next.get() + 1)).into_boxed_str());
        runtime.block_on(async {
            let org = scene.account(name).await;
            play(&scene, org, name, steps).await;
        });
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}
