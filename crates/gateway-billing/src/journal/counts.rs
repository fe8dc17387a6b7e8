//! What a batch changes in budgets, and whom it tells.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use serde_json::json;

use super::statements::Statements;
use crate::{
    budget::claim::{Alert, Counted, Reserved},
    error::LedgerError,
    money::{Money, MoneyError, Nano},
};

#[derive(Clone, Copy)]
struct Change<'b> {
    reserved: &'b Reserved,
    held: i64,
    spent: i64,
    alert: Option<Alert>,
}

/// Changes by budget, subject and period, each written once.
#[derive(Default)]
pub(super) struct Counts<'b>(BTreeMap<(i64, &'b str, i64), Change<'b>>);

impl<'b> Counts<'b> {
    /// One hold's: `fresh` when the batch makes its row, `ended` when it ends it.
    pub(super) fn add(&mut self, budgets: &'b [Reserved], counted: &[Counted], (fresh, ended): (bool, bool)) -> Result<(), LedgerError> {
        for (n, reserved) in budgets.iter().enumerate() {
            let held = match (fresh, ended) {
                (true, false) => reserved.amount.get(),
                (false, true) => -reserved.amount.get(),
                (true, true) | (false, false) => 0,
            };
            let counted = counted.get(n).copied().unwrap_or_default();
            let key = (reserved.gauge.spec.id.0, &*reserved.gauge.subject, reserved.bounds.start);
            let change = self.0.entry(key).or_insert(Change { reserved, held: 0, spent: 0, alert: None });
            change.held = change.held.checked_add(held).ok_or(MoneyError::TooLarge)?;
            change.spent = change.spent.checked_add(counted.spent.get()).ok_or(MoneyError::TooLarge)?;
            change.alert = change.alert.max(counted.alert);
        }
        Ok(())
    }

    pub(super) fn write(&self, connection: &Connection, statements: &mut Statements<'_>, now_us: i64) -> Result<(), LedgerError> {
        for change in self.0.values() {
            if (change.held, change.spent) != (0, 0) {
                statements.count(change.reserved, change.held, change.spent, change.alert.map_or(0, |alert| alert.told))?;
            }
            if let Some(Alert { percent, .. }) = change.alert {
                alert(connection, change.reserved, percent, now_us)?;
            }
        }
        Ok(())
    }
}

/// Puts word of a level that was reached into the outbox, with the figures of this very commit.
fn alert(connection: &Connection, reserved: &Reserved, percent: u16, now_us: i64) -> Result<(), LedgerError> {
    let spec = &reserved.gauge.spec;
    let key = params![spec.id.0, &*reserved.gauge.subject, reserved.bounds.start];
    let (cap, spent): (i64, i64) = connection
        .prepare_cached("SELECT cap, spent FROM budget_period WHERE budget = ?1 AND subject = ?2 AND start_at = ?3")?
        .query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let money = |nano| Money::new(Nano::new(nano), spec.currency);
    let mut body = reserved.gauge.facts(&reserved.bounds);
    body["percent"] = json!(percent);
    body["limit"] = json!(money(cap));
    body["spent"] = json!(money(spent));
    crate::outbox::queue(connection, now_us, "budget.alert", &spec.org, &body)
}
