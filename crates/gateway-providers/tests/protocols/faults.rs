//! Every kind of simulated fault × provider protocol × whole or streamed × in process or over a socket.

use std::time::Duration;

use gateway_core::{Fault, FaultKind, Mode, Retry};

use crate::caller::{Asking, Caller, PROVIDERS, Served};

/// What the caller gets.
#[derive(Debug)]
enum Ends {
    /// Nothing: the attempt failed, so the next may be tried.
    Failed(Fault),
    /// An answer with the protocol's error event in it.
    Interrupted(String),
    Complete,
}

async fn end(served: &Served, asking: &Asking) -> Ends {
    match served.text(asking).await {
        Err(fault) => Ends::Failed(fault),
        Ok(text) if text.contains("\"error\"") => Ends::Interrupted(text),
        Ok(_) => Ends::Complete,
    }
}

/// Plays a scenario for every protocol, whole and streamed: in process by header, and on a socket by configuration.
async fn everywhere(scenario: &'static str, check: impl Fn(&str, bool, Ends)) {
    for (id, model) in PROVIDERS.into_iter().take(3) {
        for stream in [false, true] {
            let mut asking = Asking::new(Caller::Anthropic, Caller::Anthropic.ask("hello", stream));
            asking.scenario = Some(scenario);
            check(id, stream, end(&Served::in_process(id, model), &asking).await);
            (asking.scenario, asking.mode) = (None, Mode::Live);
            check(id, stream, end(&Served::on_a_socket(id, model, scenario).await, &asking).await);
        }
    }
}

fn failed(id: &str, stream: bool, ends: Ends, kind: FaultKind) -> Fault {
    match ends {
        Ends::Failed(fault) => {
            assert_eq!(fault.kind(), kind, "{id} {stream} {fault:?}");
            fault
        }
        Ends::Interrupted(_) | Ends::Complete => panic!("{id} {stream}: {ends:?}"),
    }
}

#[tokio::test]
async fn statuses_tell_whether_to_try_again() {
    everywhere(r#"[{"fault":{"kind":"status","status":429,"retry_after_s":3}}]"#, |id, stream, ends| {
        let fault = failed(id, stream, ends, FaultKind::RateLimited);
        assert_eq!(fault.retry_after(), Some(Duration::from_secs(3)), "{id}");
        assert!(!fault.work_began() && fault.retry() != Retry::Never, "{id}");
    })
    .await;
    everywhere(r#"[{"fault":{"kind":"status","status":500}}]"#, |id, stream, ends| {
        assert_ne!(failed(id, stream, ends, FaultKind::UpstreamError).retry(), Retry::Never, "{id}");
    })
    .await;
    everywhere(r#"[{"fault":{"kind":"status","status":401}}]"#, |id, stream, ends| match ends {
        Ends::Failed(fault) => assert!(fault.blames_credential() && fault.retry() == Retry::NextDeployment, "{id} {fault:?}"),
        Ends::Interrupted(_) | Ends::Complete => panic!("{id} {stream}: {ends:?}"),
    })
    .await;
}

#[tokio::test]
async fn silence_is_a_timeout() {
    everywhere(r#"[{"fault":{"kind":"hang"}}]"#, |id, stream, ends| {
        failed(id, stream, ends, FaultKind::Timeout);
    })
    .await;
    everywhere(r#"[{"fault":{"kind":"stall","after_events":5}}]"#, |id, stream, ends| match ends {
        Ends::Failed(fault) if !stream => assert_eq!(fault.kind(), FaultKind::Timeout, "{id}"),
        Ends::Interrupted(_) if stream => {}
        other => panic!("{id} {stream}: {other:?}"),
    })
    .await;
}

#[tokio::test]
async fn a_cut_is_never_a_clean_end() {
    everywhere(r#"[{"fault":{"kind":"cut","after_events":0}}]"#, |id, stream, ends| {
        failed(id, stream, ends, FaultKind::BadUpstream);
    })
    .await;
    everywhere(r#"[{"fault":{"kind":"cut","after_events":6,"reset":true}}]"#, |id, stream, ends| match ends {
        Ends::Failed(fault) if !stream => assert_eq!(fault.kind(), FaultKind::BadUpstream, "{id}"),
        Ends::Interrupted(_) if stream => {}
        other => panic!("{id} {stream}: {other:?}"),
    })
    .await;
}

#[tokio::test]
async fn an_error_inside_a_200_fails_before_the_commit_and_interrupts_after_it() {
    everywhere(r#"[{"fault":{"kind":"error_event"}}]"#, |id, stream, ends| match ends {
        Ends::Failed(fault) => assert_ne!(fault.retry(), Retry::Never, "{id} {fault:?}"),
        Ends::Interrupted(_) | Ends::Complete => panic!("{id} {stream}: {ends:?}"),
    })
    .await;
    everywhere(r#"[{"fault":{"kind":"error_event","after_events":6}}]"#, |id, stream, ends| match ends {
        Ends::Failed(_) if !stream => {}
        Ends::Interrupted(text) if stream => assert!(!text.contains("message_stop"), "{id} {text}"),
        other => panic!("{id} {stream}: {other:?}"),
    })
    .await;
}

#[tokio::test]
async fn garbage_is_a_bad_upstream() {
    everywhere(r#"[{"fault":{"kind":"malformed"}}]"#, |id, stream, ends| {
        let fault = failed(id, stream, ends, FaultKind::BadUpstream);
        assert_eq!(fault.retry(), Retry::NextDeployment, "{id}");
    })
    .await;
}

#[tokio::test]
async fn odd_usage_and_a_drip_still_answer() {
    for scenario in [
        r#"[{"fault":{"kind":"usage","mode":"missing"}}]"#,
        r#"[{"fault":{"kind":"usage","mode":"wrong"}}]"#,
        r#"[{"fault":{"kind":"drip","bytes":50,"every_ms":1}}]"#,
    ] {
        everywhere(scenario, |id, stream, ends| assert!(matches!(ends, Ends::Complete), "{scenario} {id} {stream} {ends:?}")).await;
    }
}

#[tokio::test]
async fn a_live_call_forwards_no_scenario() {
    let served = Served::on_a_socket("anthropic", "claude-sonnet-4-5", "[]").await;
    let mut asking = Asking::new(Caller::Anthropic, Caller::Anthropic.ask("hello", false));
    asking.scenario = Some(r#"[{"fault":{"kind":"status","status":500}}]"#);
    asking.mode = Mode::Live;
    assert!(matches!(end(&served, &asking).await, Ends::Complete));
}
