//! The shipped protocols, as their SDKs see them.

use std::sync::Arc;

use gateway_core::{Fault, FaultKind, Origin, testing::Act};
use gateway_server::Site;
use serde_json::{Value, json};

use crate::{
    server::{Catalog, Edge, KEY, Setup},
    wire::{Answer, get, once, post, post_as},
};

fn edge(act: Act) -> Edge {
    let site = Site::shipped().models(Arc::new(Catalog)).build().expect("the shipped paths are distinct");
    Edge::with(act, Setup { site: Some(site), ..Setup::default() })
}

const OPENAI: &str = r#"{"model":"known-model","messages":[{"role":"user","content":"hi"}]}"#;
const ANTHROPIC: &str = r#"{"model":"known-model","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}"#;
const ANTHROPIC_HEADERS: &str = "anthropic-version: 2023-06-01\r\n";

fn with_key(headers: &str) -> String {
    format!("{headers}x-api-key: {KEY}\r\n")
}

#[tokio::test]
async fn both_protocols_answer_in_their_own_shape() {
    let edge = edge(Act::text("hello there"));
    let openai = once(edge.address, post("/v1/chat/completions", OPENAI)).await.json();
    assert_eq!((&openai["object"], &openai["model"]), (&json!("chat.completion"), &json!("known-model")));
    assert_eq!(openai["choices"][0]["message"]["content"], "hello there");
    let anthropic = once(edge.address, post_as("/v1/messages?beta=true", &with_key(ANTHROPIC_HEADERS), ANTHROPIC)).await.json();
    assert_eq!((&anthropic["type"], &anthropic["content"][0]["text"]), (&json!("message"), &json!("hello there")));
}

#[tokio::test]
async fn both_protocols_stream_to_their_own_end() {
    let edge = edge(Act::text("hello there"));
    let ask = |body: &str| body.replacen('{', r#"{"stream":true,"#, 1);
    let openai = once(edge.address, post("/v1/chat/completions", &ask(OPENAI))).await.body;
    assert!(openai.ends_with("data: [DONE]\n\n"), "{openai}");
    let anthropic = once(edge.address, post_as("/v1/messages", &with_key(ANTHROPIC_HEADERS), &ask(ANTHROPIC))).await.body;
    assert!(anthropic.contains("event: message_stop\n"), "{anthropic}");
}

fn error_of(answer: &Answer) -> (u16, bool, Value) {
    let body = answer.json();
    (answer.status, body["type"] == "error", body["error"]["type"].clone())
}

#[tokio::test]
async fn errors_take_the_shape_of_the_path_or_else_of_the_header() {
    let edge = edge(Act::text("hi"));
    let cases = [
        (post_as("/v1/chat/completions", "", OPENAI), (401, false)),
        (post_as("/v1/messages", "", ANTHROPIC), (401, true)),
        (post("/v1/nowhere", "{}"), (404, false)),
        (post_as("/v1/nowhere", ANTHROPIC_HEADERS, "{}"), (404, true)),
        (get("/v1/models/none", &with_key("")), (404, false)),
        (get("/v1/models/none", &with_key(ANTHROPIC_HEADERS)), (404, true)),
        (get("/v1/messages", ""), (405, true)),
        (post("/v1/messages", "{"), (400, true)),
        (post("/v1/chat/completions", "{"), (400, false)),
    ];
    for (request, (status, is_anthropic)) in cases {
        let error = error_of(&once(edge.address, &request).await);
        assert_eq!((error.0, error.1), (status, is_anthropic), "{request}");
        assert!(error.2.is_string(), "{request}");
    }
}

#[tokio::test]
async fn what_an_overload_is_called_depends_on_who_asks() {
    let edge = edge(Act::fault(Fault::new(FaultKind::Overloaded, Origin::Provider, "busy")));
    let anthropic = once(edge.address, post("/v1/messages", ANTHROPIC)).await;
    assert_eq!(error_of(&anthropic), (529, true, json!("overloaded_error")));
    assert_eq!(once(edge.address, post("/v1/chat/completions", OPENAI)).await.status, 503);
}

#[tokio::test]
async fn tokens_are_counted_or_estimated_without_a_limit_on_the_answer() {
    let edge = edge(Act::text("hi"));
    let body = r#"{"model":"known-model","messages":[{"role":"user","content":"how long is this?"}]}"#;
    let answer = once(edge.address, post("/v1/messages/count_tokens", body)).await;
    assert_eq!((answer.status, answer.header("x-bellwether-estimated")), (200, "true"), "{}", answer.body);
    assert!(answer.json()["input_tokens"].as_u64().is_some_and(|tokens| (5..60).contains(&tokens)), "{}", answer.body);
}
