use gateway_core::{
    Fault, FaultKind, Origin, Tried,
    testing::{Act, TestIngress, deployment},
};
use gateway_server::{Access, EdgeError, Mount, MountRequest, Site};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tower::service_fn;

use crate::{
    server::{Edge, KEY},
    wire::{Answer, CHAT, CHAT_PATH, Caller, STREAM, get, once, post, post_as},
};

async fn read(edge: &Edge, path: &str, headers: &str) -> Answer {
    once(edge.address, get(path, &format!("x-api-key: {KEY}\r\n{headers}"))).await
}

#[tokio::test]
async fn an_answer_tells_how_it_came_about() {
    let edge = Edge::start(Act::text("hello there"));
    let answer = once(edge.address, post(CHAT_PATH, CHAT)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["text"], "hello there");
    let told = ["content-type", "requested-model", "model", "provider", "upstream-model", "attempts"]
        .map(|name| if name == "content-type" { answer.header(name) } else { answer.header(&format!("x-bellwether-{name}")) });
    assert_eq!(told, ["application/json", "known-model", "known-model", "acme", "known-model-upstream", "1"]);
    assert_eq!(answer.header("x-bellwether-request-id"), answer.json()["request_id"].as_str().unwrap_or_default());
    assert!(answer.header("x-bellwether-overhead-us").parse::<u64>().is_ok_and(|us| us < 1_000_000));
}

#[tokio::test]
async fn a_stream_is_marked_as_one() {
    let edge = Edge::start(Act::text("hello there"));
    let answer = once(edge.address, post(CHAT_PATH, STREAM)).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!((answer.header("cache-control"), answer.header("x-accel-buffering")), ("no-cache", "no"));
    assert!(answer.body.ends_with("{\"event\":\"done\"}\n"), "{}", answer.body);
}

#[tokio::test]
async fn a_fault_is_rendered_with_its_waits() {
    let fault = Fault::new(FaultKind::RateLimited, Origin::Provider, "slow down").with_retry_after(Some(Duration::from_millis(1_500)));
    let edge = Edge::start(Act::fault(fault));
    let answer = once(edge.address, post(CHAT_PATH, CHAT)).await;
    assert_eq!((answer.status, &*answer.message()), (429, "slow down"));
    assert_eq!(["retry-after", "retry-after-ms", "x-should-retry"].map(|name| answer.header(name)), ["2", "1500", "false"]);
}

