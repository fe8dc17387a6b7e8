//! Routes: the shipped models, the operator's, and `provider/model` for everything the catalog knows.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, Result, bail};
use gateway_core::{Deployment, DeploymentId, ModelLimits, OnLoss, ProviderId};
use gateway_routing::{Model, RouteTable, Tier};
use serde::Deserialize;

use super::providers::{BuiltProviders, ProviderFacts};
use crate::config::{Config, DeploymentConfig, ModelConfig, OnLossConfig, PriceConfig};

/// The models that come with the binary.
const SHIPPED: &str = include_str!("../../data/routes.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shipped {
    models: Vec<ModelConfig>,
}

/// What is known of a model at a provider without asking it.
pub trait ModelFacts {
    /// Limits, where known.
    fn limits(&self, provider: &str, upstream_model: &str) -> ModelLimits;

    /// Every chat model known at a provider, retired ones excepted.
    fn models(&self, provider: &str) -> Vec<Box<str>>;
}

/// One place where a public model is served, with the price the operator set for it.
pub struct ModelEntry {
    /// The place.
    pub deployment: Arc<Deployment>,
    /// The provider's name in the catalog.
    pub catalog_id: Box<str>,
    /// The operator's price, the deployment's own before the model's.
    pub price: Option<PriceConfig>,
    /// Whether it is a `provider/model` name that nobody configured.
    pub implied: bool,
}

/// The route table and what the rest of the assembly needs of it.
pub struct RoutePlan {
    /// The table.
    pub table: RouteTable,
    /// Every deployment but the wildcards'.
    pub entries: Vec<ModelEntry>,
}

impl RoutePlan {
    /// Makes the table.
    ///
    /// # Errors
    /// A model of the configuration cannot be used; the error names it.
    pub fn build(config: &Config, built: &BuiltProviders, facts: &dyn ModelFacts) -> Result<Self> {
        let shipped: Shipped = toml::from_str(SHIPPED).context("the shipped routes")?;
        let own: BTreeSet<_> = config.models.iter().map(|model| model.name.as_str()).collect();
        let mut maker = Maker { built, facts, entries: Vec::new() };
        let mut models = Vec::new();
        for model in &config.models {
            models.push(maker.model(model, true)?);
        }
        for model in shipped.models.iter().filter(|model| !own.contains(model.name.as_str())) {
            models.push(maker.model(model, false)?);
        }
        let mut taken: BTreeSet<String> = models.iter().flat_map(names).collect();
        for (provider, known) in &built.facts {
            for upstream in facts.models(&known.catalog_id) {
                let name = format!("{provider}/{upstream}");
                if taken.insert(name.clone()) {
                    let deployment = maker.deployment(&name, provider, known, &implied(provider, &upstream));
                    models.push(Model::new(name.as_str(), vec![deployment]));
                }
            }
            let name = format!("{provider}/*");
            if taken.insert(name.clone()) {
                let wild = make(&name, provider, known, &implied(provider, "*"), ModelLimits::default());
                models.push(Model::new(name.as_str(), vec![Arc::new(wild)]));
            }
        }
        let entries = maker.entries;
        let table = models.into_iter().fold(RouteTable::builder(), gateway_routing::RouteTableBuilder::model).build();
        match table {
            Ok(table) => Ok(Self { table, entries }),
            Err(errors) => bail!("[[models]]: {}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }
}

fn names(model: &Model) -> Vec<String> {
    std::iter::once(model.name.to_string()).chain(model.aliases.iter().map(ToString::to_string)).collect()
}

fn implied(provider: &str, upstream: &str) -> DeploymentConfig {
    DeploymentConfig {
        provider: provider.to_owned(),
        model: upstream.to_owned(),
        weight: 1,
        price: None,
        on_loss: OnLossConfig::Report,
        output_tokens_max: None,
        context_window: None,
        notice: None,
    }
}

struct Maker<'a> {
    built: &'a BuiltProviders,
    facts: &'a dyn ModelFacts,
    entries: Vec<ModelEntry>,
}

impl Maker<'_> {
    /// A model of the configuration must name providers that exist; a shipped one skips those that are switched off.
    fn model(&mut self, model: &ModelConfig, own: bool) -> Result<Model> {
        let mut deployments = Vec::new();
        for place in &model.deployments {
            let Some(known) = self.built.facts.get(place.provider.as_str()) else {
                if own {
                    let all: Vec<_> = self.built.facts.keys().map(|name| &**name).collect();
                    bail!("model `{}`: there is no provider `{}`; there are {}", model.name, place.provider, all.join(", "));
                }
                continue;
            };
            let limits = self.limits(known, place);
            let deployment = Arc::new(make(&model.name, &place.provider, known, place, limits));
            self.entries.push(ModelEntry {
                deployment: Arc::clone(&deployment),
                catalog_id: known.catalog_id.clone(),
                price: place.price.clone().or_else(|| model.price.clone()),
                implied: false,
            });
            deployments.push(deployment);
        }
        let mut made = Model::new(model.name.as_str(), deployments);
        if made.deployments.is_empty() {
            made.notice = Some("all providers of this model are switched off in the configuration".into());
        }
        made.tier = model
            .tier
            .as_deref()
            .map(str::parse::<Tier>)
            .transpose()
            .map_err(|error| anyhow::anyhow!("model `{}`: {error}", model.name))?;
        made.aliases = model.aliases.iter().map(|alias| alias.as_str().into()).collect();
        made.fallbacks = model.fallbacks.iter().map(|name| name.as_str().into()).collect();
        Ok(made)
    }

    fn deployment(&mut self, name: &str, provider: &str, known: &ProviderFacts, place: &DeploymentConfig) -> Arc<Deployment> {
        let deployment = Arc::new(make(name, provider, known, place, self.limits(known, place)));
        let entry = ModelEntry { deployment: Arc::clone(&deployment), catalog_id: known.catalog_id.clone(), price: None, implied: true };
        self.entries.push(entry);
        deployment
    }

    fn limits(&self, known: &ProviderFacts, place: &DeploymentConfig) -> ModelLimits {
        let catalog = self.facts.limits(&known.catalog_id, &place.model);
        ModelLimits {
            output_tokens_max: place.output_tokens_max.or(catalog.output_tokens_max),
            context_window: place.context_window.or(catalog.context_window),
        }
    }
}

fn make(name: &str, provider: &str, known: &ProviderFacts, place: &DeploymentConfig, limits: ModelLimits) -> Deployment {
    Deployment {
        id: DeploymentId::new(format!("{name}@{provider}/{}", place.model)),
        provider: ProviderId::new(provider),
        model: name.into(),
        upstream_model: place.model.as_str().into(),
        protocol: known.protocol,
        weight: place.weight,
        limits,
        timeouts: known.timeouts,
        on_loss: match place.on_loss {
            OnLossConfig::Report => OnLoss::Report,
            OnLossConfig::Reject => OnLoss::Reject,
        },
        quirks: known.quirks(&place.model),
        notice: place.notice.as_deref().map(Into::into),
    }
}
