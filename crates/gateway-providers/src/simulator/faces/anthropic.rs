//! Anthropic messages, simulated.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Reply, Report, arguments, bunches, named, text_of};
use crate::simulator::{
    answer::{Answer, Ended},
    question::{Choice, Counter, Output, Question, ToolDeclared},
};

/// Anthropic's own status for an overloaded service.
pub(super) const OVERLOADED: StatusCode = match StatusCode::from_u16(529) {
    Ok(status) => status,
    Err(_) => StatusCode::SERVICE_UNAVAILABLE,
};

/// Anthropic's documented way to ask for a redacted block.
const REDACTED_TRIGGER: &str = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING";

pub(in crate::simulator) fn ask(request: &Map<String, Value>, question: &mut Question) -> Result<(), String> {
    question.model = request.get("model").and_then(Value::as_str).ok_or("model: Field required")?.to_owned();
    let messages = request.get("messages").and_then(Value::as_array).ok_or("messages: Field required")?;
    if messages.is_empty() {
        return Err("messages: at least one message is required".to_owned());
    }
    question.limit = request.get("max_tokens").and_then(Value::as_u64);
    if question.limit.is_none() && !question.counting_only {
        return Err("max_tokens: Field required".to_owned());
    }
    if question.counting_only {
        question.stream = false;
    }
    let thinking = request.get("thinking").and_then(|thinking| thinking.get("type")).map_or("", text_of);
    question.reasoning = matches!(thinking, "enabled" | "adaptive");
    question.stops =
        request.get("stop_sequences").and_then(Value::as_array).into_iter().flatten().map(|stop| text_of(stop).to_owned()).collect();
    if let Some(schema) = request.get("output_config").and_then(|config| config.pointer("/format/schema")) {
        question.output = Output::Schema(schema.clone());
    }
    if let Some(choice) = request.get("tool_choice") {
        question.parallel = !choice.get("disable_parallel_tool_use").and_then(Value::as_bool).unwrap_or(false);
        question.choice = match choice.get("type").map_or("", text_of) {
            "any" => Choice::Required,
            "tool" => Choice::Named(choice.get("name").map_or("", text_of).to_owned()),
            "none" => Choice::None,
            _ => Choice::Auto,
        };
    }
    let mut counter = Counter::default();
    for tool in request.get("tools").and_then(Value::as_array).into_iter().flatten() {
        counter.tool(tool);
        marked(tool, &mut counter);
        if let Some(schema) = tool.get("input_schema") {
            question.tools.push(ToolDeclared { name: tool.get("name").map_or("", text_of).to_owned(), schema: schema.clone() });
        }
    }
    let mut said = String::new();
    if let Some(system) = request.get("system") {
        read_content(system, &mut said, &mut counter);
    }
    for message in messages {
        read_message(message, question, &mut counter);
    }
    if request.contains_key("cache_control") {
        counter.mark();
    }
    question.reasoning_redacted = question.reasoning && question.asked.contains(REDACTED_TRIGGER);
    question.tokens = counter.finish_marked();
    Ok(())
}

fn read_message(message: &Value, question: &mut Question, counter: &mut Counter) {
    let role = message.get("role").map_or("", text_of);
    counter.message(role == "assistant");
    let mut said = String::new();
    let results = message.get("content").map_or(0, |content| read_content(content, &mut said, counter));
    question.tool_results = if role == "user" { results } else { 0 };
    if role == "user" && results == 0 {
        question.asked = said;
    }
}

/// Collects text, counts everything, and tells how many results of tools there were.
fn read_content(content: &Value, said: &mut String, counter: &mut Counter) -> usize {
    let blocks = match content {
        Value::String(text) => {
            counter.text(text);
            said.push_str(text);
            return 0;
        }
        Value::Array(blocks) => blocks,
        _ => return 0,
    };
    let mut results = 0;
    for block in blocks {
        match block.get("type").map_or("", text_of) {
            "text" => {
                let text = block.get("text").map_or("", text_of);
                counter.text(text);
                said.push_str(text);
            }
            "image" | "document" => counter.media(),
            "tool_result" => {
                results += 1;
                let mut result = String::new();
                if let Some(content) = block.get("content") {
                    read_content(content, &mut result, counter);
                }
            }
            _ => counter.text(&block.to_string()),
        }
        marked(block, counter);
    }
    results
}

fn marked(block: &Value, counter: &mut Counter) {
    if block.get("cache_control").is_some_and(|mark| !mark.is_null()) {
        counter.mark();
    }
}

