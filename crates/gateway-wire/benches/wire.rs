//! What the codecs cost: the scan and the splice of a request, a relayed stream, and a transcoded stream per pair.

use std::{collections::VecDeque, hint::black_box, sync::Arc};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gateway_core::{Egress, Ingress, Memo, Pricer, Relay, RelayCtx, RenderCtx, RequestId, stream::Transcoder};
use gateway_wire::{
    anthropic::{AnthropicEgress, AnthropicIngress},
    gemini::GeminiEgress,
    json::top_level,
    openai_chat::{OpenAiChatEgress, OpenAiChatIngress},
    splice::Splice,
};

fn render() -> RenderCtx {
    RenderCtx {
        request_id: RequestId::from_bytes([7; 16]),
        model: Arc::from("public-model"),
        created: 0,
        stream_usage: true,
        price: Pricer::default(),
    }
}

fn requests(c: &mut Criterion) {
    let text = "words of a prompt, \\\"quoted\\\" and not; ".repeat(100);
    let body = format!(r#"{{"model":"public-model","temperature":0.7,"messages":[{{"role":"user","content":"{text}"}}],"stream":true}}"#);
    let spans = top_level(body.as_bytes()).expect("the body is well-formed");
    let head = http::Request::new(()).into_parts().0;
    let mut group = c.benchmark_group("request");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("peek", |b| b.iter(|| OpenAiChatIngress::new().peek(&head, black_box(body.as_bytes()))));
    group.bench_function("splice", |b| {
        b.iter(|| {
            let mut splice = Splice::new(black_box(body.as_bytes()), &spans);
            splice.set_str("model", "upstream-model");
            splice.set("stream_options", r#"{"include_usage":true}"#);
            splice.apply()
        });
    });
    group.finish();
}

/// A stream of 64 text events in the provider's protocol, one chunk an event.
fn chunks(protocol: &str) -> Vec<Bytes> {
    let chat = |delta: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"upstream\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let mut events = Vec::new();
    match protocol {
        "openai-chat" => {
            events.extend((0..64).map(|_| chat("{\"content\":\"some words \"}", "null")));
            events.extend([chat("{}", "\"stop\""), "data: [DONE]\n\n".to_owned()]);
        }
        "anthropic-messages" => {
            events.push("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"upstream\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n".to_owned());
            events.push("event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n".to_owned());
            events.extend((0..64).map(|_| "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"some words \"}}\n\n".to_owned()));
            events.push("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n".to_owned());
            events.push("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":64}}\n\n".to_owned());
            events.push("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned());
        }
        _ => {
            let part = |finish: &str| {
                format!(
                    "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"some words \"}}],\"role\":\"model\"}}{finish},\"index\":0}}],\"modelVersion\":\"upstream\"}}\r\n\r\n"
                )
            };
            events.extend((0..63).map(|_| part("")));
            events.push(part(",\"finishReason\":\"STOP\""));
        }
    }
    events.into_iter().map(Bytes::from).collect()
}

fn run(mut relay: Box<dyn Relay>, chunks: &[Bytes]) -> usize {
    let mut out = VecDeque::new();
    let mut bytes = 0;
    for chunk in chunks {
        relay.push(chunk.clone(), &mut out, &mut |_| {}).expect("the stream is good");
        bytes += out.drain(..).map(|chunk| chunk.len()).sum::<usize>();
    }
    relay.finish(&mut out, &mut |_| {}).expect("the stream ends well");
    bytes + out.iter().map(Bytes::len).sum::<usize>()
}

fn streams(c: &mut Criterion) {
    let ingresses: [Box<dyn Ingress>; 2] = [Box::new(OpenAiChatIngress::new()), Box::new(AnthropicIngress::new())];
    let egresses: [Box<dyn Egress>; 3] =
        [Box::new(OpenAiChatEgress::new()), Box::new(AnthropicEgress::new()), Box::new(GeminiEgress::new())];
    let mut group = c.benchmark_group("64-events");
    for egress in &egresses {
        let chunks = chunks(egress.protocol().as_str());
        let ctx = RelayCtx { render: render(), memo: Memo::default() };
        group.bench_function(format!("relay/{}", egress.protocol()), |b| {
            b.iter_batched(|| egress.relay(&ctx), |relay| run(relay, black_box(&chunks)), BatchSize::SmallInput);
        });
        for ingress in &ingresses {
            group.bench_function(format!("transcode/{}-to-{}", egress.protocol(), ingress.protocol()), |b| {
                let make = || -> Box<dyn Relay> {
                    Box::new(Transcoder::new(egress.framer(), egress.event_decoder(Memo::default()), ingress.event_encoder(&ctx.render)))
                };
                b.iter_batched(make, |relay| run(relay, black_box(&chunks)), BatchSize::SmallInput);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, requests, streams);
criterion_main!(benches);
