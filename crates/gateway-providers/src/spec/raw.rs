//! The file format of a spec: what serde reads, and its checks.

use std::collections::BTreeMap;

use gateway_core::StreamUsage;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::{AuthScheme, ModelRule, ProviderSpec};
use crate::{adapter::Pass, error::ProviderError};

/// How a provider, or one of its models, departs from its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum QuirkName {
    /// Only `max_tokens` is known.
    MaxTokens,
    /// Only `max_completion_tokens` is accepted.
    MaxCompletionTokens,
    /// Tool-call ids must be exactly nine of `[A-Za-z0-9]`.
    NineCharacterToolIds,
    /// The seed is called `random_seed`.
    RandomSeed,
    /// Thinking comes and goes as content parts.
    ThinkingParts,
    /// The role `developer` is unknown.
    NoDeveloperRole,
    /// `response_format` knows `json_object` only.
    NoJsonSchema,
    /// Sampling parameters are refused.
    NoSampling,
    /// Thinking is asked for by level, not by budget.
    ThinkingByEffort,
    /// Structured output needs a forced tool.
    SchemaByForcedTool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: Box<str>,
    #[serde(default)]
    aliases: Vec<Box<str>>,
    protocol: Box<str>,
    base_url: Box<str>,
    auth: RawAuth,
    #[serde(default)]
    pass: RawPass,
    #[serde(default)]
    stream_usage: RawStreamUsage,
    #[serde(default)]
    accepted_keys: Vec<Box<str>>,
    #[serde(default)]
    quirks: Vec<QuirkName>,
    #[serde(default)]
    request: RawRequest,
    #[serde(default)]
    http2: bool,
    #[serde(default)]
    models: Vec<RawModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAuth {
    scheme: RawScheme,
    name: Option<Box<str>>,
    #[serde(default)]
    env: Vec<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawScheme {
    Bearer,
    Header,
    Query,
    None,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum RawPass {
    #[default]
    Verbatim,
    Filtered,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum RawStreamUsage {
    #[default]
    Option,
    Always,
    Never,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawRequest {
    rename: BTreeMap<Box<str>, Box<str>>,
    drop: Vec<Box<str>>,
    forward_headers: Vec<Box<str>>,
    headers: BTreeMap<Box<str>, Box<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    #[serde(rename = "match")]
    patterns: Vec<Box<str>>,
    #[serde(default)]
    quirks: Vec<QuirkName>,
}

pub(super) fn parse(origin: &str, text: &str) -> Result<ProviderSpec, ProviderError> {
    let fail = |line: Option<usize>, message: String| ProviderError::Spec { origin: origin.into(), line, message: message.into() };
    let raw: Raw = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        fail(line, error.message().to_owned())
    })?;
    // Values are checked after parsing, so their line is found by their key.
    let at = |key: &str| text.lines().position(|line| line.trim_start().starts_with(key)).map(|index| index + 1);
    let protocol = crate::registry::protocol(&raw.protocol).map_err(|error| fail(at("protocol"), error.to_string()))?;
    let auth = auth(&raw.auth).map_err(|message| fail(at("auth").or(at("[auth]")), message))?;
    let header = |name: &str| {
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| fail(at("request").or(at("[request")), format!("`{name}` is not a header name")))
    };
    let mut default_headers = Vec::new();
    for (name, value) in &raw.request.headers {
        let value = HeaderValue::from_str(value).map_err(|_| fail(at(name), format!("the value of `{name}` cannot stand in a header")))?;
        default_headers.push((header(name)?, value));
    }
    if matches!(raw.pass, RawPass::Verbatim) && !raw.accepted_keys.is_empty() {
        return Err(fail(at("accepted_keys"), "`accepted_keys` needs `pass = \"filtered\"`".to_owned()));
    }
    let mut spec = ProviderSpec {
        forward_headers: raw.request.forward_headers.iter().map(|name| header(name)).collect::<Result<_, _>>()?,
        id: raw.id,
        aliases: raw.aliases,
        protocol,
        base_url: "".into(),
        auth,
        env: raw.auth.env,
        pass: match raw.pass {
            RawPass::Verbatim => Pass::Verbatim,
            RawPass::Filtered => Pass::Filtered,
        },
        stream_usage: match raw.stream_usage {
            RawStreamUsage::Option => StreamUsage::Option,
            RawStreamUsage::Always => StreamUsage::Always,
            RawStreamUsage::Never => StreamUsage::Never,
        },
        accepted_keys: raw.accepted_keys,
        rename: raw.request.rename.into_iter().collect(),
        drop: raw.request.drop,
        default_headers,
        http2: raw.http2,
        quirks: raw.quirks,
        models: raw.models.into_iter().map(|model| ModelRule { patterns: model.patterns, quirks: model.quirks }).collect(),
    };
    spec.set_base_url(&raw.base_url).map_err(|error| fail(at("base_url"), error.to_string()))?;
    Ok(spec)
}

fn auth(raw: &RawAuth) -> Result<AuthScheme, String> {
    match (&raw.scheme, raw.name.as_deref()) {
        (RawScheme::Bearer, None) => Ok(AuthScheme::Bearer),
        (RawScheme::None, None) => Ok(AuthScheme::None),
        (RawScheme::Bearer | RawScheme::None, Some(_)) => Err("`name` belongs to the schemes `header` and `query`".to_owned()),
        (RawScheme::Header, Some(name)) => {
            HeaderName::from_bytes(name.as_bytes()).map(AuthScheme::Header).map_err(|_| format!("`{name}` is not a header name"))
        }
        (RawScheme::Query, Some(name)) => Ok(AuthScheme::Query(name.into())),
        (RawScheme::Header | RawScheme::Query, None) => Err("the schemes `header` and `query` need a `name`".to_owned()),
    }
}
