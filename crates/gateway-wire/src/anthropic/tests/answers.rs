//! Answers shown to callers of this protocol, and the way back of what they carry.

use gateway_core::{
    Usage,
    ir::{Choice, Citation, Delta, Finish, FinishReason, PartKind, ToolCall, ToolKind},
};
use serde_json::json;

use super::*;

fn answer(parts: Vec<Part>, reason: FinishReason) -> ChatResponse {
    let choice = Choice { index: 0, parts, finish: Finish::new(reason), logprobs: None, extras: None };
    ChatResponse { choices: vec![choice], ..ChatResponse::default() }
}

fn shown(response: &ChatResponse) -> (Value, Vec<String>) {
    let mut losses = Losses::new();
    let bytes = AnthropicIngress::new().encode(response, &ctx(), &mut losses);
    (json(&bytes), lost(&losses))
}

fn call(kind: ToolKind, arguments: &str) -> Part {
    Part::new(PartBody::ToolCall(ToolCall { id: "c".into(), name: "f".into(), arguments: arguments.into(), kind }))
}

#[test]
fn every_reason_has_a_word_the_clients_know() {
    for (reason, word) in [
        (FinishReason::Stop, "end_turn"),
        (FinishReason::StopSequence, "stop_sequence"),
        (FinishReason::Length, "max_tokens"),
        (FinishReason::ContextFull, "model_context_window_exceeded"),
        (FinishReason::ToolCalls, "tool_use"),
        (FinishReason::ContentFilter, "refusal"),
        (FinishReason::Refusal, "refusal"),
        (FinishReason::Paused, "pause_turn"),
        (FinishReason::MalformedToolCall, "end_turn"),
        (FinishReason::Error, "end_turn"),
        (FinishReason::Other, "end_turn"),
    ] {
        let (body, losses) = shown(&answer(vec![Part::text("x")], reason));
        assert_eq!((body["stop_reason"].as_str(), losses.len()), (Some(word), 0), "{reason:?}");
    }
    let refused = answer(vec![Part::new(PartBody::Refusal("No.".into()))], FinishReason::Stop);
    let (body, _) = shown(&refused);
    assert_eq!((&body["stop_reason"], &body["content"][0]["text"]), (&json!("refusal"), &json!("No.")));
}

