//! What a hint must not be made of: numbers that callers choose, answers that never came, money that was never paid.

use gateway_billing::{facts::RequestFacts, hold::FinalUsage, ledger::NewKey};
use gateway_core::{
    AttemptEnd, Mode, PartialUsage, Usage,
    testing::{TestCall, attempt},
};
use serde_json::{Value, json};

use super::{
    hinting::{Asked, Hinting, money, of, offer, priced, priced_in, rule, the},
    hints::{facts, plain, prompt, with},
};

/// What is told as held for one request with a limit, at a price of output and a place's own maximum.
async fn check_held(price: &str, (limit, choices): (u32, u32), place: Option<u32>, expected: impl Fn(i64) -> i64) {
    let mut known = offer("model", None, &["house"]);
    known.places[0].output_tokens_max = place;
    let stage = Hinting::new(vec![priced("model", "", with("output", json!(price)))], vec![known]).await;
    let facts = RequestFacts { output_limit: Some(limit), choices, ..RequestFacts::default() };
    let (mut held, asked) = (0, Asked { facts: Some(facts), ..Asked::of(1_000, 10) });
    for _ in 0..2 {
        let (admission, deployment) = stage.admit(&asked).await;
        held += admission.amount().get();
        stage.settle(admission, &deployment, &FinalUsage::Reported(asked.usage.clone())).await;
    }
    let hints = stage.hints(0).await;
    let (current, alternative, _) = money(the(&hints, "oversized_limit"));
    assert_eq!(current, expected(held), "{limit} × {choices} at {price}: {held} were held");
    assert!(alternative < current && rule(&hints, "oversized_limit")["requests"] == 2, "{hints:#}");
}

#[tokio::test]
async fn no_more_is_told_as_held_than_was() {
    // Twice 8,192 tokens at 8,000 nano, whatever the caller wrote.
    check_held("8", (1_000_000, 1), Some(8_192), |_| 131_072_000).await;
    check_held("8", (32_000, 1), None, |_| 512_000_000).await;
    check_held("8", (u32::MAX, 128), None, |held| held).await;
    // $80 a token: one such limit is already more than the ledger can count.
    check_held("80000000", (u32::MAX, 1), None, |held| held).await;
}

#[tokio::test]
async fn what_cannot_be_reckoned_is_left_out_and_takes_the_answer_from_nobody() {
    let free = json!({ "input": "0", "output": "0" });
    let drafts = vec![priced("free", "", free), priced("model", "", plain()), priced("small", "", json!({ "input": "1", "output": "4" }))];
    let offers = ["free", "model", "small"].map(|model| offer(model, Some("any"), &["house"]));
    let stage = Hinting::new(drafts, offers.into()).await;
    stage.ask(&Asked { model: "free", ..Asked::of(10, u64::MAX) }).await;
    stage.ask(&Asked::of(10_000, 1_000)).await;
    for hints in [stage.hints(0).await, stage.operators(None).await] {
        assert_eq!(hints["requests"], 2);
        assert_eq!(the(&hints, "cheaper_model")["scope"], json!({ "model": "model" }), "the other is still told of");
        assert_eq!(rule(&hints, "cheaper_model")["excluded"], json!({ "no_other_could_serve": 1 }));
    }
}

