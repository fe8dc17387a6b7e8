//! What forwarding a stream allocates, counted event by event once the stream is under way.
//!
//! The numbers are exact: one more allocation fails the test, and so does one less, because then the number is wrong.

use std::{collections::VecDeque, sync::Arc};

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use gateway_core::{
    Attempt, AttemptEnd, AttemptLog, Deployment, DeploymentId, Egress, Framer, Memo, ModelLimits, OnLoss, PartialUsage, Pricer, ProviderId,
    Quirks, Relay, RelayCtx, RenderCtx, RequestId, Signal, Timeouts, Used,
};
use gateway_wire::{anthropic::AnthropicEgress, gemini::GeminiEgress, openai_chat::OpenAiChatEgress, sse::SseFramer};

/// Enough that a buffer which grows with the stream would show.
const EVENTS: usize = 1_000;
const PER_EVENT: u64 = EVENTS as u64;

/// The stream as a connection hands it over: each event a slice of one shared buffer.
fn chunks(event: &str, count: usize) -> Vec<Bytes> {
    let mut read = BytesMut::from(event.repeat(count).as_bytes());
    (0..count).map(|_| read.split_to(event.len()).freeze()).collect()
}

/// Nobody asks what an answer costs before it has ended.
struct Unasked;

impl AttemptLog for Unasked {
    fn started(&self, _attempt: &Attempt) {}

    fn ended(&self, _ordinal: u32, _end: AttemptEnd, _seen: &PartialUsage) {}

    fn price(&self, _deployment: &Arc<Deployment>, used: &Used) -> Option<Box<str>> {
        panic!("asked in mid-stream, for {used:?}")
    }
}

fn deployment() -> Deployment {
    Deployment {
        id: DeploymentId::new("d"),
        provider: ProviderId::new("p"),
        model: Arc::from("public"),
        upstream_model: Arc::from("upstream-1"),
        protocol: gateway_wire::OPENAI_CHAT,
        weight: 1,
        limits: ModelLimits { output_tokens_max: None, context_window: None },
        timeouts: Timeouts::default(),
        on_loss: OnLoss::Report,
        quirks: Quirks::default(),
        notice: None,
    }
}

fn ctx() -> RelayCtx {
    let request_id = RequestId::from_bytes([7; 16]);
    let price = Pricer::new(Arc::new(Unasked), Arc::new(deployment()));
    let render = RenderCtx { request_id, model: Arc::from("public"), created: 1, stream_usage: true, price };
    RelayCtx { render, memo: Memo::default() }
}

/// Allocations of [`EVENTS`] times `event`, after `start`. What is sent is let go of before the next chunk comes, as by a
/// connection that keeps up: a buffer that somebody still holds cannot be used again.
fn check(egress: &dyn Egress, start: &[&str], event: &str, expected: u64) {
    let mut relay = egress.relay(&ctx());
    let mut out = VecDeque::with_capacity(16);
    let (mut sent, mut content) = (0, 0);
    let mut forward = |relay: &mut dyn Relay, chunk: Bytes| {
        relay
            .push(chunk, &mut out, &mut |signal| {
                if let Signal::Content { bytes } = signal {
                    content += bytes;
                }
            })
            .expect("the stream is sound");
        sent += out.drain(..).map(|piece| piece.len()).sum::<usize>();
    };
    for event in start.iter().chain([&event]) {
        forward(&mut *relay, Bytes::copy_from_slice(event.as_bytes()));
    }
    let chunks = chunks(event, EVENTS);
    let counted = measure(|| {
        for chunk in chunks {
            forward(&mut *relay, chunk);
        }
    });
    assert!(content >= EVENTS && sent >= EVENTS * event.len() / 2, "{event}: {content} bytes of content, {sent} sent");
    assert_eq!(counted.count_total, expected, "for {EVENTS} times {event}");
}

#[test]
fn openai_chat_forwards_an_event_without_allocating() {
    let chunk = |delta: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"upstream-1\",\
             \"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
        )
    };
    let role = chunk(r#"{"role":"assistant","content":""}"#);
    for delta in [r#"{"content":"Hello"}"#, r#"{"content":"a\n\"b\""}"#, r#"{"reasoning_content":"Hmm"}"#] {
        check(&OpenAiChatEgress::new(), &[&role], &chunk(delta), 0);
    }
    let call = chunk(r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"look","arguments":""}}]}"#);
    let arguments = chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":"abc"}}]}"#);
    check(&OpenAiChatEgress::new(), &[&role, &call], &arguments, 0);
}

