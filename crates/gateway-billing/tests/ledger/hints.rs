//! Each hint where it must be given, with its saving worked out by hand, and where it must not.

use gateway_billing::{
    api::{ApiRequest, BillingApi, Sight, Viewer},
    facts::RequestFacts,
};
use gateway_core::{Mode, Usage};
use http::Method;
use serde_json::{Value, json};

use super::{
    hinting::{Asked, Hinting, money, nano, of, offer, priced, priced_in, rule, the},
    stage::check,
};

/// $2 and $8 for a million tokens: 2,000 and 8,000 nano for one. Of a cache $0.2, into it $2.5 and $4.
pub(crate) fn plain() -> Value {
    json!({ "input": "2", "output": "8", "input_cache_read": "0.2", "input_cache_write_5m": "2.5", "input_cache_write_1h": "4" })
}

pub(crate) fn with(key: &str, value: Value) -> Value {
    let mut price = plain();
    price[key] = value;
    price
}

pub(crate) fn facts(body: u64) -> Option<RequestFacts> {
    Some(RequestFacts { body, choices: 1, ..RequestFacts::default() })
}

#[tokio::test]
async fn a_cheaper_route_is_told_with_what_it_would_have_charged() {
    let half = json!({ "input": "1", "output": "4" });
    let drafts = vec![
        priced("model", "", plain()),
        priced("model", "shed/model-upstream", half.clone()),
        priced_in("cost:house", "model", "", json!({ "input": "1.5", "output": "6" })),
        priced_in("cost:shed", "model", "", json!({ "input": "0.5", "output": "2" })),
    ];
    let stage = Hinting::new(drafts, vec![offer("model", None, &["house", "shed", "barn"])]).await;
    for _ in 0..2 {
        assert_eq!(stage.ask(&Asked::of(10_000, 1_000)).await, 28_000_000);
    }
    let served_there = Asked { provider: "shed", ..Asked::of(10_000, 1_000) };
    assert_eq!(stage.ask(&served_there).await, 14_000_000);
    let hints = stage.hints(0).await;
    let hint = the(&hints, "cheaper_route");
    assert_eq!(money(hint), (56_000_000, 28_000_000, 28_000_000));
    assert_eq!((&hint["requests"], &hint["effect"], &hint["confidence"]), (&json!(2), &json!("charged"), &json!("medium")));
    assert_eq!(hint["scope"], json!({ "model": "model", "provider": "house", "upstream_model": "model-upstream" }));
    assert_eq!(hint["details"]["alternative"], json!({ "provider": "shed", "upstream_model": "model-upstream" }));
    assert!(!hints.to_string().contains("cost"), "what providers bill is not an account's to see: {hints:#}");
    let operators = stage.operators(Some("Acme")).await;
    let costs: Vec<_> = of(&operators, "cheaper_route").into_iter().filter(|hint| hint["effect"] == "cost").map(money).collect();
    // 21,000,000 each at the house, 7,000,000 at the shed.
    assert_eq!(costs, [(42_000_000, 14_000_000, 28_000_000)]);
    check(&stage.ledger).await;
}

#[tokio::test]
async fn no_route_is_cheaper_than_the_one_without_a_price_for_everything() {
    let searching = with("web_search", json!("10"));
    let drafts = vec![priced("model", "", searching), priced("model", "shed/model-upstream", json!({ "input": "1", "output": "4" }))];
    let stage = Hinting::new(drafts, vec![offer("model", None, &["house", "shed"])]).await;
    let mut asked = Asked::of(100_000, 1_000);
    asked.usage.web_searches = Some(2);
    stage.ask(&asked).await;
    // Served where it is cheapest already.
    stage.ask(&Asked { provider: "shed", ..Asked::of(100_000, 1_000) }).await;
    // A model that is not routed at all any more.
    let hints = stage.hints(0).await;
    assert_eq!(of(&hints, "cheaper_route"), Vec::<&Value>::new());
    assert_eq!(rule(&hints, "cheaper_route")["excluded"], json!({ "nowhere_else": 1 }));
}

