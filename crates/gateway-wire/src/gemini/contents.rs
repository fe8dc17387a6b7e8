//! Messages become `contents` and `systemInstruction`.
//!
//! Gemini knows two speakers, takes system text only in front, and wants the results of one turn's calls together in one
//! content, as many as there were calls, before anything else. So neighbouring messages of one speaker share a content.

use gateway_core::{
    LossReason, Losses, Target, WireError,
    ir::{ChatRequest, Extras, Message, Part as IrPart, PartBody as IrBody, Role, Seal, ToolCall, ToolKind, ToolResult},
};
use serde_json::value::RawValue;

use super::{
    body::{Args, Content, FunctionCall, FunctionResponse, Outcome, OwnPart, Part, PartBody},
    ids::is_made_up,
    media,
    request::extras,
};
use crate::GEMINI;

/// Documented by Google for history that no Gemini model wrote: models that think by level refuse a turn whose first
/// call has no signature, and this value tells them not to look for one.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// A conversation in Gemini's terms.
pub(super) struct Conversation<'a> {
    pub(super) system: Option<Content<'a>>,
    pub(super) turns: Vec<Content<'a>>,
    /// How many tool calls it holds.
    pub(super) calls: u32,
}

/// Encodes the messages.
///
/// # Errors
/// None of them holds anything that Gemini can carry.
pub(super) fn encode<'a>(request: &'a ChatRequest, target: &Target<'_>, losses: &mut Losses) -> Result<Conversation<'a>, WireError> {
    let mut writer = Writer { signs: target.deployment.quirks.thinking_by_effort, ..Writer::default() };
    for (n, message) in request.messages.iter().enumerate() {
        writer.message(n, message, losses);
    }
    writer.finish(losses)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    User,
    Model,
}

/// One content in the making.
struct Turn<'a> {
    speaker: Speaker,
    /// Results, each with the place of its call in the turn before.
    results: Vec<(usize, Part<'a>)>,
    rest: Vec<Part<'a>>,
    /// The calls made in it: id and name.
    calls: Vec<(&'a str, &'a str)>,
    /// Whether its first call still lacks a signature, and where that call stands in the source.
    unsigned: Option<String>,
}

#[derive(Default)]
struct Writer<'a> {
    /// The model wants signatures back on calls.
    signs: bool,
    system: Vec<Part<'a>>,
    turns: Vec<Turn<'a>>,
}

impl<'a> Writer<'a> {
    fn message(&mut self, n: usize, message: &'a Message, losses: &mut Losses) {
        if message.name.is_some() {
            losses.push(format!("messages[{n}].name"), LossReason::Unsupported);
        }
        // A content has no fields of its own to carry unknown ones, not even Gemini's.
        for name in message.extras.iter().flat_map(Extras::unmodelled) {
            losses.push(format!("messages[{n}].{name}"), LossReason::Unsupported);
        }
        let speaker = match message.role {
            Role::System | Role::Developer => return self.system(n, message, losses),
            Role::User | Role::Tool => Speaker::User,
            Role::Assistant => Speaker::Model,
        };
        for (m, part) in message.parts.iter().enumerate() {
            let at = At { message: n, part: m };
            if part.cache.is_some() {
                // Gemini caches by itself; there is no place for a mark.
                losses.push(at.field("cache_control"), LossReason::Unsupported);
            }
            self.part(speaker, part, at, losses);
        }
    }

    fn system(&mut self, n: usize, message: &'a Message, losses: &mut Losses) {
        if !self.turns.is_empty() {
            // Its place in the conversation is lost: it moves to the front.
            losses.push(format!("messages[{n}].role"), LossReason::Approximated);
        }
        for (m, part) in message.parts.iter().enumerate() {
            let at = At { message: n, part: m };
            if part.cache.is_some() {
                losses.push(at.field("cache_control"), LossReason::Unsupported);
            }
            match &part.body {
                IrBody::Text { text, .. } if text.is_empty() => {}
                IrBody::Text { text, .. } => {
                    let extras = extras(part.extras.as_ref(), || at.path(), losses);
                    self.system.push(Part::Own(OwnPart { extras, ..OwnPart::new(PartBody::Text(text.as_str().into())) }));
                }
                IrBody::Media(_)
                | IrBody::Reasoning(_)
                | IrBody::Refusal(_)
                | IrBody::ToolCall(_)
                | IrBody::ToolResult(_)
                | IrBody::Opaque { .. } => losses.push(at.path(), LossReason::Unsupported),
            }
        }
    }

