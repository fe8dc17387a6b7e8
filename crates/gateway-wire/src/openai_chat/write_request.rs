//! Writes a request's top level.

use std::borrow::Cow;

use bytes::BytesMut;
use gateway_core::{
    Encoded, LossReason, Losses, OutputLimitKey, StreamUsage, Target, WireError,
    ir::{ChatRequest, Effort, OutputFormat, ReasoningAmount, Tool, ToolChoice, ToolSpec},
};
use http::HeaderMap;

use super::{
    extras::{get, write_nested, write_outer},
    memo::{ChatMemo, ToolIds},
    request::FOREIGN_REASONING_KEYS,
    write_answer::tier_word,
    write_messages,
};
use crate::{
    OPENAI_CHAT,
    json::{Json, Writer},
};

pub(super) fn encode(request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) -> Result<Encoded, WireError> {
    let quirks = &target.deployment.quirks;
    let mut out = BytesMut::with_capacity(1_024);
    let mut ids = ToolIds::new(quirks.tool_ids_nine_alphanumeric);
    let mut w = Writer::new(&mut out);
    w.begin_object();
    w.key("model").str(&target.deployment.upstream_model);
    if write_messages::write(&mut w, request, quirks, &mut ids, losses) == 0 {
        return Err(WireError::at("messages", "holds nothing that this model can be sent; add a message with text"));
    }
    let mut keys = Keys { w: &mut w, target, losses };
    keys.tools(request);
    keys.format(&request.output_format);
    keys.reasoning(request);
    keys.sampling(request);
    keys.limits(request);
    keys.labels(request);
    keys.stream(request);
    keys.extras(request);
    w.end_object();
    let usage_is_ours = target.stream && quirks.stream_usage == StreamUsage::Option;
    let memo = ChatMemo { usage_is_ours, ids: ids.into_rewritten() }.into_memo();
    Ok(Encoded { body: out.freeze(), headers: HeaderMap::new(), memo })
}

/// The value of `stream_options` that asks for usage and keeps what else was asked.
pub(super) fn with_usage(options: Option<&str>) -> String {
    let others = options.and_then(|text| Json::parse(text.as_bytes()).and_then(Json::fields).ok());
    let mut out = BytesMut::new();
    let mut w = Writer::new(&mut out);
    w.begin_object();
    w.key("include_usage").bool(true);
    for (key, value) in others.iter().flat_map(crate::json::Fields::rest).filter(|(key, _)| *key != "include_usage") {
        w.key(key).raw(value.text());
    }
    w.end_object();
    String::from_utf8_lossy(&out).into_owned()
}

/// OpenAI takes no more; what its own callers send is theirs and the provider's to settle.
const STOP_SEQUENCES_MAX: usize = 4;

/// Whether the caller speaks another protocol.
fn is_translated(request: &ChatRequest) -> bool {
    request.extras.as_ref().is_some_and(|extras| extras.origin != OPENAI_CHAT)
}

struct Keys<'k, 'o> {
    w: &'k mut Writer<'o>,
    target: &'k Target<'k>,
    losses: &'k mut Losses,
}

impl Keys<'_, '_> {
    /// Whether the provider takes the key; a refused one is a loss.
    fn accepts(&mut self, key: &'static str) -> bool {
        let accepted = &self.target.deployment.quirks.accepted_keys;
        let accepts = accepted.is_empty() || accepted.iter().any(|known| &**known == key);
        if !accepts {
            self.losses.push(key, LossReason::RefusedByModel);
        }
        accepts
    }

    fn number(&mut self, key: &'static str, n: Option<f64>) {
        if n.is_some() && self.accepts(key) {
            self.w.opt_f64(key, n);
        }
    }

