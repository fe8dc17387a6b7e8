//! The faults of an Anthropic and of a Gemini upstream, each in the provider's own words, before a caller of the same
//! protocol and callers of another: what the caller sees, how often was tried, and both sides of the books to the nano.

use serde_json::{Value, json};

use super::{
    Sees,
    caller::{Caller, Seen, Shape},
    nano,
    rig::{Company, PROMPT, Provider, Rig, Way},
    upstream::{Fault, Scripted},
    wire::{At, INPUT, OUTPUT, PIECES, Reports, Speaks},
};

/// What the caller pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charged {
    Nothing,
    /// What the provider reports.
    Reported,
    /// The input that the provider reported early, and the text that was delivered.
    Delivered,
    /// The input by the bytes of the prompt, and the text that was delivered.
    Guessed,
    /// No more input than the prompt has bytes, with a margin for templates; the output as reported.
    Bounded,
}

/// What failed attempts cost the operator, on 5110.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// The provider had not accepted the work.
    Nothing,
    /// So many attempts' input, by the bytes of the prompt.
    Guessed(i64),
    /// The input of one attempt, which the provider had reported by then.
    Reported,
}

struct Row {
    speaks: Speaks,
    fault: Fault,
    sees: Sees,
    attempts: usize,
    charged: Charged,
    lost: Lost,
}

/// Four bytes a token of what stands in the messages, "user" and the prompt, rounded in the caller's favour.
const GUESSED_INPUT: i64 = (4 + PROMPT.len() as i64) / 4;
/// The simulator's own rule: a token for every four bytes begun, three a message.
const SIMULATED_INPUT: i64 = (PROMPT.len() as i64 + 3) / 4 + 3;
/// 64 tokens for the message's frame and 1,024 for any template.
const BOUND_TEMPLATES: i64 = 64 + 1_024;
/// Nano-dollars a token of `primary` and of `backup`, input and output.
const PRIMARY_RATES: (i64, i64) = (2_000, 8_000);
const BACKUP_RATES: (i64, i64) = (1_000, 4_000);

/// A token for every byte of a body that may be prompt: its values, and all keys but those of the top level.
fn bound_input(caller: Caller, shape: Shape) -> i64 {
    let messages = "role".len() + "user".len() + "content".len() + PROMPT.len();
    let rest = "primary".len() + "200".len() + if shape == Shape::Stream { "true" } else { "false" }.len();
    let options = match (caller, shape) {
        (Caller::OpenAiChat, Shape::Stream) => "include_usage".len() + "true".len(),
        (Caller::OpenAiChat, Shape::Whole) | (Caller::Anthropic, _) => 0,
    };
    (messages + rest + options) as i64 + BOUND_TEMPLATES
}

async fn check(caller: Caller, way: Way, shape: Shape, row: &Row) {
    let fault = simulated(row.speaks, row.fault);
    let provider = match way {
        Way::InProcess => Provider::Simulated(&fault),
        Way::Tcp | Way::TlsHttp2 => Provider::Scripted(Scripted::new(row.speaks, row.fault)),
    };
    let rig = Rig::before(way, Company::Shared, row.speaks, provider).await;
    let response = caller.ask(&rig, shape).await;
    let status = response.status().as_u16();
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    let (id, told) = (header("x-bellwether-request-id"), header("x-bellwether-attempts"));
    let priced = response.headers().get("x-bellwether-cost-usd").map(|cost| cost.to_str().expect("text").to_owned());
    let text = response.text().await.expect("the gateway ends its answers cleanly");
    let seen = caller.read(&text, if status == 200 { shape } else { Shape::Whole });
    sees(row, way, status, &seen, &text);

    let receipt = rig.receipt(&id).await;
    let attempts = receipt["attempts"].as_array().map_or(&[][..], Vec::as_slice);
    assert_eq!((attempts.len(), told), (row.attempts, row.attempts.to_string()), "{receipt}");
    let served = attempts.iter().filter(|attempt| attempt["charged"] == true).count();
    assert_eq!(served, usize::from(row.charged != Charged::Nothing), "{receipt}");
    assert_eq!(nano(&receipt["charge"]), charge(row, way, &seen, bound_input(caller, shape)), "{receipt}");
    // An answer that says what it used says what that costs, the same in all places.
    assert_eq!(seen.cost.is_some(), seen.usage.is_some() && (seen.ended || row.charged == Charged::Reported), "{text}");
    for stated in seen.cost.iter().chain(&priced) {
        let charge = &receipt["charge"];
        assert_eq!(Some(&**stated), charge["usd"].as_str().or(charge["xts"].as_str()), "{text}");
    }
    // Revenue is what was charged, and what failed is the operator's loss.
    assert_eq!(-(rig.posted(4100) + rig.posted(4110)), nano(&receipt["charge"]), "{receipt}");
    let lost = match row.lost {
        Lost::Nothing => 0,
        Lost::Guessed(attempts) => attempts * GUESSED_INPUT * PRIMARY_RATES.0,
        Lost::Reported => INPUT * PRIMARY_RATES.0,
    };
    assert_eq!(rig.posted(5110), lost, "{receipt}");
    rig.close().await;
}