    fn part(&mut self, speaker: Speaker, part: &'a IrPart, at: At, losses: &mut Losses) {
        let signature = signature(part.seal.as_ref(), at, losses);
        let body = match &part.body {
            IrBody::Text { text, citations } => {
                if !citations.is_empty() {
                    losses.push(at.field("citations"), LossReason::Unsupported);
                }
                if text.is_empty() && signature.is_none() {
                    return;
                }
                PartBody::Text(text.as_str().into())
            }
            IrBody::Refusal(text) if text.is_empty() => return,
            IrBody::Refusal(text) => {
                losses.push(at.path(), LossReason::Approximated);
                PartBody::Text(text.as_str().into())
            }
            IrBody::Reasoning(text) => {
                // Without its signature Gemini reads nothing from a thought, and another model's is none of its own.
                if signature.is_none() {
                    let reason = if part.seal.is_some() { LossReason::Foreign } else { LossReason::Unsupported };
                    losses.push(at.path(), reason);
                    return;
                }
                let thought = OwnPart { thought: true, signature, ..OwnPart::new(PartBody::Text(text.as_str().into())) };
                return self.turn(speaker).rest.push(Part::Own(thought));
            }
            IrBody::Media(media) => match media::encode(media, || at.path(), losses) {
                Some(body) => body,
                None => return,
            },
            IrBody::ToolCall(call) => match speaker {
                Speaker::Model => PartBody::FunctionCall(self.call(call, signature.is_some(), at, losses)),
                Speaker::User => return losses.push(at.path(), LossReason::Malformed),
            },
            IrBody::ToolResult(result) => match speaker {
                Speaker::User => return self.result(result, part, at, losses),
                Speaker::Model => return losses.push(at.path(), LossReason::Malformed),
            },
            IrBody::Opaque { origin, raw } if *origin == GEMINI => return self.turn(speaker).rest.push(Part::Raw(raw.raw())),
            IrBody::Opaque { .. } => return losses.push(at.path(), LossReason::Foreign),
        };
        let extras = extras(part.extras.as_ref(), || at.path(), losses);
        self.turn(speaker).rest.push(Part::Own(OwnPart { signature, extras, ..OwnPart::new(body) }));
    }

