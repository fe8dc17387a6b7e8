//! Budgets as a start finds them.

use std::collections::HashSet;

use gateway_core::OrgId;
use rusqlite::{Connection, Row};

use crate::{
    budget::{
        Bounds, BudgetBook, BudgetId, Rule, Scope, Spec, Terms,
        gauge::Count,
        index::{Budget, Standing},
    },
    error::LedgerError,
    money::Currency,
};

/// Reads every budget that runs or that an open hold may name, with the periods that still matter.
pub(in crate::ledger) fn load(connection: &Connection, now_us: i64) -> Result<BudgetBook, LedgerError> {
    let held: HashSet<i64> = connection
        .prepare("SELECT DISTINCT budget FROM budget_period WHERE held > 0")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut statement = connection.prepare(
        "SELECT id, org, name, currency, scope, scope_id, model, provider, cap, hard, period, alerts, ended_at IS NOT NULL FROM budget",
    )?;
    let mut rows = statement.query([])?;
    let mut budgets = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, ended): (i64, bool) = (row.get(0)?, row.get(12)?);
        if ended && !held.contains(&id) {
            continue;
        }
        let budget = read(row, if ended { Standing::Ended } else { Standing::Running })?;
        restore(connection, &budget, now_us)?;
        budgets.push(budget);
    }
    Ok(BudgetBook::new(budgets))
}

fn read(row: &Row<'_>, standing: Standing) -> Result<Budget, LedgerError> {
    let id = BudgetId(row.get(0)?);
    let broken = |what: &str| LedgerError::Refused { problem: format!("the {what} of budget {id} cannot be read").into() };
    let text = |column| row.get::<_, String>(column);
    let spec = Spec {
        id,
        org: OrgId::from_bytes(row.get(1)?),
        currency: Currency::new(&text(3)?).ok_or_else(|| broken("currency"))?,
        scope: Scope::parse(&text(4)?, &text(5)?).map_err(|_| broken("scope"))?,
        model: row.get::<_, Option<String>>(6)?.map(Into::into),
        provider: row.get::<_, Option<String>>(7)?.map(Into::into),
    };
    let period = serde_json::from_str(&text(10)?).map_err(|_| broken("period"))?;
    let terms = Terms {
        name: text(2)?.into(),
        cap: row.get(8)?,
        hard: row.get(9)?,
        rule: Rule::of(period).map_err(|_| broken("period"))?,
        alerts: serde_json::from_str(&text(11)?).map_err(|_| broken("alerts"))?,
        generation: 0,
    };
    Ok(Budget::new(spec, terms, standing))
}

fn restore(connection: &Connection, budget: &Budget, now_us: i64) -> Result<(), LedgerError> {
    let since = {
        let rule = &budget.terms.load().rule;
        // After a change of rule a period that is over may reach into the one that the new rule would begin with.
        now_us.saturating_sub(rule.window_us().unwrap_or(0)).min(rule.bounds(now_us).start)
    };
    let mut statement = connection.prepare_cached(
        "SELECT subject, start_at, end_at, cap, hard, spent, held, alerted FROM budget_period WHERE budget = ?1 AND (end_at > ?2 OR held > 0)",
    )?;
    let mut rows = statement.query([budget.spec.id.0, since])?;
    while let Some(row) = rows.next()? {
        let (alerted, refused) = Count::of_told(row.get(7)?);
        let count = Count {
            bounds: Bounds { start: row.get(1)?, end: row.get(2)? },
            cap: row.get(3)?,
            hard: row.get(4)?,
            spent: row.get(5)?,
            held: row.get(6)?,
            alerted,
            refused,
            generation: 0,
        };
        budget.gauge(&row.get::<_, String>(0)?).restore(count);
    }
    Ok(())
}
