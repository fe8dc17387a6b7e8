//! What an error answer means for routing.

use gateway_core::{FaultKind, Retry};
use http::{HeaderMap, StatusCode};

use super::Said;

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) kind: FaultKind,
    pub(super) retry: Retry,
    pub(super) blame: Blame,
}

/// What of the gateway's own is blamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    Nobody,
    Credential,
    /// The credential, but for this request only.
    Access,
}

pub(super) fn classify(status: StatusCode, headers: &HeaderMap, said: &Said) -> Verdict {
    let mut verdict = by_words(status, said).unwrap_or_else(|| by_status(status));
    // The provider's own advice wins, but it speaks of this deployment: it never forbids another.
    match headers.get("x-should-retry").map(http::HeaderValue::as_bytes) {
        Some(b"false") if verdict.retry == Retry::SameDeployment => verdict.retry = Retry::NextDeployment,
        Some(b"true") if verdict.kind == FaultKind::RateLimited || verdict.blame == Blame::Nobody => verdict.retry = Retry::SameDeployment,
        Some(_) | None => {}
    }
    verdict
}

const fn verdict(kind: FaultKind, retry: Retry) -> Verdict {
    Verdict { kind, retry, blame: Blame::Nobody }
}

const fn credential(kind: FaultKind) -> Verdict {
    Verdict { kind, retry: Retry::NextDeployment, blame: Blame::Credential }
}

const fn access() -> Verdict {
    Verdict { kind: FaultKind::Unavailable, retry: Retry::NextDeployment, blame: Blame::Access }
}

/// Whether the account has no money left, which OpenAI tells as a rate limit.
pub(super) fn says_out_of_money(said: &Said) -> bool {
    let named = |word: &str| said.code.eq_ignore_ascii_case(word) || said.kind.eq_ignore_ascii_case(word);
    let message = said.message.to_ascii_lowercase();
    let told = ["credit balance is too low", "insufficient balance"].iter().any(|words| message.contains(words));
    named("insufficient_quota") || named("billing_error") || told
}

/// What the body says is more exact than the status, which differs between vendors for one thing.
fn by_words(status: StatusCode, said: &Said) -> Option<Verdict> {
    let message = said.message.to_ascii_lowercase();
    let (code, kind) = (said.code.to_ascii_lowercase(), said.kind.to_ascii_lowercase());
    let named = |word: &str| code == word || kind == word;
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if !status.is_client_error() {
        return None;
    }
    if named("context_length_exceeded")
        || named("too_many_prompt_tokens")
        || named("too_many_tokens")
        || has(&["maximum context length is", "prompt is too long", "exceeds the maximum number of tokens", "input is too long"])
    {
        // Another deployment of the route may have a larger window; this one never will.
        return Some(verdict(FaultKind::ContextLength, Retry::NextDeployment));
    }
    // OpenRouter (docs/errors): 403 is an input that its moderation flagged, 402 also an answer too large for what is left.
    if status == StatusCode::FORBIDDEN && has(&["flagged", "moderation"]) {
        return Some(verdict(FaultKind::ContentFiltered, Retry::Never));
    }
    if status == StatusCode::PAYMENT_REQUIRED && has(&["max_tokens", "can only afford"]) {
        return Some(access());
    }
    if says_out_of_money(said) {
        return Some(credential(FaultKind::Unavailable));
    }
    if named("api_key_invalid") || named("invalid_api_key") || has(&["incorrect api key", "api key not valid", "invalid api key"]) {
        return Some(credential(FaultKind::Unavailable));
    }
    if named("content_filter") || named("content_policy_violation") || has(&["responsibleaipolicyviolation"]) {
        return Some(verdict(FaultKind::ContentFiltered, Retry::Never));
    }
    if named("tool_use_failed") {
        return Some(verdict(FaultKind::UpstreamError, Retry::SameDeployment));
    }
    if named("model_not_found") || named("deploymentnotfound") {
        return Some(verdict(FaultKind::NotFound, Retry::NextDeployment));
    }
    // Groq answers 413 for a request over the token-per-minute limit of the account.
    if status == StatusCode::PAYLOAD_TOO_LARGE && (named("rate_limit_exceeded") || has(&["tokens per minute"])) {
        return Some(verdict(FaultKind::RateLimited, Retry::NextDeployment));
    }
    None
}

fn by_status(status: StatusCode) -> Verdict {
    match status.as_u16() {
        401 | 402 => credential(FaultKind::Unavailable),
        // A model, a region, a feature: what the key may not do says nothing about what it may.
        403 => access(),
        404 => verdict(FaultKind::NotFound, Retry::NextDeployment),
        405 => verdict(FaultKind::Unavailable, Retry::NextDeployment),
        408 => verdict(FaultKind::Timeout, Retry::SameDeployment),
        409 | 425 => verdict(FaultKind::Unavailable, Retry::SameDeployment),
        413 => verdict(FaultKind::PayloadTooLarge, Retry::Never),
        424 => verdict(FaultKind::UpstreamError, Retry::SameDeployment),
        // Limits are the account's: another credential may have room.
        429 => Verdict { blame: Blame::Credential, ..verdict(FaultKind::RateLimited, Retry::SameDeployment) },
        498 => verdict(FaultKind::Overloaded, Retry::NextDeployment),
        400..=499 => verdict(FaultKind::InvalidRequest, Retry::Never),
        503 => verdict(FaultKind::Unavailable, Retry::SameDeployment),
        504 | 522 | 524 => verdict(FaultKind::Timeout, Retry::SameDeployment),
        520 | 521 | 523 | 525 | 526 => verdict(FaultKind::Unavailable, Retry::SameDeployment),
        529 => verdict(FaultKind::Overloaded, Retry::NextDeployment),
        500..=599 => verdict(FaultKind::UpstreamError, Retry::SameDeployment),
        _ => verdict(FaultKind::BadUpstream, Retry::NextDeployment),
    }
}
