//! Budgets through the real ledger: what they refuse, what survives a restart, and whom they tell.

use std::sync::Arc;

use gateway_billing::{
    budget::{Every, Period, Scope, Whose},
    hold::{Billing as _, FinalUsage, Refusal, ReleaseReason},
    ledger::{BudgetChange, BudgetView, Enforcement, Ledger, NewBudget, NewKey},
    money::Nano,
};
use gateway_core::{Fault, Mode, OrgId, testing::Act, testing::deployment};
use serde_json::Value;
use sqlx::Row as _;

use crate::{
    hold::{header, one, provider, send},
    model::{price, request, usage},
    stage::{Frozen, Stage, check, open, routed},
};

fn new(scope: Scope, cap: i64, period: Period) -> NewBudget {
    NewBudget {
        account: "Acme".to_owned(),
        name: format!("{}-{cap}-{:?}", scope.kind(), period.every),
        mode: Mode::Live,
        scope,
        model: None,
        provider: None,
        cap: Nano::new(cap),
        enforcement: Enforcement::Hard,
        period,
        alerts: None,
    }
}

fn total() -> Period {
    Period::of(Every::Total)
}

fn tag(name: &str) -> Scope {
    Scope::Tag(Whose::One(name.into()))
}

async fn left(ledger: &Ledger, org: OrgId, id: gateway_billing::budget::BudgetId) -> i64 {
    ledger.flush().await;
    ledger.budget(org, id).unwrap().current.unwrap().left.amount.get()
}

fn detail<'f>(fault: &'f Fault, name: &str) -> &'f Value {
    fault.details().iter().find(|(key, _)| *key == name).map_or(&Value::Null, |(_, value)| value)
}

/// What waits to be told: kind and body.
async fn told(ledger: &Ledger) -> Vec<(String, Value)> {
    ledger.flush().await;
    let rows = sqlx::query("SELECT kind, body FROM outbox ORDER BY id").fetch_all(ledger.reader()).await.unwrap();
    rows.iter().map(|row| (row.get(0), serde_json::from_str(&row.get::<String, _>(1)).unwrap())).collect()
}

#[tokio::test]
async fn a_refusal_names_the_scope_the_limit_what_is_left_and_when_it_renews() {
    let stage = Stage::new(1_000_000_000).await;
    // A call with a limit of 100 tokens holds 2,320,000; two of them and a bit.
    let month = stage.ledger.create_budget(new(Scope::Org, 5_000_000, Period::of(Every::Month))).await.unwrap();
    stage.ledger.create_budget(new(tag("ann"), 100_000, total())).await.unwrap();
    let provider = provider(Act::text("three words here"));
    let ask = |user: &str| routed(stage.call("model").output_limit(100).header("x-bellwether-user", user), &[("model", "house")]);
    let reply = send(&stage, &provider, ask("bob")).await.unwrap();
    assert_eq!(header(&reply, "x-bellwether-cost-usd"), "0.000044000");
    assert_eq!(left(&stage.ledger, stage.org, month.id).await, 4_956_000);

    let fault = send(&stage, &provider, ask("ann")).await.err().unwrap();
    assert_eq!((fault.status().as_u16(), fault.code()), (402, Some("budget_exceeded")));
    assert_eq!((detail(&fault, "scope"), detail(&fault, "subject")), (&Value::from("tag"), &Value::from("ann")));
    assert_eq!((detail(&fault, "limit_usd"), detail(&fault, "available_usd")), (&Value::from("0.000100000"), &Value::from("0.000100000")));
    assert_eq!(detail(&fault, "reset_at"), &Value::Null);
    assert!(fault.message().contains("does not renew"), "{}", fault.message());
    assert_eq!(left(&stage.ledger, stage.org, month.id).await, 4_956_000, "nothing stays held in the other scope");

    stage
        .ledger
        .change_budget(stage.org, month.id, BudgetChange { cap: Some(Nano::new(50_000)), ..BudgetChange::default() })
        .await
        .unwrap();
    let fault = send(&stage, &provider, ask("bob")).await.err().unwrap();
    assert_eq!(detail(&fault, "budget"), &Value::from(month.id.to_string()));
    assert_eq!(detail(&fault, "available_usd"), &Value::from("0.000006000"));
    assert!(detail(&fault, "reset_at").as_str().unwrap().ends_with("-01T00:00:00Z"), "{fault:?}");
    stage.check().await;
}

