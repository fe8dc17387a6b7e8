//! Every fault, before and after the commit point, whole and streamed, in process, over plain TCP and over HTTP/2 with
//! TLS: what the caller sees, how often was tried, what it cost whom.
//!
//! Here before an OpenAI chat upstream; before the other protocols in `protocols`; callers who leave in `departures`.

#[path = "faults/caller.rs"]
mod caller;
#[path = "faults/departures.rs"]
mod departures;
#[path = "faults/protocols.rs"]
mod protocols;
#[path = "support/rig.rs"]
mod rig;
#[path = "faults/upstream.rs"]
mod upstream;
#[path = "faults/wire.rs"]
mod wire;

use std::time::Instant;

use rig::{Company, Rig, Way};
use serde_json::{Value, json};

/// What the caller sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// A whole, sound answer of this model.
    Answer(&'static str),
    /// A status and nothing else.
    Status(u16),
    /// A stream that began and ended with the protocol's error event.
    ErrorEvent,
}

/// What is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charged {
    /// Nothing.
    Nothing,
    /// What the answer says it used, at the price of the model that served.
    Exactly,
    /// The input and what was delivered: something, and less than the hold.
    Partly,
}

/// What the books say of attempts that failed and were not charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// None had been accepted by the provider, so none cost anything.
    NoCost,
    /// The provider had accepted the work, so its cost is booked to 5110, on us.
    Booked,
}

struct Row {
    fault: Value,
    stream: bool,
    sees: Sees,
    attempts: u32,
    charged: Charged,
    failed: Failed,
}

async fn check(way: Way, row: Row) {
    let rig = Rig::start(way, Company::Shared, &row.fault).await;
    let response = rig.ask(row.stream).await;
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (id, attempts) = (header("x-bellwether-request-id"), header("x-bellwether-attempts"));
    let (provider, upstream_model) = (header("x-bellwether-provider"), header("x-bellwether-upstream-model"));
    let text = response.text().await.expect("the gateway ends its answers cleanly");
    match row.sees {
        Sees::Answer(model) => {
            assert_eq!(status, 200, "{text}");
            if row.stream {
                assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
            }
            let answer = first_json(&text, row.stream);
            assert_eq!(answer["model"], model, "{text}");
        }
        Sees::Status(expected) => assert_eq!(status, expected, "{text}"),
        Sees::ErrorEvent => {
            assert_eq!(status, 200, "{text}");
            assert!(!text.contains("[DONE]"), "{text}");
            let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap_or_default();
            let event: Value = serde_json::from_str(last).expect("the last event is JSON");
            assert!(event["error"]["message"].is_string(), "{text}");
        }
    }
    let receipt = rig.receipt(&id).await;
    assert_eq!(receipt["attempts"].as_array().map_or(0, Vec::len), row.attempts as usize, "{receipt}");
    assert_eq!((attempts, id.is_empty()), (row.attempts.to_string(), false), "{receipt}");
    let last = receipt["attempts"].as_array().and_then(|attempts| attempts.last()).expect("one at least");
    assert_eq!((&*provider, &*upstream_model), (text_of(&last["provider"]), text_of(&last["upstream_model"])), "{receipt}");
    charge(&receipt, &text, &row);
    // Whatever happened, revenue is what was charged, and no more than one attempt was served.
    let charged = nano(&receipt["charge"]);
    assert_eq!(-(rig.posted(4100) + rig.posted(4110)), charged, "{receipt}");
    assert_eq!(rig.posted(5110) > 0, row.failed == Failed::Booked, "failed attempts cost {}: {receipt}", rig.posted(5110));
    let served = receipt["attempts"].as_array().into_iter().flatten().filter(|attempt| attempt["charged"] == true).count();
    assert!(served <= 1, "{receipt}");
    rig.close().await;
}

fn charge(receipt: &Value, text: &str, row: &Row) {
    let (charged, hold) = (nano(&receipt["charge"]), nano(&receipt["hold"]));
    assert!(charged <= hold, "{receipt}");
    match row.charged {
        Charged::Nothing => assert_eq!(charged, 0, "{receipt}"),
        Charged::Partly => assert!(charged > 0 && charged < hold, "{receipt}"),
        Charged::Exactly => {
            assert!(charged > 0, "{receipt}");
            if !row.stream {
                let answer = first_json(text, false);
                let tokens = |name: &str| answer["usage"][name].as_i64().unwrap_or(0);
                let rates = if answer["model"] == "primary" { (2_000, 8_000) } else { (1_000, 4_000) };
                assert_eq!(charged, tokens("prompt_tokens") * rates.0 + tokens("completion_tokens") * rates.1, "{receipt}");
            }
        }
    }
}

fn first_json(text: &str, stream: bool) -> Value {
    let json = if stream { text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or_default() } else { text };
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or("no text")
}

