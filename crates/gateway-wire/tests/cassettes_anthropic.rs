//! Properties of the Anthropic codec over recorded traffic.

#[path = "support/cassettes.rs"]
mod cassettes;

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use cassettes::Cassette;
use gateway_core::{
    Deployment, DeploymentId, Egress, FaultKind, Ingress, Losses, Memo, ModelLimits, OnLoss, Pricer, ProviderId, Quirks, Relay, RelayCtx,
    RenderCtx, RequestId, Signal, Target, Timeouts, Usage,
    ir::{ChatResponse, Event, PartBody},
    stream::{Fold, Transcoder},
};
use gateway_wire::{
    ANTHROPIC_MESSAGES,
    anthropic::{AnthropicEgress, AnthropicIngress},
};
use serde_json::{Map, Value, json};

const INGRESS: AnthropicIngress = AnthropicIngress::new();
const EGRESS: AnthropicEgress = AnthropicEgress::new();

#[test]
fn requests_are_written_again_as_they_were_meant() {
    each(&["anthropic.messages", "anthropic.count_tokens"], |cassette| {
        let sent = cassette.request.clone().unwrap_or_else(|| panic!("{}: no request", cassette.file));
        let body = sent.to_string();
        let head = http::Request::post(&cassette.path).body(()).expect("a head").into_parts().0;
        let peek = INGRESS.peek(&head, body.as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
        assert_eq!(Some(&*peek.model), sent["model"].as_str(), "{}", cassette.file);
        assert_eq!(peek.operation == gateway_core::Operation::CountTokens, cassette.api == "anthropic.count_tokens", "{}", cassette.file);
        let decoded = INGRESS.decode(&head, body.as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
        let deployment = deployment(&peek.model);
        let target = Target { deployment: &deployment, stream: peek.stream, output_limit: None };
        let mut losses = Losses::new();
        let encoded = EGRESS.encode(&decoded, &target, &mut losses).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
        assert!(losses.is_empty(), "{}: {losses:?}", cassette.file);
        let mut written: Value = serde_json::from_slice(&encoded.body).expect("JSON");
        if sent.get("max_tokens").is_none() {
            written.as_object_mut().expect("an object").remove("max_tokens");
        }
        assert_eq!(request_meaning(written), request_meaning(sent), "{}", cassette.file);
    });
}

#[test]
fn whole_answers_lose_nothing_and_their_usage_adds_up() {
    each(&["anthropic.messages"], |cassette| {
        if cassette.stream || cassette.status != 200 {
            return;
        }
        let answer = EGRESS.decode(&cassette.body, &Memo::default()).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
        let recorded: Value = serde_json::from_slice(&cassette.body).expect("JSON");
        check_usage(cassette, answer.usage.as_ref(), &recorded["usage"]);
        let mut losses = Losses::new();
        let shown: Value = serde_json::from_slice(&INGRESS.encode(&answer, &render(), &mut losses)).expect("JSON");
        assert!(losses.is_empty(), "{}: {losses:?}", cassette.file);
        assert_eq!(answer_meaning(shown), answer_meaning(renamed(recorded.clone())), "{}", cassette.file);

        let mut usage = None;
        let relayed = EGRESS
            .relay_whole(&relay_ctx(), Bytes::copy_from_slice(&cassette.body), &mut |signal| {
                if let Signal::Usage { usage: seen, .. } = signal {
                    usage = Some(seen);
                }
            })
            .unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
        assert_eq!(usage, answer.usage, "{}", cassette.file);
        assert_eq!(serde_json::from_slice::<Value>(&relayed).expect("JSON"), renamed(recorded), "{}", cassette.file);
    });
}

#[test]
fn streams_do_not_depend_on_how_they_are_split() {
    each(&["anthropic.messages"], |cassette| {
        if !cassette.stream || cassette.status != 200 {
            return;
        }
        let body = Bytes::copy_from_slice(&cassette.body);
        let whole = decode_stream(cassette, std::slice::from_ref(&body));
        for (step, offset) in [(1, 0), (7, 3), (64, 11), (1_000, 501)] {
            let chunks = chunks(&body, step, offset);
            assert_eq!(decode_stream(cassette, &chunks), whole, "{}: chunks of {step}", cassette.file);
            let relayed = play(&mut *EGRESS.relay(&relay_ctx()), &chunks, cassette);
            check_relay(cassette, &relayed);
        }
    });
}

#[test]
fn streams_fold_to_what_the_official_clients_would_build() {
    each(&["anthropic.messages"], |cassette| {
        if !cassette.stream || cassette.status != 200 {
            return;
        }
        let body = Bytes::copy_from_slice(&cassette.body);
        let built = built(&cassette.body);
        let folded = decode_stream(cassette, std::slice::from_ref(&body)).1;
        check_usage(cassette, folded.usage.as_ref(), &built["usage"]);
        let calls = folded.choices[0].parts.iter().any(|part| matches!(part.body, PartBody::ToolCall(_)));
        assert_eq!(calls, cassette.features.iter().any(|feature| feature == "tool_call_out"), "{}", cassette.file);
        let whole = EGRESS.decode(built.to_string().as_bytes(), &Memo::default()).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
        assert_eq!(parts(&folded), parts(&whole), "{}", cassette.file);
        assert_eq!(folded.choices[0].finish, whole.choices[0].finish, "{}", cassette.file);

        // And so does the stream we write from it.
        let encoder = INGRESS.event_encoder(&render());
        let mut relay = Transcoder::new(EGRESS.framer(), EGRESS.event_decoder(Memo::default()), encoder);
        let written = play(&mut relay, std::slice::from_ref(&body), cassette);
        let again = self::built(&written.0);
        assert_eq!(again["model"], "public", "{}", cassette.file);
        let again = EGRESS.decode(again.to_string().as_bytes(), &Memo::default()).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
        assert_eq!(parts(&again), non_empty(&parts(&whole)), "{}", cassette.file);
        assert_eq!(again.usage, whole.usage, "{}", cassette.file);
    });
}

#[test]
fn errors_are_classified() {
    each(&["anthropic.messages", "anthropic.count_tokens"], |cassette| {
        if cassette.status < 400 {
            return;
        }
        let mut head = http::Response::builder().status(cassette.status);
        for (name, value) in &cassette.headers {
            head = head.header(name, value.as_str().unwrap_or_default());
        }
        let head = head.body(()).expect("a head").into_parts().0;
        let fault = EGRESS.decode_fault(&head, &Bytes::copy_from_slice(&cassette.body));
        let expected = match cassette.status {
            401 => FaultKind::Unavailable,
            404 => FaultKind::NotFound,
            400 => FaultKind::InvalidRequest,
            other => panic!("{}: status {other} has no expectation yet", cassette.file),
        };
        assert_eq!(fault.kind(), expected, "{}", cassette.file);
        let (status, body) = INGRESS.encode_fault(&fault, RequestId::from_bytes([7; 16]));
        let forwarded = body == cassette.body;
        assert_eq!(forwarded, cassette.status != 401, "{}: the gateway's own key is nobody's business", cassette.file);
        assert_eq!(status.as_u16() == cassette.status, forwarded, "{}", cassette.file);
    });
}

fn each(apis: &[&str], check: impl Fn(&Cassette)) {
    for cassette in cassettes::load(apis).into_iter().flatten() {
        if cassette.provider == "anthropic" {
            check(&cassette);
        }
    }
}

fn deployment(model: &str) -> Deployment {
    Deployment {
        id: DeploymentId::new("d"),
        provider: ProviderId::new("p"),
        model: Arc::from("public"),
        upstream_model: Arc::from(model),
        protocol: ANTHROPIC_MESSAGES,
        weight: 1,
        limits: ModelLimits::default(),
        timeouts: Timeouts::default(),
        on_loss: OnLoss::Report,
        quirks: Quirks::default(),
        notice: None,
    }
}

fn render() -> RenderCtx {
    RenderCtx {
        request_id: RequestId::from_bytes([7; 16]),
        model: Arc::from("public"),
        created: 0,
        stream_usage: true,
        price: Pricer::default(),
    }
}

fn relay_ctx() -> RelayCtx {
    RelayCtx { render: render(), memo: Memo::default() }
}

/// A request without what the protocol itself does not tell apart.
fn request_meaning(mut request: Value) -> Value {
    if request["stream"] == json!(false) {
        request.as_object_mut().expect("an object").remove("stream");
    }
    let plain = |content: &mut Value| {
        if let [block] = content.as_array().map(Vec::as_slice).unwrap_or_default()
            && block.as_object().is_some_and(|block| block.len() == 2 && block["type"] == "text")
        {
            *content = block["text"].clone();
        }
    };
    if request.get("system").is_some() {
        plain(&mut request["system"]);
    }
    for message in request["messages"].as_array_mut().expect("messages") {
        plain(&mut message["content"]);
        for block in message["content"].as_array_mut().into_iter().flatten() {
            if block["type"] == "tool_result" && block.get("content").is_some() {
                plain(&mut block["content"]);
            }
        }
    }
    without_nulls(request)
}

fn answer_meaning(mut answer: Value) -> Value {
    let blocks = answer["content"].as_array_mut().expect("content");
    blocks.retain(|block| block["type"] != "text" || block["text"] != "");
    for block in blocks {
        if block["citations"] == json!([]) {
            block.as_object_mut().expect("a block").remove("citations");
        }
    }
    without_nulls(without_zero_counts(answer))
}

/// Counts of nothing that one of two writers leaves out.
fn without_zero_counts(mut answer: Value) -> Value {
    if let Some(split) = answer["usage"]["cache_creation"].as_object()
        && split.values().all(|n| n == 0)
    {
        answer["usage"].as_object_mut().expect("usage").remove("cache_creation");
    }
    answer
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn renamed(mut answer: Value) -> Value {
    answer["model"] = json!("public");
    answer
}

/// The sums of the field guide: what is billed as input and as output.
fn check_usage(cassette: &Cassette, usage: Option<&Usage>, recorded: &Value) {
    let usage = usage.unwrap_or_else(|| panic!("{}: no usage", cassette.file));
    let lists = match recorded["iterations"].as_array() {
        Some(iterations) if !iterations.is_empty() => iterations.iter().collect(),
        _ => vec![recorded],
    };
    let sum = |key: &str| lists.iter().map(|one| one[key].as_u64().unwrap_or(0)).sum::<u64>();
    let input = sum("input_tokens") + sum("cache_read_input_tokens") + sum("cache_creation_input_tokens");
    assert_eq!(usage.input_tokens(), input, "{}", cassette.file);
    assert_eq!(usage.output_tokens(), sum("output_tokens"), "{}", cassette.file);
    assert_eq!(usage.reported_output, Some(usage.output_tokens()), "{}", cassette.file);
    assert_eq!(usage.output_reasoning, recorded["output_tokens_details"]["thinking_tokens"].as_u64(), "{}", cassette.file);
}

fn chunks(body: &Bytes, step: usize, offset: usize) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let end = if at == 0 && offset > 0 { offset } else { at + step }.min(body.len());
        chunks.push(body.slice(at..end));
        at = end;
    }
    chunks
}

fn decode_stream(cassette: &Cassette, chunks: &[Bytes]) -> (String, ChatResponse) {
    let (mut framer, mut decoder) = (EGRESS.framer(), EGRESS.event_decoder(Memo::default()));
    let (mut text, mut fold) = (String::new(), Fold::new());
    let mut see = |event: Event<'_>| {
        text.push_str(&format!("{event:?}\n"));
        fold.push(&event).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
    };
    for chunk in chunks {
        framer.push(chunk, &mut |frame| decoder.decode(frame, &mut see)).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
    }
    framer.finish(&mut |frame| decoder.decode(frame, &mut see)).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
    decoder.finish(&mut see).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
    (text, fold.finish())
}

