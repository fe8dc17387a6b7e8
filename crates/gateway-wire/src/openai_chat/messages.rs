//! Reads the conversation.

use gateway_core::{
    WireError,
    ir::{Message, Part, PartBody, Role, Seal, ToolCall, ToolKind, ToolResult},
};

use super::{
    extras::nest,
    parts::{self, cache_mark},
    reasoning,
};
use crate::{
    GEMINI, OPENAI_CHAT,
    json::{Fields, Json, Within},
    seal,
};

pub(super) fn decode(list: Vec<Json<'_>>) -> Result<Vec<Message>, WireError> {
    let mut legacy = LegacyCalls::default();
    let messages = list.into_iter().enumerate().map(|(n, item)| message(item, &mut legacy).within_index(n));
    messages.collect::<Result<_, _>>().within("messages")
}

/// Functions, the form before tools, had no ids: a result answers the call before it.
#[derive(Default)]
struct LegacyCalls(u32);

impl LegacyCalls {
    fn current(&self) -> String {
        format!("call_legacy_{}", self.0)
    }
}

fn message(item: Json<'_>, legacy: &mut LegacyCalls) -> Result<Message, WireError> {
    let mut fields = item.fields()?;
    let role = fields.need_str("role")?;
    let (role, mut parts) = match &*role {
        "system" => (Role::System, parts::content(&mut fields)?),
        "developer" => (Role::Developer, parts::content(&mut fields)?),
        "user" => (Role::User, parts::content(&mut fields)?),
        "assistant" => (Role::Assistant, assistant(&mut fields, legacy)?),
        "tool" => {
            let call_id = fields.need_str("tool_call_id")?.into_owned();
            (Role::Tool, vec![tool_result(call_id, &mut fields)?])
        }
        "function" => (Role::Tool, vec![tool_result(legacy.current(), &mut fields)?]),
        other => {
            let message = format!("must be system, developer, user, assistant or tool, not `{}`", other.escape_default());
            return Err(WireError::at("role", message));
        }
    };
    if let Some(mark) = fields.take_with("cache_control", cache_mark)?
        && let Some(last) = parts.last_mut()
    {
        last.cache = Some(mark);
    }
    let name = fields.take_string("name")?;
    Ok(Message { role, name, parts, extras: fields.extras(OPENAI_CHAT)? })
}

fn tool_result(call_id: String, fields: &mut Fields<'_>) -> Result<Part, WireError> {
    let name = fields.take_string("name")?;
    let content = parts::content(fields)?;
    Ok(Part::new(PartBody::ToolResult(ToolResult { call_id, name, content, is_error: None })))
}

fn assistant(fields: &mut Fields<'_>, legacy: &mut LegacyCalls) -> Result<Vec<Part>, WireError> {
    let mut parts = reasoning::take(fields)?;
    parts.extend(parts::content(fields)?);
    if let Some(refusal) = fields.take_string("refusal")?.filter(|text| !text.is_empty()) {
        parts.push(Part::new(PartBody::Refusal(refusal)));
    }
    parts.extend(tool_calls(fields)?);
    if let Some(call) = fields.take_fields("function_call")? {
        legacy.0 += 1;
        parts.push(named_call(legacy.current(), call).within("function_call")?);
    }
    Ok(parts)
}

pub(super) fn named_call(id: String, mut call: Fields<'_>) -> Result<Part, WireError> {
    let name = call.need_str("name")?.into_owned();
    let arguments = call.take_string("arguments")?.unwrap_or_default();
    Ok(Part::new(PartBody::ToolCall(ToolCall { id, name, arguments, kind: ToolKind::Function })))
}

/// Takes `tool_calls` of a message, in a history or in an answer.
pub(super) fn tool_calls(fields: &mut Fields<'_>) -> Result<Vec<Part>, WireError> {
    let items = fields.take_array("tool_calls")?.unwrap_or_default();
    items.into_iter().enumerate().map(|(n, item)| tool_call(item).within_index(n).within("tool_calls")).collect()
}

fn tool_call(item: Json<'_>) -> Result<Part, WireError> {
    let mut fields = item.fields()?;
    let id = fields.take_string("id")?.unwrap_or_default();
    fields.take("index");
    let kind = match fields.take_str("type")?.as_deref() {
        Some("custom") => ToolKind::Custom,
        // Some imitators leave the type out.
        Some("function") | None => ToolKind::Function,
        Some(other) => return Err(WireError::at("type", format!("must be function or custom, not `{}`", other.escape_default()))),
    };
    let (holder, text) = match kind {
        ToolKind::Function => ("function", "arguments"),
        ToolKind::Custom => ("custom", "input"),
    };
    let mut inner = fields.need_with(holder, Json::fields)?;
    let name = inner.need_str("name").within(holder)?.into_owned();
    let arguments = inner.take_with(text, arguments).within(holder)?.unwrap_or_default();
    let mut part = Part::new(PartBody::ToolCall(ToolCall { id, name, arguments, kind }));
    part.seal = fields.peek("extra_content").map(call_seal).transpose().within("extra_content")?.flatten();
    if part.seal.as_ref().is_some_and(|seal| seal.issuer != GEMINI) || fields.peek("extra_content").is_some_and(is_only_ours) {
        fields.take("extra_content");
    }
    let told = fields.peek("extra_content").is_some_and(is_only_a_signature);
    part.extras = fields.extras(OPENAI_CHAT)?;
    if let Some(extras) = part.extras.as_mut().filter(|_| told) {
        extras.mark_modelled("extra_content");
    }
    nest(&mut part.extras, &format!("{holder}."), inner)?;
    Ok(part)
}

/// Arguments are text; imitators that send the object itself are read too.
pub(super) fn arguments(value: Json<'_>) -> Result<String, WireError> {
    if value.text().starts_with('"') { Ok(value.str()?.into_owned()) } else { Ok(value.raw()?.text().to_owned()) }
}

fn is_only_ours(extra: Json<'_>) -> bool {
    extra.fields().is_ok_and(|fields| fields.rest().all(|(key, _)| key == "bellwether"))
}

/// Whether Google's signature, which becomes the call's seal, is all there is.
pub(super) fn is_only_a_signature(extra: Json<'_>) -> bool {
    let only = |value: Json<'_>, name: &str| value.fields().is_ok_and(|fields| fields.rest().all(|(key, _)| key == name));
    let google = extra.fields().ok().and_then(|fields| fields.peek("google"));
    only(extra, "google") && google.is_some_and(|google| only(google, "thought_signature"))
}

/// A signature on a tool call: our envelope, or Google's own place for one at its endpoint of this protocol.
pub(super) fn call_seal(extra: Json<'_>) -> Result<Option<Seal>, WireError> {
    let mut fields = extra.fields()?;
    if let Some(mut ours) = fields.take_fields("bellwether")? {
        let text = ours.take_str("seal").within("bellwether")?;
        return Ok(text.and_then(|text| seal::open(&text)));
    }
    let Some(mut google) = fields.take_fields("google")? else { return Ok(None) };
    let signature = google.take_str("thought_signature").within("google")?;
    Ok(signature.map(|text| Seal { issuer: GEMINI, bytes: text.as_ref().into() }))
}
