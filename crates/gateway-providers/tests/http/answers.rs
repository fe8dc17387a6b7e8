//! What the provider may answer, and what becomes of it.

use gateway_core::{FaultKind, Meter, Reply, ReplyBody, Retry, ir::FinishReason};

use crate::{
    house::{House, is_stream, streamed, whole},
    upstream::{Act, Upstream, json, send, status, stream_head},
};

const WHOLE: &str = r#"{"text":"hi","n":1.50}"#;

#[tokio::test]
async fn a_whole_answer_of_the_same_protocol_is_forwarded_byte_for_byte() {
    let upstream = Upstream::always(vec![status("200 OK", "x-request-id: up-1\r\nset-cookie: a=b\r\n", WHOLE)]).await;
    let house = House::at(upstream.address);
    let call =
        whole().header("authorization", "Bearer callers").header("cookie", "c=d").header("traceparent", "00-1-2-3").header("x-odd", "1");
    let Reply { head, body, meter } = house.ask(call).await.expect("answered");
    assert!(matches!(body, ReplyBody::Whole(bytes) if bytes == WHOLE));
    assert_eq!(head.headers["x-bellwether-upstream-request-id"], "up-1");
    assert!(!head.headers.contains_key("set-cookie"));
    assert_eq!(meter.read(|reading| reading.finish), Some(FinishReason::Stop));

    let request = upstream.seen.requests().remove(0).to_ascii_lowercase();
    assert!(request.contains("authorization: bearer sk-aaaaaaaaaaaa1111"), "{request}");
    assert!(request.contains("accept-encoding: identity") && request.contains("traceparent: 00-1-2-3"), "{request}");
    assert!(!request.contains("callers") && !request.contains("cookie") && !request.contains("x-odd"), "{request}");
}

#[tokio::test]
async fn another_protocol_is_translated_whole_and_streamed() {
    let upstream = Upstream::start(|_, request| {
        if request.contains("\"stream\":true") {
            vec![stream_head(), send("text hel\ntext "), Act::Wait(5), send("lo\nend\n"), Act::Close]
        } else {
            vec![json(WHOLE)]
        }
    })
    .await;
    let house = House::other(upstream.address);
    assert!(house.text(whole()).await.expect("answered").contains("\"text\":\"hi\""));
    let text = house.text(streamed()).await.expect("answered");
    assert!(text.contains("\"hel\"") && text.contains("\"lo\"") && text.ends_with("{\"event\":\"done\"}\n"), "{text}");
    assert!(upstream.seen.requests().iter().all(|request| request.contains("\"encoded\":true")));
}

#[tokio::test]
async fn a_fault_keeps_the_providers_id_of_the_request() {
    let head = "x-request-id: up-9\r\nset-cookie: a=b\r\n";
    let half = "HTTP/1.1 200 OK\r\nx-request-id: up-9\r\ncontent-type: application/json\r\ncontent-length: 400\r\n\r\n{";
    for acts in
        [vec![status("500 Internal Server Error", head, "{}")], vec![status("200 OK", head, "not JSON")], vec![send(half), Act::Close]]
    {
        let upstream = Upstream::always(acts.clone()).await;
        let fault = House::at(upstream.address).ask(whole()).await.map(drop).expect_err("no answer");
        let names: Vec<_> = fault.headers().keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["x-bellwether-upstream-request-id"], "{fault:?}");
        assert_eq!(fault.headers()["x-bellwether-upstream-request-id"], "up-9");
    }
}

