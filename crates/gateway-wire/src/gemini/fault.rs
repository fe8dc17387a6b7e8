//! Google's errors: what happened, and whether to try again here or elsewhere.
//!
//! The body is `{"error": {code, message, status, details}}`, sometimes inside an array. A bad key is a 400 whose details
//! name the reason, so the status code alone is not to be trusted. Messages about keys and projects can name them; those
//! are never shown.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use gateway_core::{Fault, FaultKind, Origin, Retry, UpstreamError};
use http::{StatusCode, response};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    schema::{PromptFeedback, Text},
    stream,
};
use crate::{
    GEMINI,
    retry_after::{WAIT_MAX, retry_after, seconds},
};

/// Most of a provider's message that is shown.
const MESSAGE_CHARACTERS_MAX: usize = 1_000;

/// Reads an error answer.
pub(super) fn decode(head: &response::Parts, body: &Bytes) -> Fault {
    let error = from_body(body).unwrap_or_default();
    let mut fault = classify(head.status, &error);
    if matches!(fault.kind(), FaultKind::RateLimited | FaultKind::Overloaded | FaultKind::Unavailable) {
        fault = fault.with_retry_after(error.retry_delay().or_else(|| retry_after(&head.headers)));
    }
    fault.with_upstream(UpstreamError { protocol: GEMINI, status: head.status, headers: head.headers.clone(), body: body.clone() })
}

/// Reads an error that came inside an answer with status 200, or a prompt that was refused.
pub(super) fn in_body(body: &[u8]) -> Option<Fault> {
    let answer = stream::parse(body).ok()?;
    if let Some(error) = answer.error {
        return Some(in_answer(error));
    }
    let answered = answer.candidates.as_ref().is_some_and(|candidates| !candidates.is_empty());
    let feedback = answer.prompt_feedback.as_ref().filter(|feedback| !answered && feedback.block_reason.is_some())?;
    Some(blocked(feedback))
}

/// Reads an error object that stands in an answer or a frame.
pub(super) fn in_answer(error: &RawValue) -> Fault {
    let error: Error<'_> = serde_json::from_str(error.get()).unwrap_or_default();
    let status = error.code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::BAD_GATEWAY);
    let delay = error.retry_delay();
    classify(status, &error).with_retry_after(delay).after_work_began()
}

/// A prompt that a safety filter refused before any answer.
pub(super) fn blocked(feedback: &PromptFeedback<'_>) -> Fault {
    let reason = feedback.block_reason.as_ref().map_or("OTHER", |text| &text.0);
    let detail = feedback.block_reason_message.as_ref().map_or_else(String::new, |text| format!(" {}", shown(&text.0)));
    let message = format!("the provider's safety filter refused the prompt ({reason}).{detail}");
    Fault::new(FaultKind::ContentFiltered, Origin::Provider, message).with_code("content_filter").after_work_began()
}

/// The error object.
#[derive(Deserialize, Default)]
struct Error<'a> {
    code: Option<u16>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    status: Option<Text<'a>>,
    #[serde(borrow)]
    details: Option<Vec<Detail<'a>>>,
}

/// One of the details, whatever its type; their fields do not collide.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    #[serde(borrow)]
    retry_delay: Option<Text<'a>>,
    #[serde(borrow)]
    field_violations: Option<Vec<FieldViolation<'a>>>,
    #[serde(borrow)]
    violations: Option<Vec<QuotaViolation<'a>>>,
}

#[derive(Deserialize)]
struct FieldViolation<'a> {
    #[serde(borrow)]
    field: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QuotaViolation<'a> {
    #[serde(borrow)]
    quota_id: Option<Text<'a>>,
}

impl Error<'_> {
    fn details(&self) -> &[Detail<'_>] {
        self.details.as_deref().unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.message.as_ref().map_or("", |text| &text.0)
    }

    fn has_reason(&self, wanted: impl Fn(&str) -> bool) -> bool {
        self.details().iter().any(|detail| detail.reason.as_ref().is_some_and(|reason| wanted(&reason.0)))
    }

    fn retry_delay(&self) -> Option<Duration> {
        self.details().iter().find_map(|detail| seconds(&detail.retry_delay.as_ref()?.0)).map(|wait| wait.min(WAIT_MAX))
    }

    fn field(&self) -> Option<String> {
        let mut violations = self.details().iter().flat_map(|detail| detail.field_violations.iter().flatten());
        violations.find_map(|violation| Some(violation.field.as_ref()?.0.clone().into_owned()))
    }

    /// Waiting for a moment does not help against a daily quota.
    fn daily(&self) -> bool {
        let mut violations = self.details().iter().flat_map(|detail| detail.violations.iter().flatten());
        violations.any(|violation| violation.quota_id.as_ref().is_some_and(|id| id.0.contains("PerDay")))
    }
}

