//! The one writer: every money command passes through its queue and is committed in batches.
//!
//! One thread owns the only connection that writes. It takes whatever is queued (at most `BATCH_MAX` commands),
//! applies it in one `BEGIN IMMEDIATE` transaction, commits, answers, repeats. What somebody waits for (a hold, a job) is
//! taken at once, and the next batch gathers while one commit is flushed; what nobody waits for (a settlement, a
//! checkpoint) goes along with the next of those, or alone after 50 ms. Promises:
//!
//! * commands take effect in the order they were queued;
//! * a row that breaks a constraint is refused alone; the others of its batch are written;
//! * if nothing can be written (disk full, I/O error), holds are refused, settlements are kept and tried again until
//!   they are written, and admission stays closed meanwhile;
//! * nothing is answered before its commit.

mod apply;
mod chain;
mod counts;
mod draw;
mod failpoint;
mod rollup;
pub(crate) mod row;
mod scope;
mod statements;
mod writer;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use gateway_core::{Clock, Mode};
use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

pub use self::failpoint::{Failpoint, Failpoints, NoFailpoints};
pub(crate) use self::{
    chain::{CanonicalSettlement, GENESIS, TxnHasher},
    scope::{AccountKey, Entry, OPERATOR, Scope, code},
};
use self::{
    row::{AttemptRow, Draft, End, Held},
    scope::Job,
};
use crate::{error::LedgerError, money::Nano};

/// Most commands in one commit. Above 256 a bigger batch buys nothing; 512 keeps one commit short.
const BATCH_MAX: usize = 512;

/// How long a command that nobody waits for may stay in the queue alone. A process that is killed loses what ended since
/// the last request came in, and nothing older than this.
const PATIENCE: Duration = Duration::from_millis(50);

/// Most administrative commands waiting at once; more of them wait outside the queue.
const JOBS_MAX: usize = 256;

/// Limits of the journal.
#[derive(Debug, Clone, Copy)]
pub struct JournalOptions {
    /// Most requests with money held at once. Each has a slot for its settlement, so that ending never waits.
    pub in_flight_max: usize,
    /// Most commands waiting to be written before new requests are refused.
    pub queue_max: usize,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { in_flight_max: 16_384, queue_max: 16_384 }
    }
}

/// One thing to be written.
pub(crate) enum Command {
    Hold(Arc<Held>),
    /// The writer fills it with the newest checkpoint there is when it writes.
    Progress(Arc<Held>, Option<Box<Draft>>),
    End {
        held: Arc<Held>,
        end: End,
        attempts: Vec<AttemptRow>,
        ended_at: i64,
        _slot: Option<OwnedSemaphorePermit>,
    },
    Job(Box<dyn Job>),
}

impl Command {
    /// Whether somebody waits for its commit from the start.
    fn is_awaited(&self) -> bool {
        match self {
            Self::Hold(_) | Self::Job(_) => true,
            Self::Progress(..) | Self::End { .. } => false,
        }
    }
}

#[derive(Default)]
struct Queue {
    commands: VecDeque<Command>,
    /// Somebody waits for one of them.
    awaited: bool,
    closed: bool,
}

/// What the threads share.
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    gauges: Gauges,
}

impl Shared {
    fn push(&self, command: Command) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        let urgent = command.is_awaited() && !queue.awaited;
        queue.awaited |= urgent;
        queue.commands.push_back(command);
        // The first starts the writer's patience, the first awaited one ends it, and so does a full batch.
        let wake = urgent || matches!(queue.commands.len(), 1 | BATCH_MAX);
        drop(queue);
        if wake {
            self.wake.notify_one();
        }
        true
    }
}

/// Queues jobs that nobody waits for, without keeping the journal: its last owner ends the writer's thread, and must not be
/// that thread.
#[derive(Clone)]
pub(crate) struct Teller(Arc<Shared>);