#[tokio::test]
async fn a_fault_says_how_far_its_call_came() {
    let headers = http::HeaderMap::from_iter([
        (http::HeaderName::from_static("x-bellwether-upstream-request-id"), http::HeaderValue::from_static("up-1")),
        (http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream")),
    ]);
    let last = Arc::new(deployment("known-model", "acme"));
    let tried = Tried { attempts: 3, last: Some(last), upstream_wait: Duration::ZERO };
    let fault = Fault::new(FaultKind::BadUpstream, Origin::Provider, "nonsense").with_headers(headers).with_tried(tried);
    let edge = Edge::start(Act::fault(fault));
    let answer = once(edge.address, post(CHAT_PATH, CHAT)).await;
    assert_eq!(answer.status, 502);
    for (name, value) in [
        ("requested-model", "known-model"),
        ("model", "known-model"),
        ("provider", "acme"),
        ("upstream-model", "known-model-upstream"),
        ("attempts", "3"),
        ("upstream-request-id", "up-1"),
    ] {
        assert_eq!(answer.header(&format!("x-bellwether-{name}")), value, "{name}");
    }
    assert!(answer.header("x-bellwether-request-id").starts_with("req_"), "{:?}", answer.headers);
    assert!(answer.header("x-bellwether-overhead-us").parse::<u64>().is_ok());
    assert_eq!(answer.header("content-type"), "application/json");

    let refused = Fault::new(FaultKind::InsufficientFunds, Origin::Caller, "no money").with_tried(Tried::default());
    let edge = Edge::start(Act::fault(refused));
    let answer = once(edge.address, post(CHAT_PATH, CHAT)).await;
    assert_eq!((answer.status, answer.header("x-bellwether-attempts"), answer.header("x-bellwether-provider")), (402, "0", ""));
}

#[tokio::test]
async fn a_deadline_of_the_callers_own_is_kept() {
    let edge = Edge::start(Act::hang());
    let headers = format!("x-api-key: {KEY}\r\nx-bellwether-timeout-ms: 50\r\n");
    let answer = once(edge.address, post_as(CHAT_PATH, &headers, CHAT)).await;
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert_eq!(edge.provider.cancelled(), 1);
}

#[tokio::test]
async fn tokens_that_nobody_counts_are_estimated() {
    let edge = Edge::start(Act::text("hi"));
    for model in ["known-model", "uncounted-model"] {
        let body = format!(r#"{{"model":"{model}","operation":"count_tokens","input":"0123456789abcdef"}}"#);
        let answer = once(edge.address, post("/v1/messages", &body)).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.body);
        assert!(answer.json()["input_tokens"].as_u64() > Some(0), "{}", answer.body);
        assert_eq!(answer.header("x-bellwether-estimated"), "true");
    }
    let body = r#"{"model":"missing-model","operation":"count_tokens","input":"0123456789abcdef"}"#;
    assert_eq!(once(edge.address, post("/v1/messages", body)).await.status, 404);
}

#[tokio::test]
async fn wrong_paths_and_methods_are_explained() {
    let edge = Edge::start(Act::text("hi"));
    for (path, says) in [
        ("/chat/completions", "did you mean `/v1/chat/completions`"),
        ("/v1/v1/messages", "did you mean `/v1/messages`"),
        ("/v1/messages/", "did you mean `/v1/messages`"),
        ("/v1/completions", "POST /v1/chat/completions, /v1/messages"),
    ] {
        let answer = once(edge.address, post(path, CHAT)).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.message().contains(says), "{path}: {}", answer.message());
    }
    for (request, allow) in [(get(CHAT_PATH, ""), "POST"), (post("/healthz", ""), "GET, HEAD"), (post("/v1/models", ""), "GET, HEAD")] {
        let answer = once(edge.address, request).await;
        assert_eq!((answer.status, answer.header("allow")), (405, allow));
    }
}

#[tokio::test]
async fn a_head_request_gets_the_head_only() {
    let edge = Edge::start(Act::text("hi"));
    for path in ["/", "/healthz", "/nowhere"] {
        let mut caller = Caller::to(edge.address).await;
        caller.send(format!("HEAD {path} HTTP/1.1\r\nhost: g\r\n\r\n")).await;
        let head = caller.answer_to(true).await;
        let whole = once(edge.address, get(path, "")).await;
        assert_eq!(head.status, whole.status, "{path}");
        let lengths = (head.header("content-length").parse::<usize>(), whole.body.len());
        assert!(lengths.0.is_ok_and(|length| length.abs_diff(lengths.1) <= 1), "{path}: the method is part of one message");
        caller.send(get("/healthz", "")).await;
        assert_eq!(caller.answer().await.status, 200, "no body was left in the way");
    }
}

