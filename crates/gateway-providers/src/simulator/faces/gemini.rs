//! Gemini generateContent, simulated.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Reply, Report, arguments, bunches, data, text_of};
use crate::simulator::{
    answer::{Answer, Ended},
    question::{Choice, Counter, Output, Question, ToolDeclared},
};

pub(in crate::simulator) fn ask(path: &str, request: &Map<String, Value>, question: &mut Question) -> Result<(), String> {
    let (resource, verb) = path.rsplit_once(':').ok_or("the path names no method")?;
    // `models/NAME`, or another resource such as `tunedModels/NAME`, under any prefix.
    let model = match resource.rsplit_once("/models/") {
        Some((_, name)) => name,
        None => resource.rmatch_indices('/').nth(1).map_or(resource, |(at, _)| &resource[at + 1..]),
    };
    question.model = model.to_owned();
    question.stream = verb == "streamGenerateContent";
    let contents = request.get("contents").and_then(Value::as_array).ok_or("contents is not specified")?;
    if contents.is_empty() {
        return Err("contents is not specified".to_owned());
    }
    let empty = json!({});
    let config = request.get("generationConfig").unwrap_or(&empty);
    question.limit = config.get("maxOutputTokens").and_then(Value::as_u64);
    let candidates = config.get("candidateCount").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    question.choices = candidates.unwrap_or(1).clamp(1, 8);
    question.stops =
        config.get("stopSequences").and_then(Value::as_array).into_iter().flatten().map(|stop| text_of(stop).to_owned()).collect();
    question.reasoning = config.pointer("/thinkingConfig/includeThoughts").and_then(Value::as_bool).unwrap_or(false);
    let schema = ["responseJsonSchema", "responseSchema"].iter().find_map(|key| config.get(*key));
    question.output = match (schema, config.get("responseMimeType").map(text_of)) {
        (Some(schema), _) => Output::Schema(schema.clone()),
        (None, Some("application/json")) => Output::Object,
        (None, _) => Output::Text,
    };
    question.choice = choice(request.get("toolConfig").and_then(|config| config.get("functionCallingConfig")));
    let mut counter = Counter::default();
    for tool in request.get("tools").and_then(Value::as_array).into_iter().flatten() {
        for function in tool.get("functionDeclarations").and_then(Value::as_array).into_iter().flatten() {
            counter.tool(function);
            let schema = function.get("parametersJsonSchema").or_else(|| function.get("parameters"));
            let name = function.get("name").map_or("", text_of).to_owned();
            question.tools.push(ToolDeclared { name, schema: schema.cloned().unwrap_or(Value::Null) });
        }
    }
    let mut said = String::new();
    if let Some(system) = request.get("systemInstruction") {
        read_parts(system, &mut said, &mut counter);
    }
    for content in contents {
        let by_model = content.get("role").map(text_of) == Some("model");
        counter.message(by_model);
        let mut said = String::new();
        let results = read_parts(content, &mut said, &mut counter);
        question.tool_results = if by_model { 0 } else { results };
        if !by_model && results == 0 {
            question.asked = said;
        }
    }
    question.tokens = counter.finish_automatic(request.contains_key("cachedContent"));
    Ok(())
}

fn choice(config: Option<&Value>) -> Choice {
    let Some(config) = config else { return Choice::Auto };
    let names = config.get("allowedFunctionNames").and_then(Value::as_array);
    match config.get("mode").map_or("", text_of) {
        "NONE" => Choice::None,
        "ANY" => match names.map(Vec::as_slice) {
            Some([only]) => Choice::Named(text_of(only).to_owned()),
            _ => Choice::Required,
        },
        _ => Choice::Auto,
    }
}

fn read_parts(content: &Value, said: &mut String, counter: &mut Counter) -> usize {
    let mut results = 0;
    for part in content.get("parts").and_then(Value::as_array).into_iter().flatten() {
        if let Some(text) = part.get("text") {
            counter.text(text_of(text));
            said.push_str(text_of(text));
        } else if let Some(response) = part.get("functionResponse") {
            results += 1;
            counter.text(&response.to_string());
        } else if part.get("inlineData").is_some() || part.get("fileData").is_some() {
            counter.media();
        } else {
            counter.text(&part.to_string());
        }
    }
    results
}

