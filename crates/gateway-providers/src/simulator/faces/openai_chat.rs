//! OpenAI chat completions, simulated.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{CREATED, Reply, Report, bunches, data, text_of};
use crate::simulator::{
    answer::{Answer, Ended},
    question::{Choice, Counter, Output, Question, ToolDeclared, UsageAt},
};

pub(in crate::simulator) fn ask(request: &Map<String, Value>, question: &mut Question) -> Result<(), String> {
    question.model = request.get("model").and_then(Value::as_str).ok_or("you must provide a model parameter")?.to_owned();
    let messages = request.get("messages").and_then(Value::as_array).ok_or("'messages' is a required property")?;
    if messages.is_empty() {
        return Err("[] is too short - 'messages'".to_owned());
    }
    let usage_asked = request.get("stream_options").and_then(|options| options.get("include_usage")).and_then(Value::as_bool);
    question.stream_usage = if usage_asked.unwrap_or(false) { UsageAt::OwnChunk } else { UsageAt::Nowhere };
    question.parallel = request.get("parallel_tool_calls").and_then(Value::as_bool).unwrap_or(true);
    question.limit = ["max_completion_tokens", "max_tokens"].iter().find_map(|key| request.get(*key).and_then(Value::as_u64));
    question.choices = request.get("n").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(1).clamp(1, 16);
    question.reasoning = request.get("reasoning_effort").is_some_and(|effort| !matches!(text_of(effort), "" | "none"));
    question.stops = match request.get("stop") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => all.iter().map(|stop| text_of(stop).to_owned()).collect(),
        _ => Vec::new(),
    };
    question.output = output(request.get("response_format"));
    question.choice = match request.get("tool_choice") {
        Some(Value::String(word)) => match word.as_str() {
            "none" => Choice::None,
            "required" | "any" => Choice::Required,
            _ => Choice::Auto,
        },
        Some(named) => named.pointer("/function/name").map_or(Choice::Auto, |name| Choice::Named(text_of(name).to_owned())),
        None => Choice::Auto,
    };
    let mut counter = Counter::default();
    for tool in request.get("tools").and_then(Value::as_array).into_iter().flatten() {
        counter.tool(tool);
        if let Some(function) = tool.get("function") {
            let schema = function.get("parameters").cloned().unwrap_or(Value::Null);
            question.tools.push(ToolDeclared { name: text_of(&function["name"]).to_owned(), schema });
        }
    }
    for message in messages {
        read_message(message, question, &mut counter);
    }
    question.tokens = counter.finish_automatic(request.contains_key("prompt_cache_key"));
    Ok(())
}

fn read_message(message: &Value, question: &mut Question, counter: &mut Counter) {
    let role = message.get("role").map_or("", text_of);
    counter.message(role == "assistant");
    let mut said = String::new();
    match message.get("content") {
        Some(Value::String(text)) => said.push_str(text),
        Some(Value::Array(parts)) => {
            for part in parts {
                match part.get("type").map_or("", text_of) {
                    "text" => said.push_str(part.get("text").map_or("", text_of)),
                    "thinking" | "refusal" => counter.text(&part.to_string()),
                    _ => counter.media(),
                }
            }
        }
        _ => {}
    }
    counter.text(&said);
    for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        counter.text(&call["function"].to_string());
    }
    match role {
        "tool" => question.tool_results += 1,
        "user" => {
            question.tool_results = 0;
            question.asked = said;
        }
        _ => question.tool_results = 0,
    }
}

fn output(format: Option<&Value>) -> Output {
    let Some(format) = format else { return Output::Text };
    match format.get("type").map_or("", text_of) {
        "json_object" => Output::Object,
        "json_schema" => format.pointer("/json_schema/schema").map_or(Output::Object, |schema| Output::Schema(schema.clone())),
        _ => Output::Text,
    }
}

fn finish_reason(answer: &Answer) -> &'static str {
    match answer.ended {
        Ended::Stop | Ended::StopSequence(_) => "stop",
        Ended::Length => "length",
        Ended::Tools => "tool_calls",
    }
}

