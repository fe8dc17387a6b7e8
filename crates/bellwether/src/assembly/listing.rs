//! What `GET /v1/models` lists: the named models always, `provider/model` where the provider can be reached.

use std::{collections::BTreeSet, sync::Arc};

use gateway_billing::{
    money::Pico,
    price::{PriceBook, PriceKey, SELL_BOOK, Sku},
};
use gateway_core::{Deployment, Mode, Readiness};
use gateway_routing::{Model, Providers, Routes};
use gateway_server::{ModelCatalog, ModelInfo};
use serde_json::{Map, Value, json};

/// The list of models, computed from the routes and prices of the moment.
pub struct Listing {
    routes: Routes,
    providers: Providers,
    prices: Arc<PriceBook>,
    implied: BTreeSet<Box<str>>,
    clock: Arc<dyn gateway_core::Clock>,
}

/// The names other gateways give to our SKUs.
const PRICING: [(&str, Sku); 5] = [
    ("prompt", Sku::IN),
    ("completion", Sku::OUT),
    ("internal_reasoning", Sku::OUT_REASONING),
    ("input_cache_read", Sku::IN_CACHE_READ),
    ("input_cache_write", Sku::IN_CACHE_WRITE_5M),
];

impl Listing {
    /// A listing over these parts; `implied` are the public names that nobody configured.
    #[must_use]
    pub fn new(
        routes: Routes,
        providers: Providers,
        prices: Arc<PriceBook>,
        implied: impl IntoIterator<Item = Box<str>>,
        clock: Arc<dyn gateway_core::Clock>,
    ) -> Self {
        Self { routes, providers, prices, implied: implied.into_iter().collect(), clock }
    }

    fn info(&self, model: &Model) -> ModelInfo {
        let limits = model.limits();
        let first = model.deployments.first();
        let mut extra = Map::new();
        if let Some(tier) = model.tier {
            extra.insert("tier".to_owned(), json!(tier.as_str()));
        }
        if !model.fallbacks.is_empty() {
            extra.insert("fallbacks".to_owned(), json!(model.fallbacks));
        }
        if let Some(notice) = model.notice.as_ref().or_else(|| first.and_then(|first| first.notice.as_ref())) {
            extra.insert("notice".to_owned(), Value::String(notice.to_string()));
        }
        ModelInfo {
            id: (&*model.name).into(),
            created: CREATED,
            owned_by: first.map_or("bellwether", |first| first.provider.as_str()).into(),
            context_window: limits.context_window,
            output_tokens_max: limits.output_tokens_max,
            input_modalities: vec!["text".into()],
            pricing: first.map(|first| self.pricing(first)).unwrap_or_default(),
            extra,
            ..ModelInfo::default()
        }
    }

    /// US dollars per token, as decimal text.
    fn pricing(&self, deployment: &Deployment) -> Vec<(&'static str, String)> {
        let key = PriceKey {
            book: SELL_BOOK,
            provider: deployment.provider.as_str(),
            upstream_model: &deployment.upstream_model,
            model: &deployment.model,
        };
        let Ok(Some(version)) = self.prices.lookup(key, self.clock.unix_us()) else { return Vec::new() };
        let rate = |sku: &Sku| version.terms().rates.get(sku).map(|pico| dollars(*pico));
        PRICING.iter().filter_map(|(name, sku)| Some((*name, rate(sku)?))).collect()
    }

    fn reachable(&self, model: &Model) -> bool {
        model.deployments.iter().any(|deployment| {
            let provider = self.providers.get(&deployment.provider);
            provider.is_some_and(|provider| !matches!(provider.readiness(Mode::Live), Readiness::Unusable(_)))
        })
    }
}

/// Models have no date of their own here; clients want a number.
const CREATED: u64 = 1_735_689_600;

fn dollars(pico: Pico) -> String {
    let text = format!("{}.{:012}", pico.get() / 1_000_000_000_000, pico.get() % 1_000_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl ModelCatalog for Listing {
    fn list(&self) -> Arc<[ModelInfo]> {
        let table = self.routes.load();
        let shown = table.models().iter().filter(|model| !model.is_wildcard());
        shown.filter(|model| !self.implied.contains(&*model.name) || self.reachable(model)).map(|model| self.info(model)).collect()
    }

    fn find(&self, id: &str) -> Option<ModelInfo> {
        self.routes.load().model(id).filter(|model| !model.is_wildcard()).map(|model| self.info(model))
    }
}
