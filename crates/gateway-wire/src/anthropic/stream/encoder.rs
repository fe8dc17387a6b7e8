//! Writes a caller's stream: the whole ladder from `message_start` to `message_stop` that the official clients rebuild
//! the answer from.
//!
//! `message_start` waits for the first thing to show, so that it can state the input tokens of protocols that report
//! them early. A block is opened by its first content, because only then its kind is certain (a redacted thought shows
//! itself by its seal) and because empty text blocks are refused when they come back in the next turn.

use bytes::{BufMut, Bytes, BytesMut};
use gateway_core::{
    EventEncoder, Fault, LossReason, Losses, RenderCtx, Usage,
    ir::{Delta, Event, Extras, Finish, FinishReason, PartKind, Raw, Seal, ToolKind},
};

use super::frames::{delta_frame, frame, inside_a_string, raw_frame, redacted_block, start_frame, stop_frame};
use crate::{
    ANTHROPIC_MESSAGES,
    anthropic::{
        block::{REDACTED, write_extras},
        fault, response,
        usage::{self, WireUsage},
    },
    json::{Fields, Json},
    seal,
};

/// What a silence is filled with.
pub(in crate::anthropic) const PING: &[u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// What ends a stream well.
pub(in crate::anthropic) const STOP: &[u8] = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// The writer of one stream.
#[derive(Debug)]
pub(in crate::anthropic) struct Encoder {
    ctx: RenderCtx,
    id: Option<String>,
    begun: bool,
    blocks: u32,
    open: Vec<Open>,
    usage: Usage,
    finish: Option<Finish>,
    refused: bool,
    /// The provider's own `message_delta`, which says more than ours can.
    last_word: Option<Raw>,
    skips_choices: bool,
}

/// A part that has begun and not ended.
#[derive(Debug)]
struct Open {
    part: u32,
    kind: Kind,
    /// The block's index, once it has started.
    index: Option<u32>,
    /// A seal that no field of the block can hold; it follows in a block of its own.
    seal: Option<Seal>,
    extras: Option<Extras>,
}

#[derive(Debug)]
enum Kind {
    Text,
    Reasoning,
    ToolCall {
        id: String,
        name: String,
        input: Input,
    },
    /// Not shown, or shown already.
    Skipped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// Pieces of an object, as they come.
    Json,
    /// Free text, which must become a string inside an object.
    Text,
}

impl Encoder {
    pub(in crate::anthropic) fn new(ctx: &RenderCtx) -> Self {
        Self {
            ctx: ctx.clone(),
            id: None,
            begun: false,
            blocks: 0,
            open: Vec::new(),
            usage: Usage::default(),
            finish: None,
            refused: false,
            last_word: None,
            skips_choices: false,
        }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if self.begun {
            return;
        }
        self.begun = true;
        let id = response::answer_id(self.id.as_deref(), &self.ctx);
        frame(out, "message_start", |w| {
            w.key("message").begin_object();
            w.key("id").str(&id);
            w.key("type").str("message");
            w.key("role").str("assistant");
            w.key("model").str(&self.ctx.model);
            w.key("content").begin_array();
            w.end_array();
            w.key("stop_reason").null();
            w.key("stop_sequence").null();
            w.key("usage");
            usage::write(w, &self.usage);
            w.end_object();
        });
    }

    fn part_start(&mut self, part: u32, kind: &PartKind<'_>, out: &mut BytesMut, losses: &mut Losses) {
        self.begin(out);
        let kind = match kind {
            PartKind::Text => Kind::Text,
            PartKind::Refusal => {
                self.refused = true;
                Kind::Text
            }
            PartKind::Reasoning => Kind::Reasoning,
            PartKind::ToolCall { id, name, kind } => Kind::ToolCall {
                id: response::call_id(id, &self.ctx, part as usize).into_owned(),
                name: name.clone().into_owned(),
                input: if *kind == ToolKind::Custom { Input::Text } else { Input::Json },
            },
            PartKind::Opaque { origin, raw } if *origin == ANTHROPIC_MESSAGES => {
                let index = self.next_index();
                start_frame(out, index, |w| w.raw(raw.text()));
                stop_frame(out, index);
                Kind::Skipped
            }
            PartKind::Opaque { .. } => {
                losses.push(format!("choices[0].content[{part}]"), LossReason::Foreign);
                Kind::Skipped
            }
            PartKind::Media(_) => {
                losses.push(format!("choices[0].content[{part}]"), LossReason::Unsupported);
                Kind::Skipped
            }
        };
        self.open.push(Open { part, kind, index: None, seal: None, extras: None });
    }

    fn next_index(&mut self) -> u32 {
        self.blocks += 1;
        self.blocks - 1
    }

    fn delta(&mut self, part: u32, delta: &Delta<'_>, out: &mut BytesMut, losses: &mut Losses) {
        let Some(at) = self.open.iter().rposition(|open| open.part == part) else { return };
        let open = &mut self.open[at];
        let mut lose = |what: &str, reason| losses.push(format!("choices[0].content[{part}]{what}"), reason);
        match delta {
            Delta::Text(text) if text.is_empty() => {}
            Delta::Text(text) => {
                if matches!(open.kind, Kind::Skipped) {
                    return;
                }
                let index = open.started(&mut self.blocks, out);
                match open.kind {
                    Kind::Text => delta_frame(out, index, "text_delta", "text", text),
                    Kind::Reasoning => delta_frame(out, index, "thinking_delta", "thinking", text),
                    Kind::ToolCall { input: Input::Json, .. } => delta_frame(out, index, "input_json_delta", "partial_json", text),
                    Kind::ToolCall { input: Input::Text, .. } => {
                        delta_frame(out, index, "input_json_delta", "partial_json", &inside_a_string(text));
                    }
                    Kind::Skipped => {}
                }
            }
            Delta::Seal(seal) => match open.kind {
                Kind::Reasoning => open.reasoning_seal(seal, &mut self.blocks, out),
                Kind::Text | Kind::ToolCall { .. } => open.seal = Some(seal.clone()),
                Kind::Skipped => lose(".seal", LossReason::Foreign),
            },
            Delta::Citation(citation) if citation.origin == ANTHROPIC_MESSAGES && matches!(open.kind, Kind::Text) => {
                let index = open.started(&mut self.blocks, out);
                frame(out, "content_block_delta", |w| {
                    w.key("index").u64(index.into());
                    w.key("delta").begin_object();
                    w.key("type").str("citations_delta");
                    w.key("citation").raw(citation.raw.text());
                    w.end_object();
                });
            }
            Delta::Citation(_) => lose(".citations", LossReason::Foreign),
            Delta::Extras(extras) if extras.origin == ANTHROPIC_MESSAGES && open.index.is_none() => open.extras = Some(extras.clone()),
            Delta::Extras(extras) => {
                for (key, _) in &extras.fields {
                    lose(&format!(".{key}"), LossReason::Unsupported);
                }
            }
        }
    }

    fn part_end(&mut self, part: u32, out: &mut BytesMut) {
        let Some(at) = self.open.iter().rposition(|open| open.part == part) else { return };
        let mut open = self.open.remove(at);
        open.end(&mut self.blocks, out);
    }

    fn stop_reason(&self) -> &str {
        match &self.finish {
            Some(finish) if finish.reason == FinishReason::Stop && self.refused => "refusal",
            Some(finish) => response::word_for(finish.reason),
            None => "end_turn",
        }
    }

    fn last_delta(&self, out: &mut BytesMut) {
        let said = self.last_word.as_ref().and_then(|raw| Json::parse(raw.text().as_bytes()).and_then(Json::fields).ok());
        let delta = said.as_ref().and_then(|fields| fields.peek("delta")).and_then(|delta| delta.fields().ok());
        let own_usage = said.as_ref().and_then(|fields| fields.peek("usage"));
        frame(out, "message_delta", |w| {
            w.key("delta").begin_object();
            w.key("stop_reason").str(self.stop_reason());
            match self.finish.as_ref().and_then(|finish| finish.stop_sequence.as_deref()) {
                Some(sequence) => w.key("stop_sequence").str(sequence),
                None => w.key("stop_sequence").null(),
            }
            for (key, value) in delta.iter().flat_map(Fields::rest).filter(|(key, _)| !matches!(*key, "stop_reason" | "stop_sequence")) {
                w.key(key).raw(value.text());
            }
            w.end_object();
            w.key("usage");
            match own_usage.filter(|value| WireUsage::decode(*value).is_ok_and(|usage| usage.has_more())) {
                Some(value) => w.raw(value.text()),
                None => usage::write(w, &self.usage),
            }
        });
    }
}

impl EventEncoder for Encoder {
    fn encode(&mut self, event: &Event<'_>, out: &mut BytesMut, losses: &mut Losses) {
        match event {
            Event::PartStart { choice, .. }
            | Event::Delta { choice, .. }
            | Event::PartEnd { choice, .. }
            | Event::Finish { choice, .. }
                if *choice != 0 =>
            {
                if !std::mem::replace(&mut self.skips_choices, true) {
                    losses.push("choices", LossReason::Unsupported);
                }
            }
            Event::Start { id, .. } => self.id = id.as_deref().map(str::to_owned),
            Event::PartStart { part, kind, .. } => self.part_start(*part, kind, out, losses),
            Event::Delta { part, delta, .. } => self.delta(*part, delta, out, losses),
            Event::PartEnd { part, .. } => self.part_end(*part, out),
            Event::Finish { finish, .. } => {
                self.begin(out);
                self.finish = Some(finish.clone());
            }
            Event::Usage { usage, .. } => self.usage.restate(usage),
            Event::Logprobs { choice, .. } => losses.push(format!("choices[{choice}].logprobs"), LossReason::Unsupported),
            Event::Opaque { origin, raw } if *origin == ANTHROPIC_MESSAGES => match event_name(raw).as_deref() {
                Some("message_delta") => self.last_word = Some(raw.clone()),
                Some(name) => {
                    self.begin(out);
                    raw_frame(out, name, raw.text());
                }
                None => losses.push("event", LossReason::Malformed),
            },
            Event::Opaque { .. } => losses.push("event", LossReason::Foreign),
            // A fault ends the stream through `interrupt`, the end through `finish`.
            Event::Fault(_) | Event::End => {}
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.begin(out);
        for mut open in std::mem::take(&mut self.open) {
            open.end(&mut self.blocks, out);
        }
        self.last_delta(out);
        out.put_slice(STOP);
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut BytesMut) {
        write_interruption(fault, &self.ctx, out);
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(PING)
    }
}

impl Open {
    /// The block's index; starts the block if it has not.
    fn started(&mut self, blocks: &mut u32, out: &mut BytesMut) -> u32 {
        if let Some(index) = self.index {
            return index;
        }
        let index = *blocks;
        *blocks += 1;
        self.index = Some(index);
        start_frame(out, index, |w| {
            w.begin_object();
            match &self.kind {
                Kind::Text | Kind::Skipped => {
                    w.key("type").str("text");
                    w.key("text").str("");
                }
                Kind::Reasoning => {
                    w.key("type").str("thinking");
                    w.key("thinking").str("");
                    w.key("signature").str("");
                }
                Kind::ToolCall { id, name, .. } => {
                    w.key("type").str("tool_use");
                    w.key("id").str(id);
                    w.key("name").str(name);
                    w.key("input").begin_object();
                    w.end_object();
                }
            }
            write_extras(w, self.extras.as_ref());
            w.end_object();
        });
        if let Kind::ToolCall { input: Input::Text, .. } = self.kind {
            delta_frame(out, index, "input_json_delta", "partial_json", "{\"input\":\"");
        }
        index
    }

    fn reasoning_seal(&mut self, seal: &Seal, blocks: &mut u32, out: &mut BytesMut) {
        if let (Some(data), None) = (seal.bytes.strip_prefix(REDACTED).filter(|_| seal.issuer == ANTHROPIC_MESSAGES), self.index) {
            redacted_block(out, blocks, data);
            self.kind = Kind::Skipped;
            return;
        }
        let index = self.started(blocks, out);
        delta_frame(out, index, "signature_delta", "signature", &seal::shown_by(ANTHROPIC_MESSAGES, seal));
    }

    fn end(&mut self, blocks: &mut u32, out: &mut BytesMut) {
        if matches!(self.kind, Kind::ToolCall { .. }) {
            self.started(blocks, out);
        }
        if let Some(index) = self.index {
            if let Kind::ToolCall { input: Input::Text, .. } = self.kind {
                delta_frame(out, index, "input_json_delta", "partial_json", "\"}");
            }
            stop_frame(out, index);
        }
        if let Some(seal) = self.seal.take() {
            redacted_block(out, blocks, &seal::token(&seal));
        }
    }
}

/// The protocol's error event.
pub(in crate::anthropic) fn write_interruption(fault: &Fault, ctx: &RenderCtx, out: &mut BytesMut) {
    let (_, body) = fault::encode(fault, ctx.request_id);
    out.put_slice(b"event: error\ndata: ");
    // A provider's own body may be printed over several lines, which would end the event early.
    out.extend(body.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    out.put_slice(b"\n\n");
}

fn event_name(raw: &Raw) -> Option<String> {
    let mut fields = Json::parse(raw.text().as_bytes()).ok()?.fields().ok()?;
    let name = fields.take_str("type").ok()??;
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then(|| name.into_owned())
}
