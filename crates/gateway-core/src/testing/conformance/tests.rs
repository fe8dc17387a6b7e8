use std::sync::Arc;

use super::*;
use crate::{
    fault::{Fault, Origin, Retry},
    ir::{Delta, Event, Finish, FinishReason, PartKind},
    provider::Readiness,
    testing::{Act, Beat, ScriptedProvider, answer, deployment, events_of},
};

fn subject(provider: ScriptedProvider) -> Subject {
    let provider = Arc::new(provider);
    let gauge = Arc::clone(&provider);
    Subject::new(provider, deployment("m", "p")).in_flight(move || gauge.in_flight())
}

/// The rule that breaks when the streamed answer is made of these events.
async fn stream_of(edit: impl FnOnce(&mut Vec<Event<'static>>)) -> &'static str {
    let mut events = events_of(&answer("one two"));
    edit(&mut events);
    let beats = events.into_iter().map(Beat::Event).collect();
    let provider = ScriptedProvider::new("p").first([Act::text("whole"), Act::stream(beats)]);
    check(&subject(provider)).await.map_or_else(|broken| broken.rule, |()| "none")
}

fn text(choice: u32, part: u32) -> Event<'static> {
    Event::Delta { choice, part, delta: Delta::Text("x".into()) }
}

#[tokio::test(start_paused = true)]
async fn a_good_provider_passes() {
    assert_eq!(check(&subject(ScriptedProvider::new("p"))).await, Ok(()));
    assert_eq!(check(&subject(ScriptedProvider::new("p")).mode(Mode::Test)).await, Ok(()));
    assert_eq!(stream_of(|_| {}).await, "none");
}

#[tokio::test(start_paused = true)]
async fn each_broken_rule_is_named() {
    // The events are start, part, two texts, part_end, finish, usage, end.
    assert_eq!(stream_of(|events| drop(events.remove(6))).await, "usage");
    assert_eq!(stream_of(|events| drop(events.remove(5))).await, "finish");
    assert_eq!(stream_of(|events| drop(events.remove(4))).await, "parts");
    assert_eq!(stream_of(|events| drop(events.remove(1))).await, "parts");
    assert_eq!(stream_of(|events| events.insert(4, text(0, 1))).await, "parts");
    assert_eq!(stream_of(|events| events.insert(5, text(0, 0))).await, "parts");
    assert_eq!(stream_of(|events| events.insert(5, Event::PartStart { choice: 0, part: 0, kind: PartKind::Text })).await, "parts");
    assert_eq!(stream_of(|events| events.insert(6, Event::Finish { choice: 0, finish: Finish::new(FinishReason::Stop) })).await, "finish");
    assert_eq!(stream_of(|events| events.push(Event::End)).await, "one end");
    assert_eq!(stream_of(|events| events.insert(8, text(0, 0))).await, "one end");
    assert_eq!(stream_of(|events| drop(events.pop())).await, "stream");
    assert_eq!(stream_of(|events| events.insert(2, Event::Start { id: None, model: None, created: None })).await, "stream");
}

#[tokio::test(start_paused = true)]
async fn readiness_identity_usage_and_hanging_are_checked() {
    let resting = ScriptedProvider::new("p");
    resting.set_readiness(Mode::Live, Readiness::Unusable("set P_KEY".into()));
    assert_eq!(check(&subject(resting)).await.unwrap_err().rule, "readiness");
    assert_eq!(check(&subject(ScriptedProvider::new("q"))).await.unwrap_err().rule, "id");
    assert_eq!(check(&subject(ScriptedProvider::always("p", Act::hang()))).await.unwrap_err().rule, "whole");

    let silent = || ScriptedProvider::always("p", Act::answer(crate::ir::ChatResponse { usage: None, ..answer("text") }));
    assert_eq!(check(&subject(silent())).await.unwrap_err().rule, "usage");
    assert_eq!(check(&subject(silent()).without_usage()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn expected_faults_must_come_and_be_classified() {
    // One whole and one streamed answer, and the two refusals of an empty prompt, come before the faults.
    let provider = |retry| {
        let fault = Fault::new(FaultKind::RateLimited, Origin::Provider, "slow down").with_retry(retry);
        ScriptedProvider::new("p").first([
            Act::text("whole"),
            Act::text("streamed"),
            Act::text(""),
            Act::text(""),
            Act::fault(fault.clone()),
            Act::fault(fault),
        ])
    };
    let subject = |retry| subject(provider(retry)).fails_on("too many", FaultKind::RateLimited);
    assert_eq!(check(&subject(Retry::NextDeployment)).await, Ok(()));
    let broken = check(&subject(Retry::Never)).await.unwrap_err();
    assert_eq!(broken.to_string(), "rule `faults` is broken: rate_limited may pass elsewhere, so its `retry` must not be `Never`");
    let broken = check(&super::tests::subject(ScriptedProvider::new("p")).fails_on("fine", FaultKind::Timeout)).await.unwrap_err();
    assert_eq!(broken.seen, "the prompt \"fine\" was answered; it must fail with timeout");
}
