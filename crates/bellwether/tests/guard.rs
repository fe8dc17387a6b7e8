//! `max_total_cost`: a call never costs more than its caller lets it, over all of its attempts, whatever providers do.

#[expect(dead_code, reason = "the test programs share the rig, and each uses its part")]
#[path = "support/rig.rs"]
mod rig;
#[expect(dead_code, reason = "the test programs share the rig, and each uses its part")]
#[path = "faults/upstream.rs"]
mod upstream;
#[expect(dead_code, reason = "the test programs share the rig, and each uses its part")]
#[path = "faults/wire.rs"]
mod wire;

use rig::{Company, PROMPT, Provider, Rig, Way, client};
use serde_json::{Value, json};
use upstream::{Fault, Scripted};
use wire::{Reports, Speaks};

const CODE: &str = "max_total_cost_exceeded";

/// What came back.
struct Answer {
    status: u16,
    id: String,
    attempts: String,
    provider: String,
    output_limit: Option<u32>,
    text: String,
}

impl Answer {
    fn error(&self, member: &str) -> Value {
        let body: Value = serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text));
        body["error"][member].clone()
    }
}

/// Asks with these members of the body, and with a limit on the cost in a header.
async fn ask(rig: &Rig, path: &str, besides: Value, header: Option<&str>, rules: Option<&Value>) -> Answer {
    let mut body = json!({ "model": "primary", "messages": [{ "role": "user", "content": PROMPT }] });
    for (key, value) in besides.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    let mut request = client().post(format!("{}{path}", rig.gateway.url())).bearer_auth(&rig.key).json(&body);
    if let Some(most) = header {
        request = request.header("x-bellwether-max-total-cost", most);
    }
    if let Some(rules) = rules {
        request = request.header("x-bellwether-simulate", rules.to_string());
    }
    let response = request.send().await.expect("the gateway answers");
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default();
    let (status, id, attempts) = (response.status().as_u16(), header("x-bellwether-request-id"), header("x-bellwether-attempts"));
    let (provider, output_limit) = (header("x-bellwether-provider"), header("x-bellwether-output-limit").parse().ok());
    Answer { status, id, attempts, provider, output_limit, text: response.text().await.expect("a clean end") }
}

fn nano(decimal: &Value) -> i64 {
    let text = decimal.as_str().unwrap_or_else(|| panic!("no decimal: {decimal}"));
    text.replace('.', "").parse().expect("nine decimals")
}

fn decimal(nano: i64) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}

fn charge(receipt: &Value) -> i64 {
    receipt["charge"]["nano"].as_str().map_or(0, |text| text.parse().expect("an integer"))
}

