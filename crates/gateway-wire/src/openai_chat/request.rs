//! Reads a request's top level.

use std::borrow::Cow;

use bytes::BytesMut;
use gateway_core::{
    WireError,
    ir::{ChatRequest, Effort, Extras, Logprobs, OutputFormat, Raw, Reasoning, ReasoningAmount, Sampling, Tool, ToolChoice, ToolSpec},
};

use super::{extras::nest, messages, parts::cache_mark};
use crate::{
    OPENAI_CHAT, controls,
    json::{Fields, Json, Kind, Within, Writer},
};

pub(super) fn decode(body: &[u8]) -> Result<ChatRequest, WireError> {
    let mut fields = Json::parse(body)?.fields()?;
    for key in controls::KEYS {
        fields.take(key);
    }
    fields.take("model");
    let messages = messages::decode(fields.need_with("messages", Json::array)?)?;
    let newer_limit = fields.take_u32("max_completion_tokens")?;
    let older_limit = fields.take_u32("max_tokens")?;
    let reasoning = reasoning(&mut fields)?;
    let stream_options = stream_options(&mut fields)?;
    let modelled = modelled(&fields, reasoning.is_some());
    let logprobs_wanted = fields.take_bool("logprobs")?;
    let top_logprobs = fields.take_u32("top_logprobs")?;
    let mut request = ChatRequest {
        messages,
        tools: tools(&mut fields)?,
        tool_choice: tool_choice(&mut fields)?,
        parallel_tool_calls: fields.take_bool("parallel_tool_calls")?,
        output_format: fields.take_with("response_format", output_format)?.unwrap_or_default(),
        reasoning,
        sampling: sampling(&mut fields)?,
        output_tokens_max: newer_limit.or(older_limit),
        stop: fields.take_with("stop", stop)?.unwrap_or_default(),
        choices: fields.take_u32("n")?,
        logprobs: (logprobs_wanted == Some(true) || top_logprobs.is_some()).then_some(Logprobs { top: top_logprobs }),
        user: fields.take_string("user")?,
        metadata: metadata(&mut fields),
        service_tier: fields.take_string("service_tier")?,
        cache: fields.take_with("cache_control", cache_mark)?,
        stream: fields.take_bool("stream")?.unwrap_or(false),
        extras: with_stream_options(fields.extras(OPENAI_CHAT)?, stream_options),
    };
    if let Some(extras) = &mut request.extras {
        modelled.into_iter().for_each(|key| extras.mark_modelled(key));
    }
    Ok(request)
}

/// Keys that stay among the extras for imitators who have them, though the canonical form says the same.
fn modelled(fields: &Fields<'_>, reasons: bool) -> Vec<&'static str> {
    let only = |key: &str, known: &[&str]| {
        fields.peek(key).and_then(|value| value.fields().ok()).is_some_and(|inner| inner.rest().all(|(name, _)| known.contains(&name)))
    };
    let mut keys = vec!["top_k"];
    if reasons {
        keys.push("reasoning_effort");
        keys.extend(only("thinking", &["type", "budget_tokens"]).then_some("thinking"));
        keys.extend(only("reasoning", &["effort", "max_tokens", "exclude", "enabled"]).then_some("reasoning"));
    }
    keys
}

/// Takes `stream_options` but for `include_usage`, which concerns the gateway alone: upstream is always asked.
fn stream_options(fields: &mut Fields<'_>) -> Result<Option<Raw>, WireError> {
    let Some(mut options) = fields.take_fields("stream_options")? else { return Ok(None) };
    options.take("include_usage");
    let mut out = BytesMut::new();
    let mut w = Writer::new(&mut out);
    w.begin_object();
    let mut any = false;
    for (key, value) in options.rest() {
        any = true;
        w.key(key).raw(value.text());
    }
    w.end_object();
    if any { Json::parse(&out)?.raw().within("stream_options").map(Some) } else { Ok(None) }
}

fn with_stream_options(mut extras: Option<Extras>, options: Option<Raw>) -> Option<Extras> {
    if let Some(options) = options {
        let all = extras.get_or_insert_with(|| Extras::new(OPENAI_CHAT));
        all.fields.push(("stream_options".into(), options));
    }
    extras
}

fn sampling(fields: &mut Fields<'_>) -> Result<Sampling, WireError> {
    Ok(Sampling {
        temperature: fields.take_f64("temperature")?,
        top_p: fields.take_f64("top_p")?,
        // Not OpenAI's, but many imitators' own: it stays among the extras, so only those who sent it get it back.
        top_k: fields.peek("top_k").map(Json::u32).transpose().within("top_k")?,
        frequency_penalty: fields.take_f64("frequency_penalty")?,
        presence_penalty: fields.take_f64("presence_penalty")?,
        seed: fields.take_i64("seed")?,
    })
}

fn stop(value: Json<'_>) -> Result<Vec<String>, WireError> {
    match value.kind() {
        Kind::String => Ok(vec![value.str()?.into_owned()]),
        _ => Ok(value.strings()?.into_iter().map(Cow::into_owned).collect()),
    }
}

/// Labels are strings; an object that holds anything else stays an extra.
fn metadata(fields: &mut Fields<'_>) -> Vec<(String, String)> {
    let read = |value: Json<'_>| -> Result<Vec<(String, String)>, WireError> {
        let labels = value.fields()?;
        labels.rest().map(|(name, value)| Ok((name.to_owned(), value.str()?.into_owned()))).collect()
    };
    match fields.peek("metadata").map(read) {
        Some(Ok(labels)) => {
            fields.take("metadata");
            labels
        }
        Some(Err(_)) | None => Vec::new(),
    }
}