#[tokio::test]
async fn asking_again_for_an_answer_that_never_came_is_no_waste() {
    let stage = Hinting::new(vec![priced("model", "", plain())], Vec::new()).await;
    let asked = Asked { facts: facts(7), ..Asked::of(10_000, 1_000) };
    let (admission, deployment) = stage.admit(&asked).await;
    let broken = PartialUsage { usage: asked.usage.clone(), content_bytes: 4_000 };
    assert!(stage.settle(admission, &deployment, &FinalUsage::Counted(broken)).await > 0);
    // The first whole answer; while it is on its way nobody has it.
    let (first, _) = stage.admit(&asked).await;
    stage.minutes(1);
    stage.ask(&asked).await;
    stage.minutes(1);
    stage.settle(first, &deployment, &FinalUsage::Reported(asked.usage.clone())).await;
    assert_eq!(of(&stage.hints(0).await, "duplicate_requests"), Vec::<&Value>::new());
    stage.minutes(6);
    stage.ask(&asked).await;
    let hints = stage.hints(0).await;
    assert_eq!(the(&hints, "duplicate_requests")["details"], json!({ "requests_repeated": 1 }));
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_no_failure_of_a_provider() {
    let stage = Hinting::new(vec![priced("model", "", plain())], Vec::new()).await;
    let call = TestCall::to("model").build();
    for _ in 0..12 {
        let (admission, deployment) = stage.admit(&Asked::of(10_000, 1_000)).await;
        let log = admission.log();
        log.started(&attempt(&call, &deployment, 1));
        log.ended(1, AttemptEnd::Abandoned, &PartialUsage::default());
        let used = Usage { input_uncached: Some(10_000), ..Usage::default() };
        stage.settle(admission, &deployment, &FinalUsage::Reported(used)).await;
    }
    for hints in [stage.hints(0).await, stage.operators(None).await] {
        assert_eq!((&hints["requests"], &rule(&hints, "retry_waste")["requests"]), (&json!(12), &json!(0)));
        assert_eq!(of(&hints, "retry_waste"), Vec::<&Value>::new());
    }
}

#[tokio::test]
async fn a_step_that_changes_nothing_here_is_no_step() {
    let low = json!({ "input_tokens_over": 200_000, "input": "4", "output": "12" });
    let table = [
        (json!([low, { "input_tokens_over": 202_000, "service_tier": "priority", "input": "9" }]), Some(200_000)),
        (json!([low, { "input_tokens_over": 202_000, "input": "4" }]), Some(200_000)),
        (json!([low, { "input_tokens_over": 202_000, "web_search": "90" }]), Some(200_000)),
        // Noon is over by then.
        (json!([{ "input_tokens_over": 200_000, "window": { "tz": "UTC", "from": "01:00", "to": "02:00" }, "input": "4" }]), None),
        (json!([low, { "input_tokens_over": 202_000, "input": "5" }]), Some(202_000)),
    ];
    for (overrides, step) in table {
        let stage = Hinting::new(vec![priced("model", "", with("overrides", overrides.clone()))], Vec::new()).await;
        stage.ask(&Asked::of(205_000, 1_000)).await;
        let hints = stage.hints(0).await;
        let told = of(&hints, "long_context_step").first().map(|hint| hint["details"]["input_tokens_step"].as_u64().unwrap());
        assert_eq!(told, step, "{overrides}");
    }
}

#[tokio::test]
async fn what_was_booked_without_a_bill_or_a_list_is_no_cost_to_save() {
    let there = priced_in("cost:shed", "model", "", json!({ "input": "0.5", "output": "2" }));
    let stage = Hinting::new(vec![priced("model", "", plain()), there.clone()], vec![offer("model", None, &["house", "shed"])]).await;
    stage.ask(&Asked::of(100_000, 1_000)).await;
    let costs =
        |hints: &Value| of(hints, "cheaper_route").into_iter().filter(|hint| hint["effect"] == "cost").map(money).collect::<Vec<_>>();
    assert_eq!(costs(&stage.operators(None).await), []);
    // A list that is judged when answers end: the dear hour was over by then.
    let overrides = json!([{ "window": { "tz": "UTC", "from": "12:00", "to": "12:10" }, "factor": "9" }]);
    let late = json!({ "input": "0.5", "output": "2", "time_basis": "response_end", "overrides": overrides });
    let drafts =
        vec![priced("model", "", plain()), priced_in("cost:house", "model", "", plain()), priced_in("cost:shed", "model", "", late)];
    let stage = Hinting::new(drafts, vec![offer("model", None, &["house", "shed"])]).await;
    let (admission, deployment) = stage.admit(&Asked::of(100_000, 1_000)).await;
    stage.minutes(20);
    stage.settle(admission, &deployment, &FinalUsage::Reported(Asked::of(100_000, 1_000).usage)).await;
    assert_eq!(costs(&stage.operators(None).await), [(208_000_000, 52_000_000, 156_000_000)]);
}

#[tokio::test]
async fn what_was_not_paid_cannot_be_saved() {
    let stage = Hinting::new(vec![priced("model", "", plain()), priced("small", "", json!({ "input": "1", "output": "4" }))], {
        ["model", "small"].map(|model| offer(model, Some("any"), &["house"])).into()
    })
    .await;
    let most = 20_000_000_000;
    // Ten million tokens of output are $80.
    let paid = stage.ask(&Asked { most: Some(most), facts: facts(7), ..Asked::of(10_000, 10_000_000) }).await;
    assert!(paid <= most, "{paid}");
    stage.ask(&Asked { facts: facts(7), ..Asked::of(10_000, 1_000) }).await;
    let hints = stage.hints(0).await;
    assert_eq!(money(the(&hints, "cheaper_model")), (28_000_000, 14_000_000, 14_000_000));
    assert_eq!(rule(&hints, "cheaper_model")["excluded"], json!({ "written_off": 1 }));
    assert_eq!(rule(&hints, "duplicate_requests")["excluded"], json!({ "written_off": 1 }));
}

#[tokio::test]
async fn requests_at_the_same_time_find_nothing_in_a_cache() {
    let stage = Hinting::new(vec![priced("model", "", plain())], Vec::new()).await;
    let asked = prompt([1, 2, 3, 4]);
    let mut running = Vec::new();
    for _ in 0..8 {
        running.push(stage.admit(&asked).await);
    }
    stage.minutes(1);
    for (admission, deployment) in running {
        stage.settle(admission, &deployment, &FinalUsage::Reported(asked.usage.clone())).await;
    }
    assert_eq!(of(&stage.hints(0).await, "prompt_cache"), Vec::<&Value>::new());
    stage.minutes(3);
    stage.ask(&asked).await;
    stage.ask(&asked).await;
    stage.minutes(3);
    let hints = stage.hints(0).await;
    assert_eq!(the(&hints, "prompt_cache")["details"]["requests_repeated"], 2);
}

#[tokio::test]
async fn a_key_is_told_of_no_model_that_it_may_not_use() {
    let small = json!({ "input": "1", "output": "4" });
    let drafts = vec![priced("model", "", plain()), priced("small", "", small.clone()), priced("small", "shed/small-upstream", plain())];
    let mut offers: Vec<_> = ["model", "small"].map(|model| offer(model, Some("any"), &["house", "shed"])).into();
    offers[1].places[1].in_use = false;
    let stage = Hinting::new(drafts, offers).await;
    stage.ask(&Asked::of(10_000, 1_000)).await;
    stage.ask(&Asked { model: "small", provider: "shed", ..Asked::of(10_000, 1_000) }).await;
    let table: [(Option<&[&str]>, [usize; 2]); 5] = [
        (None, [1, 1]),
        (Some(&["model", "small"]), [1, 1]),
        (Some(&["model"]), [0, 0]),
        // It may have a better place for what it may use, and not hear what else there is.
        (Some(&["small"]), [0, 1]),
        (Some(&["sm*", "mod*"]), [1, 1]),
    ];
    for (models, told) in table {
        let key = NewKey {
            account: "Acme".to_owned(),
            mode: Mode::Live,
            user: None,
            team: None,
            name: String::new(),
            models: models.map(|models| models.iter().map(|model| (*model).to_owned()).collect()),
            expires_at: None,
        };
        let key = stage.ledger.create_key(key).await.unwrap().record.id;
        let (status, hints) = stage.answer_with(0, Some(key), "").await;
        assert_eq!((status.as_u16(), &hints["requests"]), (200, &json!(2)), "{hints}");
        assert_eq!(["cheaper_model", "cheaper_route"].map(|id| of(&hints, id).len()), told, "{models:?}: {hints:#}");
    }
}
