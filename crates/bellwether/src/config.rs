//! What the operator wrote: `bellwether.toml`, `BELLWETHER_SECTION__KEY` overrides and `env:NAME` secrets.
//!
//! Reading never guesses: an unknown or wrong key is refused with the file, the line and the nearest known name.

mod admins;
mod error;
mod models;
mod overrides;
mod providers;
mod secret;
mod server;
mod webhooks;

use std::{collections::BTreeMap, path::Path};

use gateway_billing::price::Calendar;
use serde::Deserialize;

pub use admins::{ADMIN, AdminConfig};
pub use error::ConfigError;
pub use models::{DeploymentConfig, ModelConfig, OnLossConfig, PriceConfig};
pub use providers::{ProviderConfig, TimeoutsConfig};
pub use secret::SecretSource;
pub use server::{BillingConfig, LogConfig, LogFormat, RoutingConfig, ServerConfig, StorageConfig, Synchronous, TlsConfig};
pub use webhooks::WebhookConfig;

/// The whole configuration. Every section may be left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What it was read from, for errors that show only when its parts are put together.
    #[serde(skip)]
    pub place: String,
    /// Listener, limits, draining.
    pub server: ServerConfig,
    /// Where the ledger lives.
    pub storage: StorageConfig,
    /// Holds, settlement, the sign-up grant.
    pub billing: BillingConfig,
    /// Administrators beside the one with `BELLWETHER_ADMIN_TOKEN`.
    pub admins: Vec<AdminConfig>,
    /// Who is told of events.
    pub webhooks: Vec<WebhookConfig>,
    /// Retries and backoff.
    pub routing: RoutingConfig,
    /// Time limits for every provider that does not set its own.
    pub timeouts: TimeoutsConfig,
    /// Log lines.
    pub log: LogConfig,
    /// Providers by name. A shipped provider needs only its key; any other needs `protocol` and `base_url`.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Public models, in addition to the shipped routes; one of the same name replaces the shipped one.
    pub models: Vec<ModelConfig>,
    /// Holidays by calendar, in addition to the shipped ones: next year's, once they are published.
    pub calendars: BTreeMap<String, Calendar>,
    /// The simulated provider's scenario.
    pub simulator: gateway_providers::simulator::Scenario,
}

/// The process environment as configuration sees it, so that tests bring their own.
pub trait Environment {
    /// The value of one variable; one that is not UTF-8 counts as absent.
    fn var(&self, name: &str) -> Option<String>;

    /// Every variable.
    fn all(&self) -> Vec<(String, String)>;
}

/// The real environment.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn all(&self) -> Vec<(String, String)> {
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
    }
}

impl Environment for BTreeMap<String, String> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }

    fn all(&self) -> Vec<(String, String)> {
        self.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

impl Config {
    /// Reads a file, then applies the overrides in the environment.
    ///
    /// # Errors
    /// The file cannot be read, or something in it or in an override is unknown or wrong; the error says where.
    pub fn load(path: &Path, environment: &dyn Environment) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source: source.into() })?;
        Self::parse(&text, &path.display().to_string(), environment)
    }

    /// Reads a text; `name` stands for it in errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, name: &str, environment: &dyn Environment) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|source| error::in_file(name, text, &source))?;
        let overrides = overrides::collect(environment);
        let mut config = if overrides.is_empty() {
            config
        } else {
            let table = toml::from_str(text).map_err(|source| error::in_file(name, text, &source))?;
            overrides::apply(table, overrides)?
        };
        config.validate(name)?;
        name.clone_into(&mut config.place);
        Ok(config)
    }

    fn validate(&self, name: &str) -> Result<(), ConfigError> {
        let wrong = |key: String, message: String| ConfigError::Wrong { place: name.to_owned(), key, message };
        self.server.validate().map_err(|(key, message)| wrong(format!("server.{key}"), message))?;
        self.billing.validate().map_err(|(key, message)| wrong(format!("billing.{key}"), message))?;
        self.storage.sqlite_path().map_err(|message| wrong("storage.url".to_owned(), message))?;
        admins::validate(self).map_err(|(key, message)| wrong(key, message))?;
        webhooks::validate(self).map_err(|(key, message)| wrong(key, message))?;
        let mut seen = std::collections::BTreeSet::new();
        for (at, model) in self.models.iter().enumerate() {
            let key = |field: &str| format!("models[{at}].{field}");
            if model.name.is_empty() || model.name.contains(|c: char| c.is_control() || c.is_whitespace()) {
                return Err(wrong(key("name"), "a model's name must not be empty and must not contain white space".to_owned()));
            }
            if !seen.insert(model.name.as_str()) {
                return Err(wrong(key("name"), format!("`{}` is defined twice", model.name)));
            }
            if model.deployments.is_empty() {
                return Err(wrong(key("deployments"), format!("`{}` needs at least one deployment", model.name)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
