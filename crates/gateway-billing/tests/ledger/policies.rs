//! Who pays for what, row by row: the policies of holding and settling, each tried through the hold layer.
//!
//! Two rows have no subject here: attempts are not hedged, and answers are not cached.

use std::time::Duration;

use gateway_core::{
    Fault, FaultKind, Origin, ReplyBody, Retry, Usage,
    ir::{ChatResponse, Delta, Event, Finish, FinishReason, PartKind},
    testing::{Act, Beat, ScriptedProvider, answer, read_body},
};
use std::sync::Arc;

use crate::{
    hold::{one, read, send},
    stage::{Stage, routed},
};

const OPENING: i64 = 1_000_000_000;
/// Ten tokens in at $2 and so many out at $8 a million.
const fn worth(output: i64) -> i64 {
    20_000 + 8_000 * output
}

/// What became of one call.
#[derive(Debug, PartialEq, Eq)]
struct Books {
    /// What the caller paid.
    charge: i64,
    /// What the attempt that served cost us.
    served: i64,
    /// What attempts cost us that nobody pays for.
    failed: i64,
    /// What was above the hold or the bound.
    written_off: i64,
}

async fn books(stage: &Stage) -> Books {
    stage.check().await;
    Books {
        charge: OPENING - stage.available().await,
        served: one(stage, "SELECT COALESCE(SUM(posted), 0) FROM account WHERE code = 5100").await,
        failed: one(stage, "SELECT COALESCE(SUM(posted), 0) FROM account WHERE code = 5110").await,
        written_off: one(stage, "SELECT COALESCE(SUM(posted), 0) FROM account WHERE code = 5400").await,
    }
}

fn script(acts: impl IntoIterator<Item = Act>) -> Arc<ScriptedProvider> {
    Arc::new(ScriptedProvider::new("house").first(acts))
}

/// A stream's beats: ten tokens of input reported early, then this text.
fn beats(text: &str) -> Vec<Beat> {
    let early = Usage { input_uncached: Some(10), ..Usage::default() };
    let events = [
        Event::Usage { usage: early, is_final: false },
        Event::PartStart { choice: 0, part: 0, kind: PartKind::Text },
        Event::Delta { choice: 0, part: 0, delta: Delta::Text(text.to_owned().into()) },
    ];
    events.into_iter().map(Beat::Event).collect()
}

fn ended(mut beats: Vec<Beat>) -> Vec<Beat> {
    let finish = Event::Finish { choice: 0, finish: Finish::new(FinishReason::Stop) };
    beats.extend([Event::PartEnd { choice: 0, part: 0 }, finish].map(Beat::Event));
    beats
}

#[tokio::test]
async fn refused_before_work_costs_nobody_anything() {
    for kind in [FaultKind::InvalidRequest, FaultKind::RateLimited, FaultKind::Unavailable] {
        let stage = Stage::new(OPENING).await;
        let provider = script([Act::fails(kind, Retry::Never)]);
        let call = stage.call("model").output_limit(100);
        assert!(send(&stage, &provider, routed(call, &[("model", "house")])).await.is_err());
        assert_eq!(books(&stage).await, Books { charge: 0, served: 0, failed: 0, written_off: 0 }, "{kind:?}");
    }
}

#[tokio::test]
async fn of_a_chain_only_the_attempt_that_served_is_charged() {
    let stage = Stage::new(OPENING).await;
    let worked =
        Fault::new(FaultKind::UpstreamError, Origin::Provider, "it broke at work").with_retry(Retry::NextDeployment).after_work_began();
    let provider = script([Act::fault(worked), Act::text("one two three")]);
    let call = stage.call("model").output_limit(100);
    send(&stage, &provider, routed(call, &[("dear", "house"), ("model", "house")])).await.unwrap();
    let books = books(&stage).await;
    assert_eq!((books.charge, books.served), (worth(3), worth(3)));
    assert!(books.failed > 0, "the first one's cost is booked: {books:?}");
}

#[tokio::test]
async fn no_byte_delivered_is_nothing_charged_and_the_cost_is_booked() {
    let stage = Stage::new(OPENING).await;
    let broken = Fault::new(FaultKind::Timeout, Origin::Provider, "nothing came").after_work_began();
    let provider = script([Act::fault(broken)]);
    let call = stage.call("model").input(&"y".repeat(4_000)).output_limit(100);
    assert!(send(&stage, &provider, routed(call, &[("model", "house")])).await.is_err());
    let books = books(&stage).await;
    assert_eq!((books.charge, books.served, books.failed), (0, 0, 1_000 * 2_000));
}

