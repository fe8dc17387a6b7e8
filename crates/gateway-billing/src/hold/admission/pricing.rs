//! What an answer costs, told while it is written: the settlement's own computation, made early and kept for it.

use std::sync::Arc;

use gateway_core::{Deployment, Used};

use super::{FinalUsage, Open};
use crate::{
    hold::delivery::last_word,
    journal::row::Draft,
    money::{Currency, Nano},
};

/// No answer costs an operator more: what a provider reports above it is a mistake, and a sum of such could not be booked.
const REPORTED_MAX: Nano = Nano::new(10_000 * Nano::ONE.get());

/// A price that has been told.
pub(super) struct Told {
    deployment: Arc<Deployment>,
    usage: FinalUsage,
    draft: Draft,
}

impl Open {
    /// What the wallet pays for an answer that has come to this.
    pub(super) fn foresee(&self, deployment: &Arc<Deployment>, used: &Used) -> Option<Nano> {
        let usage = last_word(&used.usage, used.is_final, used.content_bytes);
        let draft = self.draft(deployment, &usage)?;
        let paid = self.held.wallet.payable(self.held.amount, draft.charge, self.overrun(draft.attempt));
        *self.told.lock() = Some(Told { deployment: Arc::clone(deployment), usage, draft });
        Some(paid)
    }

    /// The draft to settle by: the one whose price the answer states, if it has come to what was foreseen.
    pub(super) fn final_draft(&self, deployment: &Arc<Deployment>, usage: &FinalUsage) -> Option<Draft> {
        let told = self.told.lock().take();
        let same =
            |told: &Told| told.deployment.id == deployment.id && told.draft.attempt == self.attempt_at(deployment) && told.usage == *usage;
        match told.filter(same) {
            Some(told) => Some(told.draft),
            None => self.draft(deployment, usage),
        }
    }

    /// What the provider says it bills, where that can be believed.
    pub(super) fn cost_reported(&self, usage: &FinalUsage) -> Option<Nano> {
        let (FinalUsage::Reported(usage) | FinalUsage::Counted(gateway_core::PartialUsage { usage, .. })) = usage;
        let reported = i64::try_from(usage.reported_cost?).map_or(Nano::MAX, Nano::new);
        if self.held.wallet.currency() != Currency::USD {
            return None;
        }
        if reported > REPORTED_MAX {
            tracing::warn!(id = %self.held.id, %reported, "the provider reports a cost that cannot be; the table's is booked");
            return None;
        }
        Some(reported)
    }
}
