use std::sync::Arc;

use gateway_core::testing::TestClock;

use super::*;
use crate::ledger::{Grant, LedgerOptions, NewAccount};

struct Scene {
    _folder: tempfile::TempDir,
    ledger: Arc<Ledger>,
    clock: Arc<TestClock>,
    org: OrgId,
}

async fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    let options = LedgerOptions { clock: Arc::clone(&clock) as _, ..LedgerOptions::at(folder.path().join("ledger.db")) };
    let ledger = Ledger::open(options).await.unwrap();
    let org = ledger.create_account(NewAccount { name: "Acme".to_owned(), grant: Grant::None }).await.unwrap().id;
    Scene { _folder: folder, ledger, clock, org }
}

impl Scene {
    async fn queue(&self, kind: &'static str, body: Value) {
        let org = self.org;
        self.ledger.journal().exec(move |scope| queue(scope.connection(), scope.now_us(), kind, &org, &body)).await.unwrap();
    }

    async fn due(&self, receiver: &str) -> Vec<Delivery> {
        self.ledger.due_deliveries(receiver, 10).await.unwrap()
    }
}

fn receiver(id: &str, events: &[&str]) -> Receiver {
    Receiver { id: id.to_owned(), events: events.iter().map(|event| (*event).to_owned()).collect() }
}

#[tokio::test]
async fn an_event_becomes_one_delivery_for_each_who_wants_it() {
    let scene = scene().await;
    let receivers = [receiver("all", &[]), receiver("budgets", &["budget.alert"]), receiver("credit", &["credit.expired"])];
    assert_eq!(scene.ledger.distribute_events(&receivers).await.unwrap(), 0);
    scene.queue("budget.alert", json!({ "percent": 80 })).await;
    assert_eq!(scene.due("all").await, []);
    assert_eq!(scene.ledger.distribute_events(&receivers).await.unwrap(), 1);
    assert_eq!(scene.ledger.distribute_events(&receivers).await.unwrap(), 0, "an event is distributed once");
    let (all, budgets) = (scene.due("all").await, scene.due("budgets").await);
    assert_eq!((all.len(), budgets.len(), scene.due("credit").await.len()), (1, 1, 0));
    assert_eq!(all[0].payload, budgets[0].payload);
    let payload: Value = serde_json::from_str(&all[0].payload).unwrap();
    assert_eq!(payload["id"], all[0].event.as_str());
    assert!(all[0].event.starts_with("evt_") && all[0].event.len() == 36);
    let account = scene.org.to_string();
    assert_eq!((&payload["type"], &payload["account"], &payload["data"]["percent"]), (&json!("budget.alert"), &json!(account), &json!(80)));
    scene.ledger.delivery_done(all[0].row).await.unwrap();
    assert_eq!((scene.due("all").await.len(), scene.due("budgets").await.len()), (0, 1));
    assert_eq!(scene.ledger.delivery_failed(all[0].row, "late").await.unwrap(), Next::GivenUp, "what is done stays done");
}

#[tokio::test]
async fn attempts_grow_rarer_and_end_after_a_day() {
    let scene = scene().await;
    let receivers = [receiver("one", &[])];
    scene.queue("credit.expired", json!({})).await;
    scene.ledger.distribute_events(&receivers).await.unwrap();
    let mut pauses = Vec::new();
    let mut passed = Duration::ZERO;
    loop {
        let due = scene.due("one").await;
        assert_eq!(due.len(), 1, "after {passed:?}");
        assert_eq!(due[0].tries as usize, pauses.len());
        match scene.ledger.delivery_failed(due[0].row, "connection refused").await.unwrap() {
            Next::Retry(pause) => {
                assert_eq!(scene.due("one").await, [], "nothing is due before the pause of {pause:?} is over");
                pauses.push(pause.as_secs());
                passed += pause;
                scene.clock.skip(pause);
            }
            Next::GivenUp => break,
        }
    }
    assert_eq!(pauses[..8], [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400]);
    assert!(passed <= Duration::from_secs(86_400) && passed > Duration::from_secs(86_000), "{passed:?}");
    assert_eq!(scene.due("one").await, []);
}

#[tokio::test]
async fn a_receiver_that_is_gone_leaves_nothing_waiting() {
    let scene = scene().await;
    scene.queue("credit.expired", json!({})).await;
    scene.ledger.distribute_events(&[receiver("old", &[])]).await.unwrap();
    assert_eq!(scene.due("old").await.len(), 1);
    scene.queue("credit.expired", json!({})).await;
    assert_eq!(scene.ledger.distribute_events(&[]).await.unwrap(), 1);
    assert_eq!(scene.due("old").await, []);
    let count = async || -> i64 { sqlx::query("SELECT COUNT(*) FROM outbox").fetch_one(scene.ledger.reader()).await.unwrap().get(0) };
    assert_eq!(count().await, 3);
    scene.clock.skip(Duration::from_secs(8 * 24 * 3_600));
    scene.ledger.distribute_events(&[]).await.unwrap();
    assert_eq!(count().await, 0, "what was done a week ago is forgotten");
}
