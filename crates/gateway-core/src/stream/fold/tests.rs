use super::*;
use crate::{
    ir::{Seal, ToolKind},
    protocol::Protocol,
};

const HOUSE: Protocol = Protocol::new("house");

fn raw(text: &str) -> Raw {
    Raw::new(RawValue::from_string(text.to_owned()).expect("json"))
}

fn folded(events: &[Event<'_>]) -> Result<ChatResponse, Fault> {
    let mut fold = Fold::new();
    events.iter().try_for_each(|event| fold.push(event))?;
    Ok(fold.finish())
}

fn text(choice: u32, part: u32, text: &str) -> Event<'_> {
    Event::Delta { choice, part, delta: Delta::Text(text.into()) }
}

#[test]
fn interleaved_parts_and_choices_come_out_in_order() {
    let tool = |id: &'static str| PartKind::ToolCall { id: id.into(), name: "t".into(), kind: ToolKind::Function };
    let answer = folded(&[
        Event::Start { id: Some("i".into()), model: None, created: Some(7) },
        Event::PartStart { choice: 1, part: 0, kind: PartKind::Text },
        text(1, 0, "one"),
        Event::PartStart { choice: 0, part: 0, kind: PartKind::Reasoning },
        Event::Delta { choice: 0, part: 0, delta: Delta::Seal(Seal { issuer: HOUSE, bytes: "s".into() }) },
        Event::PartStart { choice: 0, part: 1, kind: tool("a") },
        Event::PartStart { choice: 0, part: 2, kind: tool("b") },
        text(0, 2, "{\"b\""),
        text(0, 1, "{}"),
        text(0, 2, ":1}"),
        Event::Finish { choice: 0, finish: Finish::new(FinishReason::ToolCalls) },
        Event::End,
    ])
    .expect("folds");
    let shown = serde_json::to_value(&answer).expect("json");
    let call = |id: &str, arguments: &str| serde_json::json!({"body": {"tool_call": {"id": id, "name": "t", "arguments": arguments, "kind": "function"}}});
    assert_eq!(
        shown,
        serde_json::json!({"id": "i", "created": 7, "choices": [
            {"index": 0, "finish": {"reason": "tool_calls"}, "parts": [
                {"body": {"reasoning": ""}, "seal": {"issuer": "house", "bytes": "s"}},
                call("a", "{}"),
                call("b", "{\"b\":1}"),
            ]},
            {"index": 1, "finish": {"reason": "error"}, "parts": [{"body": {"text": {"text": "one"}}}]},
        ]})
    );
}

#[test]
fn log_probabilities_are_joined() {
    let piece = |text: &str| Event::Logprobs { choice: 0, raw: raw(text) };
    let answer =
        folded(&[piece(r#"{"content":[{"t":1.0}],"refusal":null}"#), piece(r#"{"content":[{"t":2}],"refusal":null}"#)]).expect("folds");
    assert_eq!(answer.choices[0].logprobs, Some(raw(r#"{"content":[{"t":1.0},{"t":2}],"refusal":null}"#)));
    let answer = folded(&[piece("[1]"), piece("[2]")]).expect("folds");
    assert_eq!(answer.choices[0].logprobs, Some(raw("[2]")));
}

#[test]
fn an_endless_stream_is_refused() {
    for event in [
        text(0, 0, "0123456789"),
        Event::PartStart { choice: 0, part: 1, kind: PartKind::Text },
        Event::Logprobs { choice: 0, raw: raw("[0]") },
    ] {
        let mut fold = Fold::with_max(10_000);
        fold.push(&Event::PartStart { choice: 0, part: 0, kind: PartKind::Text }).expect("fits");
        assert!((0..10_000).any(|_| fold.push(&event).is_err()), "{event:?}");
    }
    let mut fold = Fold::with_max(10_000);
    let finish = |choice| Event::Finish { choice, finish: Finish::new(FinishReason::Stop) };
    assert!((0..10_000).any(|choice| fold.push(&finish(choice)).is_err()));
}

#[test]
fn a_part_that_never_began_is_the_providers_error() {
    assert!(folded(&[text(0, 0, "x")]).is_err());
}