fn finish_reason(answer: &Answer) -> &'static str {
    match answer.ended {
        // Gemini says STOP even when it calls a tool.
        Ended::Stop | Ended::StopSequence(_) | Ended::Tools => "STOP",
        Ended::Length => "MAX_TOKENS",
    }
}

fn usage(report: &Report) -> Value {
    let mut usage = json!({
        "promptTokenCount": report.prompt.total,
        "candidatesTokenCount": report.visible,
        "totalTokenCount": report.prompt.total + report.visible + report.reasoning,
        "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": report.prompt.total }],
    });
    if report.reasoning > 0 {
        usage["thoughtsTokenCount"] = report.reasoning.into();
    }
    if report.prompt.cache_read > 0 {
        usage["cachedContentTokenCount"] = report.prompt.cache_read.into();
    }
    usage
}

/// The calls, whole as Gemini sends them; the first carries the signature when the model thought.
fn calls(answer: &Answer) -> impl Iterator<Item = Value> + '_ {
    answer.calls.iter().enumerate().map(|(at, call)| {
        let mut part = json!({ "functionCall": { "id": call.id, "name": call.name, "args": arguments(&call.arguments) } });
        if at == 0 && !answer.reasoning.is_empty() {
            part["thoughtSignature"] = answer.signature.as_str().into();
        }
        part
    })
}

fn envelope(reply: &Reply<'_>, candidates: &Value) -> Value {
    json!({ "candidates": candidates, "modelVersion": reply.question.model, "responseId": reply.id("") })
}

pub(in crate::simulator) fn whole(reply: &Reply<'_>) -> Value {
    let candidates: Value = reply
        .answers
        .iter()
        .enumerate()
        .map(|(index, answer)| {
            let mut parts = Vec::new();
            if !answer.reasoning.is_empty() {
                parts.push(json!({ "text": answer.reasoning.concat(), "thought": true }));
            }
            if !answer.text.is_empty() {
                let mut part = json!({ "text": answer.text.concat() });
                if !answer.reasoning.is_empty() {
                    part["thoughtSignature"] = answer.signature.as_str().into();
                }
                parts.push(part);
            }
            parts.extend(calls(answer));
            json!({ "index": index, "content": { "role": "model", "parts": parts }, "finishReason": finish_reason(answer) })
        })
        .collect();
    let mut body = envelope(reply, &candidates);
    if let Some(report) = reply.report() {
        body["usageMetadata"] = usage(&report);
    }
    body
}

pub(in crate::simulator) fn events(reply: &Reply<'_>) -> Vec<Bytes> {
    let report = reply.report();
    let mut events = Vec::new();
    for (index, answer) in reply.answers.iter().enumerate() {
        let mut push = |parts: Value, finish: Option<&str>| {
            let mut candidate = json!({ "index": index, "content": { "role": "model", "parts": parts } });
            if let Some(finish) = finish {
                candidate["finishReason"] = finish.into();
            }
            let mut chunk = envelope(reply, &json!([candidate]));
            // Cumulative in every chunk; the last one counts, so the earlier ones state the prompt alone.
            if let Some(report) = &report {
                let so_far = Report { prompt: report.prompt, visible: 0, reasoning: 0 };
                chunk["usageMetadata"] = usage(if finish.is_some() { report } else { &so_far });
            }
            events.push(data(&chunk));
        };
        bunches(&answer.reasoning).for_each(|text| push(json!([{ "text": text, "thought": true }]), None));
        bunches(&answer.text).for_each(|text| push(json!([{ "text": text }]), None));
        calls(answer).for_each(|call| push(json!([call]), None));
        let mut last = json!({ "text": "" });
        if !answer.reasoning.is_empty() && answer.calls.is_empty() {
            last["thoughtSignature"] = answer.signature.as_str().into();
        }
        push(json!([last]), Some(finish_reason(answer)));
    }
    events
}

pub(in crate::simulator) fn error(status: StatusCode, message: &str, retry_after_s: Option<u64>) -> Value {
    let name = match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    let mut error = json!({ "code": status.as_u16(), "message": message, "status": name });
    if let Some(seconds) = retry_after_s {
        error["details"] = json!([{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s") }]);
    }
    json!({ "error": error })
}
