//! Requests, written.

use bytes::BytesMut;
use gateway_core::{
    Encoded, Losses, Target, WireError,
    ir::{ChatRequest, Raw, Sampling},
};
use http::{HeaderMap, HeaderValue};

use super::{
    settings::{self, Thinks},
    thinking::{self, Mode, Setting, Thinking},
    tools::{self, Shape, Tooling},
    turns::{Conversation, Planner, Speaker},
};
use crate::{
    ANTHROPIC_MESSAGES,
    anthropic::{
        block::{Planned, write_cache},
        names::Names,
    },
    json::Writer,
};

/// The version that translated requests speak: the newer one refuses sampling parameters on every model.
const TRANSLATED_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// What the body is for: counting tokens takes the same conversation, but no limit and no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::anthropic) enum Purpose {
    Answer,
    Count,
}

/// Writes a request's body.
pub(in crate::anthropic) fn encode(
    request: &ChatRequest,
    target: &Target<'_>,
    purpose: Purpose,
    losses: &mut Losses,
) -> Result<Encoded, WireError> {
    let native = request.extras.as_ref().is_some_and(|extras| extras.origin == ANTHROPIC_MESSAGES);
    let quirks = &target.deployment.quirks;
    let shape = Shape::of(request, quirks);
    let mut names = Names::default();
    let mut planner = Planner::new(native, &mut names, losses);
    let conversation = planner.conversation(&request.messages);
    let cache = planner.mark(request.cache, "request");
    let tooling = tools::plan(request, shape, &conversation, &mut planner);
    planner.extras(request.extras.as_ref(), String::new);
    if conversation.turns.is_empty() {
        return Err(WireError::at("messages", "holds nothing that this model can be sent; add a user message with text"));
    }
    let forced = tooling.choice.as_ref().is_some_and(tools::Choice::forces);
    let setting = Setting { target, native, tool_is_forced: forced, calls_without_thought: conversation.calls_without_thought };
    let thinking = thinking::plan(request, setting, losses);
    let thinks = match (native, thinking.is_on()) {
        (true, _) => Thinks::AsTheCallerSays,
        (false, true) => Thinks::Yes,
        (false, false) => Thinks::No,
    };
    let sampling = settings::sampling(request, target, thinks, losses);
    settings::lose_unsupported(request, losses);
    let body = Body {
        request,
        target,
        purpose,
        shape,
        stop: settings::stop(request, losses),
        service_tier: settings::service_tier(request, native, losses),
        conversation: &conversation,
        tooling: &tooling,
        thinking,
        sampling,
        cache,
        rest: Rest::of(request),
    };
    let mut out = BytesMut::with_capacity(4_096);
    body.write(&mut Writer::new(&mut out));
    drop((conversation, tooling));
    let mut headers = HeaderMap::new();
    if !native {
        headers.insert("anthropic-version", TRANSLATED_VERSION);
    }
    Ok(Encoded { body: out.freeze(), headers, memo: names.into_memo() })
}

/// Unknown fields of the request, by the object they belong into.
#[derive(Debug, Default)]
struct Rest<'a> {
    top: Vec<(&'a str, &'a Raw)>,
    metadata: Vec<(&'a str, &'a Raw)>,
    thinking: Vec<(&'a str, &'a Raw)>,
    tool_choice: Vec<(&'a str, &'a Raw)>,
    output_config: Vec<(&'a str, &'a Raw)>,
    format: Vec<(&'a str, &'a Raw)>,
}

impl<'a> Rest<'a> {
    fn of(request: &'a ChatRequest) -> Self {
        let mut rest = Self::default();
        let own = request.extras.as_ref().filter(|extras| extras.origin == ANTHROPIC_MESSAGES);
        for (key, value) in own.into_iter().flat_map(|extras| &extras.fields) {
            let (list, name) = match key.split_once('.') {
                Some(("metadata", name)) => (&mut rest.metadata, name),
                Some(("thinking", name)) => (&mut rest.thinking, name),
                Some(("tool_choice", name)) => (&mut rest.tool_choice, name),
                Some(("output_config", name)) => match name.strip_prefix("format.") {
                    Some(name) => (&mut rest.format, name),
                    None => (&mut rest.output_config, name),
                },
                Some(_) | None => (&mut rest.top, &**key),
            };
            list.push((name, value));
        }
        rest
    }
}

/// Everything decided; writing it cannot fail.
struct Body<'a> {
    request: &'a ChatRequest,
    target: &'a Target<'a>,
    purpose: Purpose,
    shape: Shape<'a>,
    stop: Vec<&'a str>,
    service_tier: Option<&'a str>,
    conversation: &'a Conversation<'a>,
    tooling: &'a Tooling<'a>,
    thinking: Thinking,
    sampling: Sampling,
    cache: Option<gateway_core::ir::CacheMark>,
    rest: Rest<'a>,
}

