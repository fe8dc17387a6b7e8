//! Errors: reads every shape that imitators of this protocol were seen to send, and writes one.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use gateway_core::{Fault, FaultKind, Origin, RequestId, UpstreamError};
use http::{HeaderMap, StatusCode, response};
use memchr::memmem;

use crate::{
    OPENAI_CHAT,
    json::{Fields, Json, Kind, Writer},
    retry_after::retry_after,
};

mod classify;

use classify::{Blame, Verdict, classify, says_out_of_money};

/// Longest provider message that is passed on.
const MESSAGE_BYTES_MAX: usize = 2_000;

/// The code of a fault whose provider text is not shown, because it is about the gateway's own credential.
const CREDENTIAL_CODE: &str = "provider_credential";

/// What an error body says.
#[derive(Debug, Default)]
struct Said {
    message: String,
    code: String,
    kind: String,
    param: Option<String>,
}

pub(super) fn decode(head: &response::Parts, body: &Bytes) -> Fault {
    fault(head.status, &head.headers, body)
}

/// An error report that came with status 200, if the body is one.
pub(super) fn in_body(body: &[u8]) -> Option<Fault> {
    // Most answers hold neither word, which one cheap search tells.
    if memmem::find(body, b"\"error\"").is_none() && memmem::find(body, b"\"base_resp\"").is_none() {
        return None;
    }
    let fields = Json::parse(body).ok()?.fields().ok()?;
    let minimax = fields.peek("base_resp").and_then(|value| value.fields().ok()).and_then(|inner| inner.peek("status_code"));
    let failed = fields.has("error") || minimax.is_some_and(|code| code.text() != "0");
    failed.then(|| reported(Json::parse(body).ok(), body))
}

/// An error object inside a 200, whole or in a stream: its code is its status, where it has one.
pub(super) fn reported(json: Option<Json<'_>>, body: &[u8]) -> Fault {
    let said = json.map(read).unwrap_or_default();
    let stated = said.code.parse::<u16>().ok().and_then(|code| StatusCode::from_u16(code).ok());
    let status = stated.filter(|status| status.is_client_error() || status.is_server_error());
    fault(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &HeaderMap::new(), &Bytes::copy_from_slice(body)).after_work_began()
}

fn fault(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Fault {
    let said = Json::parse(body).map(read).unwrap_or_default();
    let Verdict { kind, retry, blame } = classify(status, headers, &said);
    // Whoever calls cannot mend the gateway's credential, and its tail may stand in the provider's words.
    let hidden = blame != Blame::Nobody && kind != FaultKind::RateLimited;
    let upstream = UpstreamError { protocol: OPENAI_CHAT, status, headers: headers.clone(), body: body.clone() };
    let mut fault = Fault::new(kind, Origin::Provider, shown(&said, status, hidden))
        .with_retry(retry)
        .with_retry_after(retry_after(headers))
        .with_upstream(upstream);
    match blame {
        Blame::Nobody => {}
        Blame::Credential => fault = fault.blaming_credential(),
        Blame::Access => fault = fault.blaming_access(),
    }
    if hidden {
        return fault.with_status(StatusCode::BAD_GATEWAY).with_code(CREDENTIAL_CODE);
    }
    if !said.code.is_empty() && said.code.parse::<u16>().is_err() {
        fault = fault.with_code(said.code);
    }
    if let Some(param) = said.param {
        fault = fault.with_param(param);
    }
    // 408 is a request that came too slowly, 522 a connection that never stood: nothing was begun.
    let timed_out = kind == FaultKind::Timeout && matches!(status.as_u16(), 504 | 524);
    if kind == FaultKind::UpstreamError || timed_out { fault.after_work_began() } else { fault }
}

fn shown(said: &Said, status: StatusCode, hidden: bool) -> Cow<'static, str> {
    if hidden && (status == StatusCode::PAYMENT_REQUIRED || says_out_of_money(said)) {
        return "the gateway's account at the provider is out of money; the operator must look at it".into();
    }
    if hidden {
        return "the provider refused the gateway's own credential; the operator must look at it".into();
    }
    if said.message.is_empty() {
        return format!("the provider answered {} without a message", status.as_u16()).into();
    }
    let mut end = said.message.len().min(MESSAGE_BYTES_MAX);
    while !said.message.is_char_boundary(end) {
        end -= 1;
    }
    said.message[..end].to_owned().into()
}

/// Reads the shapes: `error` as object or text, `detail` as text, list or object, `errors`, `message`, `title`, and any of
/// them inside a one-element array.
fn read(json: Json<'_>) -> Said {
    if json.kind() == Kind::Array {
        return json.array().ok().and_then(|items| items.into_iter().next()).map(read).unwrap_or_default();
    }
    let Ok(fields) = json.fields() else {
        return Said { message: loose(json), ..Said::default() };
    };
    let inner = ["error", "detail", "base_resp"].into_iter().find_map(|key| fields.peek(key)).or_else(|| {
        let errors = fields.peek("errors")?.array().ok()?;
        errors.into_iter().next()
    });
    let mut said = object(&fields);
    match inner.map(|inner| (inner, inner.fields())) {
        Some((_, Ok(inner))) => {
            let within = object(&inner);
            said.message = if within.message.is_empty() { said.message } else { within.message };
            said.code = if within.code.is_empty() { said.code } else { within.code };
            said.kind = if within.kind.is_empty() { said.kind } else { within.kind };
            said.param = within.param.or(said.param);
            if let Some(raw) = inner.peek("metadata").and_then(|metadata| metadata.fields().ok()).and_then(|m| m.peek("raw")) {
                said.message = format!("{}: {}", said.message, loose(raw));
            }
        }
        Some((inner, Err(_))) => said.message = validation(inner),
        None => {}
    }
    said
}