impl Teller {
    /// Has the job run in a group commit; that it could not is logged.
    pub(crate) fn tell<F>(&self, job: F)
    where
        F: FnMut(&mut Scope<'_>) -> Result<(), LedgerError> + Send + 'static,
    {
        if !self.0.push(Command::Job(scope::untold(job))) {
            tracing::warn!("the ledger has stopped; a notice was not written");
        }
    }
}

/// Upper bounds of the commit-time histogram, in microseconds.
pub const COMMIT_BUCKETS_US: [u64; 10] = [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

#[derive(Default)]
struct Gauges {
    down: AtomicBool,
    busy_until_us: AtomicI64,
    commits: AtomicU64,
    commit_us: AtomicU64,
    buckets: [AtomicU64; COMMIT_BUCKETS_US.len() + 1],
    refused: AtomicU64,
    charged_nano: AtomicU64,
}

/// A reading of the journal, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalReading {
    /// Commands waiting to be written.
    pub queue_depth: usize,
    /// Requests with money held.
    pub in_flight: usize,
    /// Group commits so far.
    pub commits: u64,
    /// Time spent in them, in microseconds.
    pub commit_us: u64,
    /// How many took at most as long as the bound of [`COMMIT_BUCKETS_US`] at the same place; the last: longer.
    pub commit_buckets: [u64; COMMIT_BUCKETS_US.len() + 1],
    /// Commands that the database's own constraints refused. Anything but 0 is a bug.
    pub refused: u64,
    /// Nothing can be written at the moment.
    pub down: bool,
    /// What live wallets were charged since the start, in nano-dollars. Test money is not counted.
    pub charged_nano: u64,
}

/// The handle to the writer.
pub struct Journal {
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    jobs: Semaphore,
    options: JournalOptions,
    clock: Arc<dyn Clock>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Starts the writer's thread on the connection it will own.
    pub(crate) fn start(
        connection: Connection,
        boot: i64,
        options: JournalOptions,
        clock: Arc<dyn Clock>,
        failpoints: Arc<dyn Failpoints>,
    ) -> Result<Self, LedgerError> {
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Condvar::new(), gauges: Gauges::default() });
        let theirs = (Arc::clone(&shared), Arc::clone(&clock));
        let thread = std::thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || writer::run(connection, boot, &theirs.0, theirs.1, failpoints))
            .map_err(|source| LedgerError::Down { problem: format!("the writer's thread cannot be started: {source}").into() })?;
        Ok(Self {
            shared,
            slots: Arc::new(Semaphore::new(options.in_flight_max)),
            jobs: Semaphore::new(JOBS_MAX),
            options,
            clock,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// A slot for one more request, if the journal can take it. Test money never takes the last half of them: whoever tries
    /// things out must not keep paying callers out.
    pub(crate) fn admit(&self, mode: Mode) -> Result<OwnedSemaphorePermit, LedgerError> {
        if mode == Mode::Test && self.slots.available_permits() <= self.options.in_flight_max / 2 && !self.slots.is_closed() {
            return Err(LedgerError::Busy);
        }
        let gauges = &self.shared.gauges;
        if gauges.down.load(Ordering::Relaxed) {
            return Err(LedgerError::Down { problem: "the last write failed".into() });
        }
        let busy_until = gauges.busy_until_us.load(Ordering::Relaxed);
        if busy_until != 0 && self.clock.unix_us() < busy_until {
            return Err(LedgerError::Busy);
        }
        Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|_| if self.slots.is_closed() { LedgerError::Stopped } else { LedgerError::Busy })
    }

    /// Queues a command. Never blocks. `false`: the journal has stopped and the command is gone.
    pub(crate) fn push(&self, command: Command) -> bool {
        self.shared.push(command)
    }

    /// Has what is queued written now: somebody waits for it after all.
    pub(crate) fn hurry(&self) {
        let mut queue = self.shared.queue.lock();
        let wake = !queue.commands.is_empty() && !std::mem::replace(&mut queue.awaited, true);
        drop(queue);
        if wake {
            self.shared.wake.notify_one();
        }
    }

    /// Counts a charge to a live wallet, for metrics only; the books are the truth.
    pub(crate) fn note_charge(&self, paid: Nano) {
        self.shared.gauges.charged_nano.fetch_add(u64::try_from(paid.get()).unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether the queue has room for another request's hold.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.queue.lock().commands.len() < self.options.queue_max
    }

    /// Runs `job` inside a group commit and returns its value once it is committed. It may run more than once: after a
    /// batch that failed for another's fault it is applied again, alone.
    ///
    /// # Errors
    /// What `job` returned, or that the commit failed. Then nothing of it was written.
    pub(crate) async fn exec<T, F>(&self, job: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnMut(&mut Scope<'_>) -> Result<T, LedgerError> + Send + 'static,
    {
        let _turn = self.jobs.acquire().await.map_err(|_| LedgerError::Stopped)?;
        let (answer, answered) = oneshot::channel();
        if !self.push(Command::Job(scope::job(job, answer))) {
            return Err(LedgerError::Stopped);
        }
        answered.await.map_err(|_| LedgerError::Stopped)?
    }

    /// As [`Journal::exec`], for what nobody waits for: a failure is logged.
    pub(crate) fn tell<F>(&self, job: F)
    where
        F: FnMut(&mut Scope<'_>) -> Result<(), LedgerError> + Send + 'static,
    {
        self.teller().tell(job);
    }

    /// For jobs that are queued from within the writer's thread.
    pub(crate) fn teller(&self) -> Teller {
        Teller(Arc::clone(&self.shared))
    }

    /// A reading for metrics.
    #[must_use]
    pub fn reading(&self) -> JournalReading {
        let gauges = &self.shared.gauges;
        let mut commit_buckets = [0; COMMIT_BUCKETS_US.len() + 1];
        for (reading, bucket) in commit_buckets.iter_mut().zip(&gauges.buckets) {
            *reading = bucket.load(Ordering::Relaxed);
        }
        JournalReading {
            queue_depth: self.shared.queue.lock().commands.len(),
            in_flight: self.options.in_flight_max.saturating_sub(self.slots.available_permits()),
            commits: gauges.commits.load(Ordering::Relaxed),
            commit_us: gauges.commit_us.load(Ordering::Relaxed),
            commit_buckets,
            refused: gauges.refused.load(Ordering::Relaxed),
            down: gauges.down.load(Ordering::Relaxed),
            charged_nano: gauges.charged_nano.load(Ordering::Relaxed),
        }
    }

    /// Admits nobody any more, and waits until every request in flight has ended and is written.
    pub(crate) async fn drain(&self) {
        let all = u32::try_from(self.options.in_flight_max).unwrap_or(u32::MAX);
        self.hurry();
        // New requests use `try_acquire`, so this one waits only for those that hold a slot.
        if let Ok(permits) = Arc::clone(&self.slots).acquire_many_owned(all).await {
            self.slots.close();
            drop(permits);
        }
    }

    /// Closes the queue, writes what is in it, checkpoints and ends the thread.
    pub(crate) fn close(&self) {
        self.slots.close();
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the ledger's writer panicked; the next start recovers what it had not written");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}
