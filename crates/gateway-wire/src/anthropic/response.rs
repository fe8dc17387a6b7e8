//! Whole answers, read from a provider and shown to a caller.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use gateway_core::{
    LossReason, Losses, Memo, RenderCtx, Used, WireError,
    ir::{ChatResponse, Choice, Extras, Finish, FinishReason, Part, PartBody, Seal, ToolKind},
};

use super::{
    block::{self, Block, Planned, REDACTED},
    names::Names,
    usage::{self, WireUsage},
};
use crate::{
    ANTHROPIC_MESSAGES,
    edits::priced_usage,
    json::{Json, Within, Writer},
    seal,
};

/// The reason behind a `stop_reason`. One we do not know is [`FinishReason::Other`].
pub(super) fn reason_of(word: &str) -> FinishReason {
    match word {
        "end_turn" => FinishReason::Stop,
        "stop_sequence" => FinishReason::StopSequence,
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextFull,
        "tool_use" => FinishReason::ToolCalls,
        "pause_turn" => FinishReason::Paused,
        "refusal" => FinishReason::Refusal,
        _ => FinishReason::Other,
    }
}

/// The `stop_reason` of a reason. The official clients type it as a closed list.
pub(super) fn word_for(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::MalformedToolCall | FinishReason::Error | FinishReason::Other => "end_turn",
        FinishReason::StopSequence => "stop_sequence",
        FinishReason::Length => "max_tokens",
        FinishReason::ContextFull => "model_context_window_exceeded",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::ContentFilter | FinishReason::Refusal => "refusal",
        FinishReason::Paused => "pause_turn",
    }
}

/// How an answer ended, from the provider's words.
pub(super) fn finish_of(word: Option<&str>, stop_sequence: Option<&str>, unwrapped: bool) -> Finish {
    let reason = match word {
        // The call that carried a structured answer is not one the caller knows of.
        Some("tool_use") if unwrapped => FinishReason::Stop,
        Some(word) => reason_of(word),
        None => FinishReason::Stop,
    };
    Finish { reason, native: word.map(Box::from), stop_sequence: stop_sequence.map(Box::from) }
}

/// Reads a provider's whole answer.
pub(super) fn decode(body: &[u8], memo: &Memo) -> Result<ChatResponse, WireError> {
    let mut fields = Json::parse(body)?.fields()?;
    if let Some(kind) = fields.take_str("type")?
        && kind != "message"
    {
        return Err(WireError::at("type", format!("expected message, found `{kind}`")));
    }
    fields.take("role");
    let names = memo.get::<Names>();
    let mut parts = Vec::new();
    let (mut answered, mut called) = (false, false);
    for (n, item) in fields.need_with("content", Json::array)?.into_iter().enumerate() {
        block::decode_into(&mut parts, item).within_index(n).within("content")?;
        let (Some(names), Some(part)) = (names, parts.last_mut()) else { continue };
        restore(part, names, &mut answered);
    }
    for part in &parts {
        called |= matches!(part.body, PartBody::ToolCall(_));
    }
    let word = fields.take_str("stop_reason")?;
    let stop_sequence = fields.take_str("stop_sequence")?;
    let finish = finish_of(word.as_deref(), stop_sequence.as_deref(), answered && !called);
    let stop_details = fields.take_raw("stop_details")?.map(|details| vec![(Box::from("stop_details"), details)]);
    let (id, model) = (fields.take_string("id")?, fields.take_string("model")?);
    let reported = fields.take_value("usage");
    let reported = reported.map(|value| (WireUsage::decode(value), value));
    let mut extras = block::extras(fields)?.unwrap_or(Extras::new(ANTHROPIC_MESSAGES));
    if let Some((usage, value)) = &reported
        && usage.has_more()
    {
        extras.fields.push(("usage".into(), value.raw().within("usage")?));
    }
    let of_choice = stop_details.map(|fields| Extras { fields, ..Extras::new(ANTHROPIC_MESSAGES) });
    Ok(ChatResponse {
        id,
        model,
        created: None,
        choices: vec![Choice { index: 0, parts, finish, logprobs: None, extras: of_choice }],
        usage: reported.map(|(usage, _)| usage.canonical()),
        extras: Some(extras),
    })
}