#[tokio::test]
async fn a_cache_that_costs_more_than_it_saves_is_told() {
    let stage = Hinting::new(vec![priced("model", "", plain())], Vec::new()).await;
    let cached = |key, written, read| Asked {
        key,
        usage: Usage { input_uncached: Some(100), input_cache_write_5m: Some(written), input_cache_read: Some(read), ..Usage::default() },
        ..Asked::of(0, 0)
    };
    // 100 × 2,000 + 400,000 × 2,500 + 10,000 × 200; fresh: 410,100 × 2,000.
    assert_eq!(stage.ask(&cached(1, 400_000, 10_000)).await, 1_002_200_000);
    // Here 200,000 tokens read save 360,000,000 and the writing costs 200,000,000 more than sending.
    stage.ask(&cached(2, 400_000, 200_000)).await;
    let hints = stage.hints(0).await;
    let hint = the(&hints, "cache_write_waste");
    assert_eq!(money(hint), (1_002_200_000, 820_200_000, 182_000_000));
    assert_eq!(hint["scope"]["key"], json!(gateway_core::KeyId::from_bytes([1; 16]).to_string()));
    assert_eq!(hint["details"]["writes"]["5m"], json!({ "tokens": 400_000, "premium_usd": "0.200000000" }));
    assert_eq!(hint["details"]["writes"]["1h"], json!({ "tokens": 0, "premium_usd": "0.000000000" }));
}

#[tokio::test]
async fn a_patient_tier_is_told_to_keys_that_never_stream() {
    let tiers = json!([{ "service_tier": "flex", "factor": "0.5" }, { "service_tier": "priority", "factor": "2" }]);
    let stage = Hinting::new(vec![priced("model", "", with("overrides", tiers))], Vec::new()).await;
    assert_eq!(stage.ask(&Asked::of(10_000, 1_000)).await, 28_000_000);
    let mut flex = Asked::of(10_000, 1_000);
    flex.usage.service_tier = Some("flex".into());
    assert_eq!(stage.ask(&flex).await, 14_000_000);
    stage.ask(&Asked { key: 2, ..Asked::of(10_000, 1_000) }).await;
    stage.ask(&Asked { key: 2, stream: true, ..Asked::of(10, 10) }).await;
    let hints = stage.hints(0).await;
    let hint = the(&hints, "batch_or_flex");
    assert_eq!(money(hint), (28_000_000, 14_000_000, 14_000_000));
    assert_eq!(hint["details"], json!({ "service_tier": "flex" }));
    assert_eq!(rule(&hints, "batch_or_flex")["excluded"], json!({ "in_a_tier": 1, "streamed": 1 }));
}

#[tokio::test]
async fn a_few_tokens_above_a_step_are_told() {
    let step = json!([{ "input_tokens_over": 200_000, "input": "4", "output": "12" }]);
    let stage = Hinting::new(vec![priced("model", "", with("overrides", step))], Vec::new()).await;
    // 205,000 × 4,000 + 1,000 × 12,000; without the 5,000: 200,000 × 2,000 + 1,000 × 8,000.
    assert_eq!(stage.ask(&Asked::of(205_000, 1_000)).await, 832_000_000);
    for input in [200_000, 210_001, 300_000] {
        stage.ask(&Asked::of(input, 1_000)).await;
    }
    let mut cached = Asked::of(1_000, 1_000);
    cached.usage.input_cache_read = Some(204_000);
    stage.ask(&cached).await;
    let hints = stage.hints(0).await;
    let hint = the(&hints, "long_context_step");
    assert_eq!(money(hint), (832_000_000, 408_000_000, 424_000_000));
    assert_eq!(hint["details"], json!({ "input_tokens_step": 200_000, "tokens_to_trim": 5_000, "tokens_to_trim_most": 5_000 }));
    assert_eq!(rule(&hints, "long_context_step")["excluded"], json!({ "little_fresh_text": 1 }));
}

