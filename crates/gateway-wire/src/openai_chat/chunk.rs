//! Reads a streamed answer: chunks of flat deltas become parts with a start and an end.

use std::borrow::Cow;

use gateway_core::{
    EventDecoder, Frame, Memo, Usage, WireError,
    ir::{Delta, Event, Part, PartBody, PartKind, Raw},
};

use super::{
    answer::{citation, usage_of},
    fault, finish, parts, reasoning,
};
use crate::{
    OPENAI_CHAT,
    json::{Fields, Json, Kind, Within},
};

mod choice;
mod detail;

use choice::{Choice, Open};

pub(super) type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

/// Most choices one stream may open; far above what any provider offers.
const CHOICES_MAX: usize = 256;

pub(super) struct Decoder {
    memo: Memo,
    id: Option<String>,
    state: State,
    choices: Vec<Choice>,
    /// A report that was not yet the last word.
    pending_usage: Option<Usage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No chunk yet.
    Idle,
    /// Chunks are coming.
    Streaming,
    /// `[DONE]` has come, or an error; whatever follows means nothing.
    Done,
}

impl Decoder {
    pub(super) fn new(memo: Memo) -> Self {
        Self { memo, id: None, state: State::Idle, choices: Vec::new(), pending_usage: None }
    }

    fn chunk(&mut self, json: Json<'_>, emit: Emit<'_>) -> Result<(), WireError> {
        let mut fields = json.fields()?;
        let choices = fields.take_array("choices")?.unwrap_or_default();
        let empty = choices.is_empty();
        if self.state == State::Idle {
            let id = fields.take_string("id")?.filter(|id| !id.is_empty());
            // Azure's first chunk tells of the prompt only: no choices, and nothing in the envelope but empty values.
            if id.is_some() || !empty {
                self.state = State::Streaming;
                let model = fields.take_str("model")?.filter(|model| !model.is_empty());
                let created = fields.take_u64("created")?.filter(|at| *at > 0);
                emit(Event::Start { id: id.as_deref().map(Cow::Borrowed), model, created });
                self.id = id;
            }
        }
        for (n, item) in (0u32..).zip(choices) {
            self.choice(item, n, emit).within_index(n as usize).within("choices")?;
        }
        if let Some(usage) = usage_of(&mut fields) {
            let is_final = empty || self.is_finished();
            self.pending_usage = (!is_final).then(|| usage.clone());
            emit(Event::Usage { usage, is_final });
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finished)
    }

    fn choice(&mut self, item: Json<'_>, n: u32, emit: Emit<'_>) -> Result<(), WireError> {
        let mut fields = item.fields()?;
        let index = fields.take_u32("index")?.unwrap_or(n);
        let at = match self.choices.iter().position(|choice| choice.index == index) {
            Some(at) => at,
            None if self.choices.len() == CHOICES_MAX => return Err(WireError::new("the stream opens too many choices")),
            None => {
                self.choices.push(Choice::new(index));
                self.choices.len() - 1
            }
        };
        let choice = &mut self.choices[at];
        // A whole message in place of a delta was seen at imitators that stream in one chunk.
        if let Some(mut delta) = fields.take_fields("delta")?.or(fields.take_fields("message")?) {
            grow(choice, &mut delta, self.id.as_deref(), &self.memo, emit).within("delta")?;
        }
        if let Some(raw) = fields.take_raw("logprobs")? {
            emit(Event::Logprobs { choice: index, raw });
        }
        if let Some(native) = fields.take_str("finish_reason")?.filter(|native| !native.is_empty())
            && !choice.finished
        {
            choice.finished = true;
            choice.close_all(emit);
            emit(Event::Finish { choice: index, finish: finish::decode(&native, !choice.tools.is_empty()) });
        }
        Ok(())
    }
}

impl EventDecoder for Decoder {
    fn decode(&mut self, frame: Frame<'_>, emit: Emit<'_>) -> Result<(), WireError> {
        let data = frame.data.trim_ascii();
        if self.state == State::Done || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.state = State::Done;
            return Ok(());
        }
        let json = Json::parse(data)?;
        if is_error(frame.name, json) {
            self.state = State::Done;
            self.choices.clear();
            emit(Event::Fault(fault::reported(Some(json), data)));
            return Ok(());
        }
        self.chunk(json, emit)
    }

    fn finish(&mut self, emit: Emit<'_>) -> Result<(), WireError> {
        if !self.is_finished() {
            return Err(WireError::new("the stream ended without a finish reason"));
        }
        if let Some(usage) = self.pending_usage.take() {
            emit(Event::Usage { usage, is_final: true });
        }
        emit(Event::End);
        Ok(())
    }
}

