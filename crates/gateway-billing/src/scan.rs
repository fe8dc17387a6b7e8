//! Settled requests in the order of their arrival, one at a time: for questions that no sums answer.
//!
//! A request's id begins with the millisecond of its arrival, and settlements are kept in the order of ids, so a period is a
//! range of their key and needs no index. That is the one difference to reports, which count a request where it was posted.
//!
//! Settlements never change. So they are read a page at a time, each page in a snapshot of its own, and a reading of millions
//! of them never keeps the writer from cutting its log. Between two pages the reading asks whether it should end: when its
//! time is up, or when nobody waits for it any more.

mod read;
mod row;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gateway_core::{Clock, KeyId, OrgId, TeamId};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

pub(crate) use self::read::key_at;
pub use self::row::{ScanServed, Settled};
use crate::{
    error::LedgerError,
    ledger::{Ledger, read_only},
    money::Currency,
};

/// Most scans at once: each keeps a core busy, and calls need the others.
const SCANS_MAX: usize = 2;

/// Most more of them that operators ask for: accounts that scan all the time must not keep operators from looking.
const OPERATOR_SCANS_MAX: usize = 1;

/// When to come again after having been turned away.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Which settlements are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Of wallets in this currency.
    pub currency: Currency,
    /// Of this account only; `None`: of all.
    pub org: Option<OrgId>,
    /// Arrived at this moment or later, in microseconds since 1970; whole milliseconds count.
    pub from_us: i64,
    /// Arrived before this moment.
    pub to_us: i64,
    /// Only what this public model served.
    pub model: Option<String>,
    /// Only with this key.
    pub key: Option<KeyId>,
    /// Only with keys of this team.
    pub team: Option<TeamId>,
    /// Only with this tag, the caller's own name for the person behind the request.
    pub tag: Option<String>,
    /// Whether an operator asks, and not the account.
    pub by_operator: bool,
    /// For how long it may read.
    pub within: Duration,
}

impl Scan {
    /// Every settlement of these wallets in a period, for at most 45 seconds. All accounts are an operator's to read.
    #[must_use]
    pub fn of(currency: Currency, org: Option<OrgId>, from_us: i64, to_us: i64) -> Self {
        let (by_operator, within) = (org.is_none(), Duration::from_secs(45));
        Self { currency, org, from_us, to_us, model: None, key: None, team: None, tag: None, by_operator, within }
    }
}

/// How far a scan came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covered {
    /// Over all of its period.
    Whole,
    /// Its time was up: what arrived before this moment was read, in microseconds since 1970.
    Until(i64),
}

/// Turns at scanning, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Scans {
    places: Arc<Semaphore>,
    operators: Arc<Semaphore>,
    accounts: Arc<Mutex<HashSet<OrgId>>>,
}

impl Default for Scans {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { places: places(SCANS_MAX), operators: places(OPERATOR_SCANS_MAX), accounts: Arc::default() }
    }
}

/// A place among those who scan. It ends with the reading, even if nobody waits for it any more.
struct Turn {
    _place: OwnedSemaphorePermit,
    org: Option<OrgId>,
    accounts: Arc<Mutex<HashSet<OrgId>>>,
}

impl Scans {
    fn turn(&self, scan: &Scan) -> Result<Turn, LedgerError> {
        let occupied = || LedgerError::Occupied { retry_after: RETRY_AFTER };
        let free = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let kept = if scan.by_operator { free(&self.operators) } else { None };
        let place = kept.or_else(|| free(&self.places)).ok_or_else(occupied)?;
        // One account never takes all places from the others; what an operator asks about it is not its own asking.
        let org = scan.org.filter(|_| !scan.by_operator);
        if org.is_some_and(|org| !self.accounts.lock().insert(org)) {
            return Err(occupied());
        }
        Ok(Turn { _place: place, org, accounts: Arc::clone(&self.accounts) })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(org) = self.org {
            self.accounts.lock().remove(&org);
        }
    }
}

/// Tells a reading on another thread that nobody waits for it any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// When a scan ends before its period does.
pub(crate) struct Limit {
    clock: Arc<dyn Clock>,
    deadline: Instant,
    left: Arc<AtomicBool>,
}

impl Limit {
    /// Whether the time is up.
    ///
    /// # Errors
    /// Nobody waits for the answer any more.
    fn reached(&self) -> Result<bool, LedgerError> {
        if self.left.load(Ordering::Relaxed) {
            return Err(LedgerError::Stopped);
        }
        Ok(self.clock.monotonic() >= self.deadline)
    }
}

impl Ledger {
    /// Reads settlements in the order of arrival and shows each to `each`, which gathers in `state`. Dropping the future ends
    /// the reading within a page.
    ///
    /// # Errors
    /// Others are scanning ([`LedgerError::Occupied`]), a row is damaged, the database cannot be read, or whatever `each` says.
    pub async fn scan<T, F>(&self, scan: Scan, state: T, each: F) -> Result<(T, Covered), LedgerError>
    where
        T: Send + 'static,
        F: FnMut(&mut T, &Settled<'_>) -> Result<(), LedgerError> + Send + 'static,
    {
        let turn = self.scans().turn(&scan)?;
        self.flush().await;
        let waiting = Waiting(Arc::default());
        let deadline = self.clock().monotonic() + scan.within;
        let limit = Limit { clock: Arc::clone(self.clock()), deadline, left: Arc::clone(&waiting.0) };
        let (mut state, mut each) = (state, each);
        read_only(self.path(), move |connection| {
            let _turn = turn;
            let covered = read::settlements(connection, &scan, &limit, read::PAGE, |settled| each(&mut state, settled))?;
            Ok((state, covered))
        })
        .await
    }
}
