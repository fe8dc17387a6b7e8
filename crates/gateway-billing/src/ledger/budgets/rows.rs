//! What a budget's rows may hold, and writing them.

use gateway_core::OrgId;
use rusqlite::params;
use serde::Serialize;

use crate::{
    budget::{BudgetId, Scope, Spec, Terms, gauge::level},
    error::LedgerError,
    journal::Scope as CommitScope,
    ledger::accounts::find,
    money::Nano,
};

const NAME_CHARS_MAX: usize = 100;
const LEVELS_MAX: usize = 10;

pub(super) fn insert(scope: &CommitScope<'_>, spec: &Spec, terms: &Terms) -> Result<BudgetId, LedgerError> {
    find(scope.connection(), &spec.org.to_string())?;
    belongs(scope, spec)?;
    free_name(scope, spec.org, &terms.name, BudgetId(0))?;
    let subject = spec.scope.subject();
    scope.connection().execute(
        "INSERT INTO budget(org, name, currency, scope, scope_id, model, provider, cap, hard, period, alerts, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            &spec.org.as_bytes()[..],
            &*terms.name,
            spec.currency.as_str(),
            spec.scope.kind(),
            subject,
            spec.model.as_deref(),
            spec.provider.as_deref(),
            terms.cap,
            terms.hard,
            json(&terms.rule.written)?,
            json(&terms.alerts)?,
            scope.now_us(),
        ],
    )?;
    Ok(BudgetId(scope.connection().last_insert_rowid()))
}

/// A budget for somebody else's team would never count anything, and nobody would notice.
fn belongs(scope: &CommitScope<'_>, spec: &Spec) -> Result<(), LedgerError> {
    use crate::budget::Whose;
    let (sql, what, id) = match &spec.scope {
        Scope::Team(Whose::One(id)) => ("SELECT EXISTS (SELECT 1 FROM team WHERE id = ?1 AND org = ?2)", "team", *id.as_bytes()),
        Scope::User(Whose::One(id)) => ("SELECT EXISTS (SELECT 1 FROM user WHERE id = ?1 AND org = ?2)", "user", *id.as_bytes()),
        Scope::Key(Whose::One(id)) => ("SELECT EXISTS (SELECT 1 FROM api_key WHERE id = ?1 AND org = ?2)", "key", *id.as_bytes()),
        Scope::Org | Scope::Team(Whose::Each) | Scope::User(Whose::Each) | Scope::Key(Whose::Each) | Scope::Tag(_) => return Ok(()),
    };
    let known: bool = scope.connection().query_row(sql, params![&id[..], &spec.org.as_bytes()[..]], |row| row.get(0))?;
    if known { Ok(()) } else { Err(LedgerError::not_found(what, spec.scope.subject())) }
}

fn free_name(scope: &CommitScope<'_>, org: OrgId, name: &str, except: BudgetId) -> Result<(), LedgerError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM budget WHERE org = ?1 AND name = ?2 AND id <> ?3)";
    let taken: bool = scope.connection().query_row(sql, params![&org.as_bytes()[..], name, except.0], |row| row.get(0))?;
    if taken {
        Err(LedgerError::conflict(format!("there is a budget `{name}` already; change it, or choose another name")))
    } else {
        Ok(())
    }
}

pub(super) fn update(scope: &CommitScope<'_>, id: BudgetId, terms: &Terms, ends_running: bool) -> Result<(), LedgerError> {
    let (connection, now_us) = (scope.connection(), scope.now_us());
    let org: [u8; 16] = connection.query_row("SELECT org FROM budget WHERE id = ?1", [id.0], |row| row.get(0))?;
    free_name(scope, OrgId::from_bytes(org), &terms.name, id)?;
    connection.execute(
        "UPDATE budget SET name = ?2, cap = ?3, hard = ?4, period = ?5, alerts = ?6 WHERE id = ?1",
        params![id.0, &*terms.name, terms.cap, terms.hard, json(&terms.rule.written)?, json(&terms.alerts)?],
    )?;
    if ends_running {
        connection
            .execute("UPDATE budget_period SET end_at = ?2 WHERE budget = ?1 AND end_at > ?2 AND start_at < ?2", params![id.0, now_us])?;
    }
    // What is spent or held above a lower cap is recorded, so that the cap still means something for what follows.
    let mut periods = connection.prepare(
        "UPDATE budget_period SET cap = ?2, hard = ?3, overrun = MAX(0, spent + held - ?2), alerted = ?6 \
         WHERE budget = ?1 AND subject = ?4 AND start_at = ?5",
    )?;
    let since = terms.rule.window_us().map_or(now_us, |window_us| now_us.saturating_sub(window_us));
    let mut running = connection.prepare("SELECT subject, start_at, spent FROM budget_period WHERE budget = ?1 AND end_at > ?2")?;
    let rows: Vec<(String, i64, i64)> =
        running.query_map([id.0, since], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<Result<_, _>>()?;
    for (subject, start, spent) in rows {
        periods.execute(params![id.0, terms.cap, terms.hard, subject, start, level(terms, spent)])?;
    }
    Ok(())
}

/// Ends the period of a subject that began at `start`, if it runs longer than to `at`.
pub(super) fn end_period(scope: &CommitScope<'_>, id: BudgetId, (subject, start): (&str, i64), at: i64) -> Result<(), LedgerError> {
    let sql = "UPDATE budget_period SET end_at = ?4 WHERE budget = ?1 AND subject = ?2 AND start_at = ?3 AND end_at > ?4";
    scope.connection().prepare_cached(sql)?.execute(params![id.0, subject, start, at])?;
    Ok(())
}

fn json(value: &impl Serialize) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|error| LedgerError::Refused { problem: error.to_string().into() })
}

pub(super) fn checked_name(name: &str) -> Result<Box<str>, LedgerError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(LedgerError::invalid("name", format!("must have 1 to {NAME_CHARS_MAX} printable characters")));
    }
    Ok(name.into())
}

pub(super) fn checked_cap(cap: Nano) -> Result<i64, LedgerError> {
    if cap.is_negative() { Err(LedgerError::invalid("limit_usd", "must not be negative")) } else { Ok(cap.get()) }
}

pub(super) fn checked_levels(levels: &[u16]) -> Result<Box<[u16]>, LedgerError> {
    if levels.len() > LEVELS_MAX || levels.iter().any(|level| !(1..=1_000).contains(level)) {
        return Err(LedgerError::invalid("alerts", format!("must be at most {LEVELS_MAX} percents from 1 to 1000")));
    }
    let mut levels = levels.to_vec();
    levels.sort_unstable();
    levels.dedup();
    Ok(levels.into())
}