#[tokio::test]
async fn the_tightest_scope_decides_and_each_of_many_has_its_own() {
    let stage = Stage::new(1_000_000_000).await;
    let at = Arc::new(deployment("model", "house"));
    let amount = stage.ledger.try_admit(&request(&stage, &at, 100)).unwrap().amount().get();
    // For each end user three such calls and a bit, for all of them five.
    stage.ledger.create_budget(new(Scope::Tag(Whose::Each), 3 * amount + 7, total())).await.unwrap();
    let wide = stage.ledger.create_budget(new(Scope::Org, 5 * amount, total())).await.unwrap();
    let admit = |user: &str| {
        let mut request = request(&stage, &at, 100);
        request.tag = Some(user.into());
        stage.ledger.try_admit(&request)
    };
    let (mut held, mut of_each) = (Vec::new(), Vec::new());
    for user in ["ann", "bob", "cid"] {
        let before = held.len();
        while let Ok(admission) = admit(user) {
            held.push(admission);
        }
        of_each.push(held.len() - before);
    }
    assert_eq!(of_each, [3, 2, 0]);
    for admission in held.drain(..) {
        admission.settle(&at, &FinalUsage::Reported(usage(Some(1))));
    }
    stage.check().await;
    let spent = stage.ledger.budget(stage.org, wide.id).unwrap().current.unwrap().spent.amount.get();
    assert_eq!(spent, one(&stage, "SELECT COALESCE(SUM(charge), 0) FROM settlement").await);
}

#[tokio::test]
async fn budgets_survive_a_restart_and_what_was_open_is_freed_there_too() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::at(folder.path(), 1_000_000_000).await;
    let org = stage.org;
    let at = Arc::new(deployment("model", "house"));
    let day = stage.ledger.create_budget(new(Scope::Org, 100_000_000, Period::of(Every::Day))).await.unwrap();
    let hours = stage.ledger.create_budget(new(Scope::Org, 90_000_000, Period::rolling(5))).await.unwrap();
    stage.ledger.try_admit(&request(&stage, &at, 100)).unwrap().settle(&at, &FinalUsage::Reported(usage(Some(10))));
    let open_one = stage.ledger.try_admit(&request(&stage, &at, 100)).unwrap();
    open_one.durable().await.unwrap();
    stage.ledger.flush().await;
    // As after a kill: the file as it is now, with the open hold in it.
    let copy = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db.secret"] {
        if let Ok(bytes) = std::fs::read(folder.path().join(name)) {
            std::fs::write(copy.path().join(name), bytes).unwrap();
        }
    }
    let ledger = open(copy.path(), |options| options).await;
    assert_eq!(ledger.recovered().released, 1);
    for (budget, cap) in [(day.id, 100_000_000), (hours.id, 90_000_000)] {
        let now = ledger.budget(org, budget).unwrap().current.unwrap();
        assert_eq!((now.spent.amount.get(), now.held.amount.get(), now.left.amount.get()), (price(10), 0, cap - price(10)));
    }
    check(&ledger).await;
    open_one.release(ReleaseReason::Failed);
    stage.check().await;
}

#[tokio::test]
async fn a_request_belongs_to_the_period_it_arrived_in() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Frozen::new();
    let ledger = clock.open(folder.path()).await;
    let stage = Stage::prepared(folder, ledger, 1_000_000_000).await;
    let at = Arc::new(deployment("model", "house"));
    let hour = stage.ledger.create_budget(new(Scope::Org, 10_000_000, Period::of(Every::Hour))).await.unwrap();
    let before = stage.ledger.try_admit(&request(&stage, &at, 100)).unwrap();
    clock.skip_us(3_600_000_000);
    assert_eq!(left(&stage.ledger, stage.org, hour.id).await, 10_000_000, "a new hour");
    before.settle(&at, &FinalUsage::Reported(usage(Some(50))));
    stage.check().await;
    let periods = stage.ledger.budget_periods(stage.org, hour.id, 10).await.unwrap();
    assert_eq!(periods.len(), 1);
    assert_eq!((periods[0].start.as_str(), periods[0].spent.amount.get()), ("2026-11-23T12:00:00Z", price(50)));
    assert_eq!(left(&stage.ledger, stage.org, hour.id).await, 10_000_000);
}

