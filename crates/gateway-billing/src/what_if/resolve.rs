//! The names in a question: which account, key and team, and where the models that it names are served.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use gateway_core::{KeyId, ModelAllowList, OrgId, TeamId};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    Directory,
    ask::WhatIfAsk,
    reprice::{Alternative, Choice},
    target::Target,
};
use crate::{
    error::LedgerError,
    keys::models_of,
    ledger::{find_account, find_team},
    price::{PlanBook, PriceBook, PriceRow, PriceVersionId, SELL_BOOK, Sealed, seal},
    report::{Scope, shown},
    scan::ScanServed,
};

/// Whose requests are read.
pub(super) struct Whose {
    pub(super) org: Option<OrgId>,
    pub(super) key: Option<KeyId>,
    pub(super) team: Option<TeamId>,
}

/// Finds everything that the question names.
///
/// # Errors
/// Something of it does not exist, or not for whoever asks.
pub(super) fn resolve(
    connection: &Connection,
    ask: &WhatIfAsk,
    models: &dyn Directory,
    prices: Arc<PriceBook>,
    plans: Arc<PlanBook>,
) -> Result<(Whose, Alternative), LedgerError> {
    let whose = whose(connection, ask)?;
    let allowed = ask.asked_with.as_ref().map_or(Ok(ModelAllowList::All), |key| models_of(connection, key))?;
    let books = books(connection, ask)?;
    let names = Names { connection, models, prices: &prices, allowed, books, with_history: ask.is_operators() };
    let choices = names.by_model("models", &ask.change.models, |_, target| names.choice(target))?;
    let orders = names.by_model("order", &ask.change.order, |model, providers| names.order(model, providers))?;
    if let Some(plan) = ask.change.plan.as_deref().filter(|plan| !plans.rows().iter().any(|row| *row.plan == **plan)) {
        return Err(LedgerError::not_found("plan", shown(plan)));
    }
    let tried = match &ask.change.prices {
        Some(list) => {
            let sealed = list.drafts().and_then(|drafts| seal(&drafts, &ask.calendars));
            Arc::new(with_drafts(&prices, &sealed.map_err(|errors| unusable(&errors))?))
        }
        None => Arc::clone(&prices),
    };
    Ok((whose, Alternative::new(ask, choices, orders, (prices, tried), plans)))
}

fn whose(connection: &Connection, ask: &WhatIfAsk) -> Result<Whose, LedgerError> {
    let org = match &ask.scope {
        Scope::Account(org) => Some(*org),
        Scope::Operator(None) => None,
        Scope::Operator(Some(account)) => Some(find_account(connection, account)?),
    };
    let key = ask.filter.key.as_deref().map(|text| key_of(connection, org, text)).transpose()?;
    let team = ask.filter.team.as_deref().map(|text| team_of(connection, org, text)).transpose()?;
    Ok(Whose { org, key, team })
}

fn key_of(connection: &Connection, org: Option<OrgId>, text: &str) -> Result<KeyId, LedgerError> {
    let known = |id: &KeyId| {
        let org = org.as_ref().map(|org| &org.as_bytes()[..]);
        connection
            .query_row("SELECT 1 FROM api_key WHERE id = ?1 AND (?2 IS NULL OR org = ?2)", params![&id.as_bytes()[..], org], |_| Ok(()))
            .optional()
    };
    let id = text.parse::<KeyId>().ok();
    let found = id.as_ref().map(known).transpose()?.flatten();
    id.filter(|_| found.is_some()).ok_or_else(|| LedgerError::not_found("key", shown(text)))
}

fn team_of(connection: &Connection, org: Option<OrgId>, text: &str) -> Result<TeamId, LedgerError> {
    match (org, text.parse::<TeamId>()) {
        (Some(org), _) => find_team(connection, org, text),
        (None, Ok(id)) => Ok(id),
        (None, Err(_)) => Err(LedgerError::invalid("filter.team", "is a name; name its `account` too, or give the team's id")),
    }
}

/// The books whose prices whoever asks may know of: an account's are those of everybody and of its own plan, because a plan may
/// be another customer's contract. `None`: all.
fn books(connection: &Connection, ask: &WhatIfAsk) -> Result<Option<[Box<str>; 2]>, LedgerError> {
    let Scope::Account(org) = &ask.scope else { return Ok(None) };
    let plan =
        connection.query_row("SELECT plan FROM org WHERE id = ?1", [&org.as_bytes()[..]], |row| row.get::<_, String>(0)).optional()?;
    Ok(Some([SELL_BOOK.into(), plan.map_or_else(|| SELL_BOOK.into(), |plan| format!("sell:{plan}").into())]))
}

struct Names<'n> {
    connection: &'n Connection,
    models: &'n dyn Directory,
    prices: &'n PriceBook,
    allowed: ModelAllowList,
    books: Option<[Box<str>; 2]>,
    /// Whether places that have served once count too: the names that other accounts used are in that list.
    with_history: bool,
}

