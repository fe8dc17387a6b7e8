//! Plans in the store: a new version is added, from now or a later moment on, and none is ever changed.

use std::sync::Arc;

use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::Value;

use super::{Ledger, accounts::rfc3339, once::Once};
use crate::{
    error::LedgerError,
    journal::Scope,
    money::Ppm,
    price::{PlanBook, PlanRow, PlanVersionId, is_plan_name},
};

/// A version of a plan to be published.
#[derive(Debug, Clone)]
pub struct NewPlanVersion {
    /// The plan; it need not exist yet.
    pub plan: String,
    /// What every charge is multiplied by.
    pub multiplier: Ppm,
    /// From when on, in microseconds since 1970; `None` is now.
    pub effective_from: Option<i64>,
    /// Repeating the same publication with the same key changes nothing and answers the same.
    pub idempotency_key: String,
}

/// A version of a plan as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanView {
    /// `plan_version`.
    pub object: &'static str,
    /// Its row.
    pub id: i64,
    /// The plan.
    pub plan: Box<str>,
    /// What every charge is multiplied by: `1.05`.
    pub multiplier: String,
    /// The same in millionths.
    pub multiplier_ppm: u32,
    /// From when on, RFC 3339.
    pub effective_from: String,
    /// `scheduled`, `standing` or `ended`.
    pub state: &'static str,
}

/// What a publication answers: the version that holds from the moment asked for. A repeat returns what the first one did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PublishedPlan(pub Value);

impl Ledger {
    /// Publishes a version of a plan. If the plan has this multiplier at that moment anyway, nothing is written.
    ///
    /// # Errors
    /// The name cannot be used, the moment has passed, another version begins at exactly that moment, the idempotency key
    /// was used for another publication, or nothing can be written.
    pub async fn publish_plan(&self, new: NewPlanVersion) -> Result<PublishedPlan, LedgerError> {
        if !is_plan_name(&new.plan) {
            return Err(LedgerError::invalid("plan", "must have 1 to 64 characters: letters, digits, `-`, `_` and `.`"));
        }
        let body = format!("{}\n{}\n{:?}", new.plan, new.multiplier.get(), new.effective_from);
        let once = Once::new("plan", &new.idempotency_key, &body)?;
        let plans = Arc::clone(&self.plans);
        self.journal.exec(move |scope| publish(scope, &new, &once, &plans).map(PublishedPlan)).await
    }

    /// Every version of every plan, by plan and then in the order in which they take effect.
    #[must_use]
    pub fn plan_versions(&self) -> Vec<PlanView> {
        views(&self.plans.rows(), self.clock.unix_us())
    }
}

fn publish(scope: &mut Scope<'_>, new: &NewPlanVersion, once: &Once, plans: &Arc<PlanBook>) -> Result<Value, LedgerError> {
    if let Some(answer) = once.earlier(scope)? {
        return Ok(answer);
    }
    let now_us = scope.now_us();
    let own: Vec<PlanRow> = rows(scope.connection())?.into_iter().filter(|row| *row.plan == *new.plan).collect();
    let taken = |at: i64| own.iter().any(|row| row.effective_from == at);
    let effective_from = match new.effective_from {
        Some(at) if at < now_us => {
            let problem = format!("has passed: it is {} now, and what was charged is never priced again", rfc3339(now_us));
            return Err(LedgerError::invalid("effective_from", problem));
        }
        Some(at) => at,
        // Two publications within one microsecond must still follow one another.
        None => (now_us..).find(|at| !taken(*at)).unwrap_or(now_us),
    };
    let before = own.iter().filter(|row| row.effective_from <= effective_from).max_by_key(|row| row.effective_from);
    let id = match before {
        Some(row) if row.multiplier == new.multiplier => row.id,
        Some(row) if row.effective_from == effective_from => {
            return Err(LedgerError::conflict(format!(
                "plan `{}` has a version with multiplier {} from exactly {}; versions never change, so choose another moment",
                new.plan,
                row.multiplier,
                rfc3339(effective_from)
            )));
        }
        Some(_) | None => insert(scope, new, effective_from)?,
    };
    let all = rows(scope.connection())?;
    let view = views(&all, now_us).into_iter().find(|view| view.id == id.0);
    let answer = serde_json::to_value(view).map_err(|_| LedgerError::Refused { problem: "the plan cannot be shown".into() })?;
    once.keep(scope, &answer)?;
    let plans = Arc::clone(plans);
    scope.after_commit(move || plans.replace(all));
    Ok(answer)
}

fn insert(scope: &Scope<'_>, new: &NewPlanVersion, effective_from: i64) -> Result<PlanVersionId, LedgerError> {
    scope
        .connection()
        .prepare_cached("INSERT INTO plan_version(plan, multiplier_ppm, effective_from) VALUES (?1, ?2, ?3)")?
        .execute(params![new.plan, new.multiplier.get(), effective_from])?;
    Ok(PlanVersionId(scope.connection().last_insert_rowid()))
}

/// Every version there is.
pub(super) fn rows(connection: &Connection) -> Result<Vec<PlanRow>, LedgerError> {
    let mut statement = connection.prepare_cached("SELECT id, plan, multiplier_ppm, effective_from FROM plan_version")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, u32>(2)?, row.get(3)?)))?;
    rows.map(|row| {
        let (id, plan, millionths, effective_from) = row?;
        let multiplier = Ppm::new(millionths)
            .ok_or_else(|| LedgerError::Refused { problem: format!("plan version {id} has a multiplier out of range").into() })?;
        Ok(PlanRow { id: PlanVersionId(id), plan: plan.into(), multiplier, effective_from })
    })
    .collect()
}

/// `rows` must hold every version of each plan in it: a version has ended if another one of its plan has begun since.
fn views(rows: &[PlanRow], now_us: i64) -> Vec<PlanView> {
    let superseded = |row: &PlanRow| {
        rows.iter().any(|other| other.plan == row.plan && other.effective_from > row.effective_from && other.effective_from <= now_us)
    };
    let view = |row: &PlanRow| PlanView {
        object: "plan_version",
        id: row.id.0,
        plan: row.plan.clone(),
        multiplier: row.multiplier.to_string(),
        multiplier_ppm: row.multiplier.get(),
        effective_from: rfc3339(row.effective_from),
        state: if row.effective_from > now_us {
            "scheduled"
        } else if superseded(row) {
            "ended"
        } else {
            "standing"
        },
    };
    rows.iter().map(view).collect()
}
