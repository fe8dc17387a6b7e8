//! Providers: the shipped ones, the operator's own, their keys and their transports.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use gateway_core::{Clock, Protocol, Provider, ProviderId, Quirks, Secret, Timeouts};
use gateway_providers::{
    CredentialPool, ProviderContext, ProviderFactory, ProviderSettings, ProviderSpec, ProxySettings, Registry, TransportSettings,
    simulator::Simulator,
};

use crate::config::{Config, Environment, ProviderConfig};

/// What routes and prices need to know of a provider.
pub struct ProviderFacts {
    /// The protocol its deployments speak.
    pub protocol: Protocol,
    /// Its time limits.
    pub timeouts: Timeouts,
    /// Its kind in the catalog: the shipped id, or its own name.
    pub catalog_id: Box<str>,
    /// Its keys, to read their health.
    pub credentials: Arc<CredentialPool>,
    factory: Arc<dyn ProviderFactory>,
}

impl ProviderFacts {
    /// How one of its models departs from the protocol.
    #[must_use]
    pub fn quirks(&self, upstream_model: &str) -> Quirks {
        self.factory.quirks(upstream_model)
    }
}

/// Every provider of this process.
pub struct BuiltProviders {
    /// Ready to serve.
    pub providers: Vec<Arc<dyn Provider>>,
    /// What is known of each, by name.
    pub facts: BTreeMap<Box<str>, ProviderFacts>,
}

impl BuiltProviders {
    /// Builds all of them. Nothing connects yet.
    ///
    /// # Errors
    /// A section of the configuration cannot be used; the error names it.
    pub fn build(config: &Config, registry: &Registry, environment: &dyn Environment, clock: &Arc<dyn Clock>) -> Result<Self> {
        let mut context = ProviderContext::new();
        context.clock = Arc::clone(clock);
        context.simulator = Some(Simulator::new(config.simulator.clone()));
        let maker = Maker {
            context,
            base: TransportSettings { proxy: proxies(environment), ..TransportSettings::default() },
            timeouts: config.timeouts.over(&Timeouts::default()),
            environment,
            clock,
        };
        let mut built = Self { providers: Vec::new(), facts: BTreeMap::new() };
        let untouched = ProviderConfig::default();
        for factory in registry.iter() {
            let section = config.providers.get(factory.id()).unwrap_or(&untouched);
            if section.enabled != Some(false) {
                maker.make(factory.id(), Arc::clone(factory), section, &mut built)?;
            }
        }
        for (name, section) in &config.providers {
            if section.enabled != Some(false) && !built.facts.contains_key(name.as_str()) {
                let factory = custom(name, section, registry)?;
                maker.make(name, factory, section, &mut built)?;
            }
        }
        Ok(built)
    }
}

struct Maker<'a> {
    context: ProviderContext,
    base: TransportSettings,
    timeouts: Timeouts,
    environment: &'a dyn Environment,
    clock: &'a Arc<dyn Clock>,
}

impl Maker<'_> {
    fn make(&self, name: &str, factory: Arc<dyn ProviderFactory>, section: &ProviderConfig, built: &mut BuiltProviders) -> Result<()> {
        let place = || format!("[providers.{name}]");
        let timeouts = section.timeouts.over(&self.timeouts);
        let mut settings = ProviderSettings::new(ProviderId::new(name), self.credentials(name, &*factory, section)?);
        settings.transport = TransportSettings { connect: timeouts.connect, ca_file: section.ca_file.clone(), ..self.base.clone() };
        if let Some(most) = section.http2_connections_max {
            settings.transport.http2_connections = most;
        }
        settings.http2 = section.http2;
        settings.base_url = section.base_url.as_deref().map(Into::into);
        let credentials = Arc::clone(&settings.credentials);
        let provider = factory.build(settings, &self.context).with_context(place)?;
        let facts = ProviderFacts { protocol: factory.protocol(), timeouts, catalog_id: factory.id().into(), credentials, factory };
        built.providers.push(provider);
        built.facts.insert(name.into(), facts);
        Ok(())
    }

    fn credentials(&self, name: &str, factory: &dyn ProviderFactory, section: &ProviderConfig) -> Result<Arc<CredentialPool>> {
        let mut secrets = Vec::new();
        let written: Vec<_> = section.api_key.iter().chain(&section.api_keys).collect();
        for source in &written {
            match source.resolve(self.environment) {
                Some(secret) => secrets.push(secret),
                None => tracing::warn!(provider = name, key = ?source, "the variable of a provider's key is not set"),
            }
        }
        if written.is_empty() {
            let usual = factory.env().iter().find_map(|variable| self.environment.var(variable));
            secrets.extend(usual.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).map(Secret::new));
        }
        // A provider of the operator's own may need no key at all.
        if secrets.is_empty() && written.is_empty() && factory.env().is_empty() {
            return Ok(Arc::new(CredentialPool::none_needed(Arc::clone(self.clock))));
        }
        Ok(Arc::new(CredentialPool::new(secrets, factory.how_to_set_key(name), Arc::clone(self.clock))))
    }
}

/// A provider that is not shipped, described by its section alone.
fn custom(name: &str, section: &ProviderConfig, registry: &Registry) -> Result<Arc<dyn ProviderFactory>> {
    if name.is_empty() || name.contains(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')) {
        bail!("[providers.{name}]: a provider's name is made of letters, digits, `-` and `_`");
    }
    let (Some(protocol), Some(base_url)) = (&section.protocol, &section.base_url) else {
        let known: Vec<_> = registry.iter().map(|factory| factory.id().to_owned()).collect();
        bail!("[providers.{name}]: not a shipped provider ({}), so it needs `protocol` and `base_url`", known.join(", "));
    };
    let spec = ProviderSpec::custom(name, protocol, base_url).with_context(|| format!("[providers.{name}]"))?;
    Ok(Arc::new(spec))
}

/// The usual proxy variables, upper case first.
fn proxies(environment: &dyn Environment) -> ProxySettings {
    let either =
        |name: &str| environment.var(name).or_else(|| environment.var(&name.to_ascii_lowercase())).filter(|value| !value.is_empty());
    ProxySettings {
        http: either("HTTP_PROXY").map(Secret::new),
        https: either("HTTPS_PROXY").map(Secret::new),
        all: either("ALL_PROXY").map(Secret::new),
        no: either("NO_PROXY").unwrap_or_default(),
    }
}

/// The longest total of any provider: the call's own limit must not be shorter.
impl BuiltProviders {
    /// The longest time any provider may take for a call.
    #[must_use]
    pub fn total_max(&self) -> Duration {
        self.facts.values().map(|facts| facts.timeouts.total).max().unwrap_or(Timeouts::default().total)
    }
}