#[tokio::test]
async fn levels_and_refusals_are_told_once_a_period_in_the_commit_that_reached_them() {
    let stage = Stage::new(1_000_000_000).await;
    let at = Arc::new(deployment("model", "house"));
    let probe = stage.ledger.try_admit(&request(&stage, &at, 100)).unwrap().amount().get();
    let budget = stage.ledger.create_budget(new(Scope::Org, 2 * probe, total())).await.unwrap();
    let spend = |output| {
        let admission = stage.ledger.try_admit(&request(&stage, &at, 100));
        admission.map(|admission| admission.settle(&at, &FinalUsage::Reported(usage(Some(output)))))
    };
    // Twice 740,000 of 1,600,000: past 80 percent at once, and the third is refused.
    spend(90).unwrap();
    spend(90).unwrap();
    assert!(matches!(spend(100), Err(Refusal::Budget(_))));
    assert!(matches!(spend(100), Err(Refusal::Budget(_))));
    stage.check().await;
    let told = told(&stage.ledger).await;
    let kinds: Vec<_> = told.iter().map(|(kind, body)| (kind.as_str(), body["percent"].as_i64())).collect();
    let exceeded = kinds.iter().filter(|(kind, _)| *kind == "budget.exceeded").count();
    assert_eq!(exceeded, 1, "{kinds:?}");
    let levels: Vec<_> = kinds.iter().filter_map(|(_, percent)| *percent).collect();
    assert!(levels.is_sorted() && !levels.is_empty() && levels.len() <= 3, "{kinds:?}");
    let (_, last) = told.last().unwrap();
    assert_eq!((&last["budget"], &last["limit"]["nano"]), (&Value::from(budget.id.to_string()), &Value::from((2 * probe).to_string())));
    let spent: i64 = told[0].1["spent"]["nano"].as_str().unwrap().parse().unwrap();
    assert!(spent >= probe, "the figures are those of the commit: {told:?}");
}

#[tokio::test]
async fn a_fallback_whose_budget_is_spent_is_left_out_and_the_asked_one_refused() {
    let stage = Stage::new(1_000_000_000).await;
    let only = |model: &str| NewBudget { model: Some(model.to_owned()), ..new(Scope::Org, 1, total()) };
    stage.ledger.create_budget(only("dear")).await.unwrap();
    let provider = provider(Act::text("three words here"));
    let both = [("model", "house"), ("dear", "house")];
    let reply = send(&stage, &provider, routed(stage.call("model").output_limit(100), &both)).await.unwrap();
    assert_eq!(header(&reply, "x-bellwether-cost-usd"), "0.000044000");
    let fault = send(&stage, &provider, routed(stage.call("dear").output_limit(100), &[("dear", "house")])).await.err().unwrap();
    assert_eq!(fault.code(), Some("budget_exceeded"));
    assert!(fault.message().contains("for model `dear`"), "{}", fault.message());
    stage.check().await;
    // What it held in a budget for a provider that did not serve is freed there and spent nowhere.
    let elsewhere = NewBudget { provider: Some("elsewhere".to_owned()), ..new(Scope::Org, 1_000_000_000, total()) };
    let elsewhere = stage.ledger.create_budget(elsewhere).await.unwrap();
    send(&stage, &provider, routed(stage.call("model").output_limit(100), &[("model", "house"), ("model", "elsewhere")])).await.unwrap();
    stage.check().await;
    let now = stage.ledger.budget(stage.org, elsewhere.id).unwrap().current.unwrap();
    assert_eq!((now.spent.amount.get(), now.held.amount.get()), (0, 0));
}

