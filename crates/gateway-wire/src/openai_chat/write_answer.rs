//! Writes a whole answer.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use gateway_core::{
    LossReason, Losses, RenderCtx, RequestId, Used,
    ir::{ChatResponse, Choice, Citation, Part, PartBody, Seal},
};

use super::{
    extras::{get, write_nested, write_outer},
    finish, reasoning, usage,
    write_messages::write_call,
};
use crate::{OPENAI_CHAT, json::Writer, seal};

pub(super) fn encode(response: &ChatResponse, ctx: &RenderCtx, losses: &mut Losses) -> Bytes {
    let mut out = BytesMut::with_capacity(1_024);
    let mut w = Writer::new(&mut out);
    w.begin_object();
    w.key("id").str(&answer_id(response.id.as_deref(), ctx.request_id));
    w.key("object").str("chat.completion");
    w.key("created").u64(response.created.unwrap_or(ctx.created));
    w.key("model").str(&ctx.model);
    w.key("choices").begin_array();
    for (n, choice) in response.choices.iter().enumerate() {
        write_choice(&mut w, n, choice, losses);
    }
    w.end_array();
    if let Some(usage) = &response.usage {
        w.key("usage");
        usage::write(&mut w, usage, ctx.price.price(&Used::from(response)).as_deref());
        w.opt_str("service_tier", usage.service_tier.as_deref().map(tier_word));
    }
    if !write_outer(&mut w, response.extras.as_ref(), &[]) {
        record_foreign(response.extras.as_ref(), "", losses);
    }
    w.end_object();
    out.freeze()
}

/// A tier in this protocol's words, which are a closed list.
pub(super) fn tier_word(tier: &str) -> &str {
    if matches!(tier, "standard" | "standard_only") { "default" } else { tier }
}

/// The provider's id, or one made of the request's.
pub(super) fn answer_id(id: Option<&str>, request: RequestId) -> String {
    id.map_or_else(|| format!("chatcmpl-{request}"), str::to_owned)
}

fn record_foreign(extras: Option<&gateway_core::ir::Extras>, path: &str, losses: &mut Losses) {
    for key in extras.into_iter().flat_map(gateway_core::ir::Extras::unmodelled) {
        losses.push(format!("{path}{key}"), LossReason::Foreign);
    }
}

fn write_choice(w: &mut Writer<'_>, n: usize, choice: &Choice, losses: &mut Losses) {
    w.begin_object();
    w.key("index").u64(choice.index.into());
    w.key("message").begin_object();
    message(w, n, &choice.parts, losses);
    write_nested(w, choice.extras.as_ref(), "message.");
    w.end_object();
    w.key("logprobs");
    match &choice.logprobs {
        Some(raw) => w.raw(raw.text()),
        None => w.null(),
    }
    finish::write(w, &choice.finish);
    if !write_outer(w, choice.extras.as_ref(), &["message."]) {
        record_foreign(choice.extras.as_ref(), &format!("choices[{n}]."), losses);
    }
    w.end_object();
}

fn message(w: &mut Writer<'_>, n: usize, parts: &[Part], losses: &mut Losses) {
    let (mut text, mut refusal, mut cited, mut calls) = (None::<String>, None::<String>, Vec::new(), Vec::new());
    let mut chars = 0;
    for (p, part) in parts.iter().enumerate() {
        let path = || format!("choices[{n}].content[{p}]");
        let mut sealed = part.seal.is_some();
        match &part.body {
            PartBody::Text { text: more, citations } => {
                text.get_or_insert_default().push_str(more);
                let from = chars;
                chars += char_count(more);
                cited.extend(citations.iter().filter_map(|citation| {
                    let cited = Cited::new(citation, || from..chars);
                    if cited.is_none() {
                        losses.push(format!("{}.citations", path()), LossReason::Unsupported);
                    }
                    cited
                }));
            }
            PartBody::Refusal(more) => refusal.get_or_insert_default().push_str(more),
            PartBody::ToolCall(call) => {
                sealed = false;
                calls.push((part, call));
            }
            PartBody::Reasoning(_) => sealed = false,
            PartBody::Media(_) | PartBody::ToolResult(_) => losses.push(path(), LossReason::Unsupported),
            PartBody::Opaque { .. } => losses.push(path(), LossReason::Foreign),
        }
        if sealed {
            losses.push(format!("{}.signature", path()), LossReason::Unsupported);
        }
        if part.extras.as_ref().is_some_and(|extras| extras.origin != OPENAI_CHAT) {
            losses.push(format!("{}.extras", path()), LossReason::Foreign);
        }
    }
    w.key("role").str("assistant");
    w.key("content");
    match &text {
        Some(text) => w.str(text),
        None => w.null(),
    }
    w.key("refusal");
    match &refusal {
        Some(text) => w.str(text),
        None => w.null(),
    }
    reasoning::write(w, parts);
    if !cited.is_empty() {
        w.key("annotations").begin_array();
        cited.iter().for_each(|citation| citation.write(w));
        w.end_array();
    }
    if calls.is_empty() {
        return;
    }
    w.key("tool_calls").begin_array();
    for (part, call) in calls {
        w.begin_object();
        w.key("id").str(&call.id);
        write_call(w, &call.name, call, part);
        let _ = write_outer(w, part.extras.as_ref(), &["function.", "custom."]);
        if get(part.extras.as_ref(), "extra_content").is_none() {
            write_seal(w, part.seal.as_ref());
        }
        w.end_object();
    }
    w.end_array();
}

/// Writes a tool call's signature where a caller of this protocol carries it.
pub(super) fn write_seal(w: &mut Writer<'_>, seal: Option<&Seal>) {
    if let Some(seal) = seal {
        w.key("extra_content").begin_object();
        w.key("bellwether").begin_object();
        w.key("seal").str(&seal::token(seal));
        w.end_object();
        w.end_object();
    }
}

/// A citation that this protocol can show: it cites addresses only, and says which characters of the answer they support.
pub(super) enum Cited<'a> {
    Own(&'a Citation),
    Link { url: &'a str, span: Range<u64>, citation: &'a Citation },
}

impl<'a> Cited<'a> {
    /// `around` tells what text it stands at, for protocols that say no more.
    pub(super) fn new(citation: &'a Citation, around: impl FnOnce() -> Range<u64>) -> Option<Self> {
        if citation.origin == OPENAI_CHAT {
            return Some(Self::Own(citation));
        }
        let span = citation.start.zip(citation.end).map_or_else(around, |(start, end)| start..end);
        Some(Self::Link { url: citation.url.as_deref()?, span, citation })
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) {
        let (url, span, citation) = match self {
            Self::Own(citation) => return w.raw(citation.raw.text()),
            Self::Link { url, span, citation } => (url, span, citation),
        };
        w.begin_object();
        w.key("type").str("url_citation");
        w.key("url_citation").begin_object();
        w.key("start_index").u64(span.start);
        w.key("end_index").u64(span.end);
        w.key("url").str(url);
        w.key("title").str(citation.title.as_deref().unwrap_or(url));
        w.opt_str("content", citation.cited_text.as_deref());
        w.end_object();
        w.end_object();
    }
}

pub(super) fn char_count(text: &str) -> u64 {
    text.chars().count() as u64
}
