//! Several keys: used in turn, rested when they fail, replaced within an attempt.

use std::time::Duration;

use gateway_core::{FaultKind, Mode, Provider, Readiness, testing::TEST_PROTOCOL};
use gateway_providers::{CredentialState, TransportSettings};

use crate::{
    house::{House, whole},
    upstream::{Upstream, json, status},
};

const KEYS: [&str; 3] = ["sk-aaaaaaaaaaaa1111", "sk-aaaaaaaaaaaa2222", "sk-aaaaaaaaaaaa3333"];

fn house(upstream: &Upstream, keys: &[&str]) -> House {
    House::with(&format!("http://{}/v1", upstream.address), TEST_PROTOCOL, keys, &TransportSettings::default())
}

/// The last digits of the keys that requests carried, in order.
fn used(upstream: &Upstream) -> String {
    let requests = upstream.seen.requests();
    let key = |request: &String| request.split_once("Bearer ").and_then(|(_, rest)| rest.lines().next()?.chars().last());
    requests.iter().map(|request| key(request).unwrap_or('-')).collect()
}

const GOOD: &str = r#"{"text":"hi"}"#;

#[tokio::test]
async fn keys_are_used_in_turn() {
    let upstream = Upstream::always(vec![json(GOOD)]).await;
    let house = house(&upstream, &KEYS);
    for _ in 0..6 {
        house.text(whole()).await.expect("answered");
    }
    assert_eq!(used(&upstream), "123123");
}

#[tokio::test]
async fn a_refused_key_is_replaced_at_once_and_rested_for_minutes() {
    let upstream =
        Upstream::start(|_, request| if request.contains("1111") { vec![status("401 No", "", "{}")] } else { vec![json(GOOD)] }).await;
    let house = house(&upstream, &KEYS);
    for _ in 0..4 {
        house.text(whole()).await.expect("another key serves");
    }
    assert_eq!(used(&upstream).matches('1').count(), 1);
    let health = house.provider.credentials().health();
    assert_eq!((health[0].suffix.as_str(), health[0].state), ("…1111", CredentialState::Resting));
    assert_eq!(health[0].last_fault, Some(FaultKind::Unavailable));
    assert!(health[0].until.is_some() && health[1].state == CredentialState::Up);

    house.clock.skip(Duration::from_secs(301));
    assert_eq!(house.provider.credentials().health()[0].state, CredentialState::Up);
    for _ in 0..3 {
        house.text(whole()).await.expect("another key serves");
    }
    assert_eq!(used(&upstream).matches('1').count(), 2, "tried once more");
    house.clock.skip(Duration::from_secs(301));
    assert_eq!(house.provider.credentials().health()[0].state, CredentialState::Resting, "the second rest is longer");
}

#[tokio::test]
async fn a_throttled_key_rests_as_long_as_it_was_told() {
    let upstream =
        Upstream::start(|n, _| if n == 0 { vec![status("429 Slow", "retry-after: 7\r\n", "{}")] } else { vec![json(GOOD)] }).await;
    let house = house(&upstream, &KEYS[..1]);
    let fault = house.text(whole()).await.expect_err("the only key");
    assert_eq!((fault.kind(), fault.retry_after()), (FaultKind::RateLimited, Some(Duration::from_secs(7))));
    assert!(matches!(house.provider.readiness(Mode::Live), Readiness::Resting { .. }));
    assert_eq!(house.provider.readiness(Mode::Test), Readiness::Ready, "test calls need no key");
    house.clock.skip(Duration::from_secs(7));
    assert_eq!(house.provider.readiness(Mode::Live), Readiness::Ready);
    house.text(whole()).await.expect("served again");
    assert_eq!(house.provider.credentials().health()[0].state, CredentialState::Up);
}

#[tokio::test]
async fn many_calls_throttled_at_once_rest_the_key_once() {
    let upstream = Upstream::start(|n, _| if n < 8 { vec![status("429 Slow", "", "{}")] } else { vec![json(GOOD)] }).await;
    let house = house(&upstream, &KEYS[..1]);
    for _ in 0..8 {
        house.text(whole()).await.expect_err("throttled");
    }
    house.clock.skip(Duration::from_secs(1));
    assert_eq!(house.provider.readiness(Mode::Live), Readiness::Ready, "what was in flight together counts once");
    house.text(whole()).await.expect("served again");
}

#[tokio::test]
async fn what_a_key_may_not_do_leaves_it_good_for_the_rest() {
    let upstream = Upstream::start(|n, _| if n == 0 { vec![status("403 Not this", "", "{}")] } else { vec![json(GOOD)] }).await;
    let house = house(&upstream, &KEYS[..2]);
    house.text(whole()).await.expect("the other key may");
    assert_eq!(upstream.seen.requests().len(), 2);
    assert!(house.provider.credentials().health().iter().all(|key| key.state == CredentialState::Up));
}

#[tokio::test]
async fn a_throttled_only_key_may_still_be_tried_but_a_refused_one_not() {
    let upstream = Upstream::start(|n, _| match n {
        0 => vec![status("429 Slow", "", "{}")],
        1 => vec![json(GOOD)],
        _ => vec![status("401 No", "", "{}")],
    })
    .await;
    let house = house(&upstream, &KEYS[..1]);
    house.text(whole()).await.expect_err("throttled");
    house.text(whole()).await.expect("the router insisted, and it worked");
    house.text(whole()).await.expect_err("refused");
    let fault = house.text(whole()).await.expect_err("resting");
    assert_eq!(fault.kind(), FaultKind::Unavailable);
    assert!(fault.retry_after().is_some() && fault.message().contains("resting"), "{fault}");
    assert_eq!(upstream.seen.requests().len(), 3, "the resting key was not sent");
}

#[tokio::test]
async fn all_keys_refused_is_the_providers_last_word() {
    let upstream = Upstream::always(vec![status("401 No", "", "{}")]).await;
    let house = house(&upstream, &KEYS);
    let fault = house.text(whole()).await.expect_err("no key works");
    assert!(fault.blames_credential());
    assert_eq!(used(&upstream), "123", "each key once");
}

#[tokio::test]
async fn without_a_key_the_variable_to_set_is_named() {
    let upstream = Upstream::always(vec![json(GOOD)]).await;
    let house = house(&upstream, &[]);
    assert_eq!(house.provider.readiness(Mode::Live), Readiness::Unusable("set HOUSE_KEY".into()));
    assert!(house.text(whole()).await.expect_err("no key").message().contains("HOUSE_KEY"));
    assert!(upstream.seen.requests().is_empty());
}

#[tokio::test]
async fn a_bad_request_costs_no_key_its_turn() {
    let upstream = Upstream::always(vec![status("400 Bad", "", "{}")]).await;
    let house = house(&upstream, &KEYS);
    assert_eq!(house.text(whole()).await.expect_err("bad").kind(), FaultKind::InvalidRequest);
    assert_eq!(upstream.seen.requests().len(), 1);
    assert!(house.provider.credentials().health().iter().all(|key| key.state == CredentialState::Up && key.last_fault.is_none()));
}
