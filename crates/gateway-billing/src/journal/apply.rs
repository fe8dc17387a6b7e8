//! One batch: rows first gathered in memory, then written with everything that can be netted netted.
//!
//! A hold and its end in one batch become one row, one usage transaction covers all settlements, and each wallet, lot
//! and account is updated once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use rusqlite::Connection;

use super::{
    Command,
    chain::CanonicalSettlement,
    counts::Counts,
    draw::draw,
    rollup::Rollups,
    row::{AttemptRow, Draft, End, Held},
    scope::{AccountKey, Entry, OPERATOR, Scope, State, code},
    statements::Statements,
};
use crate::{
    book::Taken,
    error::LedgerError,
    money::{Currency, MoneyError, Nano},
};

/// What became of a batch that was applied.
#[derive(Default)]
pub(super) struct Applied {
    /// Commands that changed nothing, by their place in the batch, and why.
    pub(super) refused: Vec<(usize, LedgerError)>,
    /// What follows the commit.
    pub(super) after: Vec<Box<dyn FnOnce() + Send>>,
}

/// Applies commands inside the transaction that the caller has begun.
///
/// # Errors
/// Something broke; the caller must roll everything back.
pub(super) fn apply(
    connection: &Connection,
    statements: &mut Statements<'_>,
    state: &mut State,
    now_us: i64,
    commands: &mut [Command],
) -> Result<Applied, LedgerError> {
    let mut applied = Applied::default();
    let mut start = 0;
    loop {
        let rest = &commands[start..];
        let end = start + rest.iter().position(|command| matches!(command, Command::Job(_))).unwrap_or(rest.len());
        let mut rows = Rows::default();
        rows.gather(&commands[start..end], start, &mut applied.refused);
        rows.write(connection, statements, state, now_us, &mut applied.refused)?;
        let Some(Command::Job(job)) = commands.get_mut(end) else {
            return Ok(applied);
        };
        connection.execute_batch("SAVEPOINT job")?;
        let followers = applied.after.len();
        let result = job.run(&mut Scope { connection, state, now_us, after: &mut applied.after });
        match result {
            Ok(()) => connection.execute_batch("RELEASE job")?,
            Err(error) if error.is_down() => return Err(error),
            Err(error) => {
                connection.execute_batch("ROLLBACK TO job; RELEASE job")?;
                state.forget(connection)?;
                applied.after.truncate(followers);
                applied.refused.push((end, error));
            }
        }
        start = end + 1;
    }
}

/// One hold and what this batch does with it.
struct Row<'b> {
    held: &'b Arc<Held>,
    fresh: bool,
    progress: Option<&'b Draft>,
    end: Option<Ending<'b>>,
}

struct Ending<'b> {
    place: usize,
    end: &'b End,
    attempts: &'b [AttemptRow],
    at: i64,
}

#[derive(Default)]
struct Rows<'b> {
    rows: Vec<Row<'b>>,
    by_id: HashMap<[u8; 16], usize>,
}

/// What a wallet's rows change, net.
#[derive(Default, Clone, Copy)]
pub(super) struct Delta {
    pub(super) held: i64,
    pub(super) promo: i64,
    pub(super) paid: i64,
}

/// Everything a batch posts.
#[derive(Default)]
pub(super) struct Sums<'b> {
    pub(super) wallets: BTreeMap<i64, (&'b Arc<Held>, Delta)>,
    /// Written off, by currency.
    written_off: Vec<(Currency, i64)>,
    /// Cost of served and of failed attempts, by provider and currency.
    costs: Vec<(&'b Arc<str>, Currency, i64, i64)>,
    pub(super) lots: HashMap<[u8; 16], i64>,
    counts: Counts<'b>,
    rollups: Rollups<'b>,
}

struct Settling<'b> {
    held: &'b Held,
    draft: &'b Draft,
    canonical: CanonicalSettlement<'b>,
    draws: Vec<([u8; 16], i64)>,
}

impl<'b> Rows<'b> {
    fn gather(&mut self, commands: &'b [Command], offset: usize, refused: &mut Vec<(usize, LedgerError)>) {
        for (place, command) in (offset..).zip(commands) {
            match command {
                Command::Hold(held) => {
                    self.by_id.insert(*held.id.as_bytes(), self.rows.len());
                    self.rows.push(Row { held, fresh: true, progress: None, end: None });
                }
                Command::Progress(held, Some(draft)) => self.row(held).progress = Some(draft),
                Command::Progress(_, None) => {}
                Command::End { held, end, attempts, ended_at, .. } => {
                    let row = self.row(held);
                    if row.end.is_some() {
                        refused.push((place, LedgerError::NotOpen));
                    } else {
                        row.end = Some(Ending { place, end, attempts, at: *ended_at });
                    }
                }
                Command::Job(_) => unreachable!("a batch is cut at its jobs"),
            }
        }
    }