fn sees(row: &Row, way: Way, status: u16, seen: &Seen, text: &str) {
    let scripted = way != Way::InProcess;
    match row.sees {
        Sees::Answer(model) => {
            assert_eq!((status, seen.ended, seen.error), (200, true, false), "{text}");
            assert_eq!(seen.model, model, "{text}");
            assert!(!scripted || seen.text == PIECES.concat(), "{text}");
            assert!(!scripted || row.charged != Charged::Reported || seen.usage == Some((INPUT, OUTPUT)), "{text}");
        }
        Sees::Status(expected) => assert_eq!((status, seen.ended, seen.error), (expected, false, true), "{text}"),
        Sees::ErrorEvent => {
            assert_eq!((status, seen.ended, seen.error), (200, false, true), "{text}");
            let pieces = if until(row.fault) == Some(At::Finished) { PIECES.concat() } else { PIECES[..2].concat() };
            assert!(!scripted || seen.text == pieces, "{text}");
        }
    }
}

fn charge(row: &Row, way: Way, seen: &Seen, bound: i64) -> i64 {
    let simulated = way == Way::InProcess;
    let delivered = seen.text.len() as i64 / 4;
    let (input, output) = match row.charged {
        Charged::Nothing => (0, 0),
        Charged::Reported if simulated => seen.usage.expect("the simulator reports it"),
        Charged::Reported => (INPUT, OUTPUT),
        Charged::Delivered if simulated => (SIMULATED_INPUT, delivered),
        Charged::Delivered => (INPUT, delivered),
        Charged::Guessed => (GUESSED_INPUT, delivered),
        Charged::Bounded => (bound, OUTPUT),
    };
    let rates = if row.sees == Sees::Answer("backup") { BACKUP_RATES } else { PRIMARY_RATES };
    input * rates.0 + output * rates.1
}

fn until(fault: Fault) -> Option<At> {
    match fault {
        Fault::Stall(at) | Fault::Cut(at) | Fault::Short(at) | Fault::Error(at) | Fault::Malformed(at) => Some(at),
        Fault::Status(_) | Fault::Wait(..) | Fault::Hang | Fault::Usage(_) => None,
    }
}

/// The same fault in the simulator's terms; its streams begin with as many events as the protocol needs to say anything.
fn simulated(speaks: Speaks, fault: Fault) -> Value {
    let after_events = match (until(fault), speaks) {
        (Some(At::Content | At::Finished), Speaks::Anthropic) => 5,
        (Some(At::Content | At::Finished), Speaks::OpenAiChat | Speaks::Gemini) => 2,
        (Some(At::Head | At::Opened) | None, _) => 0,
    };
    match fault {
        Fault::Status(status) => json!({ "kind": "status", "status": status }),
        Fault::Wait(status, seconds) => json!({ "kind": "status", "status": status, "retry_after_s": seconds }),
        Fault::Hang => json!({ "kind": "hang" }),
        Fault::Stall(_) => json!({ "kind": "stall", "after_events": after_events }),
        Fault::Cut(_) | Fault::Short(_) => json!({ "kind": "cut", "after_events": after_events }),
        Fault::Error(_) => json!({ "kind": "error_event", "after_events": after_events }),
        Fault::Malformed(_) => json!({ "kind": "malformed", "after_events": after_events }),
        Fault::Usage(Reports::Wrong) => json!({ "kind": "usage", "mode": "wrong" }),
        Fault::Usage(_) => json!({ "kind": "usage", "mode": "missing" }),
    }
}