#[tokio::test]
async fn a_dear_hour_is_told_where_a_request_could_wait() {
    let peak = json!([{ "window": { "tz": "UTC", "from": "09:00", "to": "15:00" }, "factor": "2" }]);
    let stage = Hinting::new(vec![priced("model", "", with("overrides", peak)), priced("dear", "", plain())], Vec::new()).await;
    // It is noon.
    assert_eq!(stage.ask(&Asked::of(10_000, 1_000)).await, 56_000_000);
    stage.ask(&Asked { stream: true, ..Asked::of(10_000, 1_000) }).await;
    stage.ask(&Asked { model: "dear", ..Asked::of(10_000, 1_000) }).await;
    stage.minutes(240);
    assert_eq!(stage.ask(&Asked::of(10_000, 1_000)).await, 28_000_000);
    let hints = stage.hints(0).await;
    let hint = the(&hints, "off_peak");
    assert_eq!(money(hint), (84_000_000, 56_000_000, 28_000_000));
    assert_eq!((&hint["requests"], &hint["details"]["requests_at_dear_hours"]), (&json!(2), &json!(1)));
    assert_eq!(rule(&hints, "off_peak")["excluded"], json!({ "same_at_all_hours": 1, "streamed": 1 }));
}

#[tokio::test]
async fn identical_requests_within_a_day_are_told() {
    let stage = Hinting::new(vec![priced("model", "", plain())], Vec::new()).await;
    let asked = |key, body| Asked { key, facts: facts(body), ..Asked::of(10_000, 1_000) };
    stage.ask(&asked(1, 7)).await;
    stage.minutes(60);
    stage.ask(&asked(1, 7)).await;
    stage.ask(&asked(2, 8)).await;
    stage.ask(&asked(2, 9)).await;
    // A day after the one that was paid for, though not after the last that was the same.
    stage.minutes(23 * 60 + 1);
    stage.ask(&asked(1, 7)).await;
    let hints = stage.hints(0).await;
    let hint = the(&hints, "duplicate_requests");
    assert_eq!(money(hint), (84_000_000, 56_000_000, 28_000_000));
    assert_eq!((&hint["requests"], &hint["details"]), (&json!(3), &json!({ "requests_repeated": 1 })));
}

/// A prompt of 10,240 tokens in 40,960 bytes that begins so.
pub(crate) fn prompt(beginnings: [u64; 4]) -> Asked<'static> {
    let facts = RequestFacts { body: beginnings[3], prompt_bytes: 40_960, prefixes: beginnings.to_vec(), choices: 1, output_limit: None };
    Asked { facts: Some(facts), ..Asked::of(10_240, 0) }
}

#[tokio::test]
async fn repeated_beginnings_of_prompts_are_told() {
    let stage = Hinting::new(vec![priced("model", "", plain())], Vec::new()).await;
    for beginnings in [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 5]] {
        assert_eq!(stage.ask(&prompt(beginnings)).await, 20_480_000);
        stage.minutes(1);
    }
    let hints = stage.hints(0).await;
    let hint = the(&hints, "prompt_cache");
    // The first is paid in full. Of the second 4,096 tokens are read, which had to be written at 500 nano more each; of the
    // third 8,192, and as many had to be written.
    let second = 6_144 * 2_000 + 4_096 * 200 + 4_096 * 500;
    let third = 2_048 * 2_000 + 8_192 * 200 + 8_192 * 500;
    assert_eq!((second, third), (15_155_200, 9_830_400));
    assert_eq!(money(hint), (61_440_000, 45_465_600, 15_974_400));
    assert_eq!(hint["details"], json!({ "input_tokens": 30_720, "tokens_repeated": 12_288, "requests_repeated": 2 }));
    assert_eq!(hint["confidence"], "low");
}

#[tokio::test]
async fn prompts_that_come_too_late_or_are_cached_already_repeat_nothing() {
    let stage = Hinting::new(vec![priced("model", "", plain())], Vec::new()).await;
    for _ in 0..4 {
        stage.ask(&prompt([1, 2, 3, 4])).await;
        stage.minutes(6);
    }
    for _ in 0..4 {
        let mut cached = prompt([1, 2, 3, 4]);
        (cached.usage.input_uncached, cached.usage.input_cache_read) = (Some(2_040), Some(8_200));
        stage.ask(&cached).await;
    }
    let mut media = prompt([1, 2, 3, 4]);
    media.facts = facts(9);
    stage.ask(&media).await;
    let hints = stage.hints(0).await;
    assert_eq!(of(&hints, "prompt_cache"), Vec::<&Value>::new());
    assert_eq!(rule(&hints, "prompt_cache")["excluded"], json!({ "not_measured": 1 }));
}

