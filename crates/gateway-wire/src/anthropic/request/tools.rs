//! Tools, the choice among them, and the forced tool that stands in for a schema parameter.

use std::borrow::Cow;

use gateway_core::{
    LossReason, Quirks,
    ir::{CacheMark, ChatRequest, Extras, OutputFormat, Raw, ToolChoice, ToolSpec},
};

use super::turns::{Conversation, Planner};
use crate::{
    ANTHROPIC_MESSAGES,
    anthropic::block::{write_cache, write_extras},
    json::{Json, Writer},
};

/// The schema of a tool that takes anything.
const ANY_OBJECT: &str = r#"{"type":"object"}"#;

/// A tool to declare.
#[derive(Debug)]
pub(super) enum Declared<'a> {
    Function {
        name: Cow<'a, str>,
        description: Option<&'a str>,
        schema: Cow<'a, str>,
        strict: Option<bool>,
        cache: Option<CacheMark>,
        extras: Option<&'a Extras>,
    },
    Hosted(&'a Raw),
}

/// How the answer gets its shape.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape<'a> {
    Free,
    /// The protocol has no bare JSON mode, so the prompt asks for it.
    Prompted,
    Schema(&'a Raw),
    /// The model has no schema parameter: it must call a tool whose input is the answer.
    ForcedTool(&'a Raw),
}

impl<'a> Shape<'a> {
    pub(super) fn of(request: &'a ChatRequest, quirks: &Quirks) -> Self {
        match &request.output_format {
            OutputFormat::Text => Self::Free,
            OutputFormat::JsonObject => Self::Prompted,
            OutputFormat::JsonSchema { schema, .. } if quirks.schema_by_forced_tool => Self::ForcedTool(schema),
            OutputFormat::JsonSchema { schema, .. } => Self::Schema(schema),
        }
    }
}

/// The tools and the choice, ready to be written.
#[derive(Debug)]
pub(super) struct Tooling<'a> {
    pub(super) declared: Vec<Declared<'a>>,
    pub(super) choice: Option<Choice<'a>>,
    pub(super) one_at_a_time: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    Auto,
    Any,
    None,
    Tool(Cow<'a, str>),
}

impl Choice<'_> {
    pub(super) fn forces(&self) -> bool {
        matches!(self, Self::Any | Self::Tool(_))
    }
}

pub(super) fn plan<'a>(
    request: &'a ChatRequest,
    shape: Shape<'a>,
    conversation: &Conversation<'a>,
    planner: &mut Planner<'_>,
) -> Tooling<'a> {
    let mut made = Tooling { declared: Vec::with_capacity(request.tools.len()), choice: None, one_at_a_time: None };
    declare(request, &mut made, planner);
    if made.declared.is_empty() && conversation.uses_tools && !planner.native {
        // The protocol refuses a history with calls when no tool is declared; the model is told not to call any.
        for name in &conversation.called {
            made.declared.push(function(planner.names.tool(name), Cow::Borrowed(ANY_OBJECT)));
        }
        made.choice = (!made.declared.is_empty()).then_some(Choice::None);
    } else {
        choose(request, &mut made, planner);
    }
    if let Shape::ForcedTool(schema) = shape {
        force_answer(request, schema, &mut made, planner);
    }
    let parallel = request.parallel_tool_calls;
    made.one_at_a_time = parallel.filter(|_| !made.declared.is_empty()).map(|yes| !yes);
    if made.one_at_a_time == Some(true) && made.choice.is_none() {
        made.choice = Some(Choice::Auto);
    }
    made
}

fn declare<'a>(request: &'a ChatRequest, made: &mut Tooling<'a>, planner: &mut Planner<'_>) {
    for (n, tool) in request.tools.iter().enumerate() {
        match &tool.spec {
            ToolSpec::Hosted { origin, raw } if *origin == ANTHROPIC_MESSAGES => made.declared.push(Declared::Hosted(raw)),
            ToolSpec::Hosted { .. } => planner.lose(format!("tools[{n}]"), LossReason::Foreign),
            ToolSpec::Function { name, description, parameters, strict } => {
                let path = format!("tools[{n}]");
                made.declared.push(Declared::Function {
                    name: planner.names.tool(name),
                    description: description.as_deref(),
                    schema: object_schema(parameters.as_ref()),
                    strict: strict.filter(|strict| *strict || planner.native),
                    cache: planner.mark(tool.cache, &path),
                    extras: planner.extras(tool.extras.as_ref(), || path.clone()),
                });
            }
        }
    }
}