/// One test a row, shape, way and caller.
macro_rules! rows {
    ($speaks:ident; $($name:ident: $fault:expr, $shapes:tt, $ways:tt => $sees:expr, $attempts:literal, $charged:ident, $lost:expr;)*) => {
        $(mod $name {
            use super::*;

            const ROW: Row = Row {
                speaks: Speaks::$speaks,
                fault: $fault,
                sees: $sees,
                attempts: $attempts,
                charged: Charged::$charged,
                lost: $lost,
            };
            rows!(@shapes $shapes $ways);
        })*
    };
    (@shapes [$($shape:ident)*] $ways:tt) => { $(rows!(@shape $shape $ways);)* };
    (@shape stream $ways:tt) => { mod stream { use super::*; rows!(@ways Stream $ways); } };
    (@shape whole $ways:tt) => { mod whole { use super::*; rows!(@ways Whole $ways); } };
    (@ways $shape:ident [$($way:ident)*]) => { $(rows!(@way $shape $way);)* };
    (@way $shape:ident tcp) => { mod over_tcp { use super::*; rows!(@callers $shape Tcp); } };
    (@way $shape:ident tls) => { mod over_tls_http2 { use super::*; rows!(@callers $shape TlsHttp2); } };
    (@way $shape:ident sim) => { mod in_process { use super::*; rows!(@callers $shape InProcess); } };
    (@callers $shape:ident $way:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn for_chat() {
            check(Caller::OpenAiChat, Way::$way, Shape::$shape, &ROW).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn for_messages() {
            check(Caller::Anthropic, Way::$way, Shape::$shape, &ROW).await;
        }
    };
}

const BACKUP: Sees = Sees::Answer("backup");
const PRIMARY: Sees = Sees::Answer("primary");

mod anthropic {
    use super::*;

    rows! { Anthropic;
        // Before the commit.
        throttled: Fault::Status(429), [stream whole], [tcp sim tls] => BACKUP, 3, Reported, Lost::Nothing;
        throttled_for_long: Fault::Wait(429, 30), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Nothing;
        server_error: Fault::Status(500), [stream whole], [tcp sim] => BACKUP, 3, Reported, Lost::Guessed(2);
        bad_gateway: Fault::Status(502), [stream whole], [tcp] => BACKUP, 3, Reported, Lost::Guessed(2);
        unavailable: Fault::Status(503), [stream whole], [tcp] => BACKUP, 3, Reported, Lost::Nothing;
        gateway_timeout: Fault::Status(504), [stream whole], [tcp] => BACKUP, 2, Reported, Lost::Guessed(1);
        overloaded: Fault::Status(529), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Nothing;
        bad_key: Fault::Status(401), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Nothing;
        bad_request: Fault::Status(400), [stream whole], [tcp sim] => Sees::Status(400), 1, Nothing, Lost::Nothing;
        hang: Fault::Hang, [stream whole], [tcp sim tls] => BACKUP, 2, Reported, Lost::Guessed(1);
        stall_after_head: Fault::Stall(At::Head), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Guessed(1);
        stall_when_opened: Fault::Stall(At::Opened), [stream], [tcp] => BACKUP, 2, Reported, Lost::Reported;
        cut_after_head: Fault::Cut(At::Head), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Guessed(1);
        cut_when_opened: Fault::Cut(At::Opened), [stream], [tcp tls] => BACKUP, 2, Reported, Lost::Reported;
        short_after_head: Fault::Short(At::Head), [stream whole], [tcp] => BACKUP, 2, Reported, Lost::Guessed(1);
        short_when_opened: Fault::Short(At::Opened), [stream], [tcp] => BACKUP, 2, Reported, Lost::Reported;
        error_at_once: Fault::Error(At::Head), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Guessed(1);
        error_when_opened: Fault::Error(At::Opened), [stream], [tcp] => BACKUP, 2, Reported, Lost::Reported;
        malformed_at_once: Fault::Malformed(At::Head), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Guessed(1);
        malformed_when_opened: Fault::Malformed(At::Opened), [stream], [tcp] => BACKUP, 2, Reported, Lost::Reported;
        // After it.
        stall_in_mid_stream: Fault::Stall(At::Content), [stream], [tcp sim] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        cut_in_mid_stream: Fault::Cut(At::Content), [stream], [tcp sim tls] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        short_in_mid_stream: Fault::Short(At::Content), [stream], [tcp] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        error_in_mid_stream: Fault::Error(At::Content), [stream], [tcp sim tls] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        malformed_in_mid_stream: Fault::Malformed(At::Content), [stream], [tcp sim] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        // The last word on usage had come, and all of the text.
        no_terminator: Fault::Short(At::Finished), [stream], [tcp] => Sees::ErrorEvent, 1, Reported, Lost::Nothing;
        cut_before_terminator: Fault::Cut(At::Finished), [stream], [tcp] => Sees::ErrorEvent, 1, Reported, Lost::Nothing;
        stall_before_terminator: Fault::Stall(At::Finished), [stream], [tcp] => Sees::ErrorEvent, 1, Reported, Lost::Nothing;
        // Served in spite of it.
        usage_missing: Fault::Usage(Reports::Nothing), [stream whole], [tcp sim] => PRIMARY, 1, Guessed, Lost::Nothing;
        usage_wrong: Fault::Usage(Reports::Wrong), [stream whole], [tcp] => PRIMARY, 1, Bounded, Lost::Nothing;
    }
}

mod gemini {
    use super::*;

    rows! { Gemini;
        throttled: Fault::Status(429), [stream whole], [tcp sim tls] => BACKUP, 3, Reported, Lost::Nothing;
        throttled_for_long: Fault::Wait(429, 30), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Nothing;
        server_error: Fault::Status(500), [stream whole], [tcp sim] => BACKUP, 3, Reported, Lost::Guessed(2);
        bad_gateway: Fault::Status(502), [stream whole], [tcp] => BACKUP, 3, Reported, Lost::Guessed(2);
        overloaded: Fault::Status(503), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Nothing;
        gateway_timeout: Fault::Status(504), [stream whole], [tcp] => BACKUP, 2, Reported, Lost::Guessed(1);
        bad_key: Fault::Status(401), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Nothing;
        bad_request: Fault::Status(400), [stream whole], [tcp sim] => Sees::Status(400), 1, Nothing, Lost::Nothing;
        hang: Fault::Hang, [stream whole], [tcp sim tls] => BACKUP, 2, Reported, Lost::Guessed(1);
        stall_after_head: Fault::Stall(At::Head), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Guessed(1);
        stall_when_opened: Fault::Stall(At::Opened), [stream], [tcp] => BACKUP, 2, Reported, Lost::Reported;
        cut_after_head: Fault::Cut(At::Head), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Guessed(1);
        cut_when_opened: Fault::Cut(At::Opened), [stream], [tcp tls] => BACKUP, 2, Reported, Lost::Reported;
        short_after_head: Fault::Short(At::Head), [stream whole], [tcp] => BACKUP, 2, Reported, Lost::Guessed(1);
        short_when_opened: Fault::Short(At::Opened), [stream], [tcp] => BACKUP, 2, Reported, Lost::Reported;
        error_at_once: Fault::Error(At::Head), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Guessed(1);
        error_when_opened: Fault::Error(At::Opened), [stream], [tcp] => BACKUP, 2, Reported, Lost::Reported;
        malformed_at_once: Fault::Malformed(At::Head), [stream whole], [tcp sim] => BACKUP, 2, Reported, Lost::Guessed(1);
        malformed_when_opened: Fault::Malformed(At::Opened), [stream], [tcp] => BACKUP, 2, Reported, Lost::Reported;
        stall_in_mid_stream: Fault::Stall(At::Content), [stream], [tcp sim] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        cut_in_mid_stream: Fault::Cut(At::Content), [stream], [tcp sim tls] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        // Nothing but the connection's end ends a stream here, so an early end is told by the reason that lacks.
        short_in_mid_stream: Fault::Short(At::Content), [stream], [tcp sim] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        error_in_mid_stream: Fault::Error(At::Content), [stream], [tcp sim tls] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        malformed_in_mid_stream: Fault::Malformed(At::Content), [stream], [tcp sim] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        cut_after_the_reason: Fault::Cut(At::Finished), [stream], [tcp] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        stall_after_the_reason: Fault::Stall(At::Finished), [stream], [tcp] => Sees::ErrorEvent, 1, Delivered, Lost::Nothing;
        usage_missing: Fault::Usage(Reports::Nothing), [stream whole], [tcp sim] => PRIMARY, 1, Guessed, Lost::Nothing;
        usage_wrong: Fault::Usage(Reports::Wrong), [stream whole], [tcp] => PRIMARY, 1, Bounded, Lost::Nothing;
    }
}
