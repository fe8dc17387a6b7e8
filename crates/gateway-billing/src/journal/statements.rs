//! The writer's statements, prepared once: looking one up per row would cost as much as running it.

use gateway_core::KeyId;
use rusqlite::{Connection, Statement, params};

use super::{
    chain::CanonicalSettlement,
    rollup::{Place, Sum, TagPlace},
    row::{AttemptRow, Held, encode_budgets},
};
use crate::{book::Wallet, budget::claim::Reserved, error::LedgerError, money::Nano};

pub(super) struct Statements<'c> {
    hold: Statement<'c>,
    end: Statement<'c>,
    progress: Statement<'c>,
    settlement: Statement<'c>,
    draw: Statement<'c>,
    lot: Statement<'c>,
    wallet: Statement<'c>,
    attempt: Statement<'c>,
    count: Statement<'c>,
    begin_count: Statement<'c>,
    abandoned: Statement<'c>,
    rollup: Statement<'c>,
    rollup_tag: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            hold: connection.prepare(
                "INSERT INTO hold(id, wallet, api_key, amount, pins, state, boot, requested_model, stream, progress, created_at, ended_at, \
                 budgets, tag, facts) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
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
                "INSERT INTO attempt(hold, n, provider, upstream_model, started_at, ended_at, outcome, status, cost, cost_currency) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?,
            // What an answer cost above what was held for it may pass the cap, and is recorded as that. A hold never may.
            count: connection.prepare(
                "UPDATE budget_period SET held = held + ?4, spent = spent + ?5, alerted = MAX(alerted, ?6), \
                 overrun = CASE WHEN ?5 > 0 THEN MAX(overrun, spent + ?5 + held + ?4 - cap) ELSE overrun END \
                 WHERE budget = ?1 AND subject = ?2 AND start_at = ?3",
            )?,
            // The cap is the budget's as it stands in the order of the queue: a change that was written meanwhile is in it. What a
            // hold was promised under the higher cap before is recorded as above the lower one.
            begin_count: connection.prepare(
                "INSERT INTO budget_period(budget, subject, start_at, held, spent, alerted, end_at, cap, hard, overrun) \
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, cap, hard, MAX(0, ?5 + ?4 - cap) FROM budget WHERE id = ?1",
            )?,
            abandoned: connection.prepare(
                "INSERT INTO abandoned(api_key, day, amount) VALUES (?1, ?2, ?3) \
                 ON CONFLICT(api_key, day) DO UPDATE SET amount = amount + excluded.amount",
            )?,
            rollup: connection.prepare(
                "INSERT INTO rollup(wallet, quarter, served, api_key, cost_currency, requests, tokens_in, tokens_out, cache_read, \
                 cache_write, reasoning, charge, written_off, cost) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
                 ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, tokens_in = tokens_in + excluded.tokens_in, \
                 tokens_out = tokens_out + excluded.tokens_out, cache_read = cache_read + excluded.cache_read, \
                 cache_write = cache_write + excluded.cache_write, reasoning = reasoning + excluded.reasoning, \
                 charge = charge + excluded.charge, written_off = written_off + excluded.written_off, cost = cost + excluded.cost",
            )?,
            rollup_tag: connection.prepare(
                "INSERT INTO rollup_tag(wallet, quarter, tag, served, requests, tokens_in, tokens_out, charge, written_off) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
                 ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, tokens_in = tokens_in + excluded.tokens_in, \
                 tokens_out = tokens_out + excluded.tokens_out, charge = charge + excluded.charge, \
                 written_off = written_off + excluded.written_off",
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
            encode_budgets(&held.budgets),
            held.tag.as_deref(),
            held.facts.as_deref(),
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
            row.cost_currency.as_str(),
        ])?;
        Ok(())
    }

    /// Adds to a budget's period, and begins it if it is the first time.
    pub(super) fn count(&mut self, reserved: &Reserved, held: i64, spent: i64, alerted: u16) -> Result<(), LedgerError> {
        let key = (reserved.gauge.spec.id.0, &*reserved.gauge.subject, reserved.bounds.start);
        if self.count.execute(params![key.0, key.1, key.2, held, spent, alerted])? == 0 {
            self.begin_count.execute(params![key.0, key.1, key.2, held, spent, alerted, reserved.bounds.end])?;
        }
        Ok(())
    }

    /// Notes what a provider may bill for an answer that a key's caller did not wait for.
    pub(super) fn abandoned(&mut self, key: KeyId, day: i64, amount: Nano) -> Result<(), LedgerError> {
        self.abandoned.execute(params![&key.as_bytes()[..], day, amount.get()])?;
        Ok(())
    }

    pub(super) fn rollup(&mut self, quarter: i64, place: &Place, sum: &Sum) -> Result<(), LedgerError> {
        let (key, currency) = (&place.key.as_bytes()[..], place.cost_currency.as_str());
        let Sum { requests, tokens_in, tokens_out, cache_read, cache_write, reasoning, charge, written_off, cost } = *sum;
        self.rollup.execute(params![
            place.wallet,
            quarter,
            place.served,
            key,
            currency,
            requests,
            tokens_in,
            tokens_out,
            cache_read,
            cache_write,
            reasoning,
            charge,
            written_off,
            cost
        ])?;
        Ok(())
    }

    pub(super) fn rollup_tag(&mut self, quarter: i64, place: &TagPlace<'_>, sum: &Sum) -> Result<(), LedgerError> {
        let Sum { requests, tokens_in, tokens_out, charge, written_off, .. } = *sum;
        let TagPlace { wallet, tag, served } = *place;
        self.rollup_tag.execute(params![wallet, quarter, tag, served, requests, tokens_in, tokens_out, charge, written_off])?;
        Ok(())
    }
}

/// Places in the settlement's statement.
const COST_VERSION: usize = 10;
const COST_REPORTED: usize = 20;
