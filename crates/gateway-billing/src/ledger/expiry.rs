//! Credit that ends at a date: the list of dates, and the task that takes expired credit out of the books.
//!
//! The task sleeps until the next date and is woken by new ones. Expired credit is taken from the wallet in memory first, then
//! written; a write that fails gives it back and is tried again. What running requests hold is left to them and expires as
//! they end. A start sweeps before anything is admitted, however long after the date it comes.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use gateway_core::Clock;
use parking_lot::Mutex;
use rusqlite::{Connection, params};
use serde_json::json;
use tokio::{sync::Notify, task::AbortHandle};

use super::accounts::rfc3339;
use crate::{
    book::{Book, Due, Wallet},
    error::LedgerError,
    journal::{AccountKey, Entry, Journal, OPERATOR, Scope, code},
    money::{Money, Nano},
    outbox,
};

/// Longest sleep while a date is ahead: the calendar of a machine may jump, and no timer hears of it.
const NAP_MAX: Duration = Duration::from_millis(500);

/// Shortest sleep, so that a busy wallet with expired credit left in holds does not keep the writer busy too.
const NAP_MIN: Duration = Duration::from_millis(20);

/// How long after a failed write the next one is tried.
const RETRY: Duration = Duration::from_secs(1);

/// Most wallets in one commit.
const BATCH: usize = 64;

/// When credit of which wallet reaches its date.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    dates: Mutex<BTreeSet<(i64, i64)>>,
    bell: Arc<Notify>,
}

impl Agenda {
    /// The dates of all credit there is, past ones included.
    pub(super) fn load(connection: &Connection) -> Result<Self, LedgerError> {
        let mut statement =
            connection.prepare("SELECT DISTINCT expires_at, wallet FROM lot WHERE remaining > 0 AND expires_at IS NOT NULL")?;
        let dates = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        Ok(Self { dates: Mutex::new(dates), bell: Arc::default() })
    }

    /// Credit of this wallet has a date. Its row is committed.
    pub(super) fn note(&self, at: i64, wallet: i64) {
        let mut dates = self.dates.lock();
        dates.insert((at, wallet));
        let is_next = dates.first() == Some(&(at, wallet));
        drop(dates);
        if is_next {
            self.bell.notify_one();
        }
    }

    /// Removes and returns the wallets whose date has come.
    fn take_due(&self, now_us: i64) -> Vec<i64> {
        let mut dates = self.dates.lock();
        let later = dates.split_off(&(now_us.saturating_add(1), i64::MIN));
        std::mem::replace(&mut *dates, later).into_iter().map(|(_, wallet)| wallet).collect()
    }

    fn next(&self) -> Option<i64> {
        self.dates.lock().first().map(|(at, _)| *at)
    }
}

/// The task while it runs; dropping this ends it.
#[derive(Debug)]
pub(super) struct Sweeping(AbortHandle);

