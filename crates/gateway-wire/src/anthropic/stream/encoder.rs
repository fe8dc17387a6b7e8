//! Writes a caller's stream: the whole ladder from `message_start` to `message_stop` that the official clients rebuild
//! the answer from.
//!
//! `message_start` waits for the first thing to show, so that it can state the input tokens of protocols that report
//! them early. A block is opened by its first content, because only then its kind is certain (a redacted thought shows
//! itself by its seal) and because empty text blocks are refused when they come back in the next turn.

use bytes::{BufMut, Bytes, BytesMut};
use gateway_core::{
    EventEncoder, Fault, LossReason, Losses, RenderCtx, Usage, Used,
    ir::{Event, Finish, FinishReason, PartKind, Raw},
};

use super::{
    blocks::{Blocks, Kind},
    frames::{frame, raw_frame},
};
use crate::{
    ANTHROPIC_MESSAGES,
    anthropic::{
        fault, response,
        usage::{self, WireUsage},
    },
    edits::priced_usage,
    json::{Fields, Json},
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
    blocks: Blocks,
    usage: Usage,
    finish: Option<Finish>,
    refused: bool,
    /// The provider's own `message_delta`, which says more than ours can.
    last_word: Option<Raw>,
    skips_choices: bool,
}

impl Encoder {
    pub(in crate::anthropic) fn new(ctx: &RenderCtx) -> Self {
        Self {
            ctx: ctx.clone(),
            id: None,
            begun: false,
            blocks: Blocks::default(),
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
            usage::write(w, &self.usage, None);
            w.end_object();
        });
    }

    fn part_start(&mut self, part: u32, kind: &PartKind<'_>, out: &mut BytesMut, losses: &mut Losses) {
        self.begin(out);
        self.refused |= matches!(kind, PartKind::Refusal);
        let kind = match kind {
            PartKind::Text | PartKind::Refusal => Kind::Text,
            PartKind::Reasoning => Kind::Reasoning,
            PartKind::ToolCall { id, name, kind } => {
                let id = response::call_id(id, &self.ctx, part as usize).into_owned();
                Kind::tool_call(id, name.clone().into_owned(), *kind)
            }
            PartKind::Opaque { origin, raw } if *origin == ANTHROPIC_MESSAGES => Kind::Whole(raw.clone()),
            PartKind::Opaque { .. } => {
                losses.push(format!("choices[0].content[{part}]"), LossReason::Foreign);
                Kind::Skipped
            }
            PartKind::Media(_) => {
                losses.push(format!("choices[0].content[{part}]"), LossReason::Unsupported);
                Kind::Skipped
            }
        };
        self.blocks.start(part, kind, out);
    }

    fn stop_reason(&self) -> &str {
        match &self.finish {
            Some(finish) if finish.reason == FinishReason::Stop && self.refused => "refusal",
            Some(finish) => response::word_for(finish.reason),
            None => "end_turn",
        }
    }

    fn last_delta(&self, price: Option<&str>, out: &mut BytesMut) {
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
            match own_usage.filter(|value| WireUsage::decode(*value).has_more()) {
                Some(value) => w.raw(&priced_usage(value.text(), price)),
                None => usage::write(w, &self.usage, price),
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
            Event::Delta { part, delta, .. } => self.blocks.delta(*part, delta, out, losses),
            Event::PartEnd { part, .. } => self.blocks.end(*part, out),
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

    fn finish(&mut self, used: &Used, out: &mut BytesMut) {
        self.begin(out);
        self.blocks.end_all(out);
        self.last_delta(self.ctx.price.price(used).as_deref(), out);
        out.put_slice(STOP);
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut BytesMut) {
        write_interruption(fault, &self.ctx, out);
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(PING)
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