/// What the books say that the attempts of a call which were not served may have cost.
fn lost(rig: &Rig, id: &str) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(rig.folder.path().join("rig.db"), flags).expect("the rig's database");
    let id: gateway_core::RequestId = id.parse().expect("a request's id");
    let sum = "SELECT COALESCE(SUM(cost), 0) FROM attempt WHERE hold = ?1";
    database.query_row(sum, [&id.as_bytes()[..]], |row| row.get(0)).expect("the attempts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_what_it_takes_and_that_is_exactly_enough() {
    // A provider that reports the most it can be believed: nothing of the bound is left over by chance.
    let liar = Provider::Scripted(Scripted::new(Speaks::OpenAiChat, Fault::Usage(Reports::Wrong)));
    let rig = Rig::before(Way::Tcp, Company::Shared, Speaks::OpenAiChat, liar).await;
    for (path, kind) in [("/v1/chat/completions", "insufficient_quota"), ("/v1/messages", "billing_error")] {
        let alone = json!({ "disable_fallbacks": true, "max_tokens": 9 });
        let with = |most: &str| {
            let mut body = alone.clone();
            body["max_total_cost"] = json!(most);
            body
        };
        // The body's own length counts, so that every figure has as many digits.
        let refused = ask(&rig, path, with(&decimal(0)), None, None).await;
        assert_eq!((refused.status, &*refused.attempts), (402, "0"), "{}", refused.text);
        assert_eq!((refused.error("type"), refused.error("code")), (json!(kind), json!(CODE)), "{}", refused.text);
        assert_eq!((refused.error("max_total_cost_usd"), refused.error("affordable_max_tokens")), (json!("0.000000000"), json!(0)));
        let enough = nano(&refused.error("required_usd"));
        // One token less of output, and it fits: the refusal says so.
        let short = ask(&rig, path, with(&decimal(enough - 1)), None, None).await;
        assert_eq!((short.status, short.error("affordable_max_tokens")), (402, json!(8)), "{}", short.text);
        assert!(short.error("message").as_str().is_some_and(|text| text.contains("at most 8 output tokens")), "{}", short.text);

        let served = ask(&rig, path, with(&decimal(enough)), None, None).await;
        assert_eq!((served.status, &*served.provider), (200, "first"), "{}", served.text);
        let receipt = rig.receipt(&served.id).await;
        assert!(charge(&receipt) > enough / 2 && charge(&receipt) <= enough, "{enough}: {receipt}");
        // The smaller of key and header stands, and neither goes upstream, where it would be refused.
        let smaller = ask(&rig, path, with(&decimal(5_000_000_000)), Some(&decimal(enough - 1)), None).await;
        assert_eq!(smaller.status, 402, "{}", smaller.text);
    }
    let odd = ask(&rig, "/v1/messages", json!({ "max_tokens": 9, "max_total_cost": "cheap" }), None, None).await;
    assert_eq!((odd.status, odd.error("type")), (400, json!("invalid_request_error")), "{}", odd.text);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_alone_could_pass_the_limit_is_left_out_and_the_rest_serves() {
    let rig = Rig::start(Way::InProcess, Company::Shared, &json!({ "kind": "drip", "bytes": 500, "every_ms": 1 })).await;
    let body = |most: i64| json!({ "max_tokens": 200, "max_total_cost": decimal(most) });
    let refused = ask(&rig, "/v1/chat/completions", body(0), None, None).await;
    // The least dear of both is named: the fallback, at half the price.
    let least = nano(&refused.error("required_usd"));
    let (fallback, first) = (body(least), body(2 * least));
    for (body, provider) in [(fallback, "second"), (first, "first")] {
        let answer = ask(&rig, "/v1/chat/completions", body, None, None).await;
        assert_eq!((answer.status, &*answer.attempts, &*answer.provider), (200, "1", provider), "{}", answer.text);
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_stops_before_the_attempt_that_could_pass_the_limit() {
    let rig = Rig::start(Way::InProcess, Company::Shared, &json!({ "kind": "status", "status": 500 })).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let alone = |most: i64| json!({ "max_tokens": 200, "disable_fallbacks": true, "max_total_cost": decimal(most) });
        let enough = nano(&ask(&rig, path, alone(0), None, None).await.error("required_usd"));
        // Enough for one attempt, but not for one more after what the first may have cost.
        let stopped = ask(&rig, path, alone(enough), None, None).await;
        assert_eq!((stopped.status, &*stopped.attempts), (502, "1"), "{}", stopped.text);
        assert_eq!((stopped.error("stopped_by"), nano(&stopped.error("max_total_cost_usd"))), (json!(CODE), enough), "{}", stopped.text);
        assert!(stopped.error("detail").as_str().is_some_and(|text| text.contains("no further attempt")), "{}", stopped.text);
        assert_eq!(stopped.error("attempts"), json!(["first/faulty: upstream_error (500)"]), "{}", stopped.text);
        let receipt = rig.receipt(&stopped.id).await;
        assert_eq!(receipt["attempts"].as_array().map(Vec::len), Some(1), "{receipt}");
        assert!(lost(&rig, &stopped.id) > 0, "{receipt}");
        // With that much more there are both, and with a fallback in reach it serves.
        let both = ask(&rig, path, alone(enough + lost(&rig, &stopped.id)), None, None).await;
        assert_eq!((both.status >= 500, &*both.attempts, both.error("stopped_by")), (true, "2", Value::Null), "{}", both.text);
        let helped = ask(&rig, path, json!({ "max_tokens": 200, "max_total_cost": decimal(enough) }), None, None).await;
        assert_eq!((helped.status, &*helped.attempts, &*helped.provider), (200, "2", "second"), "{}", helped.text);
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_limit_of_its_own_an_answer_is_kept_short_enough() {
    let rig = Rig::start(Way::InProcess, Company::Shared, &json!({ "kind": "status", "status": 529 })).await;
    let path = "/v1/chat/completions";
    let free = ask(&rig, path, json!({}), None, None).await;
    let refused = ask(&rig, path, json!({}), Some("0.001"), None).await;
    assert_eq!(refused.status, 402, "{}", refused.text);
    // At the least output that is ever offered; what is more buys more, at the price of who serves.
    let least = nano(&refused.error("required_usd"));
    for more in [0, 100] {
        let answer = ask(&rig, path, json!({}), Some(&decimal(least + more * 4_000)), None).await;
        assert_eq!((answer.status, &*answer.provider, answer.output_limit), (200, "second", Some(1_024 + more as u32)), "{}", answer.text);
    }
    assert!(free.output_limit > Some(2_000), "{:?}", free.output_limit);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_a_call_stays_within_its_limit() {
    let rig = Rig::start(Way::InProcess, Company::Shared, &json!({ "kind": "status", "status": 429 })).await;
    let seed = 20_261_123;
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut served, mut refused, mut stopped, mut several) = (0, 0, 0, 0);
    for n in 0..120 {
        let mut fault = || match rng.u8(0..9) {
            0 => json!({ "kind": "status", "status": 500 }),
            1 => json!({ "kind": "status", "status": 502 }),
            2 => json!({ "kind": "status", "status": 429 }),
            3 => json!({ "kind": "cut", "after_events": 0 }),
            4 => json!({ "kind": "error_event" }),
            5 => json!({ "kind": "malformed" }),
            6 => json!({ "kind": "error_event", "after_events": 3 }),
            7 => json!({ "kind": "usage", "mode": "missing" }),
            _ => json!({ "kind": "drip", "bytes": 500, "every_ms": 1 }),
        };
        let rules = json!([{ "match": { "model": "faulty" }, "fault": fault() }, { "match": { "model": "sound" }, "fault": fault() }]);
        let path = *rng.choice(&["/v1/chat/completions", "/v1/messages"]).expect("two");
        let mut body = json!({ "stream": rng.bool(), "max_tokens": rng.u32(1..700), "max_total_cost": decimal(0) });
        if path == "/v1/chat/completions" && rng.u8(0..4) == 0 {
            body["max_tokens"] = Value::Null;
        }
        // Anything, or enough for one attempt and hardly more.
        let most = if rng.bool() {
            rng.i64(0..8_000_000)
        } else {
            body["disable_fallbacks"] = json!(true);
            let probe = ask(&rig, path, body.clone(), None, Some(&rules)).await;
            nano(&probe.error("required_usd")) + rng.i64(0..60_000)
        };
        body["max_total_cost"] = json!(decimal(most));
        let answer = ask(&rig, path, body, None, Some(&rules)).await;
        if answer.status == 402 && answer.attempts == "0" {
            refused += 1;
            assert!(nano(&answer.error("required_usd")) > most, "call {n}: {}", answer.text);
            continue;
        }
        let receipt = rig.receipt(&answer.id).await;
        let cost = lost(&rig, &answer.id) + charge(&receipt);
        assert!(cost <= most, "call {n} came to {cost} of {most}: {receipt}");
        served += u32::from(answer.status == 200);
        several += u32::from(answer.attempts != "1");
        stopped += u32::from(answer.text.contains("stopped_by"));
    }
    // All of it happened, so all of it was tried.
    println!("{served} served, {refused} refused, {stopped} stopped, {several} tried more than once");
    assert!(served > 10 && refused > 10 && stopped > 0 && several > 10, "{served} {refused} {stopped} {several}");
    rig.close().await;
}

#[expect(clippy::disallowed_methods, reason = "the caller's own clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
