//! The table of translations, cell by cell: a caller's protocol, a provider's, a feature, streamed or whole.
//!
//! Each cell is one test and one directory, `fixtures/cells/<caller>-to-<provider>/<feature>-<stream|whole>/`:
//!
//! | file | is |
//! |---|---|
//! | `request.json` | what the caller sends |
//! | `upstream-request.json` | what the provider must get: the whole body |
//! | `upstream-response.json`, `.sse` | what the provider answers |
//! | `answer.json`, `.sse` | what the caller must get: the whole body |
//! | `losses.txt` | what could not be carried, each expected; absent when nothing was lost |
//!
//! Between equal protocols a cell takes the fast path, as production does. Streams are replayed at every split.
//! `BLESS=1` rewrites what is expected; read the diff.

#[expect(dead_code, reason = "two test programs share the harness, and each uses its part")]
#[path = "harness/case.rs"]
mod case;
#[path = "harness/codecs.rs"]
mod codecs;
#[path = "harness/golden.rs"]
mod golden;
#[path = "support/ladder.rs"]
mod ladder;
#[expect(dead_code, reason = "two test programs share the harness, and each uses its part")]
#[path = "harness/replay.rs"]
mod replay;

use std::{path::Path, sync::Arc};

use case::Case;
use gateway_core::{Egress, Encoded, Ingress, Losses, RelayCtx, RenderCtx, Signal, Target};

/// Runs one cell.
fn check(caller: &str, provider: &str, feature: &str, stream: bool) {
    let kind = if stream { "stream" } else { "whole" };
    let dir = format!("fixtures/cells/{caller}-to-{provider}/{feature}-{kind}");
    let case = Case::open(caller, Path::new(env!("CARGO_MANIFEST_DIR")).join(dir));
    let ingress = codecs::ingress(caller).expect("the caller's protocol has a codec");
    let egress = codecs::egress(provider).expect("the provider's protocol has a codec");

    let mut lost = Vec::new();
    let (encoded, render) = request(&case, &ingress, &*egress, stream, &mut lost);
    case.beside("upstream-request.json").json(&encoded.body);
    let ctx = RelayCtx { render, memo: encoded.memo };
    if stream {
        streamed(&case, &*ingress, &*egress, &ctx, &mut lost);
    } else {
        whole(&case, &*ingress, &*egress, &ctx, &mut lost);
    }
    case.beside("losses.txt").text_or_absent(&lost.join("\n"));
}

fn request(case: &Case, ingress: &Arc<dyn Ingress>, egress: &dyn Egress, stream: bool, lost: &mut Vec<String>) -> (Encoded, RenderCtx) {
    let body = case.read("request.json").expect("the cell has a request");
    let call = case.call(ingress.clone(), body);
    assert_eq!(call.peek().stream, stream, "the request asks for what the cell is named for");
    let deployment = case.deployment(egress.protocol());
    let target = Target { deployment: &deployment, stream, output_limit: case.source.output_limit };
    let mut losses = Losses::new();
    let forwarded = (call.protocol() == egress.protocol()).then(|| egress.forward(&call, &target, &mut losses)).flatten();
    let encoded = forwarded.unwrap_or_else(|| {
        let canonical = call.canonical().expect("the request is valid");
        egress.encode(canonical, &target, &mut losses).expect("the request can be written")
    });
    note(lost, "request", &losses);
    let render = RenderCtx { stream_usage: call.peek().stream_usage, ..case.render() };
    (encoded, render)
}

fn whole(case: &Case, ingress: &dyn Ingress, egress: &dyn Egress, ctx: &RelayCtx, lost: &mut Vec<String>) {
    let body = case.read("upstream-response.json").expect("the cell has an answer");
    let answer = if ingress.protocol() == egress.protocol() {
        egress.relay_whole(ctx, body, &mut |_| {}).expect("the answer is valid")
    } else {
        let decoded = egress.decode(&body, &ctx.memo).expect("the answer is valid");
        let mut losses = Losses::new();
        let answer = ingress.encode(&decoded, &ctx.render, &mut losses);
        note(lost, "answer", &losses);
        answer
    };
    case.beside("answer.json").json(&answer);
}

fn streamed(case: &Case, ingress: &dyn Ingress, egress: &dyn Egress, ctx: &RelayCtx, lost: &mut Vec<String>) {
    let stream = case.read("upstream-response.sse").expect("the cell has a stream");
    let played = if ingress.protocol() == egress.protocol() {
        replay::relay(case, egress, ctx, &stream)
    } else {
        replay::transcode(case, egress, ingress, ctx, &stream)
    };
    assert_eq!(played.fault, None, "the stream ends well");
    ladder::check(ingress.protocol().as_str(), &played.text).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let mut losses = Losses::new();
    for signal in played.signals {
        if let Signal::Loss(loss) = signal {
            losses.push(loss.path, loss.reason);
        }
    }
    note(lost, "answer", &losses);
    case.beside("answer.sse").text(&played.text);
}

fn note(lost: &mut Vec<String>, way: &str, losses: &Losses) {
    lost.extend(losses.iter().map(|loss| format!("{way}: {};{}", loss.path, loss.reason.as_str())));
}

macro_rules! cells {
    ($($module:ident: $caller:literal => $provider:literal;)*) => { $(
        mod $module {
            cells!(@cases $caller, $provider, text, parallel_tools, tool_results, reasoning, image, structured_output, cached_usage);
        }
    )* };
    (@cases $caller:literal, $provider:literal, $($feature:ident),*) => {
        mod stream { $(
            #[test]
            fn $feature() {
                crate::check($caller, $provider, stringify!($feature), true);
            }
        )* }
        mod whole { $(
            #[test]
            fn $feature() {
                crate::check($caller, $provider, stringify!($feature), false);
            }
        )* }
    };
}

cells! {
    chat_to_chat: "openai-chat" => "openai-chat";
    chat_to_anthropic: "openai-chat" => "anthropic-messages";
    chat_to_gemini: "openai-chat" => "gemini";
    anthropic_to_chat: "anthropic-messages" => "openai-chat";
    anthropic_to_anthropic: "anthropic-messages" => "anthropic-messages";
    anthropic_to_gemini: "anthropic-messages" => "gemini";
}
