//! The walk of `docs/money.md`: its commands, word for word, against a gateway whose calendar is turned through a month.

#[path = "support/process.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod process;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bellwether::{Registry, config::Config, serve::Gateway};
use gateway_core::{Clock, SystemClock};
use gateway_providers::simulator::{Scenario, Simulator, serve};
use process::client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, time::Instant};

const ADMIN_TOKEN: &str = "walk-admin-token";
const DAYS: u64 = 31;
const DAY: Duration = Duration::from_secs(86_400);
/// 2027-03-01T00:00:01Z.
const MARCH: Duration = Duration::from_secs(1_803_859_201);

/// The machine's time, from another date on and with jumps.
#[derive(Debug)]
struct Turned {
    began: Instant,
    skipped_s: AtomicU64,
}

impl Clock for Turned {
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + MARCH + Duration::from_secs(self.skipped_s.load(Ordering::Relaxed)) + self.began.elapsed()
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }
}

struct Walk {
    folder: TempDir,
    gateway: Gateway,
    clock: Arc<Turned>,
    /// What each model's callers were told that they pay, in nano-dollars.
    told: BTreeMap<&'static str, i64>,
    calls: u64,
}

impl Walk {
    /// The gateway of the page, before a simulated provider.
    async fn begin(page: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let provider = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = provider.local_addr().expect("a bound listener").port();
        spawn(async move { drop(serve(provider, Simulator::new(Scenario::default()), std::future::pending()).await) });
        let database = format!("sqlite://{}", folder.path().join("walk.db").display());
        let text = block(page, "toml")
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("sqlite://bellwether.db", &database)
            .replace(":9100", &format!(":{port}"));
        let environment: BTreeMap<String, String> =
            [("OPENAI_API_KEY", "upstream-key"), ("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN)].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let config = Config::parse(&text, "docs/money.md", &environment).expect("the page's configuration");
        let clock = Arc::new(Turned { began: SystemClock.monotonic(), skipped_s: AtomicU64::new(0) });
        let registry = Registry::builtin().expect("shipped specs");
        let gateway = Gateway::start_by(&config, &environment, registry, Arc::clone(&clock) as _).await.expect("it starts");
        fs::write(folder.path().join("catalog.json"), block(page, "json")).expect("a writable folder");
        Self { folder, gateway, clock, told: BTreeMap::new(), calls: 0 }
    }

    /// Runs a block of the page as a shell would; what it printed.
    async fn run(&self, script: &str) -> String {
        let binary = Path::new(env!("CARGO_BIN_EXE_bellwether")).parent().expect("a folder").display().to_string();
        let mut command = Command::new("sh");
        command.args(["-euc", &format!("PATH=\"$BINARY:$PATH\"\n{script}")]).current_dir(self.folder.path()).env("BINARY", binary);
        command.env("BELLWETHER_URL", self.gateway.url()).env("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN);
        let script = script.to_owned();
        let output = tokio::task::spawn_blocking(move || command.output().expect("a shell")).await.expect("no panic");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{script}\n{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn key(&self, team: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("{team}.key"))).expect("the key was kept").trim().to_owned()
    }

    /// One call; `false` when a budget refused it.
    async fn call(&mut self, team: &'static str, model: &'static str, prompt: &str) -> bool {
        let body = json!({ "model": model, "max_tokens": 200, "messages": [{ "role": "user", "content": prompt }] });
        let request = client().post(format!("{}/v1/chat/completions", self.gateway.url())).bearer_auth(self.key(team)).json(&body);
        let answer = request.send().await.expect("the gateway answers");
        let (status, head) = (answer.status(), answer.headers().clone());
        let body: Value = answer.json().await.expect("JSON");
        if status == 402 {
            assert_eq!(body["error"]["code"], "budget_exceeded", "{body}");
            assert!(body["error"]["message"].as_str().is_some_and(|text| text.contains("each team")), "{body}");
            return false;
        }
        assert_eq!(status, 200, "{body}");
        let cost = head["x-bellwether-cost-usd"].to_str().expect("a decimal");
        assert_eq!(body["usage"]["cost"], cost, "header and body agree");
        let (input, output) = (&body["usage"]["prompt_tokens"], &body["usage"]["completion_tokens"]);
        let charge = with_plan(model, input.as_i64().expect("a count"), output.as_i64().expect("a count"));
        assert_eq!(nano(cost), charge, "{body}");
        *self.told.entry(model).or_default() += charge;
        self.calls += 1;
        true
    }

    /// Both teams work every day; the blue one until its budget is spent. Returns how often it was refused.
    async fn month(&mut self) -> u64 {
        let mut refused = 0;
        for day in 0..DAYS {
            let long = "The tide comes in and the tide goes out, and nobody has asked it why. ".repeat(60);
            for n in 0..8 {
                refused += u64::from(!self.call("blue", "writer", &format!("{long}Day {day}, part {n}.")).await);
            }
            // The same every day, word for word.
            assert!(self.call("green", "helper", &long).await);
            // What the day has used is posted before the next one.
            self.gateway.ledger().flush().await;
            self.clock.skipped_s.fetch_add(DAY.as_secs(), Ordering::Relaxed);
        }
        refused
    }
}

/// The list prices of the page, times 1.05, rounded up once.
fn with_plan(model: &str, input: i64, output: i64) -> i64 {
    let (input_pico, output_pico) = if model == "writer" { (2_200_000, 8_800_000) } else { (440_000, 1_760_000) };
    (input * input_pico * 105 + output * output_pico * 105 + 99_999) / 100_000
}

fn nano(decimal: &str) -> i64 {
    let (whole, part) = decimal.split_once('.').unwrap_or((decimal, ""));
    format!("{whole}{part:0<9}").parse().unwrap_or_else(|_| panic!("`{decimal}` is no amount"))
}

fn page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/money.md")).expect("the page is part of the project")
}

/// The first fenced block of a language.
fn block(page: &str, language: &str) -> String {
    blocks(page, language).next().expect("the page has one").to_owned()
}

fn blocks<'p>(page: &'p str, language: &str) -> impl Iterator<Item = &'p str> {
    let fence = format!("```{language}\n");
    page.match_indices(&fence).map(|(at, _)| at + fence.len()).collect::<Vec<_>>().into_iter().map(|start| {
        let rest = &page[start..];
        &rest[..rest.find("```").expect("a block ends")]
    })
}

