//! A provider as data: one TOML file each, parsed strictly, so that a mistyped key is refused and not ignored.

mod adapter;
mod raw;
mod reshape;

use gateway_core::{OutputLimitKey, Protocol, Quirks, StreamUsage};
use http::{HeaderName, HeaderValue};

pub use adapter::SpecAdapter;
pub use raw::QuirkName;

use crate::{adapter::Pass, error::ProviderError};

/// How a key is shown to the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthScheme {
    /// `authorization: Bearer KEY`.
    Bearer,
    /// A header of its own that holds the key and nothing else.
    Header(HeaderName),
    /// A query parameter. Proxies and logs see it; use it only where nothing else is taken.
    Query(Box<str>),
    /// No key at all.
    None,
}

/// What some of a provider's models do differently.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelRule {
    patterns: Vec<Box<str>>,
    quirks: Vec<QuirkName>,
}

/// A provider as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSpec {
    /// The name that configuration and routes use.
    pub id: Box<str>,
    /// Other names for it.
    pub aliases: Vec<Box<str>>,
    /// The protocol it speaks.
    pub protocol: Protocol,
    /// Where its API begins, without a trailing slash.
    pub base_url: Box<str>,
    /// How a key is shown.
    pub auth: AuthScheme,
    /// The environment variables that usually hold a key, the usual one first.
    pub env: Vec<Box<str>>,
    /// Whether a caller's bytes may be forwarded as they are.
    pub pass: Pass,
    /// Where the usage of a stream comes from.
    pub stream_usage: StreamUsage,
    /// The only top-level request keys it accepts; empty when it accepts or ignores any.
    pub accepted_keys: Vec<Box<str>>,
    /// Top-level request keys that it calls otherwise: ours, theirs.
    pub rename: Vec<(Box<str>, Box<str>)>,
    /// Top-level request keys that must not be sent.
    pub drop: Vec<Box<str>>,
    /// Headers of the caller that are forwarded when both sides speak one protocol.
    pub forward_headers: Vec<HeaderName>,
    /// Headers sent unless the request has them already.
    pub default_headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    quirks: Vec<QuirkName>,
    models: Vec<ModelRule>,
}

impl ProviderSpec {
    /// Reads one spec file. `origin` names it in errors.
    ///
    /// # Errors
    /// The text is not TOML, a key is unknown or missing, or a value is not one of its choices; with the line.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ProviderError> {
        raw::parse(origin, text)
    }

    /// An operator's own provider: any endpoint that speaks a known protocol. It gets the defaults of the protocol.
    ///
    /// # Errors
    /// The protocol is unknown or the URL is not one.
    pub fn custom(id: &str, protocol: &str, base_url: &str) -> Result<Self, ProviderError> {
        let protocol = crate::registry::protocol(protocol)?;
        let mut spec = Self {
            id: id.into(),
            aliases: Vec::new(),
            protocol,
            base_url: "".into(),
            auth: AuthScheme::Bearer,
            env: Vec::new(),
            pass: Pass::Verbatim,
            stream_usage: StreamUsage::Option,
            accepted_keys: Vec::new(),
            rename: Vec::new(),
            drop: Vec::new(),
            forward_headers: Vec::new(),
            default_headers: Vec::new(),
            http2: false,
            quirks: Vec::new(),
            models: Vec::new(),
        };
        spec.set_base_url(base_url)?;
        if protocol == gateway_wire::ANTHROPIC_MESSAGES {
            spec.auth = AuthScheme::Header(HeaderName::from_static("x-api-key"));
            spec.default_headers.push((HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01")));
        } else if protocol == gateway_wire::GEMINI {
            spec.auth = AuthScheme::Header(HeaderName::from_static("x-goog-api-key"));
        }
        Ok(spec)
    }

    /// Points the spec at another address, such as a regional one.
    ///
    /// # Errors
    /// It is not an `http` or `https` URL, or it holds a user, a query or a fragment.
    pub fn set_base_url(&mut self, url: &str) -> Result<(), ProviderError> {
        check_base_url(url).map_err(|reason| ProviderError::BaseUrl { provider: self.id.clone(), reason: reason.into() })?;
        self.base_url = url.trim_end_matches('/').into();
        Ok(())
    }

    /// How the provider departs from its protocol for one of its models.
    #[must_use]
    pub fn quirks(&self, upstream_model: &str) -> Quirks {
        let mut quirks = Quirks { stream_usage: self.stream_usage, accepted_keys: self.accepted_keys.clone(), ..Quirks::default() };
        let of_model = self.models.iter().find(|rule| rule.patterns.iter().any(|pattern| matches(pattern, upstream_model)));
        for name in self.quirks.iter().chain(of_model.into_iter().flat_map(|rule| &rule.quirks)) {
            name.apply(&mut quirks);
        }
        quirks
    }

    /// The sentence shown while no key is set, with `id` as configuration spells the provider.
    #[must_use]
    pub fn how_to_set_key(&self, id: &str) -> String {
        match self.env.first() {
            Some(name) => format!("set {name} or providers.{id}.api_key"),
            None => format!("set providers.{id}.api_key"),
        }
    }
}

impl QuirkName {
    fn apply(self, quirks: &mut Quirks) {
        match self {
            Self::MaxTokens => quirks.output_limit_key = OutputLimitKey::MaxTokens,
            Self::MaxCompletionTokens => quirks.output_limit_key = OutputLimitKey::MaxCompletionTokens,
            Self::NineCharacterToolIds => quirks.tool_ids_nine_alphanumeric = true,
            Self::RandomSeed => quirks.seed_is_random_seed = true,
            Self::ThinkingParts => quirks.thinking_as_content_parts = true,
            Self::NoDeveloperRole => quirks.no_developer_role = true,
            Self::NoJsonSchema => quirks.no_json_schema = true,
            Self::NoSampling => quirks.no_sampling = true,
            Self::ThinkingByEffort => quirks.thinking_by_effort = true,
            Self::SchemaByForcedTool => quirks.schema_by_forced_tool = true,
        }
    }
}

/// `*` stands for any run of characters, at any place and as often as wanted.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn check_base_url(url: &str) -> Result<(), String> {
    if url.contains('@') {
        // The URL is not repeated: what stands before the `@` is a secret.
        return Err("a user or password in the URL is not supported; use api_key".to_owned());
    }
    let uri: http::Uri = url.parse().map_err(|error| format!("`{url}` is not a URL ({error}); expected https://host/path"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!("`{url}` must begin with https:// or http://"));
    }
    if uri.authority().is_none() {
        return Err(format!("`{url}` names no host"));
    }
    if uri.query().is_some() || url.contains('#') {
        return Err(format!("`{url}` must not hold a query or a fragment"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
