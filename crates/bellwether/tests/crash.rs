//! `kill -9` under mixed load, with the callers' own log as the oracle.
//!
//! Each round starts the real binary, loads it with whole answers, streams, fallbacks and hang-ups, kills it at a random
//! moment, starts it again on the same database, and compares what every caller saw with what the ledger says.

#[path = "crash/paced.rs"]
mod paced;
#[path = "support/process.rs"]
mod process;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use paced::{COMMIT, Reading};
use process::{Admin, Process, client, free_port, write_config};
use serde_json::{Value, json};

/// Kills of each mode: fifty in all. `BELLWETHER_CRASH_ROUNDS` asks for more.
const ROUNDS: u32 = 25;
const WORKERS: usize = 12;
const ADMIN_TOKEN: &str = "crash-test-admin-token";
/// What one caller saw of one request.
#[derive(Debug, Clone, Default)]
struct Seen {
    id: String,
    /// When the first byte of the body came.
    first_byte: Option<Instant>,
    /// When the whole answer, or a stream's last event, had come.
    complete: Option<Instant>,
    /// Prompt, cached and completion tokens, as the answer states them.
    usage: Option<[i64; 3]>,
    /// Bytes of what the caller wrote for the model.
    prompt: usize,
    /// The content of a stream.
    reading: Reading,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_strict_settle_every_end_a_caller_saw_is_settled_exactly() {
    rounds(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_a_kill_costs_at_most_one_checkpoint_in_the_callers_favour() {
    rounds(false).await;
}

async fn rounds(strict: bool) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (upstream_port, port) = (free_port(), free_port());
    let scenario = write_scenario(folder.path());
    let listen = format!("127.0.0.1:{upstream_port}");
    let _upstream = Process::start(&["simulate", "--listen", &listen, "--config", &scenario], upstream_port, &[]);
    let config = write_config(folder.path(), &gateway_config(folder.path(), upstream_port, port, strict));
    let start = || Process::start(&["serve", "--config", &config], port, &[("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN)]);

    let mut gateway = start();
    let admin = Admin::new(&gateway.url, ADMIN_TOKEN);
    let key = admin.funded("crash", "1000").await;
    // Budgets are killed with the rest: verification computes what they hold and have spent from the holds and settlements.
    for (name, subject) in [("hour", None), ("each caller", Some("*"))] {
        let scope = if subject.is_some() { "key" } else { "org" };
        let budget = json!({ "name": name, "scope": scope, "subject": subject, "limit_usd": "900", "period": { "every": "hour" } });
        admin.post("/admin/v1/accounts/crash/budgets", budget).await;
    }
    let mut total = Tally::default();
    for round in 0..asked_rounds() {
        let (seen, killed) = load_until_killed(gateway, &key, &mut random).await;
        gateway = start();
        let verdict = admin.post("/admin/v1/ledger/verify", json!({})).await;
        assert_eq!(verdict["ok"], true, "round {round}: {verdict}");
        assert_eq!(verdict["earlier_boot_holds"], 0, "round {round}: {verdict}");
        let balance = admin.get("/admin/v1/accounts/crash/balance").await;
        assert_eq!(balance["held"]["nano"], "0", "round {round}: {balance}");
        for one in &seen {
            total.add(one, &receipt(&gateway.url, &key, &one.id).await, killed, strict, round);
        }
    }
    println!("strict_settle={strict}: {total:?}");
    assert!(total.complete > 50, "too little load to show anything: {total:?}");
    assert!(total.cut > 0 && total.counted > 0, "no kill met a running stream: {total:?}");
}

#[expect(clippy::disallowed_methods, reason = "how long a longer run is, is said from outside")]
fn asked_rounds() -> u32 {
    std::env::var("BELLWETHER_CRASH_ROUNDS").ok().map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"))
}

/// Counts, and the assertions that each request must pass.
#[derive(Debug, Default)]
struct Tally {
    complete: u32,
    exact: u32,
    cut: u32,
    lost_nano: i64,
    /// Charged by a count of our own: recovered at a checkpoint, or left by their callers.
    counted: u32,
    /// What the checkpoints alone must have saved of those.
    least_nano: i64,
}

impl Tally {
    fn add(&mut self, seen: &Seen, receipt: &Option<Value>, killed: Instant, strict: bool, round: u32) {
        let Some(first_byte) = seen.first_byte else { return };
        let Some(receipt) = receipt else { panic!("round {round}: {} delivered a byte and left no hold row", seen.id) };
        let nano = |pointer: &str| receipt.pointer(pointer).and_then(Value::as_str).and_then(|text| text.parse::<i64>().ok());
        let (hold, charge) = (nano("/hold/nano").expect("a hold"), nano("/charge/nano").unwrap_or(0));
        assert!(charge <= hold, "round {round}: charged {charge} of a hold of {hold}: {receipt}");
        assert_ne!(receipt["state"], "open", "round {round}: {receipt}");
        let recovered = receipt["usage_source"] == "recovered";
        match (seen.complete, seen.usage) {
            (Some(at), Some(usage)) => {
                self.complete += 1;
                let exact = exact_charge(usage);
                self.exact += u32::from(charge == exact);
                // A checkpoint is a count of bytes, which a provider with longer tokens undercuts.
                let counted = if recovered { counted_charge(seen.prompt, seen.reading.all()) } else { 0 };
                assert!(charge <= exact.max(counted), "round {round}: charged {charge}, worth {exact} or {counted}: {receipt}");
                assert!(charge == exact || !strict, "round {round}: seen complete, worth {exact}, charged {charge}: {receipt}");
                assert!(
                    charge == exact || at + COMMIT > killed,
                    "round {round}: lost a settlement older than one group commit: worth {exact}, charged {charge}: {receipt}"
                );
                self.lost_nano += (exact - charge).max(0);
            }
            _ => self.cut += 1,
        }
        // Where the provider's own count was not written in time, what had its checkpoint by then is charged.
        if receipt["usage_source"] != "reported" && first_byte + COMMIT <= killed {
            self.counted += 1;
            let checkpointed = seen.reading.checkpointed(killed);
            let least = counted_charge(seen.prompt, checkpointed);
            self.least_nano += least;
            assert!(
                charge >= least,
                "round {round}: {checkpointed} bytes of content were older than a checkpoint, worth {least}, charged {charge}: {receipt}"
            );
        }
    }
}

/// What nobody reported: four bytes a token of "user", the prompt and the content, each rounded down.
fn counted_charge(prompt: usize, content: u64) -> i64 {
    (4 + prompt as i64) / 4 * 2_000 + content as i64 / 4 * 8_000
}

/// $2 a million prompt tokens, $0.50 cached, $8 completion; one rounding, up.
fn exact_charge([prompt, cached, completion]: [i64; 3]) -> i64 {
    ((prompt - cached) * 2_000_000 + cached * 500_000 + completion * 8_000_000 + 999) / 1_000
}

async fn load_until_killed(gateway: Process, key: &str, random: &mut fastrand::Rng) -> (Vec<Seen>, Instant) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (log, stop, url, key) = (Arc::clone(&log), Arc::clone(&stop), gateway.url.clone(), key.to_owned());
            let random = fastrand::Rng::with_seed(random.u64(..));
            #[expect(clippy::disallowed_methods, reason = "the test awaits every worker below")]
            tokio::spawn(worker(url, key, random, log, stop))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(random.u64(700..2_200))).await;
    // Dropping it is SIGKILL.
    let killed = now();
    drop(gateway);
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("a worker does not panic");
    }
    let log = log.lock().expect("no worker panicked");
    (log.clone(), killed)
}

async fn worker(url: String, key: String, mut random: fastrand::Rng, log: Arc<Mutex<Vec<Seen>>>, stop: Arc<AtomicBool>) {
    let http = client();
    while !stop.load(Ordering::Relaxed) {
        let model = if random.u8(..4) == 0 { "shaky" } else { "plain" };
        let stream = random.u8(..3) > 0;
        let prompt = format!("Tell me of {}.", random.u32(..));
        let messages = [json!({ "role": "user", "content": &prompt })];
        let mut body = json!({ "model": model, "stream": stream, "max_tokens": 400, "messages": messages });
        if stream {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let leave_after = (stream && random.u8(..4) == 0).then(|| random.usize(1..8));
        let request = http.post(format!("{url}/v1/chat/completions")).bearer_auth(&key).json(&body);
        let Ok(response) = request.send().await else { continue };
        assert!(response.status().is_success(), "{}: {:?}", response.status(), response.text().await);
        let seen = Seen { prompt: prompt.len(), ..read(response, stream, leave_after).await };
        log.lock().expect("no worker panicked").push(seen);
    }
}

async fn read(mut response: reqwest::Response, stream: bool, leave_after: Option<usize>) -> Seen {
    let id = response.headers().get("x-bellwether-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let mut seen = Seen { id, ..Seen::default() };
    let mut text = Vec::new();
    let mut chunks = 0;
    let ended = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                seen.first_byte.get_or_insert_with(now);
                text.extend_from_slice(&chunk);
                if stream {
                    seen.reading.note(content_bytes(&text));
                }
                chunks += 1;
                if leave_after == Some(chunks) {
                    return seen;
                }
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    let text = String::from_utf8_lossy(&text);
    if stream {
        let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
        seen.usage = events.filter_map(|event| usage(&serde_json::from_str(event).unwrap_or(Value::Null))).next_back();
        seen.complete = text.ends_with("data: [DONE]\n\n").then(now);
    } else {
        let answer = serde_json::from_str(&text).unwrap_or(Value::Null);
        seen.usage = usage(&answer);
        seen.complete = (ended && seen.usage.is_some()).then(now);
    }
    seen
}

#[expect(clippy::disallowed_methods, reason = "the oracle keeps its own time")]
fn now() -> Instant {
    Instant::now()
}

/// Of a stream's events that have come whole.
fn content_bytes(text: &[u8]) -> u64 {
    let whole = text.windows(2).rposition(|end| end == b"\n\n").map_or(0, |at| at + 2);
    let text = std::str::from_utf8(&text[..whole]).expect("the simulator writes ASCII");
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let contents =
        events.filter_map(|event| serde_json::from_str::<Value>(event).ok()?["choices"][0]["delta"]["content"].as_str().map(str::len));
    contents.sum::<usize>() as u64
}

fn usage(answer: &Value) -> Option<[i64; 3]> {
    let usage = answer.get("usage")?;
    let cached = usage.pointer("/prompt_tokens_details/cached_tokens").and_then(Value::as_i64).unwrap_or(0);
    Some([usage["prompt_tokens"].as_i64()?, cached, usage["completion_tokens"].as_i64()?])
}

async fn receipt(url: &str, key: &str, id: &str) -> Option<Value> {
    let response = client().get(format!("{url}/v1/billing/requests/{id}")).bearer_auth(key).send().await.expect("the gateway is back");
    match response.status().as_u16() {
        200 => Some(response.json().await.expect("JSON")),
        404 => None,
        other => panic!("status {other} for the receipt of {id}"),
    }
}

fn write_scenario(folder: &std::path::Path) -> String {
    let path = folder.join("scenario.toml");
    let text = r#"
        [simulator]
        seed = 7
        [[simulator.rules]]
        match = { model = "flaky" }
        fault = { kind = "status", status = 503 }
        [[simulator.rules]]
        match = {}
        latency_ms = { p50 = 10, p95 = 40 }
        fault = { kind = "drip", bytes = 400, every_ms = 15 }
    "#;
    std::fs::write(&path, text).expect("a writable folder");
    path.display().to_string()
}

fn gateway_config(folder: &std::path::Path, upstream_port: u16, port: u16, strict: bool) -> String {
    let price = r#"{ input = "2", output = "8", input_cache_read = "0.5" }"#;
    format!(
        r#"
        [server]
        listen = "127.0.0.1:{port}"
        [storage]
        url = "sqlite://{database}"
        [billing]
        strict_settle = {strict}
        [routing]
        backoff_ms = 10
        backoff_ms_max = 20
        [log]
        level = "error"
        [providers.house]
        protocol = "openai-chat"
        base_url = "http://127.0.0.1:{upstream_port}/v1"
        api_key = "upstream-key"
        [[models]]
        name = "plain"
        deployments = [{{ provider = "house", model = "plain" }}]
        price = {price}
        [[models]]
        name = "shaky"
        deployments = [{{ provider = "house", model = "flaky" }}]
        fallbacks = ["plain"]
        price = {price}
        "#,
        database = folder.join("crash.db").display(),
    )
}