fn usage(report: &Report) -> Value {
    let completion = report.visible + report.reasoning;
    json!({
        "prompt_tokens": report.prompt.total,
        "completion_tokens": completion,
        "total_tokens": report.prompt.total + completion,
        "prompt_tokens_details": { "cached_tokens": report.prompt.cache_read, "audio_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": report.reasoning, "audio_tokens": 0 },
    })
}

pub(in crate::simulator) fn whole(reply: &Reply<'_>) -> Value {
    let choices: Vec<Value> = reply
        .answers
        .iter()
        .enumerate()
        .map(|(index, answer)| {
            let content = if answer.text.is_empty() && !answer.calls.is_empty() { Value::Null } else { answer.text.concat().into() };
            let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
            if !answer.reasoning.is_empty() {
                message["reasoning_content"] = answer.reasoning.concat().into();
            }
            if !answer.calls.is_empty() {
                message["tool_calls"] = answer
                    .calls
                    .iter()
                    .map(|call| json!({ "id": format!("call_{}", call.id), "type": "function", "function": { "name": call.name, "arguments": call.arguments.concat() } }))
                    .collect();
            }
            json!({ "index": index, "message": message, "logprobs": null, "finish_reason": finish_reason(answer) })
        })
        .collect();
    let mut body = json!({
        "id": reply.id("chatcmpl-"),
        "object": "chat.completion",
        "created": CREATED,
        "model": reply.question.model,
        "choices": choices,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    });
    if let Some(report) = reply.report() {
        body["usage"] = usage(&report);
    }
    body
}

pub(in crate::simulator) fn events(reply: &Reply<'_>) -> Vec<Bytes> {
    let id = reply.id("chatcmpl-");
    let chunk = |choices: Value, last: Option<Value>| {
        let mut chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": CREATED, "model": reply.question.model,
            "service_tier": "default", "system_fingerprint": "fp_simulated", "choices": choices,
        });
        match last {
            Some(usage) => chunk["usage"] = usage,
            None if reply.question.stream_usage == UsageAt::OwnChunk => chunk["usage"] = Value::Null,
            None => {}
        }
        data(&chunk)
    };
    let report = reply.report();
    let mut events = Vec::new();
    for (index, answer) in reply.answers.iter().enumerate() {
        let mut delta = |delta: Value| {
            events.push(chunk(json!([{ "index": index, "delta": delta, "logprobs": null, "finish_reason": null }]), None));
        };
        delta(json!({ "role": "assistant", "content": "", "refusal": null }));
        bunches(&answer.reasoning).for_each(|text| delta(json!({ "reasoning_content": text })));
        bunches(&answer.text).for_each(|text| delta(json!({ "content": text })));
        for (at, call) in answer.calls.iter().enumerate() {
            let function = json!({ "name": call.name, "arguments": "" });
            let start = json!({ "index": at, "id": format!("call_{}", call.id), "type": "function", "function": function });
            delta(json!({ "tool_calls": [start] }));
            bunches(&call.arguments).for_each(|text| delta(json!({ "tool_calls": [{ "index": at, "function": { "arguments": text } }] })));
        }
        let with_usage = reply.question.stream_usage == UsageAt::LastChoice && index + 1 == reply.answers.len();
        let finish = json!([{ "index": index, "delta": {}, "logprobs": null, "finish_reason": finish_reason(answer) }]);
        events.push(chunk(finish, report.as_ref().filter(|_| with_usage).map(usage)));
    }
    if let (UsageAt::OwnChunk, Some(report)) = (reply.question.stream_usage, &report) {
        events.push(chunk(json!([]), Some(usage(report))));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

pub(in crate::simulator) fn error(status: StatusCode, message: &str) -> Value {
    let (kind, code) = match status.as_u16() {
        401 => ("authentication_error", "invalid_api_key".into()),
        403 => ("permission_error", Value::Null),
        404 => ("invalid_request_error", "model_not_found".into()),
        429 => ("rate_limit_exceeded", "rate_limit_exceeded".into()),
        500.. => ("server_error", Value::Null),
        _ => ("invalid_request_error", Value::Null),
    };
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}