/// Keys of vendors and of other gateways that ask for reasoning. They stay among the extras, because the vendor that
/// has one understands only it; the writer then leaves `reasoning_effort` to them.
pub(super) const FOREIGN_REASONING_KEYS: [&str; 2] = ["reasoning", "thinking"];

fn reasoning(fields: &mut Fields<'_>) -> Result<Option<Reasoning>, WireError> {
    let effort = fields.peek("reasoning_effort").map(effort).transpose().within("reasoning_effort")?;
    let openrouter =
        fields.peek("reasoning").filter(|value| value.kind() == Kind::Object).map(openrouter).transpose().within("reasoning")?;
    let switch = fields.peek("thinking").filter(|value| value.kind() == Kind::Object).map(thinking).transpose().within("thinking")?;
    if !FOREIGN_REASONING_KEYS.iter().any(|key| fields.has(key)) {
        fields.take("reasoning_effort");
    }
    let named = effort.map(|effort| match effort {
        Effort::None => ReasoningAmount::Off,
        level => ReasoningAmount::Effort(level),
    });
    let (other, visible) = openrouter.unwrap_or_default();
    let amount = named.or(other).or(switch.flatten());
    Ok((amount.is_some() || visible.is_some()).then_some(Reasoning { amount, visible }))
}

fn effort(value: Json<'_>) -> Result<Effort, WireError> {
    Ok(match &*value.str()? {
        "none" => Effort::None,
        "minimal" => Effort::Minimal,
        "low" => Effort::Low,
        "medium" => Effort::Medium,
        "high" => Effort::High,
        "xhigh" => Effort::Xhigh,
        "max" => Effort::Max,
        other => {
            return Err(WireError::new(format!(
                "must be none, minimal, low, medium, high, xhigh or max, not `{}`",
                other.escape_default()
            )));
        }
    })
}

/// `{effort, max_tokens, exclude, enabled}`.
fn openrouter(value: Json<'_>) -> Result<(Option<ReasoningAmount>, Option<bool>), WireError> {
    let mut fields = value.fields()?;
    let level = fields.take_with("effort", effort)?.map(ReasoningAmount::Effort);
    let budget = fields.take_u32("max_tokens")?.map(ReasoningAmount::Budget);
    let switch = fields.take_bool("enabled")?.map(|on| if on { ReasoningAmount::Adaptive } else { ReasoningAmount::Off });
    let visible = fields.take_bool("exclude")?.map(|exclude| !exclude);
    Ok((level.or(budget).or(switch), visible))
}

/// `{type: enabled | disabled | adaptive, budget_tokens}`.
fn thinking(value: Json<'_>) -> Result<Option<ReasoningAmount>, WireError> {
    let mut fields = value.fields()?;
    let budget = fields.take_u32("budget_tokens")?;
    Ok(match fields.take_str("type")?.as_deref() {
        Some("disabled") => Some(ReasoningAmount::Off),
        Some("enabled" | "adaptive") => Some(budget.map_or(ReasoningAmount::Adaptive, ReasoningAmount::Budget)),
        Some(_) | None => None,
    })
}

