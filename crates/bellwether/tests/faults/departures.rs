//! The caller leaves: before the head, before the commit point, in mid-stream, in half of a whole answer. Within 100 ms
//! the provider's socket, or its stream on it, is closed and nothing is in flight; what was delivered is paid, to the
//! nano, and the rest is the operator's cost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    caller::{Caller, Shape},
    nano, now,
    rig::{Company, PROMPT, Provider, Rig, Way},
    upstream::{Fault, Scripted, Sight},
    wire::{At, INPUT, PIECES, Speaks},
};

/// How soon everything must have ended.
const SOON: Duration = Duration::from_millis(100);
/// As in `protocols`: four bytes a token of "user" and the prompt.
const GUESSED_INPUT: i64 = (4 + PROMPT.len() as i64) / 4;
/// Nano-dollars a token of `primary`.
const INPUT_RATE: i64 = 2_000;
const OUTPUT_RATE: i64 = 8_000;

/// When the caller leaves.
struct Moment {
    fault: Fault,
    shape: Shape,
}

/// Nothing has come back yet.
const BEFORE_THE_HEAD: Moment = Moment { fault: Fault::Hang, shape: Shape::Stream };
const BEFORE_THE_HEAD_OF_A_WHOLE: Moment = Moment { fault: Fault::Hang, shape: Shape::Whole };
/// The provider's stream is open, and nothing may go out yet.
const BEFORE_THE_COMMIT: Moment = Moment { fault: Fault::Stall(At::Opened), shape: Shape::Stream };
/// The caller has two pieces of the text.
const IN_MID_STREAM: Moment = Moment { fault: Fault::Stall(At::Content), shape: Shape::Stream };
/// The gateway has one half of the answer, and the caller nothing.
const IN_HALF_AN_ANSWER: Moment = Moment { fault: Fault::Stall(At::Content), shape: Shape::Whole };

async fn leaves(caller: Caller, speaks: Speaks, way: Way, moment: Moment) {
    let scripted = Scripted::new(speaks, moment.fault);
    let sight = Arc::clone(&scripted.sight);
    let rig = Rig::before(way, Company::Alone, speaks, Provider::Scripted(scripted)).await;
    let delivers = moment.fault == Fault::Stall(At::Content) && moment.shape == Shape::Stream;
    let (left, id) =
        if delivers { leave_in_mid_stream(&rig, caller).await } else { leave_unanswered(&rig, caller, &sight, moment.shape).await };
    assert!(sight.abandoned().is_none_or(|at| at > left), "the exchange ended before the caller left");
    all_is_over(&rig, left).await;
    // The gateway has let go; the provider's side may need a moment to be told.
    let abandoned = soon(left, || sight.abandoned()).await.expect("the provider still speaks to nobody 100 ms later");
    println!("the exchange was given up after {:?}", abandoned - left);
    if way == Way::Tcp {
        let hung_up = soon(left, || sight.hung_up()).await.expect("the provider's socket is still open 100 ms later");
        println!("the socket was closed after {:?}", hung_up - left);
    }

    let reports_early = speaks != Speaks::OpenAiChat && moment.fault != Fault::Hang && moment.shape == Shape::Stream;
    let input = if reports_early { INPUT } else { GUESSED_INPUT } * INPUT_RATE;
    let (charge, lost) = if delivers { (input + PIECES[..2].concat().len() as i64 / 4 * OUTPUT_RATE, 0) } else { (0, input) };
    if let Some(id) = id {
        assert_eq!(nano(&rig.receipt(&id).await["charge"]), charge);
    }
    rig.settled().await;
    assert_eq!(-(rig.posted(4100) + rig.posted(4110)), charge, "revenue");
    assert_eq!(rig.posted(5110), lost, "what the provider may bill for nothing");
    rig.close().await;
}

async fn leave_unanswered(rig: &Rig, caller: Caller, sight: &Sight, shape: Shape) -> (Instant, Option<String>) {
    let silent = async {
        while !sight.is_silent() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What the provider said has to reach the gateway, which gives no sign of it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(rig.in_flight().await, 1, "the call is counted while it runs, and asking is not");
        now()
    };
    // The question is dropped as soon as the time is taken.
    tokio::select! {
        _ = caller.ask(rig, shape) => panic!("a silent provider answered"),
        left = silent => (left, None),
    }
}

