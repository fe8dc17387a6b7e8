//! A place where a model is served: provider, upstream model and how to talk to it.

use std::{sync::Arc, time::Duration};

use crate::{
    id::{DeploymentId, ProviderId},
    protocol::Protocol,
};

/// What to do when a request cannot be carried whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLoss {
    /// Serve it and report the loss.
    #[default]
    Report,
    /// Refuse it with 400 and name the loss.
    Reject,
}

/// The model's own limits, where known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelLimits {
    /// Most tokens the model writes in one answer.
    pub output_tokens_max: Option<u32>,
    /// Most tokens of prompt and answer together.
    pub context_window: Option<u32>,
}

/// Time limits of one attempt. A request header may shorten them, never lengthen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// From the request sent to the first byte of a streamed body.
    pub first_byte_stream: Duration,
    /// From the request sent to the first byte of a whole answer.
    pub first_byte_whole: Duration,
    /// Between two chunks of a body.
    pub between_chunks: Duration,
    /// The whole call, over all attempts.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte_stream: Duration::from_secs(30),
            first_byte_whole: Duration::from_secs(300),
            between_chunks: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

/// Where the usage of a stream comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamUsage {
    /// Only when the request asks for it, so we always ask and take the extra frame out again.
    #[default]
    Option,
    /// In every stream, unasked; asking may be refused.
    Always,
    /// Never: tokens are counted here and marked so.
    Never,
}

/// The name under which the provider takes the output limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputLimitKey {
    /// Forward whichever key the caller used; write the protocol's current one if we set it ourselves.
    #[default]
    AsSent,
    /// Only `max_tokens` is known.
    MaxTokens,
    /// Only `max_completion_tokens` is accepted.
    MaxCompletionTokens,
}

/// How one provider departs from its protocol. Each field is a closed choice that a spec file names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quirks {
    /// See [`StreamUsage`].
    pub stream_usage: StreamUsage,
    /// See [`OutputLimitKey`].
    pub output_limit_key: OutputLimitKey,
    /// Tool-call ids must be exactly nine of `[A-Za-z0-9]`; others are rewritten and mapped back.
    pub tool_ids_nine_alphanumeric: bool,
    /// The seed is called `random_seed`.
    pub seed_is_random_seed: bool,
    /// Thinking comes and goes as content parts `{type: "thinking"}` instead of `reasoning_content`.
    pub thinking_as_content_parts: bool,
    /// The role `developer` is unknown; write `system`.
    pub no_developer_role: bool,
    /// `response_format` knows `json_object` only, not `json_schema`.
    pub no_json_schema: bool,
    /// The only top-level request keys the provider accepts; empty means it accepts or ignores any.
    pub accepted_keys: Vec<Box<str>>,
    /// Sampling parameters (temperature, top_p, top_k) are refused by this model.
    pub no_sampling: bool,
    /// Thinking is asked for by level (`adaptive` plus an effort) instead of by a token budget.
    pub thinking_by_effort: bool,
    /// Structured output needs a forced tool, because the model has no schema parameter.
    pub schema_by_forced_tool: bool,
}

/// Provider, upstream model and everything an attempt must know about the pair.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Unique in its route table.
    pub id: DeploymentId,
    /// Who serves it.
    pub provider: ProviderId,
    /// The public model it serves.
    pub model: Arc<str>,
    /// The name the provider wants.
    pub upstream_model: Arc<str>,
    /// The protocol the provider speaks for it.
    pub protocol: Protocol,
    /// Share among the deployments of one model; 0 means only when the others fail.
    pub weight: u32,
    /// The model's limits.
    pub limits: ModelLimits,
    /// Time limits.
    pub timeouts: Timeouts,
    /// What to do about losses.
    pub on_loss: OnLoss,
    /// Departures from the protocol.
    pub quirks: Quirks,
    /// Shown when it cannot serve: a retirement, with its date.
    pub notice: Option<Arc<str>>,
}
