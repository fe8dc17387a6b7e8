//! `POST /v1/billing/estimate`: what a call would hold, and whether it would be let through, without making it.
//!
//! The body is the body of the call: that of a chat completion as it is, any other in a wrapper that names its protocol. It goes
//! through the codec, the routes and the sizing that the call itself goes through.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gateway_billing::ledger::Ledger;
use gateway_core::{Call, CallContext, Clock, Fault, FaultKind, Ingress, Origin, Routed, WireError};
use gateway_routing::{Providers, Routes, resolve};
use gateway_server::MountRequest;
use gateway_wire::{anthropic::AnthropicIngress, openai_chat::OpenAiChatIngress};
use http::{HeaderValue, Method, Response, Uri, header};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::assembly::Parts;

/// Where estimates are asked for.
pub const ESTIMATE: &str = "/v1/billing/estimate";

/// The protocols that callers speak, each with the address of its calls.
const ADDRESSES: [(&str, &str); 2] = [("openai-chat", "/v1/chat/completions"), ("anthropic-messages", "/v1/messages")];

/// Answers estimates.
#[derive(Clone)]
pub struct Estimates {
    ledger: Arc<Ledger>,
    routes: Routes,
    providers: Providers,
    clock: Arc<dyn Clock>,
    total_max: Duration,
}

/// Enough of a body to see whether it is a wrapper: no protocol's request has this key.
#[derive(Deserialize)]
struct Probe<'b> {
    #[serde(borrow)]
    protocol: Option<&'b RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped<'b> {
    protocol: String,
    #[serde(borrow)]
    request: &'b RawValue,
}

impl Estimates {
    /// Estimates of what these parts would serve.
    #[must_use]
    pub fn new(parts: &Parts) -> Self {
        Self {
            ledger: Arc::clone(&parts.ledger),
            routes: parts.routes.clone(),
            providers: parts.providers.clone(),
            clock: Arc::clone(&parts.clock),
            total_max: parts.total_max,
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// What the call itself would be refused with before money is looked at: a body that is none, a model that does not exist, is
    /// not the key's, or has no price.
    pub fn answer(&self, request: MountRequest) -> Result<Response<Bytes>, Fault> {
        if request.head.uri.path().trim_end_matches('/') != ESTIMATE {
            return Err(Fault::new(FaultKind::NotFound, Origin::Caller, format!("there is nothing below {ESTIMATE}")));
        }
        if request.head.method != Method::POST {
            return Err(Fault::new(
                FaultKind::MethodNotAllowed,
                Origin::Caller,
                format!("`{ESTIMATE}` takes POST, with the body of a call"),
            ));
        }
        let call = Arc::new(self.call(request)?);
        let candidates = resolve(&call, &self.routes.load(), &self.providers)?;
        let estimate = self.ledger.estimate(&Routed { call, candidates })?;
        let estimate = estimate.ok_or_else(|| Fault::internal("an estimate of a call that is free"))?;
        let body = serde_json::to_vec(&estimate).map_err(|error| Fault::internal("an estimate could not be written").with_source(error))?;
        let mut response = Response::new(Bytes::from(body));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    /// The call that the body describes, as it would have arrived at its own address.
    fn call(&self, request: MountRequest) -> Result<Call, Fault> {
        let MountRequest { request_id, principal, mut head, body, .. } = request;
        let principal = principal.ok_or_else(|| Fault::internal("a caller's path without a caller"))?;
        let (address, body) = asked(&body)?;
        let ingress: Arc<dyn Ingress> = match address {
            "/v1/messages" => Arc::new(AnthropicIngress::new()),
            _ => Arc::new(OpenAiChatIngress::new()),
        };
        head.uri = Uri::from_static(address);
        let peek = ingress.peek(&head, &body).map_err(WireError::into_caller_fault)?;
        let read_at = self.clock.monotonic();
        let ctx = CallContext { request_id, principal, received_at: self.clock.wall(), read_at, deadline: read_at + self.total_max };
        Ok(Call::new(ctx, ingress, head, body, peek))
    }
}

/// The address that the call would go to, and its body as it was written.
fn asked(body: &Bytes) -> Result<(&'static str, Bytes), Fault> {
    let is_wrapped = serde_json::from_slice::<Probe<'_>>(body).is_ok_and(|probe| probe.protocol.is_some());
    if !is_wrapped {
        return Ok((ADDRESSES[0].1, body.clone()));
    }
    let wrapped: Wrapped<'_> = serde_json::from_slice(body).map_err(|_| {
        Fault::invalid("the body must be that of a chat completion, or {\"protocol\": \"…\", \"request\": {…}} and nothing else")
    })?;
    let address = ADDRESSES.iter().find(|(protocol, _)| *protocol == wrapped.protocol);
    let (_, address) = address.ok_or_else(|| {
        let known = ADDRESSES.map(|(protocol, _)| format!("`{protocol}`")).join(", ");
        Fault::invalid(format!("`protocol` must be one that callers speak: {known}")).with_param("protocol")
    })?;
    Ok((address, body.slice_ref(wrapped.request.get().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expected: Result<(&str, &str), Option<&str>>) {
        let found = asked(&Bytes::copy_from_slice(body.as_bytes()));
        let found = found.map(|(address, body)| (address, String::from_utf8(body.to_vec()).expect("text")));
        match (&found, expected) {
            (Ok((address, body)), Ok(expected)) => assert_eq!((*address, &**body), expected),
            (Err(fault), Err(param)) => assert_eq!((fault.status().as_u16(), fault.param()), (400, param)),
            _ => panic!("{body}: {found:?}"),
        }
    }

    #[test]
    fn a_bare_body_is_a_chat_completion_and_a_wrapper_names_its_protocol() {
        check(r#"{"model":"m"}"#, Ok(("/v1/chat/completions", r#"{"model":"m"}"#)));
        // What is wrong with it the codec says.
        check("{", Ok(("/v1/chat/completions", "{")));
        check(r#"{"protocol":null,"model":"m"}"#, Ok(("/v1/chat/completions", r#"{"protocol":null,"model":"m"}"#)));
        check(r#"{"request": {"a" : 1} ,"protocol":"anthropic-messages"}"#, Ok(("/v1/messages", r#"{"a" : 1}"#)));
        check(r#"{"request":[],"protocol":"openai-chat"}"#, Ok(("/v1/chat/completions", "[]")));
        check(r#"{"request":{},"protocol":"gemini"}"#, Err(Some("protocol")));
        check(r#"{"request":{},"protocol":7}"#, Err(None));
        check(r#"{"protocol":"openai-chat"}"#, Err(None));
        check(r#"{"protocol":"openai-chat","request":{},"model":"m"}"#, Err(None));
    }
}