fn play(relay: &mut dyn Relay, chunks: &[Bytes], cassette: &Cassette) -> (Vec<u8>, Vec<Signal>) {
    let (mut out, mut signals) = (VecDeque::new(), Vec::new());
    for chunk in chunks {
        let pushed = relay.push(chunk.clone(), &mut out, &mut |signal| signals.push(signal));
        pushed.unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
    }
    relay.finish(&mut out, &mut |signal| signals.push(signal)).unwrap_or_else(|e| panic!("{}: {e}", cassette.file));
    (out.iter().flat_map(|bytes| bytes.iter().copied()).collect(), signals)
}

/// Every byte but the model's name.
fn check_relay(cassette: &Cassette, (relayed, signals): &(Vec<u8>, Vec<Signal>)) {
    let recorded = std::str::from_utf8(&cassette.body).expect("UTF-8");
    let model = built(&cassette.body)["model"].as_str().expect("a model").to_owned();
    let expected = recorded.replacen(&format!("\"model\":\"{model}\""), "\"model\":\"public\"", 1);
    assert_eq!(std::str::from_utf8(relayed).expect("UTF-8"), expected, "{}", cassette.file);
    let commits = signals.iter().filter(|signal| matches!(signal, Signal::Commit)).count();
    assert_eq!(commits, 1, "{}", cassette.file);
    assert!(signals.iter().any(|signal| matches!(signal, Signal::Usage { is_final: true, .. })), "{}", cassette.file);
    assert!(signals.iter().any(|signal| matches!(signal, Signal::Finish(_))), "{}", cassette.file);
}

