//! A hold from its reservation to its end, and the log of the attempts it pays for.

mod attempts;
mod pricing;

use std::{borrow::Cow, sync::Arc};

use gateway_core::{AttemptLog, Clock, Deployment, InputSize, PartialUsage, RequestId, Usage};
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use self::{attempts::Trying, pricing::Told};
use super::{
    AdmitRequest, Allowances, LearnedSizes, PinnedPlan, PricedCandidate,
    guard::Guard,
    sizing::{Size, hard_bound, input_estimate},
    written::{Committed, Ended},
};
use crate::{
    book::{Taken, Wallet},
    budget::claim::{self, Claim, Reserved, Short},
    error::LedgerError,
    journal::{
        Command, Journal,
        row::{AttemptRow, Draft, End, Held, Served, Ticket, encode_pins},
    },
    ledger::Ledger,
    money::{Currency, Nano, Ppm},
    price::{TimeBasis, charge_total},
    usage::{BytesPerToken, Leaves, UsageFlags, UsageSource, counted, leaves_at},
};

/// What was used, and how it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinalUsage {
    /// The provider's own last word.
    Reported(Usage),
    /// The answer ended without it: what was reported early, and the bytes of content the caller got.
    Counted(PartialUsage),
}

/// Why a hold is freed without a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseReason {
    /// Every attempt failed, or the call ended before one was made.
    Failed,
    /// The caller left before anything was delivered.
    CallerLeft,
}

/// What a settlement came to. Known at once; its row follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// What the wallet pays.
    pub paid: Nano,
    /// Where it was taken from.
    pub taken: Taken,
    /// What is free afterwards.
    pub remaining: Nano,
}

/// What the admission, the attempt log and the stream's watcher share.
pub(super) struct Open {
    held: Arc<Held>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    sizes: Arc<LearnedSizes>,
    allowances: Arc<Allowances>,
    candidates: Arc<[PricedCandidate]>,
    plan: PinnedPlan,
    input: InputSize,
    attempts: Mutex<Vec<Trying>>,
    guard: Option<Guard>,
    /// The price that the answer states, kept for its settlement.
    told: Mutex<Option<Told>>,
}

/// Money held for one request. It ends once: by [`Admission::settle`], by [`Admission::release`], or by being dropped,
/// which settles what [`Admission::progress`] last saw and releases when it saw nothing.
pub struct Admission {
    open: Arc<Open>,
    slot: Option<OwnedSemaphorePermit>,
    output_limit: u32,
    last_seen: Mutex<Option<(Arc<Deployment>, PartialUsage)>>,
}

impl Admission {
    /// Takes the money from the wallet and every budget, or says which had too little.
    pub(super) fn reserve(
        ledger: &Ledger,
        request: &AdmitRequest,
        wallet: &Arc<Wallet>,
        (size, claims): (Size, &[Claim]),
        slot: OwnedSemaphorePermit,
    ) -> Result<Self, Short> {
        let row = |budgets: Box<[Reserved]>| Held {
            id: request.id,
            wallet: Arc::clone(wallet),
            key: request.key,
            amount: size.amount,
            pins: encode_pins(request.candidates.iter().map(|candidate| (candidate.price.id.0, request.plan.version))),
            budgets,
            requested_model: request.requested_model.clone(),
            tag: request.tag.clone(),
            stream: request.stream,
            facts: request.stored_facts(),
            created_at: request.received_at,
            committed: Ticket::default(),
            ended: Ticket::default(),
            progress: Mutex::default(),
        };
        let journal = ledger.journal();
        let mut taken = None;
        claim::reserve(claims, wallet, size.amount, request.received_at, |budgets| {
            let held = Arc::new(row(budgets));
            if !journal.push(Command::Hold(Arc::clone(&held))) {
                held.committed.resolve(Err(LedgerError::Stopped));
            }
            taken = Some(held);
        })?;
        let Some(held) = taken else { unreachable!("what was reserved was queued") };
        let open = Arc::new(Open {
            held,
            journal: Arc::clone(journal),
            clock: Arc::clone(ledger.clock()),
            sizes: Arc::clone(ledger.sizes()),
            allowances: Arc::clone(ledger.allowances()),
            candidates: Arc::clone(&request.candidates),
            plan: request.plan,
            input: request.input,
            attempts: Mutex::new(Vec::with_capacity(1)),
            guard: Guard::of(request),
            told: Mutex::default(),
        });
        Ok(Self { open, slot: Some(slot), output_limit: size.output_limit, last_seen: Mutex::new(None) })
    }