#[tokio::test]
async fn a_lower_cap_holds_at_once_and_is_recorded() {
    let stage = Stage::new(1_000_000_000).await;
    let at = Arc::new(deployment("model", "house"));
    let budget = stage.ledger.create_budget(new(Scope::Org, 1_000_000_000, total())).await.unwrap();
    let open = stage.ledger.try_admit(&request(&stage, &at, 100)).unwrap();
    let cap = |cap| BudgetChange { cap: Some(Nano::new(cap)), ..BudgetChange::default() };
    let lowered = stage.ledger.change_budget(stage.org, budget.id, cap(5)).await.unwrap();
    assert_eq!(lowered.current.unwrap().left.amount, Nano::ZERO);
    assert!(matches!(stage.ledger.try_admit(&request(&stage, &at, 1)), Err(Refusal::Budget(_))));
    open.settle(&at, &FinalUsage::Reported(usage(Some(90))));
    stage.check().await;
    let periods = stage.ledger.budget_periods(stage.org, budget.id, 10).await.unwrap();
    assert!(periods[0].overrun.amount >= Nano::new(price(90) - 5), "{periods:?}");
    stage.ledger.change_budget(stage.org, budget.id, cap(2_000_000_000)).await.unwrap();
    stage.ledger.try_admit(&request(&stage, &at, 100)).unwrap().release(ReleaseReason::Failed);
    // From once for all to monthly: what was spent counts no more, and both periods stay readable.
    let monthly = BudgetChange { period: Some(Period::of(Every::Month)), ..BudgetChange::default() };
    let changed = stage.ledger.change_budget(stage.org, budget.id, monthly).await.unwrap();
    assert_eq!(changed.current.unwrap().spent.amount, Nano::ZERO);
    stage.ledger.try_admit(&request(&stage, &at, 100)).unwrap().settle(&at, &FinalUsage::Reported(usage(Some(1))));
    stage.check().await;
    assert_eq!(stage.ledger.budget_periods(stage.org, budget.id, 10).await.unwrap().len(), 2);
    stage.ledger.end_budget(stage.org, budget.id).await.unwrap();
    assert!(stage.ledger.budgets(stage.org, Mode::Live).is_empty());
    let again: BudgetView = stage.ledger.create_budget(new(Scope::Org, 1_000_000_000, total())).await.unwrap();
    assert_ne!(again.id, budget.id, "the name is free again");
}

#[tokio::test]
async fn a_key_is_shown_the_budgets_it_falls_under_and_no_others() {
    let stage = Stage::new(1_000_000_000).await;
    let team = stage.ledger.create_team("Acme", "blue").await.unwrap();
    stage.ledger.create_user("Acme", "ann", Some("blue")).await.unwrap();
    let key = |name: &str, user: Option<&str>| NewKey {
        account: "Acme".to_owned(),
        mode: Mode::Live,
        user: user.map(str::to_owned),
        team: None,
        name: name.to_owned(),
        models: None,
        expires_at: None,
    };
    let anns = stage.ledger.create_key(key("ann", Some("ann"))).await.unwrap().record;
    let other = stage.ledger.create_key(key("service", None)).await.unwrap().record;
    assert_eq!((anns.team, other.team), (Some(team.id), None));
    for budget in [
        new(Scope::Org, 100, total()),
        new(Scope::Team(Whose::One(team.id)), 90, total()),
        new(Scope::User(Whose::Each), 80, total()),
        new(Scope::Key(Whose::One(other.id)), 70, total()),
        new(tag("x"), 60, total()),
        NewBudget { mode: Mode::Test, ..new(Scope::Org, 50, total()) },
    ] {
        stage.ledger.create_budget(budget).await.unwrap();
    }
    let shown = async |key| {
        let budgets = stage.ledger.budgets_of_key(stage.org, Mode::Live, key).await.unwrap();
        budgets.iter().map(|budget| (budget.scope, budget.current.as_ref().unwrap().left.amount.get())).collect::<Vec<_>>()
    };
    assert_eq!(shown(anns.id).await, [("org", 100), ("team", 90), ("user", 80), ("tag", 60)]);
    assert_eq!(shown(other.id).await, [("org", 100), ("key", 70), ("tag", 60)]);
}

