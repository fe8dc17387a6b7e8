//! A settled request as rules see it: with its usage read, its price at hand, and what is kept of it.

use std::{collections::HashMap, sync::Arc};

use crate::{
    facts::RequestFacts,
    money::{Currency, MoneyError, Nano, Ppm},
    price::{PlanBook, PlanRow, PlanVersionId, PriceBook, PriceVersion, PriceVersionId, ServedAt, charge_total},
    scan::Settled,
    usage::Leaves,
};

/// One request.
pub(super) struct Seen<'r> {
    pub(super) settled: &'r Settled<'r>,
    pub(super) leaves: &'r Leaves,
    /// The price that it was charged by.
    pub(super) price: &'r PriceVersion,
    /// The plan that it was charged by.
    pub(super) plan: &'r PlanRow,
    /// What the wallet is in.
    pub(super) currency: Currency,
    /// What is kept of it; `None` is not known.
    pub(super) facts: Option<&'r RequestFacts>,
    prices: &'r PriceBook,
}

impl Seen<'_> {
    /// What this usage comes to under a price, for this account.
    pub(super) fn priced(&self, price: &PriceVersion, leaves: &Leaves) -> Result<Nano, MoneyError> {
        self.priced_at(price, leaves, self.settled.arrived_us)
    }

    /// The same, had it arrived at another moment.
    pub(super) fn priced_at(&self, price: &PriceVersion, leaves: &Leaves, at_us: i64) -> Result<Nano, MoneyError> {
        Ok(charge_total(price, self.plan.multiplier, leaves, at_us)?.0)
    }

    /// What this usage comes to under a price that has a rate for all of it; `None`: it has not.
    pub(super) fn priced_in_full(&self, price: &PriceVersion) -> Result<Option<Nano>, MoneyError> {
        let (total, flags) = charge_total(price, self.plan.multiplier, self.leaves, self.settled.arrived_us)?;
        Ok(Some(total).filter(|_| !flags.unpriced))
    }

    /// The price at a place, for this account at the arrival of this request. One that cannot be read counts as none.
    pub(super) fn sold_at(&self, at: ServedAt<'_>) -> Option<Arc<PriceVersion>> {
        self.prices.sell(&self.plan.plan, at, self.settled.arrived_us).ok().flatten()
    }

    /// What the provider billed, if that is known and was in the wallet's money. Where it neither said so itself nor has a price
    /// list, as much as our own price was booked, which is no bill.
    pub(super) fn cost(&self) -> Option<Nano> {
        let currency = match (self.settled.cost_reported, self.settled.cost_version) {
            (Some(_), _) => Currency::USD,
            (None, Some(version)) => self.prices.version(version).ok().flatten()?.currency(),
            (None, None) => return None,
        };
        Some(self.settled.cost).filter(|_| currency == self.currency)
    }

    /// What the provider at a place bills for this usage, if there is a price list of it in the wallet's money.
    pub(super) fn cost_at(&self, at: ServedAt<'_>) -> Result<Option<Nano>, MoneyError> {
        let list = self.prices.cost(at, self.settled.arrived_us).ok().flatten().filter(|list| list.currency() == self.currency);
        let Some(list) = list else { return Ok(None) };
        let at_us = list.judged_at(self.settled.arrived_us, self.settled.ended_us);
        let (total, flags) = charge_total(&list, Ppm::ONE, self.leaves, at_us)?;
        Ok(Some(total).filter(|_| !flags.unpriced))
    }
}

/// Makes [`Seen`] of rows.
pub(super) struct Reader {
    prices: Arc<PriceBook>,
    plans: HashMap<PlanVersionId, PlanRow>,
    versions: HashMap<PriceVersionId, Option<Arc<PriceVersion>>>,
    currency: Currency,
}

impl Reader {
    pub(super) fn new(prices: Arc<PriceBook>, plans: &PlanBook, currency: Currency) -> Self {
        let plans = plans.rows().into_iter().map(|row| (row.id, row)).collect();
        Self { prices, plans, versions: HashMap::new(), currency }
    }

    /// Shows a row to `look`; `false`: its price, plan or usage cannot be read, so nothing can be said of it.
    pub(super) fn show(&mut self, settled: &Settled<'_>, look: impl FnOnce(&Seen<'_>)) -> bool {
        let prices = &self.prices;
        let version = self.versions.entry(settled.price_version).or_insert_with_key(|id| prices.version(*id).ok().flatten());
        let (Some(price), Some(plan)) = (version.as_deref(), self.plans.get(&settled.plan_version)) else { return false };
        let Ok(leaves) = settled.leaves() else { return false };
        let facts = settled.facts();
        let seen = Seen { settled, leaves: &leaves, price, plan, currency: self.currency, facts: facts.as_ref(), prices };
        look(&seen);
        true
    }
}