    /// The hold's id, which is the request's.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.open.held.id
    }

    /// What is held.
    #[must_use]
    pub fn amount(&self) -> Nano {
        self.open.held.amount
    }

    /// Most output tokens per choice that the hold pays for.
    #[must_use]
    pub fn output_limit(&self) -> u32 {
        self.output_limit
    }

    /// The same for the latest attempt, of which the caller's own limit on the call may have left less.
    #[must_use]
    pub fn output_limit_tried(&self) -> u32 {
        self.open.guard.as_ref().and_then(Guard::latest_limit).unwrap_or(self.output_limit)
    }

    /// What the wallet has free now.
    #[must_use]
    pub fn remaining(&self) -> Nano {
        self.open.held.wallet.reading().available()
    }

    /// Where attempts are recorded. It may outlive the admission.
    #[must_use]
    pub fn log(&self) -> Arc<dyn AttemptLog> {
        Arc::clone(&self.open) as Arc<dyn AttemptLog>
    }

    /// Resolves when the hold is written. Await it before the caller's first byte.
    ///
    /// # Errors
    /// It could not be written; nothing may be delivered.
    pub async fn durable(&self) -> Result<(), LedgerError> {
        self.open.held.committed.wait().await
    }

    /// Notes what a caller has been given so far and has it written as a checkpoint. One that is still in the queue is
    /// replaced, so that what is written is never older than its commit. Memory only. `true`: it will be written.
    pub fn progress(&self, deployment: &Arc<Deployment>, seen: PartialUsage) -> bool {
        let draft = self.open.draft(deployment, &FinalUsage::Counted(seen.clone()));
        *self.last_seen.lock() = Some((Arc::clone(deployment), seen));
        let Some(draft) = draft else { return false };
        let held = &self.open.held;
        let waiting = held.progress.lock().replace(Box::new(draft)).is_some();
        waiting || self.open.journal.push(Command::Progress(Arc::clone(held), None))
    }

    /// Charges what was used. The charge is known at once and written in the background; this cannot wait or fail.
    pub fn settle(mut self, deployment: &Arc<Deployment>, usage: &FinalUsage) -> Receipt {
        self.settle_in_place(deployment, usage)
    }

    /// Frees all of it. Attempts that a provider may bill are booked as the operator's cost.
    pub fn release(mut self, reason: ReleaseReason) {
        tracing::debug!(id = %self.id(), ?reason, "released");
        self.release_in_place();
    }

    /// The same for an answer that was made and not delivered; `used` is what the provider may bill for it.
    pub(super) fn forfeit(mut self, used: FinalUsage, reason: ReleaseReason) {
        self.open.abandon_served(Some(used));
        match reason {
            ReleaseReason::Failed => self.release(reason),
            ReleaseReason::CallerLeft => self.leave(),
        }
    }

    /// As [`Admission::durable`], for after the admission has ended.
    pub(super) fn committed(&self) -> Committed {
        Committed(Arc::clone(&self.open.held))
    }

    /// Tells when the end of the hold is written.
    pub(super) fn ended(&self) -> Ended {
        Ended { held: Arc::clone(&self.open.held), journal: Arc::clone(&self.open.journal) }
    }

    fn settle_in_place(&mut self, deployment: &Arc<Deployment>, usage: &FinalUsage) -> Receipt {
        let nothing =
            |open: &Open| Receipt { paid: Nano::ZERO, taken: Taken::default(), remaining: open.held.wallet.reading().available() };
        let Some(slot) = self.slot.take() else { return nothing(&self.open) };
        let Some(draft) = self.open.final_draft(deployment, usage) else {
            tracing::error!(id = %self.open.held.id, deployment = %deployment.id, "an answer came from where nothing was priced, or its charge does not fit the ledger; it is not charged");
            self.open.end_released(slot, Nano::ZERO);
            return nothing(&self.open);
        };
        // Test money costs nothing, and what it teaches would size the holds of those who pay.
        if let FinalUsage::Reported(usage) = usage
            && self.open.held.wallet.currency() == Currency::USD
        {
            self.open.sizes.note(&deployment.upstream_model, &self.open.input, usage.input_tokens());
        }
        let held = &self.open.held;
        let taken = self.open.end_settled(draft, slot);
        Receipt { paid: taken.paid(), taken, remaining: held.wallet.reading().available() }
    }

    /// The caller left before anything was delivered: nothing is charged as long as the key has an allowance left for what
    /// providers may bill, and the input beyond it.
    fn leave(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        self.open.abandon_served(None);
        let Some(input) = self.open.abandoned() else { return self.open.end_released(slot, Nano::ZERO) };
        let Held { id, key, created_at, .. } = *self.open.held;
        if self.open.allowances.allow(key, input.charge, created_at) {
            tracing::debug!(%id, "released: the caller left");
            self.open.end_released(slot, input.charge);
        } else {
            tracing::info!(%id, %key, "charged the input of an answer that nobody waited for: the key's allowance of the day is spent");
            self.open.end_settled(input, slot);
        }
    }

    fn release_in_place(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.open.abandon_served(None);
            self.open.end_released(slot, Nano::ZERO);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.slot.is_none() {
            return;
        }
        match self.last_seen.get_mut().take() {
            Some((deployment, seen)) => {
                self.settle_in_place(&deployment, &FinalUsage::Counted(seen));
            }
            // Nobody is waiting for the call any more, or it panicked.
            None => self.leave(),
        }
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("id", &self.id()).field("amount", &self.amount()).finish_non_exhaustive()
    }
}