fn nano(money: &Value) -> i64 {
    money["nano"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// One test a row and way.
macro_rules! rows {
    ($($name:ident: $fault:tt, $shape:ident => $sees:expr, $attempts:literal, $charged:ident, $failed:ident;)*) => {
        $(mod $name {
            use super::*;

            fn row() -> Row {
                Row {
                    fault: json!($fault),
                    stream: rows!(@$shape),
                    sees: $sees,
                    attempts: $attempts,
                    charged: Charged::$charged,
                    failed: Failed::$failed,
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_process() {
                check(Way::InProcess, row()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_tcp() {
                check(Way::Tcp, row()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_tls_http2() {
                check(Way::TlsHttp2, row()).await;
            }
        })*
    };
    (@stream) => { true };
    (@whole) => { false };
}

const BACKUP: Sees = Sees::Answer("backup");
const PRIMARY: Sees = Sees::Answer("primary");

rows! {
    // Before the commit: the next deployment answers, and only its answer is charged.
    rate_limited_stream: { "kind": "status", "status": 429 }, stream => BACKUP, 3, Exactly, NoCost;
    rate_limited_whole: { "kind": "status", "status": 429 }, whole => BACKUP, 3, Exactly, NoCost;
    rate_limited_for_long_stream: { "kind": "status", "status": 429, "retry_after_s": 30 }, stream => BACKUP, 2, Exactly, NoCost;
    rate_limited_for_long_whole: { "kind": "status", "status": 429, "retry_after_s": 30 }, whole => BACKUP, 2, Exactly, NoCost;
    server_error_stream: { "kind": "status", "status": 500 }, stream => BACKUP, 3, Exactly, Booked;
    server_error_whole: { "kind": "status", "status": 500 }, whole => BACKUP, 3, Exactly, Booked;
    bad_gateway_stream: { "kind": "status", "status": 502 }, stream => BACKUP, 3, Exactly, Booked;
    bad_gateway_whole: { "kind": "status", "status": 502 }, whole => BACKUP, 3, Exactly, Booked;
    gateway_timeout_stream: { "kind": "status", "status": 504 }, stream => BACKUP, 3, Exactly, Booked;
    gateway_timeout_whole: { "kind": "status", "status": 504 }, whole => BACKUP, 3, Exactly, Booked;
    unavailable_stream: { "kind": "status", "status": 503 }, stream => BACKUP, 3, Exactly, NoCost;
    unavailable_whole: { "kind": "status", "status": 503 }, whole => BACKUP, 3, Exactly, NoCost;
    overloaded_stream: { "kind": "status", "status": 529 }, stream => BACKUP, 2, Exactly, NoCost;
    overloaded_whole: { "kind": "status", "status": 529 }, whole => BACKUP, 2, Exactly, NoCost;
    hang_stream: { "kind": "hang" }, stream => BACKUP, 2, Exactly, Booked;
    hang_whole: { "kind": "hang" }, whole => BACKUP, 2, Exactly, Booked;
    stall_before_stream: { "kind": "stall", "after_events": 0 }, stream => BACKUP, 2, Exactly, Booked;
    stall_midway_whole: { "kind": "stall" }, whole => BACKUP, 2, Exactly, Booked;
    cut_before_stream: { "kind": "cut", "after_events": 0 }, stream => BACKUP, 2, Exactly, Booked;
    cut_midway_whole: { "kind": "cut" }, whole => BACKUP, 2, Exactly, Booked;
    error_event_before_stream: { "kind": "error_event" }, stream => BACKUP, 3, Exactly, Booked;
    error_event_whole: { "kind": "error_event" }, whole => BACKUP, 3, Exactly, Booked;
    malformed_before_stream: { "kind": "malformed" }, stream => BACKUP, 2, Exactly, Booked;
    malformed_whole: { "kind": "malformed" }, whole => BACKUP, 2, Exactly, Booked;
    // Refusals that would be the same everywhere.
    bad_request_stream: { "kind": "status", "status": 400 }, stream => Sees::Status(400), 1, Nothing, NoCost;
    bad_request_whole: { "kind": "status", "status": 400 }, whole => Sees::Status(400), 1, Nothing, NoCost;
    // A bad key of ours is not the caller's fault.
    bad_key_stream: { "kind": "status", "status": 401 }, stream => BACKUP, 2, Exactly, NoCost;
    bad_key_whole: { "kind": "status", "status": 401 }, whole => BACKUP, 2, Exactly, NoCost;
    // After the commit: the protocol's own error event, no second attempt, and what was delivered is charged.
    stall_after_stream: { "kind": "stall", "after_events": 4 }, stream => Sees::ErrorEvent, 1, Partly, NoCost;
    cut_after_stream: { "kind": "cut", "after_events": 4 }, stream => Sees::ErrorEvent, 1, Partly, NoCost;
    error_event_after_stream: { "kind": "error_event", "after_events": 4 }, stream => Sees::ErrorEvent, 1, Partly, NoCost;
    malformed_after_stream: { "kind": "malformed", "after_events": 4 }, stream => Sees::ErrorEvent, 1, Partly, NoCost;
    // Served in spite of it.
    usage_missing_stream: { "kind": "usage", "mode": "missing" }, stream => PRIMARY, 1, Partly, NoCost;
    usage_missing_whole: { "kind": "usage", "mode": "missing" }, whole => PRIMARY, 1, Partly, NoCost;
    drip_stream: { "kind": "drip", "bytes": 200, "every_ms": 5 }, stream => PRIMARY, 1, Exactly, NoCost;
    drip_whole: { "kind": "drip", "bytes": 200, "every_ms": 5 }, whole => PRIMARY, 1, Exactly, NoCost;
}

#[expect(clippy::disallowed_methods, reason = "the caller's own clock")]
fn now() -> Instant {
    Instant::now()
}
