//! Everything that follows from the configuration alone, before a ledger is opened.

mod offers;

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, Result};
use gateway_billing::{
    catalog::Catalog,
    price::{Calendars, Draft, Horizon},
};
use gateway_core::{Clock, Mode, Readiness, SystemClock};
use jiff::civil::Date;
use serde_json::{Value, json};

use super::{
    facts::CatalogFacts,
    prices,
    providers::BuiltProviders,
    routes::{ModelEntry, RoutePlan},
};
use crate::{
    Registry,
    config::{Config, Environment},
};

/// Providers, routes and prices as configured.
pub struct Outline {
    /// The providers.
    pub built: BuiltProviders,
    /// The routes.
    pub plan: RoutePlan,
    /// What each place costs.
    pub drafts: Vec<Draft>,
    /// The holidays that prices by the hour are judged with.
    pub calendars: Calendars,
    catalog: Catalog,
    today: Date,
}

impl Outline {
    /// Makes all of it on the machine's clock.
    ///
    /// # Errors
    /// Something in the configuration cannot be used; the error names it.
    pub fn of(config: &Config, environment: &dyn Environment, registry: &Registry) -> Result<Self> {
        Self::at(config, environment, registry, &(Arc::new(SystemClock) as Arc<dyn Clock>))
    }

    /// Makes all of it on a clock.
    ///
    /// # Errors
    /// As [`Outline::of`].
    pub fn at(config: &Config, environment: &dyn Environment, registry: &Registry, clock: &Arc<dyn Clock>) -> Result<Self> {
        let made = Self::make(config, environment, registry, clock);
        if config.place.is_empty() { made } else { made.with_context(|| config.place.clone()) }
    }

    fn make(config: &Config, environment: &dyn Environment, registry: &Registry, clock: &Arc<dyn Clock>) -> Result<Self> {
        let catalog = Catalog::shipped();
        let built = BuiltProviders::build(config, registry, environment, clock)?;
        let today = jiff::Timestamp::try_from(clock.wall())?.to_zoned(jiff::tz::TimeZone::UTC).date();
        let plan = RoutePlan::build(config, &built, &CatalogFacts { catalog: &catalog, today })?;
        let drafts = prices::drafts(&plan.entries, &catalog)?;
        let calendars = config.calendars.iter().try_fold(Calendars::shipped(), |all, (name, more)| all.extended(name, more.clone()));
        Ok(Self { built, plan, drafts, calendars: calendars.context("[calendars]")?, catalog, today })
    }

    /// Providers that can serve live calls.
    #[must_use]
    pub fn ready_providers(&self) -> Vec<String> {
        let ready = self.built.providers.iter().filter(|provider| !matches!(provider.readiness(Mode::Live), Readiness::Unusable(_)));
        ready.map(|provider| provider.id().to_string()).collect()
    }

    /// What needs the operator's attention before long, in sentences.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let near = Horizon::near(&self.drafts, &self.calendars, self.today);
        near.iter().map(|horizon| calendar_warning(horizon, self.today)).collect()
    }

    /// Named models with a place that has no price.
    #[must_use]
    pub fn unpriced(&self) -> BTreeSet<String> {
        let named = self.plan.entries.iter().filter(|entry| !entry.implied && self.price(entry).is_none());
        named.map(|entry| entry.deployment.model.to_string()).collect()
    }

    /// The named models, for people.
    #[must_use]
    pub fn models(&self) -> Vec<Value> {
        let named: BTreeSet<_> = self.plan.entries.iter().filter(|entry| !entry.implied).map(|entry| &*entry.deployment.model).collect();
        let models = self.plan.table.models().iter().filter(|model| named.contains(&*model.name));
        models
            .map(|model| {
                let entries: Vec<_> = self.plan.entries.iter().filter(|entry| entry.deployment.model == model.name).collect();
                let price = entries.iter().find_map(|entry| self.price(entry));
                let rate = |name: &str| price.as_ref().and_then(|price| price.rates.get(name).cloned());
                let places = entries.iter().map(|entry| format!("{}/{}", entry.deployment.provider, entry.deployment.upstream_model));
                json!({
                    "name": model.name,
                    "tier": model.tier.map(gateway_routing::Tier::as_str),
                    "aliases": model.aliases,
                    "input": rate("input"),
                    "output": rate("output"),
                    "deployments": places.collect::<Vec<_>>(),
                    "fallbacks": model.fallbacks,
                    "context_window": model.limits().context_window,
                    "output_tokens_max": model.limits().output_tokens_max,
                })
            })
            .collect()
    }

    fn price(&self, entry: &ModelEntry) -> Option<gateway_billing::price::PriceInput> {
        let of_catalog = || self.catalog.find(&entry.catalog_id, &entry.deployment.upstream_model).map(|found| found.price);
        entry.price.clone().or_else(of_catalog)
    }
}

fn calendar_warning(horizon: &Horizon, today: Date) -> String {
    let Horizon { calendar, until, prices } = horizon;
    let when = match (until, horizon.days_left(today)) {
        (Some(until), Some(days)) => format!("ends on {until}, in {days} days; holidays after it"),
        _ => format!("does not know the year {}; its holidays", today.year()),
    };
    format!(
        "the holiday calendar `{calendar}` {when} are charged as working days. {prices} prices depend on it: install a release that \
         knows the next year, or write its holidays under [calendars.{calendar}]"
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use gateway_core::{Clock, testing::TestClock};
    use jiff::Timestamp;

    use crate::{Registry, assembly::Outline, config::Config};

    fn warnings(text: &str, at: &str) -> Vec<String> {
        let environment = BTreeMap::new();
        let config = Config::parse(text, "test", &environment).expect("a configuration");
        let clock: Arc<dyn Clock> = Arc::new(TestClock::at(at.parse::<Timestamp>().expect("a time").into()));
        Outline::at(&config, &environment, &Registry::builtin().expect("sound"), &clock).expect("an outline").warnings()
    }

    #[test]
    fn the_operator_learns_ahead_that_a_holiday_calendar_ends() {
        assert_eq!(warnings("", "2026-10-31T12:00:00Z"), Vec::<String>::new());
        let ahead = warnings("", "2026-11-23T12:00:00Z");
        assert_eq!(ahead.len(), 1, "{ahead:?}");
        assert!(ahead[0].starts_with("the holiday calendar `cn-holidays` ends on 2026-12-31, in 38 days; "), "{ahead:?}");
        assert!(ahead[0].ends_with("under [calendars.cn-holidays]"), "{ahead:?}");
        let late = warnings("", "2027-02-01T12:00:00Z");
        assert!(late[0].starts_with("the holiday calendar `cn-holidays` does not know the year 2027; "), "{late:?}");
        let more = "[calendars.cn-holidays]\nyears = [2027]\ndates = [\"2027-01-01\"]\nsource = \"the gazette\"\n";
        assert_eq!(warnings(more, "2026-11-23T12:00:00Z"), Vec::<String>::new());
        assert_eq!(warnings(more, "2027-02-01T12:00:00Z"), Vec::<String>::new());
    }
}
