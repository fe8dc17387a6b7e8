//! The same promise under everything at once: streams, several models, fallbacks, callers who hang up, and budgets.

use serde_json::{Value, json};

use crate::{
    ADMIN_TOKEN, balance, decimal, nano,
    process::{Admin, Process, client, free_port, write_config},
    spawn, verify,
};

const WORKERS: usize = 16;
/// Dollars that the callers try to spend: a few hundred calls.
const OPENING: i64 = 600_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_what_was_there_less_what_was_settled() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (upstream_port, port) = (free_port(), free_port());
    let scenario = folder.path().join("scenario.toml");
    std::fs::write(&scenario, SCENARIO).expect("a writable folder");
    let listen = format!("127.0.0.1:{upstream_port}");
    let scenario = scenario.display().to_string();
    let _upstream = Process::start(&["simulate", "--listen", &listen, "--config", &scenario], upstream_port, &[]);
    let config = write_config(folder.path(), &gateway_config(folder.path(), upstream_port, port));
    let gateway = Process::start(&["serve", "--config", &config], port, &[("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN)]);
    let admin = Admin::new(&gateway.url, ADMIN_TOKEN);
    let key = admin.funded("mixed", &decimal(OPENING)).await;
    let budget = json!({ "name": "day", "limit_usd": decimal(2 * OPENING), "period": { "every": "day", "tz": "Asia/Kolkata" } });
    admin.post("/admin/v1/accounts/mixed/budgets", budget).await;

    // Callers come until sixteen in a row are turned away with nothing in flight: only then is what is left too little.
    let mut refused_in_a_row = 0;
    let mut calls = 0;
    while refused_in_a_row < 2 {
        let workers: Vec<_> =
            (0..WORKERS).map(|_| spawn(call(gateway.url.clone(), key.clone(), fastrand::Rng::with_seed(random.u64(..))))).collect();
        let mut served = 0;
        for worker in workers {
            served += usize::from(worker.await.expect("no caller panics"));
        }
        calls += served;
        refused_in_a_row = if served == 0 { refused_in_a_row + 1 } else { 0 };
        assert!(calls < 100_000, "money never runs out");
    }
    let setting = crate::Setting { _folder: folder, admin, url: gateway.url.clone(), _gateway: gateway };
    verify(&setting).await;
    let left = balance(&setting, "mixed").await;
    assert_eq!(nano(&left["held"]), 0, "{left}");
    let report = report(&setting.url, &key).await;
    let settled = nano(&report["total_cost"]);
    assert_eq!(nano(&left["available"]), OPENING - settled, "{calls} calls: {left} {report}");
    let budgets = setting.admin.get("/admin/v1/accounts/mixed/budgets").await;
    assert_eq!(nano(&budgets["data"][0]["current"]["spent"]), settled, "{budgets}");
    assert!(settled * 100 >= OPENING * 95, "only {settled} of {OPENING} could be used in {calls} calls");
    println!("{calls} calls, {settled} of {OPENING} settled");
}

/// One call of a random kind; whether it was served.
async fn call(url: String, key: String, mut random: fastrand::Rng) -> bool {
    let model = ["plain", "cheap", "shaky"][random.usize(..3)];
    let stream = random.bool();
    let body = json!({
        "model": model, "stream": stream, "max_tokens": 200,
        "messages": [{ "role": "user", "content": format!("Tell me of {}.", random.u32(..)) }],
    });
    let request = client().post(format!("{url}/v1/chat/completions")).bearer_auth(&key).json(&body);
    let mut response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    assert!(status == 200 || status == 402, "{status}: {:?}", response.text().await);
    if status == 402 {
        return false;
    }
    let leave_after = (stream && random.u8(..4) == 0).then(|| random.usize(1..6));
    let mut chunks = 0;
    while leave_after != Some(chunks) && response.chunk().await.expect("a stream without a cut").is_some() {
        chunks += 1;
    }
    true
}

async fn report(url: &str, key: &str) -> Value {
    let response = client().get(format!("{url}/v1/billing/cost-report?period=all")).bearer_auth(key).send().await.expect("a report");
    response.json().await.expect("JSON")
}

const SCENARIO: &str = r#"
    [simulator]
    seed = 11
    [[simulator.rules]]
    match = { model = "flaky" }
    fault = { kind = "status", status = 503 }
    [[simulator.rules]]
    match = {}
    latency_ms = { p50 = 1, p95 = 4 }
    fault = { kind = "drip", bytes = 800, every_ms = 1 }
"#;

fn gateway_config(folder: &std::path::Path, upstream_port: u16, port: u16) -> String {
    format!(
        r#"
        [server]
        listen = "127.0.0.1:{port}"
        [storage]
        url = "sqlite://{database}"
        [billing]
        admission_wait_ms = 50
        [routing]
        backoff_ms = 1
        backoff_ms_max = 2
        [log]
        level = "error"
        [providers.house]
        protocol = "openai-chat"
        base_url = "http://127.0.0.1:{upstream_port}/v1"
        api_key = "upstream-key"
        [providers.other]
        protocol = "anthropic-messages"
        base_url = "http://127.0.0.1:{upstream_port}/v1"
        api_key = "upstream-key"
        [[models]]
        name = "plain"
        deployments = [{{ provider = "house", model = "plain" }}]
        price = {{ input = "2", output = "8" }}
        [[models]]
        name = "cheap"
        deployments = [{{ provider = "other", model = "cheap" }}]
        price = {{ input = "1", output = "4" }}
        [[models]]
        name = "shaky"
        deployments = [{{ provider = "house", model = "flaky" }}]
        fallbacks = ["plain"]
        price = {{ input = "2", output = "8" }}
        "#,
        database = folder.join("mixed.db").display(),
    )
}
