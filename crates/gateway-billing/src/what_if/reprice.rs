//! One request, priced otherwise.

use std::{collections::HashMap, sync::Arc};

use gateway_core::Mode;

use super::ask::WhatIfAsk;
use crate::{
    money::{Currency, Nano, Ppm},
    price::{PlanBook, PriceBook, PriceVersion, charge_total},
    scan::{ScanServed, Settled},
    usage::Leaves,
};

/// Why a request cannot be priced otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// No place that it could go to had a price then.
    NotPriced,
    /// It used something that the other price has no rate for.
    SkuNotPriced,
    /// The plan had not begun.
    PlanNotInForce,
    /// All providers of the order had failed.
    NobodyLeft,
    /// A price that should hold cannot be read.
    PriceUnreadable,
    /// Its own version of a price or plan is not there.
    PinMissing,
    /// Its usage cannot be read.
    UsageUnreadable,
    /// The charge would be beyond the ledger's range.
    TooLarge,
}

impl Reason {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::NotPriced => "model_not_priced",
            Self::SkuNotPriced => "sku_not_priced",
            Self::PlanNotInForce => "plan_not_in_force",
            Self::NobodyLeft => "no_provider_left",
            Self::PriceUnreadable => "price_unreadable",
            Self::PinMissing => "version_missing",
            Self::UsageUnreadable => "usage_unreadable",
            Self::TooLarge => "too_large",
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::NotPriced => "the model had no price at that moment where it is served; `prices_at` chooses another moment",
            Self::SkuNotPriced => {
                "it used something that the other price has no rate for, such as a web search or a service tier's own unit"
            }
            Self::PlanNotInForce => "the plan had not begun at that moment; `prices_at` chooses another one",
            Self::NobodyLeft => "every provider of the order had failed it, or had no price",
            Self::PriceUnreadable => "the price that should hold cannot be read; run `bellwether ledger verify`",
            Self::PinMissing => "the version that it was charged by is not there; run `bellwether ledger verify`",
            Self::UsageUnreadable => "its stored usage cannot be read; run `bellwether ledger verify`",
            Self::TooLarge => "it would come to more than the ledger can hold",
        }
    }
}

/// A request as it would have been.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repriced<'a> {
    pub(super) at: &'a ScanServed,
    pub(super) charge: Nano,
    /// Whether anything but its own version priced it, or it went elsewhere.
    pub(super) otherwise: bool,
    /// What its provider would bill, where that was asked for.
    pub(super) cost: Option<Cost>,
}

/// An amount in a provider's money.
pub(super) type Cost = (Nano, Currency);

/// Where a model's requests are to go instead: to the first of these that has a price.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) places: Vec<ScanServed>,
    /// Whether an order of the new model's providers applies.
    pub(super) may_be_ordered: bool,
}

/// Where a request would have gone, and what it would have been charged by.
type Priced<'a> = (&'a ScanServed, Arc<PriceVersion>);

/// Everything that is to be otherwise, ready to price by.
pub(super) struct Alternative {
    models: HashMap<Box<str>, Choice>,
    orders: HashMap<Box<str>, Vec<ScanServed>>,
    plan: Option<Box<str>>,
    at_us: Option<i64>,
    /// Whether a request that stays where it was keeps its own version.
    keeps_prices: bool,
    mode: Mode,
    with_cost: bool,
    /// As published: what requests were charged by.
    published: Arc<PriceBook>,
    /// With what is to be tried.
    tried: Arc<PriceBook>,
    plans: Arc<PlanBook>,
    /// Name and factor of every plan version.
    plan_versions: HashMap<i64, (Box<str>, Ppm)>,
}

impl Alternative {
    pub(super) fn new(
        ask: &WhatIfAsk,
        models: HashMap<Box<str>, Choice>,
        orders: HashMap<Box<str>, Vec<ScanServed>>,
        (published, tried): (Arc<PriceBook>, Arc<PriceBook>),
        plans: Arc<PlanBook>,
    ) -> Self {
        let plan_versions = plans.rows().into_iter().map(|row| (row.id.0, (row.plan, row.multiplier))).collect();
        Self {
            models,
            orders,
            plan: ask.change.plan.as_deref().map(Into::into),
            at_us: ask.change.prices_at,
            keeps_prices: !ask.change.reprices(),
            mode: ask.mode,
            with_cost: ask.cost,
            published,
            tried,
            plans,
            plan_versions,
        }
    }

    /// What was booked as the cost of a request, where that was asked for.
    pub(super) fn booked(&self, settled: &Settled<'_>) -> Result<Option<Cost>, Reason> {
        if !self.with_cost {
            return Ok(None);
        }
        let currency = match (settled.cost_reported, settled.cost_version) {
            (Some(_), _) => Currency::USD,
            (None, Some(version)) => {
                let list = self.published.version(version).map_err(|_| Reason::PriceUnreadable)?;
                list.ok_or(Reason::PinMissing)?.currency()
            }
            (None, None) => Currency::of(self.mode),
        };
        Ok(Some((settled.cost, currency)))
    }