#[tokio::test]
async fn what_cannot_be_a_budget_is_refused_by_its_field() {
    let stage = Stage::new(1).await;
    let stranger = Scope::Team(Whose::One(gateway_core::TeamId::from_bytes([9; 16])));
    for (wrong, says) in [
        (NewBudget { name: "  ".to_owned(), ..new(Scope::Org, 1, total()) }, "name"),
        (NewBudget { cap: Nano::new(-1), ..new(Scope::Org, 1, total()) }, "limit_usd"),
        (NewBudget { alerts: Some(vec![0]), ..new(Scope::Org, 1, total()) }, "alerts"),
        (NewBudget { model: Some(String::new()), ..new(Scope::Org, 1, total()) }, "model"),
        (new(Scope::Org, 1, Period::rolling(0)), "period.hours"),
        (new(Scope::Org, 1, Period::of(Every::Day).in_zone("Nowhere")), "period.tz"),
        (new(stranger, 1, total()), "team"),
    ] {
        let error = stage.ledger.create_budget(wrong).await.unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    stage.ledger.create_budget(new(Scope::Org, 1, total())).await.unwrap();
    assert!(stage.ledger.create_budget(new(Scope::Org, 1, total())).await.unwrap_err().to_string().contains("already"));
    let id = stage.ledger.budgets(stage.org, Mode::Live)[0].id;
    assert!(stage.ledger.budget(OrgId::from_bytes([8; 16]), id).is_err(), "another account's does not exist");
}

/// Copies a ledger as a kill would leave it, and opens the copy.
async fn after_a_kill(folder: &std::path::Path, clock: &Arc<Frozen>) -> (tempfile::TempDir, Arc<Ledger>) {
    let copy = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db.secret"] {
        if let Ok(bytes) = std::fs::read(folder.join(name)) {
            std::fs::write(copy.path().join(name), bytes).unwrap();
        }
    }
    let ledger = clock.open(copy.path()).await;
    (copy, ledger)
}

#[tokio::test]
async fn a_new_rule_after_a_restart_begins_where_the_last_period_ended() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
    let path = folder.path().to_owned();
    let stage = Stage::prepared(folder, clock.open(&path).await, 1_000_000_000).await;
    let at = Arc::new(deployment("model", "house"));
    let budget = stage.ledger.create_budget(new(Scope::Org, 900_000, Period::of(Every::Day))).await.unwrap();
    stage.ledger.try_admit(&request(&stage, &at, 100)).unwrap().settle(&at, &FinalUsage::Reported(usage(Some(90))));
    let monthly = BudgetChange { period: Some(Period::of(Every::Month)), ..BudgetChange::default() };
    stage.ledger.change_budget(stage.org, budget.id, monthly).await.unwrap();
    stage.ledger.flush().await;
    clock.skip_us(26 * 3_600_000_000);
    let (_copy, ledger) = after_a_kill(&path, &clock).await;
    let again = Stage::on(tempfile::tempdir().unwrap(), ledger, stage.org);
    again.ledger.try_admit(&request(&again, &at, 100)).unwrap().settle(&at, &FinalUsage::Reported(usage(Some(50))));
    again.check().await;
    let periods = again.ledger.budget_periods(stage.org, budget.id, 9).await.unwrap();
    let starts: Vec<_> = periods.iter().map(|period| (period.start.as_str(), period.spent.amount.get())).collect();
    assert_eq!(starts, [("2026-11-24T00:00:00Z", price(50)), ("2026-11-23T00:00:00Z", price(90))]);
}