    /// The turn that a part of `speaker` belongs to: the last one, or a new one.
    fn turn(&mut self, speaker: Speaker) -> &mut Turn<'a> {
        if self.turns.last().is_none_or(|turn| turn.speaker != speaker) {
            self.turns.push(Turn { speaker, results: Vec::new(), rest: Vec::new(), calls: Vec::new(), unsigned: None });
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    fn call(&mut self, call: &'a ToolCall, signed: bool, at: At, losses: &mut Losses) -> FunctionCall<'a> {
        let turn = self.turn(Speaker::Model);
        if turn.calls.is_empty() && !signed {
            turn.unsigned = Some(at.path());
        }
        turn.calls.push((&call.id, &call.name));
        let args = match call.kind {
            ToolKind::Custom => {
                losses.push(at.field("arguments"), LossReason::Approximated);
                Args::Text("input", &call.arguments)
            }
            ToolKind::Function => args(&call.arguments, at, losses),
        };
        FunctionCall { id: sent_id(&call.id), name: &call.name, args }
    }

    fn result(&mut self, result: &'a ToolResult, part: &'a IrPart, at: At, losses: &mut Losses) {
        let made_in =
            self.turns.iter().rev().find_map(|turn| turn.calls.iter().position(|(id, _)| *id == result.call_id).map(|n| (turn, n)));
        let (place, known) = made_in.map_or((usize::MAX, None), |(turn, n)| (n, Some(turn.calls[n].1)));
        let name = result.name.as_deref().or(known).unwrap_or_else(|| {
            // No call of this id in the history: Gemini will refuse it, and the loss tells why.
            losses.push(at.field("tool_call_id"), LossReason::Malformed);
            &result.call_id
        });
        let mut text = std::borrow::Cow::Borrowed("");
        let mut inside = Vec::new();
        let mut beside = Vec::new();
        for (n, piece) in result.content.iter().enumerate() {
            let path = || format!("{}.content[{n}]", at.path());
            if piece.cache.is_some() {
                losses.push(format!("{}.cache_control", path()), LossReason::Unsupported);
            }
            // A result is one text; its pieces have no fields of their own, not even Gemini's.
            for name in piece.extras.iter().flat_map(Extras::unmodelled) {
                losses.push(format!("{}.{name}", path()), LossReason::Unsupported);
            }
            match &piece.body {
                IrBody::Text { text: more, .. } if text.is_empty() => text = more.as_str().into(),
                IrBody::Text { text: more, .. } => {
                    let whole = text.to_mut();
                    whole.push('\n');
                    whole.push_str(more);
                }
                IrBody::Media(media) => {
                    let Some(body) = media::encode(media, path, losses) else { continue };
                    let own = Part::Own(OwnPart::new(body));
                    if self.signs {
                        inside.push(own);
                    } else {
                        // Only newer models take media inside a result; for the others it follows the result.
                        losses.push(path(), LossReason::Approximated);
                        beside.push(own);
                    }
                }
                IrBody::Reasoning(_) | IrBody::Refusal(_) | IrBody::ToolCall(_) | IrBody::ToolResult(_) | IrBody::Opaque { .. } => {
                    losses.push(path(), LossReason::Unsupported);
                }
            }
        }
        let response = Outcome { failed: result.is_error == Some(true), text };
        let body = FunctionResponse { id: sent_id(&result.call_id), name, response, parts: inside };
        let extras = extras(part.extras.as_ref(), || at.path(), losses);
        let own = Part::Own(OwnPart { extras, ..OwnPart::new(PartBody::FunctionResponse(body)) });
        let turn = self.turn(Speaker::User);
        if !turn.rest.is_empty() && turn.results.is_empty() {
            // Text that stood before the results moves behind them.
            losses.push(at.path(), LossReason::Approximated);
        }
        turn.results.push((place, own));
        turn.rest.append(&mut beside);
    }

    fn finish(mut self, losses: &mut Losses) -> Result<Conversation<'a>, WireError> {
        if self.turns.is_empty() {
            if self.system.is_empty() {
                let message = "the conversation holds nothing that can be sent: add a message with text, media or a tool result";
                return Err(WireError::at("messages", message));
            }
            // Gemini demands a turn; instructions alone are sent as one.
            losses.push("messages[0].role", LossReason::Approximated);
            let turn = Content { role: Some("user"), parts: self.system };
            return Ok(Conversation { system: None, turns: vec![turn], calls: 0 });
        }
        let calls = self.turns.iter().map(|turn| turn.calls.len()).sum::<usize>();
        let signs = self.signs;
        let turns = self.turns.drain(..).map(|turn| turn.finish(signs, losses)).collect();
        let system = (!self.system.is_empty()).then_some(Content { role: None, parts: self.system });
        Ok(Conversation { system, turns, calls: u32::try_from(calls).unwrap_or(u32::MAX) })
    }
}

impl<'a> Turn<'a> {
    fn finish(mut self, signs: bool, losses: &mut Losses) -> Content<'a> {
        if let Some(path) = self.unsigned.filter(|_| signs) {
            losses.push(path, LossReason::Approximated);
            let first = self.rest.iter_mut().find_map(|part| match part {
                Part::Own(own) if matches!(own.body, PartBody::FunctionCall(_)) => Some(own),
                Part::Own(_) | Part::Raw(_) => None,
            });
            if let Some(first) = first {
                first.signature = Some(NO_SIGNATURE);
            }
        }
        // Where there are no ids, Gemini ties results to calls by name and order.
        self.results.sort_by_key(|(place, _)| *place);
        let mut parts: Vec<_> = self.results.into_iter().map(|(_, part)| part).collect();
        parts.append(&mut self.rest);
        let role = match self.speaker {
            Speaker::User => "user",
            Speaker::Model => "model",
        };
        Content { role: Some(role), parts }
    }
}

/// Where a part stands in the source; formatted only when something is lost there.
#[derive(Clone, Copy)]
pub(super) struct At {
    message: usize,
    part: usize,
}

impl At {
    pub(super) fn path(self) -> String {
        format!("messages[{}].content[{}]", self.message, self.part)
    }

    pub(super) fn field(self, name: &str) -> String {
        format!("messages[{}].content[{}].{name}", self.message, self.part)
    }
}

fn signature<'a>(seal: Option<&'a Seal>, at: At, losses: &mut Losses) -> Option<&'a str> {
    let seal = seal?;
    if seal.issuer == GEMINI {
        return Some(&seal.bytes);
    }
    losses.push(at.field("signature"), LossReason::Foreign);
    None
}

/// Ids of our own making mean nothing to Gemini; any other is sent, since newer models tie results to calls by it.
fn sent_id(id: &str) -> Option<&str> {
    (!id.is_empty() && !is_made_up(id)).then_some(id)
}

/// Arguments must be an object. Text that is none (cut off by a limit, say) travels whole under one key.
fn args<'a>(text: &'a str, at: At, losses: &mut Losses) -> Args<'a> {
    let text = text.trim();
    if text.is_empty() {
        return Args::Empty;
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if text.starts_with('{') => Args::Object(raw),
        Ok(_) | Err(_) => {
            losses.push(at.field("arguments"), LossReason::Malformed);
            Args::Text("arguments", text)
        }
    }
}