impl Sweeping {
    /// Ends the task. What it has queued is still written.
    pub(super) fn stop(&self) {
        self.0.abort();
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What takes expired credit out of the books. It does not keep the journal alive.
pub(super) struct Sweeper {
    pub(super) journal: Weak<Journal>,
    pub(super) book: Arc<Book>,
    pub(super) agenda: Arc<Agenda>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Sweeper {
    /// Sweeps once, so that nothing long expired is there when this returns, and goes on in a task of its own.
    #[expect(clippy::disallowed_methods, reason = "the task's end is logged below, and its handle ends it with the ledger")]
    pub(super) async fn start(self) -> Sweeping {
        let mut waiting = BTreeSet::new();
        let first = self.sweep(&mut waiting).await;
        let task = tokio::spawn(async move {
            let run = std::panic::AssertUnwindSafe(self.run(waiting, first));
            if futures_util::FutureExt::catch_unwind(run).await.is_err() {
                tracing::error!("the task that lets credit expire has panicked; expired credit stays until the next start");
            }
        });
        Sweeping(task.abort_handle())
    }

    async fn run(self, mut waiting: BTreeSet<i64>, mut last: Result<(), LedgerError>) {
        let mut complained = false;
        loop {
            let nap = match &last {
                Ok(()) => {
                    complained = false;
                    // A call may have ended between what was read and what was made of it; then nobody rings.
                    self.nap().or((!waiting.is_empty()).then_some(NAP_MAX))
                }
                Err(LedgerError::Stopped) => return,
                Err(error) => {
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!(%error, "expired credit cannot be taken out of the books now; it will be tried again");
                    }
                    Some(RETRY)
                }
            };
            let bell = self.agenda.bell.notified();
            match nap {
                None => bell.await,
                // Whether the bell or the time ended it makes no difference.
                Some(nap) => drop(tokio::time::timeout(nap, bell).await),
            }
            tokio::time::sleep(NAP_MIN).await;
            last = self.sweep(&mut waiting).await;
        }
    }

    /// How long nothing will be due, as far as is known; `None`: nothing ever.
    fn nap(&self) -> Option<Duration> {
        let until = self.agenda.next()?.saturating_sub(self.clock.unix_us()).max(0);
        Some(Duration::from_micros(until.unsigned_abs()).saturating_sub(NAP_MIN).min(NAP_MAX))
    }

    /// Takes what is due of these wallets and of those whose date has come; leaves those that have more in their holds.
    async fn sweep(&self, waiting: &mut BTreeSet<i64>) -> Result<(), LedgerError> {
        let now_us = self.clock.unix_us();
        waiting.extend(self.agenda.take_due(now_us));
        if waiting.is_empty() {
            return Ok(());
        }
        let journal = self.journal.upgrade().ok_or(LedgerError::Stopped)?;
        let all: Vec<i64> = waiting.iter().copied().collect();
        for wallets in all.chunks(BATCH) {
            let wallets: Vec<_> = wallets.iter().filter_map(|id| self.book.of_id(*id)).collect();
            wallets.iter().for_each(|wallet| wallet.expires_soon());
            let found = found(&journal, wallets.iter().map(|wallet| wallet.id()).collect(), now_us).await?;
            let mut claims = Vec::new();
            for (wallet, found) in wallets.iter().zip(found) {
                // One with nothing due is told so too: what was left there has been spent.
                let taken = wallet.expire(&found.due, &self.agenda.bell);
                claims.extend(taken.into_iter().map(|(at, amount)| Claim { wallet: Arc::clone(wallet), at, amount }));
                if found.due.is_empty() {
                    waiting.remove(&wallet.id());
                    // After a step of the clock backwards a date is ahead again.
                    found.next.into_iter().for_each(|at| self.agenda.note(at, wallet.id()));
                }
            }
            match expire(&journal, &claims).await {
                Ok(written) => give_back(&claims, &written),
                Err(error) if error.is_down() => {
                    give_back(&claims, &[]);
                    return Err(error);
                }
                // One of them breaks a rule of the database: each alone, so that it stops no other.
                Err(_) => one_by_one(&journal, claims, waiting).await?,
            }
        }
        Ok(())
    }
}

/// What the database has of credit with a date in one wallet.
struct Found {
    /// Expired, earliest first.
    due: Vec<Due>,
    /// The next date ahead.
    next: Option<i64>,
}

/// Expired credit of one date that is taken from a wallet in memory.
#[derive(Clone)]
struct Claim {
    wallet: Arc<Wallet>,
    at: i64,
    amount: Nano,
}

/// Asked of the writer and not of a reader, because what is queued before it is then counted.
async fn found(journal: &Journal, wallets: Vec<i64>, now_us: i64) -> Result<Vec<Found>, LedgerError> {
    journal
        .exec(move |scope| {
            let mut expired = scope.connection().prepare_cached(
                "SELECT l.expires_at, SUM(l.remaining), \
                 (SELECT COALESCE(SUM(h.amount), 0) FROM hold h WHERE h.wallet = ?1 AND h.state = 0 AND h.created_at < l.expires_at) \
                 FROM lot l WHERE l.wallet = ?1 AND l.remaining > 0 AND l.expires_at <= ?2 GROUP BY l.expires_at ORDER BY l.expires_at",
            )?;
            let mut ahead = scope
                .connection()
                .prepare_cached("SELECT MIN(expires_at) FROM lot WHERE wallet = ?1 AND remaining > 0 AND expires_at > ?2")?;
            let mut found = Vec::with_capacity(wallets.len());
            for wallet in &wallets {
                let rows = expired.query_map([*wallet, now_us], |row| {
                    Ok(Due { at: row.get(0)?, amount: Nano::new(row.get(1)?), held: Nano::new(row.get(2)?) })
                })?;
                let due = rows.collect::<Result<_, _>>()?;
                found.push(Found { due, next: ahead.query_row([*wallet, now_us], |row| row.get(0))? });
            }
            Ok(found)
        })
        .await
}

/// Writes the claims in one commit; returns what of each was still there.
async fn expire(journal: &Journal, claims: &[Claim]) -> Result<Vec<Nano>, LedgerError> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let job = claims.to_vec();
    journal.exec(move |scope| job.iter().map(|claim| write(scope, claim)).collect()).await
}

/// What of the claims was not written, because it had been spent before or could not be, is the wallets' again.
fn give_back(claims: &[Claim], written: &[Nano]) {
    for (n, claim) in claims.iter().enumerate() {
        claim.wallet.expired(claim.at, claim.amount, written.get(n).copied().unwrap_or_default());
    }
}

async fn one_by_one(journal: &Journal, claims: Vec<Claim>, waiting: &mut BTreeSet<i64>) -> Result<(), LedgerError> {
    let mut down = None;
    for claim in claims {
        let claim = [claim];
        let written = match &down {
            None => expire(journal, &claim).await,
            Some(_) => Ok(Vec::new()),
        };
        match written {
            Ok(written) => give_back(&claim, &written),
            Err(error) => {
                give_back(&claim, &[]);
                if error.is_down() {
                    down = Some(error);
                    continue;
                }
                let wallet = claim[0].wallet.id();
                tracing::error!(%error, wallet, "expired credit could not be taken out of the books; this is a bug");
                waiting.remove(&wallet);
            }
        }
    }
    down.map_or(Ok(()), Err)
}

/// Takes up to the claimed amount from the wallet's lots of that date; returns how much it was.
fn write(scope: &mut Scope<'_>, claim: &Claim) -> Result<Nano, LedgerError> {
    let wallet = &claim.wallet;
    let lots = {
        let mut statement = scope.connection().prepare_cached(
            "SELECT id, class = 'promo', source, remaining, expires_at FROM lot WHERE wallet = ?1 AND remaining > 0 AND expires_at = ?2 \
             ORDER BY class = 'paid', created_at, id",
        )?;
        let rows = statement.query_map([wallet.id(), claim.at], |row| {
            Ok(Expired { id: row.get(0)?, promo: row.get(1)?, source: row.get(2)?, remaining: row.get(3)?, at: row.get(4)? })
        })?;
        rows.collect::<Result<Vec<_>, _>>()?
    };
    let mut gone = 0;
    for lot in lots {
        let amount = lot.remaining.min(claim.amount.get() - gone);
        if amount == 0 {
            break;
        }
        lot.write(scope, wallet, amount)?;
        gone += amount;
    }
    if gone > 0 {
        scope.connection().prepare_cached("UPDATE wallet SET posted = posted - ?2 WHERE id = ?1")?.execute([wallet.id(), gone])?;
        scope.lots_changed(wallet.id());
    }
    Ok(Nano::new(gone))
}

struct Expired {
    id: [u8; 16],
    promo: bool,
    source: String,
    remaining: i64,
    at: i64,
}

impl Expired {
    fn write(&self, scope: &mut Scope<'_>, wallet: &Wallet, amount: i64) -> Result<(), LedgerError> {
        let (from, to) = if self.promo { (code::WALLET_PROMO, code::PROMO_EXPENSE) } else { (code::WALLET_PAID, code::BREAKAGE) };
        let currency = wallet.currency();
        // What remains falls with each part, so this names a part once and for all.
        let idem = format!("expiry:{:032x}:{}", u128::from_be_bytes(self.id), self.remaining);
        let reason = format!("credit of `{}` expired at {}", self.source, rfc3339(self.at));
        let postings =
            vec![(AccountKey::new(from, wallet.org().as_bytes(), currency), amount), (AccountKey::new(to, OPERATOR, currency), -amount)];
        let entry = Entry { kind: "expiry", idem: &idem, reason: Some(&reason), actor: None, postings };
        let txn = scope.post(&entry)?;
        let connection = scope.connection();
        connection.prepare_cached("UPDATE lot SET remaining = remaining - ?2 WHERE id = ?1")?.execute(params![&self.id[..], amount])?;
        connection.prepare_cached("INSERT INTO lot_expiry(lot, txn, amount) VALUES (?1, ?2, ?3)")?.execute(params![
            &self.id[..],
            txn,
            amount
        ])?;
        let class = if self.promo { "promo" } else { "paid" };
        let body = json!({ "amount": Money::new(Nano::new(amount), currency), "class": class, "source": self.source, "expired_at": rfc3339(self.at) });
        outbox::queue(connection, scope.now_us(), "credit.expired", &wallet.org(), &body)
    }
}

#[cfg(test)]
mod tests {
    use super::Agenda;

    #[test]
    fn dates_come_due_once_and_in_order() {
        let agenda = Agenda::default();
        for (at, wallet) in [(30, 1), (10, 2), (20, 1), (10, 1), (10, 1)] {
            agenda.note(at, wallet);
        }
        assert_eq!(agenda.next(), Some(10));
        assert_eq!(agenda.take_due(9), Vec::<i64>::new());
        assert_eq!(agenda.take_due(20), [1, 2, 1]);
        assert_eq!((agenda.take_due(20), agenda.next()), (vec![], Some(30)));
        assert_eq!(agenda.take_due(i64::MAX), [1]);
        assert_eq!(agenda.next(), None);
    }
}
