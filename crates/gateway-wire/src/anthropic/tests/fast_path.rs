//! Peeking, forwarding and relaying: bytes in, the same bytes out, but for what must change.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use gateway_core::{CallContext, Clock, FaultKind, KeyId, Mode, Operation, OrgId, Principal, SystemClock};

use super::*;

fn head(path: &str, headers: &[(&str, &str)]) -> RequestParts {
    let mut request = http::Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn peek(path: &str, headers: &[(&str, &str)], body: &str) -> Result<Peek, WireError> {
    AnthropicIngress::new().peek(&head(path, headers), body.as_bytes())
}

#[test]
fn peek_reads_the_top_level() {
    let body = r#"{"stream":true,"model":"a","mod\u0065l":"b","max_tokens":7,"fallbacks":["x"],"strict":true,"messages":[{"role":"user","content":"Hi"}],"tools":[{}]}"#;
    let found = peek("/v1/messages?beta=true", &[("x-bellwether-fallbacks", "none")], body).unwrap();
    assert_eq!((found.operation, &*found.model, found.stream, found.output_limit), (Operation::Chat, "b", true, Some(7)));
    assert!(found.controls.disable_fallbacks && found.controls.strict && found.stream_usage && !found.foreign_seal);
    assert_eq!(found.controls.fallbacks.as_deref(), Some(&["x".into()][..]));
    assert_eq!((found.choices, found.input.items, found.input.media), (1, 2, 0));
    let counted = peek("/v1/messages/count_tokens", &[("x-bellwether-strict", "true")], r#"{"model":"a","messages":[]}"#).unwrap();
    assert_eq!((counted.operation, counted.controls.strict), (Operation::CountTokens, true));
    let listed = peek("/v1/messages", &[], r#"{"models":["m1","m2"],"messages":[]}"#).unwrap();
    assert_eq!(&*listed.model, "m1");
}

#[test]
fn an_image_is_media_not_text() {
    let data = "A".repeat(40_000);
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}]}}]}}"#
    );
    let found = peek("/v1/messages", &[], &body).unwrap();
    assert_eq!((found.input.media, found.input.media_bytes), (1, 30_000));
    assert!(found.input.text_bytes < 200);
}

