use gateway_core::{Pricer, Quirks, RenderCtx, RequestId};
use serde_json::json;

use super::*;
use crate::gemini::tests::{deployment, lines};

fn ctx() -> RelayCtx {
    let render = RenderCtx {
        request_id: RequestId::from_bytes([7; 16]),
        model: "publ\"ic".into(),
        created: 0,
        stream_usage: true,
        price: Pricer::default(),
    };
    RelayCtx { render, memo: Memo::default() }
}

/// Relays the stream in chunks of `size`; the text, the signals and the fault.
fn relayed(stream: &str, size: usize) -> (String, Vec<Signal>, Option<FaultKind>) {
    let mut relay = Stream::new(&ctx());
    let (mut out, mut signals) = (VecDeque::new(), Vec::new());
    let mut result = Ok(());
    for chunk in stream.as_bytes().chunks(size) {
        result = result.and_then(|()| relay.push(Bytes::copy_from_slice(chunk), &mut out, &mut |signal| signals.push(signal)));
    }
    result = result.and_then(|()| relay.finish(&mut out, &mut |signal| signals.push(signal)));
    if let Err(fault) = &result {
        relay.interrupt(fault, &mut out);
    }
    let bytes: Vec<u8> = out.iter().flat_map(|chunk| chunk.iter().copied()).collect();
    (String::from_utf8(bytes).unwrap(), signals, result.err().map(|fault| fault.kind()))
}

const FIRST: &str = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"a\"}]}}],\"modelVersion\" : \"m\",\"x\":1.0}\r\n\r\n";
const LAST: &str =
    "data:{\"candidates\":[{\"finishReason\":\"STOP\"}],\ndata: \"modelVersion\":\"m\",\"usageMetadata\":{\"promptTokenCount\":1}}\n\n";

#[test]
fn only_the_models_name_changes() {
    let stream = format!(": hello\n\n{FIRST}{LAST}");
    let (text, signals, fault) = relayed(&stream, usize::MAX);
    assert_eq!(fault, None);
    let last = "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\r\ndata: \"modelVersion\":\"publ\\\"ic\",\"usageMetadata\":{\"promptTokenCount\":1}}\r\n\r\n";
    assert_eq!(text, format!(": hello\n\n{}{last}", FIRST.replace("\"m\"", "\"publ\\\"ic\"")));
    let is_final = |signal: &Signal| matches!(signal, Signal::Usage { is_final: true, .. });
    assert_eq!(signals.iter().filter(|signal| is_final(signal)).count(), 1);
    assert_eq!(signals.iter().filter(|signal| matches!(signal, Signal::Commit)).count(), 1);
    for size in [1, 2, 7, 64] {
        assert_eq!(relayed(&stream, size), (text.clone(), signals.clone(), None), "{size}");
    }
}

#[test]
fn a_cut_and_an_error_end_in_an_error_event() {
    let (text, _, fault) = relayed(FIRST, usize::MAX);
    assert_eq!(fault, Some(FaultKind::BadUpstream));
    assert!(text.contains("\"status\":\"INTERNAL\"") && text.ends_with("}}\r\n\r\n"), "{text}");
    let error = "data: {\"error\":{\"code\":429,\"message\":\"m\",\"status\":\"RESOURCE_EXHAUSTED\"}}\n\n";
    let (text, _, fault) = relayed(error, usize::MAX);
    assert_eq!(fault, Some(FaultKind::RateLimited));
    assert!(text.starts_with("data: {\"error\":{\"code\":429,"), "{text}");
    let half = &FIRST[..FIRST.len() - 20];
    assert_eq!(relayed(half, usize::MAX).2, Some(FaultKind::BadUpstream));
}

#[test]
fn a_whole_answer_keeps_every_other_byte() {
    let body = r#"{"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}], "modelVersion": "m" , "x": 1.50}"#;
    let mut signals = Vec::new();
    let out = whole(&ctx(), &Bytes::from(body), &mut |signal| signals.push(signal)).unwrap();
    assert_eq!(out, body.replace("\"m\"", "\"publ\\\"ic\""));
    assert!(signals.contains(&Signal::Content { bytes: 1 }));
    let refused = json!({"promptFeedback": {"blockReason": "SAFETY"}}).to_string();
    assert_eq!(whole(&ctx(), &Bytes::from(refused), &mut |_| {}).unwrap_err().kind(), FaultKind::ContentFiltered);
    for broken in ["", "{}", "[]", "nonsense", r#"{"candidates": [{}]}"#] {
        assert_eq!(whole(&ctx(), &Bytes::from(broken), &mut |_| {}).unwrap_err().kind(), FaultKind::BadUpstream, "{broken}");
    }
}

/// Edits the caller's body; what goes up and the losses.
fn forwarded(body: &str, change: impl FnOnce(&mut Peek), quirks: Quirks, paid: Option<u32>) -> Option<(String, Vec<String>)> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let mut peek = Peek { spans: top_level(&body).unwrap(), ..Peek::chat("public") };
    change(&mut peek);
    let deployment = deployment(quirks);
    let mut losses = Losses::new();
    let target = Target { deployment: &deployment, stream: false, output_limit: paid };
    let bytes = edited(&body, &peek, &target, &mut losses)?;
    Some((String::from_utf8(bytes.to_vec()).unwrap(), lines(&losses)))
}

#[test]
fn a_callers_own_body_goes_up_as_it_is() {
    let body = r#"{"contents": [ ],"generationConfig":{"topK":1.0}}"#;
    assert_eq!(forwarded(body, |_| {}, Quirks::default(), None), Some((body.to_owned(), vec![])));
    let controls = r#"{"model": "public", "contents": [ ],"strict": true,"models":["a"],"generationConfig":{"topK":1.0}}"#;
    assert_eq!(forwarded(controls, |_| {}, Quirks::default(), None), Some((body.to_owned(), vec![])));
    let narrow = Quirks { accepted_keys: vec!["contents".into()], ..Quirks::default() };
    let left = (r#"{"contents": [ ]}"#.to_owned(), vec!["generationConfig;unsupported".to_owned()]);
    assert_eq!(forwarded(body, |_| {}, narrow, None), Some(left));
}

#[test]
fn what_stands_deeper_needs_the_slow_path() {
    let body = r#"{"contents": []}"#;
    let limited = |peek: &mut Peek| peek.output_limit = Some(100);
    assert!(forwarded(body, limited, Quirks::default(), Some(100)).is_some());
    assert_eq!(forwarded(body, limited, Quirks::default(), Some(99)), None, "the limit stands in generationConfig");
    assert_eq!(forwarded(body, |_| {}, Quirks::default(), Some(99)), None);
    assert_eq!(forwarded(body, |_| {}, Quirks { no_sampling: true, ..Quirks::default() }, None), None);
    assert_eq!(forwarded(body, |peek| peek.foreign_seal = true, Quirks::default(), None), None);
}
