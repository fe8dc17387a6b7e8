//! The writer's thread: takes what is queued, writes it, answers, and keeps what could not be written.

mod clock;
mod slow;
mod thread;

use std::{
    io::ErrorKind,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gateway_core::Clock;
use rusqlite::Connection;

use self::{clock::ClockWatch, slow::SlowCommits, thread::give_way};
use super::{
    BATCH_MAX, COMMIT_BUCKETS_US, Command, PATIENCE, Shared,
    apply::{Applied, apply},
    failpoint::{Failpoint, Failpoints},
    scope::State,
    statements::Statements,
};
use crate::{budget::claim, error::LedgerError};

/// How long the queue must be empty before a checkpoint.
const IDLE: Duration = Duration::from_millis(200);

/// How often a failed write is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// What must be free on the disk before a ledger that could not be written is taken for well.
const ROOM_BYTES: usize = 256 * 1_024;

/// How long admission stays closed when commits are slow.
const BUSY_US: i64 = 1_000_000;

/// Runs until the queue is closed and empty.
pub(super) fn run(connection: Connection, boot: i64, shared: &Shared, clock: Arc<dyn Clock>, failpoints: Arc<dyn Failpoints>) {
    give_way();
    match Writer::new(&connection, boot, shared, clock, failpoints) {
        Ok(mut writer) => writer.run(),
        Err(error) => {
            tracing::error!(%error, "the ledger's writer cannot start");
            shared.gauges.down.store(true, Ordering::Relaxed);
            let mut queue = shared.queue.lock();
            queue.closed = true;
            for command in queue.commands.drain(..) {
                refuse(command, error.clone());
            }
        }
    }
    if let Err(error) = connection.close() {
        tracing::warn!(error = %error.1, "the ledger's database did not close cleanly; nothing is lost");
    }
}

struct Writer<'c> {
    connection: &'c Connection,
    statements: Statements<'c>,
    state: State,
    shared: &'c Shared,
    clock: Arc<dyn Clock>,
    failpoints: Arc<dyn Failpoints>,
    /// Taken from the queue; ends and jobs stay here while nothing can be written.
    batch: Vec<Command>,
    /// Something was committed since the last checkpoint.
    dirty: bool,
    /// `state` is ahead of the database: a batch was rolled back and could not be read back.
    stale: bool,
    slow: SlowCommits,
    watch: ClockWatch,
}

enum Turn {
    Work,
    Idle,
    Closed,
}

impl<'c> Writer<'c> {
    fn new(
        connection: &'c Connection,
        boot: i64,
        shared: &'c Shared,
        clock: Arc<dyn Clock>,
        failpoints: Arc<dyn Failpoints>,
    ) -> Result<Self, LedgerError> {
        let statements = Statements::prepare(connection)?;
        let state = State::load(connection, boot)?;
        let batch = Vec::with_capacity(BATCH_MAX);
        Ok(Self {
            connection,
            statements,
            state,
            shared,
            clock,
            failpoints,
            batch,
            dirty: false,
            stale: false,
            slow: SlowCommits::default(),
            watch: ClockWatch::default(),
        })
    }

    fn run(&mut self) {
        loop {
            match self.take() {
                Turn::Work => self.work(),
                Turn::Idle => self.checkpoint("PASSIVE"),
                Turn::Closed => break,
            }
        }
        self.stop();
    }

    /// Waits for commands and takes at most one batch of them.
    fn take(&mut self) -> Turn {
        let mut queue = self.shared.queue.lock();
        while !queue.awaited && !queue.closed && queue.commands.len() < BATCH_MAX {
            if !queue.commands.is_empty() {
                if self.shared.wake.wait_for(&mut queue, PATIENCE).timed_out() {
                    break;
                }
            } else if !self.dirty {
                self.shared.wake.wait(&mut queue);
            } else if self.shared.wake.wait_for(&mut queue, IDLE).timed_out() && queue.commands.is_empty() {
                return Turn::Idle;
            }
        }
        if queue.commands.is_empty() {
            return Turn::Closed;
        }
        let count = queue.commands.len().min(BATCH_MAX);
        self.batch.extend(queue.commands.drain(..count));
        // What is left was there before the commit that now begins, so it has waited long enough.
        queue.awaited = !queue.commands.is_empty();
        Turn::Work
    }

