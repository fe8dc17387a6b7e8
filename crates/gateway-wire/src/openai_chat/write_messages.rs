//! Writes the conversation.

use gateway_core::{
    LossReason, Losses, Quirks,
    ir::{ChatRequest, Message, Part, PartBody, Role, Seal, ToolCall, ToolKind, ToolResult},
};

use super::{
    extras::{get, write_nested, write_outer},
    memo::Rewriter,
    reasoning,
    write_parts::{self, Media},
};
use crate::{OPENAI_CHAT, json::Writer};

/// Writes the conversation; how many messages it has. One of which nothing can be sent is left out.
pub(super) fn write(w: &mut Writer<'_>, request: &ChatRequest, quirks: &Quirks, known: &mut Known, losses: &mut Losses) -> usize {
    w.key("messages").begin_array();
    let mut out = Messages { w, quirks, known, losses, held: Vec::new(), written: 0 };
    for (n, message) in request.messages.iter().enumerate() {
        out.message(n, message);
    }
    out.release();
    let written = out.written;
    w.end_array();
    written
}

/// What the provider knows calls and tools by.
pub(super) struct Known {
    pub(super) ids: Rewriter,
    pub(super) names: Rewriter,
}

struct Messages<'m, 'o> {
    w: &'m mut Writer<'o>,
    quirks: &'m Quirks,
    known: &'m mut Known,
    losses: &'m mut Losses,
    /// Media of tool results, with their paths. Tool messages hold text only and must follow their calls without a gap,
    /// so the media follow the last of them as the user's.
    held: Vec<(String, Part)>,
    written: usize,
}

impl Messages<'_, '_> {
    fn message(&mut self, n: usize, message: &Message) {
        let path = format!("messages[{n}]");
        let media = if message.role == Role::Assistant { Media::Refused } else { Media::Allowed };
        // Protocols that put tool results among a message's parts put them first; each becomes a message of its own.
        let mut rest: Vec<(usize, &Part)> = Vec::new();
        for (p, part) in message.parts.iter().enumerate() {
            match &part.body {
                PartBody::ToolResult(result) => self.tool_result(&format!("{path}.content[{p}]"), part, result, message),
                PartBody::ToolCall(_) if message.role == Role::Assistant => rest.push((p, part)),
                PartBody::Reasoning(_) if foreign(part) => self.losses.push(format!("{path}.content[{p}]"), LossReason::Foreign),
                PartBody::Text { .. }
                | PartBody::Media(_)
                | PartBody::Reasoning(_)
                | PartBody::Refusal(_)
                | PartBody::ToolCall(_)
                | PartBody::Opaque { .. } => match write_parts::refusal(part, media) {
                    Some(reason) => self.losses.push(format!("{path}.content[{p}]"), reason),
                    None => rest.push((p, part)),
                },
            }
        }
        if rest.is_empty() && !message.parts.is_empty() {
            return;
        }
        self.release();
        self.written += 1;
        self.w.begin_object();
        let role = self.role(message.role);
        self.w.key("role").str(role);
        self.w.opt_str("name", message.name.as_deref());
        if message.role == Role::Assistant {
            self.assistant(&path, &rest);
        } else {
            write_parts::content(self.w, &path, &rest, media, self.losses);
        }
        if !write_outer(self.w, message.extras.as_ref(), &[]) {
            self.losses.push(format!("{path}.extras"), LossReason::Foreign);
        }
        self.w.end_object();
    }

