//! A hard spend cap: money for exactly N calls pays for exactly N calls, whatever arrives at once.

#[path = "exactly_n/mixed.rs"]
mod mixed;
#[path = "support/process.rs"]
mod process;
#[path = "support/upstream.rs"]
mod upstream;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use process::{Admin, Process, client, free_port, write_config};
use serde_json::{Value, json};
use tempfile::TempDir;
use upstream::Barrier;

const ADMIN_TOKEN: &str = "exactly-n-admin-token";
const CALLS: usize = 1_000;
const PAID_FOR: i64 = 137;
/// 11 prompt and 7 completion tokens at $2 and $8 a million.
const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"upstream","choices":[{"index":0,"message":{"role":"assistant","content":"seven words are what this is worth"},"finish_reason":"stop","logprobs":null}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}"#;
const CHARGE: i64 = (11 * 2_000_000 + 7 * 8_000_000) / 1_000;

struct Setting {
    _folder: TempDir,
    _gateway: Process,
    url: String,
    admin: Admin,
}

fn start(upstream: &Barrier) -> Setting {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let config = write_config(
        folder.path(),
        &format!(
            r#"
            [server]
            listen = "127.0.0.1:{port}"
            [storage]
            url = "sqlite://{database}"
            [billing]
            admission_wait_ms = 0
            [log]
            level = "error"
            [providers.house]
            protocol = "openai-chat"
            base_url = "http://{upstream}/v1"
            api_key = "upstream-key"
            [[models]]
            name = "m"
            deployments = [{{ provider = "house", model = "upstream" }}]
            price = {{ input = "2", output = "8" }}
            "#,
            database = folder.path().join("exactly.db").display(),
            upstream = upstream.address,
        ),
    );
    let gateway = Process::start(&["serve", "--config", &config], port, &[("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN)]);
    let url = gateway.url.clone();
    Setting { admin: Admin::new(&url, ADMIN_TOKEN), _folder: folder, _gateway: gateway, url }
}

async fn call(http: &reqwest::Client, url: &str, key: &str) -> (u16, String, Value) {
    let body = json!({ "model": "m", "max_tokens": 64, "messages": [{ "role": "user", "content": "what is it worth?" }] });
    let response = http.post(format!("{url}/v1/chat/completions")).bearer_auth(key).json(&body).send().await.expect("an answer");
    let status = response.status().as_u16();
    let id = response.headers().get("x-bellwether-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    (status, id, response.json().await.expect("JSON"))
}

fn nano(value: &Value) -> i64 {
    value["nano"].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no money in {value}"))
}

/// What one such call holds, learned from a call that is refused: it states what it would have needed.
async fn hold_of_one(setting: &Setting) -> i64 {
    let key = setting.admin.funded("poor", "0.000001").await;
    let (status, _, body) = call(&client(), &setting.url, &key).await;
    assert_eq!(status, 402, "{body}");
    let required = body.pointer("/error/required_usd").and_then(Value::as_str).expect("a refusal says what it needed");
    let (whole, fraction) = required.split_once('.').expect("a decimal amount");
    format!("{whole}{fraction:0<9}").parse().expect("nine decimals at most")
}

fn decimal(nano: i64) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}

async fn balance(setting: &Setting, account: &str) -> Value {
    setting.admin.get(&format!("/admin/v1/accounts/{account}/balance")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_for_137_calls_pays_for_137_calls() {
    let upstream = Barrier::start(false, ANSWER).await;
    let setting = start(&upstream);
    let opening = hold_of_one(&setting).await * PAID_FOR;
    let key = setting.admin.funded("exact", &decimal(opening)).await;
    exactly(&upstream, &setting, &key).await;
    let balance = balance(&setting, "exact").await;
    assert_eq!(nano(&balance["available"]), opening - PAID_FOR * CHARGE, "{balance}");
    assert_eq!(nano(&balance["held"]), 0, "{balance}");
    verify(&setting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_budgets_and_a_wallet_the_tightest_decides() {
    // The tight one is a user's; the account's and the wallet have more, and none of them keeps what was refused.
    for tight in ["user", "org"] {
        let upstream = Barrier::start(false, ANSWER).await;
        let setting = start(&upstream);
        let one = hold_of_one(&setting).await;
        setting.admin.funded("exact", &decimal(one * 500)).await;
        setting.admin.post("/admin/v1/accounts/exact/users", json!({ "name": "ann" })).await;
        let key = setting.admin.post("/admin/v1/keys", json!({ "account": "exact", "user": "ann", "name": "test" })).await;
        let user = setting.admin.get("/admin/v1/accounts/exact/users").await["data"][0]["id"].clone();
        let limit = |scope: &str| decimal(one * if scope == tight { PAID_FOR } else { 300 });
        let budget = |scope: &str, subject: Option<&Value>| json!({ "name": scope, "scope": scope, "subject": subject, "limit_usd": limit(scope), "period": { "every": "month" } });
        setting.admin.post("/admin/v1/accounts/exact/budgets", budget("org", None)).await;
        setting.admin.post("/admin/v1/accounts/exact/budgets", budget("user", Some(&user))).await;
        exactly(&upstream, &setting, key["key"].as_str().expect("a new key is shown")).await;
        let balance = balance(&setting, "exact").await;
        assert_eq!(nano(&balance["available"]), one * 500 - PAID_FOR * CHARGE, "{balance}");
        let budgets = setting.admin.get("/admin/v1/accounts/exact/budgets").await;
        for budget in budgets["data"].as_array().expect("a list") {
            assert_eq!(nano(&budget["current"]["spent"]), PAID_FOR * CHARGE, "{budget}");
            assert_eq!(nano(&budget["current"]["held"]), 0, "{budget}");
        }
        verify(&setting).await;
    }
}

/// A thousand at once, of which money holds for exactly 137: they alone reach the upstream.
async fn exactly(upstream: &Barrier, setting: &Setting, key: &str) {
    let refused = Arc::new(AtomicUsize::new(0));
    let http = client();
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let (http, url, key, refused) = (http.clone(), setting.url.clone(), key.to_owned(), Arc::clone(&refused));
            spawn(async move {
                let (status, _, body) = call(&http, &url, &key).await;
                if status == 402 {
                    refused.fetch_add(1, Ordering::SeqCst);
                }
                (status, body)
            })
        })
        .collect();
    let deadline = Duration::from_secs(60);
    let decided = async {
        while upstream.arrived() + refused.load(Ordering::SeqCst) < CALLS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(deadline, decided).await.expect("every call is admitted or refused");
    assert_eq!(upstream.arrived(), 137, "upstream calls");
    assert_eq!(refused.load(Ordering::SeqCst), 863, "refusals");
    upstream.release();
    for call in calls {
        let (status, body) = call.await.expect("no call panics");
        assert!(status == 200 || status == 402, "{status}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_barrier_nothing_is_overspent_and_nearly_all_of_it_is_usable() {
    let upstream = Barrier::start(true, ANSWER).await;
    let setting = start(&upstream);
    let opening = hold_of_one(&setting).await * 20;
    let key = setting.admin.funded("usable", &decimal(opening)).await;
    let http = client();
    let mut served = 0;
    // Callers come 50 at a time until the wallet refuses every one of them.
    loop {
        let calls: Vec<_> = (0..50)
            .map(|_| {
                let (http, url, key) = (http.clone(), setting.url.clone(), key.clone());
                spawn(async move { call(&http, &url, &key).await.0 })
            })
            .collect();
        let mut paid = 0;
        for call in calls {
            paid += i64::from(call.await.expect("no call panics") == 200);
        }
        served += paid;
        let balance = balance(&setting, "usable").await;
        assert_eq!(nano(&balance["available"]), opening - served * CHARGE, "to the nano: {balance}");
        if paid == 0 {
            break;
        }
    }
    let used = served * CHARGE;
    assert!(used <= opening, "overspent: {used} of {opening}");
    assert!(used * 100 >= opening * 95, "only {used} of {opening} could be used");
    verify(&setting).await;
}

async fn verify(setting: &Setting) {
    // By default an answer does not wait for its settlement to be written: the last ones may be a commit away.
    for patience in (0..100).rev() {
        let verdict = setting.admin.post("/admin/v1/ledger/verify", json!({})).await;
        assert_eq!(verdict["ok"], true, "{verdict}");
        if verdict["open_holds"] == 0 {
            return;
        }
        assert!(patience > 0, "{verdict}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "each test awaits what it spawns")]
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(task)
}