impl Body<'_> {
    fn write(&self, w: &mut Writer<'_>) {
        w.begin_object();
        w.key("model").str(&self.target.deployment.upstream_model);
        if self.purpose == Purpose::Answer {
            w.key("max_tokens").u64(self.thinking.tokens_max.into());
            if self.target.stream {
                w.key("stream").bool(true);
            }
        }
        self.write_system(w);
        self.write_messages(w);
        self.tooling.write(w, &self.rest.tool_choice);
        self.write_thinking(w);
        self.write_output_config(w);
        write_cache(w, self.cache);
        if self.purpose == Purpose::Answer {
            self.write_answer_settings(w);
        }
        write_all(w, &self.rest.top);
        w.end_object();
    }

    fn write_system(&self, w: &mut Writer<'_>) {
        let asks_for_json = matches!(self.shape, Shape::Prompted);
        match self.conversation.system.as_slice() {
            [] if !asks_for_json => {}
            [only] if !asks_for_json && only.as_bare_text().is_some() => {
                w.opt_str("system", only.as_bare_text());
            }
            blocks => {
                w.key("system").begin_array();
                blocks.iter().for_each(|block| block.write(w));
                if asks_for_json {
                    w.begin_object();
                    w.key("type").str("text");
                    w.key("text").str(JSON_ONLY);
                    w.end_object();
                }
                w.end_array();
            }
        }
    }

    fn write_messages(&self, w: &mut Writer<'_>) {
        w.key("messages").begin_array();
        for turn in &self.conversation.turns {
            w.begin_object();
            w.key("role").str(match turn.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "assistant",
                Speaker::System => "system",
            });
            match turn.blocks.as_slice() {
                [only] if only.as_bare_text().is_some() => w.opt_str("content", only.as_bare_text()),
                blocks => write_blocks(w, blocks),
            }
            crate::anthropic::block::write_extras(w, turn.extras);
            w.end_object();
        }
        w.end_array();
    }

    fn write_thinking(&self, w: &mut Writer<'_>) {
        let Some(mode) = self.thinking.mode else { return };
        w.key("thinking").begin_object();
        match mode {
            Mode::Enabled { budget } => {
                w.key("type").str("enabled");
                w.key("budget_tokens").u64(budget.into());
            }
            Mode::Adaptive => w.key("type").str("adaptive"),
            Mode::Disabled => w.key("type").str("disabled"),
        }
        if let Some(visible) = self.thinking.visible {
            w.key("display").str(if visible { "summarized" } else { "omitted" });
        }
        write_all(w, &self.rest.thinking);
        w.end_object();
    }

    fn write_output_config(&self, w: &mut Writer<'_>) {
        let kept_effort = self.rest.output_config.iter().any(|(key, _)| *key == "effort");
        let effort = self.thinking.effort.filter(|_| !kept_effort);
        let schema = match self.shape {
            Shape::Schema(schema) => Some(schema),
            Shape::Free | Shape::Prompted | Shape::ForcedTool(_) => None,
        };
        if effort.is_none() && schema.is_none() && self.rest.output_config.is_empty() {
            return;
        }
        w.key("output_config").begin_object();
        w.opt_str("effort", effort.map(settings::effort_name));
        if let Some(schema) = schema {
            w.key("format").begin_object();
            w.key("type").str("json_schema");
            w.key("schema").raw(schema.text());
            write_all(w, &self.rest.format);
            w.end_object();
        }
        write_all(w, &self.rest.output_config);
        w.end_object();
    }

    fn write_answer_settings(&self, w: &mut Writer<'_>) {
        w.opt_f64("temperature", self.sampling.temperature);
        w.opt_f64("top_p", self.sampling.top_p);
        w.opt_u64("top_k", self.sampling.top_k.map(u64::from));
        if !self.stop.is_empty() {
            w.key("stop_sequences").begin_array();
            self.stop.iter().for_each(|word| w.str(word));
            w.end_array();
        }
        w.opt_str("service_tier", self.service_tier);
        if self.request.user.is_some() || !self.rest.metadata.is_empty() {
            w.key("metadata").begin_object();
            w.opt_str("user_id", self.request.user.as_deref());
            write_all(w, &self.rest.metadata);
            w.end_object();
        }
    }
}

/// What stands in for the JSON mode that the protocol does not have.
const JSON_ONLY: &str = "Answer with one JSON object and nothing else: no prose around it, no code fence.";

fn write_blocks(w: &mut Writer<'_>, blocks: &[Planned<'_>]) {
    w.key("content").begin_array();
    blocks.iter().for_each(|block| block.write(w));
    w.end_array();
}

fn write_all(w: &mut Writer<'_>, fields: &[(&str, &Raw)]) {
    for (key, value) in fields {
        w.key(key).raw(value.text());
    }
}