async fn leave_in_mid_stream(rig: &Rig, caller: Caller) -> (Instant, Option<String>) {
    let mut response = caller.ask(rig, Shape::Stream).await;
    let id = response.headers()["x-bellwether-request-id"].to_str().expect("an id").to_owned();
    let mut text = String::new();
    while !text.contains(PIECES[1]) {
        let chunk = response.chunk().await.expect("a running stream").expect("more of it");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert_eq!(rig.in_flight().await, 1, "the call is counted while it runs, and asking is not");
    let left = now();
    drop(response);
    (left, Some(id))
}

/// Nothing is in flight soon after `left`.
async fn all_is_over(rig: &Rig, left: Instant) {
    while rig.in_flight().await > 0 {
        assert!(left.elapsed() < SOON, "still in flight 100 ms after the caller left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What was noted, if it was noted within 100 ms of `left`.
async fn soon(left: Instant, noted: impl Fn() -> Option<Instant>) -> Option<Instant> {
    while noted().is_none() && left.elapsed() < 2 * SOON {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    noted().filter(|at| *at - left < SOON)
}

/// The simulator in the gateway's own process: there is no socket to watch.
async fn leaves_the_simulator(caller: Caller, speaks: Speaks, delivered: bool) {
    let fault = if delivered { json!({ "kind": "drip", "bytes": 120, "every_ms": 30 }) } else { json!({ "kind": "hang" }) };
    let rig = Rig::before(Way::InProcess, Company::Alone, speaks, Provider::Simulated(&fault)).await;
    if delivered {
        let mut response = caller.ask(&rig, Shape::Stream).await;
        let id = response.headers()["x-bellwether-request-id"].to_str().expect("an id").to_owned();
        for _ in 0..3 {
            response.chunk().await.expect("a running stream").expect("more of it");
        }
        assert_eq!(rig.in_flight().await, 1, "the call is counted while it runs, and asking is not");
        drop(response);
        all_is_over(&rig, now()).await;
        let receipt = rig.receipt(&id).await;
        let (charged, hold) = (nano(&receipt["charge"]), nano(&receipt["hold"]));
        assert!(charged > 0 && charged < hold, "{receipt}");
    } else {
        let asked = tokio::time::timeout(Duration::from_millis(100), caller.ask(&rig, Shape::Stream)).await;
        assert!(asked.is_err(), "a hanging upstream answered");
        all_is_over(&rig, now()).await;
    }
    rig.close().await;
}

macro_rules! departures {
    ($($name:ident: $caller:ident, $speaks:ident;)*) => {
        $(mod $name {
            use super::*;

            const CALLER: Caller = Caller::$caller;
            const SPEAKS: Speaks = Speaks::$speaks;

            departures!(@way over_tcp Tcp);
            departures!(@way over_tls_http2 TlsHttp2);

            mod in_process {
                use super::*;

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn before_the_head() {
                    leaves_the_simulator(CALLER, SPEAKS, false).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn in_mid_stream() {
                    leaves_the_simulator(CALLER, SPEAKS, true).await;
                }
            }
        })*
    };
    (@way $name:ident $way:ident) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn before_the_head() {
                leaves(CALLER, SPEAKS, Way::$way, BEFORE_THE_HEAD).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn before_the_head_of_a_whole() {
                leaves(CALLER, SPEAKS, Way::$way, BEFORE_THE_HEAD_OF_A_WHOLE).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn before_the_commit() {
                leaves(CALLER, SPEAKS, Way::$way, BEFORE_THE_COMMIT).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_mid_stream() {
                leaves(CALLER, SPEAKS, Way::$way, IN_MID_STREAM).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_half_an_answer() {
                leaves(CALLER, SPEAKS, Way::$way, IN_HALF_AN_ANSWER).await;
            }
        }
    };
}

departures! {
    chat_before_chat: OpenAiChat, OpenAiChat;
    messages_before_anthropic: Anthropic, Anthropic;
    chat_before_anthropic: OpenAiChat, Anthropic;
    messages_before_gemini: Anthropic, Gemini;
    chat_before_gemini: OpenAiChat, Gemini;
}
