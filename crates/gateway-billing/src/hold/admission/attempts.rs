//! The attempts that a hold pays for: what routing reports of them, and the rows they leave.

use std::sync::Arc;

use gateway_core::{Attempt, AttemptEnd, AttemptLog, Deployment, PartialUsage, Reached};

use super::{FinalUsage, Open};
use crate::{journal::row::AttemptRow, money::Nano};

#[derive(Clone)]
pub(super) struct Trying {
    pub(super) n: u32,
    pub(super) deployment: Arc<Deployment>,
    started_at: i64,
    ended: Option<(AttemptEnd, i64, FinalUsage)>,
}

impl Open {
    /// An answer that nobody pays for is an attempt that was abandoned, and costs what it has used.
    pub(super) fn abandon_served(&self, used: Option<FinalUsage>) {
        let mut attempts = self.attempts.lock();
        if let Some(Trying { ended: Some((end @ AttemptEnd::Served, _, seen)), .. }) = attempts.last_mut() {
            *end = AttemptEnd::Abandoned;
            if let Some(used) = used {
                *seen = used;
            }
        }
    }

    /// Rows only where there is something to tell beyond the settlement itself.
    pub(super) fn attempt_rows(&self, now_us: i64) -> Vec<AttemptRow> {
        let attempts = {
            let attempts = self.attempts.lock();
            let plain = match attempts.as_slice() {
                [] => true,
                [only] => matches!(only.ended, None | Some((AttemptEnd::Served, ..))),
                _ => false,
            };
            if plain {
                return Vec::new();
            }
            // Pricing an attempt looks at the attempts again, so the lock must be free by then.
            attempts.clone()
        };
        attempts.iter().map(|trying| self.attempt_row(trying, now_us)).collect()
    }

    fn attempt_row(&self, trying: &Trying, now_us: i64) -> AttemptRow {
        let (outcome, status, ended_at, cost) = match &trying.ended {
            None => ("abandoned", None, now_us, Nano::ZERO),
            Some((AttemptEnd::Served, at, _)) => ("served", None, *at, Nano::ZERO),
            Some((AttemptEnd::Failed { kind, status, reached }, at, seen)) => {
                let cost = match reached {
                    Reached::Nothing => Nano::ZERO,
                    Reached::Work => self.cost(&trying.deployment, seen),
                };
                (kind.as_str(), *status, *at, cost)
            }
            Some((AttemptEnd::Abandoned, at, seen)) => ("abandoned", None, *at, self.cost(&trying.deployment, seen)),
        };
        AttemptRow {
            n: trying.n,
            provider: trying.deployment.provider.as_str().into(),
            upstream_model: Arc::clone(&trying.deployment.upstream_model),
            started_at: trying.started_at,
            ended_at: Some(ended_at),
            outcome: Some(outcome),
            status,
            cost,
        }
    }

    /// What a provider may bill for an attempt that nobody pays us for: as reported, else estimated.
    fn cost(&self, deployment: &Arc<Deployment>, used: &FinalUsage) -> Nano {
        self.draft(deployment, used).map_or(Nano::ZERO, |draft| draft.cost)
    }
}

impl AttemptLog for Open {
    fn started(&self, attempt: &Attempt) {
        let started_at = self.clock.unix_us();
        self.attempts.lock().push(Trying { n: attempt.ordinal, deployment: Arc::clone(&attempt.deployment), started_at, ended: None });
    }

    fn ended(&self, ordinal: u32, end: AttemptEnd, seen: &PartialUsage) {
        let at = self.clock.unix_us();
        let mut attempts = self.attempts.lock();
        if let Some(trying) = attempts.iter_mut().rev().find(|trying| trying.n == ordinal) {
            trying.ended.get_or_insert((end, at, FinalUsage::Counted(seen.clone())));
        }
    }
}