fn output_format(value: Json<'_>) -> Result<OutputFormat, WireError> {
    let mut fields = value.fields()?;
    match &*fields.need_str("type")? {
        "text" => Ok(OutputFormat::Text),
        "json_object" => Ok(OutputFormat::JsonObject),
        "json_schema" => fields.need_with("json_schema", |value| {
            let mut schema = value.fields()?;
            Ok(OutputFormat::JsonSchema {
                name: schema.take_string("name")?,
                description: schema.take_string("description")?,
                schema: schema.need_with("schema", Json::raw)?,
                strict: schema.take_bool("strict")?,
            })
        }),
        other => Err(WireError::at("type", format!("must be text, json_object or json_schema, not `{}`", other.escape_default()))),
    }
}

fn tools(fields: &mut Fields<'_>) -> Result<Vec<Tool>, WireError> {
    let mut tools = Vec::new();
    for (n, item) in fields.take_array("tools")?.unwrap_or_default().into_iter().enumerate() {
        tools.push(tool(item).within_index(n).within("tools")?);
    }
    // The old form of the same declaration, without the wrapper.
    for (n, item) in fields.take_array("functions")?.unwrap_or_default().into_iter().enumerate() {
        tools.push(function(item, None).within_index(n).within("functions")?);
    }
    Ok(tools)
}

fn tool(item: Json<'_>) -> Result<Tool, WireError> {
    let mut fields = item.fields()?;
    // Some callers leave the type out; a `function` tells as much.
    if fields.peek("type").map_or(fields.has("function"), |kind| kind.text() == "\"function\"") {
        fields.take("type");
        let inner = fields.need_with("function", Ok)?;
        return function(inner, Some(fields)).within("function");
    }
    fields.need_str("type")?;
    Ok(Tool { spec: ToolSpec::Hosted { origin: OPENAI_CHAT, raw: item.raw()? }, cache: None, extras: None })
}

fn function(item: Json<'_>, outer: Option<Fields<'_>>) -> Result<Tool, WireError> {
    let mut fields = item.fields()?;
    let spec = ToolSpec::Function {
        name: fields.need_str("name")?.into_owned(),
        description: fields.take_string("description")?,
        parameters: fields.take_raw("parameters")?,
        strict: fields.take_bool("strict")?,
    };
    // Callers of Anthropic models put the mark on the tool or on its function.
    let mut cache = fields.take_with("cache_control", cache_mark)?;
    let mut extras = None;
    if let Some(mut outer) = outer {
        cache = cache.or(outer.take_with("cache_control", cache_mark)?);
        extras = outer.extras(OPENAI_CHAT)?;
    }
    nest(&mut extras, "function.", fields)?;
    Ok(Tool { spec, cache, extras })
}

fn tool_choice(fields: &mut Fields<'_>) -> Result<Option<ToolChoice>, WireError> {
    let choice = fields.take_with("tool_choice", |value| match value.kind() {
        Kind::String => word(value),
        _ => chosen(value),
    })?;
    let older = fields.take_with("function_call", |value| match value.kind() {
        Kind::String => word(value),
        _ => Ok(ToolChoice::Named(value.fields()?.need_str("name")?.into_owned())),
    })?;
    Ok(choice.or(older))
}

fn word(value: Json<'_>) -> Result<ToolChoice, WireError> {
    match &*value.str()? {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        // `any` is Mistral's word for it.
        "required" | "any" => Ok(ToolChoice::Required),
        other => Err(WireError::new(format!("must be auto, none, required or an object, not `{}`", other.escape_default()))),
    }
}

fn chosen(value: Json<'_>) -> Result<ToolChoice, WireError> {
    let mut fields = value.fields()?;
    let stated = if fields.has("function") { fields.take_str("type")?.unwrap_or("function".into()) } else { fields.need_str("type")? };
    match &*stated {
        kind @ ("function" | "custom") => {
            let name = |value: Json<'_>| Ok(value.fields()?.need_str("name")?.into_owned());
            Ok(ToolChoice::Named(fields.need_with(kind, name)?))
        }
        "allowed_tools" => fields.need_with("allowed_tools", |value| {
            let mut fields = value.fields()?;
            let required = fields.take_str("mode")?.as_deref() == Some("required");
            let mut names = Vec::new();
            for (n, item) in fields.need_with("tools", Json::array)?.into_iter().enumerate() {
                names.push(allowed(item).within_index(n).within("tools")?);
            }
            Ok(ToolChoice::Allowed { names, required })
        }),
        other => Err(WireError::at("type", format!("must be function, custom or allowed_tools, not `{}`", other.escape_default()))),
    }
}

fn allowed(item: Json<'_>) -> Result<String, WireError> {
    let mut fields = item.fields()?;
    let kind = fields.need_str("type")?.into_owned();
    fields.need_with(&kind, |value| Ok(value.fields()?.need_str("name")?.into_owned()))
}
