//! A question, read and checked.

use std::{collections::BTreeMap, sync::Arc};

use gateway_core::{KeyId, Mode, OrgId};
use serde::Deserialize;

use super::target::Target;
use crate::{
    error::LedgerError,
    price::{Calendars, PriceList},
    report::{Scope, Span},
};

/// Most bytes of an account's question. An operator's may hold a list of prices and is bounded by the server.
const BODY_MAX: usize = 64 * 1024;

/// Most models that a question changes or orders.
const MODELS_MAX: usize = 100;

/// Most providers in one order.
const PROVIDERS_MAX: usize = 32;

/// Most prices in a list to be tried.
const PRICES_MAX: usize = 20_000;

/// A question of what usage would have cost.
#[derive(Debug, Clone)]
pub struct WhatIfAsk {
    pub(super) scope: Scope,
    /// The key that asks; it is told of the models it may use.
    pub(super) asked_with: Option<KeyId>,
    pub(super) mode: Mode,
    pub(super) span: Span,
    pub(super) filter: Filter,
    pub(super) change: Change,
    pub(super) cost: bool,
    pub(super) calendars: Arc<Calendars>,
}

/// Which requests are asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Filter {
    /// The public model that served.
    pub(super) model: Option<String>,
    /// A key's id.
    pub(super) key: Option<String>,
    /// A team's name or id.
    pub(super) team: Option<String>,
    pub(super) tag: Option<String>,
}

/// What is to be otherwise. Nothing set: everything stays as it was.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    pub(super) models: BTreeMap<String, Target>,
    pub(super) order: BTreeMap<String, Vec<String>>,
    pub(super) plan: Option<String>,
    pub(super) prices_at: Option<i64>,
    pub(super) prices: Option<PriceList>,
}

impl Change {
    pub(super) fn is_none(&self) -> bool {
        self.models.is_empty() && self.order.is_empty() && !self.reprices()
    }

    /// Whether a request that stays where it was is priced by anything but its own version.
    pub(super) fn reprices(&self) -> bool {
        self.plan.is_some() || self.prices_at.is_some() || self.prices.is_some()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ModeName {
    Live,
    Test,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    account: Option<String>,
    mode: Option<ModeName>,
    from: Option<String>,
    to: Option<String>,
    tz: Option<String>,
    #[serde(default)]
    filter: Filter,
    #[serde(default)]
    models: BTreeMap<String, Target>,
    #[serde(default)]
    order: BTreeMap<String, Vec<String>>,
    plan: Option<String>,
    prices_at: Option<String>,
    prices: Option<PriceList>,
    cost: Option<bool>,
}

impl WhatIfAsk {
    /// A question of an account about itself, asked with one of its keys.
    ///
    /// # Errors
    /// The body is no question, names a field that there is not or that is the operator's, or is too long.
    pub fn of_account(org: OrgId, key: Option<KeyId>, mode: Mode, body: &[u8], now_us: i64) -> Result<Self, LedgerError> {
        if body.len() > BODY_MAX {
            return Err(LedgerError::invalid("body", format!("is longer than {BODY_MAX} bytes")));
        }
        let body = read(body)?;
        let operators = [
            ("account", body.account.is_some()),
            ("mode", body.mode.is_some()),
            ("plan", body.plan.is_some()),
            ("prices", body.prices.is_some()),
            ("cost", body.cost.is_some()),
        ];
        if let Some((name, _)) = operators.into_iter().find(|(_, given)| *given) {
            return Err(LedgerError::invalid(name, "is the operator's to ask: POST /admin/v1/what-if"));
        }
        let mut ask = Self::of(body, Scope::Account(org), mode, now_us, Arc::default())?;
        ask.asked_with = key;
        if ask.change.prices_at.is_some_and(|at| at > now_us) {
            return Err(LedgerError::invalid("prices_at", "lies ahead; prices that are scheduled are the operator's to ask about"));
        }
        Ok(ask)
    }

    /// A question of an operator, about one account or all of them. The calendars are those that prices are published with.
    ///
    /// # Errors
    /// The body is no question, or names a field that there is not.
    pub fn of_operator(body: &[u8], now_us: i64, calendars: Arc<Calendars>) -> Result<Self, LedgerError> {
        let mut body = read(body)?;
        let mode = if matches!(body.mode, Some(ModeName::Test)) { Mode::Test } else { Mode::Live };
        let account = body.account.take();
        Self::of(body, Scope::Operator(account), mode, now_us, calendars)
    }

    fn of(body: Body, scope: Scope, mode: Mode, now_us: i64, calendars: Arc<Calendars>) -> Result<Self, LedgerError> {
        let span = Span::of(body.from.as_deref(), body.to.as_deref(), body.tz.as_deref(), now_us)?;
        for (param, count) in [("models", body.models.len()), ("order", body.order.len())] {
            if count > MODELS_MAX {
                return Err(LedgerError::invalid(param, format!("names {count} models; {MODELS_MAX} at most are changed at once")));
            }
        }
        if let Some((model, _)) = body.order.iter().find(|(_, providers)| !(1..=PROVIDERS_MAX).contains(&providers.len())) {
            let problem = format!("must list 1 to {PROVIDERS_MAX} providers for `{}`", crate::report::shown(model));
            return Err(LedgerError::invalid("order", problem));
        }
        if let Some(list) = body.prices.as_ref().filter(|list| !(1..=PRICES_MAX).contains(&list.prices.len())) {
            return Err(LedgerError::invalid("prices", format!("must hold 1 to {PRICES_MAX} prices, not {}", list.prices.len())));
        }
        let prices_at = body.prices_at.as_deref().map(|text| moment(text, now_us)).transpose()?;
        let change = Change { models: body.models, order: body.order, plan: body.plan, prices_at, prices: body.prices };
        let cost = body.cost.unwrap_or(false);
        Ok(Self { scope, asked_with: None, mode, span, filter: body.filter, change, cost, calendars })
    }

    pub(super) fn is_operators(&self) -> bool {
        matches!(self.scope, Scope::Operator(_))
    }
}

fn read(body: &[u8]) -> Result<Body, LedgerError> {
    serde_json::from_slice(body).map_err(|error| LedgerError::invalid("body", format!("is not what this address takes: {error}")))
}

fn moment(text: &str, now_us: i64) -> Result<i64, LedgerError> {
    if text == "now" {
        return Ok(now_us);
    }
    text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_microsecond).map_err(|_| {
        let problem = format!("must be `now` or a time such as 2026-11-01T00:00:00Z, not `{}`", crate::report::shown(text));
        LedgerError::invalid("prices_at", problem)
    })
}