impl Open {
    /// The price of a usage; `None` when the deployment is not among the pinned candidates, or the amount does not fit.
    fn draft(&self, deployment: &Arc<Deployment>, usage: &FinalUsage) -> Option<Draft> {
        let candidate = self.candidate(deployment)?;
        let (used, source, mut flags) = self.tell(usage);
        let at_rates = |usage: &Usage| leaves_at(usage, &candidate.price, self.held.created_at);
        let normalised = at_rates(&used);
        if normalised.inconsistent {
            flags = flags.and(UsageFlags::INCONSISTENT);
        }
        let (cost, cost_currency) = self.cost_of(candidate, &normalised.leaves)?;
        let mut leaves = normalised.leaves;
        if let FinalUsage::Reported(usage) = usage
            && let Some(bound) = hard_bound(&self.input, usage)
            && leaves.input_tokens() > bound
        {
            // No honest count is above it; the caller pays for the bound, the operator bears what the provider bills.
            flags = flags.and(UsageFlags::OVER_BOUND);
            tracing::warn!(id = %self.held.id, deployment = %deployment.id, reported = leaves.input_tokens(), bound, "the provider reports more input than was sent");
            leaves = at_rates(&Usage { reported_input: Some(bound), ..usage.clone() }).leaves;
        }
        let (charge, oddities) = charge_total(&candidate.price, self.plan.multiplier, &leaves, self.held.created_at).ok()?;
        let cost_reported = self.cost_reported(usage);
        Some(Draft {
            attempt: self.attempt_at(deployment),
            served: Served {
                provider: deployment.provider.as_str().into(),
                upstream_model: Arc::clone(&deployment.upstream_model),
                model: Arc::clone(&deployment.model),
            },
            price_version: candidate.price.id.0,
            plan_version: self.plan.version,
            // What the provider itself reports is in no price list.
            cost_version: candidate.cost.as_ref().filter(|_| cost_reported.is_none()).map(|cost| cost.id.0),
            tokens_in: leaves.input_tokens(),
            tokens_out: leaves.output_tokens(),
            kinds: leaves.kinds(),
            leaves: leaves.to_stored().into_bytes().into(),
            source,
            flags: flags.and(UsageFlags::of_charge(oddities)).bits(),
            charge,
            cost: cost_reported.unwrap_or(cost),
            cost_currency: cost_reported.map_or(cost_currency, |_| Currency::USD),
            cost_reported,
        })
    }