#[tokio::test]
async fn leaving_before_the_first_byte_is_free_within_the_allowance() {
    let stage = Stage::new(OPENING).await;
    let provider = script([Act::stream(beats("x").into_iter().chain([Beat::Hang]).collect())]);
    let call = stage.call("model").streamed().output_limit(100);
    drop(send(&stage, &provider, routed(call, &[("model", "house")])).await.unwrap());
    let books = books(&stage).await;
    assert_eq!((books.charge, books.served, books.failed), (0, 0, worth(0)));
}

#[tokio::test]
async fn leaving_at_chunk_k_is_charged_for_what_was_delivered() {
    for chunks in 1..=3i64 {
        let stage = Stage::new(OPENING).await;
        let mut all = beats(&"x".repeat(400));
        let more = Event::Delta { choice: 0, part: 0, delta: Delta::Text("x".repeat(400).into()) };
        all.extend((1..chunks).map(|_| Beat::Event(more.clone())));
        // What never reaches the caller, because the provider stops before it.
        all.extend([Beat::Hang, Beat::Event(more)]);
        let provider = script([Act::stream(all)]);
        let call = stage.call("model").streamed().output_limit(1_000);
        let reply = send(&stage, &provider, routed(call, &[("model", "house")])).await.unwrap();
        let ReplyBody::Stream(mut body) = reply.body else { panic!("a stream was asked for") };
        tokio::time::timeout(Duration::from_millis(100), read(&mut body, 100)).await.unwrap_err();
        drop(body);
        let books = books(&stage).await;
        assert_eq!((books.charge, books.served, books.failed), (worth(100 * chunks), worth(100 * chunks), 0), "{chunks} chunks");
    }
}

#[tokio::test]
async fn a_stream_without_final_usage_is_charged_by_its_early_input_and_what_was_counted() {
    let stage = Stage::new(OPENING).await;
    let provider = script([Act::stream(ended(beats(&"x".repeat(400))))]);
    let call = stage.call("model").streamed().output_limit(1_000);
    read_body(send(&stage, &provider, routed(call, &[("model", "house")])).await.unwrap()).await;
    let books = books(&stage).await;
    assert_eq!((books.charge, books.served, books.failed), (worth(100), worth(100), 0));
    assert_eq!(one(&stage, "SELECT flags & 16 FROM settlement").await, 16, "flagged as counted");
    assert_eq!(one(&stage, "SELECT usage_source FROM settlement").await, 1);
}

#[tokio::test]
async fn an_error_inside_a_stream_is_not_output() {
    let stage = Stage::new(OPENING).await;
    let fault = Fault::new(FaultKind::Overloaded, Origin::Provider, "e".repeat(4_000));
    let broken = beats(&"x".repeat(400)).into_iter().chain([Beat::Event(Event::Fault(fault))]).collect();
    let provider = script([Act::stream(broken)]);
    let call = stage.call("model").streamed().output_limit(1_000);
    read_body(send(&stage, &provider, routed(call, &[("model", "house")])).await.unwrap()).await;
    assert_eq!(books(&stage).await.charge, worth(100), "the text before it, and nothing of the error's four thousand bytes");
}

#[tokio::test]
async fn input_above_the_bound_is_the_operators() {
    let stage = Stage::new(OPENING).await;
    let absurd = Usage { input_uncached: Some(1_000_000), output_text: Some(3), ..Usage::default() };
    let provider = script([Act::answer(ChatResponse { usage: Some(absurd), ..answer("one two three") })]);
    let call = stage.call("model").input("hello").output_limit(100);
    send(&stage, &provider, routed(call, &[("model", "house")])).await.unwrap();
    let books = books(&stage).await;
    let bound = one(&stage, "SELECT tokens_in FROM settlement").await;
    assert!((1..10_000).contains(&bound), "{bound}");
    assert_eq!(books.charge, bound * 2_000 + 3 * 8_000);
    assert_eq!(books.served, 1_000_000 * 2_000 + 3 * 8_000, "what the provider bills is booked as it says");
    assert_eq!(one(&stage, "SELECT flags & 8 FROM settlement").await, 8);
}
