//! Which providers exist: the shipped specs, an operator's own, and the factories of other crates.

use std::sync::Arc;

use gateway_core::{Clock, Egress, Protocol, Provider, ProviderId, Quirks, SystemClock};

#[cfg(feature = "builtin")]
use crate::simulator::Simulator;
use crate::{
    credential::CredentialPool,
    error::ProviderError,
    provider::HttpProvider,
    spec::{ProviderSpec, SpecAdapter},
    transport::{Transport, TransportSettings},
};

/// The protocols that specs can name.
pub(crate) const PROTOCOLS: [Protocol; 3] = [gateway_wire::OPENAI_CHAT, gateway_wire::ANTHROPIC_MESSAGES, gateway_wire::GEMINI];

/// The protocol of this name.
///
/// # Errors
/// There is none; the error lists those that exist.
pub(crate) fn protocol(name: &str) -> Result<Protocol, ProviderError> {
    PROTOCOLS.into_iter().find(|protocol| protocol.as_str() == name).ok_or_else(|| ProviderError::UnknownProtocol {
        protocol: name.into(),
        known: PROTOCOLS.iter().map(|protocol| protocol.as_str()).collect(),
    })
}

/// The providers' side of every protocol in [`PROTOCOLS`].
fn codecs() -> Vec<Arc<dyn Egress>> {
    vec![
        Arc::new(gateway_wire::openai_chat::OpenAiChatEgress::new()),
        Arc::new(gateway_wire::anthropic::AnthropicEgress::new()),
        Arc::new(gateway_wire::gemini::GeminiEgress::new()),
    ]
}

/// What all providers of a process share.
#[derive(Clone)]
pub struct ProviderContext {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The providers' side of each protocol that specs may name.
    pub codecs: Vec<Arc<dyn Egress>>,
    /// Serves test-mode calls in place of the network. Without one, test-mode calls are refused.
    #[cfg(feature = "builtin")]
    pub simulator: Option<Simulator>,
}

impl ProviderContext {
    /// The machine's clock and a simulated provider without a scenario.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            codecs: codecs(),
            #[cfg(feature = "builtin")]
            simulator: Some(Simulator::default()),
        }
    }
}

impl ProviderContext {
    fn egress(&self, protocol: Protocol) -> Result<Arc<dyn Egress>, ProviderError> {
        self.codecs.iter().find(|codec| codec.protocol() == protocol).cloned().ok_or_else(|| ProviderError::UnknownProtocol {
            protocol: protocol.as_str().into(),
            known: self.codecs.iter().map(|codec| codec.protocol().as_str()).collect(),
        })
    }
}

impl Default for ProviderContext {
    fn default() -> Self {
        Self::new()
    }
}

/// What one provider is built from.
#[derive(Clone)]
pub struct ProviderSettings {
    /// The name that configuration and routes use.
    pub id: ProviderId,
    /// Its keys. Keep a clone of the handle to read their health.
    pub credentials: Arc<CredentialPool>,
    /// How it is reached.
    pub transport: TransportSettings,
    /// Another address than the spec's.
    pub base_url: Option<Box<str>>,
    /// HTTP/2 where the spec says otherwise.
    pub http2: Option<bool>,
}

impl ProviderSettings {
    /// The spec's own address, reached with default settings.
    #[must_use]
    pub fn new(id: ProviderId, credentials: Arc<CredentialPool>) -> Self {
        Self { id, credentials, transport: TransportSettings::default(), base_url: None, http2: None }
    }
}

/// Makes a provider of one kind. Implement it in a crate of your own and hand it to [`Registry::with`].
pub trait ProviderFactory: Send + Sync {
    /// The kind's name, which configuration uses.
    fn id(&self) -> &str;

    /// Other names for it.
    fn aliases(&self) -> &[Box<str>] {
        &[]
    }

    /// The protocol its deployments speak.
    fn protocol(&self) -> Protocol;

    /// The environment variables that usually hold its key, the usual one first.
    fn env(&self) -> &[Box<str>] {
        &[]
    }

