//! What must hold for every recorded exchange, whatever its protocol.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use gateway_core::{
    Egress, FaultKind, Ingress, Losses, Memo, Pricer, Relay, RelayCtx, RenderCtx, RequestId, Signal, Usage,
    ir::{ChatResponse, Event, PartBody},
    stream::{Fold, Transcoder},
};
use gateway_wire::{
    anthropic::{AnthropicEgress, AnthropicIngress},
    gemini::GeminiEgress,
    openai_chat::{OpenAiChatEgress, OpenAiChatIngress},
};
use serde_json::Value;

use crate::cassettes::{self, Cassette};

#[path = "ladder.rs"]
mod ladder;

/// A property: nothing, or what does not hold.
pub(crate) type Held = Result<(), String>;

/// Fewer must not pass.
const PASS_RATE_MIN: f64 = 0.98;

/// Checks every wanted cassette, prints the count and the rate, and names each failure.
pub(crate) fn run(title: &str, apis: &[&str], wanted: impl Fn(&Cassette) -> bool, check: impl Fn(&Cassette) -> Held) {
    let Some(all) = cassettes::load(apis) else { return };
    let (mut count, mut failed) = (0_u32, Vec::new());
    for cassette in all.iter().filter(|cassette| wanted(cassette)) {
        count += 1;
        let outcome = catch_unwind(AssertUnwindSafe(|| check(cassette))).unwrap_or_else(|_| Err("panicked".to_owned()));
        if let Err(reason) = outcome {
            failed.push(format!("{}: {reason}", cassette.file));
        }
    }
    assert!(count > 0, "{title}: nothing to check");
    let passed = count - u32::try_from(failed.len()).expect("fewer failures than cassettes");
    let rate = f64::from(passed) / f64::from(count);
    println!("{title}: {passed} of {count} passed ({:.1} %)", rate * 100.0);
    for failure in &failed {
        println!("  {failure}");
    }
    assert!(rate >= PASS_RATE_MIN, "{title}: {passed} of {count} passed\n{}", failed.join("\n"));
}

/// The callers' halves.
pub(crate) fn ingresses() -> [Arc<dyn Ingress>; 2] {
    [Arc::new(OpenAiChatIngress::new()), Arc::new(AnthropicIngress::new())]
}

/// The providers' halves.
pub(crate) fn egresses() -> [Arc<dyn Egress>; 3] {
    [Arc::new(OpenAiChatEgress::new()), Arc::new(AnthropicEgress::new()), Arc::new(GeminiEgress::new())]
}

/// The model's name that callers see.
pub(crate) const PUBLIC: &str = "public-model";

pub(crate) fn render() -> RenderCtx {
    RenderCtx {
        request_id: RequestId::from_bytes([7; 16]),
        model: Arc::from(PUBLIC),
        created: 1,
        stream_usage: true,
        price: Pricer::default(),
    }
}

/// A whole answer: decodes, adds up, is shown to every caller with the same meaning, and is relayed but for its model.
pub(crate) fn whole_answer(egress: &dyn Egress, cassette: &Cassette, memo: &Memo, usage: impl Fn(&Value, &Usage) -> Held) -> Held {
    let recorded: Value = serde_json::from_slice(&cassette.body).map_err(|e| e.to_string())?;
    let ctx = RelayCtx { render: render(), memo: memo.clone() };
    let body = Bytes::copy_from_slice(&cassette.body);
    if let Some(fault) = egress.fault_in_body(&cassette.body) {
        let relayed = egress.relay_whole(&ctx, body, &mut |_| {});
        return if relayed.is_err() { Ok(()) } else { Err(format!("an error is relayed as an answer: {fault}")) };
    }
    let answer = egress.decode(&cassette.body, memo).map_err(|e| format!("decode: {e}"))?;
    if let Some(found) = &answer.usage {
        usage(&recorded, found)?;
    }
    for ingress in ingresses() {
        let to = ingress.protocol();
        let bytes = ingress.encode(&answer, &render(), &mut Losses::new());
        let again = reader(to).decode(&bytes, &Memo::default()).map_err(|e| format!("shown as {to}: {e}"))?;
        same(&answer, &again, to.as_str())?;
    }
    let mut seen = None;
    let relayed = egress.relay_whole(&ctx, body, &mut |signal| {
        if let Signal::Usage { usage, is_final: true } = signal {
            seen = Some(usage);
        }
    });
    let relayed = relayed.map_err(|fault| format!("relay: {fault}"))?;
    let relayed: Value = serde_json::from_slice(&relayed).map_err(|e| format!("relay: {e}"))?;
    equal("the relayed answer", &relayed, &renamed(recorded))?;
    equal("the relayed usage", &seen, &answer.usage)
}