    /// Writes the batch, and if nothing can be written stays until something can.
    fn work(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        if batch.iter().any(|command| matches!(command, Command::End { .. })) {
            // Only a test stands here, and it kills.
            let _ = self.failpoints.reached(Failpoint::SettleTaken);
        }
        let mut failure: Option<LedgerError> = None;
        loop {
            match self.write(&mut batch) {
                Ok(applied) => {
                    self.answer(batch.drain(..), applied);
                    if failure.is_none() || self.has_room() {
                        break;
                    }
                }
                Err(error) if error.is_down() => {
                    if failure.is_none() {
                        tracing::error!(%error, "the ledger cannot be written; nothing new is served until it can");
                    }
                    self.shared.gauges.down.store(true, Ordering::Relaxed);
                    batch = keep_ends(batch, &error);
                    failure = Some(error);
                }
                Err(_) => {
                    self.one_by_one(&mut batch);
                    break;
                }
            }
            if let Some(error) = &failure
                && !self.wait_and_gather(&mut batch, error)
            {
                tracing::error!(left = batch.len(), "the ledger stops without having written all; the next start recovers it");
                return;
            }
        }
        if failure.is_some() {
            tracing::info!("the ledger can be written again");
        }
        self.shared.gauges.down.store(false, Ordering::Relaxed);
        self.batch = batch;
    }

    /// Whether the disk has room for more than the page that a probe writes. A ledger that comes back on the last free page
    /// fails with the next batch, and until then takes calls whose provider is paid in vain.
    fn has_room(&self) -> bool {
        let Some(database) = self.connection.path().filter(|path| !path.is_empty()) else { return true };
        let path = format!("{database}.room");
        let written = std::fs::write(&path, vec![0_u8; ROOM_BYTES]);
        let removed = std::fs::remove_file(&path);
        tracing::debug!(?written, ?removed, "looked for room on the disk");
        // Any other error says nothing about room, and the database itself was just written.
        !written.is_err_and(|error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
    }

    /// While down: refuses what must not wait, gathers the ends behind the others, and sleeps. `false`: closed, give up.
    fn wait_and_gather(&self, batch: &mut Vec<Command>, error: &LedgerError) -> bool {
        let mut queue = self.shared.queue.lock();
        if queue.commands.is_empty() && !queue.closed {
            self.shared.wake.wait_for(&mut queue, RETRY);
        }
        let closed = queue.closed;
        let waiting = std::mem::take(&mut queue.commands);
        queue.awaited = false;
        drop(queue);
        batch.extend(keep_ends(waiting.into(), error));
        if batch.is_empty() || closed {
            // With nothing to write, an empty transaction still tells whether writing works again.
            return !closed;
        }
        // New ends woke us early; the disk needs its pause all the same.
        std::thread::sleep(RETRY / 5);
        true
    }

    fn write(&mut self, batch: &mut [Command]) -> Result<Applied, LedgerError> {
        let started = self.clock.monotonic();
        let written = self.transact(batch);
        if written.is_err() {
            self.roll_back();
        }
        let applied = written?;
        self.note_commit(started.elapsed());
        self.dirty = true;
        // Only a test stands here, and it kills.
        let _ = self.failpoints.reached(Failpoint::AfterCommit);
        Ok(applied)
    }

    fn transact(&mut self, batch: &mut [Command]) -> Result<Applied, LedgerError> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        if self.stale {
            self.read_back()?;
        }
        if batch.is_empty() {
            // A probe after a failure must really write a page.
            self.connection.execute("UPDATE boot SET started_at = started_at WHERE id = ?1", [self.state.boot])?;
        }
        for command in &mut *batch {
            if let Command::Progress(held, draft) = command {
                // What came while it was queued replaces it; after a failure it has its own, and perhaps a newer one.
                *draft = held.progress.lock().take().or_else(|| draft.take());
            }
        }
        let now_us = self.clock.unix_us();
        self.watch.look(now_us, self.state.stated_until);
        let applied = apply(self.connection, &mut self.statements, &mut self.state, now_us, batch)?;
        self.reach(Failpoint::BeforeCommit)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(applied)
    }

