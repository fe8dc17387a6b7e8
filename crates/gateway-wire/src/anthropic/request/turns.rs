//! The conversation as the protocol wants it: system text apart, roles in turn, tool results first, nothing foreign.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gateway_core::{
    LossReason, Losses,
    ir::{CacheMark, Citation, Extras, Media, MediaKind, MediaSource, Message, Part, PartBody, Role, Seal, ToolCall, ToolKind, ToolResult},
};

use crate::{
    ANTHROPIC_MESSAGES,
    anthropic::{
        block::{Block, Planned, REDACTED, input_object, input_of_text},
        names::Names,
    },
};

/// Most cache breakpoints a request may have.
const CACHE_MARKS_MAX: u32 = 4;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    User,
    Assistant,
    /// In mid-conversation, which only newer models take.
    System,
}

/// One message to write.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) speaker: Speaker,
    pub(super) blocks: Vec<Planned<'a>>,
    pub(super) extras: Option<&'a Extras>,
    /// A thought in it could not be sent.
    lost_thought: bool,
}

/// The conversation to write.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    pub(super) system: Vec<Planned<'a>>,
    pub(super) turns: Vec<Turn<'a>>,
    /// Tools that the history calls, each once.
    pub(super) called: Vec<&'a str>,
    /// The history holds calls or results.
    pub(super) uses_tools: bool,
    /// It ends with results of calls that no thought of the model's own precedes. A model that is told to think by
    /// budget refuses to go on with these.
    pub(super) calls_without_thought: bool,
}

/// Plans what is written of each part, and records the rest.
pub(super) struct Planner<'l> {
    /// The caller speaks this protocol: nothing is rearranged.
    pub(super) native: bool,
    pub(super) names: &'l mut Names,
    pub(super) losses: &'l mut Losses,
    pub(super) marks_left: u32,
}

impl<'l> Planner<'l> {
    pub(super) fn new(native: bool, names: &'l mut Names, losses: &'l mut Losses) -> Self {
        Self { native, names, losses, marks_left: if native { u32::MAX } else { CACHE_MARKS_MAX } }
    }

