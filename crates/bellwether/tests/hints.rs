//! Hints from outside: real calls, the answer at both addresses and on the command line, and what stands on disk.

#[expect(dead_code, reason = "the test programs share the rig, and each uses its part")]
#[path = "support/rig.rs"]
mod rig;
#[expect(dead_code, reason = "the test programs share the rig, and each uses its part")]
#[path = "faults/upstream.rs"]
mod upstream;
#[expect(dead_code, reason = "the test programs share the rig, and each uses its part")]
#[path = "faults/wire.rs"]
mod wire;

use std::process::Command;

use rig::{Company, Rig, Way, client};
use serde_json::{Value, json};

/// Stands in every prompt and must stand nowhere on disk.
const MARKER: &str = "the-otter-sleeps-under-the-third-bridge ";

async fn get(rig: &Rig, key: &str, path: &str) -> (u16, Value) {
    let response = client().get(format!("{}{path}", rig.gateway.url())).bearer_auth(key).send().await.expect("the gateway answers");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// Asks `backup` for this, and says what it was charged, in billionths.
async fn ask(rig: &Rig, path: &str, body: &Value) -> i64 {
    let response = client().post(format!("{}{path}", rig.gateway.url())).bearer_auth(&rig.key).json(body).send().await;
    let response = response.expect("the gateway answers");
    assert_eq!(response.status(), 200);
    let id = response.headers()["x-bellwether-request-id"].to_str().expect("text").to_owned();
    let receipt = rig.receipt(&id).await;
    receipt["charge"]["nano"].as_str().and_then(|nano| nano.parse().ok()).expect("a charge")
}

async fn command(rig: &Rig, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.arg("hints").args(arguments).env("BELLWETHER_URL", rig.gateway.url());
    command.env("BELLWETHER_ADMIN_TOKEN", rig.gateway.admin_token().expose());
    let output = tokio::task::spawn_blocking(move || command.output().expect("the program starts")).await.expect("it ends");
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
}

/// The rule's entry in an answer.
fn rule<'v>(hints: &'v Value, id: &str) -> &'v Value {
    hints["rules"].as_array().and_then(|rules| rules.iter().find(|rule| rule["id"] == id)).expect("every rule is listed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_calls_of_two_protocols_are_told_and_no_word_of_them_is_kept() {
    let rig = Rig::start(Way::InProcess, Company::Shared, &json!({ "kind": "status", "status": 529 })).await;
    let long = MARKER.repeat(1_500);
    let body = |text: &str| json!({ "model": "backup", "max_tokens": 4_096, "messages": [{ "role": "user", "content": text }] });
    let mut charges = Vec::new();
    for text in [long.as_str(), long.as_str(), MARKER] {
        charges.push(ask(&rig, "/v1/chat/completions", &body(text)).await);
    }
    // Another protocol, the system prompt before the conversation whatever the body's order.
    for question in ["What?", "Why?"] {
        let mut body = body(question);
        body["system"] = json!(long);
        charges.push(ask(&rig, "/v1/messages", &body).await);
    }
    let (status, hints) = get(&rig, &rig.key, "/v1/billing/hints").await;
    assert_eq!((status, hints["requests"].as_u64(), hints["currency"].as_str()), (200, Some(5), Some("XTS")));
    for id in ["duplicate_requests", "prompt_cache", "oversized_limit"] {
        assert_eq!((&rule(&hints, id)["requests"], &rule(&hints, id)["not_known"]), (&json!(5), &json!(0)), "{id}");
    }
    let repeated = hints["data"].as_array().and_then(|data| data.iter().find(|hint| hint["id"] == "duplicate_requests"));
    let repeated = repeated.expect("the same body was sent twice");
    let nano = format!("0.{:09}", charges[1]);
    assert_eq!((repeated["saving_usd"].as_str(), &repeated["details"]["requests_repeated"]), (Some(nano.as_str()), &json!(1)));
    let (status, receipt) = get(&rig, &rig.key, repeated["evidence_url"].as_str().expect("a URL")).await;
    assert_eq!((status, receipt["charge"]["nano"].as_str()), (200, Some(charges[1].to_string().as_str())));

    let (right, text) = command(&rig, &["--account", "default", "--test", "--json"]).await;
    let operators: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(right && operators["requests"] == 5, "{text}");
    let (right, text) = command(&rig, &["--account", "default", "--test"]).await;
    assert!(right && text.contains("duplicate_requests") && text.contains(&nano), "{text}");
    let (right, text) = command(&rig, &["--account", "nobody"]).await;
    assert!(!right && text.contains("no account `nobody`"), "{text}");
    // A live key's requests are another wallet's.
    let (right, text) = command(&rig, &["--account", "default", "--json"]).await;
    assert!(right && text.contains("\"requests\": 0"), "{text}");

    rig.settled().await;
    for file in std::fs::read_dir(rig.folder.path()).expect("a folder") {
        let bytes = std::fs::read(file.expect("an entry").path()).expect("a file");
        assert!(!bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes()), "a prompt's text is on disk");
    }
    rig.close().await;
}

#[expect(clippy::disallowed_methods, reason = "the caller's own clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
