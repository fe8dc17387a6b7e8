//! INV-16: what budgets hold and have spent follows from the holds and settlements, and no hard cap was passed unrecorded.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::{Check, Violations};
use crate::{
    budget::{BudgetId, Scope, Spec},
    error::LedgerError,
    journal::row::decode_budgets,
    money::Currency,
};

/// Budget, subject, start of the period.
type Place = (i64, String, i64);

pub(super) fn check(connection: &Connection) -> Result<Check, LedgerError> {
    let mut violations = Violations::default();
    let specs = specs(connection)?;
    let mut expected = expected(connection, &specs, &mut violations)?;
    let mut statement = connection.prepare(
        "SELECT budget, subject, start_at, end_at, cap, hard, spent, held, overrun FROM budget_period ORDER BY budget, subject, start_at",
    )?;
    let mut rows = statement.query([])?;
    let (mut seen, mut last): (u64, Option<(Place, i64)>) = (0, None);
    while let Some(row) = rows.next()? {
        seen += 1;
        let place: Place = (row.get(0)?, row.get(1)?, row.get(2)?);
        let name = || format!("{} `{}` from {}", BudgetId(place.0), place.1, place.2);
        let number = |column| row.get::<_, i64>(column);
        let (end, cap, hard, spent, held, overrun) = (number(3)?, number(4)?, row.get::<_, bool>(5)?, number(6)?, number(7)?, number(8)?);
        if hard && spent.saturating_add(held) > cap.saturating_add(overrun) {
            violations.push(format!("{}: {spent} spent and {held} held, above its cap of {cap} with an overrun of {overrun}", name()));
        }
        let (held_now, spent_in_all) = expected.remove(&place).unwrap_or_default();
        if (held, spent) != (held_now, spent_in_all) {
            violations.push(format!("{}: {held} held and {spent} spent, its requests come to {held_now} and {spent_in_all}", name()));
        }
        if let Some((before, ended)) = &last
            && (before.0, &before.1) == (place.0, &place.1)
            && *ended > place.2
        {
            violations.push(format!("{} begins before the period before it ends", name()));
        }
        last = Some((place, end));
    }
    for ((budget, subject, start), (held, spent)) in expected {
        if (held, spent) != (0, 0) {
            violations.push(format!(
                "{} `{subject}` from {start}: its requests hold {held} and spent {spent}, and it has no row",
                BudgetId(budget)
            ));
        }
    }
    let note = (seen == 0).then_some("no budget has counted anything");
    Ok(Check { id: "INV-16", rows: seen, violations: violations.into_list(), note })
}

fn specs(connection: &Connection) -> Result<HashMap<i64, Spec>, LedgerError> {
    let mut statement = connection.prepare("SELECT id, model, provider FROM budget")?;
    let specs = statement.query_map([], |row| {
        let id: i64 = row.get(0)?;
        let only = |column| row.get::<_, Option<String>>(column).map(|only| only.map(Into::into));
        // Only what tells which answers count is asked here.
        let spec = Spec {
            id: BudgetId(id),
            org: gateway_core::OrgId::from_bytes([0; 16]),
            currency: Currency::USD,
            scope: Scope::Org,
            model: only(1)?,
            provider: only(2)?,
        };
        Ok((id, spec))
    })?;
    specs.collect::<Result<_, _>>().map_err(LedgerError::from)
}

/// What holds and settlements say that each period holds and has spent.
fn expected(
    connection: &Connection,
    specs: &HashMap<i64, Spec>,
    violations: &mut Violations,
) -> Result<HashMap<Place, (i64, i64)>, LedgerError> {
    let mut sums: HashMap<Place, (i64, i64)> = HashMap::new();
    let mut statement = connection.prepare(
        "SELECT h.id, h.state, h.budgets, v.provider, v.model, COALESCE(s.from_hold + s.overrun, 0) FROM hold h \
         LEFT JOIN settlement s ON s.hold = h.id LEFT JOIN served v ON v.id = s.served WHERE h.budgets <> x''",
    )?;
    let mut rows = statement.query(params![])?;
    while let Some(row) = rows.next()? {
        let (id, state, stored): ([u8; 16], i64, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let id = gateway_core::RequestId::from_bytes(id);
        let Some(reservations) = decode_budgets(&stored) else {
            violations.push(format!("{id}: what it has in budgets cannot be read"));
            continue;
        };
        let served: Option<(String, String)> = match row.get::<_, Option<String>>(3)? {
            Some(provider) => Some((provider, row.get(4)?)),
            None => None,
        };
        let paid: i64 = row.get(5)?;
        for stored in reservations {
            let Some(spec) = specs.get(&stored.budget) else {
                violations.push(format!("{id}: it counts against {}, which does not exist", BudgetId(stored.budget)));
                continue;
            };
            let (held, spent) = sums.entry((stored.budget, stored.subject.to_owned(), stored.start)).or_default();
            if state == 0 {
                *held = held.saturating_add(stored.amount.get());
            } else if served.as_ref().is_some_and(|(provider, model)| spec.counts(provider, model)) {
                *spent = spent.saturating_add(paid);
            }
        }
    }
    Ok(sums)
}