#[test]
fn an_answer_of_another_protocol_is_a_whole_message() {
    let mut response = answer(vec![Part::text(""), Part::text("Hi")], FinishReason::Stop);
    response.usage = Some(Usage { input_uncached: Some(3), output_text: Some(1), ..Usage::default() });
    response.choices.push(Choice { index: 1, ..response.choices[0].clone() });
    let (body, losses) = shown(&response);
    let expected = json!({"id": "msg_req_07070707070707070707070707070707", "type": "message", "role": "assistant", "model": "public",
        "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 3, "output_tokens": 1}});
    assert_eq!(body, expected);
    assert_eq!(losses, ["choices[1];unsupported"]);
    // The clients demand the counts.
    assert_eq!(shown(&answer(Vec::new(), FinishReason::Stop)).0["usage"], json!({"input_tokens": 0, "output_tokens": 0}));
}

#[test]
fn foreign_seals_travel_and_come_back() {
    let parts = vec![
        reasoning("thought", Some(foreign_seal())),
        reasoning("", Some(foreign_seal())),
        Part::text("Hi").sealed(Some(foreign_seal())),
        call(ToolKind::Function, r#"{"a":1}"#).sealed(Some(foreign_seal())),
        call(ToolKind::Function, "{}"),
    ];
    let (body, losses) = shown(&answer(parts.clone(), FinishReason::ToolCalls));
    assert_eq!(losses, [""; 0]);
    let token = "bw1.gemini.Q2lRPQ";
    assert_eq!(body["content"][0], json!({"type": "thinking", "thinking": "thought", "signature": token}));
    assert_eq!(body["content"][3], json!({"type": "redacted_thinking", "data": token}));
    let request = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": body["content"]}]}).to_string();
    let head = http::Request::post("/v1/messages").body(()).unwrap().into_parts().0;
    assert!(AnthropicIngress::new().peek(&head, request.as_bytes()).unwrap().foreign_seal);
    let back = AnthropicIngress::new().decode(&head, request.as_bytes()).unwrap();
    assert_eq!(back.messages[0].parts, parts);
}

#[test]
fn what_cannot_be_shown_is_named() {
    let citation = Citation { url: None, title: None, cited_text: None, start: None, end: None, origin: GEMINI, raw: raw("{}") };
    let parts = vec![
        Part::new(PartBody::Text { text: "x".into(), citations: vec![citation] }),
        Part::new(PartBody::Opaque { origin: GEMINI, raw: raw("{}") }),
        call(ToolKind::Function, "{\"a\":"),
        call(ToolKind::Custom, "print(\"hi\")"),
    ];
    let (body, losses) = shown(&answer(parts, FinishReason::ToolCalls));
    assert_eq!(
        losses,
        ["choices[0].content[0].citations;foreign", "choices[0].content[1];foreign", "choices[0].content[2].arguments;malformed"]
    );
    assert_eq!(body["content"][1]["input"], json!({"raw_arguments": "{\"a\":"}));
    assert_eq!(body["content"][2]["input"], json!({"input": "print(\"hi\")"}));
}

fn start(part: u32, kind: PartKind<'static>) -> Event<'static> {
    Event::PartStart { choice: 0, part, kind }
}

fn text(part: u32, text: &'static str) -> Event<'static> {
    Event::Delta { choice: 0, part, delta: Delta::Text(text.into()) }
}

fn seal(part: u32) -> Event<'static> {
    Event::Delta { choice: 0, part, delta: Delta::Seal(foreign_seal()) }
}

fn end(part: u32) -> Event<'static> {
    Event::PartEnd { choice: 0, part }
}

fn tool(kind: ToolKind) -> PartKind<'static> {
    PartKind::ToolCall { id: "c".into(), name: "f".into(), kind }
}

fn finish(reason: FinishReason) -> Event<'static> {
    Event::Finish { choice: 0, finish: Finish::new(reason) }
}

/// Frames without their envelope: the event and what is in it.
fn frames(stream: &str) -> Vec<Value> {
    stream.lines().filter_map(|line| line.strip_prefix("data: ")).map(|data| json(data.as_bytes())).collect()
}

#[test]
fn the_ladder_is_whole_for_the_emptiest_answer() {
    let (stream, losses) = streamed(&[Event::Start { id: None, model: None, created: None }, finish(FinishReason::Stop), Event::End]);
    let names: Vec<_> = frames(&stream).iter().map(|frame| frame["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["message_start", "message_delta", "message_stop"]);
    assert_eq!(frames(&stream)[0]["message"]["usage"], json!({"input_tokens": 0, "output_tokens": 0}));
    assert!(losses.is_empty());
}

#[test]
fn usage_known_early_is_stated_early() {
    let usage = Usage { input_uncached: Some(9), ..Usage::default() };
    let report = Event::Usage { usage, is_final: false };
    let begun = Event::Start { id: Some("x".into()), model: None, created: None };
    let (stream, _) = streamed(&[begun, report, start(0, PartKind::Text), text(0, "Hi"), end(0), finish(FinishReason::Stop)]);
    let frames = frames(&stream);
    assert_eq!(frames[0]["message"]["usage"]["input_tokens"], 9);
    assert_eq!(frames[4]["usage"], json!({"input_tokens": 9, "output_tokens": 0}));
}

#[test]
fn interleaved_calls_become_blocks_in_turn() {
    let (stream, losses) = streamed(&[
        start(0, PartKind::Text),
        end(0),
        start(1, tool(ToolKind::Function)),
        start(2, tool(ToolKind::Custom)),
        text(1, "{\"a\""),
        text(2, "say \"hi\"\n"),
        text(1, ":1}"),
        seal(1),
        end(1),
        end(2),
        start(3, tool(ToolKind::Function)),
        end(3),
        finish(FinishReason::ToolCalls),
    ]);
    assert!(losses.is_empty());
    let mut inputs = vec![String::new(); 4];
    let (mut kinds, mut open) = (Vec::new(), None);
    for frame in frames(&stream) {
        let index = usize::try_from(frame["index"].as_u64().unwrap_or(0)).unwrap();
        match frame["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(index, kinds.len(), "blocks start in order, without gaps: {stream}");
                assert_eq!(open.replace(index), None, "one block at a time: {stream}");
                kinds.push(frame["content_block"]["type"].clone());
            }
            "content_block_stop" => assert_eq!(open.take(), Some(index), "{stream}"),
            "content_block_delta" => inputs[index].push_str(frame["delta"]["partial_json"].as_str().unwrap()),
            _ => {}
        }
    }
    assert_eq!(json!(kinds), json!(["tool_use", "redacted_thinking", "tool_use", "tool_use"]));
    assert_eq!(json(inputs[0].as_bytes()), json!({"a": 1}));
    assert_eq!(json(inputs[2].as_bytes()), json!({"input": "say \"hi\"\n"}));
}

#[test]
fn what_comes_after_a_whole_object_is_shown_or_lost_but_never_in_another_block() {
    let (stream, losses) = streamed(&[
        start(0, tool(ToolKind::Function)),
        start(1, tool(ToolKind::Function)),
        text(0, "{}"),
        text(1, "{\"b\":"),
        text(0, " \n"),
        text(0, "{}"),
        seal(0),
        text(1, "2}"),
        end(0),
        end(1),
        finish(FinishReason::ToolCalls),
    ]);
    assert_eq!(losses, ["choices[0].content[0].arguments;malformed", "choices[0].content[0].seal;foreign"]);
    let deltas: Vec<_> = frames(&stream)
        .iter()
        .filter_map(|frame| Some((frame["index"].as_u64()?, frame["delta"]["partial_json"].as_str()?.to_owned())))
        .collect();
    assert_eq!(deltas, [(0, "{}".to_owned()), (1, "{\"b\":".to_owned()), (1, "2}".to_owned())]);
}

#[test]
fn further_choices_are_one_loss() {
    let other = |event| match event {
        Event::Delta { part, delta, .. } => Event::Delta { choice: 1, part, delta },
        Event::PartStart { part, kind, .. } => Event::PartStart { choice: 1, part, kind },
        event => event,
    };
    let events = [other(start(0, PartKind::Text)), other(text(0, "no")), start(0, PartKind::Text), text(0, "yes"), end(0)];
    let (stream, losses) = streamed(&events);
    assert!(!stream.contains("no\"") && stream.contains("yes"), "{stream}");
    assert_eq!(losses, ["choices;unsupported"]);
}

#[test]
fn an_interruption_is_the_protocols_error_event() {
    let mut encoder = AnthropicIngress::new().event_encoder(&ctx());
    let mut out = BytesMut::new();
    let fault = Fault::new(gateway_core::FaultKind::Overloaded, gateway_core::Origin::Provider, "too busy");
    encoder.interrupt(&fault, &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert!(
        text.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"too busy\"}"),
        "{text}"
    );
    assert!(text.ends_with("\n\n") && !text.contains("message_stop"));
    assert_eq!(&encoder.keep_alive()[..], b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
}
