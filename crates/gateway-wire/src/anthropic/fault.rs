//! Errors: a provider's report read, and a caller's error written.

use bytes::{Bytes, BytesMut};
use gateway_core::{Fault, FaultKind, Origin, RequestId, Retry, UpstreamError};
use http::{StatusCode, response};
use serde_json::Value;

use crate::{
    ANTHROPIC_MESSAGES,
    json::{Json, Kind, Writer},
    retry_after::retry_after,
};

/// The status of `overloaded_error`, which has no name in HTTP.
const OVERLOADED: u16 = 529;

/// Reads an error answer.
pub(super) fn decode(head: &response::Parts, body: &Bytes) -> Fault {
    let reported = reported(body);
    let status = head.status;
    let fault = classify(&reported, Some(status)).with_retry_after(retry_after(&head.headers));
    let retry = match head.headers.get("x-should-retry").map(http::HeaderValue::as_bytes) {
        Some(b"true") if !fault.blames_credential() => Retry::SameDeployment,
        // Another deployment, or another key, is not what the provider speaks of.
        Some(b"false") if fault.retry() == Retry::SameDeployment => Retry::NextDeployment,
        _ => fault.retry(),
    };
    let upstream = UpstreamError { protocol: ANTHROPIC_MESSAGES, status, headers: head.headers.clone(), body: body.clone() };
    let fault = fault.with_retry(retry);
    if reported.is_well_formed { fault.with_upstream(upstream) } else { without_body(fault, upstream) }
}

/// The status is worth recording even where the body is not the protocol's and must not be forwarded.
fn without_body(fault: Fault, mut upstream: UpstreamError) -> Fault {
    upstream.protocol = gateway_core::Protocol::new("unknown");
    fault.with_upstream(upstream)
}

/// An error report that came with status 200, if `body` is one.
pub(super) fn in_body(body: &[u8]) -> Option<Fault> {
    // Nearly every answer lacks the word, which one search tells.
    memchr::memmem::find(body, b"error")?;
    let fields = Json::parse(body).ok()?.fields().ok()?;
    let is_error = fields.has("error") || fields.peek("type").is_some_and(|kind| kind.text() == "\"error\"");
    is_error.then(|| classify(&reported(body), None).after_work_began())
}

/// The fault of a stream's `error` object.
pub(super) fn of_error_object(error: Option<&str>) -> Fault {
    let reported = error.and_then(|error| Json::parse(error.as_bytes()).ok()).map(object).unwrap_or_default();
    classify(&reported, None).after_work_began()
}

/// What a provider said went wrong.
#[derive(Debug, Default)]
struct Reported {
    kind: String,
    message: String,
    is_well_formed: bool,
}

fn reported(body: &[u8]) -> Reported {
    let error = Json::parse(body).and_then(Json::fields).ok().and_then(|fields| fields.peek("error"));
    error.map(object).unwrap_or_default()
}

fn object(error: Json<'_>) -> Reported {
    // Imitators of the protocol also answer a bare string.
    if error.kind() == Kind::String {
        return Reported { message: error.str().unwrap_or_default().into_owned(), ..Reported::default() };
    }
    let Ok(mut fields) = error.fields() else { return Reported::default() };
    let mut text = |key| fields.take_str(key).ok().flatten().map(std::borrow::Cow::into_owned).unwrap_or_default();
    let (kind, message) = (text("type"), text("message"));
    let is_well_formed = !kind.is_empty();
    Reported { kind, message, is_well_formed }
}

fn classify(reported: &Reported, status: Option<StatusCode>) -> Fault {
    let status = status.map_or(0, |status| status.as_u16());
    let message = reported.message.as_str();
    match reported.kind.as_str() {
        "authentication_error" => credential_refused(),
        "permission_error" => credential_refused().blaming_access(),
        "billing_error" => out_of_money(),
        "invalid_request_error" => invalid(message, status),
        "not_found_error" => not_found(message),
        "request_too_large" => too_large(message),
        "rate_limit_error" => rate_limited(),
        "overloaded_error" => overloaded(),
        "timeout_error" => timed_out(),
        "api_error" if status < 500 => upstream_error(),
        _ => by_status(message, status),
    }
}

fn by_status(message: &str, status: u16) -> Fault {
    match status {
        401 => credential_refused(),
        403 => credential_refused().blaming_access(),
        402 => out_of_money(),
        404 => not_found(message),
        413 => too_large(message),
        408 | 409 | 425 => unavailable(Retry::SameDeployment),
        429 => rate_limited(),
        400..=499 => invalid(message, status),
        504 | 524 => timed_out(),
        503 | 520..=523 | 525 | 526 => unavailable(Retry::SameDeployment),
        OVERLOADED => overloaded(),
        _ => upstream_error(),
    }
}

fn provider(kind: FaultKind, message: impl Into<std::borrow::Cow<'static, str>>, retry: Retry) -> Fault {
    Fault::new(kind, Origin::Provider, message).with_retry(retry)
}

/// The gateway's own key is bad or blocked. The caller's is not, so the caller must not be told 401.
fn credential_refused() -> Fault {
    own_account("the provider refused the gateway's own credential; the operator must look at it")
}

fn out_of_money() -> Fault {
    own_account("the gateway's account at the provider is out of money; the operator must look at it")
}

