//! Budgets as the API shows them.

use gateway_core::OrgId;
use serde::Serialize;

use crate::{
    budget::{BudgetId, Period, Terms, gauge::Gauge, index::Budget},
    ledger::accounts::rfc3339,
    money::{Currency, Money, Nano},
};

/// A budget as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BudgetView {
    /// `budget`.
    pub object: &'static str,
    /// `bud_…`.
    pub id: BudgetId,
    /// Whose.
    pub account: OrgId,
    /// `live` or `test`.
    pub mode: &'static str,
    /// Its name.
    pub name: String,
    /// `org`, `team`, `user`, `key` or `tag`.
    pub scope: &'static str,
    /// Which one; `*` is each; `null` is the account itself.
    pub subject: Option<String>,
    /// Only answers of this public model.
    pub model: Option<String>,
    /// Only answers from this provider.
    pub provider: Option<String>,
    /// The cap.
    pub limit: Money,
    /// `hard` or `soft`.
    pub enforcement: &'static str,
    /// How often it begins anew.
    pub period: Period,
    /// Percents at which somebody is told.
    pub alerts: Vec<u16>,
    /// What counts now; of a budget for each, see its periods.
    pub current: Option<BudgetNow>,
}

/// What counts against a budget now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BudgetNow {
    /// When the running period began, RFC 3339.
    pub start: Option<String>,
    /// When it ends; `null`: never, or it is a rolling window.
    pub end: Option<String>,
    /// Charged.
    pub spent: Money,
    /// Held by running requests.
    pub held: Money,
    /// What a new request may hold.
    pub left: Money,
}

/// One period of a budget as its row stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BudgetPeriodView {
    /// The tag or id, of a budget for each.
    pub subject: Option<String>,
    /// When it began, RFC 3339.
    pub start: String,
    /// When it ends; `null`: never.
    pub end: Option<String>,
    /// Its cap.
    pub limit: Money,
    /// Charged.
    pub spent: Money,
    /// Held by running requests.
    pub held: Money,
    /// Charged above the cap, because an answer cost more than was held for it, or the cap was lowered.
    pub overrun: Money,
}

pub(super) fn view(budget: &Budget, now_us: i64) -> BudgetView {
    let (spec, terms) = (&budget.spec, budget.terms.load());
    let subject = spec.scope.subject();
    BudgetView {
        object: "budget",
        id: spec.id,
        account: spec.org,
        mode: if spec.currency == Currency::USD { "live" } else { "test" },
        name: terms.name.to_string(),
        scope: spec.scope.kind(),
        subject: (!subject.is_empty()).then_some(subject),
        model: spec.model.as_deref().map(str::to_owned),
        provider: spec.provider.as_deref().map(str::to_owned),
        limit: Money::new(Nano::new(terms.cap), spec.currency),
        enforcement: if terms.hard { "hard" } else { "soft" },
        period: terms.rule.written.clone(),
        alerts: terms.alerts.to_vec(),
        current: budget.only().map(|gauge| now(&gauge, &terms, now_us)),
    }
}

pub(super) fn now(gauge: &Gauge, terms: &Terms, now_us: i64) -> BudgetNow {
    let reading = gauge.reading(now_us);
    let money = |nano| Money::new(Nano::new(nano), gauge.spec.currency);
    let calendar = terms.rule.window_us().is_none() && reading.bounds.end < i64::MAX;
    BudgetNow {
        start: calendar.then(|| rfc3339(reading.bounds.start)),
        end: calendar.then(|| rfc3339(reading.bounds.end)),
        spent: money(reading.spent),
        held: money(reading.held),
        left: money(reading.left().get()),
    }
}
