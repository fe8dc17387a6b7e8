//! One choice of a stream: which part is open, and which tool calls are.

use std::borrow::Cow;

use gateway_core::{
    Memo, WireError,
    ir::{Citation, Delta, Event, PartKind, ToolKind},
};

use super::{Emit, detail::Detail, seal_of, text_delta};
use crate::{
    GEMINI, OPENAI_CHAT,
    json::{Fields, Json, Within},
    openai_chat::{
        answer::made_up_id,
        memo::{callers_id, callers_name},
        messages::{arguments, call_seal, is_only_a_signature},
    },
};

/// Most tool calls one choice may open.
const TOOLS_MAX: usize = 1_024;

pub(super) struct Choice {
    pub(super) index: u32,
    pub(super) finished: bool,
    pub(super) tools: Vec<Tool>,
    next_part: u32,
    open: Open,
}

/// A tool call. All stay open until the choice ends, because their pieces may come interleaved.
pub(super) struct Tool {
    wire_index: u32,
    id: Box<str>,
    part: u32,
}

/// The part that grows. Only tool calls may be open beside it.
pub(super) enum Open {
    None,
    Text(u32),
    Reasoning { part: u32, detail: Option<Detail> },
    Refusal(u32),
}

impl Open {
    pub(super) fn text(part: u32) -> (Self, PartKind<'static>) {
        (Self::Text(part), PartKind::Text)
    }

    pub(super) fn reasoning(part: u32) -> (Self, PartKind<'static>) {
        (Self::Reasoning { part, detail: None }, PartKind::Reasoning)
    }

    pub(super) fn refusal(part: u32) -> (Self, PartKind<'static>) {
        (Self::Refusal(part), PartKind::Refusal)
    }

    fn part(&self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Text(part) | Self::Refusal(part) | Self::Reasoning { part, .. } => Some(*part),
        }
    }
}

impl Choice {
    pub(super) fn new(index: u32) -> Self {
        Self { index, finished: false, tools: Vec::new(), next_part: 0, open: Open::None }
    }

    /// Adds text to the open part if it is of this kind, else opens one.
    pub(super) fn text(&mut self, text: &str, kind: fn(u32) -> (Open, PartKind<'static>), emit: Emit<'_>) {
        if text.is_empty() {
            return;
        }
        let (wanted, part_kind) = kind(self.next_part);
        let part = match self.open.part() {
            Some(part) if std::mem::discriminant(&self.open) == std::mem::discriminant(&wanted) => part,
            Some(_) | None => self.begin(wanted, part_kind, emit),
        };
        emit(text_delta(self.index, part, text));
    }

    fn begin(&mut self, open: Open, kind: PartKind<'_>, emit: Emit<'_>) -> u32 {
        self.close(emit);
        let part = self.next_part;
        self.next_part += 1;
        self.open = open;
        emit(Event::PartStart { choice: self.index, part, kind });
        part
    }

    /// A part that comes whole.
    pub(super) fn single(&mut self, kind: PartKind<'_>, emit: Emit<'_>) {
        let part = self.begin(Open::None, kind, emit);
        emit(Event::PartEnd { choice: self.index, part });
    }

    pub(super) fn cite(&mut self, citation: Citation, emit: Emit<'_>) {
        let part = match self.open {
            Open::Text(part) => part,
            Open::None | Open::Reasoning { .. } | Open::Refusal(_) => {
                let (open, kind) = Open::text(self.next_part);
                self.begin(open, kind, emit)
            }
        };
        emit(Event::Delta { choice: self.index, part, delta: Delta::Citation(Box::new(citation)) });
    }

    /// A piece of a reasoning detail; true when it told any text.
    pub(super) fn detail(&mut self, item: Json<'_>, emit: Emit<'_>) -> Result<bool, WireError> {
        let piece = Detail::read(item)?;
        let text = piece.readable();
        let continues = matches!(&self.open, Open::Reasoning { detail: Some(detail), .. } if detail.continues_with(&piece));
        if !continues {
            let part = self.next_part;
            self.begin(Open::Reasoning { part, detail: Some(Detail::default()) }, PartKind::Reasoning, emit);
        }
        if let Open::Reasoning { part, detail: Some(detail) } = &mut self.open {
            detail.merge(piece);
            if !text.is_empty() {
                emit(text_delta(self.index, *part, &text));
            }
        }
        Ok(!text.is_empty())
    }

    /// Ends the open part, tool calls aside.
    fn close(&mut self, emit: Emit<'_>) {
        let open = std::mem::replace(&mut self.open, Open::None);
        let Some(part) = open.part() else { return };
        if let Open::Reasoning { detail: Some(detail), .. } = &open
            && let Some(seal) = seal_of(&detail.text())
        {
            emit(Event::Delta { choice: self.index, part, delta: Delta::Seal(seal) });
        }
        emit(Event::PartEnd { choice: self.index, part });
    }

    pub(super) fn close_all(&mut self, emit: Emit<'_>) {
        self.close(emit);
        for tool in &self.tools {
            emit(Event::PartEnd { choice: self.index, part: tool.part });
        }
    }

    pub(super) fn tool(&mut self, item: Json<'_>, answer: Option<&str>, memo: &Memo, emit: Emit<'_>) -> Result<(), WireError> {
        let mut fields = item.fields()?;
        let wire_index = fields.take_u32("index")?;
        let id = fields.take_str("id")?.filter(|id| !id.is_empty());
        let custom = fields.take_str("type")?.as_deref() == Some("custom") || fields.has("custom");
        let (kind, holder, field) =
            if custom { (ToolKind::Custom, "custom", "input") } else { (ToolKind::Function, "function", "arguments") };
        let mut inner = fields.take_fields(holder)?;
        let (name, piece) = match &mut inner {
            Some(inner) => (inner.take_str("name").within(holder)?, inner.take_with(field, arguments).within(holder)?),
            None => (None, None),
        };
        let known = self.tools.iter().rposition(|tool| match (wire_index, &id) {
            (Some(index), _) => tool.wire_index == index,
            // Without an index a new id is a new call, and no id is more of the last one.
            (None, Some(id)) => *tool.id == **id,
            (None, None) => true,
        });
        let at = match known {
            Some(at) => at,
            None => {
                let id = id.map(|id| callers_id(memo, id.into_owned()));
                let name = callers_name(memo, name.unwrap_or_default().into_owned());
                self.begin_tool(wire_index, id, name.into(), kind, answer, emit)?
            }
        };
        let part = self.tools[at].part;
        if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
            emit(text_delta(self.index, part, &piece));
        }
        self.decorate(part, fields, emit)
    }

