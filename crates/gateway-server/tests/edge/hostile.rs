use gateway_core::testing::{Act, Beat};
use gateway_server::{BodyLimits, ServerLimits};

use crate::{
    hangup::{beginning, hanging_stream},
    server::{Edge, KEY, Setup, ms},
    wire::{CHAT, CHAT_PATH, Caller, STREAM, get, once, post},
};

fn limits() -> Setup {
    Setup {
        limits: ServerLimits { header_read: ms(200), idle: ms(600), write_stall: ms(200), header_bytes: 16_384, ..ServerLimits::default() },
        body: BodyLimits { bytes: 65_536, read: ms(200), drain: ms(500) },
        ..Setup::default()
    }
}

#[tokio::test]
async fn garbage_is_refused_and_the_server_lives() {
    let edge = Edge::with(Act::text("hi"), limits());
    for garbage in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX", "\x16\x03\x01\x02\x00", "GET / HTTP/9.9\r\n\r\n", "{}\n\n"]
    {
        let mut caller = Caller::to(edge.address).await;
        caller.send(garbage).await;
        let said = caller.rest().await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{garbage:?}: {said}");
    }
    assert_eq!(once(edge.address, get("/healthz", "")).await.status, 200);
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_431() {
    let edge = Edge::with(Act::text("hi"), limits());
    let mut caller = Caller::to(edge.address).await;
    caller.send(get("/healthz", &format!("x-large: {}\r\n", "x".repeat(20_000)))).await;
    assert!(caller.rest().await.starts_with("HTTP/1.1 431"));
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let mut caller = Caller::to(edge.address).await;
    caller.send(get("/healthz", &many)).await;
    assert!(caller.rest().await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_head_that_does_not_end_is_given_up() {
    let edge = Edge::with(Act::text("hi"), limits());
    for beginning in ["", "P", "PRI * HT", "GET / HTTP/1.1\r\nhost: "] {
        let mut caller = Caller::to(edge.address).await;
        caller.send(beginning).await;
        let closed = tokio::time::timeout(ms(500), caller.rest()).await;
        assert!(closed.is_ok(), "`{beginning}` keeps its connection");
    }
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_limit_but_not_the_idle_limit() {
    let edge = Edge::with(Act::text("hi"), limits());
    let mut caller = Caller::to(edge.address).await;
    for _ in 0..3 {
        caller.send(post(CHAT_PATH, CHAT)).await;
        assert_eq!(caller.answer().await.status, 200);
        tokio::time::sleep(ms(300)).await;
    }
    caller.send("POST /v1").await;
    let closed = tokio::time::timeout(ms(450), caller.rest()).await;
    assert!(closed.is_ok(), "a second head that does not end is given up at the head's limit");
    let mut caller = Caller::to(edge.address).await;
    caller.send(post(CHAT_PATH, CHAT)).await;
    caller.answer().await;
    assert!(tokio::time::timeout(ms(450), caller.rest()).await.is_err(), "idle for less than the limit");
    assert!(tokio::time::timeout(ms(450), caller.rest()).await.is_ok(), "idle for more than the limit");
}

#[tokio::test]
async fn a_long_answer_is_not_idleness() {
    let edge = Edge::with(Act::text("hi").after(ms(900)), limits());
    assert_eq!(once(edge.address, post(CHAT_PATH, CHAT)).await.status, 200);
}

#[tokio::test]
async fn a_413_can_be_read_by_who_is_still_writing() {
    let edge = Edge::with(Act::text("hi"), limits());
    let mut caller = Caller::to(edge.address).await;
    caller.send(post(CHAT_PATH, &"x".repeat(5_000_000))).await;
    let answer = caller.answer().await;
    assert_eq!((answer.status, answer.message().contains("65536")), (413, true), "{}", answer.body);
    caller.send(post(CHAT_PATH, CHAT)).await;
    assert_eq!(caller.answer().await.status, 200, "the connection is still good");
}

#[tokio::test]
async fn an_unannounced_body_is_limited_too() {
    let edge = Edge::with(Act::text("hi"), limits());
    let mut caller = Caller::to(edge.address).await;
    caller.send(format!("POST {CHAT_PATH} HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\n")).await;
    for _ in 0..20 {
        caller.send(format!("4000\r\n{}\r\n", "x".repeat(0x4000))).await;
    }
    caller.send("0\r\n\r\n").await;
    assert_eq!(caller.answer().await.status, 413);
    assert_eq!(edge.provider.count(), 0);
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together() {
    let edge = Edge::with(Act::text("hi"), limits());
    let mut caller = Caller::to(edge.address).await;
    caller.send(format!("POST {CHAT_PATH} HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\n")).await;
    for byte in CHAT.chars() {
        caller.send(format!("1\r\n{byte}\r\n")).await;
    }
    caller.send("0\r\n\r\n").await;
    assert_eq!(caller.answer().await.status, 200);
    assert_eq!(edge.provider.seen()[0].call.body(), CHAT);
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let edge = Edge::with(Act::text("hi"), limits());
    let mut caller = Caller::to(edge.address).await;
    caller.send(format!("POST {CHAT_PATH} HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\ncontent-length: 100\r\n\r\n{{")).await;
    let answer = caller.answer().await;
    assert_eq!(answer.status, 408, "{}", answer.body);
}

#[tokio::test]
async fn who_waits_for_a_word_before_the_body_gets_it() {
    let edge = Edge::with(Act::text("hi"), limits());
    let head = |key: &str| {
        format!(
            "POST {CHAT_PATH} HTTP/1.1\r\nhost: g\r\nx-api-key: {key}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            CHAT.len()
        )
    };
    let mut caller = Caller::to(edge.address).await;
    caller.send(head(KEY)).await;
    assert_eq!(caller.answer_to(true).await.status, 100);
    caller.send(CHAT).await;
    assert_eq!(caller.answer().await.status, 200);
    let mut stranger = Caller::to(edge.address).await;
    stranger.send(head("hs_live_stranger")).await;
    assert_eq!(stranger.answer().await.status, 401, "without asking for the body first");
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_never_served() {
    let edge = Edge::with(Act::text("hi"), limits());
    let mut caller = Caller::to(edge.address).await;
    caller.send(format!("POST {CHAT_PATH} HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\ncontent-length: 100\r\n\r\n{CHAT}")).await;
    drop(caller);
    tokio::time::sleep(ms(50)).await;
    assert_eq!(edge.provider.count(), 0);
}

#[tokio::test]
async fn two_ways_to_tell_the_length_are_refused() {
    let edge = Edge::with(Act::text("hi"), limits());
    let mut caller = Caller::to(edge.address).await;
    let framing = "content-length: 5\r\ncontent-length: 50\r\n";
    caller.send(format!("POST {CHAT_PATH} HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\n{framing}\r\n{CHAT}")).await;
    assert!(caller.rest().await.starts_with("HTTP/1.1 400"));
    assert_eq!(edge.provider.count(), 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let edge = Edge::with(Act::text("hi"), limits());
    let mut caller = Caller::to(edge.address).await;
    caller.send(format!("{}{}{}", post(CHAT_PATH, CHAT), get("/healthz", ""), get("/nowhere", ""))).await;
    let statuses = [caller.answer().await.status, caller.answer().await.status, caller.answer().await.status];
    assert_eq!(statuses, [200, 200, 404]);
}

#[tokio::test]
async fn who_takes_nothing_is_dropped() {
    let mut beats = beginning(&"x".repeat(200_000));
    beats = (0..100).flat_map(|_| beats.clone()).collect();
    beats.push(Beat::Hang);
    let edge = Edge::with(Act::stream(beats), limits());
    let mut caller = Caller::to(edge.address).await;
    caller.send(post(CHAT_PATH, STREAM)).await;
    edge.reached(1).await;
    let took = edge.cancelled_after(1).await;
    assert!(took > ms(150) && took < ms(2_000), "{took:?}");
}

#[tokio::test]
async fn a_silent_stream_is_not_a_stalled_reader() {
    let edge = Edge::with(hanging_stream(), limits());
    let mut caller = Caller::to(edge.address).await;
    caller.send(post(CHAT_PATH, STREAM)).await;
    caller.until("hello").await;
    tokio::time::sleep(ms(800)).await;
    assert_eq!(edge.provider.cancelled(), 0);
}

#[tokio::test]
async fn a_panic_is_one_requests_failure() {
    let edge = Edge::with(Act::panic(), limits());
    edge.provider.then(Act::panic());
    edge.provider.then(Act::text("hi"));
    let mut caller = Caller::to(edge.address).await;
    caller.send(post(CHAT_PATH, CHAT)).await;
    let answer = caller.answer().await;
    assert_eq!((answer.status, answer.json()["error"]["kind"].as_str()), (500, Some("internal")));
    assert!(!answer.body.contains("script says so"), "the caller learns nothing of our insides");
    assert_eq!(answer.json()["error"]["request_id"].as_str(), Some(answer.header("x-bellwether-request-id")));
    caller.send(post(CHAT_PATH, CHAT)).await;
    assert_eq!(caller.answer().await.status, 200, "the connection outlives it");
    let metrics = once(edge.address, get("/metrics", "")).await.body;
    assert!(metrics.contains(r#"status="500"} 1"#), "{metrics}");
    assert!(metrics.contains("bellwether_in_flight 0"), "{metrics}");
}

#[tokio::test]
async fn a_models_name_cannot_forge_a_header() {
    let edge = Edge::with(Act::text("hi"), limits());
    let answer = once(edge.address, post(CHAT_PATH, r#"{"model":"a\r\nset-cookie: b=c\u0000é","input":"hi"}"#)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-bellwether-requested-model"), "a??set-cookie: b=c??");
    assert_eq!(answer.header("x-bellwether-model"), "a??set-cookie: b=c??");
    assert_eq!(answer.header("set-cookie"), "");
    let metrics = once(edge.address, get("/metrics", "")).await.body;
    assert!(metrics.contains(r#"bellwether_requests_total{model="other",provider="acme",status="200"} 1"#), "{metrics}");
    assert!(!metrics.contains("set-cookie"), "a caller makes no labels");
}

#[tokio::test]
async fn wrong_bodies_are_the_callers_mistake() {
    let edge = Edge::with(Act::text("hi"), limits());
    for body in ["", "null", "[]", "{", "{\"model\":1}", "\u{feff}{}", &"[".repeat(50_000)] {
        let answer = once(edge.address, post(CHAT_PATH, body)).await;
        assert_eq!(answer.status, 400, "{}: {}", &body[..body.len().min(20)], answer.body);
    }
    assert_eq!(edge.provider.count(), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let mut setup = limits();
    setup.limits.connections = 1;
    let edge = Edge::with(Act::text("hi"), setup);
    let mut first = Caller::to(edge.address).await;
    first.send(get("/healthz", "")).await;
    assert_eq!(first.answer().await.status, 200);
    let mut second = Caller::to(edge.address).await;
    second.send(get("/healthz", "")).await;
    assert!(tokio::time::timeout(ms(100), second.answer()).await.is_err(), "the only place is taken");
    drop(first);
    assert_eq!(second.answer().await.status, 200);
}