/// A streamed answer: does not depend on splits, adds up, reads the same for every caller, and is relayed but for its model.
pub(crate) fn streamed_answer(egress: &dyn Egress, cassette: &Cassette, memo: &Memo, usage: impl Fn(&Value, &Usage) -> Held) -> Held {
    let body = Bytes::copy_from_slice(&cassette.body);
    if broken(&cassette.body) {
        return refused_stream(egress, memo, &body);
    }
    let (events, folded) = decode(egress, memo, std::slice::from_ref(&body))?;
    if let Some(found) = &folded.usage {
        usage(&last_usage(&cassette.body), found)?;
    }
    let make = || egress.relay(&RelayCtx { render: render(), memo: memo.clone() });
    let relayed = play(&mut *make(), std::slice::from_ref(&body))?;
    for (step, offset) in [(1, 0), (7, 3), (64, 11), (1_000, 501)] {
        let chunks = chunks(&body, step, offset);
        equal("the events, split", &decode(egress, memo, &chunks)?.0, &events)?;
        equal("the relayed stream, split", &play(&mut *make(), &chunks)?, &relayed)?;
    }
    equal("the relayed stream", &frames(&relayed), &frames(&cassette.body).into_iter().map(renamed).collect())?;
    for ingress in ingresses() {
        let to = ingress.protocol();
        let mut relay = Transcoder::new(egress.framer(), egress.event_decoder(memo.clone()), ingress.event_encoder(&render()));
        let written = play(&mut relay, std::slice::from_ref(&body)).map_err(|e| format!("as {to}: {e}"))?;
        ladder::check(to.as_str(), &String::from_utf8_lossy(&written)).map_err(|e| format!("as {to}: {e}"))?;
        let reader = reader(to);
        let (_, again) = decode(&*reader, &Memo::default(), &[Bytes::from(written)]).map_err(|e| format!("as {to}: {e}"))?;
        same(&folded, &again, to.as_str())?;
    }
    Ok(())
}

/// A stream in which the provider reported an error, or which it never finished.
fn broken(stream: &[u8]) -> bool {
    let frames = frames(stream);
    let finished = |frame: &Value| {
        let choices = [&frame["choices"], &frame["candidates"]].into_iter().filter_map(Value::as_array).flatten();
        choices.into_iter().any(|choice| choice["finish_reason"].is_string() || choice["finishReason"].is_string())
    };
    frames.iter().any(|frame| frame["error"].is_object()) || !frames.iter().any(finished)
}

/// Such a stream must pass for a clean end nowhere.
fn refused_stream(egress: &dyn Egress, memo: &Memo, body: &Bytes) -> Held {
    let ends = |what: &str, clean: bool| if clean { Err(format!("a broken stream ends well: {what}")) } else { Ok(()) };
    for chunks in [vec![body.clone()], chunks(body, 1, 0)] {
        ends("decoded", decode(egress, memo, &chunks).is_ok())?;
        ends("relayed", play(&mut *egress.relay(&RelayCtx { render: render(), memo: memo.clone() }), &chunks).is_ok())?;
        for ingress in ingresses() {
            let encoder = ingress.event_encoder(&render());
            let mut relay = Transcoder::new(egress.framer(), egress.event_decoder(memo.clone()), encoder);
            ends(ingress.protocol().as_str(), play(&mut relay, &chunks).is_ok())?;
        }
    }
    Ok(())
}

/// An error: understood, and told to every caller as an error of his own protocol; never as one of his own key.
pub(crate) fn error(egress: &dyn Egress, cassette: &Cassette, allowed: &[FaultKind]) -> Held {
    let mut head = http::Response::builder().status(cassette.status);
    for (name, value) in &cassette.headers {
        head = head.header(name, value.as_str().unwrap_or_default());
    }
    let head = head.body(()).map_err(|e| e.to_string())?.into_parts().0;
    let fault = egress.decode_fault(&head, &Bytes::copy_from_slice(&cassette.body));
    if !allowed.contains(&fault.kind()) {
        return Err(format!("status {} is {fault}, expected one of {allowed:?}", cassette.status));
    }
    for ingress in ingresses() {
        let (status, body) = ingress.encode_fault(&fault, RequestId::from_bytes([7; 16]));
        let to = ingress.protocol();
        if status.as_u16() < 400 || status.as_u16() == 401 {
            return Err(format!("told as {to} with status {status}"));
        }
        let body: Value = serde_json::from_slice(&body).map_err(|e| format!("told as {to}: {e}"))?;
        if body.get("error").is_none() && ingress.protocol() != egress.protocol() {
            return Err(format!("told as {to} without an error: {body}"));
        }
    }
    Ok(())
}