/// Blocks of an answer before their content: how each starts, and what its deltas are.
enum Block<'a> {
    Thinking { pieces: &'a [String], signature: &'a str },
    Redacted { signature: &'a str },
    Text(&'a [String]),
    Tool { id: String, name: &'a str, pieces: &'a [String] },
}

fn blocks<'a>(answer: &'a Answer, redacted: bool) -> Vec<Block<'a>> {
    let mut blocks = Vec::new();
    if redacted {
        blocks.push(Block::Redacted { signature: &answer.signature });
    } else if !answer.reasoning.is_empty() {
        blocks.push(Block::Thinking { pieces: &answer.reasoning, signature: &answer.signature });
    }
    if !answer.text.is_empty() {
        blocks.push(Block::Text(&answer.text));
    }
    blocks.extend(answer.calls.iter().map(|call| Block::Tool {
        id: format!("toolu_{}", call.id),
        name: &call.name,
        pieces: &call.arguments,
    }));
    blocks
}

fn stop_reason(answer: &Answer) -> &'static str {
    match answer.ended {
        Ended::Stop => "end_turn",
        Ended::StopSequence(_) => "stop_sequence",
        Ended::Length => "max_tokens",
        Ended::Tools => "tool_use",
    }
}

fn usage(report: &Report, output: u64) -> Value {
    let prompt = report.prompt;
    json!({
        "input_tokens": prompt.total - prompt.cache_read - prompt.cache_write,
        "cache_creation_input_tokens": prompt.cache_write,
        "cache_read_input_tokens": prompt.cache_read,
        "cache_creation": { "ephemeral_5m_input_tokens": prompt.cache_write, "ephemeral_1h_input_tokens": 0 },
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn message(reply: &Reply<'_>) -> Value {
    json!({ "id": reply.id("msg_"), "type": "message", "role": "assistant", "model": reply.question.model })
}

pub(in crate::simulator) fn whole(reply: &Reply<'_>) -> Value {
    let mut body = message(reply);
    if let Some(answer) = reply.answers.first() {
        body["content"] = blocks(answer, reply.question.reasoning_redacted)
            .into_iter()
            .map(|block| match block {
                Block::Thinking { pieces, signature } => json!({ "type": "thinking", "thinking": pieces.concat(), "signature": signature }),
                Block::Redacted { signature } => json!({ "type": "redacted_thinking", "data": signature }),
                Block::Text(pieces) => json!({ "type": "text", "text": pieces.concat() }),
                Block::Tool { id, name, pieces } => json!({ "type": "tool_use", "id": id, "name": name, "input": arguments(pieces) }),
            })
            .collect();
        body["stop_reason"] = stop_reason(answer).into();
        body["stop_sequence"] = answer.ended.stop_sequence().into();
    }
    if let Some(report) = reply.report() {
        body["usage"] = usage(&report, report.visible + report.reasoning);
    }
    body
}

pub(in crate::simulator) fn events(reply: &Reply<'_>) -> Vec<Bytes> {
    let Some(answer) = reply.answers.first() else { return Vec::new() };
    let report = reply.report();
    let mut start = message(reply);
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["stop_sequence"] = Value::Null;
    start["usage"] = report.as_ref().map_or_else(|| json!({}), |report| usage(report, 1));
    let mut events = vec![named("message_start", &json!({ "type": "message_start", "message": start }))];
    for (index, block) in blocks(answer, reply.question.reasoning_redacted).into_iter().enumerate() {
        let (content, deltas) = block_events(&block);
        events.push(named("content_block_start", &json!({ "type": "content_block_start", "index": index, "content_block": content })));
        if index == 0 {
            events.push(named("ping", &json!({ "type": "ping" })));
        }
        for delta in deltas {
            events.push(named("content_block_delta", &json!({ "type": "content_block_delta", "index": index, "delta": delta })));
        }
        events.push(named("content_block_stop", &json!({ "type": "content_block_stop", "index": index })));
    }
    let mut last = json!({
        "type": "message_delta",
        "delta": { "stop_reason": stop_reason(answer), "stop_sequence": answer.ended.stop_sequence() },
    });
    if let Some(report) = report {
        last["usage"] = usage(&report, report.visible + report.reasoning);
    }
    events.push(named("message_delta", &last));
    events.push(named("message_stop", &json!({ "type": "message_stop" })));
    events
}

fn block_events(block: &Block<'_>) -> (Value, Vec<Value>) {
    match block {
        Block::Thinking { pieces, signature } => {
            let mut deltas: Vec<Value> = bunches(pieces).map(|text| json!({ "type": "thinking_delta", "thinking": text })).collect();
            deltas.push(json!({ "type": "signature_delta", "signature": signature }));
            (json!({ "type": "thinking", "thinking": "", "signature": "" }), deltas)
        }
        Block::Redacted { signature } => (json!({ "type": "redacted_thinking", "data": signature }), Vec::new()),
        Block::Text(pieces) => {
            (json!({ "type": "text", "text": "" }), bunches(pieces).map(|text| json!({ "type": "text_delta", "text": text })).collect())
        }
        Block::Tool { id, name, pieces } => {
            let deltas = bunches(pieces).map(|text| json!({ "type": "input_json_delta", "partial_json": text })).collect();
            (json!({ "type": "tool_use", "id": id, "name": name, "input": {} }), deltas)
        }
    }
}

pub(in crate::simulator) fn error(status: StatusCode, message: &str) -> Value {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": "req_simulated" })
}
