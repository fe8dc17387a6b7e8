//! Parts become blocks, one after another: the official clients add every delta to the newest block.
//!
//! Parts of other protocols may overlap; the pieces of several tool calls may even come interleaved. So a part is
//! written when everything before it is over, and what comes too early is held. A call whose arguments are a whole
//! object is over as soon as something else has content, so that of calls that come in turn nothing is held.

use bytes::BytesMut;
use gateway_core::{
    LossReason, Losses,
    ir::{Delta, Extras, Raw, Seal, ToolKind},
};

use super::frames::{delta_frame, frame, inside_a_string, redacted_block, start_frame, stop_frame};
use crate::{
    ANTHROPIC_MESSAGES,
    anthropic::block::{REDACTED, write_extras},
    seal,
};

/// The parts that have begun and not ended, in order.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// How many blocks have started.
    started: u32,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    part: u32,
    kind: Kind,
    /// The block's index, once it has started.
    index: Option<u32>,
    /// A seal that no field of the block can hold; it follows in a block of its own.
    seal: Option<Seal>,
    /// The block has its signature.
    signed: bool,
    extras: Option<Extras>,
    /// What has come before its turn.
    held: Vec<Held>,
    /// It has ended before its turn.
    ended: bool,
}

/// What a part is to this protocol.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    Reasoning,
    ToolCall {
        id: String,
        name: String,
        input: Input,
    },
    /// A block that comes at once.
    Whole(Raw),
    /// A tool call that is over, though its end has not come.
    Over,
    /// Not shown.
    Skipped,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Input {
    /// Pieces of an object, as they come.
    Json(Progress),
    /// Free text, which must become a string inside an object.
    Text,
}

impl Kind {
    pub(super) fn tool_call(id: String, name: String, kind: ToolKind) -> Self {
        let input = match kind {
            ToolKind::Function => Input::Json(Progress::default()),
            ToolKind::Custom => Input::Text,
        };
        Self::ToolCall { id, name, input }
    }
}

/// How far a JSON object has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    begun: bool,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Progress {
    fn see(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => {
                    self.begun = true;
                    self.depth += 1;
                }
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _inside_a_value => {}
            }
        }
    }

    fn is_whole(self) -> bool {
        self.begun && self.depth == 0
    }
}

/// What a delta brings that this protocol can show.
enum Content<'a> {
    Text(&'a str),
    Seal(&'a Seal),
    Citation(&'a Raw),
}

/// The same, kept.
#[derive(Debug)]
enum Held {
    Text(String),
    Seal(Seal),
    Citation(Raw),
}

impl Content<'_> {
    fn keep(&self) -> Held {
        match *self {
            Self::Text(text) => Held::Text(text.to_owned()),
            Self::Seal(seal) => Held::Seal(seal.clone()),
            Self::Citation(raw) => Held::Citation(raw.clone()),
        }
    }
}

impl Held {
    fn content(&self) -> Content<'_> {
        match self {
            Self::Text(text) => Content::Text(text),
            Self::Seal(seal) => Content::Seal(seal),
            Self::Citation(raw) => Content::Citation(raw),
        }
    }
}

impl Blocks {
    pub(super) fn start(&mut self, part: u32, kind: Kind, out: &mut BytesMut) {
        self.open.push(Open { part, kind, index: None, seal: None, signed: false, extras: None, held: Vec::new(), ended: false });
        self.advance(out);
    }

    pub(super) fn delta(&mut self, part: u32, delta: &Delta<'_>, out: &mut BytesMut, losses: &mut Losses) {
        let Some(at) = self.open.iter().rposition(|open| open.part == part) else { return };
        let open = &mut self.open[at];
        let mut lose = |what: &str, reason| losses.push(format!("choices[0].content[{part}]{what}"), reason);
        let content = match delta {
            Delta::Text(text) if text.is_empty() => return,
            Delta::Text(text) => Content::Text(text),
            Delta::Seal(seal) => Content::Seal(seal),
            Delta::Citation(citation) if citation.origin == ANTHROPIC_MESSAGES && matches!(open.kind, Kind::Text) => {
                Content::Citation(&citation.raw)
            }
            Delta::Citation(_) => return lose(".citations", LossReason::Foreign),
            Delta::Extras(extras) if extras.origin == ANTHROPIC_MESSAGES && open.index.is_none() => {
                open.extras = Some(extras.clone());
                return;
            }
            Delta::Extras(extras) => return extras.unmodelled().for_each(|key| lose(&format!(".{key}"), LossReason::Unsupported)),
        };
        match (&open.kind, &content) {
            (Kind::Skipped | Kind::Whole(_) | Kind::Over, Content::Seal(_)) => return lose(".seal", LossReason::Foreign),
            // White space after an object says nothing; anything else comes too late to be shown.
            (Kind::Over, Content::Text(text)) if text.trim().is_empty() => return,
            (Kind::Over, _) => return lose(".arguments", LossReason::Malformed),
            (Kind::Skipped | Kind::Whole(_), _) => return,
            (Kind::Text | Kind::Reasoning | Kind::ToolCall { .. }, _) => {}
        }
        if self.open[..at].iter().all(|earlier| matches!(earlier.kind, Kind::Over | Kind::Skipped)) {
            self.open[at].write(&content, &mut self.started, out);
        } else {
            self.open[at].held.push(content.keep());
            self.advance(out);
        }
    }

