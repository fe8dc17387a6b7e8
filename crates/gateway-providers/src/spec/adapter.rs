//! A provider that is nothing but data: the [`Adapter`] of a [`ProviderSpec`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::{Attempt, Deployment, Egress, Encoded, Fault, Operation, Protocol, ProviderId};
use http::{HeaderName, HeaderValue, Method, Request, Uri, header::AUTHORIZATION};

use super::{AuthScheme, ProviderSpec, reshape::reshape};
use crate::{
    adapter::{Adapter, Pass},
    credential::Credential,
    error::ProviderError,
};

/// The [`Adapter`] of a [`ProviderSpec`].
pub struct SpecAdapter {
    id: ProviderId,
    spec: Arc<ProviderSpec>,
    egress: Arc<dyn Egress>,
    paths: Paths,
}

/// URLs that do not depend on the model are made once.
enum Paths {
    OpenAiChat { chat: Uri },
    Anthropic { messages: Uri, count_tokens: Uri },
    Gemini,
}

impl SpecAdapter {
    /// Joins a spec and the codec of its protocol, under the name that configuration gives it.
    ///
    /// # Errors
    /// The base URL cannot be completed, or the codec speaks another protocol than the spec.
    pub fn new(id: ProviderId, spec: Arc<ProviderSpec>, egress: Arc<dyn Egress>) -> Result<Self, ProviderError> {
        let base = &spec.base_url;
        let uri = |path: &str| -> Result<Uri, ProviderError> {
            let reason =
                |error: http::uri::InvalidUri| ProviderError::BaseUrl { provider: id.as_str().into(), reason: error.to_string().into() };
            format!("{base}{path}").parse().map_err(reason)
        };
        let paths = match spec.protocol {
            protocol if protocol != egress.protocol() => return Err(unknown(protocol)),
            gateway_wire::OPENAI_CHAT => Paths::OpenAiChat { chat: uri("/chat/completions")? },
            gateway_wire::ANTHROPIC_MESSAGES => {
                Paths::Anthropic { messages: uri("/messages")?, count_tokens: uri("/messages/count_tokens")? }
            }
            gateway_wire::GEMINI => Paths::Gemini,
            protocol => return Err(unknown(protocol)),
        };
        Ok(Self { id, spec, egress, paths })
    }

    fn uri(&self, attempt: &Attempt) -> Result<Uri, Fault> {
        match &self.paths {
            Paths::OpenAiChat { chat } => Ok(chat.clone()),
            Paths::Anthropic { messages, count_tokens } => Ok(match attempt.call.operation() {
                Operation::CountTokens => count_tokens.clone(),
                Operation::Chat => messages.clone(),
            }),
            Paths::Gemini => {
                let path = gateway_wire::gemini::path(&attempt.deployment.upstream_model, attempt.call.peek().stream);
                let url = format!("{}{path}", self.spec.base_url);
                url.parse().map_err(|error: http::uri::InvalidUri| {
                    Fault::internal("the upstream model's name cannot stand in a URL").with_source(error)
                })
            }
        }
    }
}

fn unknown(protocol: Protocol) -> ProviderError {
    let known = crate::registry::PROTOCOLS.iter().map(|protocol| protocol.as_str()).collect();
    ProviderError::UnknownProtocol { protocol: protocol.as_str().into(), known }
}

/// A key is data: only what a query may hold stands unescaped.
fn push_encoded(url: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            url.push(char::from(byte));
        } else {
            url.push('%');
            url.push(char::from(HEX[usize::from(byte >> 4)]));
            url.push(char::from(HEX[usize::from(byte & 0x0f)]));
        }
    }
}

#[async_trait]
impl Adapter for SpecAdapter {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn egress(&self, _deployment: &Deployment) -> &dyn Egress {
        &*self.egress
    }

    fn pass(&self, _deployment: &Deployment) -> Pass {
        self.spec.pass
    }

    fn serves(&self, _deployment: &Deployment, operation: Operation) -> bool {
        match operation {
            Operation::Chat => true,
            Operation::CountTokens => matches!(self.paths, Paths::Anthropic { .. }),
        }
    }

    fn address(&self, attempt: &Attempt, encoded: Encoded) -> Result<Request<Bytes>, Fault> {
        let body = if self.spec.rename.is_empty() && self.spec.drop.is_empty() {
            encoded.body
        } else {
            reshape(&encoded.body, &self.spec.rename, &self.spec.drop)?
        };
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri(attempt)?;
        *request.headers_mut() = encoded.headers;
        Ok(request)
    }

    async fn authorize(&self, request: &mut Request<Bytes>, credential: Option<&Credential>) -> Result<(), Fault> {
        // Last of all, so that a caller's own version stands.
        for (name, value) in &self.spec.default_headers {
            request.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        let Some(credential) = credential else { return Ok(()) };
        let key = credential.secret().expose();
        match &self.spec.auth {
            AuthScheme::None => {}
            AuthScheme::Bearer => {
                request.headers_mut().insert(AUTHORIZATION, secret_header(&format!("Bearer {key}"))?);
            }
            AuthScheme::Header(name) => {
                request.headers_mut().insert(name, secret_header(key)?);
            }
            AuthScheme::Query(name) => {
                let mut url = request.uri().to_string();
                url.push(if request.uri().query().is_some() { '&' } else { '?' });
                push_encoded(&mut url, name);
                url.push('=');
                push_encoded(&mut url, key);
                *request.uri_mut() = url.parse().map_err(|_| Fault::internal("the provider's key cannot stand in a URL"))?;
            }
        }
        Ok(())
    }

    fn forwarded_headers(&self) -> &[HeaderName] {
        &self.spec.forward_headers
    }
}

fn secret_header(text: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Fault::internal("the provider's key holds characters that no header takes; check for a stray line end"))?;
    // Keeps it out of `Debug` and of HPACK's tables.
    value.set_sensitive(true);
    Ok(value)
}
