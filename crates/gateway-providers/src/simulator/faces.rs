//! The three protocols the simulator speaks, each read and written by hand, so that no codec is tested against itself.

pub(super) mod anthropic;
pub(super) mod gemini;
pub(super) mod openai_chat;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};
use serde_json::Value;

use super::{
    answer::{Answer, Ended},
    question::{Face, PromptTokens, Question},
    scenario::UsageMode,
};

/// 2026-01-01; the simulator has no clock, so that its answers never change.
const CREATED: u64 = 1_767_225_600;

/// Everything an answer is written from.
pub(super) struct Reply<'q> {
    pub(super) question: &'q Question,
    pub(super) answers: &'q [Answer],
    pub(super) usage: UsageMode,
}

/// Token counts as they are reported.
pub(super) struct Report {
    prompt: PromptTokens,
    visible: u64,
    reasoning: u64,
}

impl Reply<'_> {
    /// `None` when the scenario leaves usage out.
    fn report(&self) -> Option<Report> {
        let times = match self.usage {
            UsageMode::Right => 1,
            UsageMode::Missing => return None,
            UsageMode::Wrong => 10,
        };
        let PromptTokens { total, cache_read, cache_write } = self.question.tokens;
        Some(Report {
            prompt: PromptTokens { total: total * times, cache_read: cache_read * times, cache_write: cache_write * times },
            visible: self.answers.iter().map(Answer::visible_tokens).sum::<u64>() * times,
            reasoning: self.answers.iter().map(Answer::reasoning_tokens).sum::<u64>() * times,
        })
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}sim{:016x}", self.question.digest)
    }

    pub(super) fn whole(&self) -> Bytes {
        let value = match self.question.face {
            Face::OpenAiChat => openai_chat::whole(self),
            Face::Anthropic if self.question.counting_only => {
                serde_json::json!({ "input_tokens": self.question.tokens.total })
            }
            Face::Anthropic => anthropic::whole(self),
            Face::Gemini => gemini::whole(self),
        };
        value.to_string().into()
    }

    /// The stream's events, each with its framing; the terminator is the last.
    pub(super) fn events(&self) -> Vec<Bytes> {
        match self.question.face {
            Face::OpenAiChat => openai_chat::events(self),
            Face::Anthropic => anthropic::events(self),
            Face::Gemini => gemini::events(self),
        }
    }
}

/// An error object of the protocol.
pub(super) fn error_body(face: Face, status: StatusCode, message: &str, retry_after_s: Option<u64>) -> Value {
    match face {
        Face::OpenAiChat => openai_chat::error(status, message),
        Face::Anthropic => anthropic::error(status, message),
        Face::Gemini => gemini::error(status, message, retry_after_s),
    }
}

/// An error in the middle of a stream.
pub(super) fn error_event(face: Face) -> Bytes {
    const MESSAGE: &str = "the simulated provider is overloaded";
    match face {
        Face::OpenAiChat => data(&openai_chat::error(StatusCode::SERVICE_UNAVAILABLE, MESSAGE)),
        Face::Anthropic => named("error", &anthropic::error(anthropic::OVERLOADED, MESSAGE)),
        Face::Gemini => data(&gemini::error(StatusCode::SERVICE_UNAVAILABLE, MESSAGE, None)),
    }
}

/// Headers that a provider of the protocol sends with every answer.
pub(super) fn headers(face: Face, digest: u64, retry_after_s: Option<u64>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let id = HeaderValue::from_str(&format!("req_sim{digest:016x}")).ok();
    let name = match face {
        Face::OpenAiChat => Some(HeaderName::from_static("x-request-id")),
        Face::Anthropic => Some(HeaderName::from_static("request-id")),
        Face::Gemini => None,
    };
    if let (Some(name), Some(id)) = (name, id) {
        headers.insert(name, id);
    }
    // Gemini tells it in the body only.
    if let (Some(seconds), Face::OpenAiChat | Face::Anthropic) = (retry_after_s, face) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    headers
}

fn data(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

fn named(name: &str, value: &Value) -> Bytes {
    format!("event: {name}\ndata: {value}\n\n").into()
}

/// What is said in one event: a few tokens, in a rhythm that depends on nothing but their number.
fn bunches(pieces: &[String]) -> impl Iterator<Item = String> + '_ {
    let mut rest = pieces;
    let mut turn = 0usize;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let count = [1, 2, 1, 3][turn % 4].min(rest.len());
        turn += 1;
        let (now, later) = rest.split_at(count);
        rest = later;
        Some(now.concat())
    })
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The arguments as a value; cut arguments are no JSON and become nothing, as at the vendors.
fn arguments(pieces: &[String]) -> Value {
    serde_json::from_str(&pieces.concat()).unwrap_or_else(|_| Value::Object(serde_json::Map::new()))
}

impl Ended {
    fn stop_sequence(&self) -> Option<&str> {
        match self {
            Self::StopSequence(stop) => Some(stop),
            Self::Stop | Self::Length | Self::Tools => None,
        }
    }
}
