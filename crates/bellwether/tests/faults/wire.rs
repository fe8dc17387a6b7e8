//! What a provider of each protocol says: one answer, and every fault in the provider's own words. Written by hand from
//! the protocols' documentation, with token counts of its own choosing, so that no part of the gateway judges itself.

use serde_json::{Value, json};

/// Who is imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    OpenAiChat,
    Anthropic,
    Gemini,
}

/// How far a stream gets before something happens. Of a whole answer it is always the first half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    /// The head of the answer and nothing more.
    Head,
    /// The stream is open and nothing has been said.
    Opened,
    /// Two of three pieces of the text have been said.
    Content,
    /// All has been said, the reason for the end and the usage included; only the terminator, where there is one, lacks.
    Finished,
}

/// The text of every answer, in the pieces it is streamed in.
pub(crate) const PIECES: [&str; 3] = ["The sea ", "is wide ", "and deep"];
/// What the provider says the prompt came to: not what the gateway would guess.
pub(crate) const INPUT: i64 = 19;
/// What it says the answer came to: not what its bytes would be counted as.
pub(crate) const OUTPUT: i64 = 9;
/// A prompt of 47 bytes cannot come to this.
pub(crate) const WRONG_INPUT: i64 = 19_000;

/// Which usage is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reports {
    Right,
    Wrong,
    Nothing,
}

impl Reports {
    fn input(self) -> i64 {
        if self == Self::Wrong { WRONG_INPUT } else { INPUT }
    }
}

/// An error as it is answered: its headers beside the body.
pub(crate) struct Refusal {
    pub(crate) content_type: &'static str,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: String,
}

impl Speaks {
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::Anthropic => "anthropic-messages",
            Self::Gemini => "gemini",
        }
    }

    /// Where its API begins.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::OpenAiChat | Self::Anthropic => "v1",
            Self::Gemini => "v1beta",
        }
    }

    /// The model that a request names, and whether it asks for a stream.
    pub(crate) fn asked(self, path: &str, body: &Value) -> (String, bool) {
        if self == Self::Gemini {
            let (model, method) = path.rsplit_once('/').and_then(|(_, name)| name.split_once(':')).unwrap_or_default();
            return (model.to_owned(), method == "streamGenerateContent");
        }
        (body["model"].as_str().unwrap_or_default().to_owned(), body["stream"] == true)
    }

    pub(crate) fn whole(self, model: &str, reports: Reports) -> String {
        let text = PIECES.concat();
        let mut answer = match self {
            Self::OpenAiChat => json!({ "id": "chatcmpl-1", "object": "chat.completion", "created": 1_767_225_600, "model": model,
                "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }] }),
            Self::Anthropic => json!({ "id": "msg_01", "type": "message", "role": "assistant", "model": model,
                "content": [{ "type": "text", "text": text }], "stop_reason": "end_turn", "stop_sequence": null }),
            Self::Gemini => json!({ "candidates": [{ "content": { "parts": [{ "text": text }], "role": "model" },
                "finishReason": "STOP", "index": 0 }], "modelVersion": model, "responseId": "r1" }),
        };
        let key = if self == Self::Gemini { "usageMetadata" } else { "usage" };
        if reports != Reports::Nothing {
            answer[key] = self.usage(reports.input(), OUTPUT);
        }
        answer.to_string()
    }

    fn usage(self, input: i64, output: i64) -> Value {
        match self {
            Self::OpenAiChat => json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output }),
            Self::Anthropic => json!({ "input_tokens": input, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
                "output_tokens": output }),
            Self::Gemini if output == 0 => json!({ "promptTokenCount": input, "totalTokenCount": input }),
            Self::Gemini => json!({ "promptTokenCount": input, "candidatesTokenCount": output, "totalTokenCount": input + output }),
        }
    }

    /// The events of a stream up to a point; `None`: all of them.
    pub(crate) fn events(self, model: &str, reports: Reports, until: Option<At>) -> Vec<String> {
        let (mut events, opened) = match self {
            Self::OpenAiChat => (chat_events(model, reports), 1),
            Self::Anthropic => (anthropic_events(model, reports), 3),
            Self::Gemini => (gemini_events(model, reports), 1),
        };
        let terminators = usize::from(self != Self::Gemini);
        let kept = match until {
            Some(At::Head) => 0,
            Some(At::Opened) => opened,
            Some(At::Content) => opened + 2,
            Some(At::Finished) => events.len() - terminators,
            None => events.len(),
        };
        events.truncate(kept);
        events
    }

    /// An error that comes inside an answer with status 200.
    pub(crate) fn error_object(self) -> Value {
        match self {
            Self::OpenAiChat => {
                json!({ "error": { "message": "The server is overloaded.", "type": "server_error", "param": null, "code": null } })
            }
            Self::Anthropic => json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } }),
            Self::Gemini => {
                json!({ "error": { "code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE" } })
            }
        }
    }

    pub(crate) fn error_event(self) -> String {
        match self {
            Self::OpenAiChat => data(&self.error_object()),
            Self::Anthropic => named("error", &self.error_object()),
            Self::Gemini => gemini_data(&self.error_object()),
        }
    }

    /// An event that breaks off in the middle of its JSON.
    pub(crate) fn broken_event(self) -> &'static str {
        match self {
            Self::OpenAiChat => "data: {\"choices\":[{\"delta\":{\"con\n\n",
            Self::Anthropic => "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"del\n\n",
            Self::Gemini => "data: {\"candidates\":[{\"content\":{\"par\r\n\r\n",
        }
    }

    /// An error answer. What stands before a provider answers some of them itself, in no protocol at all.
    pub(crate) fn refusal(self, status: u16, wait_s: Option<u64>) -> Refusal {
        let (content_type, body) = match (self, status) {
            (Self::Anthropic, 502 | 503) => ("text/plain", "upstream connect error or disconnect/reset before headers".to_owned()),
            (Self::Gemini, 502) => ("text/html; charset=UTF-8", "<!DOCTYPE html><title>Error 502 (Server Error)!!1</title>".to_owned()),
            (Self::OpenAiChat, _) => {
                let error = json!({ "message": "no", "type": if status < 500 { "invalid_request_error" } else { "server_error" },
                    "param": null, "code": null });
                ("application/json", json!({ "error": error }).to_string())
            }
            (Self::Anthropic, _) => {
                let error = json!({ "type": anthropic_kind(status), "message": "no" });
                ("application/json", json!({ "type": "error", "error": error, "request_id": "req_011" }).to_string())
            }
            (Self::Gemini, _) => ("application/json; charset=UTF-8", gemini_error(status, wait_s).to_string()),
        };
        // Google says it in the body alone.
        let retry_after = wait_s.filter(|_| self != Self::Gemini).map(|seconds| seconds.to_string());
        Refusal { content_type, retry_after, body }
    }
}

