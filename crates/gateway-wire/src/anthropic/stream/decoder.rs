//! Reads a provider's stream: `message_start`, blocks, `message_delta`, `message_stop`.
//!
//! Blocks of a kind we do not model are collected and handed out whole when they stop, so that "stream, then fold" and
//! "decode whole" agree on them too.

use std::borrow::Cow;

use gateway_core::{
    EventDecoder, Frame, Memo, WireError,
    ir::{Delta, Event, Extras, PartKind, Raw, Seal, ToolKind},
};
use serde_json::value::RawValue;

use super::wire::Wire;
use crate::{
    ANTHROPIC_MESSAGES,
    anthropic::{block, fault, names::Names, response, usage::WireUsage},
    json::{Json, Kind as JsonKind, Within, Writer},
    seal,
};

/// The state machine of one stream.
#[derive(Debug)]
pub(in crate::anthropic) struct Decoder {
    memo: Memo,
    phase: Phase,
    open: Vec<Open>,
    parts: u32,
    usage: WireUsage,
    /// The structured answer came as a call.
    answered: bool,
    /// The caller's own tools were called.
    called: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Begun,
    Stopped,
}

/// A block that has started and not stopped.
#[derive(Debug)]
struct Open {
    index: u32,
    part: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text,
    /// Text that arrives as the input of the forced tool.
    Answer,
    /// The signature its start stated, until a better one comes.
    Reasoning {
        signature: Option<Box<str>>,
    },
    /// The input its start stated, until the pieces of the real one come.
    ToolCall {
        input: Option<Box<str>>,
    },
    Opaque {
        raw: Raw,
        grown: Vec<(Box<str>, String)>,
    },
}

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

impl Decoder {
    pub(in crate::anthropic) fn new(memo: Memo) -> Self {
        let usage = WireUsage::default();
        Self { memo, phase: Phase::Waiting, open: Vec::new(), parts: 0, usage, answered: false, called: false }
    }

    /// Whether `message_stop` has been seen.
    pub(in crate::anthropic) fn has_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    fn step(&mut self, event: &Wire<'_>, frame: Frame<'_>, emit: Emit<'_>) -> Result<(), WireError> {
        let kind = if event.kind.is_empty() { frame.name.unwrap_or_default() } else { &event.kind };
        match kind {
            "content_block_delta" => self.delta(event, frame, emit),
            "content_block_start" => self.start(event, emit).within("content_block"),
            "content_block_stop" => self.stop(event, emit),
            "message_start" => self.begin(event.message, emit),
            "message_delta" => self.message_delta(event, frame, emit),
            "message_stop" => {
                self.phase = Phase::Stopped;
                Ok(())
            }
            "ping" => Ok(()),
            "error" => {
                emit(Event::Fault(fault::of_error_object(event.error.map(RawValue::get))));
                Ok(())
            }
            _ => {
                emit(Event::Opaque { origin: ANTHROPIC_MESSAGES, raw: Json::parse(frame.data)?.raw()? });
                Ok(())
            }
        }
    }

    fn begin(&mut self, message: Option<&RawValue>, emit: Emit<'_>) -> Result<(), WireError> {
        self.phase = Phase::Begun;
        let Some(message) = message else {
            emit(Event::Start { id: None, model: None, created: None });
            return Ok(());
        };
        let mut fields = json(message)?.fields().within("message")?;
        let id = fields.take_str("id").within("message")?;
        let model = fields.take_str("model").within("message")?;
        emit(Event::Start { id, model, created: None });
        if let Some(usage) = fields.take_value("usage").map(WireUsage::decode) {
            self.usage.restate(usage);
            emit(Event::Usage { usage: self.usage.canonical(), is_final: false });
        }
        Ok(())
    }

    fn ensure_begun(&mut self, emit: Emit<'_>) {
        if self.phase == Phase::Waiting {
            self.phase = Phase::Begun;
            emit(Event::Start { id: None, model: None, created: None });
        }
    }

