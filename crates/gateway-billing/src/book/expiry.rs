//! A wallet's credit that has reached its date: taken here first, like all money out, and written afterwards.
//!
//! Of credit of one date there stays at most what calls hold that began before it; the rest goes. When such a call ends, this
//! is done in that moment, under the same lock, so that no new call can hold what it freed in between. What memory takes for
//! spent is an estimate; whoever rings the bell has [`Wallet::expire`] called with what stands in the database.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::Notify;

use super::{Earmark, Wallet, WalletReading, minus, plus};
use crate::money::Nano;

/// What a wallet has of expired credit, by date. Touched only while the wallet's balance is locked.
#[derive(Debug, Default)]
pub(super) struct Expiring {
    /// Still in the balance.
    stays: BTreeMap<i64, Stay>,
    /// Taken from the balance, and not written yet.
    claimed: BTreeMap<i64, Nano>,
    /// Holds since the database is being asked; none are noted while it is not.
    fresh: Option<Vec<Earmark>>,
    /// Rung when a call has ended while something stayed.
    bell: Option<Arc<Notify>>,
}

/// Expired credit that is still in the balance.
#[derive(Debug, Clone, Copy)]
struct Stay {
    amount: Nano,
    /// What calls hold that began before its date.
    held: Nano,
}

/// What the database has of a wallet's credit that ended at one date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Microseconds since 1970.
    pub(crate) at: i64,
    pub(crate) amount: Nano,
    /// What calls hold that began before it.
    pub(crate) held: Nano,
}

impl Wallet {
    /// The database is asked now for what [`Wallet::expire`] gets: what is held from here on may not be in its answer.
    pub(crate) fn expires_soon(&self) {
        // Whoever holds now has queued its row before what the database is asked by, or is noted.
        let _balance = self.balance.lock();
        self.expiring.lock().fresh = Some(Vec::new());
    }

    /// All that the database has of this wallet's expired credit, earliest first. What no call keeps goes now, the rest as they
    /// end, of which `bell` tells. Returns what is taken and not written, by date.
    pub(crate) fn expire(&self, due: &[Due], bell: &Arc<Notify>) -> Vec<(i64, Nano)> {
        let mut balance = self.balance.lock();
        let mut expiring = self.expiring.lock();
        // Some of these the database has counted too. Too much stays then, until it is asked again; never too little.
        let fresh = expiring.fresh.take().unwrap_or_default();
        let Expiring { stays, claimed, .. } = &mut *expiring;
        let held = |due: &Due| fresh.iter().filter(|held| held.since < due.at).fold(due.held, |sum, held| plus(sum, held.amount));
        let in_balance = |due: &Due| minus(due.amount, claimed.get(&due.at).copied().unwrap_or_default());
        *stays = due.iter().map(|due| (due.at, Stay { amount: in_balance(due), held: held(due) })).collect();
        expiring.bell = Some(Arc::clone(bell));
        expiring.claim(&mut balance);
        expiring.claimed.iter().map(|(at, amount)| (*at, *amount)).collect()
    }

    /// Of a claim on what ended at `at`, `written` has left the books; the remainder had been spent before, or could not be
    /// written, and comes back.
    pub(crate) fn expired(&self, at: i64, claim: Nano, written: Nano) {
        let mut balance = self.balance.lock();
        let mut expiring = self.expiring.lock();
        if let Some(claimed) = expiring.claimed.get_mut(&at) {
            *claimed = minus(*claimed, claim);
        }
        expiring.claimed.retain(|_, claimed| *claimed > Nano::ZERO);
        let back = minus(claim, written);
        balance.posted = plus(balance.posted, back);
        drop(expiring);
        drop(balance);
        if !back.is_zero() {
            self.freed.notify_waiters();
        }
    }

    /// A call holds money now.
    pub(super) fn kept_by(&self, held: Earmark) {
        let mut expiring = self.expiring.lock();
        if let Some(fresh) = &mut expiring.fresh {
            fresh.push(held);
        }
        for stay in expiring.of(held) {
            stay.held = plus(stay.held, held.amount);
        }
    }

