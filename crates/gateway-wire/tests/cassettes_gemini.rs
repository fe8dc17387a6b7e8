//! Properties of the Gemini codec over recorded traffic.

#[expect(dead_code, reason = "other tests read the other fields")]
#[path = "support/cassettes.rs"]
mod cassettes;
#[path = "support/properties.rs"]
mod properties;

use cassettes::Cassette;
use gateway_core::{FaultKind, Memo, Usage};
use gateway_wire::gemini::GeminiEgress;
use properties::{Held, equal};
use serde_json::Value;

const EGRESS: GeminiEgress = GeminiEgress::new();
const APIS: [&str; 2] = ["gemini.generate_content", "gemini.stream_generate_content"];

#[test]
fn every_recorded_answer_is_read_shown_and_relayed() {
    properties::run("gemini answers", &APIS, |cassette| cassette.status == 200, answer);
}

#[test]
fn every_recorded_error_is_understood() {
    properties::run(
        "gemini errors",
        &APIS,
        |cassette| cassette.status != 200,
        |cassette| {
            let allowed = match cassette.status {
                // A bad key is a 400 here.
                400 => &[FaultKind::Unavailable, FaultKind::ContextLength, FaultKind::InvalidRequest][..],
                404 => &[FaultKind::NotFound],
                429 => &[FaultKind::RateLimited],
                _ => &[],
            };
            properties::error(&EGRESS, cassette, allowed)
        },
    );
}

fn answer(cassette: &Cassette) -> Held {
    if cassette.stream {
        properties::streamed_answer(&EGRESS, cassette, &Memo::default(), usage)
    } else {
        properties::whole_answer(&EGRESS, cassette, &Memo::default(), usage)
    }
}

/// Thoughts and tool prompts lie outside the counts they belong to; together they are the total.
fn usage(answer: &Value, found: &Usage) -> Held {
    let stated = &answer["usageMetadata"];
    if stated["promptTokenCount"].is_null() {
        return Ok(());
    }
    let count = |key: &str| stated[key].as_u64().unwrap_or(0);
    let input = count("promptTokenCount") + count("toolUsePromptTokenCount");
    equal("input tokens", &found.input_tokens(), &input)?;
    equal("output tokens", &found.output_tokens(), &(count("candidatesTokenCount") + count("thoughtsTokenCount")))?;
    equal("all tokens", &found.total_tokens(), &count("totalTokenCount"))
}
