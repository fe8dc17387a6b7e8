//! Properties of the chat codec over recorded traffic of everybody who imitates the protocol.

#[expect(dead_code, reason = "other tests read the other fields")]
#[path = "support/cassettes.rs"]
mod cassettes;
#[path = "support/properties.rs"]
mod properties;
#[path = "support/shapes.rs"]
mod shapes;

use cassettes::Cassette;
use gateway_core::{Egress, FaultKind, Ingress, Losses, Memo, Quirks, Target, Usage};
use gateway_wire::openai_chat::{OpenAiChatEgress, OpenAiChatIngress};
use properties::{Held, equal};
use serde_json::Value;

const INGRESS: OpenAiChatIngress = OpenAiChatIngress::new();
const EGRESS: OpenAiChatEgress = OpenAiChatEgress::new();
const APIS: [&str; 1] = ["openai.chat_completions"];

#[test]
fn every_recorded_answer_is_read_shown_and_relayed() {
    properties::run("chat answers", &APIS, |cassette| cassette.status == 200, answer);
}

#[test]
fn every_recorded_request_encodes_for_every_provider() {
    properties::run(
        "chat requests",
        &APIS,
        |cassette| cassette.request.is_some() && cassette.status == 200,
        |cassette| {
            let sent = cassette.request.as_ref().ok_or("no request")?;
            let (body, head) = (sent.to_string(), head(cassette));
            let peek = INGRESS.peek(&head, body.as_bytes()).map_err(|e| format!("peek: {e}"))?;
            let request = INGRESS.decode(&head, body.as_bytes()).map_err(|e| format!("decode: {e}"))?;
            equal("streaming", &peek.stream, &request.stream)?;
            equal("the limit", &peek.output_limit, &request.output_tokens_max)?;
            shapes::encodes_everywhere(&request)
        },
    );
}

#[test]
fn every_recorded_error_is_understood() {
    properties::run(
        "chat errors",
        &APIS,
        |cassette| cassette.status != 200,
        |cassette| {
            let allowed = match cassette.status {
                400 => &[
                    FaultKind::InvalidRequest,
                    FaultKind::ContextLength,
                    FaultKind::ContentFiltered,
                    FaultKind::UpstreamError,
                    FaultKind::NotFound,
                ][..],
                401 | 403 => &[FaultKind::Unavailable],
                404 => &[FaultKind::NotFound],
                429 => &[FaultKind::RateLimited, FaultKind::Unavailable],
                _ => &[],
            };
            properties::error(&EGRESS, cassette, allowed)
        },
    );
}

fn head(cassette: &Cassette) -> http::request::Parts {
    http::Request::post(&cassette.path).body(()).expect("a head").into_parts().0
}

/// What our own request for the same would have told the decoder.
fn memo(cassette: &Cassette) -> Result<Memo, String> {
    let Some(sent) = &cassette.request else { return Ok(Memo::default()) };
    let request = INGRESS.decode(&head(cassette), sent.to_string().as_bytes()).map_err(|e| format!("request: {e}"))?;
    let quirks = Quirks { thinking_as_content_parts: cassette.provider == "mistral", ..Quirks::default() };
    let deployment = shapes::deployment(&EGRESS, quirks);
    // The recorded caller sent what was recorded, so no frame of it is ours to take out.
    let target = Target { deployment: &deployment, stream: false, output_limit: None };
    Ok(EGRESS.encode(&request, &target, &mut Losses::new()).map_err(|e| format!("request: {e}"))?.memo)
}

fn answer(cassette: &Cassette) -> Held {
    let memo = memo(cassette)?;
    if cassette.stream {
        properties::streamed_answer(&EGRESS, cassette, &memo, usage)
    } else {
        properties::whole_answer(&EGRESS, cassette, &memo, usage)
    }
}

/// Cached tokens lie inside the prompt, reasoning inside the completion. More cached than sent must not underflow.
fn usage(answer: &Value, found: &Usage) -> Held {
    let stated = if answer["usage"].is_object() { &answer["usage"] } else { &answer["x_groq"]["usage"] };
    let Some(prompt) = stated["prompt_tokens"].as_u64() else { return Ok(()) };
    let details = &stated["prompt_tokens_details"];
    let inside = |key: &str| details[key].as_u64().unwrap_or(0);
    equal("input tokens", &found.input_tokens(), &prompt.max(inside("cached_tokens").saturating_add(inside("cache_write_tokens"))))?;
    let completion = stated["completion_tokens"].as_u64().unwrap_or(0);
    let reasoning = stated["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap_or(0);
    equal("output tokens", &found.output_tokens(), &completion.max(reasoning))
}
