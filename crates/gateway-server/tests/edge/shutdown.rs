use gateway_core::{
    ir::Event,
    testing::{Act, Beat},
};
use gateway_server::Drained;
use tokio::net::TcpStream;

use crate::{
    hangup::{beginning, hanging_stream},
    server::{Edge, ms},
    wire::{CHAT, CHAT_PATH, Caller, STREAM, get, once, post},
};

#[tokio::test]
async fn what_is_in_flight_ends_and_nothing_new_begins() {
    let mut beats = beginning("hello");
    beats.push(Beat::Wait(ms(150)));
    beats.push(Beat::Event(Event::End));
    let edge = Edge::start(Act::stream(beats));
    let mut streaming = Caller::to(edge.address).await;
    streaming.send(post(CHAT_PATH, STREAM)).await;
    streaming.until("hello").await;
    let mut idle = Caller::to(edge.address).await;
    idle.send(get("/readyz", "")).await;
    assert_eq!(idle.answer().await.status, 200);

    let address = edge.address;
    let shutdown = gateway_server::spawn("shutdown", edge.running.shutdown(ms(2_000)));
    assert_eq!(idle.rest().await, "", "an idle connection is closed at once");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    let rest = streaming.rest().await;
    assert!(rest.contains(r#"{"event":"done"}"#), "{rest}");
    assert_eq!(shutdown.await.expect("no panic"), Some(Drained { requests_cut: 0, connections_cut: 0 }));
}

#[tokio::test]
async fn what_does_not_end_is_cut_and_told() {
    let edge = Edge::start(hanging_stream());
    let mut streaming = Caller::to(edge.address).await;
    streaming.send(post(CHAT_PATH, STREAM)).await;
    streaming.until("hello").await;
    edge.provider.then(Act::hang());
    let mut waiting = Caller::to(edge.address).await;
    waiting.send(post(CHAT_PATH, CHAT)).await;
    edge.reached(2).await;
    let provider = edge.provider;
    let cut = edge.running.shutdown(ms(100)).await;
    assert_eq!(cut, Drained { requests_cut: 2, connections_cut: 2 });
    assert_eq!(provider.cancelled(), 2, "when the shutdown returns, everything has been dropped");
    assert!(!streaming.rest().await.contains("0\r\n\r\n"), "a cut is no clean end");
}

#[tokio::test]
async fn a_draining_server_says_so_on_connections_it_still_has() {
    let edge = Edge::start(Act::text("hi"));
    assert_eq!(once(edge.address, get("/readyz", "")).await.status, 200);
    assert_eq!(edge.running.shutdown(ms(500)).await, Drained { requests_cut: 0, connections_cut: 0 });
}
