//! A whole answer in canonical form.

use serde::Serialize;

use super::part::{Extras, Part, Raw};
use crate::usage::Usage;

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// A natural end.
    Stop,
    /// A stop sequence was met.
    StopSequence,
    /// The output limit was reached.
    Length,
    /// The context window is full.
    ContextFull,
    /// The model calls tools.
    ToolCalls,
    /// A content filter cut it.
    ContentFilter,
    /// The model declined.
    Refusal,
    /// The turn is paused; send it again to go on.
    Paused,
    /// The model wrote a tool call that cannot be parsed.
    MalformedToolCall,
    /// The provider failed.
    Error,
    /// A reason we do not know; the native word tells.
    Other,
}

/// How a choice ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finish {
    /// In our terms.
    pub reason: FinishReason,
    /// In the provider's own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<Box<str>>,
    /// The stop sequence that was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<Box<str>>,
}

impl Finish {
    /// A finish known only by its reason.
    #[must_use]
    pub fn new(reason: FinishReason) -> Self {
        Self { reason, native: None, stop_sequence: None }
    }
}

/// One of the answers asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// Its index.
    pub index: u32,
    /// What the model said, in order.
    pub parts: Vec<Part>,
    /// How it ended.
    pub finish: Finish,
    /// Log probabilities, as the provider wrote them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Raw>,
    /// Unknown fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extras: Option<Extras>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ChatResponse {
    /// The provider's id of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The provider's name of the model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Unix time in seconds, where stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
    /// The answers.
    pub choices: Vec<Choice>,
    /// What it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Unknown fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extras: Option<Extras>,
}
