//! Writes a canonical request as a Gemini body.

use gateway_core::{
    Encoded, LossReason, Losses, Memo, Target, WireError,
    ir::{ChatRequest, Extras, Raw, Tool, ToolChoice, ToolSpec},
};

use super::{
    body::{Body, Declaration, Fields, FunctionCallingConfig, OWN_KEYS, ToolConfig, ToolEntry},
    config, contents,
    ids::Sent,
};
use crate::GEMINI;

/// Encodes the request; the model and the verb belong to the path.
///
/// # Errors
/// There is nothing in the conversation that Gemini can hold.
pub(super) fn encode(request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) -> Result<Encoded, WireError> {
    let contents::Conversation { system, turns, calls } = contents::encode(request, target, losses)?;
    let tools = tools(&request.tools, losses);
    let declares = tools.iter().any(|entry| matches!(entry, ToolEntry::Functions { .. }));
    let tool_config = tool_config(request, declares, losses);
    let service_tier = request.service_tier.as_deref().and_then(|tier| service_tier(tier, losses));
    unsupported(request, losses);
    let body = Body {
        system_instruction: system,
        contents: turns,
        tools,
        tool_config,
        generation_config: config::encode(request, target, losses),
        service_tier,
        extras: top_level_extras(request.extras.as_ref(), losses),
    };
    let bytes = serde_json::to_vec(&body).map_err(|error| WireError::new(format!("the request cannot be written as JSON: {error}")))?;
    Ok(Encoded { memo: Memo::new(Sent { calls }), ..Encoded::body(bytes) })
}

fn tools<'a>(tools: &'a [Tool], losses: &mut Losses) -> Vec<ToolEntry<'a>> {
    let mut declarations = Vec::new();
    let mut hosted = Vec::new();
    for (n, tool) in tools.iter().enumerate() {
        if tool.cache.is_some() {
            // Gemini caches by itself; there is no place for a mark.
            losses.push(format!("tools[{n}].cache_control"), LossReason::Unsupported);
        }
        match &tool.spec {
            ToolSpec::Function { name, description, parameters, strict: _ } => declarations.push(Declaration {
                name,
                description: description.as_deref(),
                parameters_json_schema: parameters.as_ref(),
                extras: extras(tool.extras.as_ref(), || format!("tools[{n}]"), losses),
            }),
            ToolSpec::Hosted { origin, raw } if *origin == GEMINI => hosted.push(ToolEntry::Hosted(raw.raw())),
            ToolSpec::Hosted { .. } => losses.push(format!("tools[{n}]"), LossReason::Foreign),
        }
    }
    let mut entries = Vec::with_capacity(hosted.len() + 1);
    if !declarations.is_empty() {
        entries.push(ToolEntry::Functions { declarations });
    }
    entries.append(&mut hosted);
    entries
}

fn tool_config<'a>(request: &'a ChatRequest, declares: bool, losses: &mut Losses) -> Option<ToolConfig<'a>> {
    if request.parallel_tool_calls == Some(false) {
        losses.push("parallel_tool_calls", LossReason::Unsupported);
    }
    if !declares {
        // Gemini answers 400 to a choice among no functions.
        if !matches!(request.tool_choice, None | Some(ToolChoice::Auto | ToolChoice::None)) {
            losses.push("tool_choice", LossReason::Unsupported);
        }
        return None;
    }
    let config = calling(request.tool_choice.as_ref());
    // `ANY` binds arguments to the schema; without it the schema is a strong hint and no more.
    let binds = config.as_ref().is_some_and(|config| matches!(config.mode, "ANY" | "VALIDATED"));
    for (n, tool) in request.tools.iter().enumerate() {
        if !binds && matches!(tool.spec, ToolSpec::Function { strict: Some(true), .. }) {
            losses.push(format!("tools[{n}].strict"), LossReason::Approximated);
        }
    }
    config.map(|function_calling_config| ToolConfig { function_calling_config })
}

/// `allowedFunctionNames` is taken only with `ANY` and `VALIDATED`; the latter leaves the model free to answer in text.
pub(super) fn calling(choice: Option<&ToolChoice>) -> Option<FunctionCallingConfig<'_>> {
    let (mode, allowed_function_names) = match choice? {
        ToolChoice::Auto => ("AUTO", Vec::new()),
        ToolChoice::None => ("NONE", Vec::new()),
        ToolChoice::Required => ("ANY", Vec::new()),
        ToolChoice::Named(name) => ("ANY", vec![name.as_str()]),
        ToolChoice::Allowed { names, required } => {
            (if *required { "ANY" } else { "VALIDATED" }, names.iter().map(String::as_str).collect())
        }
    };
    Some(FunctionCallingConfig { mode, allowed_function_names })
}

/// The tiers Gemini knows; `auto` is what it does unasked.
fn service_tier(asked: &str, losses: &mut Losses) -> Option<&'static str> {
    match asked {
        "auto" => None,
        "default" | "standard" | "standard_only" => Some("standard"),
        "flex" => Some("flex"),
        "priority" => Some("priority"),
        _ => {
            losses.push("service_tier", LossReason::Unsupported);
            None
        }
    }
}

fn unsupported(request: &ChatRequest, losses: &mut Losses) {
    let fields = [("user", request.user.is_some()), ("metadata", !request.metadata.is_empty()), ("cache_control", request.cache.is_some())];
    for (path, _) in fields.into_iter().filter(|(_, asked)| *asked) {
        losses.push(path, LossReason::Unsupported);
    }
}

fn top_level_extras<'a>(found: Option<&'a Extras>, losses: &mut Losses) -> Fields<'a> {
    let Some(found) = found else { return Fields::default() };
    if found.origin != GEMINI {
        for name in found.unmodelled() {
            losses.push(name.to_owned(), LossReason::Unsupported);
        }
        return Fields::default();
    }
    let mut fields = Vec::with_capacity(found.fields.len());
    for (name, value) in &found.fields {
        if OWN_KEYS.contains(&&**name) {
            losses.push(name.to_string(), LossReason::Malformed);
        } else {
            fields.push((&**name, value));
        }
    }
    Fields(fields)
}

/// Unknown fields of something at `path`: Gemini's own are written back, others are losses.
pub(super) fn extras<'a>(found: Option<&'a Extras>, path: impl Fn() -> String, losses: &mut Losses) -> Fields<'a> {
    let Some(found) = found else { return Fields::default() };
    if found.origin == GEMINI {
        return Fields(found.fields.iter().map(|(name, value): &(Box<str>, Raw)| (&**name, value)).collect());
    }
    for name in found.unmodelled() {
        losses.push(format!("{}.{name}", path()), LossReason::Unsupported);
    }
    Fields::default()
}

#[cfg(test)]
mod tests;
