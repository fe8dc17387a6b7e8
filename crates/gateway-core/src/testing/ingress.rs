//! A caller's protocol made for tests: one flat JSON object in, one JSON object or JSON lines out.

use bytes::{BufMut, Bytes, BytesMut};
use http::{StatusCode, request};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    codec::{EventEncoder, Ingress, RenderCtx, WireError},
    fault::Fault,
    id::RequestId,
    ir::{ChatRequest, ChatResponse, Delta, Event, Message, Part, PartBody, PartKind, Role, Tool, ToolSpec},
    losses::Losses,
    meter::Used,
    peek::{Controls, InputSize, Operation, Peek},
    protocol::Protocol,
};

/// The protocol of [`TestIngress::new`].
pub const TEST_PROTOCOL: Protocol = Protocol::new("test-lines");

/// The callers' side of the test protocol.
///
/// A request is `{"model": …, "input": text}` with the optional keys `stream`, `stream_usage`, `output_limit`, `choices`,
/// `tools` (names), `operation` (`"chat"` or `"count_tokens"`), `models`, `fallbacks`, `disable_fallbacks`, `strict`,
/// `max_total_cost` (in billionths) and `receipt`.
/// A whole answer is `{"model", "request_id", "text", "finish", "response"}`. A stream is one JSON object a line, its
/// `event` one of `start`, `part`, `text`, `seal`, `citation`, `extras`, `part_end`, `logprobs`, `finish`, `usage`,
/// `opaque`, `end`; the terminator is `{"event":"done"}`, an interruption `{"event":"fault"}`, a keep-alive an empty line.
#[derive(Debug, Clone, Copy)]
pub struct TestIngress {
    protocol: Protocol,
}

impl TestIngress {
    /// Speaks [`TEST_PROTOCOL`].
    #[must_use]
    pub fn new() -> Self {
        Self::speaking(TEST_PROTOCOL)
    }

    /// The same format under another name, for tests of what equal and different protocols do.
    #[must_use]
    pub fn speaking(protocol: Protocol) -> Self {
        Self { protocol }
    }
}

impl Default for TestIngress {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    model: Box<str>,
    #[serde(default)]
    input: String,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_usage: bool,
    output_limit: Option<u32>,
    choices: Option<u32>,
    #[serde(default)]
    tools: Vec<String>,
    operation: Option<String>,
    models: Option<Vec<Box<str>>>,
    fallbacks: Option<Vec<Box<str>>>,
    #[serde(default)]
    disable_fallbacks: bool,
    #[serde(default)]
    strict: bool,
    /// In billionths.
    max_total_cost: Option<u64>,
    #[serde(default)]
    receipt: bool,
}

fn read(body: &[u8]) -> Result<Request, WireError> {
    serde_json::from_slice(body).map_err(|error| WireError::new(format!("not a request of the test protocol: {error}")))
}

/// Where the text of the prompt stands, its quotes included.
fn prompt(body: &[u8], text: &str) -> Vec<std::ops::Range<usize>> {
    let written = serde_json::to_string(text).unwrap_or_default();
    let at = body.windows(written.len()).position(|window| window == written.as_bytes());
    at.map(|at| at..at + written.len()).into_iter().collect()
}

impl Ingress for TestIngress {
    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn peek(&self, _head: &request::Parts, body: &[u8]) -> Result<Peek, WireError> {
        let request = read(body)?;
        let operation = match request.operation.as_deref() {
            None | Some("chat") => Operation::Chat,
            Some("count_tokens") => Operation::CountTokens,
            Some(other) => return Err(WireError::at("operation", format!("`{other}` is not an operation"))),
        };
        Ok(Peek {
            prompt: prompt(body, &request.input),
            operation,
            stream: request.stream,
            stream_usage: request.stream_usage,
            output_limit: request.output_limit,
            choices: request.choices.unwrap_or(1),
            controls: Controls {
                models: request.models,
                fallbacks: request.fallbacks,
                disable_fallbacks: request.disable_fallbacks,
                strict: request.strict,
                max_total_cost: request.max_total_cost,
                receipt: request.receipt,
            },
            input: InputSize {
                text_bytes: request.input.len() as u64,
                prompt_bytes: request.input.len() as u64,
                items: 1,
                ..InputSize::default()
            },
            ..Peek::chat(request.model)
        })
    }