#[tokio::test]
async fn limits_far_above_what_is_used_are_told_as_money_held() {
    let stage = Hinting::new(vec![priced("model", "", plain())], Vec::new()).await;
    let limited = |key, limit, output| Asked {
        key,
        facts: Some(RequestFacts { output_limit: limit, choices: 1, ..RequestFacts::default() }),
        ..Asked::of(1_000, output)
    };
    for (key, limit, output) in
        [(1, Some(32_000), 100), (1, Some(32_000), 200), (2, Some(32_000), 5_000), (3, None, 10), (3, Some(900), 10)]
    {
        stage.ask(&limited(key, limit, output)).await;
    }
    let hints = stage.hints(0).await;
    let hint = the(&hints, "oversized_limit");
    // Two requests at 8,000 nano a token: 32,000 tokens each, or the 512 that are twice the longest answer and a power of two.
    assert_eq!(money(hint), (512_000_000, 8_192_000, 503_808_000));
    assert_eq!(hint["effect"], "held");
    assert_eq!(hint["details"], json!({ "output_limit": 32_000, "output_tokens_most": 200, "output_limit_proposed": 512 }));
}

#[tokio::test]
async fn what_is_not_kept_is_not_known_rather_than_nothing() {
    let stage = Hinting::new(vec![priced("model", "", plain())], Vec::new()).await;
    for _ in 0..3 {
        stage.ask(&Asked::of(10_000, 1_000)).await;
    }
    let hints = stage.hints(0).await;
    assert_eq!(hints["requests"], 3);
    for id in ["prompt_cache", "oversized_limit", "duplicate_requests"] {
        let rule = rule(&hints, id);
        assert_eq!((&rule["state"], &rule["requests"], &rule["not_known"]), (&json!("not_known"), &json!(0), &json!(3)), "{id}");
    }
    assert_eq!(rule(&hints, "long_context_step")["state"], "looked");
}

#[tokio::test]
async fn an_account_is_told_of_its_own_requests_and_operators_of_all() {
    let stage = Hinting::new(vec![priced("model", "", plain())], Vec::new()).await;
    // The two would repeat each other if accounts were not kept apart: of four requests only the first would be none.
    for org in [0, 1] {
        stage.ask(&Asked { org, facts: facts(7), ..Asked::of(10_000, 1_000) }).await;
        stage.ask(&Asked { org, facts: facts(7), ..Asked::of(20_000, 1_000) }).await;
    }
    let others = stage.operators(Some("Other")).await;
    for (hints, requests, repeated) in
        [(stage.hints(0).await, 2, 1), (stage.hints(1).await, 2, 1), (others, 2, 1), (stage.operators(None).await, 4, 2)]
    {
        let hint = the(&hints, "duplicate_requests");
        assert_eq!((hint["requests"].as_u64(), hints["requests"].as_u64()), (Some(requests), Some(requests)));
        assert_eq!(hint["details"]["requests_repeated"].as_u64(), Some(repeated), "{hint:#}");
    }
    let own = stage.hints(0).await;
    assert_eq!(own["account"], Value::Null);
    let (status, body) = stage.answer(0, "account=Other").await;
    assert!(status == 400 && body.to_string().contains("no parameter `account`"), "{body}");
}