fn parts(answer: &ChatResponse) -> Value {
    serde_json::to_value(&answer.choices[0].parts).expect("the canonical form is JSON")
}

fn non_empty(parts: &Value) -> Value {
    let parts = parts.as_array().expect("parts").iter();
    parts.filter(|part| part["body"]["text"]["text"] != "").cloned().collect()
}

/// Rebuilds the message from a stream's events, the way the official clients do.
fn built(stream: &[u8]) -> Value {
    let mut message = Value::Null;
    let mut inputs: Vec<String> = Vec::new();
    for line in std::str::from_utf8(stream).expect("UTF-8").lines() {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let event: Value = serde_json::from_str(data).expect("JSON");
        let index = usize::try_from(event["index"].as_u64().unwrap_or(0)).expect("an index");
        match event["type"].as_str().expect("a type") {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().expect("content");
                assert_eq!(content.len(), index, "blocks start in order");
                content.push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => grow(&mut message["content"][index], &mut inputs[index], &event["delta"]),
            "content_block_stop" if !inputs[index].is_empty() => {
                message["content"][index]["input"] = serde_json::from_str(&inputs[index]).expect("a tool's input");
            }
            "message_delta" => {
                for (key, value) in event["delta"].as_object().expect("a delta") {
                    message[key] = value.clone();
                }
                for (key, value) in event["usage"].as_object().expect("usage") {
                    message["usage"][key] = value.clone();
                }
            }
            _ => {}
        }
    }
    message
}

fn grow(block: &mut Value, input: &mut String, delta: &Value) {
    let append = |block: &mut Value, key: &str| {
        let text = format!("{}{}", block[key].as_str().unwrap_or_default(), delta[key].as_str().expect("text"));
        block[key] = json!(text);
    };
    match delta["type"].as_str().expect("a type") {
        "text_delta" => append(block, "text"),
        "thinking_delta" => append(block, "thinking"),
        "signature_delta" => block["signature"] = delta["signature"].clone(),
        "input_json_delta" => input.push_str(delta["partial_json"].as_str().expect("text")),
        "citations_delta" => {
            if !block["citations"].is_array() {
                block["citations"] = json!([]);
            }
            block["citations"].as_array_mut().expect("citations").push(delta["citation"].clone());
        }
        other => panic!("a delta of type {other}"),
    }
}
