//! Writes a request's tools and the choice among them.

use std::borrow::Cow;

use gateway_core::{
    LossReason,
    ir::{ChatRequest, Tool, ToolChoice, ToolSpec},
};

use super::{
    extras::{write_nested, write_outer},
    memo::Rewriter,
    write_request::Keys,
};
use crate::{
    OPENAI_CHAT,
    json::{Json, Writer},
};

impl Keys<'_, '_> {
    pub(super) fn tools(&mut self, request: &ChatRequest, names: &mut Rewriter) {
        let declares = !request.tools.is_empty() && self.accepts("tools") && self.declarations(request, names);
        if !declares {
            // A choice among no tools is refused.
            if !matches!(request.tool_choice, None | Some(ToolChoice::Auto | ToolChoice::None)) {
                self.losses.push("tool_choice", LossReason::Unsupported);
            }
            return;
        }
        if let Some(choice) = &request.tool_choice
            && self.accepts("tool_choice")
        {
            self.w.key("tool_choice");
            write_choice(self.w, choice, names);
        }
        if request.parallel_tool_calls.is_some() && self.accepts("parallel_tool_calls") {
            self.w.opt_bool("parallel_tool_calls", request.parallel_tool_calls);
        }
    }

    /// Writes the tools; whether there are any to write.
    fn declarations(&mut self, request: &ChatRequest, names: &mut Rewriter) -> bool {
        let mut written = 0;
        for (n, tool) in request.tools.iter().enumerate() {
            match &tool.spec {
                ToolSpec::Hosted { origin, .. } if *origin != OPENAI_CHAT => {
                    self.losses.push(format!("tools[{n}]"), LossReason::Foreign);
                    continue;
                }
                ToolSpec::Hosted { .. } | ToolSpec::Function { .. } => {}
            }
            if written == 0 {
                self.w.key("tools").begin_array();
            }
            written += 1;
            self.tool(n, tool, names);
        }
        if written > 0 {
            self.w.end_array();
        }
        written > 0
    }

    fn tool(&mut self, n: usize, tool: &Tool, names: &mut Rewriter) {
        if tool.cache.is_some() {
            // This protocol's providers cache by themselves.
            self.losses.push(format!("tools[{n}].cache_control"), LossReason::Unsupported);
        }
        match &tool.spec {
            ToolSpec::Hosted { raw, .. } => self.w.raw(raw.text()),
            ToolSpec::Function { name, description, parameters, strict } => {
                self.w.begin_object();
                self.w.key("type").str("function");
                self.w.key("function").begin_object();
                self.w.key("name").str(&names.written(name));
                self.w.opt_str("description", description.as_deref());
                if let Some(parameters) = parameters {
                    self.w.key("parameters").raw(&with_properties(parameters.text()));
                }
                self.w.opt_bool("strict", *strict);
                write_nested(self.w, tool.extras.as_ref(), "function.");
                self.w.end_object();
                if !write_outer(self.w, tool.extras.as_ref(), &["function."]) {
                    self.losses.push(format!("tools[{n}].extras"), LossReason::Foreign);
                }
                self.w.end_object();
            }
        }
    }
}

/// OpenAI refuses an object schema that names no properties, be there none; other protocols' callers need not name them.
fn with_properties(schema: &str) -> Cow<'_, str> {
    let bare = Json::parse(schema.as_bytes()).and_then(Json::fields).is_ok_and(|fields| {
        let says_more = ["properties", "$ref", "anyOf", "oneOf", "allOf"].into_iter().any(|key| fields.has(key));
        fields.peek("type").is_some_and(|kind| kind.text() == "\"object\"") && !says_more
    });
    match schema.trim_end().strip_suffix('}') {
        Some(open) if bare => Cow::Owned(format!("{open},\"properties\":{{}}}}")),
        Some(_) | None => Cow::Borrowed(schema),
    }
}

fn write_choice(w: &mut Writer<'_>, choice: &ToolChoice, known: &mut Rewriter) {
    let mut named = |w: &mut Writer<'_>, name: &str| {
        w.begin_object();
        w.key("type").str("function");
        w.key("function").begin_object();
        w.key("name").str(&known.written(name));
        w.end_object();
        w.end_object();
    };
    match choice {
        ToolChoice::Auto => w.str("auto"),
        ToolChoice::None => w.str("none"),
        ToolChoice::Required => w.str("required"),
        ToolChoice::Named(name) => named(w, name),
        ToolChoice::Allowed { names, required } => {
            w.begin_object();
            w.key("type").str("allowed_tools");
            w.key("allowed_tools").begin_object();
            w.key("mode").str(if *required { "required" } else { "auto" });
            w.key("tools").begin_array();
            names.iter().for_each(|name| named(w, name));
            w.end_array();
            w.end_object();
            w.end_object();
        }
    }
}
