//! A whole answer told as a stream of events.

use std::borrow::Cow;

use gateway_core::ir::{ChatResponse, Choice, Delta, Event, Part, PartBody, PartKind};

/// The events a stream of this answer would have had.
pub(super) fn events(answer: ChatResponse) -> Vec<Event<'static>> {
    let mut events = vec![Event::Start { id: answer.id.map(Cow::Owned), model: answer.model.map(Cow::Owned), created: answer.created }];
    for choice in answer.choices {
        push_choice(choice, &mut events);
    }
    if let Some(usage) = answer.usage {
        events.push(Event::Usage { usage, is_final: true });
    }
    events.push(Event::End);
    events
}

fn push_choice(choice: Choice, events: &mut Vec<Event<'static>>) {
    let index = choice.index;
    for (part, content) in (0u32..).zip(choice.parts) {
        push_part(index, part, content, events);
    }
    if let Some(raw) = choice.logprobs {
        events.push(Event::Logprobs { choice: index, raw });
    }
    events.push(Event::Finish { choice: index, finish: choice.finish });
}

fn push_part(choice: u32, part: u32, content: Part, events: &mut Vec<Event<'static>>) {
    let mut cited = Vec::new();
    let (kind, text) = match content.body {
        PartBody::Text { text, citations } => {
            cited = citations;
            (PartKind::Text, text)
        }
        PartBody::Reasoning(text) => (PartKind::Reasoning, text),
        PartBody::Refusal(text) => (PartKind::Refusal, text),
        PartBody::ToolCall(call) => (PartKind::ToolCall { id: call.id.into(), name: call.name.into(), kind: call.kind }, call.arguments),
        PartBody::Media(media) => (PartKind::Media(Box::new(media)), String::new()),
        PartBody::Opaque { origin, raw } => (PartKind::Opaque { origin, raw }, String::new()),
        // A model does not answer with a tool's result; its parts are still shown rather than lost.
        PartBody::ToolResult(result) => (PartKind::Text, result.content.into_iter().map(plain_text).collect()),
    };
    let mut deltas = Vec::new();
    if !text.is_empty() {
        deltas.push(Delta::Text(text.into()));
    }
    deltas.extend(cited.into_iter().map(|citation| Delta::Citation(Box::new(citation))));
    deltas.extend(content.seal.map(Delta::Seal));
    deltas.extend(content.extras.map(Delta::Extras));
    events.push(Event::PartStart { choice, part, kind });
    events.extend(deltas.into_iter().map(|delta| Event::Delta { choice, part, delta }));
    events.push(Event::PartEnd { choice, part });
}

fn plain_text(part: Part) -> String {
    match part.body {
        PartBody::Text { text, .. } | PartBody::Reasoning(text) | PartBody::Refusal(text) => text,
        PartBody::ToolCall(call) => call.arguments,
        PartBody::Opaque { raw, .. } => raw.text().to_owned(),
        PartBody::Media(_) | PartBody::ToolResult(_) => String::new(),
    }
}