#[expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_money_does_what_it_says() {
    let page = page();
    let (before, after) = page.split_once("<!-- a month passes -->").expect("the page says when");
    let mut walk = Walk::begin(&page).await;
    let mut said = String::new();
    for script in blocks(before, "sh") {
        said += &walk.run(script).await;
    }
    for expected in ["0 new, 2 changed", "0.0048", "acme", "each team", "5.000000000", "25.000000000"] {
        assert!(said.contains(expected), "{expected}:\n{said}");
    }
    let first: Value = serde_json::from_str(&fs::read_to_string(walk.folder.path().join("answer.json")).unwrap()).unwrap();
    let first_cost = first["usage"]["cost"].as_str().expect("the answer says its cost");
    assert!(said.contains(&format!("x-bellwether-cost-usd: {first_cost}")), "{said}");
    walk.told.insert("writer", nano(first_cost));
    walk.calls = 1;

    let refused = walk.month().await;
    assert!(refused > 10 && walk.told["writer"] <= 500_000_000, "{refused} refused, {:?}", walk.told);
    // Half a dollar less what one call may hold.
    assert!(walk.told["writer"] > 480_000_000, "{:?}", walk.told);

    let charged: i64 = walk.told.values().sum();
    let mut said = Vec::new();
    for script in blocks(after, "sh") {
        said.push(walk.run(script).await);
    }
    let [statement, reports, cheaper, verdict] = said.as_slice() else { panic!("the page has other blocks: {said:?}") };
    let money = |nano: i64| format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    for expected in [money(charged), money(25_000_000_000 - charged), format!("usage, {} requests", walk.calls)] {
        assert!(statement.contains(&expected), "{expected}:\n{statement}");
    }
    for expected in
        [format!("\"total_requests\":{}", walk.calls), format!("\"total_cost_usd\":\"{}\"", money(charged)), money(walk.told["helper"])]
    {
        assert!(reports.contains(&expected), "{expected}:\n{reports}");
    }
    let (replayed, hints) = cheaper.split_once("HINT ").expect("a table of hints");
    assert!(replayed.contains(&money(charged)) && replayed.contains("to exactly what was charged"), "{replayed}");
    // As many tokens at a fifth of the price, each request rounded up for itself.
    let saved = walk.told["writer"] - walk.told["writer"] / 5;
    assert!(replayed.contains(&format!("-{}", money(saved))) && hints.contains("cheaper_model"), "{cheaper}");
    let checks: Vec<_> = verdict.lines().filter(|line| line.starts_with("INV-") || line.starts_with("chain")).collect();
    assert!(checks.len() > 15 && checks.iter().all(|line| line.ends_with("holds")), "{verdict}");
    walk.gateway.stop().await.expect("it stops");
}