/// What is spent under the new rule counts under it, whenever the change comes and whatever is started anew after it.
#[tokio::test]
async fn a_change_of_rule_gives_no_cap_twice() {
    let in_shanghai = |every| Period { tz: "Asia/Shanghai".to_owned(), ..Period::of(every) };
    for (from, to) in [
        // The last quarter of an hour ends with the hour.
        (Period::of(Every::Hour), Period::rolling(24)),
        (Period::rolling(24), Period::of(Every::Day)),
        (Period::rolling(24), Period::rolling(48)),
        (Period::of(Every::Total), in_shanghai(Every::Total)),
        (Period::of(Every::Total), Period::of(Every::Month)),
    ] {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
        let path = folder.path().to_owned();
        let stage = Stage::prepared(folder, clock.open(&path).await, 1_000_000_000).await;
        let at = Arc::new(deployment("model", "house"));
        let hour = 3_600_000_000;
        clock.skip_us(hour - clock.now_us().rem_euclid(hour) + hour * 5 / 6);
        let budget = stage.ledger.create_budget(new(Scope::Org, price(100), from.clone())).await.unwrap();
        stage.ledger.try_admit(&request(&stage, &at, 10)).unwrap().settle(&at, &FinalUsage::Reported(usage(Some(10))));
        clock.skip_us(1_000_000);
        let change = BudgetChange { period: Some(to.clone()), ..BudgetChange::default() };
        stage.ledger.change_budget(stage.org, budget.id, change).await.unwrap();
        clock.skip_us(1_000_000);
        stage.ledger.try_admit(&request(&stage, &at, 80)).unwrap().settle(&at, &FinalUsage::Reported(usage(Some(80))));
        let refused = |stage: &Stage| matches!(stage.ledger.try_admit(&request(stage, &at, 80)), Err(Refusal::Budget(_)));
        assert!(refused(&stage), "{from:?} to {to:?}");
        clock.skip_us(hour / 3);
        assert!(refused(&stage), "{from:?} to {to:?}, in the next hour");
        stage.ledger.flush().await;
        let (_copy, ledger) = after_a_kill(&path, &clock).await;
        let again = Stage::on(tempfile::tempdir().unwrap(), ledger, stage.org);
        assert!(refused(&again), "{from:?} to {to:?}, after a start");
        again.check().await;
    }
}

#[tokio::test]
async fn a_late_body_is_judged_with_what_came_before_it_was_read() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
    let path = folder.path().to_owned();
    let stage = Stage::prepared(folder, clock.open(&path).await, 1_000_000_000).await;
    let at = Arc::new(deployment("model", "house"));
    let amount = stage.ledger.try_admit(&request(&stage, &at, 100)).unwrap().amount().get();
    stage.ledger.create_budget(new(Scope::Org, amount, Period::rolling(1))).await.unwrap();
    let late = request(&stage, &at, 100);
    clock.skip_us(900_000_000);
    let first = stage.ledger.try_admit(&request(&stage, &at, 100)).unwrap();
    assert!(matches!(stage.ledger.try_admit(&late), Err(Refusal::Budget(_))), "it arrived first, and is judged second");
    first.release(ReleaseReason::Failed);
    stage.check().await;
}

#[tokio::test]
async fn an_ended_budget_and_a_recovered_tag_are_as_they_were() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
    let path = folder.path().to_owned();
    let stage = Stage::prepared(folder, clock.open(&path).await, 1_000_000_000).await;
    let at = Arc::new(deployment("model", "house"));
    let ended = stage.ledger.create_budget(new(Scope::Org, 900_000, total())).await.unwrap();
    let mut tagged = request(&stage, &at, 100);
    (tagged.tag, tagged.stream) = (Some("ann".into()), true);
    let open_one = stage.ledger.try_admit(&tagged).unwrap();
    open_one.durable().await.unwrap();
    open_one.progress(&at, gateway_core::PartialUsage { usage: usage(None), content_bytes: 40 });
    stage.ledger.end_budget(stage.org, ended.id).await.unwrap();
    stage.ledger.flush().await;
    let (_copy, ledger) = after_a_kill(&path, &clock).await;
    assert_eq!(ledger.recovered().settled, 1);
    check(&ledger).await;
    // Another change in the account does not bring it back.
    ledger.create_budget(new(Scope::Org, 100_000_000, total())).await.unwrap();
    assert_eq!(ledger.budgets(stage.org, Mode::Live).len(), 1);
    assert!(ledger.budget(stage.org, ended.id).is_err());
    let again = Stage::on(tempfile::tempdir().unwrap(), ledger, stage.org);
    again.ledger.try_admit(&request(&again, &at, 200)).unwrap().release(ReleaseReason::Failed);
    again.check().await;
    open_one.release(ReleaseReason::Failed);
}