/// Sends `acts` to a call and compares the fault with `kind`.
async fn fails(acts: Vec<Act>, stream: bool, kind: FaultKind, retry: Retry, says: &str) {
    for same_protocol in [true, false] {
        let upstream = Upstream::always(acts.clone()).await;
        let house = if same_protocol { House::at(upstream.address) } else { House::other(upstream.address) };
        let fault = house.text(if stream { streamed() } else { whole() }).await.expect_err(says);
        assert_eq!((fault.kind(), fault.retry()), (kind, retry), "{says}: {fault:?}");
        let told = format!("{fault} {:?}", std::error::Error::source(&fault).map(ToString::to_string));
        assert!(told.contains(says), "`{told}` should say `{says}`");
        assert!(!told.contains("sk-a"), "{told}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_fault_and_the_next_deployment_is_tried() {
    let bad = |acts, stream, says| fails(acts, stream, FaultKind::BadUpstream, Retry::NextDeployment, says);
    for stream in [false, true] {
        bad(vec![status("302 Found", "location: http://elsewhere/\r\n", "")], stream, "redirect 302").await;
        bad(vec![status("200 OK", "content-encoding: gzip\r\n", WHOLE)], stream, "compressed").await;
        let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n<p/>";
        bad(vec![send(html)], stream, "text/html").await;
    }
    bad(vec![json(r#"{"text":"h"#)], false, "valid for its protocol").await;
    bad(vec![json(r#"{"other":1}"#)], false, "valid for its protocol").await;

    // Only a decoder notices; what a relay forwards is its codec's to judge.
    let upstream = Upstream::always(vec![stream_head(), send("what\n"), Act::Close]).await;
    let fault = House::other(upstream.address).text(streamed()).await.expect_err("not a line of the house");
    assert_eq!(fault.kind(), FaultKind::BadUpstream);
}

#[tokio::test]
async fn an_answer_that_lies_about_its_length_is_never_a_clean_end() {
    let bad = |acts, stream, says| fails(acts, stream, FaultKind::BadUpstream, Retry::NextDeployment, says);
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    bad(vec![send(head(100)), send(WHOLE), Act::Close], false, "broke its answer off").await;
    bad(vec![send(head(10)), send(WHOLE)], false, "valid for its protocol").await;
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    bad(vec![send(chunked), send(format!("{:x}\r\n{WHOLE}\r\n", WHOLE.len())), Act::Close], false, "broke its answer off").await;
    bad(vec![send(chunked), send("zz\r\nx")], false, "broke its answer off").await;
    bad(vec![stream_head(), Act::Close], true, "").await;
}

#[tokio::test]
async fn an_error_inside_a_200_is_a_fault() {
    let error = r#"{"error":{"kind":"full"}}"#;
    for stream in [false, true] {
        fails(vec![json(error)], stream, FaultKind::Overloaded, Retry::NextDeployment, "the house is full").await;
    }
}

#[tokio::test]
async fn a_stream_answered_whole_is_told_as_a_stream() {
    let upstream = Upstream::always(vec![json(WHOLE)]).await;
    for house in [House::at(upstream.address), House::other(upstream.address)] {
        let mut reply = house.ask(streamed()).await.expect("answered");
        assert!(is_stream(&reply));
        reply.commit().await.expect("it has content");
        let meter: Meter = reply.meter.clone();
        let text = gateway_core::testing::read_body(reply).await;
        assert!(String::from_utf8_lossy(&text).contains("\"hi\""), "{text:?}");
        assert_eq!(meter.read(|reading| reading.usage.output_text), Some(1));
    }
}

#[tokio::test]
async fn errors_are_read_up_to_64_kib_and_answers_up_to_32_mib() {
    let long = "x".repeat(1_024 * 1_024);
    let error = "HTTP/1.1 500 Oh\r\nconnection: close\r\n\r\n";
    fails(vec![send(error), send(long.clone()), Act::Close], false, FaultKind::UpstreamError, Retry::SameDeployment, "65536 bytes").await;
    let announced = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", 33 * 1_024 * 1_024);
    fails(vec![send(announced)], false, FaultKind::BadUpstream, Retry::NextDeployment, "32 MiB").await;
    let endless =
        std::iter::once(send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n\"")).chain((0..33).map(|_| send(long.clone())));
    fails(endless.collect(), false, FaultKind::BadUpstream, Retry::NextDeployment, "32 MiB").await;
}

#[tokio::test]
async fn a_compressed_error_still_says_what_its_status_says() {
    let refused = status("429 Slow", "content-encoding: gzip\r\nretry-after: 2\r\n", "\x1f");
    fails(vec![refused], false, FaultKind::RateLimited, Retry::SameDeployment, "with 0 bytes").await;
}

#[tokio::test]
async fn losses_are_reported_or_refused_before_anything_is_sent() {
    let upstream = Upstream::always(vec![json(WHOLE)]).await;
    let house = House::other(upstream.address);
    let reply = house.ask(whole().with("tools", vec!["clock"])).await.expect("losses are reported");
    assert_eq!(reply.head.losses.to_header(), "tools[0];unsupported");
    let fault = house.ask(whole().with("tools", vec!["clock"]).with("strict", true)).await.err().expect("strict refuses");
    assert_eq!((fault.status().as_u16(), fault.code()), (400, Some("losses_refused")));
    assert!(fault.message().contains("tools[0]"), "{fault}");
    assert_eq!(upstream.seen.requests().len(), 1);
}

#[tokio::test]
async fn a_count_of_tokens_is_passed_through_untouched() {
    let upstream = Upstream::always(vec![json(r#"{"input_tokens":7}"#)]).await;
    let text = House::at(upstream.address).text(whole().with("operation", "count_tokens")).await.expect("passed");
    assert_eq!(text, r#"{"input_tokens":7}"#);
    let fault = House::other(upstream.address).text(whole().with("operation", "count_tokens")).await.expect_err("another protocol");
    assert_eq!((fault.kind(), fault.retry()), (FaultKind::NotFound, Retry::NextDeployment));
}