/// Gives calls their names back, and turns the call that carries the structured answer into the answer.
fn restore(part: &mut Part, names: &Names, answered: &mut bool) {
    let PartBody::ToolCall(call) = &mut part.body else { return };
    if names.is_answer(&call.name) {
        *answered = true;
        let text = std::mem::take(&mut call.arguments);
        *part = Part::text(text);
        return;
    }
    call.name = names.original_tool(&call.name).to_owned();
    call.id = names.original_id(&call.id).to_owned();
}

/// Shows a whole answer to a caller.
pub(super) fn encode(response: &ChatResponse, ctx: &RenderCtx, losses: &mut Losses) -> Bytes {
    let native = response.extras.as_ref().filter(|extras| extras.origin == ANTHROPIC_MESSAGES);
    let choice = response.choices.first();
    for extra in response.choices.iter().skip(1) {
        losses.push(format!("choices[{}]", extra.index), LossReason::Unsupported);
    }
    let mut blocks = Vec::new();
    for (n, part) in choice.into_iter().flat_map(|choice| &choice.parts).enumerate() {
        show(part, n, ctx, &mut blocks, losses);
    }
    let mut out = BytesMut::with_capacity(1_024);
    let mut w = Writer::new(&mut out);
    w.begin_object();
    w.key("id").str(&answer_id(response.id.as_deref(), ctx));
    w.key("type").str("message");
    w.key("role").str("assistant");
    w.key("model").str(&ctx.model);
    w.key("content").begin_array();
    blocks.iter().for_each(|block: &Planned<'_>| block.write(&mut w));
    w.end_array();
    write_finish(&mut w, choice, native.is_some());
    if let Some(choice) = choice {
        if choice.logprobs.is_some() {
            losses.push("choices[0].logprobs", LossReason::Unsupported);
        }
        if !w.extras(choice.extras.as_ref(), ANTHROPIC_MESSAGES) {
            lose_extras(choice.extras.as_ref(), "choices[0].", losses);
        }
    }
    write_usage(&mut w, response, native, ctx.price.price(&Used::from(response)).as_deref());
    match native {
        Some(extras) => {
            for (key, value) in extras.fields.iter().filter(|(key, _)| &**key != "usage") {
                w.key(key).raw(value.text());
            }
        }
        None => lose_extras(response.extras.as_ref(), "", losses),
    }
    w.end_object();
    out.freeze()
}

pub(super) fn answer_id(id: Option<&str>, ctx: &RenderCtx) -> String {
    id.map_or_else(|| format!("msg_{}", ctx.request_id), str::to_owned)
}

fn lose_extras(extras: Option<&Extras>, path: &str, losses: &mut Losses) {
    for key in extras.into_iter().flat_map(Extras::unmodelled) {
        losses.push(format!("{path}{key}"), LossReason::Unsupported);
    }
}

fn write_finish(w: &mut Writer<'_>, choice: Option<&Choice>, native: bool) {
    let refused = choice.is_some_and(|choice| choice.parts.iter().any(|part| matches!(part.body, PartBody::Refusal(_))));
    let word = choice.map(|choice| match (&choice.finish.reason, &choice.finish.native) {
        (FinishReason::Other, Some(word)) if native => word,
        (FinishReason::Stop, _) if refused => "refusal",
        (reason, _) => word_for(*reason),
    });
    w.key("stop_reason").str(word.unwrap_or("end_turn"));
    match choice.and_then(|choice| choice.finish.stop_sequence.as_deref()) {
        Some(sequence) => w.key("stop_sequence").str(sequence),
        None => w.key("stop_sequence").null(),
    }
}

fn write_usage(w: &mut Writer<'_>, response: &ChatResponse, native: Option<&Extras>, price: Option<&str>) {
    w.key("usage");
    let kept = native.and_then(|extras| extras.fields.iter().find(|(key, _)| &**key == "usage"));
    if let Some((_, raw)) = kept {
        // Nothing has changed the counts since the provider wrote them, so its own object says more.
        let said = Json::parse(raw.text().as_bytes()).map(WireUsage::decode);
        if said.is_ok_and(|said| Some(said.canonical()) == response.usage) {
            w.raw(&priced_usage(raw.text(), price));
            return;
        }
    }
    usage::write(w, response.usage.as_ref().unwrap_or(&gateway_core::Usage::default()), price);
}

/// Plans the block, or the two blocks, that show a part.
fn show<'a>(part: &'a Part, n: usize, ctx: &RenderCtx, blocks: &mut Vec<Planned<'a>>, losses: &mut Losses) {
    let mut lose = |what: &str, reason| losses.push(format!("choices[0].content[{n}]{what}"), reason);
    let block = match &part.body {
        PartBody::Text { text, .. } | PartBody::Refusal(text) if text.is_empty() => None,
        PartBody::Text { text, citations } => {
            let own: Vec<_> = citations.iter().filter(|citation| citation.origin == ANTHROPIC_MESSAGES).collect();
            if own.len() < citations.len() {
                lose(".citations", LossReason::Foreign);
            }
            Some(Block::Text { text: Cow::Borrowed(text), citations: own })
        }
        PartBody::Refusal(text) => Some(Block::Text { text: Cow::Borrowed(text), citations: Vec::new() }),
        PartBody::Reasoning(text) => Some(show_reasoning(text, part.seal.as_ref())),
        PartBody::ToolCall(call) => {
            let (input, is_exact) = match call.kind {
                ToolKind::Function => block::input_object(&call.arguments),
                ToolKind::Custom => (block::input_of_text(&call.arguments), true),
            };
            if !is_exact {
                lose(".arguments", LossReason::Malformed);
            }
            Some(Block::ToolUse { id: call_id(&call.id, ctx, n), name: Cow::Borrowed(&call.name), input })
        }
        PartBody::Opaque { origin, raw } if *origin == ANTHROPIC_MESSAGES => Some(Block::Opaque(raw)),
        PartBody::Opaque { .. } => {
            lose("", LossReason::Foreign);
            None
        }
        PartBody::Media(_) | PartBody::ToolResult(_) => {
            lose("", LossReason::Unsupported);
            None
        }
    };
    let extras = part.extras.as_ref().filter(|extras| extras.origin == ANTHROPIC_MESSAGES && !extras.fields.is_empty());
    if extras.is_none() {
        for key in part.extras.iter().flat_map(Extras::unmodelled) {
            lose(&format!(".{key}"), LossReason::Unsupported);
        }
    }
    blocks.extend(block.map(|block| Planned { block, cache: part.cache, extras }));
    if let (Some(seal), false) = (&part.seal, matches!(part.body, PartBody::Reasoning(_))) {
        // The protocol signs nothing but thoughts. A block of its own, after the one it signs, brings the seal back.
        blocks.push(Planned { block: Block::Redacted { data: Cow::Owned(seal::token(seal)) }, cache: None, extras: None });
    }
}

fn show_reasoning<'a>(text: &'a str, seal: Option<&'a Seal>) -> Block<'a> {
    match seal {
        Some(seal) if seal.issuer == ANTHROPIC_MESSAGES => match seal.bytes.strip_prefix(REDACTED) {
            Some(data) => Block::Redacted { data: Cow::Borrowed(data) },
            None => Block::Thinking { text, signature: Cow::Borrowed(&seal.bytes) },
        },
        Some(seal) => Block::Thinking { text, signature: Cow::Owned(seal::token(seal)) },
        None => Block::Thinking { text, signature: Cow::Borrowed(seal::UNSIGNED) },
    }
}

/// Every call needs an id that its result can name.
pub(super) fn call_id<'a>(id: &'a str, ctx: &RenderCtx, n: usize) -> Cow<'a, str> {
    if id.is_empty() { Cow::Owned(format!("toolu_{}_{n}", ctx.request_id)) } else { Cow::Borrowed(id) }
}
