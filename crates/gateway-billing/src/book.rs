//! Wallets in memory: what is free, what is held, and who may take how much.
//!
//! The rules that keep memory and database in step (each a promise of this module):
//!
//! * money **out** is taken here first and written afterwards; a write that fails gives it back;
//! * money **in** is written first and added here after its commit;
//! * what a settlement frees may be held again at once. This is safe because a wallet's change and the queueing of its
//!   row happen under one lock: the row that freed the money stands in the queue before any row that takes it again.

mod expiry;

use std::{collections::HashMap, sync::Arc};

use gateway_core::OrgId;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

pub(crate) use self::expiry::Due;
use self::expiry::Expiring;
use crate::{
    money::{Currency, Nano},
    price::DEFAULT_PLAN,
};

/// A wallet: one tenant's prepaid credit in one currency.
#[derive(Debug)]
pub struct Wallet {
    id: i64,
    org: OrgId,
    currency: Currency,
    balance: Mutex<WalletReading>,
    plan: RwLock<Arc<str>>,
    expiring: Mutex<Expiring>,
    freed: Notify,
}

/// What a wallet holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalletReading {
    /// Credit bought or granted and not yet spent.
    pub posted: Nano,
    /// The part of it that running requests have reserved.
    pub held: Nano,
    /// What must remain; negative for a tenant with a credit limit.
    pub floor: Nano,
}

impl WalletReading {
    /// What a new request may reserve: posted − held − floor, never below zero.
    #[must_use]
    pub fn available(&self) -> Nano {
        Nano::new(self.posted.get().saturating_sub(self.held.get()).saturating_sub(self.floor.get()).max(0))
    }
}

/// Where a charge was taken from. The three add up to the charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// From the money held for the request.
    pub from_hold: Nano,
    /// From the free balance, because the charge was above the hold.
    pub overrun: Nano,
    /// From nobody: the balance could not give it, so the operator bears it.
    pub written_off: Nano,
}

impl Taken {
    /// What the wallet pays.
    #[must_use]
    pub fn paid(&self) -> Nano {
        Nano::new(self.from_hold.get().saturating_add(self.overrun.get()))
    }
}

/// Money that a call holds, and when the call began: credit that has expired since is still its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Earmark {
    pub(crate) amount: Nano,
    /// Microseconds since 1970.
    pub(crate) since: i64,
}

/// Whether a charge above its hold may reach into the free balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overrun {
    /// As far as there is something.
    FromBalance,
    /// The same, but with what the hold gives no more than this: the caller's own limit.
    UpTo(Nano),
    /// Never: the charge is an estimate.
    WriteOff,
}

impl Overrun {
    /// The most that the wallet pays for the call.
    fn most(self) -> Nano {
        match self {
            Self::UpTo(most) => most,
            Self::FromBalance | Self::WriteOff => Nano::MAX,
        }
    }
}

impl Wallet {
    /// A wallet as the database has it, on the default plan.
    #[must_use]
    pub fn new(id: i64, org: OrgId, currency: Currency, reading: WalletReading) -> Self {
        let plan = RwLock::new(Arc::from(DEFAULT_PLAN));
        Self { id, org, currency, balance: Mutex::new(reading), expiring: Mutex::default(), plan, freed: Notify::new() }
    }

    /// The plan its account is on.
    #[must_use]
    pub fn plan(&self) -> Arc<str> {
        Arc::clone(&self.plan.read())
    }

    /// Puts it on another plan, whose row is committed.
    pub(crate) fn put_on(&self, plan: &Arc<str>) {
        *self.plan.write() = Arc::clone(plan);
    }

    /// Its row.
    #[must_use]
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Whose it is.
    #[must_use]
    pub fn org(&self) -> OrgId {
        self.org
    }

    /// What it is in.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// What it holds now.
    #[must_use]
    pub fn reading(&self) -> WalletReading {
        *self.balance.lock()
    }