    /// A call has ended and paid `paid`: what it kept of expired credit is taken before anybody else can hold it.
    pub(super) fn claim_freed(&self, balance: &mut WalletReading, held: Earmark, paid: Nano) {
        let mut expiring = self.expiring.lock();
        if expiring.stays.is_empty() {
            return;
        }
        let mut paid = paid;
        for stay in expiring.of(held) {
            stay.held = minus(stay.held, held.amount);
            // Settlements draw on the lots that expire first.
            let drawn = stay.amount.min(paid);
            stay.amount = minus(stay.amount, drawn);
            paid = minus(paid, drawn);
        }
        expiring.claim(balance);
        if let Some(bell) = &expiring.bell {
            bell.notify_one();
        }
    }
}

impl Expiring {
    /// What ended while this call was running.
    fn of(&mut self, held: Earmark) -> impl Iterator<Item = &mut Stay> {
        self.stays.range_mut(held.since.saturating_add(1)..).map(|(_, stay)| stay)
    }

    /// Takes what no call keeps. A call that began before one date began before every later one: what it keeps of the one it
    /// cannot keep of the other.
    fn claim(&mut self, balance: &mut WalletReading) {
        let mut kept = Nano::ZERO;
        for (at, stay) in &mut self.stays {
            let keeps = minus(stay.held, kept).max(Nano::ZERO).min(stay.amount);
            kept = plus(kept, keeps);
            let taken = minus(stay.amount, keeps).min(balance.available());
            if taken > Nano::ZERO {
                stay.amount = minus(stay.amount, taken);
                balance.posted = minus(balance.posted, taken);
                let claimed = self.claimed.entry(*at).or_default();
                *claimed = plus(*claimed, taken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::OrgId;

    use super::*;
    use crate::{book::Overrun, money::Currency};

    /// The date on which credit ends in these tests; calls begin before it unless they say otherwise.
    const DATE: i64 = 100;

    struct Scene {
        wallet: Wallet,
        bell: Arc<Notify>,
    }

    impl Scene {
        fn new(posted: i64) -> Self {
            let reading = WalletReading { posted: Nano::new(posted), ..WalletReading::default() };
            Self { wallet: Wallet::new(1, OrgId::from_bytes([1; 16]), Currency::USD, reading), bell: Arc::default() }
        }

        fn hold(&self, amount: i64) -> bool {
            self.hold_since(amount, 0)
        }

        fn hold_since(&self, amount: i64, since: i64) -> bool {
            self.wallet.hold(Earmark { amount: Nano::new(amount), since }, || {}).is_ok()
        }

        /// What the database has of credit that ended on the date, and of holds that began before it.
        fn expire(&self, amount: i64, held: i64) -> i64 {
            let due = Due { at: DATE, amount: Nano::new(amount), held: Nano::new(held) };
            self.wallet.expire(&[due], &self.bell).into_iter().map(|(_, amount)| amount.get()).sum()
        }

        fn written(&self, claim: i64, written: i64) {
            self.wallet.expired(DATE, Nano::new(claim), Nano::new(written));
        }

        fn end(&self, amount: i64, since: i64, paid: i64) {
            let held = Earmark { amount: Nano::new(amount), since };
            if paid == 0 {
                self.wallet.release(held, || {});
            } else {
                self.wallet.settle(held, Nano::new(paid), Overrun::FromBalance, |_| {});
            }
        }

        #[track_caller]
        fn check(&self, posted: i64, held: i64) {
            let reading = self.wallet.reading();
            assert_eq!((reading.posted.get(), reading.held.get()), (posted, held));
        }
    }

    #[test]
    fn what_is_free_goes_at_once_and_what_is_held_when_it_is_freed() {
        let scene = Scene::new(10);
        assert!(scene.hold(6));
        assert_eq!(scene.expire(10, 6), 4);
        scene.check(6, 6);
        assert!(!scene.hold(1));
        scene.end(6, 0, 2);
        scene.check(0, 0);
        // The first claim is written whole; the second is what the sweep finds next.
        scene.written(4, 4);
        assert_eq!(scene.expire(4, 0), 4);
        scene.written(4, 4);
        assert_eq!(scene.expire(0, 0), 0);
        scene.wallet.credit(Nano::new(3));
        assert!(scene.hold(3));
        scene.end(3, 0, 0);
        scene.check(3, 0);
    }

    #[test]
    fn money_that_came_later_is_free() {
        let scene = Scene::new(10);
        assert!(scene.hold(10));
        assert_eq!(scene.expire(10, 10), 0);
        scene.wallet.credit(Nano::new(5));
        // Another look at the same credit takes nothing of it.
        assert_eq!(scene.expire(10, 10), 0);
        assert!(scene.hold_since(5, DATE));
        scene.end(10, 0, 0);
        scene.check(5, 5);
    }

    #[test]
    fn a_call_that_began_after_the_date_frees_its_own() {
        let scene = Scene::new(10);
        assert!(scene.hold(10));
        scene.expire(10, 10);
        scene.wallet.credit(Nano::new(5));
        assert!(scene.hold_since(5, DATE));
        scene.end(5, DATE, 0);
        scene.check(15, 10);
        scene.end(10, 0, 10);
        scene.check(5, 0);
    }

    #[test]
    fn an_end_frees_no_more_than_it_held() {
        let scene = Scene::new(10);
        assert!(scene.hold(3));
        assert!(scene.hold(7));
        scene.expire(10, 10);
        scene.wallet.credit(Nano::new(5));
        scene.end(3, 0, 0);
        // The free five stay free, and the seven stay with the call that holds them.
        scene.check(12, 7);
        assert_eq!(scene.expire(10, 7), 3);
        scene.check(12, 7);
    }

    #[test]
    fn what_nobody_holds_any_more_goes_with_the_next_look() {
        let scene = Scene::new(10);
        assert!(scene.hold(10));
        scene.expire(6, 10);
        // It is paid from other credit, so what memory takes for spent is still there.
        scene.end(10, 0, 4);
        scene.check(4, 0);
        scene.wallet.credit(Nano::new(5));
        assert_eq!(scene.expire(6, 0), 6);
        scene.check(5, 0);
    }

    #[test]
    fn credit_without_a_date_stays_free_while_a_call_keeps_the_expired() {
        let scene = Scene::new(15);
        assert!(scene.hold(10));
        assert_eq!(scene.expire(10, 10), 0);
        assert!(scene.hold_since(5, DATE));
        scene.end(10, 0, 10);
        scene.check(5, 5);
    }

    #[test]
    fn a_call_that_came_before_the_date_and_held_after_it_keeps_its_part() {
        let scene = Scene::new(20);
        assert!(scene.hold(10));
        assert_eq!(scene.expire(15, 10), 5);
        scene.check(15, 10);
        assert!(scene.hold(5));
        scene.end(5, 0, 0);
        scene.check(15, 10);
        scene.end(10, 0, 0);
        scene.check(5, 0);
    }

    #[test]
    fn what_was_spent_leaves_no_claim_on_later_money() {
        let scene = Scene::new(10);
        assert!(scene.hold(10));
        scene.expire(10, 10);
        scene.end(10, 0, 10);
        assert_eq!(scene.wallet.expire(&[], &scene.bell), []);
        scene.wallet.credit(Nano::new(5));
        assert!(scene.hold(5));
        scene.end(5, 0, 0);
        scene.check(5, 0);
    }

    #[test]
    fn each_date_is_its_own() {
        let scene = Scene::new(20);
        assert!(scene.hold(12));
        assert!(scene.hold(8));
        let due = |at, amount, held| Due { at, amount: Nano::new(amount), held: Nano::new(held) };
        // The second call began between the dates.
        assert_eq!(scene.wallet.expire(&[due(DATE, 10, 12)], &scene.bell), []);
        assert_eq!(scene.wallet.expire(&[due(DATE, 10, 12), due(DATE + 50, 5, 20)], &scene.bell), []);
        scene.end(8, DATE, 0);
        scene.check(17, 12);
        let claimed = scene.wallet.expire(&[due(DATE, 10, 12), due(DATE + 50, 5, 12)], &scene.bell);
        assert_eq!(claimed, [(DATE + 50, Nano::new(3))], "the first call keeps all of the first date and two of the second");
        scene.end(12, 0, 0);
        scene.check(5, 0);
    }

    #[test]
    fn what_could_not_be_written_comes_back() {
        let scene = Scene::new(10);
        assert_eq!(scene.expire(7, 0), 7);
        scene.check(3, 0);
        scene.written(7, 0);
        scene.check(10, 0);
        assert_eq!(scene.expire(7, 0), 7);
        scene.written(7, 5);
        scene.check(5, 0);
    }
}
