//! `POST /v1/billing/estimate` through the running stack: what it says would be held is what the call then holds, and asking
//! changes nothing.

use std::collections::BTreeMap;

use bellwether::{Registry, cli::AdminClient, config::Config, serve::Gateway};
use serde_json::{Value, json};
use tempfile::TempDir;

const MODELS: &str = r#"
    [server]
    listen = "127.0.0.1:0"
    [providers.first]
    protocol = "openai-chat"
    base_url = "http://127.0.0.1:9/v1"
    api_key = "k"
    [providers.second]
    protocol = "anthropic-messages"
    base_url = "http://127.0.0.1:9/v1"
    api_key = "k"
    [[models]]
    name = "primary"
    deployments = [{ provider = "first", model = "one" }]
    fallbacks = ["backup"]
    price = { input = "2", output = "8", input_cache_write = "2.5", overrides = [{ service_tier = "priority", factor = "1.75" }] }
    [[models]]
    name = "backup"
    deployments = [{ provider = "second", model = "two" }]
    price = { input = "3", output = "4", input_image = "9" }
    [[models]]
    name = "unsold"
    deployments = [{ provider = "first", model = "three" }]
"#;

/// A gateway of which nothing is reached but the simulator.
struct Desk {
    gateway: Gateway,
    admin: AdminClient,
    key: String,
    folder: TempDir,
}