#[test]
fn tools_that_the_provider_runs_are_seen() {
    let uses = |body: &str| peek("/v1/messages", &[], &format!(r#"{{"model":"m",{body}}}"#)).unwrap().input.provider_tool_uses;
    assert_eq!(uses(r#""tools":[{"name":"a"},{"type":"custom","name":"b"},{"type":"text_editor_20250728","name":"c"}]"#), 0);
    assert_eq!(uses(r#""tools":[{"type":"web_search_20250305","name":"web_search","max_uses":20}]"#), 20);
    assert_eq!(uses(r#""mcp_servers":[{"type":"url","url":"https://a.example","name":"a"}]"#), 10);
}

#[test]
fn peek_refuses_with_the_fields_name() {
    for (body, path) in [
        (r#"{"messages":[]}"#, Some("model")),
        (r#"{"model":7}"#, Some("model")),
        (r#"{"model":"m","stream":"yes"}"#, Some("stream")),
        (r#"{"model":"m","max_tokens":-1}"#, Some("max_tokens")),
        (r#"{"model":"m","models":[1]}"#, Some("models[0]")),
        ("[]", None),
        ("", None),
    ] {
        assert_eq!(peek("/v1/messages", &[], body).unwrap_err().path.as_deref(), path, "{body}");
    }
}

fn forwarded(path: &str, body: &str, quirks: Quirks, paid: Option<u32>) -> (Option<String>, Vec<String>) {
    let ingress: Arc<dyn Ingress> = Arc::new(AnthropicIngress::new());
    let head = head(path, &[]);
    let peek = ingress.peek(&head, body.as_bytes()).unwrap();
    let principal = Principal::new(OrgId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]), Mode::Live);
    let now = SystemClock.monotonic();
    let ctx = CallContext {
        request_id: RequestId::from_bytes([7; 16]),
        principal: Arc::new(principal),
        received_at: SystemTime::UNIX_EPOCH,
        read_at: now,
        deadline: now + Duration::from_secs(1),
    };
    let stream = peek.stream;
    let call = Call::new(ctx, ingress, head, Bytes::copy_from_slice(body.as_bytes()), peek);
    let deployment = deployment(quirks);
    let target = Target { deployment: &deployment, stream, output_limit: paid };
    let mut losses = Losses::new();
    let encoded = AnthropicEgress::new().forward(&call, &target, &mut losses);
    (encoded.map(|encoded| String::from_utf8(encoded.body.to_vec()).unwrap()), lost(&losses))
}

fn check_forward(body: &str, quirks: Quirks, paid: Option<u32>, expected: Option<&str>, losses: &[&str]) {
    let (body, lost) = forwarded("/v1/messages", body, quirks, paid);
    assert_eq!((body.as_deref(), lost.iter().map(String::as_str).collect::<Vec<_>>()), (expected, losses.to_vec()));
}

#[test]
fn only_what_must_change_changes() {
    let none = Quirks::default;
    check_forward(
        r#"{ "model":"m", "strict":true,"max_tokens": 9,"x":1.50,"messages":[ ] }"#,
        none(),
        None,
        Some(r#"{ "model":"upstream","max_tokens": 9,"x":1.50,"messages":[ ] }"#),
        &[],
    );
    check_forward(r#"{"model":"m","max_tokens":9}"#, none(), Some(4), Some(r#"{"model":"upstream","max_tokens":4}"#), &[]);
    // The protocol demands a limit.
    check_forward(r#"{"model":"m"}"#, none(), Some(4), Some(r#"{"model":"upstream","max_tokens":4}"#), &[]);
    let no_sampling = Quirks { no_sampling: true, ..none() };
    check_forward(
        r#"{"model":"m","max_tokens":9,"temperature":1,"top_p":null}"#,
        no_sampling,
        None,
        Some(r#"{"model":"upstream","max_tokens":9}"#),
        &["temperature;refused_by_model"],
    );
    let filtered = Quirks { accepted_keys: vec!["model".into(), "max_tokens".into(), "messages".into()], ..none() };
    check_forward(
        r#"{"model":"m","max_tokens":9,"strict":true,"speed":"fast","messages":[]}"#,
        filtered,
        None,
        Some(r#"{"model":"upstream","max_tokens":9,"messages":[]}"#),
        &["speed;unsupported"],
    );
}

#[test]
fn nested_changes_take_the_long_way() {
    let none = Quirks::default;
    let thinks = r#"{"model":"m","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":4000},"messages":[]}"#;
    check_forward(thinks, none(), Some(4_000), None, &[]);
    check_forward(thinks, Quirks { thinking_by_effort: true, ..none() }, None, None, &[]);
    let sealed = r#"{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"bw1.gemini.QQ"}]}]}"#;
    check_forward(sealed, none(), None, None, &[]);
    let shaped = r#"{"model":"m","max_tokens":9,"messages":[],"output_config":{"format":{"type":"json_schema","schema":{}}}}"#;
    check_forward(shaped, Quirks { schema_by_forced_tool: true, ..none() }, None, None, &[]);
}

#[test]
fn a_count_carries_no_limit_and_no_foreign_seal() {
    let count = "/v1/messages/count_tokens";
    let (body, _) = forwarded(count, r#"{"model":"m","messages":[]}"#, Quirks::default(), Some(5));
    assert_eq!(body.as_deref(), Some(r#"{"model":"upstream","messages":[]}"#));
    let sealed = r#"{"model":"m","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"bw1.gemini.QQ"},{"type":"text","text":"x"}]}]}"#;
    let (body, lost) = forwarded(count, sealed, Quirks::default(), Some(5));
    assert_eq!(
        body.as_deref(),
        Some(r#"{"model":"upstream","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"x"}]}"#)
    );
    assert_eq!(lost, ["messages[1].content[0];foreign"]);
}

fn whole(body: &'static str) -> (Result<String, FaultKind>, usize) {
    let mut signals = 0;
    let ctx = RelayCtx { render: ctx(), memo: Memo::default() };
    let relayed = AnthropicEgress::new().relay_whole(&ctx, Bytes::from_static(body.as_bytes()), &mut |_| signals += 1);
    (relayed.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).map_err(|fault| fault.kind()), signals)
}

#[test]
fn whole_answers_change_their_model_only() {
    let (relayed, signals) = whole(
        r#"{ "x":1.50, "model" : "up", "content":[{"type":"text","text":"\u0048i"}],"stop_reason":"end_turn","usage":{"output_tokens":1} }"#,
    );
    let expected = r#"{ "x":1.50, "model" : "public", "content":[{"type":"text","text":"\u0048i"}],"stop_reason":"end_turn","usage":{"output_tokens":1} }"#;
    assert_eq!((relayed.as_deref(), signals), (Ok(expected), 3));
    assert_eq!(whole(r#"{"input_tokens":5}"#), (Ok(r#"{"input_tokens":5}"#.to_owned()), 0), "a count is free");
    assert_eq!(whole(r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#).0, Err(FaultKind::Overloaded));
    for broken in ["", "[]", "{}", r#"{"model":"m"}"#, r#"{"model":"m","content":7}"#, r#"{"model":"m","content":[]"#] {
        assert_eq!(whole(broken).0, Err(FaultKind::BadUpstream), "{broken}");
    }
}

/// What a relay sends for `stream`, given at once.
fn relayed(stream: &str) -> (String, Result<(), FaultKind>, Vec<Signal>) {
    let mut relay = AnthropicEgress::new().relay(&RelayCtx { render: ctx(), memo: Memo::default() });
    let (mut out, mut signals) = (VecDeque::new(), Vec::new());
    let pushed = relay.push(Bytes::copy_from_slice(stream.as_bytes()), &mut out, &mut |signal| signals.push(signal));
    let ended = pushed.and_then(|()| relay.finish(&mut out, &mut |signal| signals.push(signal)));
    let bytes: Vec<u8> = out.into_iter().flatten().collect();
    (String::from_utf8(bytes).unwrap(), ended.map_err(|fault| fault.kind()), signals)
}

#[test]
fn odd_framing_is_relayed_as_it_came() {
    let stream = ": hello\n\nevent: message_start\r\ndata:{\"type\":\"message_start\",\"message\":{\"model\":\"up\"}}\r\n\r\nevent: later\ndata: {\"type\":\"later\"}\n\ndata: {\"type\":\"message_stop\"}\n\n";
    let (text, ended, signals) = relayed(stream);
    assert_eq!(ended, Ok(()));
    assert_eq!(text, stream.replace("\"up\"", "\"public\""));
    assert_eq!(signals, []);
}

#[test]
fn the_terminator_waits_for_the_end() {
    let mut relay = AnthropicEgress::new().relay(&RelayCtx { render: ctx(), memo: Memo::default() });
    let mut out = VecDeque::new();
    relay
        .push(
            Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
            &mut out,
            &mut |_| {},
        )
        .unwrap();
    assert_eq!(out.len(), 1);
    relay.finish(&mut out, &mut |_| {}).unwrap();
    assert_eq!(out.len(), 2);
}

#[test]
fn broken_streams_are_the_providers_failure() {
    for broken in [
        "data: not json\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":3,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\"}}\n\n",
        "data: {\"type\":\"message_start\",\"message\":{\"model\":\"up\"}}\n\n",
        "",
    ] {
        assert_eq!(relayed(broken).1, Err(FaultKind::BadUpstream), "{broken}");
    }
    let (_, ended, _) = relayed("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"x\"}}\n\n");
    assert_eq!(ended, Err(FaultKind::RateLimited));
}
