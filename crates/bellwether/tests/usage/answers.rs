//! Answers that report a usage, in each dialect, and the ways in which the gateway reads them.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use gateway_core::{Egress, Ingress, Memo, Meter, Pricer, Relay, RelayCtx, RenderCtx, RequestId, Usage, Used, stream::Transcoder};
use gateway_wire::{
    anthropic::AnthropicEgress,
    gemini::GeminiEgress,
    openai_chat::{OpenAiChatEgress, OpenAiChatIngress},
};

/// A protocol that providers answer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Anthropic,
    Gemini,
}

/// What an answer reports, in JSON as it stands on the wire.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) dialect: Dialect,
    /// The usage object of the whole answer.
    pub(crate) usage: String,
    /// The usage objects of a stream, in order; none: as the dialect usually streams `usage`.
    pub(crate) frames: Vec<String>,
    /// The tier that stands beside the usage, where the dialect has it there.
    pub(crate) tier: Option<String>,
    /// Groq's place for it.
    pub(crate) in_groq: bool,
}

impl Report {
    pub(crate) fn of(dialect: Dialect, usage: String) -> Self {
        Self { dialect, usage, frames: Vec::new(), tier: None, in_groq: false }
    }

    /// What each path through the codec reads, with the path's name.
    pub(crate) fn read(&self) -> Vec<(&'static str, Usage)> {
        let egress = self.dialect.egress();
        let body = Bytes::from(self.dialect.whole(self));
        let meter = Meter::new();
        egress.relay_whole(&ctx(), body.clone(), &mut |signal| meter.record(signal)).unwrap_or_else(|fault| panic!("{self:?}: {fault:?}"));
        let answer = egress.decode(&body, &Memo::default()).unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let encoder = OpenAiChatIngress::new().event_encoder(&ctx().render);
        let transcoder = Transcoder::new(egress.framer(), egress.event_decoder(Memo::default()), encoder);
        vec![
            ("the fast path of a whole answer", meter.snapshot().usage),
            ("a whole answer decoded", Used::from(&answer).usage),
            ("the fast path of a stream", self.stream(&mut *egress.relay(&ctx()))),
            ("a stream decoded", self.stream(&mut { transcoder })),
        ]
    }

    fn stream(&self, relay: &mut dyn Relay) -> Usage {
        let (mut out, meter) = (VecDeque::new(), Meter::new());
        let chunk = Bytes::from(self.dialect.stream(self));
        let end = relay.push(chunk, &mut out, &mut |signal| meter.record(signal));
        end.and_then(|()| relay.finish(&mut out, &mut |signal| meter.record(signal))).unwrap_or_else(|fault| panic!("{self:?}: {fault:?}"));
        let reading = meter.snapshot();
        assert!(reading.usage_final || reading.usage.is_empty(), "{self:?}: a report is the last word");
        reading.usage
    }
}

impl Dialect {
    pub(crate) fn egress(self) -> Box<dyn Egress> {
        match self {
            Self::Chat => Box::new(OpenAiChatEgress::new()),
            Self::Anthropic => Box::new(AnthropicEgress::new()),
            Self::Gemini => Box::new(GeminiEgress::new()),
        }
    }

    fn whole(self, report: &Report) -> String {
        let usage = &report.usage;
        match self {
            Self::Chat => {
                let choice = r#"{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}"#;
                format!(
                    r#"{{"id":"c","object":"chat.completion","created":1,"model":"up","choices":[{choice}]{}}}"#,
                    chat_usage(report, usage)
                )
            }
            Self::Anthropic => format!(
                r#"{{"id":"m","type":"message","role":"assistant","model":"up","content":[{{"type":"text","text":"Hi"}}],"stop_reason":"end_turn","stop_sequence":null,"usage":{usage}}}"#
            ),
            Self::Gemini => gemini_answer(usage, r#","finishReason":"STOP""#),
        }
    }

    fn stream(self, report: &Report) -> String {
        let mut frames: Vec<&str> = report.frames.iter().map(String::as_str).collect();
        match self {
            Self::Chat => chat_stream(report, &frames),
            Self::Anthropic => {
                // Cumulative: what the end restates overwrites what the start said.
                frames.resize_with(frames.len().max(2), || &report.usage);
                anthropic_stream(frames[0], frames[1])
            }
            Self::Gemini => {
                frames.resize_with(frames.len().max(1), || &report.usage);
                let finish = |n: usize| if n + 1 == frames.len() { r#","finishReason":"STOP""# } else { "" };
                frames.iter().enumerate().map(|(n, usage)| format!("data: {}\n\n", gemini_answer(usage, finish(n)))).collect()
            }
        }
    }
}

fn ctx() -> RelayCtx {
    let render = RenderCtx {
        request_id: RequestId::from_bytes([7; 16]),
        model: Arc::from("public-model"),
        created: 1_700_000_000,
        stream_usage: true,
        price: Pricer::default(),
    };
    RelayCtx { render, memo: Memo::default() }
}

fn chat_usage(report: &Report, usage: &str) -> String {
    let tier = report.tier.as_ref().map_or(String::new(), |tier| format!(r#","service_tier":"{tier}""#));
    if report.in_groq { format!(r#","x_groq":{{"id":"g","usage":{usage}}}{tier}"#) } else { format!(r#","usage":{usage}{tier}"#) }
}

/// Usage in a last chunk without choices; or, where the frames are given, in every chunk.
fn chat_stream(report: &Report, frames: &[&str]) -> String {
    let chunk = |choices: &str, usage: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[{choices}]{usage}}}\n\n"
        )
    };
    let said = r#"{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}"#;
    let ended = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#;
    let mut stream = String::new();
    match frames.split_last() {
        None => {
            stream += &chunk(said, r#","usage":null"#);
            stream += &chunk(ended, r#","usage":null"#);
            stream += &chunk("", &chat_usage(report, &report.usage));
        }
        Some((last, before)) => {
            before.iter().for_each(|usage| stream += &chunk(said, &chat_usage(report, usage)));
            stream += &chunk(ended, &chat_usage(report, last));
        }
    }
    stream + "data: [DONE]\n\n"
}

fn anthropic_stream(start: &str, end: &str) -> String {
    let frame = |name: &str, data: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{data}}}\n\n");
    let message = format!(
        r#","message":{{"id":"m","type":"message","role":"assistant","model":"up","content":[],"stop_reason":null,"stop_sequence":null,"usage":{start}}}"#
    );
    [
        frame("message_start", &message),
        frame("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
        frame("content_block_delta", r#","index":0,"delta":{"type":"text_delta","text":"Hi"}"#),
        frame("content_block_stop", r#","index":0"#),
        frame("message_delta", &format!(r#","delta":{{"stop_reason":"end_turn","stop_sequence":null}},"usage":{end}"#)),
        frame("message_stop", ""),
    ]
    .concat()
}

fn gemini_answer(usage: &str, finish: &str) -> String {
    format!(
        r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"Hi"}}]}},"index":0{finish}}}],"usageMetadata":{usage},"modelVersion":"up","responseId":"r"}}"#
    )
}
