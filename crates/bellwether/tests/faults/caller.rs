//! A caller of each protocol: how it asks, and what it makes of an answer.

use serde_json::{Value, json};

use super::rig::Rig;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    OpenAiChat,
    Anthropic,
}

/// Whether the answer is streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Stream,
    Whole,
}

/// What a caller has read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) model: String,
    pub(crate) text: String,
    /// Input and output, as the last report says.
    pub(crate) usage: Option<(i64, i64)>,
    /// What the answer says it costs.
    pub(crate) cost: Option<String>,
    /// The protocol's terminator, or its reason for the end of a whole answer.
    pub(crate) ended: bool,
    /// The protocol's error, and nothing after it.
    pub(crate) error: bool,
}

impl Caller {
    pub(crate) async fn ask(self, rig: &Rig, shape: Shape) -> reqwest::Response {
        let stream = shape == Shape::Stream;
        match self {
            Self::OpenAiChat if stream => rig.ask_at("/v1/chat/completions", true, json!({ "stream_options": { "include_usage": true } })),
            Self::OpenAiChat => rig.ask_at("/v1/chat/completions", false, json!({})),
            Self::Anthropic => rig.ask_at("/v1/messages", stream, json!({})),
        }
        .await
    }

    pub(crate) fn read(self, text: &str, shape: Shape) -> Seen {
        let mut seen = Seen::default();
        match shape {
            Shape::Whole => {
                let answer = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
                match self {
                    Self::OpenAiChat => seen.chat(&answer, "message"),
                    Self::Anthropic => seen.message(&answer),
                }
            }
            Shape::Stream => {
                for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
                    assert!(!seen.error && !seen.ended, "something follows the end: {text}");
                    if self == Self::OpenAiChat && data == "[DONE]" {
                        seen.ended = true;
                        continue;
                    }
                    let event = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {text}"));
                    match self {
                        Self::OpenAiChat => seen.chat(&event, "delta"),
                        Self::Anthropic => seen.event(&event),
                    }
                }
            }
        }
        seen
    }
}

impl Seen {
    fn chat(&mut self, answer: &Value, content: &str) {
        self.error = answer["error"]["message"].is_string();
        if let Some(model) = answer["model"].as_str() {
            model.clone_into(&mut self.model);
        }
        let choice = &answer["choices"][0];
        self.text.push_str(choice[content]["content"].as_str().unwrap_or_default());
        // Of a stream it is the terminator that ends it.
        self.ended |= content == "message" && choice["finish_reason"].is_string();
        self.note_usage(&answer["usage"], "prompt_tokens", "completion_tokens");
    }

    fn message(&mut self, answer: &Value) {
        self.error = answer["type"] == "error" && answer["error"]["message"].is_string() && answer["error"]["type"].is_string();
        answer["model"].as_str().unwrap_or_default().clone_into(&mut self.model);
        self.text.push_str(answer["content"][0]["text"].as_str().unwrap_or_default());
        self.ended = answer["stop_reason"].is_string();
        self.note_usage(&answer["usage"], "input_tokens", "output_tokens");
    }

    fn event(&mut self, event: &Value) {
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                event["message"]["model"].as_str().unwrap_or_default().clone_into(&mut self.model);
                self.note_usage(&event["message"]["usage"], "input_tokens", "output_tokens");
            }
            "content_block_delta" => self.text.push_str(event["delta"]["text"].as_str().unwrap_or_default()),
            "message_delta" => self.note_usage(&event["usage"], "input_tokens", "output_tokens"),
            "message_stop" => self.ended = true,
            "error" => self.error = event["error"]["message"].is_string() && event["error"]["type"].is_string(),
            _ => {}
        }
    }

    /// Later reports restate; what they leave out stands.
    fn note_usage(&mut self, usage: &Value, input: &str, output: &str) {
        let (old_input, old_output) = self.usage.unwrap_or_default();
        let (input, output) = (usage[input].as_i64(), usage[output].as_i64());
        if input.is_some() || output.is_some() {
            self.usage = Some((input.unwrap_or(old_input), output.unwrap_or(old_output)));
        }
        if let Some(cost) = usage.get("cost") {
            assert_eq!(self.cost, None, "stated twice");
            self.cost = Some(cost.as_str().expect("a decimal in a string").to_owned());
        }
    }
}