fn from_body(body: &[u8]) -> Option<Error<'_>> {
    let answer = stream::parse(body).ok()?;
    serde_json::from_str(answer.error?.get()).ok()
}

/// The class of an error: by its reason, then by Google's own word, then by the status code.
fn classify(http: StatusCode, error: &Error<'_>) -> Fault {
    if error.has_reason(|reason| reason.starts_with("API_KEY_") || matches!(reason, "ACCESS_TOKEN_EXPIRED" | "CREDENTIALS_MISSING")) {
        return credential("the provider refused the gateway's API key; the operator must replace it");
    }
    if error.has_reason(|reason| matches!(reason, "BILLING_DISABLED" | "SERVICE_DISABLED" | "CONSUMER_INVALID" | "CONSUMER_SUSPENDED")) {
        return credential("the provider does not serve the gateway's account; the operator must enable it");
    }
    let message = error.message();
    if message.contains("token count") && message.contains("exceeds the maximum") {
        return provider(FaultKind::ContextLength, Retry::NextDeployment, told("the prompt does not fit the model's window", message))
            .with_code("context_length_exceeded");
    }
    match (error.status.as_ref().map(|text| &*text.0), http.as_u16()) {
        (Some("UNAUTHENTICATED"), _) | (None, 401) => {
            credential("the provider refused the gateway's credential; the operator must replace it")
        }
        (Some("PERMISSION_DENIED"), _) | (None, 403) => {
            credential("the provider does not let the gateway's credential use this model").blaming_access()
        }
        // "Free tier is not available in your country", "billing is not enabled": the account's state, not the request's.
        (Some("FAILED_PRECONDITION"), _) | (None, 402) => {
            credential("the provider does not serve the gateway's account in its present state")
        }
        (Some("NOT_FOUND"), _) | (None, 404) => {
            provider(FaultKind::NotFound, Retry::NextDeployment, told("the provider has no such model or resource", message))
                .with_code("model_not_found")
        }
        (Some("RESOURCE_EXHAUSTED"), _) | (None, 429) => {
            let retry = if error.daily() { Retry::NextDeployment } else { Retry::SameDeployment };
            provider(FaultKind::RateLimited, retry, "the provider's rate limit is reached; try again later").blaming_credential()
        }
        (Some("UNAVAILABLE"), _) | (None, 503 | 529) => {
            provider(FaultKind::Overloaded, Retry::NextDeployment, "the provider is overloaded; try again later")
        }
        (Some("DEADLINE_EXCEEDED"), _) | (None, 504) => {
            provider(FaultKind::Timeout, Retry::NextDeployment, "the provider did not answer in time").after_work_began()
        }
        (Some("CANCELLED" | "ABORTED"), _) | (None, 408 | 409 | 425 | 499) => {
            provider(FaultKind::Unavailable, Retry::SameDeployment, "the provider gave the request up; try again")
        }
        (Some("INVALID_ARGUMENT" | "OUT_OF_RANGE"), _) => invalid(error),
        (None, 413) => provider(FaultKind::PayloadTooLarge, Retry::Never, "the request is larger than the provider takes"),
        (Some("INTERNAL" | "UNKNOWN" | "DATA_LOSS"), _) => internal(),
        (Some("UNIMPLEMENTED"), _) => {
            provider(FaultKind::InvalidRequest, Retry::NextDeployment, told("the provider cannot do this", message))
        }
        (_, 500..=599) => internal(),
        (_, 400..=499) => invalid(error),
        (_, _) => provider(FaultKind::BadUpstream, Retry::NextDeployment, "the provider answered with an error it did not explain"),
    }
}

fn invalid(error: &Error<'_>) -> Fault {
    let fault = provider(FaultKind::InvalidRequest, Retry::Never, told("the provider refused the request", error.message()));
    match error.field() {
        Some(field) => fault.with_param(field),
        None => fault,
    }
}

fn internal() -> Fault {
    provider(FaultKind::UpstreamError, Retry::SameDeployment, "the provider failed internally; try again").after_work_began()
}

fn provider(kind: FaultKind, retry: Retry, message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(kind, Origin::Provider, message).with_retry(retry)
}

/// The gateway's own credential is at fault, so the caller must not be told 401: another one, or another provider, may
/// serve.
fn credential(message: &'static str) -> Fault {
    provider(FaultKind::Unavailable, Retry::NextDeployment, message)
        .with_status(StatusCode::BAD_GATEWAY)
        .with_code("provider_credential")
        .blaming_credential()
}

fn told(what: &'static str, message: &str) -> Cow<'static, str> {
    if message.is_empty() { Cow::Borrowed(what) } else { Cow::Owned(format!("{what}: {}", shown(message))) }
}

fn shown(message: &str) -> &str {
    message.char_indices().nth(MESSAGE_CHARACTERS_MAX).map_or(message, |(end, _)| &message[..end])
}

#[cfg(test)]
mod tests;