    fn tools(&mut self, request: &ChatRequest) {
        let declares = !request.tools.is_empty() && self.accepts("tools") && self.declarations(request);
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
            write_choice(self.w, choice);
        }
        if request.parallel_tool_calls.is_some() && self.accepts("parallel_tool_calls") {
            self.w.opt_bool("parallel_tool_calls", request.parallel_tool_calls);
        }
    }

    /// Writes the tools; whether there are any to write.
    fn declarations(&mut self, request: &ChatRequest) -> bool {
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
            self.tool(n, tool);
        }
        if written > 0 {
            self.w.end_array();
        }
        written > 0
    }

    fn tool(&mut self, n: usize, tool: &Tool) {
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
                self.w.key("name").str(name);
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

    fn format(&mut self, format: &OutputFormat) {
        if *format == OutputFormat::Text || !self.accepts("response_format") {
            return;
        }
        let only_objects = self.target.deployment.quirks.no_json_schema;
        if only_objects && matches!(format, OutputFormat::JsonSchema { .. }) {
            self.losses.push("response_format.json_schema", LossReason::Approximated);
        }
        self.w.key("response_format").begin_object();
        match format {
            OutputFormat::JsonSchema { name, description, schema, strict } if !only_objects => {
                self.w.key("type").str("json_schema");
                self.w.key("json_schema").begin_object();
                // The name is required here; protocols without one give none.
                self.w.key("name").str(name.as_deref().unwrap_or("response"));
                self.w.opt_str("description", description.as_deref());
                self.w.key("schema").raw(schema.text());
                self.w.opt_bool("strict", *strict);
                self.w.end_object();
            }
            OutputFormat::JsonSchema { .. } | OutputFormat::JsonObject | OutputFormat::Text => self.w.key("type").str("json_object"),
        }
        self.w.end_object();
    }

    fn reasoning(&mut self, request: &ChatRequest) {
        let extras = request.extras.as_ref();
        let (Some(reasoning), None) = (&request.reasoning, FOREIGN_REASONING_KEYS.iter().find_map(|key| get(extras, key))) else {
            return;
        };
        if reasoning.visible.is_some() {
            self.losses.push("reasoning.visible", LossReason::Unsupported);
        }
        let (word, exact) = match reasoning.amount {
            None => return,
            Some(ReasoningAmount::Effort(level) | ReasoningAmount::AdaptiveEffort(level)) => (effort_word(level), true),
            Some(ReasoningAmount::Off) => ("none", true),
            // The bands around the budgets that stand for each level elsewhere.
            Some(ReasoningAmount::Budget(tokens)) => match tokens {
                0 => ("none", true),
                1..=1_024 => ("minimal", false),
                1_025..=4_096 => ("low", false),
                4_097..=12_288 => ("medium", false),
                12_289.. => ("high", false),
            },
            // The model decides anyway when nothing is said.
            Some(ReasoningAmount::Adaptive) => return,
        };
        if self.accepts("reasoning_effort") {
            if !exact {
                self.losses.push("reasoning.budget", LossReason::Approximated);
            }
            self.w.key("reasoning_effort").str(word);
        }
    }

    fn sampling(&mut self, request: &ChatRequest) {
        let (sampling, quirks) = (&request.sampling, &self.target.deployment.quirks);
        // A caller of this protocol who sent it has it among the extras.
        let top_k = sampling.top_k.filter(|_| get(request.extras.as_ref(), "top_k").is_none());
        if quirks.no_sampling {
            for (key, given) in
                [("temperature", sampling.temperature.is_some()), ("top_p", sampling.top_p.is_some()), ("top_k", top_k.is_some())]
            {
                if given {
                    self.losses.push(key, LossReason::RefusedByModel);
                }
            }
        } else {
            self.number("temperature", sampling.temperature);
            self.number("top_p", sampling.top_p);
            if top_k.is_some() {
                self.losses.push("top_k", LossReason::Unsupported);
            }
        }
        self.number("frequency_penalty", sampling.frequency_penalty);
        self.number("presence_penalty", sampling.presence_penalty);
        let seed = if quirks.seed_is_random_seed { "random_seed" } else { "seed" };
        if let Some(n) = sampling.seed
            && self.accepts(seed)
        {
            self.w.key(seed).i64(n);
        }
    }

    fn limits(&mut self, request: &ChatRequest) {
        if let Some(limit) = self.target.limit_to_write(request.output_tokens_max, false) {
            let key = limit_key(self.target.deployment.quirks.output_limit_key);
            self.w.key(key).u64(limit.into());
        }
        let mut stop = request.stop.as_slice();
        if let (true, Some(first)) = (is_translated(request), stop.get(..STOP_SEQUENCES_MAX)) {
            (STOP_SEQUENCES_MAX..stop.len()).for_each(|n| self.losses.push(format!("stop[{n}]"), LossReason::Unsupported));
            stop = first;
        }
        if !stop.is_empty() && self.accepts("stop") {
            self.w.key("stop").begin_array();
            stop.iter().for_each(|text| self.w.str(text));
            self.w.end_array();
        }
        if let Some(n) = request.choices
            && self.accepts("n")
        {
            self.w.key("n").u64(n.into());
        }
        if let Some(logprobs) = request.logprobs
            && self.accepts("logprobs")
        {
            self.w.key("logprobs").bool(true);
            self.w.opt_u64("top_logprobs", logprobs.top.map(u64::from));
        }
    }

    fn labels(&mut self, request: &ChatRequest) {
        if request.user.is_some() && self.accepts("user") {
            self.w.opt_str("user", request.user.as_deref());
        }
        if !request.metadata.is_empty() && self.accepts("metadata") {
            self.w.key("metadata").begin_object();
            for (name, value) in &request.metadata {
                self.w.key(name).str(value);
            }
            self.w.end_object();
        }
        if request.service_tier.is_some() && self.accepts("service_tier") {
            self.w.opt_str("service_tier", request.service_tier.as_deref().map(tier_word));
        }
        if request.cache.is_some() {
            self.losses.push("cache_control", LossReason::Unsupported);
        }
    }

    fn stream(&mut self, request: &ChatRequest) {
        if !self.target.stream {
            return;
        }
        self.w.key("stream").bool(true);
        if self.target.deployment.quirks.stream_usage == StreamUsage::Option {
            let options = with_usage(get(request.extras.as_ref(), "stream_options"));
            self.w.key("stream_options").raw(&options);
        }
    }

    fn extras(&mut self, request: &ChatRequest) {
        let Some(extras) = &request.extras else { return };
        let accepted = &self.target.deployment.quirks.accepted_keys;
        for (key, value) in &extras.fields {
            if &**key == "stream_options" {
                continue;
            }
            if &**key == "top_k" && self.target.deployment.quirks.no_sampling {
                self.losses.push("top_k", LossReason::RefusedByModel);
                continue;
            }
            if extras.origin != OPENAI_CHAT {
                self.losses.push(key.to_string(), LossReason::Foreign);
            } else if !accepted.is_empty() && !accepted.contains(key) {
                self.losses.push(key.to_string(), LossReason::RefusedByModel);
            } else {
                self.w.key(key).raw(value.text());
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

/// The key under which the provider takes the output limit when we set it.
pub(super) fn limit_key(quirk: OutputLimitKey) -> &'static str {
    match quirk {
        OutputLimitKey::MaxTokens => "max_tokens",
        OutputLimitKey::AsSent | OutputLimitKey::MaxCompletionTokens => "max_completion_tokens",
    }
}

fn effort_word(level: Effort) -> &'static str {
    match level {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
        Effort::Max => "max",
    }
}

fn write_choice(w: &mut Writer<'_>, choice: &ToolChoice) {
    let named = |w: &mut Writer<'_>, name: &str| {
        w.begin_object();
        w.key("type").str("function");
        w.key("function").begin_object();
        w.key("name").str(name);
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
