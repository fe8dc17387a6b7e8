use gateway_core::testing::deployment;
use gateway_core::{Clock, Retry, SystemClock};
use proptest::prelude::*;

use super::*;

const POLICY: HealthPolicy = HealthPolicy {
    failures_to_rest: 3,
    rest_first: Duration::from_secs(10),
    rest_max: Duration::from_secs(60),
    forget_after: Duration::from_secs(600),
};

fn down() -> Fault {
    Fault::new(FaultKind::Unavailable, Origin::Provider, "down").with_retry(Retry::NextDeployment)
}

/// Runs a script of steps `<seconds>:<action>` and tells after each how the deployment stands. Actions: `ok`, `fail`,
/// `fail(<seconds of Retry-After>)`, `bad` (the request was wrong), `drop` (a pass thrown away), `hold` and `free` (a
/// pass kept, and its verdict `ok`), `see`. A pass that is not given is shown as `refused`.
fn check(script: &str, expected: &str) {
    let (health, place, start) = (Health::new(POLICY), deployment("m", "p"), SystemClock.monotonic());
    let mut held = None;
    let mut story = Vec::new();
    for step in script.split_whitespace() {
        let (seconds, action) = step.split_once(':').expect("a step is `seconds:action`");
        let now = start + Duration::from_secs(seconds.parse().expect("seconds are a number"));
        let mut refused = false;
        match action {
            "see" => {}
            "free" => held.take().map(Pass::served).expect("something is held"),
            _ => match (health.admit(&place, now), action) {
                (None, _) => refused = true,
                (Some(pass), "ok") => pass.served(),
                (Some(pass), "drop") => drop(pass),
                (Some(pass), "hold") => held = Some(pass),
                (Some(pass), "bad") => pass.failed(&Fault::new(FaultKind::InvalidRequest, Origin::Provider, "bad"), now),
                (Some(pass), fail) => {
                    let after = fail.strip_prefix("fail(").and_then(|rest| rest.strip_suffix(')')).map(|s| s.parse().expect("seconds"));
                    pass.failed(&down().with_retry_after(after.map(Duration::from_secs)), now);
                }
            },
        }
        let standing = match health.standing(&place.id, now) {
            Standing::Up => "up".to_owned(),
            Standing::Resting { until } => format!("rest{}", (until - start).as_secs()),
            Standing::Probing => "probing".to_owned(),
            Standing::Unusable => "unusable".to_owned(),
        };
        story.push(if refused { format!("refused/{standing}") } else { standing });
    }
    assert_eq!(story.join(" "), expected, "{script}");
}

#[test]
fn three_failures_in_a_row_rest_it_and_a_success_clears_the_count() {
    check("0:fail 0:fail 0:ok 0:fail 0:fail 1:fail 2:ok", "up up up up up rest11 refused/rest11");
}

#[test]
fn after_the_rest_one_probe_goes_and_its_success_ends_it() {
    check("0:fail 0:fail 0:fail 10:hold 10:ok 10:see 11:free 11:fail", "up up rest10 probing refused/probing probing up up");
}

#[test]
fn a_failed_probe_doubles_the_rest_up_to_the_maximum() {
    check("0:fail 0:fail 0:fail 10:fail 30:fail 70:fail 130:fail", "up up rest10 rest30 rest70 rest130 rest190");
}

#[test]
fn the_window_is_the_larger_of_retry_after_and_policy_and_bounded() {
    check("0:fail 0:fail 0:fail(30)", "up up rest30");
    check("0:fail 0:fail 0:fail(3)", "up up rest10");
    check("0:fail 0:fail 0:fail(99999999)", "up up rest60");
}

#[test]
fn a_probe_thrown_away_leaves_the_place_to_the_next_call() {
    check("0:fail 0:fail 0:fail 10:drop 10:hold 11:free", "up up rest10 up probing up");
}

#[test]
fn a_wrong_request_says_nothing_against_it_and_proves_a_probe_alive() {
    check("0:fail 0:fail 0:bad 0:fail", "up up up rest10");
    check("0:fail 0:fail 0:fail 10:bad 10:fail", "up up rest10 up up");
}

#[test]
fn failures_long_ago_are_forgotten() {
    check("0:fail 0:fail 601:fail 602:fail 602:fail", "up up up up rest612");
}

#[test]
fn stragglers_neither_end_nor_lengthen_a_rest() {
    let (health, place, now) = (Health::new(POLICY), deployment("m", "p"), SystemClock.monotonic());
    let passes: Vec<_> = (0..6).map(|_| health.admit(&place, now).expect("it is up")).collect();
    for (n, pass) in passes.into_iter().enumerate() {
        if n == 4 { pass.served() } else { pass.failed(&down(), now + Duration::from_secs(n as u64)) }
    }
    let until = now + Duration::from_secs(12);
    assert_eq!(health.standing(&place.id, now), Standing::Resting { until });
    assert_eq!(health.snapshot().len(), 1);
    assert_eq!(health.snapshot()[0].failures, 5);
    health.reset();
    assert_eq!(health.snapshot(), []);
    assert_eq!(health.standing(&place.id, now), Standing::Up);
}

#[test]
fn invented_names_do_not_fill_the_memory() {
    let (health, now) = (Health::new(POLICY), SystemClock.monotonic());
    for n in 0..TROUBLED_MAX + 100 {
        health.admit(&deployment(&format!("m{n}"), "p"), now).expect("it is up").failed(&down(), now);
    }
    assert_eq!(health.snapshot().len(), TROUBLED_MAX);
    // Nor do they blind it: a deployment that really fails is still rested.
    let real = deployment("real", "p");
    for _ in 0..POLICY.failures_to_rest {
        health.admit(&real, now).expect("it is up").failed(&down(), now);
    }
    assert!(matches!(health.standing(&real.id, now), Standing::Resting { .. }));
    let later = now + POLICY.forget_after + Duration::from_secs(1);
    health.admit(&deployment("fresh", "p"), later).expect("it is up").failed(&down(), later);
    assert_eq!(health.snapshot().len(), 2, "what rested is remembered for longer");
}

proptest! {
    /// Whatever happens, a resting deployment is never asked, at most one probe is out, and every rest ends.
    #[test]
    fn the_rules_hold_on_every_path(steps in prop::collection::vec((0u64..40, 0u8..4), 1..200)) {
        let (health, place, start) = (Health::new(POLICY), deployment("m", "p"), SystemClock.monotonic());
        let mut now = start;
        let mut held: Vec<Pass<'_>> = Vec::new();
        for (seconds, action) in steps {
            now += Duration::from_secs(seconds);
            let before = health.standing(&place.id, now);
            match health.admit(&place, now) {
                None => prop_assert!(before != Standing::Up),
                Some(pass) => {
                    prop_assert_eq!(before, Standing::Up);
                    match action {
                        0 => pass.served(),
                        1 => pass.failed(&down(), now),
                        2 => drop(pass),
                        _ => held.push(pass),
                    }
                }
            }
            prop_assert!(held.iter().filter(|pass| pass.probe).count() <= 1);
            if let Standing::Resting { until } = health.standing(&place.id, now) {
                prop_assert!(until - now <= POLICY.rest_max);
            }
        }
        held.clear();
        prop_assert_eq!(health.standing(&place.id, now + POLICY.rest_max), Standing::Up);
    }
}