    fn start(&mut self, event: &Wire<'_>, emit: Emit<'_>) -> Result<(), WireError> {
        self.ensure_begun(emit);
        let block = json(event.content_block.ok_or_else(|| WireError::new("is required"))?)?;
        let mut fields = block.fields()?;
        let kind = fields.need_str("type")?;
        let part = self.parts;
        self.parts += 1;
        let mut begin = |kind: PartKind<'_>| emit(Event::PartStart { choice: 0, part, kind });
        let kind = match &*kind {
            "text" => {
                begin(PartKind::Text);
                delta_text(part, &fields.take_str("text")?.unwrap_or_default(), emit);
                for citation in fields.take_array("citations")?.unwrap_or_default() {
                    emit_citation(part, citation, emit)?;
                }
                emit_extras(part, block::extras(fields)?, emit);
                Kind::Text
            }
            "thinking" => {
                begin(PartKind::Reasoning);
                delta_text(part, &fields.take_str("thinking")?.unwrap_or_default(), emit);
                let signature = fields.take_str("signature")?.map(Box::from);
                emit_extras(part, block::extras(fields)?, emit);
                Kind::Reasoning { signature }
            }
            "redacted_thinking" => {
                begin(PartKind::Reasoning);
                emit_seal(part, block::redacted_seal(&fields.need_str("data")?), emit);
                emit_extras(part, block::extras(fields)?, emit);
                Kind::Reasoning { signature: None }
            }
            "tool_use" => {
                let (id, name) = (fields.need_str("id")?, fields.need_str("name")?);
                let input = fields.take_value("input").map(Json::text).filter(|text| *text != "{}").map(Box::from);
                let names = self.memo.get::<Names>();
                if names.is_some_and(|names| names.is_answer(&name)) {
                    self.answered = true;
                    begin(PartKind::Text);
                    Kind::Answer
                } else {
                    self.called = true;
                    let (id, name) = match names {
                        Some(names) => (names.original_id(&id), names.original_tool(&name)),
                        None => (&*id, &*name),
                    };
                    begin(PartKind::ToolCall { id: Cow::Borrowed(id), name: Cow::Borrowed(name), kind: ToolKind::Function });
                    emit_extras(part, block::extras(fields)?, emit);
                    Kind::ToolCall { input: Some(input.unwrap_or_else(|| "{}".into())) }
                }
            }
            _ => Kind::Opaque { raw: block.raw()?, grown: Vec::new() },
        };
        self.open.push(Open { index: event.index.unwrap_or(part), part, kind });
        Ok(())
    }

    fn delta(&mut self, event: &Wire<'_>, frame: Frame<'_>, emit: Emit<'_>) -> Result<(), WireError> {
        let Some(delta) = &event.delta else { return Err(WireError::at("delta", "is required")) };
        let found = self.open.iter_mut().rev().find(|open| event.index.is_none_or(|index| open.index == index));
        let Some(open) = found else {
            return Err(WireError::at("index", "names a content block that never started"));
        };
        let part = open.part;
        match &mut open.kind {
            Kind::Text => {
                if let Some(text) = &delta.text {
                    delta_text(part, &text.0, emit);
                } else if let Some(citation) = delta.citation {
                    emit_citation(part, json(citation)?, emit).within("delta.citation")?;
                }
            }
            Kind::Answer => {
                if let Some(piece) = &delta.partial_json {
                    delta_text(part, &piece.0, emit);
                }
            }
            Kind::Reasoning { signature } => {
                if let Some(text) = &delta.thinking {
                    delta_text(part, &text.0, emit);
                } else if let Some(seal) = &delta.signature {
                    *signature = None;
                    emit_signature(part, &seal.0, emit);
                }
            }
            Kind::ToolCall { input } => {
                if let Some(piece) = delta.partial_json.as_ref().filter(|piece| !piece.0.is_empty()) {
                    *input = None;
                    delta_text(part, &piece.0, emit);
                }
            }
            Kind::Opaque { grown, .. } => grow(grown, frame)?,
        }
        Ok(())
    }

    fn stop(&mut self, event: &Wire<'_>, emit: Emit<'_>) -> Result<(), WireError> {
        let found = self.open.iter().rposition(|open| event.index.is_none_or(|index| open.index == index));
        let Some(at) = found else { return Ok(()) };
        let Open { part, kind, .. } = self.open.remove(at);
        match kind {
            Kind::Text | Kind::Answer => {}
            Kind::Reasoning { signature } => {
                if let Some(signature) = signature {
                    emit_signature(part, &signature, emit);
                }
            }
            Kind::ToolCall { input } => {
                if let Some(input) = input {
                    delta_text(part, &input, emit);
                }
            }
            Kind::Opaque { raw, grown } => {
                let raw = grown_block(&raw, &grown)?;
                emit(Event::PartStart { choice: 0, part, kind: PartKind::Opaque { origin: ANTHROPIC_MESSAGES, raw } });
            }
        }
        emit(Event::PartEnd { choice: 0, part });
        Ok(())
    }