/// The half that reads what the protocol's caller half wrote.
fn reader(protocol: gateway_core::Protocol) -> Arc<dyn Egress> {
    egresses().into_iter().find(|egress| egress.protocol() == protocol).expect("both halves of every callers' protocol")
}

/// Two answers mean the same: text and calls of the first choice. Empty text is nothing.
fn same(answer: &ChatResponse, again: &ChatResponse, to: &str) -> Held {
    equal(&format!("the meaning, shown as {to}"), &meaning(again), &meaning(answer))
}

fn meaning(answer: &ChatResponse) -> (String, Vec<(String, Value)>) {
    let (mut text, mut calls) = (String::new(), Vec::new());
    for part in answer.choices.first().into_iter().flat_map(|choice| &choice.parts) {
        match &part.body {
            PartBody::Text { text: more, .. } | PartBody::Refusal(more) => text.push_str(more),
            PartBody::ToolCall(call) => {
                let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
                calls.push((call.name.clone(), serde_json::from_str(arguments).unwrap_or_else(|_| Value::from(arguments))));
            }
            PartBody::Media(_) | PartBody::Reasoning(_) | PartBody::ToolResult(_) | PartBody::Opaque { .. } => {}
        }
    }
    (text, calls)
}

fn decode(egress: &dyn Egress, memo: &Memo, chunks: &[Bytes]) -> Result<(String, ChatResponse), String> {
    let (mut framer, mut decoder) = (egress.framer(), egress.event_decoder(memo.clone()));
    let (mut text, mut fold, mut failed) = (String::new(), Fold::new(), None);
    let mut see = |event: Event<'_>| {
        text.push_str(&format!("{event:?}\n"));
        if let Err(fault) = fold.push(&event) {
            failed.get_or_insert(fault.to_string());
        }
    };
    let mut result = Ok(());
    for chunk in chunks {
        result = result.and_then(|()| framer.push(chunk, &mut |frame| decoder.decode(frame, &mut see)));
    }
    result = result.and_then(|()| framer.finish(&mut |frame| decoder.decode(frame, &mut see))).and_then(|()| decoder.finish(&mut see));
    result.map_err(|e| format!("stream: {e}"))?;
    match failed {
        Some(fault) => Err(format!("stream: {fault}")),
        None => Ok((text, fold.finish())),
    }
}

fn play(relay: &mut dyn Relay, chunks: &[Bytes]) -> Result<Vec<u8>, String> {
    let (mut out, mut signals) = (VecDeque::new(), Vec::new());
    let mut result = Ok(());
    for chunk in chunks {
        result = result.and_then(|()| relay.push(chunk.clone(), &mut out, &mut |signal| signals.push(signal)));
    }
    result = result.and_then(|()| relay.finish(&mut out, &mut |signal| signals.push(signal)));
    result.map_err(|fault| format!("relay: {fault:?}"))?;
    let commits = signals.iter().filter(|signal| matches!(signal, Signal::Commit)).count();
    let finished = signals.iter().any(|signal| matches!(signal, Signal::Finish(_)));
    if commits != 1 || !finished {
        return Err(format!("relay: {commits} commits, finished: {finished}"));
    }
    Ok(out.iter().flat_map(|bytes| bytes.iter().copied()).collect())
}

fn chunks(body: &Bytes, step: usize, offset: usize) -> Vec<Bytes> {
    let mut cut = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let end = if at == 0 && offset > 0 { offset } else { at + step }.min(body.len());
        cut.push(body.slice(at..end));
        at = end;
    }
    cut
}

/// The JSON payloads of a stream.
fn frames(stream: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(stream);
    let payloads = text.lines().filter_map(|line| line.strip_prefix("data:"));
    payloads.filter_map(|payload| serde_json::from_str(payload).ok()).collect()
}

/// The last frame that states tokens, for the sums.
fn last_usage(stream: &[u8]) -> Value {
    let states = |frame: &Value| {
        let groq = &frame["x_groq"]["usage"];
        frame["usage"].is_object() || groq.is_object() || frame["usageMetadata"]["promptTokenCount"].is_u64()
    };
    frames(stream).into_iter().rev().find(states).unwrap_or_default()
}

fn renamed(mut answer: Value) -> Value {
    for key in ["model", "modelVersion"] {
        if answer.get(key).is_some() {
            answer[key] = PUBLIC.into();
        }
    }
    answer
}

pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Held {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
    let differ = found.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count().saturating_sub(80);
    let near = |text: &str| text.chars().skip(text.get(..differ).map_or(0, |s| s.chars().count())).take(300).collect::<String>();
    Err(format!("{what} differ: …{} but expected …{}", near(&found), near(&expected)))
}