fn anthropic_kind(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}

fn gemini_error(status: u16, wait_s: Option<u64>) -> Value {
    let (code, word, message) = match status {
        // A bad key is a 400 here, and only its reason tells.
        401 => (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
        400 => (400, "INVALID_ARGUMENT", "Invalid value at 'contents'."),
        429 => (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        503 => (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
        504 => (504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
        other => (other, "INTERNAL", "An internal error has occurred."),
    };
    let mut error = json!({ "code": code, "message": message, "status": word });
    if status == 401 {
        error["details"] =
            json!([{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com" }]);
    }
    if let Some(seconds) = wait_s {
        error["details"] = json!([{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s") }]);
    }
    json!({ "error": error })
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn named(name: &str, value: &Value) -> String {
    format!("event: {name}\ndata: {value}\n\n")
}

fn gemini_data(value: &Value) -> String {
    format!("data: {value}\r\n\r\n")
}

fn chat_events(model: &str, reports: Reports) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        data(&json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_767_225_600, "model": model,
            "choices": choices, "usage": usage }))
    };
    let choice = |delta: Value, finish: Value| json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
    let mut events = vec![chunk(choice(json!({ "role": "assistant", "content": "" }), Value::Null), Value::Null)];
    events.extend(PIECES.map(|text| chunk(choice(json!({ "content": text }), Value::Null), Value::Null)));
    events.push(chunk(choice(json!({}), "stop".into()), Value::Null));
    if reports != Reports::Nothing {
        events.push(chunk(json!([]), Speaks::OpenAiChat.usage(reports.input(), OUTPUT)));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn anthropic_events(model: &str, reports: Reports) -> Vec<String> {
    let mut message = json!({ "id": "msg_01", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null });
    let mut last = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null } });
    if reports != Reports::Nothing {
        message["usage"] = Speaks::Anthropic.usage(reports.input(), 1);
        last["usage"] = json!({ "output_tokens": OUTPUT });
    }
    let mut events = vec![
        named("message_start", &json!({ "type": "message_start", "message": message })),
        named(
            "content_block_start",
            &json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        ),
        named("ping", &json!({ "type": "ping" })),
    ];
    events.extend(PIECES.map(|text| {
        let delta = json!({ "type": "text_delta", "text": text });
        named("content_block_delta", &json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
    }));
    events.push(named("content_block_stop", &json!({ "type": "content_block_stop", "index": 0 })));
    events.push(named("message_delta", &last));
    events.push(named("message_stop", &json!({ "type": "message_stop" })));
    events
}

fn gemini_events(model: &str, reports: Reports) -> Vec<String> {
    let chunk = |text: &str, finish: Option<&str>, output: i64| {
        let mut candidate = json!({ "content": { "parts": [{ "text": text }], "role": "model" }, "index": 0 });
        if let Some(finish) = finish {
            candidate["finishReason"] = finish.into();
        }
        let mut answer = json!({ "candidates": [candidate], "modelVersion": model, "responseId": "r1" });
        if reports != Reports::Nothing {
            answer["usageMetadata"] = Speaks::Gemini.usage(reports.input(), output);
        }
        gemini_data(&answer)
    };
    let mut events = vec![chunk("", None, 0)];
    events.extend(PIECES.iter().zip(1..).map(|(text, n)| chunk(text, None, 2 * n)));
    events.push(chunk("", Some("STOP"), OUTPUT));
    events
}