    fn begin_tool(
        &mut self,
        wire_index: Option<u32>,
        id: Option<String>,
        name: Cow<'_, str>,
        kind: ToolKind,
        answer: Option<&str>,
        emit: Emit<'_>,
    ) -> Result<usize, WireError> {
        if self.tools.len() == TOOLS_MAX {
            return Err(WireError::new("the stream opens too many tool calls"));
        }
        let n = self.tools.len() as u32;
        let id = id.unwrap_or_else(|| made_up_id(answer, self.index, n));
        let kind = PartKind::ToolCall { id: Cow::Borrowed(&id), name, kind };
        let part = self.begin(Open::None, kind, emit);
        let wire_index = wire_index.unwrap_or_else(|| self.tools.iter().map(|tool| tool.wire_index + 1).max().unwrap_or(0));
        self.tools.push(Tool { wire_index, id: id.into_boxed_str(), part });
        Ok(self.tools.len() - 1)
    }

    /// Signatures and unknown fields of a call.
    fn decorate(&self, part: u32, mut fields: Fields<'_>, emit: Emit<'_>) -> Result<(), WireError> {
        if let Some(extra) = fields.peek("extra_content")
            && let Some(seal) = call_seal(extra).within("extra_content")?
        {
            if seal.issuer != GEMINI {
                fields.take("extra_content");
            }
            emit(Event::Delta { choice: self.index, part, delta: Delta::Seal(seal) });
        }
        let told = fields.peek("extra_content").is_some_and(is_only_a_signature);
        if let Some(mut extras) = fields.extras(OPENAI_CHAT)? {
            extras.fields.retain(|(_, value)| value.text() != "null");
            if told {
                extras.mark_modelled("extra_content");
            }
            if !extras.fields.is_empty() {
                emit(Event::Delta { choice: self.index, part, delta: Delta::Extras(extras) });
            }
        }
        Ok(())
    }

    /// The form before tools: one call, without an id.
    pub(super) fn legacy(&mut self, item: Json<'_>, answer: Option<&str>, emit: Emit<'_>) -> Result<(), WireError> {
        let mut fields = item.fields()?;
        let name = fields.take_str("name")?.unwrap_or_default();
        let piece = fields.take_with("arguments", arguments)?.unwrap_or_default();
        let at = match self.tools.len() {
            0 => self.begin_tool(None, None, name, ToolKind::Function, answer, emit)?,
            n => n - 1,
        };
        if !piece.is_empty() {
            emit(text_delta(self.index, self.tools[at].part, &piece));
        }
        Ok(())
    }
}
