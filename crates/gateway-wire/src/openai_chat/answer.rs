//! Reads a whole answer.

use gateway_core::{
    Memo, Usage, WireError,
    ir::{ChatResponse, Choice, Citation, Finish, FinishReason, Part, PartBody},
};

use super::{
    extras::nest,
    finish,
    memo::{callers_id, callers_name},
    messages, parts, reasoning, usage,
};
use crate::{
    OPENAI_CHAT,
    json::{Fields, Json, Within},
};

pub(super) fn decode(body: &[u8], memo: &Memo) -> Result<ChatResponse, WireError> {
    let mut fields = Json::parse(body)?.fields()?;
    fields.take("object");
    let id = fields.take_string("id")?.filter(|id| !id.is_empty());
    let mut choices = Vec::new();
    for (n, item) in (0u32..).zip(fields.need_with("choices", Json::array)?) {
        choices.push(choice(item, n, id.as_deref(), memo).within_index(n as usize).within("choices")?);
    }
    let usage = usage_of(&mut fields);
    Ok(ChatResponse {
        id,
        model: fields.take_string("model")?,
        created: fields.take_u64("created")?.filter(|at| *at > 0),
        choices,
        usage,
        extras: fields.extras(OPENAI_CHAT)?,
    })
}

/// Takes the usage of an answer or a chunk, with the tier that was served, which decides the price.
pub(super) fn usage_of(fields: &mut Fields<'_>) -> Option<Usage> {
    let direct = fields.take_value("usage");
    let usage = usage_from(direct, fields.peek("x_groq"), fields.peek("service_tier"));
    if usage.is_some() {
        fields.take("service_tier");
    }
    usage
}

/// The same from the values of `usage`, `x_groq` and `service_tier`, where they are there and not null.
pub(super) fn usage_from(direct: Option<Json<'_>>, groq: Option<Json<'_>>, tier: Option<Json<'_>>) -> Option<Usage> {
    let groq = groq.and_then(|value| value.fields().ok()).and_then(|groq| groq.peek("usage"));
    let usage = usage::decode(direct.or(groq)?);
    let service_tier = tier.and_then(|tier| tier.str().ok()).map(|tier| Box::from(&*tier));
    Some(Usage { service_tier, ..usage })
}

fn choice(item: Json<'_>, n: u32, id: Option<&str>, memo: &Memo) -> Result<Choice, WireError> {
    let mut fields = item.fields()?;
    let index = fields.take_u32("index")?.unwrap_or(n);
    let native = fields.take_string("finish_reason")?;
    let logprobs = fields.take_raw("logprobs")?;
    let mut message = fields.need_with("message", Json::fields)?;
    message.take("role");
    let mut answer = said(&mut message).within("message")?;
    for (n, part) in (0u32..).zip(calls(&mut message).within("message")?) {
        answer.push(named(part, id, index, n, memo));
    }
    let called = answer.iter().any(|part| matches!(part.body, PartBody::ToolCall(_)));
    let finish = native.map_or_else(|| Finish::new(FinishReason::Other), |native| finish::decode(&native, called));
    let mut extras = fields.extras(OPENAI_CHAT)?;
    nest(&mut extras, "message.", message)?;
    Ok(Choice { index, parts: answer, finish, logprobs, extras })
}

/// Reasoning, text and refusal of a message. Empty text is no part: providers write it beside tool calls.
fn said(message: &mut Fields<'_>) -> Result<Vec<Part>, WireError> {
    let mut answer = reasoning::take(message)?;
    let content = parts::content(message)?;
    answer.extend(content.into_iter().filter(|part| !matches!(&part.body, PartBody::Text { text, .. } if text.is_empty())));
    if let Some(refusal) = message.take_string("refusal")?.filter(|text| !text.is_empty()) {
        answer.push(Part::new(PartBody::Refusal(refusal)));
    }
    let annotations = message.take_array("annotations")?.unwrap_or_default();
    let mut cited = Vec::new();
    for (n, item) in annotations.into_iter().enumerate() {
        cited.push(citation(item).within_index(n).within("annotations")?);
    }
    for part in answer.iter_mut().rev() {
        if let PartBody::Text { citations, .. } = &mut part.body {
            citations.append(&mut cited);
        }
    }
    Ok(answer)
}

fn calls(message: &mut Fields<'_>) -> Result<Vec<Part>, WireError> {
    let mut calls = messages::tool_calls(message)?;
    if let Some(legacy) = message.take_fields("function_call")? {
        calls.push(messages::named_call(String::new(), legacy).within("function_call")?);
    }
    Ok(calls)
}

fn named(mut part: Part, answer: Option<&str>, choice: u32, n: u32, memo: &Memo) -> Part {
    if let PartBody::ToolCall(call) = &mut part.body {
        let id = std::mem::take(&mut call.id);
        call.name = callers_name(memo, std::mem::take(&mut call.name));
        call.id = if id.is_empty() { made_up_id(answer, choice, n) } else { callers_id(memo, id) };
    }
    part
}

/// An id for a call that the provider gave none. It holds the end of the answer's id, so that two turns do not clash, and
/// fits the strictest protocol.
pub(super) fn made_up_id(answer: Option<&str>, choice: u32, n: u32) -> String {
    let letters: Vec<char> = answer.unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).collect();
    let end: String = letters[letters.len().saturating_sub(16)..].iter().collect();
    format!("call_{end}_{choice}_{n}")
}

/// `{type: url_citation, url_citation: {…}}`; another kind of annotation has only its raw form.
pub(super) fn citation(item: Json<'_>) -> Result<Citation, WireError> {
    let mut cited = Citation { url: None, title: None, cited_text: None, start: None, end: None, origin: OPENAI_CHAT, raw: item.raw()? };
    if let Some(mut link) = item.fields()?.take_fields("url_citation")? {
        cited.url = link.take_string("url")?;
        cited.title = link.take_string("title")?;
        cited.cited_text = link.take_string("content")?;
        cited.start = link.take_u64("start_index")?;
        cited.end = link.take_u64("end_index")?;
    }
    Ok(cited)
}