    pub(super) fn conversation<'a>(&mut self, messages: &'a [Message]) -> Conversation<'a> {
        let mut conversation = Conversation::default();
        for (n, message) in messages.iter().enumerate() {
            self.message(n, message, &mut conversation);
        }
        if !self.native {
            for turn in conversation.turns.iter_mut().filter(|turn| turn.speaker == Speaker::User) {
                // Results must precede anything else that answers an assistant's turn. The sort is stable.
                turn.blocks.sort_by_key(|planned| !matches!(planned.block, Block::ToolResult { .. }));
            }
        }
        conversation.calls_without_thought = self.calls_without_thought(&conversation.turns);
        conversation
    }

    fn calls_without_thought(&self, turns: &[Turn<'_>]) -> bool {
        let [.., calling, answering] = turns else { return false };
        let answers = answering.blocks.iter().any(|planned| matches!(planned.block, Block::ToolResult { .. }));
        let thinks = calling.blocks.first().is_some_and(|first| matches!(first.block, Block::Thinking { .. } | Block::Redacted { .. }));
        // A caller of this protocol who sent none knows why.
        answers && calling.speaker == Speaker::Assistant && !thinks && (!self.native || calling.lost_thought)
    }

    fn message<'a>(&mut self, n: usize, message: &'a Message, conversation: &mut Conversation<'a>) {
        if message.name.is_some() {
            self.lose(format!("messages[{n}].name"), LossReason::Unsupported);
        }
        let extras = self.extras(message.extras.as_ref(), || format!("messages[{n}]"));
        let stays = message.extras.as_ref().is_some_and(|extras| extras.origin == ANTHROPIC_MESSAGES);
        let speaker = match message.role {
            Role::System | Role::Developer if stays => Speaker::System,
            Role::System | Role::Developer => {
                if !conversation.turns.is_empty() {
                    self.lose(format!("messages[{n}]"), LossReason::Approximated);
                }
                let blocks = self.parts(n, message, Speaker::System, conversation);
                conversation.system.extend(blocks);
                return;
            }
            Role::User | Role::Tool => Speaker::User,
            Role::Assistant => Speaker::Assistant,
        };
        let blocks = self.parts(n, message, speaker, conversation);
        if blocks.is_empty() {
            return;
        }
        let thoughts = message.parts.iter().filter(|part| matches!(part.body, PartBody::Reasoning(_))).count();
        let written = blocks.iter().filter(|planned| matches!(planned.block, Block::Thinking { .. } | Block::Redacted { .. })).count();
        let lost_thought = written < thoughts;
        match conversation.turns.last_mut() {
            Some(last) if !self.native && last.speaker == speaker => last.blocks.extend(blocks),
            _ => conversation.turns.push(Turn { speaker, blocks, extras, lost_thought }),
        }
    }

    fn parts<'a>(&mut self, n: usize, message: &'a Message, speaker: Speaker, conversation: &mut Conversation<'a>) -> Vec<Planned<'a>> {
        let mut blocks = Vec::with_capacity(message.parts.len());
        for (k, part) in message.parts.iter().enumerate() {
            match &part.body {
                PartBody::ToolCall(call) => {
                    conversation.uses_tools = true;
                    if !conversation.called.contains(&call.name.as_str()) {
                        conversation.called.push(&call.name);
                    }
                }
                PartBody::ToolResult(_) => conversation.uses_tools = true,
                PartBody::Text { .. } | PartBody::Media(_) | PartBody::Reasoning(_) | PartBody::Refusal(_) | PartBody::Opaque { .. } => {}
            }
            blocks.extend(self.part(part, speaker, &format!("messages[{n}].content[{k}]")));
        }
        blocks
    }

    fn part<'a>(&mut self, part: &'a Part, speaker: Speaker, path: &str) -> Option<Planned<'a>> {
        let block = match &part.body {
            PartBody::Text { text, citations } => self.text(text, citations, part, path),
            PartBody::Refusal(text) => {
                self.lose(path.to_owned(), LossReason::Approximated);
                (!text.is_empty()).then(|| Block::Text { text: Cow::Borrowed(text), citations: Vec::new() })
            }
            PartBody::Media(media) => self.media(media, part, speaker, path),
            PartBody::Reasoning(text) => self.reasoning(text, part.seal.as_ref(), path),
            PartBody::ToolCall(call) => Some(self.tool_call(call, path)),
            PartBody::ToolResult(result) => Some(self.tool_result(result, path)),
            PartBody::Opaque { origin, raw } if *origin == ANTHROPIC_MESSAGES => Some(Block::Opaque(raw)),
            PartBody::Opaque { .. } => {
                self.lose(path.to_owned(), LossReason::Foreign);
                None
            }
        };
        if part.seal.is_some() && !matches!(part.body, PartBody::Reasoning(_)) {
            self.lose(format!("{path}.seal"), LossReason::Foreign);
        }
        let block = block?;
        let may_hold_marks = !matches!(block, Block::Thinking { .. } | Block::Redacted { .. } | Block::Opaque(_));
        let cache = self.mark(part.cache.filter(|_| may_hold_marks), path);
        Some(Planned { block, cache, extras: self.extras(part.extras.as_ref(), || path.to_owned()) })
    }

    fn text<'a>(&mut self, text: &'a str, citations: &'a [Citation], part: &Part, path: &str) -> Option<Block<'a>> {
        // The protocol refuses empty text, which says nothing; only a breakpoint on it would be missed.
        if text.is_empty() {
            if part.cache.is_some() {
                self.lose(format!("{path}.cache"), LossReason::Unsupported);
            }
            return None;
        }
        let own = citations.iter().filter(|citation| citation.origin == ANTHROPIC_MESSAGES).collect::<Vec<_>>();
        if own.len() < citations.len() {
            self.lose(format!("{path}.citations"), LossReason::Foreign);
        }
        Some(Block::Text { text: Cow::Borrowed(text), citations: own })
    }

    fn reasoning<'a>(&mut self, text: &'a str, seal: Option<&'a Seal>, path: &str) -> Option<Block<'a>> {
        match seal {
            Some(seal) if seal.issuer == ANTHROPIC_MESSAGES => Some(match seal.bytes.strip_prefix(REDACTED) {
                Some(data) => Block::Redacted { data: Cow::Borrowed(data) },
                None => Block::Thinking { text, signature: Cow::Borrowed(&seal.bytes) },
            }),
            // Unsigned or signed by another: refused by the provider, and nobody else's to read.
            Some(_) | None => {
                self.lose(path.to_owned(), LossReason::Foreign);
                None
            }
        }
    }

    fn tool_call<'a>(&mut self, call: &'a ToolCall, path: &str) -> Block<'a> {
        let (input, is_exact) = match call.kind {
            ToolKind::Function => input_object(&call.arguments),
            ToolKind::Custom => (input_of_text(&call.arguments), false),
        };
        if !is_exact {
            let reason = if call.kind == ToolKind::Custom { LossReason::Approximated } else { LossReason::Malformed };
            self.lose(format!("{path}.arguments"), reason);
        }
        Block::ToolUse { id: self.names.id(&call.id), name: self.names.tool(&call.name), input }
    }

    fn tool_result<'a>(&mut self, result: &'a ToolResult, path: &str) -> Block<'a> {
        let id = self.names.id(&result.call_id);
        let mut content = Vec::with_capacity(result.content.len());
        for (k, part) in result.content.iter().enumerate() {
            let path = format!("{path}.content[{k}]");
            match &part.body {
                PartBody::Text { .. } | PartBody::Refusal(_) | PartBody::Media(_) | PartBody::Opaque { .. } => {
                    content.extend(self.part(part, Speaker::User, &path));
                }
                PartBody::Reasoning(_) | PartBody::ToolCall(_) | PartBody::ToolResult(_) => self.lose(path, LossReason::Unsupported),
            }
        }
        Block::ToolResult { id, content, is_error: result.is_error }
    }

    fn media<'a>(&mut self, media: &'a Media, part: &Part, speaker: Speaker, path: &str) -> Option<Block<'a>> {
        // A block that keeps its own type among its extras, such as a search result, is written from them.
        let keeps_itself = |extras: &Extras| extras.origin == ANTHROPIC_MESSAGES && extras.fields.iter().any(|(key, _)| &**key == "type");
        if part.extras.as_ref().is_some_and(keeps_itself) {
            return Some(Block::Kept);
        }
        if !self.native && speaker != Speaker::User {
            self.lose(path.to_owned(), LossReason::Unsupported);
            return None;
        }
        if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
            self.lose(format!("{path}.detail"), LossReason::Unsupported);
        }
        let refused = match (&media.kind, &media.source) {
            (MediaKind::Audio | MediaKind::Video, _) => Some(LossReason::Unsupported),
            (MediaKind::Image, MediaSource::Text(_)) => Some(LossReason::Malformed),
            (_, MediaSource::File { origin, .. }) if *origin != ANTHROPIC_MESSAGES => Some(LossReason::Foreign),
            (MediaKind::Image | MediaKind::Document, _) => None,
        };
        if let Some(reason) = refused {
            self.lose(path.to_owned(), reason);
            return None;
        }
        if media.kind == MediaKind::Image {
            let media_type = media_type(media, IMAGES).unwrap_or("image/png");
            return Some(Block::Media { kind: "image", media, media_type: Cow::Borrowed(media_type), text: None });
        }
        let MediaSource::Inline { base64 } = &media.source else {
            return Some(Block::Media { kind: "document", media, media_type: Cow::Borrowed(""), text: None });
        };
        let media_type = media_type(media, DOCUMENTS).unwrap_or("application/pdf");
        if media_type == "application/pdf" {
            return Some(Block::Media { kind: "document", media, media_type: Cow::Borrowed(media_type), text: None });
        }
        match text_of(media_type, base64) {
            Some(text) => Some(Block::Media { kind: "document", media, media_type: Cow::Borrowed(""), text: Some(Cow::Owned(text)) }),
            None => {
                self.lose(path.to_owned(), LossReason::Unsupported);
                None
            }
        }
    }

    /// The breakpoint, as long as the request may have one more.
    pub(super) fn mark(&mut self, mark: Option<CacheMark>, path: &str) -> Option<CacheMark> {
        let mark = mark?;
        if self.marks_left == 0 {
            self.lose(format!("{path}.cache"), LossReason::Unsupported);
            return None;
        }
        self.marks_left -= 1;
        Some(mark)
    }

    /// Unknown fields, if they are of this protocol; another's are losses.
    pub(super) fn extras<'a>(&mut self, extras: Option<&'a Extras>, path: impl Fn() -> String) -> Option<&'a Extras> {
        let extras = extras?;
        if extras.origin == ANTHROPIC_MESSAGES {
            return (!extras.fields.is_empty()).then_some(extras);
        }
        for key in extras.unmodelled() {
            let path = path();
            let dot = if path.is_empty() { "" } else { "." };
            self.lose(format!("{path}{dot}{key}"), LossReason::Unsupported);
        }
        None
    }

    pub(super) fn lose(&mut self, path: String, reason: LossReason) {
        self.losses.push(path, reason);
    }
}

/// How media begins in base64, for callers who do not say what it is.
const IMAGES: &[(&str, &str)] = &[("iVBOR", "image/png"), ("/9j/", "image/jpeg"), ("R0lG", "image/gif"), ("UklG", "image/webp")];
const DOCUMENTS: &[(&str, &str)] = &[("JVBER", "application/pdf")];

fn media_type<'a>(media: &'a Media, known: &[(&str, &'static str)]) -> Option<&'a str> {
    if let Some(stated) = &media.media_type {
        // Many clients say `image/jpg`, which is not a registered type.
        return Some(if stated == "image/jpg" { "image/jpeg" } else { stated });
    }
    let MediaSource::Inline { base64 } = &media.source else { return None };
    known.iter().find(|(start, _)| base64.starts_with(start)).map(|(_, name)| *name)
}

/// An inline document that is text in truth.
fn text_of(media_type: &str, base64: &str) -> Option<String> {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let is_text = essence.starts_with("text/") || matches!(essence, "application/json" | "application/xml" | "application/yaml");
    if !is_text {
        return None;
    }
    STANDARD.decode(base64).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}
