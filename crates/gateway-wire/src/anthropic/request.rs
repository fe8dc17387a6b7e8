//! Requests, read: the caller's body into canonical form.
//!
//! The canonical request of a caller of this protocol always has extras of this origin, be they empty: they tell the
//! encoder that the conversation was written for this protocol, so that an effort without thinking stays one, a system
//! message stays where it stood, and nothing is rearranged for the protocol's sake.
//!
//! Unknown fields of nested objects (`output_config.task_budget`) are kept under their path.

mod settings;
mod thinking;
mod tools;
mod turns;
mod write;

use std::borrow::Cow;

use gateway_core::{
    WireError,
    ir::{ChatRequest, Effort, Extras, Message, OutputFormat, Part, Raw, Reasoning, ReasoningAmount, Role, Tool, ToolChoice, ToolSpec},
};

use super::block;
use crate::{
    ANTHROPIC_MESSAGES, controls,
    json::{Fields, Json, Kind, Within},
};

pub(super) use write::{Purpose, encode};

/// Reads a request's body.
pub(super) fn decode(body: &[u8]) -> Result<ChatRequest, WireError> {
    let mut fields = Json::parse(body)?.fields()?;
    for key in controls::KEYS.into_iter().chain(["model"]) {
        fields.take(key);
    }
    let mut kept = Kept::default();
    let mut request = ChatRequest {
        messages: system(&mut fields)?,
        tools: tools(&mut fields)?,
        output_tokens_max: fields.take_u32("max_tokens")?,
        stop: fields.take_strings("stop_sequences")?.unwrap_or_default().into_iter().map(Cow::into_owned).collect(),
        stream: fields.take_bool("stream")?.unwrap_or(false),
        service_tier: fields.take_string("service_tier")?,
        cache: block::take_cache(&mut fields)?,
        ..ChatRequest::default()
    };
    request.sampling.temperature = fields.take_f64("temperature")?;
    request.sampling.top_p = fields.take_f64("top_p")?;
    request.sampling.top_k = fields.take_u32("top_k")?;
    messages(&mut fields, &mut request.messages)?;
    tool_choice(&mut fields, &mut request, &mut kept)?;
    let effort = output_config(&mut fields, &mut request, &mut kept)?;
    request.reasoning = reasoning(&mut fields, effort, &mut kept)?;
    if let Some(mut metadata) = fields.take_fields("metadata")? {
        request.user = metadata.take_string("user_id").within("metadata")?;
        kept.rest("metadata", metadata)?;
    }
    let mut extras = block::extras(fields)?.unwrap_or(Extras::new(ANTHROPIC_MESSAGES));
    extras.fields.extend(kept.0);
    request.extras = Some(extras);
    Ok(request)
}

/// Unknown fields of nested objects, each under its path.
#[derive(Default)]
struct Kept(Vec<(Box<str>, Raw)>);

impl Kept {
    fn rest(&mut self, under: &str, fields: Fields<'_>) -> Result<(), WireError> {
        if let Some(extras) = block::extras(fields).within(under)? {
            self.0.extend(extras.fields.into_iter().map(|(key, value)| (format!("{under}.{key}").into(), value)));
        }
        Ok(())
    }
}

fn system(fields: &mut Fields<'_>) -> Result<Vec<Message>, WireError> {
    let parts = fields.take_with("system", block::decode_content)?;
    let message = |parts| Message { role: Role::System, name: None, parts, extras: None };
    Ok(parts.filter(|parts: &Vec<Part>| !parts.is_empty()).map(message).into_iter().collect())
}

fn messages(fields: &mut Fields<'_>, messages: &mut Vec<Message>) -> Result<(), WireError> {
    for (n, item) in fields.need_with("messages", Json::array)?.into_iter().enumerate() {
        messages.push(message(item).within_index(n).within("messages")?);
    }
    Ok(())
}

fn message(item: Json<'_>) -> Result<Message, WireError> {
    let mut fields = item.fields()?;
    let role = match &*fields.need_str("role")? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => return Err(WireError::at("role", format!("expected user, assistant or system, found `{other}`"))),
    };
    let parts = fields.need_with("content", block::decode_content)?;
    let mut extras = block::extras(fields)?;
    if role == Role::System {
        // Tells it from the `system` field: this one stays where it stands.
        extras.get_or_insert(Extras::new(ANTHROPIC_MESSAGES));
    }
    Ok(Message { role, name: None, parts, extras })
}

fn tools(fields: &mut Fields<'_>) -> Result<Vec<Tool>, WireError> {
    let list = fields.take_array("tools")?.unwrap_or_default();
    list.into_iter().enumerate().map(|(n, item)| tool(item).within_index(n).within("tools")).collect()
}

