use http::Response;
use serde_json::{Value, json};

use super::*;

/// Classifies one error body; yields kind, retry, whether it rests the credential, code and wait in seconds.
fn classified(status: u16, body: &Value, headers: &[(&str, &str)]) -> (FaultKind, Retry, bool, Option<String>, Option<f64>) {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let (head, ()) = response.body(()).unwrap().into_parts();
    let fault = decode(&head, &Bytes::from(body.to_string()));
    assert_eq!(fault.origin(), Origin::Provider);
    assert_eq!(fault.upstream().unwrap().status.as_u16(), status);
    assert_ne!(fault.status().as_u16(), 401, "the caller's own key is good");
    let wait = fault.retry_after().map(|wait| wait.as_secs_f64());
    (fault.kind(), fault.retry(), fault.blames_credential(), fault.code().map(str::to_owned), wait)
}

#[expect(clippy::needless_pass_by_value, reason = "a literal at every call")]
fn error(status: &str, message: &str, details: Value) -> Value {
    json!({"error": {"code": 0, "message": message, "status": status, "details": details}})
}

#[test]
fn each_word_of_google_has_its_class() {
    let plain = |status: &str| error(status, "m", json!([]));
    let reason = |reason: &str| error("INVALID_ARGUMENT", "API key AIza not valid", json!([{"@type": "x/ErrorInfo", "reason": reason}]));
    let long = "The input token count (1250074) exceeds the maximum number of tokens allowed (1048576).";
    let table = [
        (400, reason("API_KEY_INVALID"), FaultKind::Unavailable, Retry::NextDeployment, true),
        (400, reason("API_KEY_EXPIRED"), FaultKind::Unavailable, Retry::NextDeployment, true),
        (403, reason("SERVICE_DISABLED"), FaultKind::Unavailable, Retry::NextDeployment, true),
        (401, plain("UNAUTHENTICATED"), FaultKind::Unavailable, Retry::NextDeployment, true),
        (403, plain("PERMISSION_DENIED"), FaultKind::Unavailable, Retry::NextDeployment, true),
        (400, plain("FAILED_PRECONDITION"), FaultKind::Unavailable, Retry::NextDeployment, true),
        (400, plain("INVALID_ARGUMENT"), FaultKind::InvalidRequest, Retry::Never, false),
        (400, error("INVALID_ARGUMENT", long, json!([])), FaultKind::ContextLength, Retry::NextDeployment, false),
        (404, plain("NOT_FOUND"), FaultKind::NotFound, Retry::NextDeployment, false),
        (429, plain("RESOURCE_EXHAUSTED"), FaultKind::RateLimited, Retry::SameDeployment, true),
        (499, plain("CANCELLED"), FaultKind::Unavailable, Retry::SameDeployment, false),
        (500, plain("INTERNAL"), FaultKind::UpstreamError, Retry::SameDeployment, false),
        (501, plain("UNIMPLEMENTED"), FaultKind::InvalidRequest, Retry::NextDeployment, false),
        (503, plain("UNAVAILABLE"), FaultKind::Overloaded, Retry::NextDeployment, false),
        (504, plain("DEADLINE_EXCEEDED"), FaultKind::Timeout, Retry::NextDeployment, false),
        (413, json!("<html>"), FaultKind::PayloadTooLarge, Retry::Never, false),
        (401, json!({}), FaultKind::Unavailable, Retry::NextDeployment, true),
        (402, json!({}), FaultKind::Unavailable, Retry::NextDeployment, true),
        (404, json!(null), FaultKind::NotFound, Retry::NextDeployment, false),
        (429, json!(null), FaultKind::RateLimited, Retry::SameDeployment, true),
        (502, json!(null), FaultKind::UpstreamError, Retry::SameDeployment, false),
        (418, json!(null), FaultKind::InvalidRequest, Retry::Never, false),
        (302, json!(null), FaultKind::BadUpstream, Retry::NextDeployment, false),
    ];
    for (status, body, kind, retry, blames) in table {
        let (k, r, b, code, _) = classified(status, &body, &[]);
        assert_eq!((k, r, b), (kind, retry, blames), "{status} {body}");
        let own = kind == FaultKind::Unavailable && blames;
        assert_eq!(code.as_deref() == Some("provider_credential"), own, "{status} {body}");
    }
}

#[test]
fn the_wait_comes_from_the_body_then_from_the_header() {
    let details = json!([
        {"@type": "x/QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},
        {"@type": "x/RetryInfo", "retryDelay": "17.5s"},
    ]);
    let body = error("RESOURCE_EXHAUSTED", "quota", details);
    let (_, retry, _, _, wait) = classified(429, &json!([body]), &[("retry-after", "3")]);
    assert_eq!((retry, wait), (Retry::SameDeployment, Some(17.5)), "wrapped in an array");
    let (_, _, _, _, wait) = classified(503, &error("UNAVAILABLE", "", json!([])), &[("retry-after", "3")]);
    assert_eq!(wait, Some(3.0));
    let daily = json!([{"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}, {"retryDelay": "5s"}]);
    let (_, retry, ..) = classified(429, &error("RESOURCE_EXHAUSTED", "", daily), &[]);
    assert_eq!(retry, Retry::NextDeployment, "a pause does not refill a daily quota");
}

#[test]
fn what_is_wrong_is_named_and_keys_are_not() {
    let (head, ()) = Response::builder().status(400).body(()).unwrap().into_parts();
    let shown = |body: Value| decode(&head, &Bytes::from(body.to_string()));
    let field = json!([{"@type": "x/BadRequest", "fieldViolations": [{"field": "contents[0].parts", "description": "d"}]}]);
    let fault = shown(error("INVALID_ARGUMENT", "bad parts", field));
    assert_eq!(fault.param(), Some("contents[0].parts"));
    assert_eq!(fault.message(), "the provider refused the request: bad parts");
    let fault = shown(error("PERMISSION_DENIED", "Consumer 'api_key:AIzaSECRET' has been suspended.", json!([])));
    assert!(!fault.message().contains("AIza"), "{}", fault.message());
    let fault = shown(error("INVALID_ARGUMENT", &"é".repeat(5_000), json!([])));
    assert!(fault.message().chars().count() < 1_100);
}

#[test]
fn errors_inside_an_answer_are_found() {
    let refused = json!({"promptFeedback": {"blockReason": "MODEL_ARMOR", "blockReasonMessage": "It violated filters."}}).to_string();
    let fault = in_body(refused.as_bytes()).unwrap();
    assert_eq!((fault.kind(), fault.retry(), fault.code()), (FaultKind::ContentFiltered, Retry::Never, Some("content_filter")));
    assert_eq!(fault.message(), "the provider's safety filter refused the prompt (MODEL_ARMOR). It violated filters.");
    let error = json!([{"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}]).to_string();
    assert_eq!(in_body(error.as_bytes()).unwrap().kind(), FaultKind::Overloaded);
    let strange = json!({"error": "text"}).to_string();
    assert_eq!(in_body(strange.as_bytes()).unwrap().kind(), FaultKind::UpstreamError);
    for fine in [r#"{"candidates": [{}], "promptFeedback": {"blockReason": "SAFETY"}}"#, r#"{"promptFeedback": {}}"#, "{}", "no"] {
        assert!(in_body(fine.as_bytes()).is_none(), "{fine}");
    }
}
