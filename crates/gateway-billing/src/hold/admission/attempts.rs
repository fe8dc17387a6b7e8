//! The attempts that a hold pays for: what routing reports of them, and the rows they leave.

use std::sync::Arc;

use gateway_core::{Attempt, AttemptEnd, AttemptLog, Deployment, Fault, PartialUsage, Reached, Used};

use super::{FinalUsage, Open};
use crate::{
    book::Overrun,
    journal::row::{AttemptRow, Draft},
    money::{Currency, Nano},
    usage::UsageFlags,
};

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

    /// The charge for the input of the attempt that was under way when the caller left, if a provider may bill for one. What
    /// the provider bills is booked with the attempt, not with this.
    pub(super) fn abandoned(&self) -> Option<Draft> {
        let (n, deployment, seen) = {
            let attempts = self.attempts.lock();
            let last = attempts.last()?;
            match &last.ended {
                Some((AttemptEnd::Abandoned, _, seen)) => (last.n, Arc::clone(&last.deployment), seen.clone()),
                _ => return None,
            }
        };
        let usage = match seen {
            FinalUsage::Reported(usage) => usage,
            FinalUsage::Counted(seen) => seen.usage,
        };
        let input = FinalUsage::Counted(PartialUsage { usage, content_bytes: 0 });
        let mut draft = self.draft(&deployment, &input)?;
        (draft.attempt, draft.cost, draft.cost_reported) = (n, Nano::ZERO, None);
        draft.flags = UsageFlags::from_bits(draft.flags).and(UsageFlags::ABANDONED).bits();
        Some(draft)
    }

    /// The latest attempt at the deployment.
    pub(super) fn attempt_at(&self, deployment: &Deployment) -> u32 {
        self.attempts.lock().iter().rev().find(|trying| trying.deployment.id == deployment.id).map_or(1, |trying| trying.n)
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
        let (outcome, status, ended_at) = match &trying.ended {
            None => ("abandoned", None, now_us),
            Some((AttemptEnd::Served, at, _)) => ("served", None, *at),
            Some((AttemptEnd::Failed { kind, status, .. }, at, _)) => (kind.as_str(), *status, *at),
            Some((AttemptEnd::Abandoned, at, _)) => ("abandoned", None, *at),
        };
        let (cost, cost_currency) =
            billable(trying).map_or((Nano::ZERO, self.held.wallet.currency()), |seen| self.cost(&trying.deployment, seen));
        AttemptRow {
            n: trying.n,
            provider: trying.deployment.provider.as_str().into(),
            upstream_model: Arc::clone(&trying.deployment.upstream_model),
            started_at: trying.started_at,
            ended_at: Some(ended_at),
            outcome: Some(outcome),
            status,
            cost,
            cost_currency,
        }
    }

    /// How far the charge for an attempt may pass the hold: with what the others may have cost, never past the caller's own
    /// limit.
    pub(super) fn overrun(&self, attempt: u32) -> Overrun {
        self.guard.as_ref().map_or(Overrun::FromBalance, |guard| Overrun::UpTo(guard.left(self.spent_but(Some(attempt)))))
    }

    /// What the attempts so far, but one, may have cost, in the money of the call. Where nothing tells what the provider bills,
    /// or it bills in other money, they are taken at what the caller would pay.
    fn spent_but(&self, one: Option<u32>) -> Nano {
        let currency = self.held.wallet.currency();
        let billed = |draft: &Draft| (draft.cost_version.is_some() || draft.cost_reported.is_some()) && draft.cost_currency == currency;
        let cost = |trying: &Trying| {
            let draft = billable(trying).and_then(|seen| self.draft(&trying.deployment, seen));
            draft.map_or(Nano::ZERO, |draft| if billed(&draft) { draft.cost } else { draft.charge })
        };
        // Pricing an attempt looks at the attempts again, so the lock must be free by then.
        let attempts = self.attempts.lock().clone();
        Nano::checked_sum(attempts.iter().filter(|trying| Some(trying.n) != one).map(cost)).unwrap_or(Nano::MAX)
    }

    /// What a provider may bill for an attempt that nobody pays us for: as reported, else estimated.
    fn cost(&self, deployment: &Arc<Deployment>, used: &FinalUsage) -> (Nano, Currency) {
        let draft = self.draft(deployment, used);
        draft.map_or((Nano::ZERO, self.held.wallet.currency()), |draft| (draft.cost, draft.cost_currency))
    }
}

/// What an attempt has used that was not served, where its provider may bill for that; of a served one the settlement tells.
fn billable(trying: &Trying) -> Option<&FinalUsage> {
    match &trying.ended {
        None | Some((AttemptEnd::Served | AttemptEnd::Failed { reached: Reached::Nothing, .. }, ..)) => None,
        Some((AttemptEnd::Abandoned | AttemptEnd::Failed { reached: Reached::Work, .. }, _, seen)) => Some(seen),
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

    fn may_start(&self, attempt: &mut Attempt) -> Result<(), Fault> {
        let Some(guard) = &self.guard else { return Ok(()) };
        let place = self.candidates.iter().position(|candidate| candidate.deployment.id == attempt.deployment.id);
        guard.admit(place.unwrap_or(usize::MAX), self.spent_but(None), attempt)
    }

    fn price(&self, deployment: &Arc<Deployment>, used: &Used) -> Option<Box<str>> {
        self.foresee(deployment, used).map(|price| price.to_string().into())
    }
}