fn tool(item: Json<'_>) -> Result<Tool, WireError> {
    let mut fields = item.fields()?;
    let kind = fields.take_str("type")?;
    if kind.is_some_and(|kind| kind != "custom") {
        let spec = ToolSpec::Hosted { origin: ANTHROPIC_MESSAGES, raw: item.raw()? };
        return Ok(Tool { spec, cache: None, extras: None });
    }
    let spec = ToolSpec::Function {
        name: fields.need_str("name")?.into_owned(),
        description: fields.take_string("description")?,
        parameters: fields.take_raw("input_schema")?,
        strict: fields.take_bool("strict")?,
    };
    let cache = block::take_cache(&mut fields)?;
    Ok(Tool { spec, cache, extras: block::extras(fields)? })
}

fn tool_choice(fields: &mut Fields<'_>, request: &mut ChatRequest, kept: &mut Kept) -> Result<(), WireError> {
    let Some(mut choice) = fields.take_fields("tool_choice")? else { return Ok(()) };
    let read = |choice: &mut Fields<'_>| {
        let made = match &*choice.need_str("type")? {
            "auto" => ToolChoice::Auto,
            "any" => ToolChoice::Required,
            "none" => ToolChoice::None,
            "tool" => ToolChoice::Named(choice.need_str("name")?.into_owned()),
            other => return Err(WireError::at("type", format!("expected auto, any, tool or none, found `{other}`"))),
        };
        Ok((made, choice.take_bool("disable_parallel_tool_use")?))
    };
    let (made, one_at_a_time) = read(&mut choice).within("tool_choice")?;
    request.tool_choice = Some(made);
    request.parallel_tool_calls = one_at_a_time.map(|yes| !yes);
    kept.rest("tool_choice", choice)
}

fn output_config(fields: &mut Fields<'_>, request: &mut ChatRequest, kept: &mut Kept) -> Result<Option<Effort>, WireError> {
    // The name it had while it was a beta feature.
    if let Some(format) = fields.take_value("output_format") {
        request.output_format = output_format(format, "output_format", kept)?;
    }
    let Some(mut config) = fields.take_fields("output_config")? else { return Ok(None) };
    if let Some(format) = config.take_value("format") {
        request.output_format = output_format(format, "output_config.format", kept)?;
    }
    let effort = config.peek("effort").map(|level| level.str().within("effort").within("output_config")).transpose()?;
    let effort = effort.and_then(|level| effort_named(&level));
    if effort.is_some() {
        config.take("effort");
    }
    kept.rest("output_config", config)?;
    Ok(effort)
}

fn output_format(format: Json<'_>, path: &'static str, kept: &mut Kept) -> Result<OutputFormat, WireError> {
    let mut fields = format.fields().within(path)?;
    let kind = fields.need_str("type").within(path)?;
    if kind != "json_schema" {
        return Err(WireError::at(format!("{path}.type"), format!("expected json_schema, found `{kind}`")));
    }
    let schema = fields.need_with("schema", Json::raw).within(path)?;
    kept.rest("output_config.format", fields)?;
    Ok(OutputFormat::JsonSchema { name: None, description: None, schema, strict: None })
}

pub(super) fn effort_named(level: &str) -> Option<Effort> {
    match level {
        "low" => Some(Effort::Low),
        "medium" => Some(Effort::Medium),
        "high" => Some(Effort::High),
        "xhigh" => Some(Effort::Xhigh),
        "max" => Some(Effort::Max),
        _ => None,
    }
}

fn reasoning(fields: &mut Fields<'_>, effort: Option<Effort>, kept: &mut Kept) -> Result<Option<Reasoning>, WireError> {
    let alone = effort.map(|level| Reasoning { amount: Some(ReasoningAmount::Effort(level)), visible: None });
    let Some(config) = fields.peek("thinking") else { return Ok(alone) };
    if config.kind() != Kind::Object {
        return Err(config.mismatch("an object").within("thinking"));
    }
    let mut config = config.fields().within("thinking")?;
    let amount = match &*config.need_str("type").within("thinking")? {
        "enabled" => ReasoningAmount::Budget(config.need_with("budget_tokens", Json::u32).within("thinking")?),
        "disabled" => ReasoningAmount::Off,
        "adaptive" => effort.map_or(ReasoningAmount::Adaptive, ReasoningAmount::AdaptiveEffort),
        // A kind we do not know stays, whole, among the unknown fields.
        _ => return Ok(alone),
    };
    fields.take("thinking");
    if let (Some(level), ReasoningAmount::Budget(_) | ReasoningAmount::Off) = (effort, amount) {
        kept.0.push(("output_config.effort".into(), settings::effort_raw(level)));
    }
    let visible = match config.peek("display").map(Json::text) {
        Some(r#""summarized""#) => Some(true),
        Some(r#""omitted""#) => Some(false),
        _ => None,
    };
    if visible.is_some() {
        config.take("display");
    }
    kept.rest("thinking", config)?;
    Ok(Some(Reasoning { amount: Some(amount), visible }))
}
