//! The shape a request body must have for a provider of each protocol to take it.

use std::sync::Arc;

use gateway_core::{
    Deployment, DeploymentId, Egress, Losses, ModelLimits, OnLoss, Protocol, ProviderId, Quirks, Target, Timeouts, ir::ChatRequest,
};
use gateway_wire::{ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT};
use serde_json::Value;

use crate::properties::{Held, PUBLIC, egresses};

pub(crate) fn deployment(egress: &dyn Egress, quirks: Quirks) -> Deployment {
    Deployment {
        id: DeploymentId::new("d"),
        provider: ProviderId::new("p"),
        model: Arc::from(PUBLIC),
        upstream_model: Arc::from("upstream-model"),
        protocol: egress.protocol(),
        weight: 1,
        limits: ModelLimits::default(),
        timeouts: Timeouts::default(),
        on_loss: OnLoss::Report,
        quirks,
        notice: None,
    }
}

/// A request of a caller as the protocol of each provider would have it: valid, whatever was lost.
pub(crate) fn encodes_everywhere(request: &ChatRequest) -> Held {
    for egress in egresses() {
        let to = egress.protocol();
        for quirks in [Quirks::default(), Quirks { thinking_by_effort: true, no_sampling: true, ..Quirks::default() }] {
            let deployment = deployment(&*egress, quirks);
            let target = Target { deployment: &deployment, stream: request.stream, output_limit: Some(1_000) };
            let encoded = egress.encode(request, &target, &mut Losses::new()).map_err(|e| format!("to {to}: {e}"))?;
            let body: Value = serde_json::from_slice(&encoded.body).map_err(|e| format!("to {to}: not JSON: {e}"))?;
            valid(to, &body).map_err(|e| format!("to {to}: {e}"))?;
        }
    }
    Ok(())
}

/// Checks what the provider would refuse.
fn valid(protocol: Protocol, body: &Value) -> Result<(), String> {
    match protocol {
        OPENAI_CHAT => chat(body),
        ANTHROPIC_MESSAGES => anthropic(body),
        GEMINI => gemini(body),
        other => Err(format!("no shape is known for {other}")),
    }
}

fn need(holds: bool, what: &str, value: &Value) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what}: {}", value.to_string().chars().take(300).collect::<String>())) }
}

fn list<'v>(value: &'v Value, what: &str) -> Result<&'v Vec<Value>, String> {
    value.as_array().filter(|items| !items.is_empty()).ok_or_else(|| format!("{what} must be a list that is not empty, not {value}"))
}

fn chat(body: &Value) -> Result<(), String> {
    need(body["model"].is_string(), "a model is needed", &body["model"])?;
    for message in list(&body["messages"], "messages")? {
        let role = message["role"].as_str().unwrap_or_default();
        need(["system", "developer", "user", "assistant", "tool"].contains(&role), "unknown role", message)?;
        let content = &message["content"];
        need(content.is_string() || content.is_array() || role == "assistant", "content is needed", message)?;
        need(role != "tool" || message["tool_call_id"].is_string(), "a tool message needs its call's id", message)?;
        for part in content.as_array().into_iter().flatten() {
            need(part["type"].is_string(), "a part needs a type", part)?;
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            need(call["id"].is_string(), "a call needs an id", call)?;
            let body = if call["type"] == "custom" { &call["custom"]["input"] } else { &call["function"]["arguments"] };
            need(body.is_string(), "arguments are text", call)?;
        }
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        need(tool["type"].is_string(), "a tool needs a type", tool)?;
    }
    Ok(())
}

fn anthropic(body: &Value) -> Result<(), String> {
    need(body["model"].is_string(), "a model is needed", &body["model"])?;
    need(body["max_tokens"].as_u64().is_some_and(|n| n > 0), "max_tokens is needed", &body["max_tokens"])?;
    let mut open: Vec<&str> = Vec::new();
    for message in list(&body["messages"], "messages")? {
        let role = message["role"].as_str().unwrap_or_default();
        need(["user", "assistant", "system"].contains(&role), "unknown role", message)?;
        if let Some(text) = message["content"].as_str() {
            need(!text.is_empty(), "content must not be empty", message)?;
            continue;
        }
        for block in list(&message["content"], "content")? {
            match block["type"].as_str() {
                Some("text") => need(block["text"].as_str().is_some_and(|text| !text.is_empty()), "empty text is refused", block)?,
                Some("tool_use") => {
                    need(block["input"].is_object(), "input is an object", block)?;
                    let id = block["id"].as_str().unwrap_or_default();
                    let fits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                    need(fits, "the id has characters that are refused", block)?;
                    open.push(id);
                }
                Some("tool_result") => {
                    let known = block["tool_use_id"].as_str().is_some_and(|id| open.contains(&id));
                    need(known, "a result needs its call before it", block)?;
                }
                Some(_) => {}
                None => need(false, "a block needs a type", block)?,
            }
        }
    }
    for tool in body["tools"].as_array().into_iter().flatten() {
        need(tool["name"].is_string(), "a tool needs a name", tool)?;
    }
    Ok(())
}

fn gemini(body: &Value) -> Result<(), String> {
    need(body.get("model").is_none(), "the model is in the path", body)?;
    for content in list(&body["contents"], "contents")? {
        need(content["role"] == "user" || content["role"] == "model", "unknown role", content)?;
        for part in list(&content["parts"], "parts")? {
            let kinds = ["text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult"];
            need(kinds.iter().filter(|kind| part.get(**kind).is_some()).count() == 1, "a part has one kind", part)?;
            if let Some(call) = part.get("functionCall") {
                need(content["role"] == "model" && call["name"].is_string() && call["args"].is_object(), "a call", part)?;
            }
            if let Some(answer) = part.get("functionResponse") {
                need(content["role"] == "user" && answer["name"].is_string() && answer["response"].is_object(), "a result", part)?;
            }
            if let Some(data) = part.get("inlineData") {
                need(data["mimeType"].is_string() && data["data"].is_string(), "inline data", part)?;
            }
        }
    }
    for pair in body["contents"].as_array().into_iter().flatten().collect::<Vec<_>>().windows(2) {
        need(pair[0]["role"] != pair[1]["role"], "speakers must alternate", pair[1])?;
    }
    let thinking = &body["generationConfig"]["thinkingConfig"];
    let both = thinking.get("thinkingBudget").is_some() && thinking.get("thinkingLevel").is_some();
    need(!both, "a budget and a level are refused together", thinking)
}