fn object(fields: &Fields<'_>) -> Said {
    let first = |keys: &[&str]| keys.iter().find_map(|key| fields.peek(key)).map(loose).unwrap_or_default();
    let kind = first(&["type", "status", "error_type"]);
    Said {
        message: first(&["message", "Message", "msg", "err_msg", "status_msg"]),
        code: first(&["code", "error_code", "status_code", "err_code"]),
        kind,
        param: fields.peek("param").and_then(|param| param.str().ok()).map(Cow::into_owned),
    }
}

/// A list of `{loc, msg, type}`, or any other value as text.
fn validation(value: Json<'_>) -> String {
    let Ok(items) = value.array() else { return loose(value) };
    let shown = items.into_iter().map(|item| match item.fields() {
        Ok(fields) => {
            let place = fields.peek("loc").and_then(|loc| loc.array().ok()).unwrap_or_default();
            let place: Vec<String> = place.into_iter().map(loose).collect();
            let message = fields.peek("msg").map(loose).unwrap_or_default();
            if place.is_empty() { message } else { format!("{}: {message}", place.join(".")) }
        }
        Err(_) => loose(item),
    });
    shown.collect::<Vec<_>>().join("; ")
}

fn loose(value: Json<'_>) -> String {
    value.str().map_or_else(|_| value.text().to_owned(), Cow::into_owned)
}

pub(super) fn encode(fault: &Fault, _request_id: RequestId) -> (StatusCode, Bytes) {
    if let Some(upstream) = fault.upstream()
        && upstream.protocol == OPENAI_CHAT
        && fault.code() != Some(CREDENTIAL_CODE)
        && Json::parse(&upstream.body).is_ok_and(|json| json.kind() == Kind::Object)
        && (upstream.status.is_client_error() || upstream.status.is_server_error())
    {
        return (upstream.status, upstream.body.clone());
    }
    let mut out = BytesMut::with_capacity(256);
    write(&mut out, fault);
    (fault.status(), out.freeze())
}

/// Writes `{"error": {…}}`.
pub(super) fn write(out: &mut BytesMut, fault: &Fault) {
    let (kind, code) = words(fault.kind());
    let mut w = Writer::new(out);
    w.begin_object();
    w.key("error").begin_object();
    w.key("message").str(fault.message());
    w.key("type").str(kind);
    w.key("param");
    match fault.param() {
        Some(param) => w.str(param),
        None => w.null(),
    }
    w.key("code");
    match fault.code().or(code) {
        Some(code) => w.str(code),
        None => w.null(),
    }
    for (name, value) in fault.details() {
        w.key(name).raw(&value.to_string());
    }
    if !fault.losses().is_empty() {
        w.key("losses").begin_array();
        for loss in fault.losses() {
            w.begin_object();
            w.key("path").str(&loss.path);
            w.key("reason").str(loss.reason.as_str());
            w.end_object();
        }
        w.end_array();
    }
    w.end_object();
    w.end_object();
}

/// `type`, and the `code` that stands unless the fault has its own.
fn words(kind: FaultKind) -> (&'static str, Option<&'static str>) {
    match kind {
        FaultKind::InvalidRequest => ("invalid_request_error", None),
        FaultKind::Authentication => ("authentication_error", Some("invalid_api_key")),
        FaultKind::PermissionDenied => ("permission_error", None),
        FaultKind::NotFound => ("invalid_request_error", Some("model_not_found")),
        FaultKind::MethodNotAllowed => ("invalid_request_error", Some("method_not_allowed")),
        FaultKind::PayloadTooLarge => ("invalid_request_error", Some("request_too_large")),
        FaultKind::ContextLength => ("invalid_request_error", Some("context_length_exceeded")),
        FaultKind::ContentFiltered => ("invalid_request_error", Some("content_filter")),
        FaultKind::InsufficientFunds => ("insufficient_quota", Some("insufficient_credits")),
        FaultKind::ModelNotPriced => ("invalid_request_error", Some("model_not_priced")),
        FaultKind::RateLimited => ("rate_limit_exceeded", Some("rate_limit_exceeded")),
        FaultKind::Overloaded => ("server_error", Some("overloaded")),
        FaultKind::Timeout => ("server_error", Some("timeout")),
        FaultKind::Unavailable => ("server_error", Some("unavailable")),
        FaultKind::BadUpstream => ("server_error", Some("bad_upstream")),
        FaultKind::UpstreamError => ("server_error", Some("upstream_error")),
        FaultKind::NoDeployment => ("server_error", Some("no_deployment")),
        FaultKind::LedgerDown => ("server_error", Some("ledger_down")),
        FaultKind::CallerGone => ("server_error", Some("caller_gone")),
        FaultKind::Internal => ("server_error", Some("internal")),
    }
}