#[test]
fn anthropic_allocates_only_to_unescape_a_text() {
    // Its decoder reads along, and a text with escapes is undone once by the parser and once for the event.
    const UNESCAPED: u64 = 2 * PER_EVENT;
    let frame = |name: &str, data: &str| format!("event: {name}\ndata: {data}\n\n");
    let message = r#"{"id":"msg_1","type":"message","role":"assistant","model":"upstream-1","content":[],"usage":{"input_tokens":1}}"#;
    let begin = frame("message_start", &format!(r#"{{"type":"message_start","message":{message}}}"#));
    for (block, delta, allocations) in [
        (r#"{"type":"text","text":""}"#, r#"{"type":"text_delta","text":"Hello"}"#, 0),
        (r#"{"type":"text","text":""}"#, r#"{"type":"text_delta","text":"a\n\"b\""}"#, UNESCAPED),
        (r#"{"type":"thinking","thinking":"","signature":""}"#, r#"{"type":"thinking_delta","thinking":"Hmm"}"#, 0),
        (r#"{"type":"tool_use","id":"toolu_1","name":"look","input":{}}"#, r#"{"type":"input_json_delta","partial_json":"abc"}"#, 0),
        (
            r#"{"type":"tool_use","id":"toolu_1","name":"look","input":{}}"#,
            r#"{"type":"input_json_delta","partial_json":"{\"a\":"}"#,
            UNESCAPED,
        ),
    ] {
        let start = frame("content_block_start", &format!(r#"{{"type":"content_block_start","index":0,"content_block":{block}}}"#));
        let delta = frame("content_block_delta", &format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#));
        check(&AnthropicEgress::new(), &[&begin, &start], &delta, allocations);
    }
}

#[test]
fn gemini_allocates_for_the_lists_of_an_event_and_nothing_else() {
    // Its decoder reads along, and that reads three lists of every event: candidates, parts, and the fields of a part.
    const LISTS: u64 = 3 * PER_EVENT;
    // The text is kept, because citations count in its bytes and callers in its characters; its buffer doubles.
    const KEPT_TEXT: u64 = 10;
    let event = |part: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{part}],\"role\":\"model\"}},\"index\":0}}],\
             \"usageMetadata\":{{\"promptTokenCount\":8,\"candidatesTokenCount\":5,\"totalTokenCount\":13}},\
             \"modelVersion\":\"upstream-1\",\"responseId\":\"answer-1\"}}\r\n\r\n"
        )
    };
    check(&GeminiEgress::new(), &[], &event(r#"{"text":"Hello"}"#), LISTS + KEPT_TEXT);
    check(&GeminiEgress::new(), &[], &event(r#"{"text":"Hmm","thought":true}"#), LISTS);
}

#[test]
fn the_framer_allocates_nothing_however_the_stream_is_cut() {
    for end in ["\n", "\r\n"] {
        let event = format!("event: delta{end}data: {{\"text\":\"Hello\"}}{end}{end}");
        for size in [1, 7, event.len() - 1, event.len(), 3 * event.len() + 5] {
            check_framer(&event, size);
        }
    }
}

fn check_framer(event: &str, size: usize) {
    let stream = event.repeat(EVENTS);
    let mut framer = SseFramer::new();
    let mut frames = 0;
    let mut feed = |chunk: &[u8]| {
        framer
            .push(chunk, &mut |frame| {
                frames += usize::from(frame.name == Some("delta") && frame.data.ends_with(b"}"));
                Ok(())
            })
            .expect("the stream is sound");
    };
    // The buffer for split frames gets its room from the first frames that are split.
    let (first, rest) = stream.as_bytes().split_at(size * event.len() * 2);
    first.chunks(size).for_each(&mut feed);
    let counted = measure(|| rest.chunks(size).for_each(&mut feed));
    assert_eq!((frames, counted.count_total), (EVENTS, 0), "in chunks of {size}");
}