    fn decode(&self, _head: &request::Parts, body: &[u8]) -> Result<ChatRequest, WireError> {
        let request = read(body)?;
        if request.input.is_empty() {
            return Err(WireError::at("input", "must be a text that is not empty"));
        }
        let tool =
            |name| Tool { spec: ToolSpec::Function { name, description: None, parameters: None, strict: None }, cache: None, extras: None };
        Ok(ChatRequest {
            messages: vec![Message { role: Role::User, name: None, parts: vec![Part::text(request.input)], extras: None }],
            tools: request.tools.into_iter().map(tool).collect(),
            output_tokens_max: request.output_limit,
            choices: request.choices,
            stream: request.stream,
            ..ChatRequest::default()
        })
    }

    fn encode(&self, response: &ChatResponse, ctx: &RenderCtx, _losses: &mut Losses) -> Bytes {
        let text: String = response.choices.first().map_or(&[][..], |choice| &choice.parts).iter().map(part_text).collect();
        let answer = json!({
            "model": &*ctx.model,
            "request_id": ctx.request_id,
            "text": text,
            "finish": response.choices.first().map(|choice| choice.finish.reason),
            "response": response,
        });
        Bytes::from(answer.to_string())
    }

    fn event_encoder(&self, _ctx: &RenderCtx) -> Box<dyn EventEncoder> {
        Box::new(Lines)
    }

    fn encode_fault(&self, fault: &Fault, request_id: RequestId) -> (StatusCode, Bytes) {
        let mut error = json!({
            "kind": fault.kind().as_str(),
            "message": fault.message(),
            "code": fault.code(),
            "param": fault.param(),
            "request_id": request_id,
        });
        for (name, value) in fault.details() {
            error[*name] = value.clone();
        }
        (fault.status(), Bytes::from(json!({ "error": error }).to_string()))
    }
}

fn part_text(part: &Part) -> &str {
    match &part.body {
        PartBody::Text { text, .. } | PartBody::Reasoning(text) | PartBody::Refusal(text) => text,
        PartBody::ToolCall(call) => &call.arguments,
        PartBody::Media(_) | PartBody::ToolResult(_) | PartBody::Opaque { .. } => "",
    }
}

/// Writes every event as a line, so that nothing of a stream is hidden from the test that reads it.
struct Lines;

impl EventEncoder for Lines {
    fn encode(&mut self, event: &Event<'_>, out: &mut BytesMut, _losses: &mut Losses) {
        line(out, &describe(event));
    }

    fn finish(&mut self, _used: &Used, out: &mut BytesMut) {
        line(out, &json!({ "event": "done" }));
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut BytesMut) {
        line(out, &json!({ "event": "fault", "kind": fault.kind().as_str(), "message": fault.message() }));
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b"\n")
    }
}

fn line(out: &mut BytesMut, value: &Value) {
    out.put_slice(value.to_string().as_bytes());
    out.put_u8(b'\n');
}

fn describe(event: &Event<'_>) -> Value {
    match event {
        Event::Start { .. } => json!({ "event": "start" }),
        Event::PartStart { choice, part, kind } => json!({ "event": "part", "choice": choice, "part": part, "kind": kind_name(kind) }),
        Event::Delta { choice, part, delta } => match delta {
            Delta::Text(text) => json!({ "event": "text", "choice": choice, "part": part, "text": text }),
            Delta::Seal(_) => json!({ "event": "seal", "choice": choice, "part": part }),
            Delta::Citation(_) => json!({ "event": "citation", "choice": choice, "part": part }),
            Delta::Extras(_) => json!({ "event": "extras", "choice": choice, "part": part }),
        },
        Event::PartEnd { choice, part } => json!({ "event": "part_end", "choice": choice, "part": part }),
        Event::Logprobs { choice, .. } => json!({ "event": "logprobs", "choice": choice }),
        Event::Finish { choice, finish } => json!({ "event": "finish", "choice": choice, "reason": finish.reason }),
        Event::Usage { usage, is_final } => json!({ "event": "usage", "usage": usage, "final": is_final }),
        Event::Fault(fault) => json!({ "event": "fault", "kind": fault.kind().as_str() }),
        Event::Opaque { .. } => json!({ "event": "opaque" }),
        Event::End => json!({ "event": "end" }),
    }
}

fn kind_name(kind: &PartKind<'_>) -> &'static str {
    match kind {
        PartKind::Text => "text",
        PartKind::Reasoning => "reasoning",
        PartKind::Refusal => "refusal",
        PartKind::ToolCall { .. } => "tool_call",
        PartKind::Media(_) => "media",
        PartKind::Opaque { .. } => "opaque",
    }
}
