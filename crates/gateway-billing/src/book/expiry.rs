//! A wallet's credit that has reached its date: taken here first, like all money out, and written afterwards.
//!
//! Expiry takes what is free and never what a running request holds. The rest is taken in the moment in which a request
//! frees it, under the same lock, so that no new request can hold it in between.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{Wallet, WalletReading, minus, plus};
use crate::money::Nano;

/// What a wallet has of expired credit. Touched only while the wallet's balance is locked.
#[derive(Debug, Default)]
pub(super) struct Expiring {
    /// Still in the balance, because running requests hold it.
    left: Nano,
    /// Taken from the balance, and not written yet.
    claimed: Nano,
    /// Rung when something was claimed.
    bell: Option<Arc<Notify>>,
}

impl Wallet {
    /// Lots of this wallet that the database has at `due` have reached their date. Of what is new in it takes what is free, and
    /// the rest as requests end that hold it, of which `bell` tells. Returns what is taken and not written.
    pub(crate) fn expire(&self, due: Nano, bell: &Arc<Notify>) -> Nano {
        let mut balance = self.balance.lock();
        let mut expiring = self.expiring.lock();
        let (known, left) = (expiring.left, minus(due, expiring.claimed).max(Nano::ZERO));
        expiring.left = left;
        expiring.bell = Some(Arc::clone(bell));
        // What was left to running requests stays theirs until they end, though money may have come since.
        expiring.claim(&mut balance, minus(left, known).max(Nano::ZERO));
        expiring.claimed
    }

    /// Of a claim `written` has left the books; the remainder had been spent before, or could not be written, and comes back.
    pub(crate) fn expired(&self, claim: Nano, written: Nano) {
        let mut balance = self.balance.lock();
        let mut expiring = self.expiring.lock();
        expiring.claimed = minus(expiring.claimed, claim);
        let back = minus(claim, written);
        balance.posted = plus(balance.posted, back);
        drop(expiring);
        drop(balance);
        if !back.is_zero() {
            self.freed.notify_waiters();
        }
    }

    /// A request has ended and spent `spent`: what it freed of expired credit is taken before anybody else can hold it.
    pub(super) fn claim_freed(&self, balance: &mut WalletReading, spent: Nano) {
        let mut expiring = self.expiring.lock();
        if expiring.left.is_zero() {
            return;
        }
        // Settlements draw on the lots that expire first.
        expiring.left = minus(expiring.left, spent).max(Nano::ZERO);
        let left = expiring.left;
        expiring.claim(balance, left);
        if let Some(bell) = &expiring.bell {
            bell.notify_one();
        }
    }
}

impl Expiring {
    fn claim(&mut self, balance: &mut WalletReading, wanted: Nano) {
        let taken = wanted.min(balance.available());
        balance.posted = minus(balance.posted, taken);
        self.left = minus(self.left, taken);
        self.claimed = plus(self.claimed, taken);
    }
}

#[cfg(test)]
mod tests {
    use gateway_core::OrgId;

    use super::*;
    use crate::{book::Overrun, money::Currency};

    fn wallet(posted: i64) -> (Wallet, Arc<Notify>) {
        let reading = WalletReading { posted: Nano::new(posted), ..WalletReading::default() };
        (Wallet::new(1, OrgId::from_bytes([1; 16]), Currency::USD, reading), Arc::default())
    }

    #[track_caller]
    fn check(wallet: &Wallet, posted: i64, held: i64) {
        let reading = wallet.reading();
        assert_eq!((reading.posted.get(), reading.held.get()), (posted, held));
    }

    #[test]
    fn what_is_free_goes_at_once_and_what_is_held_when_it_is_freed() {
        let (wallet, bell) = wallet(10);
        wallet.hold(Nano::new(6), || {}).unwrap();
        assert_eq!(wallet.expire(Nano::new(10), &bell), Nano::new(4));
        check(&wallet, 6, 6);
        assert!(wallet.hold(Nano::new(1), || {}).is_err());
        wallet.settle(Nano::new(6), Nano::new(2), Overrun::FromBalance, |_| {});
        check(&wallet, 0, 0);
        // The first claim is written whole; the second is what the sweep finds next.
        wallet.expired(Nano::new(4), Nano::new(4));
        assert_eq!(wallet.expire(Nano::new(4), &bell), Nano::new(4));
        wallet.expired(Nano::new(4), Nano::new(4));
        check(&wallet, 0, 0);
        wallet.credit(Nano::new(3));
        wallet.hold(Nano::new(3), || {}).unwrap();
        wallet.release(Nano::new(3), || {});
        check(&wallet, 3, 0);
    }

    #[test]
    fn money_that_came_later_is_free() {
        let (wallet, bell) = wallet(10);
        wallet.hold(Nano::new(10), || {}).unwrap();
        assert_eq!(wallet.expire(Nano::new(10), &bell), Nano::ZERO);
        wallet.credit(Nano::new(5));
        // Another look at the same credit takes nothing of it.
        assert_eq!(wallet.expire(Nano::new(10), &bell), Nano::ZERO);
        wallet.hold(Nano::new(5), || {}).unwrap();
        wallet.release(Nano::new(10), || {});
        check(&wallet, 5, 5);
    }

    #[test]
    fn what_could_not_be_written_comes_back() {
        let (wallet, bell) = wallet(10);
        assert_eq!(wallet.expire(Nano::new(7), &bell), Nano::new(7));
        check(&wallet, 3, 0);
        wallet.expired(Nano::new(7), Nano::ZERO);
        check(&wallet, 10, 0);
        assert_eq!(wallet.expire(Nano::new(7), &bell), Nano::new(7));
        wallet.expired(Nano::new(7), Nano::new(5));
        check(&wallet, 5, 0);
    }
}