    fn message_delta(&mut self, event: &Wire<'_>, frame: Frame<'_>, emit: Emit<'_>) -> Result<(), WireError> {
        let reported = event.usage.map(|usage| json(usage).map(WireUsage::decode)).transpose().within("usage")?;
        let delta = event.delta.as_ref();
        let has_more = delta.is_some_and(|delta| delta.stop_details.or(delta.container).is_some());
        if has_more || reported.as_ref().is_some_and(WireUsage::has_more) {
            emit(Event::Opaque { origin: ANTHROPIC_MESSAGES, raw: Json::parse(frame.data)?.raw()? });
        }
        let word = delta.and_then(|delta| delta.stop_reason.as_ref());
        if let Some(word) = word {
            let sequence = delta.and_then(|delta| delta.stop_sequence.as_ref()).map(|text| &*text.0);
            let finish = response::finish_of(Some(&word.0), sequence, self.answered && !self.called);
            emit(Event::Finish { choice: 0, finish });
        }
        if let Some(usage) = reported {
            self.usage.restate(usage);
            emit(Event::Usage { usage: self.usage.canonical(), is_final: word.is_some() });
        }
        Ok(())
    }
}

impl EventDecoder for Decoder {
    fn decode(&mut self, frame: Frame<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), WireError> {
        // Some imitators of the protocol end with the marker of another one.
        if frame.data.is_empty() || frame.data == b"[DONE]" || self.phase == Phase::Stopped {
            return Ok(());
        }
        let event: Wire<'_> = serde_json::from_slice(frame.data)
            .map_err(|error| WireError::new(format!("an event of the stream is not what the protocol says: {error}")))?;
        self.step(&event, frame, emit)
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), WireError> {
        if self.phase != Phase::Stopped {
            return Err(WireError::new("the stream ended before its message_stop event"));
        }
        for open in std::mem::take(&mut self.open) {
            emit(Event::PartEnd { choice: 0, part: open.part });
        }
        emit(Event::End);
        Ok(())
    }
}

fn json(raw: &RawValue) -> Result<Json<'_>, WireError> {
    Json::parse(raw.get().as_bytes())
}

fn delta_text(part: u32, text: &str, emit: Emit<'_>) {
    if !text.is_empty() {
        emit(Event::Delta { choice: 0, part, delta: Delta::Text(Cow::Borrowed(text)) });
    }
}

fn emit_signature(part: u32, signature: &str, emit: Emit<'_>) {
    if let Some(seal) = seal::signature(ANTHROPIC_MESSAGES, signature) {
        emit_seal(part, seal, emit);
    }
}

fn emit_seal(part: u32, seal: Seal, emit: Emit<'_>) {
    emit(Event::Delta { choice: 0, part, delta: Delta::Seal(seal) });
}

fn emit_citation(part: u32, citation: Json<'_>, emit: Emit<'_>) -> Result<(), WireError> {
    let citation = block::citation(citation)?;
    emit(Event::Delta { choice: 0, part, delta: Delta::Citation(Box::new(citation)) });
    Ok(())
}

fn emit_extras(part: u32, extras: Option<Extras>, emit: Emit<'_>) {
    if let Some(extras) = extras {
        emit(Event::Delta { choice: 0, part, delta: Delta::Extras(extras) });
    }
}

/// Adds every text of a delta to the field of that name: that is how the protocol's own blocks grow.
fn grow(grown: &mut Vec<(Box<str>, String)>, frame: Frame<'_>) -> Result<(), WireError> {
    let Some(delta) = Json::parse(frame.data)?.fields()?.take_fields("delta")? else { return Ok(()) };
    for (key, value) in delta.rest().filter(|(key, value)| *key != "type" && value.kind() == JsonKind::String) {
        // The pieces of a tool's input have a name of their own.
        let field = if key == "partial_json" { "input" } else { key };
        let more = value.str().within(key)?;
        match grown.iter_mut().find(|(name, _)| &**name == field) {
            Some((_, text)) => text.push_str(&more),
            None => grown.push((field.into(), more.into_owned())),
        }
    }
    Ok(())
}

/// The block as a whole answer would show it.
fn grown_block(raw: &Raw, grown: &[(Box<str>, String)]) -> Result<Raw, WireError> {
    if grown.iter().all(|(_, text)| text.is_empty()) {
        return Ok(raw.clone());
    }
    let mut fields = Json::parse(raw.text().as_bytes())?.fields()?;
    let mut out = bytes::BytesMut::with_capacity(raw.text().len() + 256);
    let mut w = Writer::new(&mut out);
    w.begin_object();
    for (key, text) in grown.iter().filter(|(_, text)| !text.is_empty()) {
        let start = fields.take(key);
        if &**key == "input" {
            let (input, _truncated_input_is_kept_in_a_field) = block::input_object(text);
            w.key(key).raw(&input);
        } else {
            let begun = start.and_then(|value| value.str().ok()).unwrap_or_default();
            w.key(key).str(&format!("{begun}{text}"));
        }
    }
    for (key, value) in fields.rest() {
        w.key(key).raw(value.text());
    }
    w.end_object();
    Json::parse(&out)?.raw()
}