#[tokio::test]
async fn the_evidence_can_be_looked_at_and_answers_are_kept_for_minutes() {
    let stage = Hinting::new(vec![priced("model", "", plain())], Vec::new()).await;
    for input in [10_000, 30_000] {
        stage.ask(&Asked { facts: facts(7), ..Asked::of(input, 1_000) }).await;
    }
    let hints = stage.hints(0).await;
    let hint = the(&hints, "duplicate_requests");
    let url = hint["evidence_url"].as_str().unwrap();
    assert_eq!(url, format!("/v1/billing/requests/{}", hint["example_request"].as_str().unwrap()));
    let viewer = Viewer { org: stage.orgs[0], key: None, mode: Mode::Live, sight: Sight::Account };
    let api = BillingApi::new(std::sync::Arc::clone(&stage.ledger));
    let request = ApiRequest { method: &Method::GET, path: url, query: None, body: b"" };
    let receipt = api.handle(&viewer, request).await;
    let receipt: Value = serde_json::from_slice(receipt.body()).unwrap();
    // The dearer of the two is the one that was a repeat.
    assert!(receipt.to_string().contains("68000000"), "{receipt}");
    let computed_at = hints["computed_at"].clone();
    stage.ask(&Asked { facts: facts(7), ..Asked::of(10_000, 1_000) }).await;
    stage.clock.skip_us(299_999_999);
    assert_eq!(stage.hints(0).await["computed_at"], computed_at);
    stage.clock.skip_us(1);
    let fresh = stage.hints(0).await;
    assert_eq!((&fresh["requests"], fresh["computed_at"] == computed_at), (&json!(3), false));
    let url = the(&stage.operators(Some("Acme")).await, "duplicate_requests")["evidence_url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("/admin/v1/usage?from=2026-10-24T12%3A15%3A00Z&to="), "{url}");
    assert!(nano(the(&fresh, "duplicate_requests"), "saving_usd") > 0);
}

#[tokio::test]
async fn a_cheaper_model_of_the_same_class_is_told() {
    let drafts = vec![
        priced("model", "", with("web_search", json!("10"))),
        priced("small", "", json!({ "input": "0.5", "output": "2" })),
        priced("smaller", "", json!({ "input": "0.1", "output": "0.4" })),
        priced("other", "", json!({ "input": "0.01", "output": "0.04" })),
    ];
    let mut small = offer("small", Some("large"), &["house", "shed"]);
    small.places[1].in_use = true;
    let mut smaller = offer("smaller", Some("large"), &["house"]);
    smaller.places[0].context_window = Some(10_500);
    let offers = vec![offer("model", Some("large"), &["house"]), small, smaller, offer("other", None, &["house"])];
    let stage = Hinting::new(drafts, offers).await;
    // 10,000 × 2,000 + 1,000 × 8,000, or a quarter of it; too long for the smaller one.
    for _ in 0..2 {
        assert_eq!(stage.ask(&Asked::of(10_000, 1_000)).await, 28_000_000);
    }
    // What the others have no price for, and pictures, are left out.
    let mut searching = Asked::of(10_000, 1_000);
    searching.usage.web_searches = Some(1);
    stage.ask(&searching).await;
    let mut pictures = Asked::of(10_000, 1_000);
    pictures.usage.input_image = Some(500);
    stage.ask(&pictures).await;
    stage.ask(&Asked { model: "other", ..Asked::of(10_000, 1_000) }).await;
    let hints = stage.hints(0).await;
    let hint = the(&hints, "cheaper_model");
    assert_eq!(money(hint), (56_000_000, 14_000_000, 42_000_000));
    assert_eq!(hint["scope"], json!({ "model": "model" }));
    assert_eq!(hint["details"], json!({ "alternative_model": "small", "class": "large", "requests_left_out": 1 }));
    let excluded = json!({ "media": 1, "model_without_class": 1, "no_other_could_serve": 1 });
    assert_eq!(rule(&hints, "cheaper_model")["excluded"], excluded);
}

#[tokio::test]
async fn the_cheapest_model_of_a_class_is_told_nothing() {
    let drafts = vec![priced("model", "", plain()), priced("dear", "", json!({ "input": "20", "output": "80" }))];
    let offers = vec![offer("model", Some("large"), &["house"]), offer("dear", Some("large"), &["house"])];
    let stage = Hinting::new(drafts, offers).await;
    stage.ask(&Asked::of(100_000, 1_000)).await;
    assert_eq!(of(&stage.hints(0).await, "cheaper_model"), Vec::<&Value>::new());
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A usage of random size: fresh input, read from a cache, written to it, output.
fn thrown(dice: &mut Dice) -> [u64; 4] {
    [dice.below(60_000), dice.below(30_000), dice.below(30_000), dice.below(9_000)]
}

fn usage([fresh, read, written, output]: [u64; 4]) -> Usage {
    Usage {
        input_uncached: Some(fresh),
        input_cache_read: Some(read),
        input_cache_write_5m: Some(written),
        output_text: Some(output),
        ..Usage::default()
    }
}

/// Σ count × rate in nano; every rate of this test is whole nano.
fn total(counts: [u64; 4], rates: [u64; 4]) -> i64 {
    let sum: u64 = counts.into_iter().zip(rates).map(|(count, rate)| count * rate).sum();
    i64::try_from(sum).unwrap()
}

#[tokio::test]
async fn every_alternative_is_the_plain_sum_of_the_same_usage() {
    let seed = 11;
    let dice = &mut Dice(seed);
    let overrides = json!([
        { "service_tier": "flex", "factor": "0.5" },
        { "window": { "tz": "UTC", "from": "09:00", "to": "15:00" }, "factor": "2" },
    ]);
    let there = json!({ "input": "1", "output": "9", "input_cache_read": "0.5", "input_cache_write_5m": "1" });
    let small = json!({ "input": "1", "output": "4", "input_cache_read": "1", "input_cache_write_5m": "3" });
    let drafts =
        vec![priced("model", "", with("overrides", overrides)), priced("model", "shed/model-upstream", there), priced("small", "", small)];
    let offers = vec![offer("model", Some("large"), &["house", "shed"]), offer("small", Some("large"), &["house"])];
    let stage = Hinting::new(drafts, offers).await;
    let (at_peak, off_peak) = ([4_000, 400, 5_000, 16_000], [2_000, 200, 2_500, 8_000]);
    let (mut current, mut route, mut model, mut flex, mut cheap, mut fresh, mut first) = (0, 0, 0, 0, 0, 0, 0);
    let mut bodies = std::collections::HashSet::new();
    for n in 0..60 {
        if n == 30 {
            // From noon to four.
            stage.minutes(240);
        }
        let (counts, body) = (thrown(dice), dice.below(40));
        let rates = if n < 30 { at_peak } else { off_peak };
        let charge = stage.ask(&Asked { usage: usage(counts), facts: facts(body), ..Asked::of(0, 0) }).await;
        assert_eq!(charge, total(counts, rates), "seed {seed}, request {n}");
        current += charge;
        route += total(counts, [1_000, 500, 1_000, 9_000]);
        model += total(counts, [1_000, 1_000, 3_000, 4_000]);
        flex += total(counts, rates.map(|rate| rate / 2));
        cheap += total(counts, off_peak);
        fresh += total(counts, [rates[0], rates[0], rates[0], rates[3]]);
        first += if bodies.insert(body) { charge } else { 0 };
        // Another account's requests count for nothing here.
        stage.ask(&Asked { org: 1, usage: usage(thrown(dice)), facts: facts(body + 100), ..Asked::of(0, 0) }).await;
    }
    let hints = stage.hints(0).await;
    assert_eq!((hints["requests"].as_u64(), hints["charge"]["nano"].as_str()), (Some(60), Some(current.to_string().as_str())));
    let expected = [
        ("cheaper_route", route),
        ("cheaper_model", model),
        ("batch_or_flex", flex),
        ("off_peak", cheap),
        ("cache_write_waste", fresh),
        ("duplicate_requests", first),
    ];
    for (id, alternative) in expected {
        match of(&hints, id).as_slice() {
            [] => assert!(current - alternative < (current / 100).max(10_000_000), "{id} is missing: {hints:#}"),
            found => assert_eq!((found.len(), money(found[0])), (1, (current, alternative, current - alternative)), "{id}, seed {seed}"),
        }
    }
    let savings: Vec<_> = hints["data"].as_array().unwrap().iter().map(|hint| nano(hint, "saving_usd")).collect();
    assert!(savings.len() >= 4 && savings.is_sorted_by(|a, b| a >= b) && savings.iter().all(|saving| (1..=current).contains(saving)));
    check(&stage.ledger).await;
}