/// Whether a frame reports an error: by its name, or as an error object in a chunk.
pub(super) fn is_error(name: Option<&str>, json: Json<'_>) -> bool {
    name == Some("error") || json.kind() == Kind::Object && json.fields().is_ok_and(|fields| fields.has("error"))
}

fn grow(choice: &mut Choice, delta: &mut Fields<'_>, answer: Option<&str>, memo: &Memo, emit: Emit<'_>) -> Result<(), WireError> {
    delta.take("role");
    // Padding against traffic analysis; it belongs to the connection it came on.
    delta.take("obfuscation");
    thoughts(choice, delta, emit)?;
    match delta.take_value("content") {
        Some(content) if content.kind() == Kind::String => choice.text(&content.str().within("content")?, Open::text, emit),
        Some(content) => {
            for part in parts::decode(content).within("content")? {
                whole(choice, &part, emit);
            }
        }
        None => {}
    }
    if let Some(refusal) = delta.take_str("refusal")? {
        choice.text(&refusal, Open::refusal, emit);
    }
    for (n, item) in delta.take_array("annotations")?.unwrap_or_default().into_iter().enumerate() {
        choice.cite(citation(item).within_index(n).within("annotations")?, emit);
    }
    for (n, item) in delta.take_array("tool_calls")?.unwrap_or_default().into_iter().enumerate() {
        choice.tool(item, answer, memo, emit).within_index(n).within("tool_calls")?;
    }
    if let Some(legacy) = delta.take_value("function_call") {
        choice.legacy(legacy, answer, emit).within("function_call")?;
    }
    rest(choice.index, delta, emit)
}

/// Reasoning: details where there are any, else the plain text.
fn thoughts(choice: &mut Choice, delta: &mut Fields<'_>, emit: Emit<'_>) -> Result<(), WireError> {
    let content = delta.take_str("reasoning_content")?.filter(|text| !text.is_empty());
    let plain = delta.take_str("reasoning")?.filter(|text| !text.is_empty());
    let details = delta.take_array("reasoning_details")?.unwrap_or_default();
    let mut told = false;
    for (n, item) in details.into_iter().enumerate() {
        told |= choice.detail(item, emit).within_index(n).within("reasoning_details")?;
    }
    if let Some(text) = content.or(plain).filter(|_| !told) {
        choice.text(&text, Open::reasoning, emit);
    }
    Ok(())
}

/// One content part of a chunk that carries content as parts.
fn whole(choice: &mut Choice, part: &Part, emit: Emit<'_>) {
    match &part.body {
        PartBody::Text { text, .. } => choice.text(text, Open::text, emit),
        PartBody::Reasoning(text) => choice.text(text, Open::reasoning, emit),
        PartBody::Refusal(text) => choice.text(text, Open::refusal, emit),
        PartBody::Media(media) => choice.single(PartKind::Media(Box::new(media.clone())), emit),
        PartBody::Opaque { origin, raw } => choice.single(PartKind::Opaque { origin: *origin, raw: raw.clone() }, emit),
        // Content parts hold no calls and no results; the reader of parts makes none.
        PartBody::ToolCall(_) | PartBody::ToolResult(_) => {}
    }
}

/// What a delta holds beside what is modelled (audio, for one), as a choice of a chunk.
fn rest(index: u32, delta: &Fields<'_>, emit: Emit<'_>) -> Result<(), WireError> {
    let mut out = bytes::BytesMut::new();
    let mut w = crate::json::Writer::new(&mut out);
    w.begin_object();
    w.key("index").u64(index.into());
    w.key("delta").begin_object();
    let mut any = false;
    for (key, value) in delta.rest().filter(|(_, value)| !value.is_null()) {
        any = true;
        w.key(key).raw(value.text());
    }
    w.end_object();
    w.key("finish_reason").null();
    w.end_object();
    if any {
        let raw: Raw = Json::parse(&out)?.raw()?;
        emit(Event::Opaque { origin: OPENAI_CHAT, raw });
    }
    Ok(())
}

/// The seal of a merged detail.
fn seal_of(detail: &str) -> Option<gateway_core::ir::Seal> {
    Json::parse(detail.as_bytes()).and_then(reasoning::decode).ok()?.seal
}

fn text_delta(choice: u32, part: u32, text: &str) -> Event<'_> {
    Event::Delta { choice, part, delta: Delta::Text(Cow::Borrowed(text)) }
}
