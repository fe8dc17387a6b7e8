//! A chat request in canonical form.

use serde::Serialize;

use super::part::{CacheMark, Extras, Part, Raw};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The operator of the conversation.
    System,
    /// The developer, where the protocol tells it from the system.
    Developer,
    /// The person asking.
    User,
    /// The model.
    Assistant,
    /// Tool results, where the protocol gives them a role of their own.
    Tool,
}

/// One message: a role and an ordered list of parts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The speaker's name, where given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// Unknown fields of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extras: Option<Extras>,
}

/// A declared tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tool {
    /// What it is.
    pub spec: ToolSpec,
    /// A cache breakpoint after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheMark>,
    /// Unknown fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extras: Option<Extras>,
}

/// The kinds of tools.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolSpec {
    /// The caller runs it; arguments follow a JSON schema.
    Function {
        /// Its name.
        name: String,
        /// What it does.
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// The schema of its arguments.
        #[serde(skip_serializing_if = "Option::is_none")]
        parameters: Option<Raw>,
        /// Whether arguments must follow the schema exactly.
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
    /// A tool of one vendor's own (web search, code execution, free-text tools), as it was declared.
    Hosted {
        /// Whose tool it is.
        origin: crate::protocol::Protocol,
        /// The declaration.
        raw: Raw,
    },
}

/// Which tool the model must or may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// Some tool.
    Required,
    /// This tool.
    Named(String),
    /// One of these; `required` tells whether it must call one.
    Allowed {
        /// The tools.
        names: Vec<String>,
        /// Must call one.
        required: bool,
    },
}

/// The shape the answer must have.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// Free text.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema {
        /// The schema's name, where the protocol has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// What it is for.
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// The schema.
        schema: Raw,
        /// Whether it must be followed exactly.
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

/// Levels of reasoning, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// No reasoning.
    None,
    /// The least.
    Minimal,
    /// Little.
    Low,
    /// Middling.
    Medium,
    /// Much.
    High,
    /// Very much.
    Xhigh,
    /// All there is.
    Max,
}

/// How much reasoning was asked for, in the terms it was asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningAmount {
    /// A level.
    Effort(Effort),
    /// At most so many tokens.
    Budget(u32),
    /// The model decides.
    Adaptive,
    /// Adaptive, leaning to a level.
    AdaptiveEffort(Effort),
    /// Off.
    Off,
}

/// The request for reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reasoning {
    /// How much; `None` when only visibility was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<ReasoningAmount>,
    /// Whether the reasoning text should be shown; `None` leaves it to the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visible: Option<bool>,
}

/// Sampling parameters.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Sampling {
    /// Temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Choose among the k likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Penalty for frequent tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Penalty for tokens already present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Seed of the sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
}

/// The request for log probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Logprobs {
    /// How many alternatives per token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<u32>,
}

/// A chat request. The model's name is not in it: routing decides that.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ChatRequest {
    /// The conversation, system text included, in the order given.
    pub messages: Vec<Message>,
    /// Declared tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Which tool to call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether several tools may be called at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// The answer's shape.
    pub output_format: OutputFormat,
    /// Reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// Sampling.
    pub sampling: Sampling,
    /// Most output tokens per choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_max: Option<u32>,
    /// Stop sequences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// How many choices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<u32>,
    /// Log probabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Logprobs>,
    /// The end user, for abuse reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The caller's own labels, name and value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<(String, String)>,
    /// The service tier asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// A cache breakpoint for the request as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheMark>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Unknown top-level fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extras: Option<Extras>,
}
