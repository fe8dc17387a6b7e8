//! Golden wire fixtures. Adding a directory adds its checks; no code needs to change.
//!
//! `fixtures/<protocol>/<case>/` holds what a caller or a provider of that protocol says:
//!
//! | file | is | checks it adds |
//! |---|---|---|
//! | `source.toml` | where the shapes come from, and settings (below); required | |
//! | `request.json` | a caller's request | decode → `ir.json`; encode for every provider protocol → `to-<protocol>.json`, streamed or not as the request says; same-protocol round trip; the fast path → `forward.json` (absent when it refuses) |
//! | `response.json` | a provider's whole answer | decode → `response-ir.json`; write for every caller protocol → `answer-<protocol>.json`; the fast path → `relay.json` |
//! | `stream.sse` | the same answer, streamed | decode → `events.txt`; transcode for every caller protocol → `answer-<protocol>.sse`, in the order its clients rely on; the fast path → `relay.sse`; all of it split at every byte offset and byte by byte; folded it equals `response.json` |
//! | `error.json` | a provider's error body | classify → `fault.txt`; write for every caller protocol → `error-<protocol>.json` |
//!
//! The arrows end in files under `expect/`. Losses of all translations of a case are in `expect/losses.txt`, one line
//! each: `<translation>: <path>;<reason>`. `BLESS=1 cargo test -p gateway-wire --test fixtures` rewrites `expect/`; read
//! the diff. `FIXTURE=<part of a path>` runs only the cases whose directory contains it.
//!
//! ```toml
//! source = "OpenAI API reference, CreateChatCompletionResponse"   # required
//! quirks = ["no_developer_role"]      # of the deployment, by field name of `gateway_core::Quirks`
//! output_tokens_max = 8192            # the model's limit; absent: unknown
//! output_limit = 100                  # what is paid for; absent: no limit
//! path = "/v1/chat/completions"       # of the request, where the protocol has the model in it
//! stream_usage = false                # the caller wants no usage in its stream; default true
//! folds = false                       # the folded stream is not the whole answer, and `why` says why
//! why = "…"
//! departs = "…"                       # why what is said here does not fit the official schema
//! schema = "mistral"                  # the provider's own schema instead of the protocol's
//! cut = true                          # the stream must end in a fault
//! status = 429                        # of error.json
//! headers = { retry-after = "3" }     # of error.json, or of the request
//! ```

#[path = "harness/answers.rs"]
mod answers;
#[expect(dead_code, reason = "two test programs share the harness, and each uses its part")]
#[path = "harness/case.rs"]
mod case;
#[path = "harness/codecs.rs"]
mod codecs;
#[path = "harness/golden.rs"]
mod golden;
#[path = "support/ladder.rs"]
mod ladder;
#[path = "harness/replay.rs"]
mod replay;
#[path = "harness/requests.rs"]
mod requests;

use case::Case;

fn each(protocol: &str, check: impl Fn(&Case)) {
    let mut failed = Vec::new();
    for case in Case::all(protocol) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&case)));
        if outcome.is_err() {
            failed.push(case.name.clone());
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

fn all(protocol: &str) {
    each(protocol, |case| {
        let mut losses = Vec::new();
        requests::check(case, &mut losses);
        answers::check(case, &mut losses);
        case.golden("losses.txt").text_or_absent(&losses.join("\n"));
    });
}

#[test]
fn openai_chat() {
    all("openai-chat");
}

#[test]
fn anthropic_messages() {
    all("anthropic-messages");
}

#[test]
fn gemini() {
    all("gemini");
}