    fn roll_back(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed batch could not be rolled back");
        }
        if let Err(error) = self.read_back() {
            tracing::error!(%error, "the ledger cannot be read back after a failed batch; nothing is written until it can");
        }
    }

    fn read_back(&mut self) -> Result<(), LedgerError> {
        self.stale = true;
        self.reach(Failpoint::ReadingBack)?;
        self.state.forget(self.connection)?;
        self.stale = false;
        Ok(())
    }

    /// A place where a test may fail a write as a disk would.
    fn reach(&self, place: Failpoint) -> Result<(), LedgerError> {
        self.failpoints.reached(place).map_err(|error| LedgerError::Down { problem: error.to_string().into() })
    }

    /// A row of the batch broke a constraint: each command alone, so that only the offender is refused.
    fn one_by_one(&mut self, batch: &mut Vec<Command>) {
        let mut waiting = std::mem::take(batch).into_iter();
        while let Some(command) = waiting.next() {
            let mut single = [command];
            let result = self.write(&mut single);
            let [command] = single;
            match result {
                Ok(applied) => self.answer(std::iter::once(command), applied),
                Err(error) if error.is_down() => {
                    // The rest waits for better times at the head of the queue.
                    let mut queue = self.shared.queue.lock();
                    let mut all = vec![command];
                    all.extend(waiting);
                    for command in all.into_iter().rev() {
                        queue.commands.push_front(command);
                    }
                    queue.awaited = true;
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "the ledger refused a command; this is a bug");
                    self.shared.gauges.refused.fetch_add(1, Ordering::Relaxed);
                    refuse(command, error);
                }
            }
        }
    }

    fn answer(&self, batch: impl Iterator<Item = Command>, applied: Applied) {
        for then in applied.after {
            then();
        }
        let mut refused = applied.refused;
        refused.sort_by_key(|(place, _)| *place);
        let mut refused = refused.into_iter().peekable();
        for (place, command) in batch.enumerate() {
            match refused.next_if(|(refused, _)| *refused == place) {
                Some((_, error)) => refuse(command, error),
                None => accept(command),
            }
        }
    }

    fn note_commit(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let gauges = &self.shared.gauges;
        gauges.commits.fetch_add(1, Ordering::Relaxed);
        gauges.commit_us.fetch_add(us, Ordering::Relaxed);
        let bucket = COMMIT_BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(COMMIT_BUCKETS_US.len());
        gauges.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        if self.slow.note(us) {
            gauges.busy_until_us.store(self.clock.unix_us().saturating_add(BUSY_US), Ordering::Relaxed);
        }
    }

    fn checkpoint(&mut self, kind: &str) {
        self.dirty = false;
        if self.failpoints.reached(Failpoint::Checkpointing).is_err() {
            return;
        }
        let pragma = format!("PRAGMA wal_checkpoint({kind})");
        if let Err(error) = self.connection.query_row(&pragma, [], |_| Ok(())) {
            // The log keeps everything; the next checkpoint tries again.
            tracing::warn!(%error, "the ledger's log could not be checkpointed");
        }
    }

    fn stop(&mut self) {
        let stopped = self.connection.execute("UPDATE boot SET stopped_at = ?1 WHERE id = ?2", [self.clock.unix_us(), self.state.boot]);
        if let Err(error) = stopped {
            tracing::warn!(%error, "the end of this run could not be noted in the ledger");
        }
        self.checkpoint("TRUNCATE");
    }
}

/// Refuses what cannot wait and returns what must not be lost.
fn keep_ends(commands: Vec<Command>, error: &LedgerError) -> Vec<Command> {
    let mut kept = Vec::with_capacity(commands.len());
    for command in commands {
        match command {
            Command::End { .. } | Command::Progress(..) => kept.push(command),
            Command::Hold(_) | Command::Job(_) => refuse(command, error.clone()),
        }
    }
    kept
}

fn accept(command: Command) {
    match command {
        Command::Hold(held) => held.committed.resolve(Ok(())),
        Command::Progress(..) => {}
        Command::End { held, .. } => held.ended.resolve(Ok(())),
        Command::Job(job) => job.finish(Ok(())),
    }
}

/// Undoes in the book what the command had done there, so that memory equals the database again.
fn refuse(command: Command, error: LedgerError) {
    match command {
        Command::Hold(held) => {
            claim::undo_hold(&held.budgets, &held.wallet, held.earmark());
            held.committed.resolve(Err(error));
        }
        Command::Progress(..) => {}
        Command::End { held, end, .. } => {
            claim::undo_end(&held.budgets, &held.wallet, held.amount, end.taken(), end.counted());
            held.ended.resolve(Err(error));
        }
        Command::Job(job) => job.finish(Err(error)),
    }
}
