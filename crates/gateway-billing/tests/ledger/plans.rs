//! Plans: published from now or later on, never changed, and there again after a restart.

use std::time::Duration;

use gateway_billing::{
    error::LedgerError,
    ledger::{Ledger, NewPlanVersion},
    money::Ppm,
};

use super::stage::{Frozen, check};

const HOUR_US: i64 = 3_600_000_000;

fn version(plan: &str, multiplier: &str, effective_from: Option<i64>, key: &str) -> NewPlanVersion {
    let multiplier = multiplier.parse().unwrap();
    NewPlanVersion { plan: plan.to_owned(), multiplier, effective_from, idempotency_key: key.to_owned() }
}

#[tokio::test]
async fn a_plan_changes_when_it_was_said_to_and_a_restart_changes_nothing() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
    let ledger = clock.open(folder.path()).await;
    let (now, later) = (clock.now_us(), clock.now_us() + HOUR_US);
    let at = |ledger: &Ledger, plan: &str, at_us: i64| ledger.plans().lookup(plan, at_us).map(|(_, factor)| factor);
    assert_eq!(at(&ledger, "default", now), Some(Ppm::ONE));
    assert_eq!(at(&ledger, "pro", now), None);

    let first = ledger.publish_plan(version("pro", "1.05", None, "a")).await.unwrap();
    assert_eq!((first.0["multiplier"].as_str(), first.0["state"].as_str()), (Some("1.05"), Some("standing")));
    let scheduled = ledger.publish_plan(version("pro", "0.9", Some(later), "b")).await.unwrap();
    assert_eq!(scheduled.0["state"], "scheduled");
    let factor = |text: &str| Some(text.parse::<Ppm>().unwrap());
    assert_eq!(at(&ledger, "pro", now - 1), None);
    assert_eq!(
        (at(&ledger, "pro", now), at(&ledger, "pro", later - 1), at(&ledger, "pro", later)),
        (factor("1.05"), factor("1.05"), factor("0.9"))
    );

    ledger.stop(Duration::from_secs(1)).await;
    drop(ledger);
    clock.skip_us(2 * HOUR_US);
    let ledger = clock.open(folder.path()).await;
    assert_eq!((at(&ledger, "pro", now), at(&ledger, "pro", later)), (factor("1.05"), factor("0.9")));
    let states: Vec<_> = ledger.plan_versions().into_iter().map(|view| (view.plan.to_string(), view.multiplier, view.state)).collect();
    let expected = [("default", "1", "standing"), ("pro", "1.05", "ended"), ("pro", "0.9", "standing")];
    assert_eq!(states, expected.map(|(plan, multiplier, state)| (plan.to_owned(), multiplier.to_owned(), state)));
    check(&ledger).await;
}

#[tokio::test]
async fn what_has_passed_is_not_priced_again_and_a_repeat_changes_nothing() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
    let ledger = clock.open(folder.path()).await;
    let now = clock.now_us();
    let refused = ledger.publish_plan(version("pro", "1.05", Some(now - 1), "a")).await.unwrap_err();
    assert!(matches!(&refused, LedgerError::Invalid { param: "effective_from", .. }), "{refused}");
    assert!(refused.to_string().contains("has passed"), "{refused}");
    for name in ["", "a b", "x:y"] {
        let refused = ledger.publish_plan(version(name, "1", None, "n")).await;
        assert!(matches!(refused, Err(LedgerError::Invalid { param: "plan", .. })), "{name}");
    }

    let first = ledger.publish_plan(version("pro", "1.05", None, "a")).await.unwrap();
    assert_eq!(ledger.publish_plan(version("pro", "1.05", None, "a")).await.unwrap(), first);
    let other = ledger.publish_plan(version("pro", "1.06", None, "a")).await;
    assert!(matches!(other, Err(LedgerError::Conflict { .. })), "the key was used for another publication");
    assert_eq!(ledger.publish_plan(version("pro", "1.05", None, "b")).await.unwrap(), first, "it has this multiplier anyway");
    assert_eq!(ledger.plan_versions().len(), 2);

    let clash = ledger.publish_plan(version("pro", "1.07", Some(now), "c")).await.unwrap_err();
    assert!(matches!(&clash, LedgerError::Conflict { .. }) && clash.to_string().contains("from exactly"), "{clash}");
    // The clock has not moved, and still the second change follows the first.
    ledger.publish_plan(version("pro", "1.07", None, "d")).await.unwrap();
    assert_eq!(ledger.plans().lookup("pro", now).map(|(_, factor)| factor.get()), Some(1_050_000));
    assert_eq!(ledger.plans().lookup("pro", now + 1).map(|(_, factor)| factor.get()), Some(1_070_000));
    check(&ledger).await;
}
