//! The writer's statements, prepared once: looking one up per row would cost as much as running it.

use rusqlite::{Connection, Statement, params};

use super::{
    chain::CanonicalSettlement,
    row::{AttemptRow, Held},
};
use crate::{book::Wallet, error::LedgerError};

pub(super) struct Statements<'c> {
    hold: Statement<'c>,
    end: Statement<'c>,
    progress: Statement<'c>,
    settlement: Statement<'c>,
    draw: Statement<'c>,
    lot: Statement<'c>,
    wallet: Statement<'c>,
    attempt: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            hold: connection.prepare(
                "INSERT INTO hold(id, wallet, api_key, amount, pins, state, boot, requested_model, stream, progress, created_at, ended_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?,
            end: connection.prepare(
                "UPDATE hold SET state = ?2, progress = NULL, ended_at = ?3 WHERE id = ?1 AND state = 0 AND amount = ?4 AND wallet = ?5",
            )?,
            progress: connection.prepare("UPDATE hold SET progress = ?2 WHERE id = ?1 AND state = 0")?,
            settlement: connection.prepare(
                "INSERT INTO settlement(hold, leaves, txn, seq, wallet, attempt, served, price_version, plan_version, cost_version, \
                 tokens_in, tokens_out, usage_source, flags, charge, from_hold, overrun, written_off, cost, cost_reported, at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
            )?,
            draw: connection.prepare("INSERT INTO lot_draw(hold, lot, amount) VALUES (?1, ?2, ?3)")?,
            lot: connection.prepare("UPDATE lot SET remaining = ?2 WHERE id = ?1")?,
            wallet: connection.prepare("UPDATE wallet SET posted = posted + ?2, held = held + ?3 WHERE id = ?1")?,
            attempt: connection.prepare(
                "INSERT INTO attempt(hold, n, provider, upstream_model, started_at, ended_at, outcome, status, cost) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?,
        })
    }

    pub(super) fn hold(
        &mut self,
        held: &Held,
        boot: i64,
        state: i64,
        progress: Option<&[u8]>,
        ended_at: Option<i64>,
    ) -> Result<(), LedgerError> {
        self.hold.execute(params![
            &held.id.as_bytes()[..],
            held.wallet.id(),
            &held.key.as_bytes()[..],
            held.amount.get(),
            &held.pins[..],
            state,
            boot,
            &*held.requested_model,
            i64::from(held.stream),
            progress,
            held.created_at,
            ended_at,
        ])?;
        Ok(())
    }

    /// Resolves an open hold; `false` when it is not open, not known, or not the one that was meant.
    pub(super) fn end(&mut self, held: &Held, state: i64, ended_at: i64) -> Result<bool, LedgerError> {
        let changed = self.end.execute(params![&held.id.as_bytes()[..], state, ended_at, held.amount.get(), held.wallet.id()])?;
        Ok(changed == 1)
    }

    pub(super) fn progress(&mut self, held: &Held, progress: &[u8]) -> Result<(), LedgerError> {
        self.progress.execute(params![&held.id.as_bytes()[..], progress])?;
        Ok(())
    }

    pub(super) fn settlement(&mut self, txn: i64, row: &CanonicalSettlement<'_>) -> Result<(), LedgerError> {
        let statement = &mut self.settlement;
        statement.raw_bind_parameter(1, row.hold)?;
        statement.raw_bind_parameter(2, row.leaves)?;
        statement.raw_bind_parameter(3, txn)?;
        for (place, number) in (4usize..).zip(row.numbers) {
            // The chain writes an absent cost version or reported cost as −1; the row says NULL.
            let absent = number == -1 && (place == COST_VERSION || place == COST_REPORTED);
            statement.raw_bind_parameter(place, (!absent).then_some(number))?;
        }
        statement.raw_execute()?;
        Ok(())
    }

    pub(super) fn draw(&mut self, hold: &[u8], lot: &[u8], amount: i64) -> Result<(), LedgerError> {
        self.draw.execute(params![hold, lot, amount])?;
        Ok(())
    }

    pub(super) fn lot(&mut self, lot: &[u8], remaining: i64) -> Result<(), LedgerError> {
        self.lot.execute(params![lot, remaining])?;
        Ok(())
    }

    pub(super) fn wallet(&mut self, wallet: &Wallet, posted: i64, held: i64) -> Result<(), LedgerError> {
        self.wallet.execute([wallet.id(), posted, held])?;
        Ok(())
    }

    pub(super) fn attempt(&mut self, held: &Held, row: &AttemptRow) -> Result<(), LedgerError> {
        self.attempt.execute(params![
            &held.id.as_bytes()[..],
            row.n,
            &*row.provider,
            &*row.upstream_model,
            row.started_at,
            row.ended_at,
            row.outcome,
            row.status,
            row.cost.get(),
        ])?;
        Ok(())
    }
}

/// Places in the settlement's statement.
const COST_VERSION: usize = 10;
const COST_REPORTED: usize = 20;