    /// Reserves what is wanted, or returns the reading that refused it. `queue` runs under the lock and must only queue the row.
    pub(crate) fn hold(&self, wanted: Earmark, queue: impl FnOnce()) -> Result<(), WalletReading> {
        let mut balance = self.balance.lock();
        if wanted.amount > balance.available() {
            return Err(*balance);
        }
        balance.held = plus(balance.held, wanted.amount);
        self.kept_by(wanted);
        queue();
        Ok(())
    }

    /// What [`Wallet::settle`] would take now for a hold of `held`.
    pub(crate) fn payable(&self, held: Nano, charge: Nano, overrun: Overrun) -> Nano {
        let most = charge.min(overrun.most());
        if most <= held {
            return most;
        }
        most.min(plus(held, self.reading().available()))
    }

    /// Charges a hold: first the hold, then the free balance; frees the rest. `queue` runs under the lock.
    pub(crate) fn settle(&self, held: Earmark, charge: Nano, overrun: Overrun, queue: impl FnOnce(Taken)) -> Taken {
        let mut balance = self.balance.lock();
        let from_hold = charge.min(held.amount).min(overrun.most());
        let missing = minus(charge, from_hold);
        balance.held = minus(balance.held, held.amount);
        balance.posted = minus(balance.posted, from_hold);
        let extra = match overrun {
            Overrun::FromBalance | Overrun::UpTo(_) => missing.min(balance.available()).min(minus(overrun.most(), from_hold)),
            Overrun::WriteOff => Nano::ZERO,
        };
        balance.posted = minus(balance.posted, extra);
        let taken = Taken { from_hold, overrun: extra, written_off: minus(missing, extra) };
        self.claim_freed(&mut balance, held, taken.paid());
        queue(taken);
        drop(balance);
        if from_hold < held.amount {
            self.freed.notify_waiters();
        }
        taken
    }

    /// Frees a hold. `queue` runs under the lock.
    pub(crate) fn release(&self, held: Earmark, queue: impl FnOnce()) {
        let mut balance = self.balance.lock();
        balance.held = minus(balance.held, held.amount);
        self.claim_freed(&mut balance, held, Nano::ZERO);
        queue();
        drop(balance);
        self.freed.notify_waiters();
    }

    /// A settlement's or release's row was refused: the database still has the hold as it was, or never had it.
    pub(crate) fn undo_end(&self, held: Nano, taken: Taken) {
        let mut balance = self.balance.lock();
        balance.held = plus(balance.held, held);
        balance.posted = plus(balance.posted, taken.paid());
    }

    /// Committed money in.
    pub(crate) fn credit(&self, amount: Nano) {
        let mut balance = self.balance.lock();
        balance.posted = plus(balance.posted, amount);
        drop(balance);
        self.freed.notify_waiters();
    }

    /// Resolves when money may have become free. Ask for it before looking at the balance, or a change in between is missed.
    pub(crate) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }
}

// Every amount here mirrors a row that the database has accepted or will refuse on overflow; saturating keeps the mirror
// from wrapping in between.
fn plus(a: Nano, b: Nano) -> Nano {
    Nano::new(a.get().saturating_add(b.get()))
}

fn minus(a: Nano, b: Nano) -> Nano {
    Nano::new(a.get().saturating_sub(b.get()))
}

/// All wallets.
#[derive(Debug, Default)]
pub struct Book {
    wallets: RwLock<HashMap<(OrgId, Currency), Arc<Wallet>>>,
    by_id: RwLock<HashMap<i64, Arc<Wallet>>>,
}

impl Book {
    /// The wallet of a tenant in a currency.
    #[must_use]
    pub fn wallet(&self, org: OrgId, currency: Currency) -> Option<Arc<Wallet>> {
        self.wallets.read().get(&(org, currency)).cloned()
    }

    /// The wallet of this row.
    pub(crate) fn of_id(&self, id: i64) -> Option<Arc<Wallet>> {
        self.by_id.read().get(&id).cloned()
    }

    /// Adds a wallet whose row is committed.
    pub(crate) fn insert(&self, wallet: Arc<Wallet>) {
        self.by_id.write().insert(wallet.id, Arc::clone(&wallet));
        self.wallets.write().insert((wallet.org, wallet.currency), wallet);
    }