    fn role(&self, role: Role) -> &'static str {
        match role {
            Role::System => "system",
            Role::Developer if self.quirks.no_developer_role => "system",
            Role::Developer => "developer",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        }
    }

    fn tool_result(&mut self, path: &str, part: &Part, result: &ToolResult, message: &Message) {
        if part.cache.is_some() {
            self.losses.push(format!("{path}.cache_control"), LossReason::Unsupported);
        }
        if result.is_error == Some(true) {
            self.losses.push(format!("{path}.is_error"), LossReason::Unsupported);
        }
        let mut texts = Vec::new();
        for (n, inner) in result.content.iter().enumerate() {
            let inner_path = || format!("{path}.content[{n}]");
            match (&inner.body, write_parts::refusal(inner, Media::Allowed)) {
                (_, Some(reason)) => self.losses.push(inner_path(), reason),
                (PartBody::Media(_), None) => {
                    self.losses.push(inner_path(), LossReason::Approximated);
                    self.held.push((inner_path(), inner.clone()));
                }
                (
                    PartBody::Text { .. }
                    | PartBody::Reasoning(_)
                    | PartBody::Refusal(_)
                    | PartBody::ToolCall(_)
                    | PartBody::ToolResult(_)
                    | PartBody::Opaque { .. },
                    None,
                ) => texts.push((n, inner)),
            }
        }
        self.written += 1;
        self.w.begin_object();
        self.w.key("role").str("tool");
        self.w.key("tool_call_id").str(&self.known.ids.written(&result.call_id));
        self.w.opt_str("name", result.name.as_deref().map(|name| self.known.names.written(name)).as_deref());
        write_parts::content(self.w, path, &texts, Media::Refused, self.losses);
        if message.role == Role::Tool && !write_outer(self.w, message.extras.as_ref(), &[]) {
            self.losses.push(format!("{path}.extras"), LossReason::Foreign);
        }
        self.w.end_object();
    }

    fn release(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let held = std::mem::take(&mut self.held);
        self.written += 1;
        self.w.begin_object();
        self.w.key("role").str("user");
        self.w.key("content").begin_array();
        for (path, part) in &held {
            write_parts::part(self.w, path, part, Media::Allowed, self.losses);
        }
        self.w.end_array();
        self.w.end_object();
    }

    fn assistant(&mut self, path: &str, parts: &[(usize, &Part)]) {
        let (mut content, mut thoughts, mut calls, mut refusals) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (p, part) in parts {
            match &part.body {
                PartBody::Reasoning(text) if self.quirks.thinking_as_content_parts && !text.is_empty() => content.push((*p, *part)),
                PartBody::Reasoning(_) => thoughts.push((*part).clone()),
                PartBody::ToolCall(call) => calls.push((*p, *part, call)),
                // A refusal beside other content has the field; content of its own would be read as text.
                PartBody::Refusal(text) => refusals.push(text.as_str()),
                PartBody::Text { .. } | PartBody::Media(_) | PartBody::Opaque { .. } | PartBody::ToolResult(_) => content.push((*p, *part)),
            }
        }
        if content.is_empty() {
            self.w.key("content").null();
        } else {
            write_parts::content(self.w, path, &content, Media::Refused, self.losses);
        }
        reasoning::write(self.w, &thoughts);
        if !refusals.is_empty() {
            self.w.key("refusal").str(&refusals.concat());
        }
        if calls.is_empty() {
            return;
        }
        self.w.key("tool_calls").begin_array();
        for (p, part, call) in calls {
            self.tool_call(&format!("{path}.content[{p}]"), part, call);
        }
        self.w.end_array();
    }

    fn tool_call(&mut self, path: &str, part: &Part, call: &ToolCall) {
        let carried = get(part.extras.as_ref(), "extra_content").is_some();
        if part.seal.is_some() && !carried {
            self.losses.push(format!("{path}.signature"), LossReason::Foreign);
        }
        if part.cache.is_some() {
            self.losses.push(format!("{path}.cache_control"), LossReason::Unsupported);
        }
        self.w.begin_object();
        self.w.key("id").str(&self.known.ids.written(&call.id));
        write_call(self.w, &self.known.names.written(&call.name), call, part);
        if !write_outer(self.w, part.extras.as_ref(), &["function.", "custom."]) {
            self.losses.push(format!("{path}.extras"), LossReason::Foreign);
        }
        self.w.end_object();
    }
}

/// Writes `type` and the object named after it.
pub(super) fn write_call(w: &mut Writer<'_>, name: &str, call: &ToolCall, part: &Part) {
    let (holder, text) = holder(call.kind);
    w.key("type").str(holder);
    w.key(holder).begin_object();
    w.key("name").str(name);
    // A call without arguments is an empty object: most providers parse the text when it comes back.
    let empty = call.arguments.is_empty() && call.kind == ToolKind::Function;
    w.key(text).str(if empty { "{}" } else { &call.arguments });
    write_nested(w, part.extras.as_ref(), if call.kind == ToolKind::Function { "function." } else { "custom." });
    w.end_object();
}

/// The object that holds a call, and its field for the arguments.
pub(super) fn holder(kind: ToolKind) -> (&'static str, &'static str) {
    match kind {
        ToolKind::Function => ("function", "arguments"),
        ToolKind::Custom => ("custom", "input"),
    }
}

fn foreign(part: &Part) -> bool {
    part.seal.as_ref().is_some_and(|Seal { issuer, .. }| *issuer != OPENAI_CHAT)
}