    /// What the provider bills for a use: by its own price list where there is one, else as much as the list price here.
    fn cost_of(&self, candidate: &PricedCandidate, leaves: &Leaves) -> Option<(Nano, Currency)> {
        let Some(list) = &candidate.cost else {
            let cost = charge_total(&candidate.price, Ppm::ONE, leaves, self.held.created_at).ok()?.0;
            return Some((cost, self.held.wallet.currency()));
        };
        let at = match list.time_basis() {
            TimeBasis::RequestStart => self.held.created_at,
            TimeBasis::ResponseEnd => self.clock.unix_us(),
        };
        Some((charge_total(list, Ppm::ONE, leaves, at).ok()?.0, list.currency()))
    }

    /// What was used, where that is known from, and what is odd about it.
    fn tell<'u>(&self, usage: &'u FinalUsage) -> (Cow<'u, Usage>, UsageSource, UsageFlags) {
        match usage {
            FinalUsage::Reported(usage) => (Cow::Borrowed(usage), UsageSource::Reported, UsageFlags::NONE),
            FinalUsage::Counted(seen) => {
                let (usage, source) = counted(&seen.usage, input_estimate(&self.input), seen.content_bytes, BytesPerToken::USUAL);
                (Cow::Owned(usage), source, UsageFlags::NO_FINAL_USAGE)
            }
        }
    }

    fn candidate(&self, deployment: &Deployment) -> Option<&PricedCandidate> {
        self.candidates.iter().find(|candidate| candidate.deployment.id == deployment.id)
    }

    fn end_settled(&self, draft: Draft, slot: OwnedSemaphorePermit) -> Taken {
        let ended_at = self.clock.unix_us();
        let attempts = self.attempt_rows(ended_at);
        let charge = draft.charge;
        let wallet = &self.held.wallet;
        let served = draft.served.clone();
        let money = (self.held.earmark(), charge, self.overrun(draft.attempt));
        let taken = claim::settle(&self.held.budgets, wallet, money, (&served.provider, &served.model), |taken, counted| {
            self.push_end(End::Settled { draft: Box::new(draft), taken, counted, estimated: false }, attempts, ended_at, slot);
        });
        if wallet.currency() == Currency::USD {
            self.journal.note_charge(taken.paid());
        }
        taken
    }

    /// `abandoned` is what is noted against the key's allowance.
    fn end_released(&self, slot: OwnedSemaphorePermit, abandoned: Nano) {
        let ended_at = self.clock.unix_us();
        let attempts = self.attempt_rows(ended_at);
        claim::release(&self.held.budgets, &self.held.wallet, self.held.earmark(), || {
            self.push_end(End::Released { abandoned }, attempts, ended_at, slot);
        });
    }

    fn push_end(&self, end: End, attempts: Vec<AttemptRow>, ended_at: i64, slot: OwnedSemaphorePermit) {
        let command = Command::End { held: Arc::clone(&self.held), end, attempts, ended_at, _slot: Some(slot) };
        if !self.journal.push(command) {
            // The open hold stays in the database, and the next start settles it at its last checkpoint.
            self.held.ended.resolve(Err(LedgerError::Stopped));
        }
    }
}