    fn row(&mut self, held: &'b Arc<Held>) -> &mut Row<'b> {
        let next = self.rows.len();
        let place = *self.by_id.entry(*held.id.as_bytes()).or_insert(next);
        if place == next {
            self.rows.push(Row { held, fresh: false, progress: None, end: None });
        }
        &mut self.rows[place]
    }

    fn write(
        mut self,
        connection: &Connection,
        statements: &mut Statements<'_>,
        state: &mut State,
        now_us: i64,
        refused: &mut Vec<(usize, LedgerError)>,
    ) -> Result<(), LedgerError> {
        let mut sums = Sums::default();
        let mut settling = Vec::new();
        for row in &mut self.rows {
            row.write(statements, state.boot, refused)?;
            row.sum(&mut sums)?;
            let Some(ending) = &row.end else { continue };
            for attempt in ending.attempts {
                statements.attempt(row.held, attempt)?;
                sums.cost(&attempt.provider, attempt.cost_currency, 0, attempt.cost.get())?;
            }
            match ending.end {
                End::Settled { draft, taken, .. } => {
                    let draws = draw(connection, state, row.held, taken.paid(), &mut sums)?;
                    let served = state.served(connection, &draft.served)?;
                    let canonical = canonical(row.held, draft, *taken, served, ending.at);
                    settling.push(Settling { held: row.held, draft, canonical, draws });
                    sums.settle(row.held, draft, *taken)?;
                    sums.rollups.add(row.held, draft, *taken, served)?;
                }
                End::Released { abandoned } if !abandoned.is_zero() => {
                    statements.abandoned(row.held.key, day_of(ending.at), *abandoned)?;
                }
                End::Released { .. } => {}
            }
        }
        settling.sort_unstable_by_key(|settling| settling.held.id);
        post(connection, statements, state, now_us, &sums, &settling)?;
        sums.rollups.write(statements, state.posted_at(now_us))?;
        sums.counts.write(connection, statements, now_us)
    }
}

impl<'b> Row<'b> {
    fn write(&mut self, statements: &mut Statements<'_>, boot: i64, refused: &mut Vec<(usize, LedgerError)>) -> Result<(), LedgerError> {
        match (&self.end, self.fresh) {
            (Some(ending), true) => statements.hold(self.held, boot, ending.end.state(), None, Some(ending.at)),
            (None, true) => {
                let progress = self.progress.map(Draft::encode);
                statements.hold(self.held, boot, 0, progress.as_deref(), None)
            }
            (Some(ending), false) => {
                if !statements.end(self.held, ending.end.state(), ending.at)? {
                    refused.push((ending.place, LedgerError::NotOpen));
                    self.end = None;
                }
                Ok(())
            }
            (None, false) => self.progress.map_or(Ok(()), |draft| statements.progress(self.held, &draft.encode())),
        }
    }

    /// The reservation's part of the wallet's change.
    fn sum(&self, sums: &mut Sums<'b>) -> Result<(), LedgerError> {
        let change = match (&self.end, self.fresh) {
            (None, true) => self.held.amount.get(),
            (Some(_), false) => -self.held.amount.get(),
            (Some(_), true) | (None, false) => 0,
        };
        let delta = sums.wallet(self.held);
        delta.held = add(delta.held, change)?;
        if self.held.budgets.is_empty() {
            return Ok(());
        }
        let counted = self.end.as_ref().map_or(&[][..], |ending| ending.end.counted());
        sums.counts.add(&self.held.budgets, counted, (self.fresh, self.end.is_some()))
    }
}

impl<'b> Sums<'b> {
    fn wallet(&mut self, held: &'b Arc<Held>) -> &mut Delta {
        &mut self.wallets.entry(held.wallet.id()).or_insert((held, Delta::default())).1
    }

    fn settle(&mut self, held: &'b Arc<Held>, draft: &'b Draft, taken: Taken) -> Result<(), LedgerError> {
        let currency = held.wallet.currency();
        if !taken.written_off.is_zero() {
            match self.written_off.iter_mut().find(|(of, _)| *of == currency) {
                Some((_, sum)) => *sum = add(*sum, taken.written_off.get())?,
                None => self.written_off.push((currency, taken.written_off.get())),
            }
        }
        self.cost(&draft.served.provider, draft.cost_currency, draft.cost.get(), 0)
    }

    fn cost(&mut self, provider: &'b Arc<str>, currency: Currency, served: i64, failed: i64) -> Result<(), LedgerError> {
        if served == 0 && failed == 0 {
            return Ok(());
        }
        match self.costs.iter_mut().find(|(of, in_currency, ..)| of.as_ref() == provider.as_ref() && *in_currency == currency) {
            Some((_, _, served_sum, failed_sum)) => {
                *served_sum = add(*served_sum, served)?;
                *failed_sum = add(*failed_sum, failed)?;
            }
            None => self.costs.push((provider, currency, served, failed)),
        }
        Ok(())
    }

