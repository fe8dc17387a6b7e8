//! Time limits, and what a caller who leaves does to the provider's connection.

use std::time::Duration;

use gateway_core::{Clock, Fault, FaultKind, SystemClock, testing::TestCall};

use crate::{
    house::{House, PATIENCE, streamed, whole},
    upstream::{Act, Upstream, json, send, stream_head},
};

const LIMIT: Duration = Duration::from_millis(200);

/// The call must fail by a time limit, within a tenth of it.
async fn times_out(house: &House, call: TestCall) -> Fault {
    let began = SystemClock.monotonic();
    let fault = house.text(call).await.expect_err("the provider is silent");
    let took = SystemClock.monotonic() - began;
    assert_eq!(fault.kind(), FaultKind::Timeout, "{fault:?}");
    assert!(took >= LIMIT - LIMIT / 10 && took <= LIMIT + LIMIT / 10 + Duration::from_millis(20), "{took:?}: {fault:?}");
    fault
}

#[tokio::test]
async fn a_head_that_never_comes_ends_at_the_first_byte_limit() {
    let mut upstream = Upstream::always(vec![Act::AwaitClose]).await;
    let house = House::at(upstream.address).limits(|limits| (limits.first_byte_whole, limits.first_byte_stream) = (LIMIT, LIMIT));
    for call in [whole(), streamed()] {
        assert!(times_out(&house, call).await.work_began());
        assert!(upstream.closes_at_once().await);
    }
}

#[tokio::test]
async fn a_body_that_never_begins_ends_at_the_first_byte_limit() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    for (acts, call) in [(vec![send(head), Act::AwaitClose], whole()), (vec![stream_head(), Act::AwaitClose], streamed())] {
        let mut upstream = Upstream::always(acts).await;
        let house = House::at(upstream.address).limits(|limits| (limits.first_byte_whole, limits.first_byte_stream) = (LIMIT, LIMIT));
        times_out(&house, call).await;
        assert!(upstream.closes_at_once().await);
    }
}

#[tokio::test]
async fn silence_in_mid_answer_ends_at_the_limit_between_chunks() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{\"te";
    let mut upstream = Upstream::always(vec![send(head), Act::AwaitClose]).await;
    let house = House::at(upstream.address).limits(|limits| limits.between_chunks = LIMIT);
    times_out(&house, whole()).await;
    assert!(upstream.closes_at_once().await);

    let mut upstream = Upstream::always(vec![stream_head(), send("text a\n"), Act::AwaitClose]).await;
    let house = House::at(upstream.address).limits(|limits| limits.between_chunks = LIMIT);
    let text = house.text(streamed()).await.expect("committed");
    assert_eq!(text, "text a\n!timeout\n");
    assert!(upstream.closes_at_once().await);
}

#[tokio::test]
async fn the_deadline_ends_an_answer_that_drips() {
    let drip = (0..100).flat_map(|_| [send("1"), Act::Wait(20)]);
    let head = send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n");
    let upstream = Upstream::always(std::iter::once(head).chain(drip).collect()).await;
    times_out(&House::at(upstream.address), whole().within(LIMIT)).await;
}

#[tokio::test]
async fn an_address_that_never_answers_ends_at_the_connect_limit() {
    // A listener whose queue is full drops further handshakes, which is what a black hole does.
    let listener = tokio::net::TcpSocket::new_v4().expect("a socket");
    listener.bind("127.0.0.1:0".parse().expect("an address")).expect("loopback has free ports");
    let full = listener.listen(1).expect("it is bound");
    let address = full.local_addr().expect("it is bound");
    let mut fill = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(50), tokio::net::TcpStream::connect(address)).await {
        fill.push(stream);
    }
    let settings = gateway_providers::TransportSettings { connect: LIMIT, ..Default::default() };
    let house = House::with(&format!("http://{address}/v1"), crate::house::OTHER, &["k"], &settings);
    let fault = times_out(&house, whole()).await;
    assert!(fault.message().contains(&address.to_string()), "{fault}");
    assert!(!fault.work_began(), "nothing was sent");
}

#[tokio::test]
async fn a_caller_who_leaves_before_the_head_closes_the_connection() {
    let mut upstream = Upstream::always(vec![Act::AwaitClose]).await;
    let house = House::at(upstream.address);
    for call in [whole(), streamed()] {
        let asking = house.ask(call);
        assert!(tokio::time::timeout(Duration::from_millis(100), asking).await.is_err(), "nothing is answered");
        assert!(upstream.closes_at_once().await);
    }
}

#[tokio::test]
async fn a_caller_who_leaves_in_mid_stream_closes_the_connection() {
    for committed in [false, true] {
        let mut upstream = Upstream::always(vec![stream_head(), send("text a\n"), Act::AwaitClose]).await;
        let house = House::at(upstream.address);
        let mut reply = house.ask(streamed()).await.expect("the head came");
        if committed {
            reply.commit().await.expect("content came");
        }
        drop(reply);
        assert!(upstream.closes_at_once().await, "committed: {committed}");
    }
}

#[tokio::test]
async fn a_caller_who_leaves_in_the_middle_of_a_whole_answer_closes_the_connection() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let mut upstream = Upstream::always(vec![send(head), Act::AwaitClose]).await;
    let house = House::at(upstream.address);
    assert!(tokio::time::timeout(Duration::from_millis(100), house.ask(whole())).await.is_err());
    assert!(upstream.closes_at_once().await);
}

#[tokio::test]
async fn one_broken_exchange_leaves_the_provider_usable() {
    let upstream = Upstream::start(|n, _| if n == 0 { vec![Act::AwaitClose] } else { vec![json(r#"{"text":"hi"}"#)] }).await;
    let house = House::at(upstream.address);
    assert!(tokio::time::timeout(Duration::from_millis(50), house.ask(whole())).await.is_err());
    for _ in 0..3 {
        let answered = tokio::time::timeout(PATIENCE, house.text(whole())).await.expect("not poisoned");
        assert_eq!(answered.expect("answered"), r#"{"text":"hi"}"#);
    }
}
