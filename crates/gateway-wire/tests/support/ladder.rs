//! The order in which a caller's protocol sends its events; the official clients rebuild the answer by relying on it.

use std::collections::BTreeMap;

use serde_json::Value;

/// Checks a whole stream as a caller of `protocol` gets it.
pub(crate) fn check(protocol: &str, stream: &str) -> Result<(), String> {
    let events: Vec<(Option<&str>, &str)> = stream.split("\n\n").filter_map(event).collect();
    match protocol {
        "openai-chat" => chat(&events),
        "anthropic-messages" => anthropic(&events),
        other => Err(format!("no order is known for {other}")),
    }
}

fn event(text: &str) -> Option<(Option<&str>, &str)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    Some((field("event:"), field("data:")?))
}

fn need(holds: bool, what: &str, data: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what}: {}", data.chars().take(300).collect::<String>())) }
}

/// One choice of a chat stream.
#[derive(Default)]
struct Choice {
    finished: bool,
    calls: u64,
}

/// Role first, each call opened before it grows, nothing after the finish, usage after every finish, `[DONE]` last; or an
/// error last.
fn chat(events: &[(Option<&str>, &str)]) -> Result<(), String> {
    let mut choices = BTreeMap::<u64, Choice>::new();
    let (mut id, mut counted, mut ended) = (None, false, false);
    for (_, data) in events {
        need(!ended, "nothing follows the end", data)?;
        if *data == "[DONE]" {
            need(!choices.is_empty() && choices.values().all(|choice| choice.finished), "every choice has finished", data)?;
            ended = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(data).map_err(|e| format!("{e}: {data}"))?;
        if chunk.get("error").is_some() {
            ended = true;
            continue;
        }
        need(chunk["id"].as_str().is_some_and(|id| !id.is_empty()), "a chunk has an id", data)?;
        need(id.get_or_insert_with(|| chunk["id"].clone()) == &chunk["id"], "all chunks have one id", data)?;
        need(chunk["created"].as_u64().is_some_and(|at| at > 0), "a chunk says when", data)?;
        need(!counted, "usage comes last", data)?;
        let list = chunk["choices"].as_array().ok_or("a chunk has choices")?;
        if list.is_empty() {
            need(chunk["usage"].is_object(), "a chunk without choices has the usage", data)?;
            need(choices.values().all(|choice| choice.finished), "usage follows every finish", data)?;
            counted = true;
        }
        for item in list {
            let index = item["index"].as_u64().ok_or("a choice has an index")?;
            if !choices.contains_key(&index) {
                need(item["delta"]["role"] == "assistant", "a choice begins with its role", data)?;
            }
            let choice = choices.entry(index).or_default();
            need(!choice.finished, "nothing follows the finish", data)?;
            for call in item["delta"]["tool_calls"].as_array().into_iter().flatten() {
                let n = call["index"].as_u64().ok_or("a call has an index")?;
                if n == choice.calls {
                    let held = &call[call["type"].as_str().unwrap_or_default()];
                    need(call["id"].is_string() && held["name"].is_string(), "a call begins with id, type and name", data)?;
                    choice.calls += 1;
                }
                need(n < choice.calls, "calls are numbered in order", data)?;
            }
            choice.finished = item["finish_reason"].is_string();
        }
    }
    if ended { Ok(()) } else { Err("the stream has no end".to_owned()) }
}

/// Where an Anthropic stream stands.
#[derive(PartialEq)]
enum State {
    Idle,
    Between,
    Inside { index: u64, kind: String },
    Summed,
    Ended,
}

/// `message_start`, blocks one after another, `message_delta`, `message_stop`; or an `error` last.
fn anthropic(events: &[(Option<&str>, &str)]) -> Result<(), String> {
    let (mut state, mut blocks) = (State::Idle, 0);
    for (name, data) in events {
        let event: Value = serde_json::from_str(data).map_err(|e| format!("{e}: {data}"))?;
        let kind = event["type"].as_str().unwrap_or_default();
        need(*name == Some(kind), "the event's name is its type", data)?;
        need(state != State::Ended, "nothing follows the end", data)?;
        state = match (kind, state) {
            ("ping", state) => state,
            ("error", _) => State::Ended,
            ("message_start", State::Idle) => {
                need(event["message"]["id"].as_str().is_some_and(|id| !id.is_empty()), "a message has an id", data)?;
                State::Between
            }
            ("content_block_start", State::Between) => {
                need(event["index"] == blocks, "blocks are numbered in order", data)?;
                blocks += 1;
                State::Inside { index: blocks - 1, kind: event["content_block"]["type"].as_str().unwrap_or_default().to_owned() }
            }
            ("content_block_delta", State::Inside { index, kind }) => {
                need(event["index"] == index, "a delta belongs to the open block", data)?;
                let fits = match event["delta"]["type"].as_str().unwrap_or_default() {
                    "text_delta" | "citations_delta" => kind == "text",
                    "thinking_delta" | "signature_delta" => kind == "thinking",
                    "input_json_delta" => kind.ends_with("tool_use"),
                    other => kind == other.trim_end_matches("_delta"),
                };
                need(fits, "a delta fits its block", data)?;
                State::Inside { index, kind }
            }
            ("content_block_stop", State::Inside { index, .. }) => {
                need(event["index"] == index, "the open block stops", data)?;
                State::Between
            }
            ("message_delta", State::Between) => State::Summed,
            ("message_stop", State::Summed) => State::Ended,
            _ => return Err(format!("out of order: {data}")),
        };
    }
    if state == State::Ended { Ok(()) } else { Err("the stream has no end".to_owned()) }
}
