//! Errors, both ways.

use std::time::Duration;

use gateway_core::{FaultKind, Origin, Retry};
use http::StatusCode;
use serde_json::json;

use super::*;

fn read(status: u16, headers: &[(&str, &str)], body: &str) -> Fault {
    let mut head = http::Response::builder().status(status);
    for (name, value) in headers {
        head = head.header(*name, *value);
    }
    AnthropicEgress::new().decode_fault(&head.body(()).unwrap().into_parts().0, &Bytes::copy_from_slice(body.as_bytes()))
}

fn error(kind: &str, message: &str) -> String {
    json!({"type": "error", "error": {"type": kind, "message": message}}).to_string()
}

#[test]
fn reports_are_classified() {
    use {FaultKind as K, Retry as R};
    let cases: &[(u16, &str, &str, FaultKind, Retry, bool)] = &[
        (400, "invalid_request_error", "max_tokens: required", K::InvalidRequest, R::Never, false),
        (400, "invalid_request_error", "prompt is too long: 5 tokens > 4 maximum", K::ContextLength, R::NextDeployment, false),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 5", K::ContextLength, R::NextDeployment, false),
        (400, "invalid_request_error", "Your credit balance is too low to access", K::Unavailable, R::NextDeployment, true),
        (400, "invalid_request_error", "Output blocked by content filtering policy", K::ContentFiltered, R::Never, false),
        (401, "authentication_error", "invalid x-api-key", K::Unavailable, R::NextDeployment, true),
        (402, "billing_error", "pay", K::Unavailable, R::NextDeployment, true),
        (403, "permission_error", "no", K::Unavailable, R::NextDeployment, true),
        (404, "not_found_error", "model: x", K::NotFound, R::NextDeployment, false),
        (413, "request_too_large", "big", K::PayloadTooLarge, R::Never, false),
        (429, "rate_limit_error", "slow", K::RateLimited, R::SameDeployment, true),
        (500, "api_error", "oops", K::UpstreamError, R::SameDeployment, false),
        // A proxy's own words; what stands behind it may have worked and may bill.
        (502, "", "", K::UpstreamError, R::SameDeployment, false),
        (524, "", "", K::Timeout, R::NextDeployment, false),
        (503, "api_error", "down", K::Unavailable, R::SameDeployment, false),
        (504, "timeout_error", "late", K::Timeout, R::NextDeployment, false),
        (529, "overloaded_error", "busy", K::Overloaded, R::NextDeployment, false),
        // An imitator's own words: the status decides.
        (429, "too_many", "x", K::RateLimited, R::SameDeployment, true),
        (422, "weird", "x", K::InvalidRequest, R::Never, false),
        (408, "weird", "x", K::Unavailable, R::SameDeployment, false),
        (599, "", "", K::UpstreamError, R::SameDeployment, false),
    ];
    for (status, kind, message, expected, retry, blames) in cases {
        let fault = read(*status, &[], &error(kind, message));
        assert_eq!((fault.kind(), fault.retry(), fault.blames_credential()), (*expected, *retry, *blames), "{status} {kind} {message}");
        assert_eq!(fault.upstream().map(|upstream| upstream.status.as_u16()), Some(*status));
        assert_eq!(fault.work_began(), matches!(expected, K::UpstreamError | K::Timeout), "{status} {kind} {message}");
    }
}

#[test]
fn headers_advise() {
    let busy = error("overloaded_error", "busy");
    assert_eq!(read(529, &[("x-should-retry", "true")], &busy).retry(), Retry::SameDeployment);
    assert_eq!(read(500, &[("x-should-retry", "false")], &error("api_error", "x")).retry(), Retry::NextDeployment);
    assert_eq!(read(401, &[("x-should-retry", "true")], &error("authentication_error", "x")).retry(), Retry::NextDeployment);
    let limited = read(429, &[("retry-after", "58")], &error("rate_limit_error", "x"));
    assert_eq!(limited.retry_after(), Some(Duration::from_secs(58)));
}

