//! Writes a request's top level.

use bytes::BytesMut;
use gateway_core::{
    Encoded, LossReason, Losses, OutputLimitKey, StreamUsage, Target, WireError,
    ir::{ChatRequest, Effort, OutputFormat, ReasoningAmount},
};
use http::HeaderMap;

use super::{
    extras::get,
    memo::{ChatMemo, Rewriter, Rule},
    request::FOREIGN_REASONING_KEYS,
    write_answer::tier_word,
    write_messages::{self, Known},
};
use crate::{
    OPENAI_CHAT,
    json::{Json, Writer},
};

pub(super) fn encode(request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) -> Result<Encoded, WireError> {
    let quirks = &target.deployment.quirks;
    let mut out = BytesMut::with_capacity(1_024);
    let mut known = Known {
        ids: Rewriter::new(if quirks.tool_ids_nine_alphanumeric { Rule::NineAlphanumeric } else { Rule::Id }),
        names: Rewriter::new(if is_translated(request) { Rule::Name } else { Rule::Anything }),
    };
    let mut w = Writer::new(&mut out);
    w.begin_object();
    w.key("model").str(&target.deployment.upstream_model);
    if write_messages::write(&mut w, request, quirks, &mut known, losses) == 0 {
        return Err(WireError::at("messages", "holds nothing that this model can be sent; add a message with text"));
    }
    let mut keys = Keys { w: &mut w, target, losses };
    keys.tools(request, &mut known.names);
    keys.format(&request.output_format);
    keys.reasoning(request);
    keys.sampling(request);
    keys.limits(request);
    keys.labels(request);
    keys.stream(request);
    keys.extras(request);
    w.end_object();
    let usage_is_ours = target.stream && quirks.stream_usage == StreamUsage::Option;
    let memo = ChatMemo { usage_is_ours, ids: known.ids.into_rewritten(), names: known.names.into_rewritten() }.into_memo();
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

pub(super) struct Keys<'k, 'o> {
    pub(super) w: &'k mut Writer<'o>,
    target: &'k Target<'k>,
    pub(super) losses: &'k mut Losses,
}

impl Keys<'_, '_> {
    /// Whether the provider takes the key; a refused one is a loss.
    pub(super) fn accepts(&mut self, key: &'static str) -> bool {
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
