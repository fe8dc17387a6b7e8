use std::{
    io,
    sync::{Arc, Mutex},
};

use gateway_core::testing::Act;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    hangup::hanging_stream,
    server::{Edge, KEY, ms},
    wire::{CHAT_PATH, Caller, STREAM, get, once, post, post_as},
};

/// Keeps what is logged on this thread.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Kept {
    fn watching(&self) -> tracing::subscriber::DefaultGuard {
        let subscriber = tracing_subscriber::fmt().json().with_writer(self.clone()).with_max_level(tracing::Level::INFO).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no test panics with it").clone()).expect("text")
    }

    fn requests(&self) -> Vec<Value> {
        let lines = self.text();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["target"] == "bellwether::request").map(|line| line["fields"].clone()).collect()
    }
}

#[tokio::test]
async fn a_request_is_one_line_without_content_and_without_secrets() {
    let kept = Kept::default();
    let _watching = kept.watching();
    let edge = Edge::start(Act::text("the answer"));
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let body = r#"{"model":"known-model","input":"the question"}"#;
    let answer = once(edge.address, post_as(&format!("{CHAT_PATH}?key=in-the-query"), &format!("{trace}x-api-key: {KEY}\r\n"), body)).await;
    assert_eq!(answer.status, 200);
    once(edge.address, get("/healthz", "")).await;
    tokio::time::sleep(ms(20)).await;
    let lines = kept.requests();
    assert_eq!(lines.len(), 1, "probes are not logged: {lines:?}");
    let line = &lines[0];
    assert_eq!(line["request_id"], answer.header("x-bellwether-request-id"));
    assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    for (field, value) in [("path", CHAT_PATH), ("outcome", "ok"), ("provider", "acme"), ("model", "known-model"), ("mode", "live")] {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert_eq!((&line["status"], &line["output_tokens"]), (&Value::from(200), &Value::from(2)), "{line}");
    for secret in ["the question", "the answer", "in-the-query", KEY] {
        assert!(!kept.text().contains(secret), "`{secret}` is in the log: {}", kept.text());
    }
}

#[tokio::test]
async fn a_line_says_how_a_request_ended() {
    let kept = Kept::default();
    let _watching = kept.watching();
    let edge = Edge::start(hanging_stream());
    let mut caller = Caller::to(edge.address).await;
    caller.send(post(CHAT_PATH, STREAM)).await;
    caller.until("hello").await;
    drop(caller);
    edge.cancelled_after(1).await;
    edge.provider.then(Act::panic());
    once(edge.address, post(CHAT_PATH, STREAM)).await;
    once(edge.address, post(CHAT_PATH, "{")).await;
    once(edge.address, post("/nowhere", "{}")).await;
    let mut caller = Caller::to(edge.address).await;
    caller.send(format!("HEAD /v1/models HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\n\r\n")).await;
    caller.answer_to(true).await;
    edge.provider.then(Act::hang());
    let mut cut = Caller::to(edge.address).await;
    cut.send(post(CHAT_PATH, STREAM)).await;
    edge.reached(3).await;
    edge.running.shutdown(ms(20)).await;
    let told: Vec<_> = kept.requests().iter().map(|line| (line["status"].clone(), line["outcome"].clone())).collect();
    let expected = [(200, "caller_gone"), (500, "panic"), (400, "invalid_request"), (404, "not_found"), (200, "ok"), (503, "shutdown")];
    assert_eq!(told, expected.map(|(status, outcome)| (Value::from(status), Value::from(outcome))));
}