impl Names<'_> {
    /// What a question says of models, by the names under which their requests are kept.
    fn by_model<A, T>(
        &self,
        param: &'static str,
        said: &BTreeMap<String, A>,
        find: impl Fn(&str, &A) -> Result<T, LedgerError>,
    ) -> Result<HashMap<Box<str>, T>, LedgerError> {
        let (mut found, mut named) = (HashMap::new(), HashMap::new());
        for (model, what) in said {
            let public = self.public(param, model)?;
            if let Some(other) = named.insert(public.clone(), model) {
                let problem = format!("names `{}` and `{}`, which are one model; name it once", shown(other), shown(model));
                return Err(LedgerError::invalid(param, problem));
            }
            found.insert(public, find(model, what)?);
        }
        Ok(found)
    }

    /// The name under which requests to a model are kept: its public one, where an alias was written.
    fn public(&self, param: &'static str, model: &str) -> Result<Box<str>, LedgerError> {
        if let Some(of) = self.pinned(model) {
            let problem = format!("names `{}`, one place of `{of}`; requests are kept by model: write `{of}`", shown(model));
            return Err(LedgerError::invalid(param, problem));
        }
        let first = self.models.deployments(model).into_iter().next();
        Ok(first.map_or_else(|| model.into(), |first| (&*first.model).into()))
    }

    /// The model of which a name is one provider's place: `provider/model`.
    fn pinned(&self, name: &str) -> Option<Arc<str>> {
        let (provider, _) = name.split_once('/')?;
        let places = self.models.deployments(name);
        let first = places.first().filter(|first| *first.model != *name)?;
        places.iter().all(|place| place.provider.as_str() == provider).then(|| Arc::clone(&first.model))
    }

    fn choice(&self, target: &Target) -> Result<Choice, LedgerError> {
        let mut places = self.places("models", &target.model)?;
        if let Some(provider) = &target.provider {
            let known = providers(&places);
            places.retain(|place| *place.provider == **provider);
            if places.is_empty() {
                let problem = format!("`{}` is not served by `{}`; it is by {known}", shown(&target.model), shown(provider));
                return Err(LedgerError::invalid("models", problem));
            }
        }
        Ok(Choice { places, may_be_ordered: target.provider.is_none() && self.pinned(&target.model).is_none() })
    }

    fn order(&self, model: &str, order: &[String]) -> Result<Vec<ScanServed>, LedgerError> {
        let places = self.places("order", model)?;
        let mut ordered = Vec::with_capacity(order.len());
        for provider in order {
            let found = places.iter().find(|place| *place.provider == **provider).ok_or_else(|| {
                let problem = format!("`{}` is not served by `{}`; it is by {}", shown(model), shown(provider), providers(&places));
                LedgerError::invalid("order", problem)
            })?;
            ordered.push(found.clone());
        }
        Ok(ordered)
    }

    /// Where a model is served: by its routes as they are now, then where it once was, then by no more than its price.
    fn places(&self, param: &'static str, model: &str) -> Result<Vec<ScanServed>, LedgerError> {
        let now = self.models.deployments(model).into_iter().map(|deployment| ScanServed {
            provider: deployment.provider.as_str().into(),
            upstream_model: Arc::clone(&deployment.upstream_model),
            model: Arc::clone(&deployment.model),
        });
        let mut places: Vec<ScanServed> = now.collect();
        if self.with_history {
            for place in self.history(model)? {
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        if places.is_empty() && !self.prices.rows(|row| *row.model == *model && self.is_told_of(&row.book)).is_empty() {
            places.push(ScanServed { provider: "".into(), upstream_model: "".into(), model: model.into() });
        }
        places.retain(|place| self.allowed.allows(&place.model) || self.allowed.allows(model));
        if places.is_empty() {
            let problem = format!("names `{}`, which is not served here; `GET /v1/models` lists what is", shown(model));
            return Err(LedgerError::invalid(param, problem));
        }
        Ok(places)
    }

    fn is_told_of(&self, book: &str) -> bool {
        self.books.as_ref().map_or_else(|| book.starts_with("sell:"), |books| books.iter().any(|own| **own == *book))
    }

    fn history(&self, model: &str) -> Result<Vec<ScanServed>, LedgerError> {
        let mut statement =
            self.connection.prepare_cached("SELECT provider, upstream_model FROM served WHERE model = ?1 ORDER BY id DESC")?;
        let places = statement.query_map([model], |row| {
            let text = |column| row.get::<_, String>(column).map(Arc::from);
            Ok(ScanServed { provider: text(0)?, upstream_model: text(1)?, model: model.into() })
        })?;
        places.collect::<Result<_, _>>().map_err(LedgerError::from)
    }
}

fn providers(places: &[ScanServed]) -> String {
    let mut names: Vec<&str> = places.iter().map(|place| &*place.provider).collect();
    names.dedup();
    names.join(", ")
}

fn unusable(errors: &[crate::price::PublishError]) -> LedgerError {
    let told: Vec<String> = errors.iter().take(10).map(ToString::to_string).collect();
    let more = errors.len().saturating_sub(told.len());
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    LedgerError::invalid("prices", format!("cannot be used: {}{more}", told.join("; ")))
}

/// The published prices, with the drafts at their places as if they had always held.
fn with_drafts(prices: &PriceBook, drafts: &[Sealed]) -> PriceBook {
    let taken: HashSet<_> = drafts.iter().map(Sealed::place).collect();
    let mut rows: Vec<PriceRow> = prices.rows(|row| !taken.contains(&(&*row.book, &*row.model, &*row.route)));
    // Below zero, so that no draft is taken for a version that was published.
    rows.extend((1i64..).zip(drafts).map(|(n, draft)| draft.version(i64::MIN).row(PriceVersionId(-n), 0)));
    PriceBook::new(rows)
}