    fn postings(&self) -> Result<Vec<(AccountKey, i64)>, LedgerError> {
        let mut revenue: Vec<(Currency, i64, i64)> = Vec::new();
        let mut postings = Vec::new();
        let mut earn = |currency, promo, paid| -> Result<(), LedgerError> {
            match revenue.iter_mut().find(|(of, ..)| *of == currency) {
                Some((_, promo_sum, paid_sum)) => {
                    *promo_sum = add(*promo_sum, promo)?;
                    *paid_sum = add(*paid_sum, paid)?;
                }
                None => revenue.push((currency, promo, paid)),
            }
            Ok(())
        };
        for (held, delta) in self.wallets.values() {
            let (org, currency) = (held.wallet.org(), held.wallet.currency());
            for (code, amount) in [(code::WALLET_PROMO, delta.promo), (code::WALLET_PAID, delta.paid)] {
                if amount != 0 {
                    postings.push((AccountKey::new(code, org.as_bytes(), currency), amount));
                }
            }
            earn(currency, delta.promo, delta.paid)?;
        }
        for (currency, amount) in &self.written_off {
            postings.push((AccountKey::new(code::OVERRUN_WRITEOFF, OPERATOR, *currency), *amount));
            earn(*currency, 0, *amount)?;
        }
        for (provider, currency, served, failed) in &self.costs {
            let owner = provider.as_bytes();
            for (code, amount) in [(code::UPSTREAM_COST, *served), (code::FAILED_ATTEMPT_COST, *failed)] {
                if amount != 0 {
                    postings.push((AccountKey::new(code, owner, *currency), amount));
                }
            }
            postings.push((AccountKey::new(code::UPSTREAM_PAYABLE, owner, *currency), -add(*served, *failed)?));
        }
        for (currency, promo, paid) in revenue {
            for (code, amount) in [(code::USAGE_REVENUE_PROMO, promo), (code::USAGE_REVENUE_PAID, paid)] {
                if amount != 0 {
                    postings.push((AccountKey::new(code, OPERATOR, currency), -amount));
                }
            }
        }
        Ok(postings)
    }
}

fn canonical<'b>(held: &'b Held, draft: &'b Draft, taken: Taken, served: i64, at: i64) -> CanonicalSettlement<'b> {
    let tokens = |tokens| i64::try_from(tokens).unwrap_or(i64::MAX);
    CanonicalSettlement {
        hold: &held.id.as_bytes()[..],
        leaves: &draft.leaves,
        numbers: [
            0,
            held.wallet.id(),
            i64::from(draft.attempt),
            served,
            draft.price_version,
            draft.plan_version,
            draft.cost_version.unwrap_or(-1),
            tokens(draft.tokens_in),
            tokens(draft.tokens_out),
            draft.source.code(),
            i64::from(draft.flags),
            draft.charge.get(),
            taken.from_hold.get(),
            taken.overrun.get(),
            taken.written_off.get(),
            draft.cost.get(),
            draft.cost_reported.map_or(-1, Nano::get),
            at,
        ],
    }
}

fn post(
    connection: &Connection,
    statements: &mut Statements<'_>,
    state: &mut State,
    now_us: i64,
    sums: &Sums<'_>,
    settling: &[Settling<'_>],
) -> Result<(), LedgerError> {
    let postings = sums.postings()?;
    if !settling.is_empty() || !postings.is_empty() {
        let idem = format!("usage:{}", state.next_txn);
        let entry = Entry { kind: "usage", idem: &idem, reason: None, actor: None, postings };
        let txn = state.post(connection, now_us, &entry, |hasher| {
            for settling in settling {
                hasher.settlement(&settling.canonical);
            }
        })?;
        for settling in settling {
            statements.settlement(txn, &settling.canonical)?;
            for (lot, amount) in &settling.draws {
                statements.draw(&settling.held.id.as_bytes()[..], lot, *amount)?;
            }
            debug_assert!(settling.draft.charge.get() >= 0, "a charge is never negative");
        }
    }
    for (lot, remaining) in &sums.lots {
        statements.lot(lot, *remaining)?;
    }
    for (held, delta) in sums.wallets.values() {
        let posted = -add(delta.promo, delta.paid)?;
        if (posted, delta.held) != (0, 0) {
            statements.wallet(&held.wallet, posted, delta.held)?;
        }
    }
    Ok(())
}

/// Days since 1970, UTC.
fn day_of(at_us: i64) -> i64 {
    at_us.div_euclid(96 * crate::budget::QUARTER_US)
}

pub(super) fn add(a: i64, b: i64) -> Result<i64, MoneyError> {
    a.checked_add(b).ok_or(MoneyError::TooLarge)
}
