//! Holding money in a wallet and in every budget of a request, all or none, and giving it back.
//!
//! Locks are taken in one order everywhere: budgets by number and subject, then the wallet. What changes in memory and the
//! queueing of its row happen under those locks, so the row that freed money stands in the queue before any that takes it.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{
    Bounds, BudgetRefusal,
    gauge::{Gauge, Periods, level},
};
use crate::{
    book::{Earmark, Overrun, Taken, Wallet, WalletReading},
    money::Nano,
};

/// What a request wants of one budget.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) amount: Nano,
}

impl Claim {
    /// Why the budget cannot pay at this moment, if it cannot; nobody is told.
    pub(crate) fn refusal(&self, now_us: i64) -> Option<Box<BudgetRefusal>> {
        let reading = self.gauge.reading(now_us);
        (reading.hard && self.amount > reading.left()).then(|| Box::new(self.gauge.refusal(&reading, self.amount)))
    }
}

/// What a request holds in one budget: the period's row, as far as a hold knows it.
#[derive(Debug, Clone)]
pub(crate) struct Reserved {
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) bounds: Bounds,
    pub(crate) amount: Nano,
}

/// What a settlement takes from one budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counted {
    pub(crate) spent: Nano,
    /// The level that was reached with it and of which nobody has been told.
    pub(crate) alert: Option<Alert>,
}

/// Word of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alert {
    pub(crate) percent: u16,
    /// What the period's row keeps of it.
    pub(crate) told: u16,
}

/// Who could not pay.
#[derive(Debug, Clone)]
pub(crate) enum Short {
    Wallet(WalletReading),
    Budget { refusal: Box<BudgetRefusal>, gauge: Arc<Gauge>, bounds: Bounds },
}

/// Sorts claims into the order of locking.
pub(crate) fn ordered(mut claims: Vec<Claim>) -> Vec<Claim> {
    claims.sort_by(|a, b| (a.gauge.spec.id, &a.gauge.subject).cmp(&(b.gauge.spec.id, &b.gauge.subject)));
    claims
}

/// Holds `amount` in the wallet and each claim in its budget, or nothing. `claims` must be [`ordered`]. `queue` runs under
/// all locks and must only queue the row.
pub(crate) fn reserve(
    claims: &[Claim],
    wallet: &Wallet,
    amount: Nano,
    now_us: i64,
    queue: impl FnOnce(Box<[Reserved]>),
) -> Result<(), Short> {
    if claims.is_empty() {
        return wallet.hold(Earmark { amount, since: now_us }, || queue(Box::default())).map_err(Short::Wallet);
    }
    let mut guards: Vec<_> = claims.iter().map(|claim| claim.gauge.periods.lock()).collect();
    for (claim, periods) in claims.iter().zip(&mut guards) {
        let terms = claim.gauge.terms.load();
        let reading = periods.reading(&terms, now_us);
        if reading.hard && claim.amount > reading.left() {
            let bounds = periods.current(&terms, now_us).bounds;
            let refusal = Box::new(claim.gauge.refusal(&reading, claim.amount));
            return Err(Short::Budget { refusal, gauge: Arc::clone(&claim.gauge), bounds });
        }
    }
    let reserved = || {
        let taken = claims.iter().zip(&mut guards).map(|(claim, periods)| {
            let count = periods.current(&claim.gauge.terms.load(), now_us);
            count.held = count.held.saturating_add(claim.amount.get());
            Reserved { gauge: Arc::clone(&claim.gauge), bounds: count.bounds, amount: claim.amount }
        });
        queue(taken.collect());
    };
    wallet.hold(Earmark { amount, since: now_us }, reserved).map_err(Short::Wallet)
}

/// Charges a hold, in the wallet and in every budget that counts answers of this model from this provider. `queue` runs
/// under all locks.
pub(crate) fn settle(
    reserved: &[Reserved],
    wallet: &Wallet,
    (held, charge, overrun): (Earmark, Nano, Overrun),
    (provider, model): (&str, &str),
    queue: impl FnOnce(Taken, Box<[Counted]>),
) -> Taken {
    let mut guards = locked(reserved);
    wallet.settle(held, charge, overrun, |taken| {
        let counted = reserved.iter().zip(&mut guards).map(|(reserved, periods)| {
            let counts = reserved.gauge.spec.counts(provider, model);
            let spent = if counts { taken.paid() } else { Nano::ZERO };
            let Some(count) = periods.begun(reserved.bounds.start) else { return Counted { spent, alert: None } };
            count.held = count.held.saturating_sub(reserved.amount.get());
            count.spent = count.spent.saturating_add(spent.get());
            let reached = level(&reserved.gauge.terms.load(), count.spent);
            if reached <= count.alerted {
                return Counted { spent, alert: None };
            }
            count.alerted = reached;
            Counted { spent, alert: Some(Alert { percent: reached, told: count.told() }) }
        });
        queue(taken, counted.collect());
    })
}

/// Frees a hold. `queue` runs under all locks.
pub(crate) fn release(reserved: &[Reserved], wallet: &Wallet, held: Earmark, queue: impl FnOnce()) {
    let mut guards = locked(reserved);
    wallet.release(held, || {
        for (reserved, periods) in reserved.iter().zip(&mut guards) {
            if let Some(count) = periods.begun(reserved.bounds.start) {
                count.held = count.held.saturating_sub(reserved.amount.get());
            }
        }
        queue();
    });
}

/// A hold's row was refused: its money was never taken.
pub(crate) fn undo_hold(reserved: &[Reserved], wallet: &Wallet, held: Earmark) {
    release(reserved, wallet, held, || {});
}

/// A settlement's or release's row was refused: the database still has the hold as it was, or never had it.
pub(crate) fn undo_end(reserved: &[Reserved], wallet: &Wallet, held: Nano, taken: Taken, counted: &[Counted]) {
    let mut guards = locked(reserved);
    for (n, (reserved, periods)) in reserved.iter().zip(&mut guards).enumerate() {
        if let Some(count) = periods.begun(reserved.bounds.start) {
            count.held = count.held.saturating_add(reserved.amount.get());
            count.spent = count.spent.saturating_sub(counted.get(n).map_or(0, |counted| counted.spent.get()));
        }
    }
    wallet.undo_end(held, taken);
}

fn locked(reserved: &[Reserved]) -> Vec<MutexGuard<'_, Periods>> {
    reserved.iter().map(|reserved| reserved.gauge.periods.lock()).collect()
}