#[tokio::test]
async fn health_is_open_to_everybody() {
    let edge = Edge::start(Act::text("hi"));
    for path in ["/", "/healthz", "/readyz", "/health/liveliness", "/health/readiness"] {
        assert_eq!(once(edge.address, get(path, "")).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn models_take_the_shape_of_the_callers_sdk() {
    let edge = Edge::start(Act::text("hi"));
    let list = read(&edge, "/v1/models", "").await.json();
    assert_eq!(list["object"], "list");
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["known-model", "acme/large"], "what the key may not use is not shown");
    assert_eq!((&list["data"][0]["pricing"]["prompt"], &list["data"][0]["context_length"]), (&json!("0.000002"), &json!(128_000)));

    let list = read(&edge, "/v1/models?limit=1", "anthropic-version: 2023-06-01\r\n").await.json();
    assert_eq!((&list["has_more"], &list["first_id"], &list["last_id"]), (&json!(true), &json!("known-model"), &json!("known-model")));
    assert_eq!(list["data"][0]["created_at"], "2023-11-14T22:13:20Z");
    let next = read(&edge, "/v1/models?limit=1&after_id=known-model", "anthropic-version: 2023-06-01\r\n").await.json();
    assert_eq!((&next["has_more"], &next["data"][0]["id"]), (&json!(false), &json!("acme/large")));
    let before = read(&edge, "/v1/models?before_id=acme%2Flarge", "anthropic-version: 2023-06-01\r\n").await.json();
    assert_eq!(before["data"][0]["id"], "known-model");
    for query in ["limit=0", "%6Cimit=0", "after_id=none"] {
        assert_eq!(read(&edge, &format!("/v1/models?{query}"), "anthropic-version: 2023-06-01\r\n").await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn one_model_is_found_by_its_name_however_it_is_escaped() {
    let edge = Edge::start(Act::text("hi"));
    for path in ["/v1/models/acme/large", "/v1/models/acme%2Flarge", "/v1/models/%61cme%2flarge"] {
        assert_eq!(read(&edge, path, "").await.json()["id"], "acme/large", "{path}");
    }
    let anthropic = read(&edge, "/v1/models/known-model", "anthropic-version: 2023-06-01\r\n").await.json();
    assert_eq!((&anthropic["type"], &anthropic["display_name"]), (&json!("model"), &json!("known-model")));
    for path in ["/v1/models/secret-model", "/v1/models/none", "/v1/models/%ff", "/v1/models/acme%0d%0alarge"] {
        let answer = read(&edge, path, "").await;
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (404, Some("model_not_found")), "{path}");
    }
}

#[tokio::test]
async fn mounts_see_the_whole_path_and_their_faults_are_rendered() {
    let edge = Edge::start(Act::text("hi"));
    assert_eq!(read(&edge, "/v1/billing/balance?x=1", "").await.body, "GET /v1/billing/balance live 0");
    assert_eq!(once(edge.address, post("/v1/billing/x", "abc")).await.body, "POST /v1/billing/x live 3");
    let missing = read(&edge, "/v1/billing/missing", "").await;
    assert_eq!((missing.status, &*missing.message()), (404, "there is no such record"));
}

#[tokio::test]
async fn metrics_have_the_names_they_are_known_by() {
    let edge = Edge::start(Act::text("hello there"));
    once(edge.address, post(CHAT_PATH, CHAT)).await;
    once(edge.address, post(CHAT_PATH, STREAM)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let text = once(edge.address, get("/metrics", "")).await.body;
    for line in [
        r#"bellwether_requests_total{model="known-model",provider="acme",status="200"} 2"#,
        r#"bellwether_tokens_total{leaf="input_uncached",model="known-model"} 20"#,
        r#"bellwether_tokens_total{leaf="output_text",model="known-model"} 4"#,
        "bellwether_first_token_seconds_count 1",
        "bellwether_overhead_seconds_count 2",
        "bellwether_request_duration_seconds_count 2",
        "bellwether_in_flight 0",
        "bellwether_holds_open 3",
    ] {
        assert!(text.lines().any(|have| have == line), "no `{line}` in\n{text}");
    }
}

#[test]
fn a_path_leads_to_one_thing() {
    let nothing = service_fn(|_: MountRequest| async { Err(Fault::internal("never called")) });
    let site = || Site::builder(Arc::new(TestIngress::new())).call(CHAT_PATH, Arc::new(TestIngress::new()));
    let mount = |prefix: &str| Mount::new(prefix, Access::Caller, nothing);
    for wrong in [
        site().call(CHAT_PATH, Arc::new(TestIngress::new())),
        site().call("/healthz", Arc::new(TestIngress::new())),
        site().mount(mount("/a")).mount(mount("/a")),
        site().mount(mount("/v1")),
        site().mount(mount("/v1/models")),
    ] {
        assert!(matches!(wrong.build(), Err(EdgeError::PathTaken { .. })));
    }
    for wrong in [site().call("x", Arc::new(TestIngress::new())), site().mount(mount("a")), site().mount(mount("/a/"))] {
        assert!(matches!(wrong.build(), Err(EdgeError::BadPath { .. })));
    }
    assert!(site().mount(mount("/a")).mount(mount("/a/b")).build().is_ok());
}
