use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    attempt::{AttemptEnd, AttemptLog},
    clock::Clock,
    fault::{FaultKind, Retry},
    meter::PartialUsage,
    peek::Operation,
    provider::Provider,
};

#[tokio::test(start_paused = true)]
async fn a_scripted_answer_comes_whole_or_streamed_as_the_call_asks() {
    let provider = ScriptedProvider::always("p", Act::text("one two"));
    let place = Arc::new(deployment("m", "p"));
    let whole = provider.attempt(attempt(&TestCall::to("m").build(), &place, 1)).await.expect("it answers");
    assert!(whole.meter.read(|reading| reading.usage_final && reading.content_bytes == 7));
    let text = read_body(whole).await;
    assert!(std::str::from_utf8(&text).unwrap().contains(r#""text":"one two""#));

    let mut streamed = provider.attempt(attempt(&TestCall::to("m").streamed().build(), &place, 1)).await.expect("it answers");
    streamed.commit().await.expect("it has content");
    assert_eq!(provider.in_flight(), 1);
    let lines = String::from_utf8(read_body(streamed).await.to_vec()).unwrap();
    let events: Vec<&str> = lines.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
    assert_eq!(events.len(), 9, "{lines}");
    assert!(lines.ends_with("{\"event\":\"end\"}\n{\"event\":\"done\"}\n"), "{lines}");
    assert_eq!((provider.in_flight(), provider.cancelled(), provider.count()), (0, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_future_or_a_body_is_seen_as_a_cancellation() {
    let provider = ScriptedProvider::new("p").first([Act::hang(), Act::text("a b c")]);
    let place = Arc::new(deployment("m", "p"));
    let call = TestCall::to("m").streamed().build();
    let hung = tokio::time::timeout(Duration::from_secs(1), provider.attempt(attempt(&call, &place, 1))).await;
    assert!(hung.is_err());
    let mut reply = provider.attempt(attempt(&call, &place, 2)).await.expect("it answers");
    reply.commit().await.expect("it has content");
    drop(reply);
    assert_eq!((provider.in_flight(), provider.cancelled()), (0, 2));
}

#[tokio::test]
async fn a_built_call_carries_what_was_asked() {
    let call = TestCall::to("m").output_limit(9).fallbacks(&["n"]).with("operation", "count_tokens").header("x-a", "b").build();
    assert_eq!(call.operation(), Operation::CountTokens);
    assert_eq!(call.peek().output_limit, Some(9));
    assert_eq!(call.peek().controls.fallbacks, Some(vec!["n".into()]));
    assert_eq!(call.head().headers["x-a"], "b");
    assert!(TestCall::to("m").input("").build().canonical().is_err());
}

#[tokio::test(start_paused = true)]
async fn the_clock_moves_with_tokios_and_by_hand() {
    let clock = TestClock::new();
    let start = clock.unix_us();
    tokio::time::advance(Duration::from_secs(5)).await;
    clock.skip(Duration::from_secs(10));
    assert_eq!(clock.unix_us() - start, 15_000_000);
    clock.step_back(Duration::from_secs(15));
    assert_eq!(clock.unix_us(), start);
}

#[tokio::test]
async fn the_log_notices_an_attempt_that_never_ended() {
    let log = RecordingLog::new();
    let place = Arc::new(deployment("m", "p"));
    log.started(&attempt(&TestCall::to("m").build(), &place, 1));
    assert_eq!(log.check(), Err("attempt 1 was started and never ended".to_owned()));
    let fault = crate::fault::Fault::new(FaultKind::RateLimited, crate::fault::Origin::Provider, "slow").with_retry(Retry::NextDeployment);
    log.ended(1, AttemptEnd::failed(&fault), &PartialUsage::default());
    assert_eq!(log.check(), Ok(()));
    assert_eq!(log.lines(), ["1 > m@p/m-upstream", "1 failed rate_limited - nothing"]);
    log.ended(1, AttemptEnd::Abandoned, &PartialUsage::default());
    assert!(log.check().is_err());
}