    /// How one of its models departs from the protocol.
    fn quirks(&self, upstream_model: &str) -> Quirks {
        let _ = upstream_model;
        Quirks::default()
    }

    /// The sentence shown while no key is set.
    fn how_to_set_key(&self, id: &str) -> String {
        match self.env().first() {
            Some(name) => format!("set {name} or providers.{id}.api_key"),
            None => format!("set providers.{id}.api_key"),
        }
    }

    /// Builds it. Nothing connects yet.
    ///
    /// # Errors
    /// The settings cannot be used; the error says which and why.
    fn build(&self, settings: ProviderSettings, context: &ProviderContext) -> Result<Arc<dyn Provider>, ProviderError>;
}

impl ProviderFactory for ProviderSpec {
    fn id(&self) -> &str {
        &self.id
    }

    fn aliases(&self) -> &[Box<str>] {
        &self.aliases
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn env(&self) -> &[Box<str>] {
        &self.env
    }

    fn quirks(&self, upstream_model: &str) -> Quirks {
        self.quirks(upstream_model)
    }

    fn build(&self, settings: ProviderSettings, context: &ProviderContext) -> Result<Arc<dyn Provider>, ProviderError> {
        let ProviderSettings { id, credentials, mut transport, base_url, http2 } = settings;
        let mut spec = self.clone();
        if let Some(base_url) = base_url {
            spec.set_base_url(&base_url)?;
        }
        transport.http2 = http2.unwrap_or(spec.http2);
        let adapter = SpecAdapter::new(id, Arc::new(spec), context.egress(self.protocol)?)?;
        let provider = HttpProvider::new(adapter, Transport::new(&transport)?, credentials, Arc::clone(&context.clock));
        #[cfg(feature = "builtin")]
        let provider = provider.with_simulator(context.simulator.clone());
        Ok(Arc::new(provider))
    }
}

/// The kinds of providers that a process can build.
#[derive(Clone, Default)]
pub struct Registry(Vec<Arc<dyn ProviderFactory>>);

impl Registry {
    /// None at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The shipped ones.
    ///
    /// # Errors
    /// A shipped spec is wrong, which a test of this crate rules out.
    #[cfg(feature = "builtin")]
    pub fn builtin() -> Result<Self, ProviderError> {
        let mut registry = Self::empty();
        for (origin, text) in SHIPPED {
            registry = registry.with(ProviderSpec::parse(origin, text)?);
        }
        Ok(registry)
    }

    /// Adds a kind; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, factory: impl ProviderFactory + 'static) -> Self {
        self.0.retain(|known| known.id() != factory.id());
        self.0.push(Arc::new(factory));
        self
    }

    /// The kind of this name or alias.
    ///
    /// # Errors
    /// There is none; the error lists those that exist.
    pub fn find(&self, id: &str) -> Result<&Arc<dyn ProviderFactory>, ProviderError> {
        let by_id = self.0.iter().find(|factory| factory.id() == id);
        by_id.or_else(|| self.0.iter().find(|factory| factory.aliases().iter().any(|alias| **alias == *id))).ok_or_else(|| {
            ProviderError::UnknownProvider { id: id.into(), known: self.0.iter().map(|factory| factory.id().into()).collect() }
        })
    }

    /// Every kind, in the order added.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn ProviderFactory>> {
        self.0.iter()
    }
}

/// The specs in the binary, by file name.
#[cfg(feature = "builtin")]
const SHIPPED: [(&str, &str); 6] = [
    ("specs/openai.toml", include_str!("../specs/openai.toml")),
    ("specs/anthropic.toml", include_str!("../specs/anthropic.toml")),
    ("specs/google.toml", include_str!("../specs/google.toml")),
    ("specs/deepseek.toml", include_str!("../specs/deepseek.toml")),
    ("specs/mistral.toml", include_str!("../specs/mistral.toml")),
    ("specs/openrouter.toml", include_str!("../specs/openrouter.toml")),
];

#[cfg(test)]
mod tests;
