//! What a request asks, in whichever protocol it asks.

use gateway_core::{Protocol, StreamUsage};
use http::StatusCode;
use serde_json::{Map, Value};

use super::faces;

/// The protocol of a request, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    OpenAiChat,
    Anthropic,
    Gemini,
}

impl Face {
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::OpenAiChat => gateway_wire::OPENAI_CHAT,
            Self::Anthropic => gateway_wire::ANTHROPIC_MESSAGES,
            Self::Gemini => gateway_wire::GEMINI,
        }
    }
}

/// A request that cannot be answered.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) face: Face,
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn invalid(face: Face, message: impl Into<String>) -> Self {
        Self { face, status: StatusCode::BAD_REQUEST, message: message.into() }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToolDeclared {
    pub(super) name: String,
    pub(super) schema: Value,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Choice {
    #[default]
    Auto,
    None,
    Required,
    Named(String),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Output {
    #[default]
    Text,
    Object,
    Schema(Value),
}

/// Where a chat stream reports usage; the other protocols have one place for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UsageAt {
    Nowhere,
    /// After the last choice, in a chunk of its own.
    OwnChunk,
    /// With the finish of the last choice.
    LastChoice,
}

/// Tokens of a prompt, split as a provider would bill them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PromptTokens {
    pub(super) total: u64,
    pub(super) cache_read: u64,
    pub(super) cache_write: u64,
}

/// What a request asks.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) face: Face,
    pub(super) counting_only: bool,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) stream_usage: UsageAt,
    /// The last text of a person.
    pub(super) asked: String,
    /// The conversation ends with results of tools.
    pub(super) tool_results: usize,
    pub(super) tools: Vec<ToolDeclared>,
    pub(super) choice: Choice,
    pub(super) parallel: bool,
    pub(super) output: Output,
    pub(super) reasoning: bool,
    pub(super) reasoning_redacted: bool,
    pub(super) limit: Option<u64>,
    pub(super) choices: u32,
    pub(super) stops: Vec<String>,
    pub(super) tokens: PromptTokens,
    /// Of the request without what only says how to deliver the answer.
    pub(super) digest: u64,
}

impl Question {
    /// As a provider with this habit reports usage in a stream.
    pub(super) fn reported(mut self, habit: StreamUsage) -> Self {
        match habit {
            StreamUsage::Option => {}
            StreamUsage::Always => self.stream_usage = UsageAt::LastChoice,
            StreamUsage::Never => self.stream_usage = UsageAt::Nowhere,
        }
        self
    }
}

/// Reads a request.
pub(super) fn read(head: &http::request::Parts, body: &[u8]) -> Result<Question, Refusal> {
    let path = head.uri.path();
    let (face, counting_only) = if path.ends_with("/chat/completions") {
        (Face::OpenAiChat, false)
    } else if path.ends_with("/messages") {
        (Face::Anthropic, false)
    } else if path.ends_with("/messages/count_tokens") {
        (Face::Anthropic, true)
    } else if path.ends_with(":generateContent") || path.ends_with(":streamGenerateContent") {
        (Face::Gemini, false)
    } else {
        let message = format!(
            "the simulator has no {path}; it serves /chat/completions, /messages, /messages/count_tokens, \
             /models/MODEL:generateContent and /models/MODEL:streamGenerateContent under any prefix"
        );
        return Err(Refusal { face: Face::OpenAiChat, status: StatusCode::NOT_FOUND, message });
    };
    if head.method != http::Method::POST {
        return Err(Refusal {
            face,
            status: StatusCode::METHOD_NOT_ALLOWED,
            message: format!("{} is not allowed here; use POST", head.method),
        });
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| Refusal::invalid(face, format!("the body is not JSON: {error}")))?;
    let Value::Object(request) = value else { return Err(Refusal::invalid(face, "the body is not a JSON object")) };
    let mut question = Question {
        face,
        counting_only,
        model: String::new(),
        stream: request.get("stream").and_then(Value::as_bool).unwrap_or(false),
        stream_usage: UsageAt::OwnChunk,
        asked: String::new(),
        tool_results: 0,
        tools: Vec::new(),
        choice: Choice::Auto,
        parallel: true,
        output: Output::Text,
        reasoning: false,
        reasoning_redacted: false,
        limit: None,
        choices: 1,
        stops: Vec::new(),
        tokens: PromptTokens::default(),
        digest: digest(&request, path),
    };
    match face {
        Face::OpenAiChat => faces::openai_chat::ask(&request, &mut question),
        Face::Anthropic => faces::anthropic::ask(&request, &mut question),
        Face::Gemini => faces::gemini::ask(path, &request, &mut question),
    }
    .map_err(|message| Refusal::invalid(face, message))?;
    Ok(question)
}

/// FNV-1a over the request without `stream` and `stream_options`, keys in order.
fn digest(request: &Map<String, Value>, path: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut feed = |text: &str| {
        for byte in text.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    // Gemini names the model in the path, and the verb that streams there too.
    let resource = path.rsplit_once(':').map_or("", |(resource, _verb)| resource);
    feed(resource.rsplit('/').next().unwrap_or_default());
    for (key, value) in request {
        if key != "stream" && key != "stream_options" {
            feed(key);
            feed(&value.to_string());
        }
    }
    hash
}

/// Counts a prompt by the simulator's own rule.
#[derive(Debug, Default)]
pub(super) struct Counter {
    pub(super) tokens: PromptTokens,
    /// Tokens before and with the last cache mark.
    marked: u64,
    /// The conversation holds an answer, so its beginning was sent before.
    later_turn: bool,
}

impl Counter {
    pub(super) fn text(&mut self, text: &str) {
        self.tokens.total += (text.len() as u64).div_ceil(4);
    }

    pub(super) fn message(&mut self, by_model: bool) {
        self.tokens.total += 3;
        self.later_turn |= by_model;
    }

    pub(super) fn media(&mut self) {
        self.tokens.total += 256;
    }

    pub(super) fn tool(&mut self, declaration: &Value) {
        self.tokens.total += 8;
        self.text(&declaration.to_string());
    }

    pub(super) fn mark(&mut self) {
        self.marked = self.tokens.total;
    }

    /// What is marked was written on the first turn and is read on later ones.
    pub(super) fn finish_marked(mut self) -> PromptTokens {
        if self.later_turn {
            self.tokens.cache_read = self.marked;
        } else {
            self.tokens.cache_write = self.marked;
        }
        self.tokens
    }

    /// Providers that cache by themselves do so from 1,024 tokens, in steps of 128; `asked` is a hint to do so at once.
    pub(super) fn finish_automatic(mut self, asked: bool) -> PromptTokens {
        if asked {
            self.tokens.cache_read = self.tokens.total / 2;
        } else if self.later_turn && self.tokens.total >= 1_024 {
            self.tokens.cache_read = self.tokens.total / 2 / 128 * 128;
        }
        self.tokens
    }
}