    /// All of them, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Wallet>> {
        self.wallets.read().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wallet(posted: i64, floor: i64) -> Wallet {
        let reading = WalletReading { posted: Nano::new(posted), held: Nano::ZERO, floor: Nano::new(floor) };
        Wallet::new(1, OrgId::from_bytes([1; 16]), Currency::USD, reading)
    }

    fn held(amount: i64) -> Earmark {
        Earmark { amount: Nano::new(amount), since: 0 }
    }

    #[track_caller]
    fn check(wallet: &Wallet, posted: i64, held: i64) {
        let reading = wallet.reading();
        assert_eq!((reading.posted.get(), reading.held.get()), (posted, held));
    }

    #[test]
    fn a_hold_takes_what_is_there_and_no_more() {
        let wallet = wallet(100, 10);
        let refused =
            |posted, held, floor| Err(WalletReading { posted: Nano::new(posted), held: Nano::new(held), floor: Nano::new(floor) });
        assert_eq!(wallet.hold(held(91), || panic!("nothing is queued for a refusal")), refused(100, 0, 10));
        assert_eq!(wallet.hold(held(90), || {}), Ok(()));
        assert_eq!(wallet.hold(held(1), || {}), refused(100, 90, 10));
        check(&wallet, 100, 90);
        wallet.release(held(90), || {});
        check(&wallet, 100, 0);
    }

    #[test]
    fn a_charge_comes_from_the_hold_then_the_balance_then_the_operator() {
        let wallet = wallet(100, 0);
        wallet.hold(held(50), || {}).unwrap();
        wallet.hold(held(46), || {}).unwrap();
        let taken = wallet.settle(held(50), Nano::new(60), Overrun::FromBalance, |_| {});
        assert_eq!(taken, Taken { from_hold: Nano::new(50), overrun: Nano::new(4), written_off: Nano::new(6) });
        check(&wallet, 46, 46);
        let taken = wallet.settle(held(46), Nano::new(6), Overrun::FromBalance, |_| {});
        assert_eq!(taken.paid(), Nano::new(6));
        check(&wallet, 40, 0);
    }

    #[test]
    fn an_estimate_never_reaches_into_the_balance() {
        let wallet = wallet(100, 0);
        wallet.hold(held(10), || {}).unwrap();
        let taken = wallet.settle(held(10), Nano::new(15), Overrun::WriteOff, |_| {});
        assert_eq!(taken, Taken { from_hold: Nano::new(10), overrun: Nano::ZERO, written_off: Nano::new(5) });
        check(&wallet, 90, 0);
    }

    #[test]
    fn a_limit_bounds_what_is_taken_from_the_hold_and_the_balance() {
        for (limit, from_hold, overrun) in [(5, 5, 0), (10, 10, 0), (12, 10, 2), (40, 10, 15)] {
            let wallet = wallet(100, 0);
            wallet.hold(held(10), || {}).unwrap();
            let (charge, limit) = (Nano::new(25), Overrun::UpTo(Nano::new(limit)));
            assert_eq!(wallet.payable(Nano::new(10), charge, limit), Nano::new(from_hold + overrun));
            let taken = wallet.settle(held(10), charge, limit, |_| {});
            let written_off = Nano::new(25 - from_hold - overrun);
            assert_eq!(taken, Taken { from_hold: Nano::new(from_hold), overrun: Nano::new(overrun), written_off });
            check(&wallet, 100 - from_hold - overrun, 0);
        }
    }

    #[test]
    fn refused_rows_leave_no_trace_in_any_order() {
        let wallet = wallet(100, 0);
        wallet.hold(held(30), || {}).unwrap();
        let taken = wallet.settle(held(30), Nano::new(20), Overrun::FromBalance, |_| {});
        wallet.release(held(30), || {});
        wallet.undo_end(Nano::new(30), taken);
        check(&wallet, 100, 0);
    }
}