impl Desk {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = format!("{MODELS}\n[storage]\nurl = \"sqlite://{}\"\n", folder.path().join("desk.db").display());
        let environment: BTreeMap<String, String> = BTreeMap::new();
        let config = Config::parse(&text, "desk", &environment).expect("a valid configuration");
        let gateway = Gateway::start(&config, &environment, Registry::builtin().expect("shipped specs")).await.expect("it starts");
        let admin = AdminClient::new(&gateway.url(), gateway.admin_token().clone()).expect("a client");
        let mut desk = Self { gateway, admin, key: String::new(), folder };
        desk.key = desk.key(&json!({})).await;
        desk
    }

    async fn key(&self, besides: &Value) -> String {
        let mut body = json!({ "account": "default", "mode": "test" });
        for (name, value) in besides.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let made = self.admin.post("/admin/v1/keys", &body, None).await.expect("a key");
        made["key"].as_str().expect("shown once").to_owned()
    }

    async fn budget(&self, besides: Value) {
        let mut body = json!({ "name": "small", "limit_usd": "0.000001", "mode": "test", "period": { "every": "total" } });
        for (name, value) in besides.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.admin.post("/admin/v1/accounts/default/budgets", &body, None).await.expect("a budget");
    }

    async fn send(&self, key: &str, path: &str, body: &str) -> reqwest::Response {
        bellwether::tls::install_crypto_provider();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = client.post(format!("{}{path}", self.gateway.url())).bearer_auth(key).header("content-type", "application/json");
        request.body(body.to_owned()).send().await.expect("the gateway answers")
    }

    async fn estimate(&self, body: &str) -> Value {
        let response = self.send(&self.key, "/v1/billing/estimate", body).await;
        let status = response.status();
        let estimate: Value = response.json().await.expect("JSON");
        assert_eq!(status, 200, "{body}: {estimate}");
        estimate
    }

    /// How many calls have ever held money, and the most that was held for one.
    fn holds(&self) -> (i64, i64) {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = rusqlite::Connection::open_with_flags(self.folder.path().join("desk.db"), flags).expect("the database");
        database
            .query_row("SELECT COUNT(*), COALESCE(MAX(amount), 0) FROM hold", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("the table of holds")
    }

    /// What was held for a call that has ended.
    async fn held(&self, id: &str) -> String {
        let url = format!("{}/v1/billing/requests/{id}", self.gateway.url());
        for _ in 0..200 {
            let response = reqwest::Client::new().get(&url).bearer_auth(&self.key).send().await.expect("the gateway answers");
            let receipt: Value = response.json().await.expect("JSON");
            if receipt["state"] == "settled" {
                return receipt["hold"]["nano"].as_str().expect("an amount").to_owned();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{id} was not settled within two seconds")
    }

    /// Estimates the call, makes it, and compares.
    async fn check(&self, path: &str, request: &str) {
        let asked = match path {
            "/v1/messages" => format!(r#"{{"protocol":"anthropic-messages","request":{request}}}"#),
            _ => request.to_owned(),
        };
        let estimate = self.estimate(&asked).await;
        assert_eq!((&estimate["object"], &estimate["would_be_admitted"]), (&json!("estimate"), &json!(true)), "{estimate}");
        let dearest = estimate["candidates"].as_array().expect("a list").iter().map(|one| nano(&one["hold"])).max();
        assert_eq!(dearest, Some(nano(&estimate["hold"])), "{estimate}");

        let response = self.send(&self.key, path, request).await;
        assert_eq!(response.status(), 200, "{request}");
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let (id, limit) = (header("x-bellwether-request-id").expect("an id"), header("x-bellwether-output-limit"));
        response.bytes().await.expect("a whole answer");
        assert_eq!(estimate["hold"]["nano"], self.held(&id).await, "{request}: {estimate}");
        // Only a caller without a limit is told of one.
        assert!(limit.is_none_or(|limit| estimate["output_limit"].as_u64() == limit.parse().ok()), "{request}: {estimate}");
    }
}

fn nano(money: &Value) -> i64 {
    money["nano"].as_str().and_then(|text| text.parse().ok()).expect("an amount")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_estimated_is_what_is_held() {
    let desk = Desk::open().await;
    let prose = "The tide comes in and the tide goes out. ".repeat(200);
    let said = |text: &str| json!([{ "role": "user", "content": text }]);
    let chat = "/v1/chat/completions";
    for request in [
        json!({ "model": "primary", "max_tokens": 200, "messages": said("Hi") }),
        json!({ "model": "primary", "messages": said(&prose) }),
        json!({ "model": "primary", "stream": true, "n": 3, "max_completion_tokens": 50, "messages": said("潮水 🌊") }),
        json!({ "model": "primary", "max_tokens": 20, "service_tier": "priority", "messages": said(&prose), "user": "u-1" }),
        json!({ "model": "backup", "max_tokens": 20, "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "What is this?" }, { "type": "image_url", "image_url": { "url": "https://example.com/a.png" } }] }] }),
        json!({ "models": ["backup", "primary"], "max_tokens": 9, "messages": said("Hi") }),
        json!({ "model": "primary", "disable_fallbacks": true, "max_tokens": 9, "messages": said("Hi") }),
        json!({ "model": "primary", "max_total_cost": 0.01, "messages": said("Hi") }),
        json!({ "model": "primary", "max_tokens": 64, "messages": said("Hi"), "tools": [
            { "type": "function", "function": { "name": "tide", "parameters": { "type": "object", "properties": { "at": { "type": "string" } } } } }] }),
    ] {
        desk.check(chat, &request.to_string()).await;
    }
    // Spaces and escapes are part of the size that is held for, in a wrapper too.
    desk.check(chat, r#"{ "model" : "primary",  "max_tokens": 30, "messages": [ {"role":"user","content":"\u6f6e\u6c34\n"} ] }"#).await;
    let messages = json!({ "model": "primary", "max_tokens": 64, "system": "Be brief.", "messages": said(&prose) });
    desk.check("/v1/messages", &messages.to_string()).await;
    desk.gateway.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_estimate_tells_of_each_candidate_and_changes_nothing() {
    let desk = Desk::open().await;
    let request =
        json!({ "model": "primary", "max_tokens": 200, "messages": [{ "role": "user", "content": "a".repeat(400) }] }).to_string();
    let estimate = desk.estimate(&request).await;
    let candidates = estimate["candidates"].as_array().expect("a list");
    let places: Vec<_> =
        candidates.iter().map(|one| (&one["model"], &one["provider"], &one["upstream_model"], &one["output_limit"])).collect();
    assert_eq!(
        places,
        [
            (&json!("primary"), &json!("first"), &json!("one"), &json!(200)),
            (&json!("backup"), &json!("second"), &json!("two"), &json!(200)),
        ]
    );
    // 404 bytes of strings in the prompt are 101 tokens at four bytes each: 101 × 2,000 nano-dollars.
    let expected = &candidates[0]["expected"];
    assert_eq!((&expected["input_tokens"], &expected["basis"], nano(&expected["input"])), (&json!(101), &json!("usual"), 202_000));
    assert_eq!(candidates[0]["price"]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(estimate["refusals"], json!([]));
    assert_eq!(desk.holds(), (0, 0), "nothing is held");
    assert_eq!(desk.estimate(&request).await, estimate, "nothing has changed");
    desk.gateway.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_call_would_be_refused_with_is_told() {
    let desk = Desk::open().await;
    // More than any wallet of test money has.
    let dear = json!({ "model": "primary", "max_tokens": 4_000_000_000_u32, "n": 128, "messages": [{ "role": "user", "content": "Hi" }] });
    let estimate = desk.estimate(&dear.to_string()).await;
    assert_eq!((&estimate["would_be_admitted"], &estimate["refusals"][0]["code"]), (&json!(false), &json!("insufficient_credits")));
    let refused: Value = desk.send(&desk.key, "/v1/chat/completions", &dear.to_string()).await.json().await.expect("JSON");
    assert_eq!(refused["error"]["message"], estimate["refusals"][0]["message"], "{refused}");

    let plain = json!({ "model": "primary", "max_tokens": 200, "messages": [{ "role": "user", "content": "Hi" }] }).to_string();
    let capped = json!({ "model": "primary", "max_tokens": 200, "max_total_cost": "0.000001", "messages": [] }).to_string();
    let estimate = desk.estimate(&capped).await;
    assert_eq!((&estimate["would_be_admitted"], &estimate["refusals"][0]["code"]), (&json!(false), &json!("max_total_cost_exceeded")));

    // A budget that counts a fallback alone takes it out, and the call goes on.
    desk.budget(json!({ "provider": "second" })).await;
    let estimate = desk.estimate(&plain).await;
    assert_eq!((&estimate["would_be_admitted"], &estimate["refusals"][0]["code"]), (&json!(true), &json!("budget_exceeded")), "{estimate}");
    assert_eq!(estimate["candidates"].as_array().map(Vec::len), Some(1));
    desk.check("/v1/chat/completions", &plain).await;

    desk.budget(json!({ "name": "whole" })).await;
    let estimate = desk.estimate(&plain).await;
    assert_eq!(estimate["would_be_admitted"], false);
    let refused: Value = desk.send(&desk.key, "/v1/chat/completions", &plain).await.json().await.expect("JSON");
    let of_all = estimate["refusals"].as_array().expect("a list").iter().find(|refusal| refusal["message"] == refused["error"]["message"]);
    assert_eq!(of_all.map(|refusal| &refusal["code"]), Some(&json!("budget_exceeded")), "{estimate} {refused}");
    desk.gateway.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_call_gets_the_error_of_the_call() {
    let desk = Desk::open().await;
    let narrow = desk.key(&json!({ "models": ["backup"] })).await;
    let ask = |model: &str| json!({ "model": model, "max_tokens": 5, "messages": [] }).to_string();
    for (key, body, status, code) in [
        (&desk.key, ask("nothing-like-it"), 404, json!("model_not_found")),
        (&narrow, ask("primary"), 403, json!("model_not_found")),
        (&desk.key, ask("unsold"), 400, json!("model_not_priced")),
        (&desk.key, "{".to_owned(), 400, Value::Null),
        (&desk.key, "[]".to_owned(), 400, Value::Null),
        (&desk.key, r#"{"messages":[]}"#.to_owned(), 400, Value::Null),
        (&desk.key, r#"{"protocol":"gemini","request":{}}"#.to_owned(), 400, Value::Null),
        (&desk.key, r#"{"protocol":"anthropic-messages","request":{"model":7}}"#.to_owned(), 400, Value::Null),
    ] {
        let response = desk.send(key, "/v1/billing/estimate", &body).await;
        let found = response.status().as_u16();
        let error: Value = response.json().await.expect("JSON");
        assert!(error["error"]["message"].is_string(), "{body}: {error}");
        let called = if body.contains("protocol") { None } else { Some(desk.send(key, "/v1/chat/completions", &body).await) };
        let same = called.as_ref().map_or(status, |called| called.status().as_u16());
        assert_eq!((found, same), (status, status), "{body}: {error}");
        if let Some(called) = called {
            let told: Value = called.json().await.expect("JSON");
            assert_eq!(told["error"], error["error"], "{body}");
        }
        if !code.is_null() {
            assert_eq!(error["error"]["code"], code, "{body}: {error}");
        }
    }
    for (path, status) in [("/v1/billing/estimate/x", 404), ("/v1/billing/estimate/", 200)] {
        assert_eq!(desk.send(&desk.key, path, &ask("primary")).await.status(), status, "{path}");
    }
    let url = format!("{}/v1/billing/estimate", desk.gateway.url());
    assert_eq!(reqwest::Client::new().get(&url).bearer_auth(&desk.key).send().await.expect("an answer").status(), 405);
    assert_eq!(reqwest::Client::new().post(&url).bearer_auth("hs_test_nobody").send().await.expect("an answer").status(), 401);
    desk.gateway.stop().await.expect("it stops");
}