    /// What a request would have come to, by its stored usage and at its own arrival.
    pub(super) fn reprice<'a>(&'a self, settled: &Settled<'a>, booked: Option<Cost>) -> Result<Repriced<'a>, Reason> {
        let leaves = settled.leaves().map_err(|_| Reason::UsageUnreadable)?;
        let (plan, multiplier) = self.plan_of(settled)?;
        let (at, price) = self.price(settled, plan)?;
        let (charge, oddities) = charge_total(&price, multiplier, &leaves, settled.arrived_us).map_err(|_| Reason::TooLarge)?;
        let own = price.id == settled.price_version;
        if oddities.unpriced && !own {
            return Err(Reason::SkuNotPriced);
        }
        let stays = at == settled.served;
        let cost = booked.map(|booked| self.cost(settled, booked, at, &price, &leaves)).transpose()?;
        Ok(Repriced { charge, otherwise: !(own && stays && self.plan.is_none()), cost, at })
    }

    /// The name of the plan, whose own prices come first, and its factor.
    fn plan_of(&self, settled: &Settled<'_>) -> Result<(&str, Ppm), Reason> {
        match &self.plan {
            Some(plan) => {
                let found = self.plans.lookup(plan, self.at_us.unwrap_or(settled.arrived_us));
                found.map(|(_, multiplier)| (&**plan, multiplier)).ok_or(Reason::PlanNotInForce)
            }
            None => {
                let found = self.plan_versions.get(&settled.plan_version.0).ok_or(Reason::PinMissing)?;
                Ok((&found.0, found.1))
            }
        }
    }

    /// Where it would have gone and what it would have been charged by.
    fn price<'a>(&'a self, settled: &Settled<'a>, plan: &str) -> Result<Priced<'a>, Reason> {
        let served = settled.served;
        let choice = self.models.get(&*served.model);
        let model = choice.map_or(&served.model, |choice| &choice.places[0].model);
        let order = self.orders.get(&**model).filter(|_| choice.is_none_or(|choice| choice.may_be_ordered));
        if let Some(order) = order {
            let left = order.iter().filter(|place| !settled.failed_at.iter().any(|failed| **failed == *place.provider));
            // One provider may serve a model under several names; where it served, it would again.
            let stays = |place: &ScanServed| place.provider == served.provider && place.model == served.model;
            let left = left.map(|place| if stays(place) { served } else { place });
            return self.first_priced(settled, plan, left)?.ok_or(Reason::NobodyLeft);
        }
        match choice {
            Some(choice) => self.first_priced(settled, plan, choice.places.iter())?.ok_or(Reason::NotPriced),
            None => self.first_priced(settled, plan, std::iter::once(served))?.ok_or(Reason::NotPriced),
        }
    }

    fn first_priced<'a>(
        &self,
        settled: &Settled<'a>,
        plan: &str,
        places: impl Iterator<Item = &'a ScanServed>,
    ) -> Result<Option<Priced<'a>>, Reason> {
        for place in places {
            if let Some(price) = self.sold_at(settled, plan, place)? {
                return Ok(Some((place, price)));
            }
        }
        Ok(None)
    }

    fn sold_at(&self, settled: &Settled<'_>, plan: &str, place: &ScanServed) -> Result<Option<Arc<PriceVersion>>, Reason> {
        if self.keeps_prices && place == settled.served {
            let own = self.published.version(settled.price_version).map_err(|_| Reason::PriceUnreadable)?;
            return own.ok_or(Reason::PinMissing).map(Some);
        }
        self.tried.sell(plan, place.at(), self.at_us.unwrap_or(settled.arrived_us)).map_err(|_| Reason::PriceUnreadable)
    }

    /// What would have been booked as cost, found as the ledger finds it: what the provider itself reported, else its price list,
    /// else as much as our own price without the plan's factor.
    fn cost(&self, settled: &Settled<'_>, booked: Cost, at: &ScanServed, price: &PriceVersion, leaves: &Leaves) -> Result<Cost, Reason> {
        let stays = at == settled.served;
        let list_stays = self.at_us.is_none() && Arc::ptr_eq(&self.published, &self.tried);
        let by_list = settled.cost_version.is_some() || price.id == settled.price_version;
        if stays && (settled.cost_reported.is_some() || (list_stays && by_list)) {
            return Ok(booked);
        }
        // No provider bills what the simulator answers.
        let list = match self.mode {
            Mode::Live => self.tried.cost(at.at(), self.at_us.unwrap_or(settled.arrived_us)).map_err(|_| Reason::PriceUnreadable)?,
            Mode::Test => None,
        };
        let (price, currency, judged_at) = match &list {
            None => (price, Currency::of(self.mode), settled.arrived_us),
            Some(list) => (&**list, list.currency(), list.judged_at(settled.arrived_us, settled.ended_us)),
        };
        let (cost, oddities) = charge_total(price, Ppm::ONE, leaves, judged_at).map_err(|_| Reason::TooLarge)?;
        if oddities.unpriced && !stays {
            return Err(Reason::SkuNotPriced);
        }
        Ok((cost, currency))
    }
}