/// The schema must be an object and say so.
fn object_schema(parameters: Option<&Raw>) -> Cow<'_, str> {
    let Some(parameters) = parameters else { return Cow::Borrowed(ANY_OBJECT) };
    let text = parameters.text();
    match Json::parse(text.as_bytes()).and_then(Json::fields) {
        Ok(fields) if fields.has("type") => Cow::Borrowed(text),
        Ok(fields) => {
            let rest = text.trim_start().trim_start_matches('{');
            let comma = if fields.rest().next().is_some() { "," } else { "" };
            Cow::Owned(format!("{{\"type\":\"object\"{comma}{rest}"))
        }
        Err(_) => Cow::Borrowed(ANY_OBJECT),
    }
}

fn choose<'a>(request: &'a ChatRequest, made: &mut Tooling<'a>, planner: &mut Planner<'_>) {
    let Some(choice) = &request.tool_choice else { return };
    if made.declared.is_empty() {
        if planner.native {
            made.choice = Some(native_choice(choice, planner));
        } else if !matches!(choice, ToolChoice::Auto | ToolChoice::None) {
            planner.lose("tool_choice".to_owned(), LossReason::Unsupported);
        }
        return;
    }
    if let ToolChoice::Allowed { names, .. } = choice {
        planner.lose("tool_choice".to_owned(), LossReason::Approximated);
        made.declared.retain(|tool| match tool {
            Declared::Function { name, .. } => names.iter().any(|allowed| planner.names.tool(allowed) == *name),
            Declared::Hosted(raw) => {
                let declared = Json::parse(raw.text().as_bytes()).and_then(|tool| tool.fields()?.need_str("name"));
                declared.is_ok_and(|declared| names.iter().any(|allowed| *allowed == declared))
            }
        });
        if made.declared.is_empty() {
            return;
        }
    }
    made.choice = Some(native_choice(choice, planner));
}

fn native_choice<'a>(choice: &'a ToolChoice, planner: &mut Planner<'_>) -> Choice<'a> {
    match choice {
        ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => Choice::Auto,
        ToolChoice::None => Choice::None,
        ToolChoice::Required | ToolChoice::Allowed { required: true, .. } => Choice::Any,
        ToolChoice::Named(name) => Choice::Tool(planner.names.tool(name)),
    }
}

/// Adds the tool whose input is the answer. Beside real tools the model must call some tool: one of them, or this.
fn force_answer<'a>(request: &'a ChatRequest, schema: &'a Raw, made: &mut Tooling<'a>, planner: &mut Planner<'_>) {
    let OutputFormat::JsonSchema { name, .. } = &request.output_format else { return };
    let stem = name.as_deref().unwrap_or("answer");
    let taken = |name: &str| made.declared.iter().any(|tool| matches!(tool, Declared::Function { name: other, .. } if *other == name));
    let mut written = planner.names.tool(stem).into_owned();
    while taken(&written) {
        written.push('_');
    }
    let may_call = !made.declared.is_empty() && made.choice != Some(Choice::None);
    planner.names.answer_with(written.clone());
    made.choice = Some(if may_call { Choice::Any } else { Choice::Tool(Cow::Owned(written.clone())) });
    made.declared.push(Declared::Function {
        name: Cow::Owned(written),
        description: Some("Gives the final answer. Call it exactly once, with the whole answer as its input."),
        schema: object_schema(Some(schema)),
        strict: None,
        cache: None,
        extras: None,
    });
}

fn function<'a>(name: Cow<'a, str>, schema: Cow<'a, str>) -> Declared<'a> {
    Declared::Function { name, description: None, schema, strict: None, cache: None, extras: None }
}

impl Tooling<'_> {
    pub(super) fn write(&self, w: &mut Writer<'_>, choice_rest: &[(&str, &Raw)]) {
        if !self.declared.is_empty() {
            w.key("tools").begin_array();
            self.declared.iter().for_each(|tool| tool.write(w));
            w.end_array();
        }
        let Some(choice) = &self.choice else { return };
        w.key("tool_choice").begin_object();
        w.key("type").str(match choice {
            Choice::Auto => "auto",
            Choice::Any => "any",
            Choice::None => "none",
            Choice::Tool(_) => "tool",
        });
        if let Choice::Tool(name) = choice {
            w.key("name").str(name);
        }
        if *choice != Choice::None {
            w.opt_bool("disable_parallel_tool_use", self.one_at_a_time);
        }
        for (key, value) in choice_rest {
            w.key(key).raw(value.text());
        }
        w.end_object();
    }
}

impl Declared<'_> {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Hosted(raw) => w.raw(raw.text()),
            Self::Function { name, description, schema, strict, cache, extras } => {
                w.begin_object();
                w.key("name").str(name);
                w.opt_str("description", *description);
                w.key("input_schema").raw(schema);
                w.opt_bool("strict", *strict);
                write_cache(w, *cache);
                write_extras(w, *extras);
                w.end_object();
            }
        }
    }
}
