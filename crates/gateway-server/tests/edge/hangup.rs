use gateway_core::{
    ir::{Delta, Event, PartKind},
    testing::{Act, Beat},
};
use tokio::io::AsyncWriteExt;

use crate::{
    server::{Edge, ms},
    wire::{CHAT, CHAT_PATH, Caller, STREAM, get, once, post},
};

pub(crate) fn beginning(text: &str) -> Vec<Beat> {
    vec![
        Beat::Event(Event::PartStart { choice: 0, part: 0, kind: PartKind::Text }),
        Beat::Event(Event::Delta { choice: 0, part: 0, delta: Delta::Text(text.to_owned().into()) }),
    ]
}

/// A stream that begins and then says nothing more.
pub(crate) fn hanging_stream() -> Act {
    let mut beats = beginning("hello");
    beats.push(Beat::Hang);
    Act::stream(beats)
}

#[tokio::test]
async fn a_caller_who_leaves_before_the_head_stops_the_call() {
    let edge = Edge::start(Act::hang());
    let mut caller = Caller::to(edge.address).await;
    caller.send(post(CHAT_PATH, CHAT)).await;
    edge.reached(1).await;
    drop(caller);
    let took = edge.cancelled_after(1).await;
    assert!(took < ms(100), "{took:?}");
}

#[tokio::test]
async fn a_caller_who_leaves_in_mid_stream_stops_the_call() {
    let edge = Edge::start(hanging_stream());
    let mut caller = Caller::to(edge.address).await;
    caller.send(post(CHAT_PATH, STREAM)).await;
    caller.until("hello").await;
    drop(caller);
    let took = edge.cancelled_after(1).await;
    assert!(took < ms(100), "{took:?}");
}

#[tokio::test]
async fn a_caller_who_closes_its_side_has_left() {
    for (act, body) in [(Act::hang(), CHAT), (hanging_stream(), STREAM)] {
        let edge = Edge::start(act);
        let mut caller = Caller::to(edge.address).await;
        caller.send(post(CHAT_PATH, body)).await;
        edge.reached(1).await;
        caller.io.shutdown().await.expect("the socket is open");
        let took = edge.cancelled_after(1).await;
        assert!(took < ms(100), "{took:?}");
    }
}

#[tokio::test]
async fn who_left_is_no_longer_in_flight_and_is_counted() {
    let edge = Edge::start(hanging_stream());
    let mut caller = Caller::to(edge.address).await;
    caller.send(post(CHAT_PATH, STREAM)).await;
    caller.until("hello").await;
    let during = once(edge.address, get("/metrics", "")).await.body;
    assert!(during.contains("bellwether_in_flight 1"), "{during}");
    drop(caller);
    edge.cancelled_after(1).await;
    tokio::time::sleep(ms(20)).await;
    let after = once(edge.address, get("/metrics", "")).await.body;
    assert!(after.contains("bellwether_in_flight 0"), "{after}");
    assert!(after.contains(r#"bellwether_requests_total{model="known-model",provider="acme",status="200"} 1"#), "{after}");
}