fn own_account(message: &'static str) -> Fault {
    provider(FaultKind::Unavailable, message, Retry::NextDeployment)
        .with_status(StatusCode::BAD_GATEWAY)
        .with_code("provider_credential")
        .blaming_credential()
}

fn invalid(message: &str, status: u16) -> Fault {
    let lower = message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
    // No money is a 400 here.
    if says(&["credit balance is too low", "reached your specified api usage limits"]) {
        return out_of_money();
    }
    if says(&["prompt is too long", "exceed context limit", "exceeds the context", "maximum context length", "context window"]) {
        return provider(
            FaultKind::ContextLength,
            shown(message, "the prompt does not fit the model's context window"),
            Retry::NextDeployment,
        )
        .with_code("context_length_exceeded");
    }
    if says(&["content filtering policy", "output blocked by"]) {
        return provider(FaultKind::ContentFiltered, shown(message, "a content filter refused the request"), Retry::Never);
    }
    let fault = provider(FaultKind::InvalidRequest, shown(message, "the provider refused the request as invalid"), Retry::Never);
    match StatusCode::from_u16(status) {
        Ok(status) if status.is_client_error() => fault.with_status(status),
        Ok(_) | Err(_) => fault,
    }
}

fn not_found(message: &str) -> Fault {
    provider(FaultKind::NotFound, shown(message, "the provider does not know the model"), Retry::NextDeployment)
}

fn too_large(message: &str) -> Fault {
    provider(FaultKind::PayloadTooLarge, shown(message, "the request is larger than the provider accepts"), Retry::Never)
}

fn rate_limited() -> Fault {
    provider(FaultKind::RateLimited, "the provider limits the rate of requests", Retry::SameDeployment).blaming_credential()
}

fn overloaded() -> Fault {
    provider(FaultKind::Overloaded, "the provider is overloaded", Retry::NextDeployment)
}

fn timed_out() -> Fault {
    provider(FaultKind::Timeout, "the provider ran out of time", Retry::NextDeployment).after_work_began()
}

fn unavailable(retry: Retry) -> Fault {
    provider(FaultKind::Unavailable, "the provider is unavailable", retry)
}

fn upstream_error() -> Fault {
    provider(FaultKind::UpstreamError, "the provider reported an internal error", Retry::SameDeployment).after_work_began()
}

/// What the provider says of the caller's own request helps the caller; an absent or endless text does not.
fn shown(message: &str, otherwise: &'static str) -> std::borrow::Cow<'static, str> {
    const CHARS_MAX: usize = 1_000;
    if message.is_empty() { otherwise.into() } else { message.chars().take(CHARS_MAX).collect::<String>().into() }
}

/// Writes an error for a caller.
pub(super) fn encode(fault: &Fault, request_id: RequestId) -> (StatusCode, Bytes) {
    if let Some(upstream) = fault.upstream()
        && upstream.protocol == ANTHROPIC_MESSAGES
        && speaks_of_the_caller(fault)
    {
        return (upstream.status, upstream.body.clone());
    }
    let mut out = BytesMut::with_capacity(256);
    let mut w = Writer::new(&mut out);
    w.begin_object();
    w.key("type").str("error");
    w.key("error").begin_object();
    w.key("type").str(if speaks_of_the_caller(fault) { type_of(fault.kind()) } else { "api_error" });
    w.key("message").str(fault.message());
    w.opt_str("code", fault.code());
    w.opt_str("param", fault.param());
    if !fault.losses().is_empty() {
        w.key("losses").str(&fault.losses().to_header());
    }
    for (name, value) in fault.details() {
        write_detail(w.key(name), value);
    }
    w.end_object();
    w.key("request_id").str(&request_id.to_string());
    w.end_object();
    (status_of(fault), out.freeze())
}

fn write_detail(w: &mut Writer<'_>, value: &Value) {
    w.raw(&value.to_string());
}

/// A refusal of the gateway's own credential is not for the caller's eyes.
fn speaks_of_the_caller(fault: &Fault) -> bool {
    !fault.blames_credential() || fault.kind() == FaultKind::RateLimited
}

fn status_of(fault: &Fault) -> StatusCode {
    match fault.kind() {
        // A caller who reads 401 replaces a key that is good.
        FaultKind::Authentication | FaultKind::PermissionDenied if !speaks_of_the_caller(fault) => StatusCode::BAD_GATEWAY,
        FaultKind::Overloaded => StatusCode::from_u16(OVERLOADED).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        _ => fault.status(),
    }
}

fn type_of(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::InvalidRequest
        | FaultKind::MethodNotAllowed
        | FaultKind::ContextLength
        | FaultKind::ContentFiltered
        | FaultKind::ModelNotPriced => "invalid_request_error",
        FaultKind::Authentication => "authentication_error",
        FaultKind::PermissionDenied => "permission_error",
        FaultKind::NotFound => "not_found_error",
        FaultKind::PayloadTooLarge => "request_too_large",
        FaultKind::InsufficientFunds => "billing_error",
        FaultKind::RateLimited => "rate_limit_error",
        FaultKind::Overloaded => "overloaded_error",
        FaultKind::Timeout => "timeout_error",
        FaultKind::Unavailable
        | FaultKind::BadUpstream
        | FaultKind::UpstreamError
        | FaultKind::NoDeployment
        | FaultKind::LedgerDown
        | FaultKind::CallerGone
        | FaultKind::Internal => "api_error",
    }
}