    pub(super) fn end(&mut self, part: u32, out: &mut BytesMut) {
        if let Some(open) = self.open.iter_mut().rfind(|open| open.part == part) {
            open.ended = true;
            self.advance(out);
        }
    }

    pub(super) fn end_all(&mut self, out: &mut BytesMut) {
        self.open.iter_mut().for_each(|open| open.ended = true);
        self.advance(out);
    }

    /// Writes all whose turn it is.
    fn advance(&mut self, out: &mut BytesMut) {
        let mut at = 0;
        while at < self.open.len() {
            let others_wait = self.open[at + 1..].iter().any(Open::has_content);
            let open = &mut self.open[at];
            open.release(&mut self.started, out);
            if open.ended {
                open.close(&mut self.started, out);
                self.open.remove(at);
                continue;
            }
            if others_wait && open.is_whole_call() {
                open.close(&mut self.started, out);
                open.kind = Kind::Over;
            }
            if matches!(open.kind, Kind::Over | Kind::Skipped) {
                at += 1;
            } else {
                return;
            }
        }
    }
}

impl Open {
    fn has_content(&self) -> bool {
        !self.held.is_empty() || matches!(self.kind, Kind::Whole(_)) || (self.ended && matches!(self.kind, Kind::ToolCall { .. }))
    }

    fn is_whole_call(&self) -> bool {
        matches!(self.kind, Kind::ToolCall { input: Input::Json(progress), .. } if progress.is_whole())
    }

    /// Writes what is held; its turn has come.
    fn release(&mut self, started: &mut u32, out: &mut BytesMut) {
        if let Kind::Whole(raw) = &self.kind {
            let index = next(started);
            start_frame(out, index, |w| w.raw(raw.text()));
            stop_frame(out, index);
            self.kind = Kind::Skipped;
        }
        for held in std::mem::take(&mut self.held) {
            self.write(&held.content(), started, out);
        }
    }

    fn write(&mut self, content: &Content<'_>, started: &mut u32, out: &mut BytesMut) {
        match *content {
            Content::Text(text) => self.text(text, started, out),
            Content::Seal(seal) if matches!(self.kind, Kind::Reasoning) => self.reasoning_seal(seal, started, out),
            Content::Seal(seal) => self.seal = Some(seal.clone()),
            Content::Citation(raw) => {
                let index = self.index(started, out);
                frame(out, "content_block_delta", |w| {
                    w.key("index").u64(index.into());
                    w.key("delta").begin_object();
                    w.key("type").str("citations_delta");
                    w.key("citation").raw(raw.text());
                    w.end_object();
                });
            }
        }
    }

    fn text(&mut self, text: &str, started: &mut u32, out: &mut BytesMut) {
        let index = self.index(started, out);
        match &mut self.kind {
            Kind::Text => delta_frame(out, index, "text_delta", "text", text),
            Kind::Reasoning => delta_frame(out, index, "thinking_delta", "thinking", text),
            Kind::ToolCall { input: Input::Json(progress), .. } => {
                progress.see(text);
                delta_frame(out, index, "input_json_delta", "partial_json", text);
            }
            Kind::ToolCall { input: Input::Text, .. } => {
                delta_frame(out, index, "input_json_delta", "partial_json", &inside_a_string(text));
            }
            Kind::Whole(_) | Kind::Over | Kind::Skipped => {}
        }
    }

    /// The block's index; starts the block if it has not.
    fn index(&mut self, started: &mut u32, out: &mut BytesMut) -> u32 {
        if let Some(index) = self.index {
            return index;
        }
        let index = next(started);
        self.index = Some(index);
        start_frame(out, index, |w| {
            w.begin_object();
            match &self.kind {
                Kind::Text | Kind::Whole(_) | Kind::Over | Kind::Skipped => {
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

    fn reasoning_seal(&mut self, seal: &Seal, started: &mut u32, out: &mut BytesMut) {
        if let (Some(data), None) = (seal.bytes.strip_prefix(REDACTED).filter(|_| seal.issuer == ANTHROPIC_MESSAGES), self.index) {
            redacted_block(out, next(started), data);
            self.kind = Kind::Skipped;
            return;
        }
        let index = self.index(started, out);
        self.signed = true;
        delta_frame(out, index, "signature_delta", "signature", &seal::shown_by(ANTHROPIC_MESSAGES, seal));
    }

    fn close(&mut self, started: &mut u32, out: &mut BytesMut) {
        if matches!(self.kind, Kind::ToolCall { .. }) {
            self.index(started, out);
        }
        if let Some(index) = self.index.take() {
            if let Kind::ToolCall { input: Input::Text, .. } = self.kind {
                delta_frame(out, index, "input_json_delta", "partial_json", "\"}");
            }
            if matches!(self.kind, Kind::Reasoning) && !self.signed {
                delta_frame(out, index, "signature_delta", "signature", seal::UNSIGNED);
            }
            stop_frame(out, index);
        }
        if let Some(seal) = self.seal.take() {
            redacted_block(out, next(started), &seal::token(&seal));
        }
    }
}

fn next(started: &mut u32) -> u32 {
    *started += 1;
    *started - 1
}