#[test]
fn hostile_bodies_do_no_harm() {
    let long = "ü".repeat(5_000);
    for body in [
        "",
        "null",
        "[]",
        "{\"error\":7}",
        "{\"error\":\"text\"}",
        "{\"error\":{\"type\":1}}",
        "<html>",
        &error("invalid_request_error", &long),
    ] {
        let fault = read(400, &[], body);
        assert_eq!(fault.kind(), FaultKind::InvalidRequest, "{body}");
        assert!(fault.message().chars().count() <= 1_000);
        let (_, shown) = AnthropicIngress::new().encode_fault(&fault, RequestId::from_bytes([1; 16]));
        assert_eq!(json(&shown)["type"], "error", "{body}");
    }
}

#[test]
fn errors_inside_a_200_are_found() {
    let egress = AnthropicEgress::new();
    assert_eq!(egress.fault_in_body(error("overloaded_error", "x").as_bytes()).map(|fault| fault.kind()), Some(FaultKind::Overloaded));
    assert_eq!(egress.fault_in_body(br#"{"error":"out of order"}"#).map(|fault| fault.kind()), Some(FaultKind::UpstreamError));
    assert!(egress.fault_in_body(br#"{"type":"message","content":[]}"#).is_none());
    assert!(egress.fault_in_body(b"not json").is_none());
}

#[test]
fn callers_are_told_in_their_own_words() {
    use FaultKind as K;
    for (kind, status, word) in [
        (K::InvalidRequest, 400, "invalid_request_error"),
        (K::Authentication, 401, "authentication_error"),
        (K::PermissionDenied, 403, "permission_error"),
        (K::NotFound, 404, "not_found_error"),
        (K::MethodNotAllowed, 405, "invalid_request_error"),
        (K::PayloadTooLarge, 413, "request_too_large"),
        (K::ContextLength, 400, "invalid_request_error"),
        (K::ContentFiltered, 400, "invalid_request_error"),
        (K::InsufficientFunds, 402, "billing_error"),
        (K::ModelNotPriced, 400, "invalid_request_error"),
        (K::RateLimited, 429, "rate_limit_error"),
        (K::Overloaded, 529, "overloaded_error"),
        (K::Timeout, 504, "timeout_error"),
        (K::Unavailable, 503, "api_error"),
        (K::BadUpstream, 502, "api_error"),
        (K::UpstreamError, 502, "api_error"),
        (K::NoDeployment, 503, "api_error"),
        (K::LedgerDown, 503, "api_error"),
        (K::Internal, 500, "api_error"),
    ] {
        let fault = Fault::new(kind, Origin::Gateway, "why");
        let (shown, body) = AnthropicIngress::new().encode_fault(&fault, RequestId::from_bytes([7; 16]));
        let expected =
            json!({"type": "error", "error": {"type": word, "message": "why"}, "request_id": "req_07070707070707070707070707070707"});
        assert_eq!((shown.as_u16(), json(&body)), (status, expected));
    }
}

#[test]
fn a_bill_that_cannot_be_paid_says_how_much() {
    let fault = Fault::new(FaultKind::InsufficientFunds, Origin::Gateway, "not enough")
        .with_code("insufficient_credits")
        .with_detail("available_usd", "0.10")
        .with_detail("affordable_max_tokens", 77);
    let (status, body) = AnthropicIngress::new().encode_fault(&fault, RequestId::from_bytes([7; 16]));
    assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
    let expected = json!({"type": "billing_error", "message": "not enough", "code": "insufficient_credits",
        "available_usd": "0.10", "affordable_max_tokens": 77});
    assert_eq!(json(&body)["error"], expected);
}

#[test]
fn the_gateways_own_credential_is_nobodys_business() {
    let fault = read(401, &[], &error("authentication_error", "invalid x-api-key sk-secret"));
    let (status, body) = AnthropicIngress::new().encode_fault(&fault, RequestId::from_bytes([7; 16]));
    assert_eq!((status.as_u16(), &json(&body)["error"]["type"]), (502, &json!("api_error")));
    assert!(!String::from_utf8_lossy(&body).contains("sk-secret"));
    // Another codec may keep the kind; the caller must still not be told to replace a good key.
    let fault = Fault::new(FaultKind::Authentication, Origin::Provider, "x").blaming_credential();
    let (status, body) = AnthropicIngress::new().encode_fault(&fault, RequestId::from_bytes([7; 16]));
    assert_eq!((status.as_u16(), &json(&body)["error"]["type"]), (502, &json!("api_error")));
}
