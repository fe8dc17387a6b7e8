//! Signed receipts, from the call to the check on another machine that has nothing but the public key.

#[expect(dead_code, reason = "the test programs share the rig, and each uses its part")]
#[path = "support/rig.rs"]
mod rig;
#[expect(dead_code, reason = "the test programs share the rig, and each uses its part")]
#[path = "faults/upstream.rs"]
mod upstream;
#[expect(dead_code, reason = "the test programs share the rig, and each uses its part")]
#[path = "faults/wire.rs"]
mod wire;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use bellwether::cli::AdminClient;
use gateway_billing::receipt::ReceiptKeys;
use rig::{Company, PROMPT, Rig, Way, client};
use serde_json::{Value, json};

const KEYS: &str = "/.well-known/bellwether-receipts.json";

async fn call(rig: &Rig, path: &str, stream: bool, wanted: &str) -> reqwest::Response {
    let body = json!({ "model": "primary", "stream": stream, "max_tokens": 200, "messages": [{ "role": "user", "content": PROMPT }] });
    let request = client().post(format!("{}{path}", rig.gateway.url())).bearer_auth(&rig.key).header("x-bellwether-receipt", wanted);
    request.json(&body).send().await.expect("the gateway answers")
}

fn header(response: &reqwest::Response, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
}

async fn get(rig: &Rig, key: &str, path: &str) -> (u16, Value) {
    let response = client().get(format!("{}{path}", rig.gateway.url())).bearer_auth(key).send().await.expect("the gateway answers");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

/// A key of another account, in the same money.
async fn stranger(rig: &Rig) -> String {
    let admin = AdminClient::new(&rig.gateway.url(), rig.gateway.admin_token().clone()).expect("a client");
    admin.post("/admin/v1/accounts", &json!({ "name": "stranger" }), None).await.expect("an account");
    let key = admin.post("/admin/v1/keys", &json!({ "account": "stranger", "mode": "test" }), None).await.expect("a key");
    key["key"].as_str().expect("shown once").to_owned()
}

async fn fetched(rig: &Rig, id: &str) -> String {
    // Once the receipt proper is there, the call has ended.
    rig.receipt(id).await;
    let (status, body) = get(rig, &rig.key, &format!("/v1/billing/requests/{id}/receipt")).await;
    assert_eq!(status, 200, "{body}");
    body["receipt"].as_str().expect("a receipt").to_owned()
}

async fn keys(rig: &Rig) -> String {
    // No key is shown: anybody may check.
    let response = client().get(format!("{}{KEYS}", rig.gateway.url())).send().await.expect("the gateway answers");
    assert_eq!(response.status(), 200);
    response.text().await.expect("text")
}

/// The command, given this on standard input; its status and what it prints.
fn verify(receipt: &str, keys: &Path, input: &[u8]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.args(["receipt", "verify", receipt, "--keys"]).arg(keys);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program starts");
    // It may end without reading.
    drop(child.stdin.take().expect("piped").write_all(input));
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("it ends by itself"), String::from_utf8(text).expect("text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_answer_brings_its_receipt_and_it_states_what_the_books_say() {
    // The first provider fails after it took the work, so that there are two attempts to state.
    let rig = Rig::start(Way::InProcess, Company::Shared, &json!({ "kind": "status", "status": 529 })).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let response = call(&rig, path, false, "true").await;
        let (id, cost) = (header(&response, "x-bellwether-request-id").expect("an id"), header(&response, "x-bellwether-cost-usd"));
        let enclosed = header(&response, "x-bellwether-receipt").expect("a receipt");
        let answer: Value = response.json().await.expect("JSON");
        assert_eq!(enclosed, fetched(&rig, &id).await, "one call, one receipt");
        let claims = ReceiptKeys::parse(&keys(&rig).await).expect("a key set").verify(&enclosed).expect("genuine");

        let books = rig.receipt(&id).await;
        assert_eq!((&claims["iss"], &claims["id"], &claims["state"]), (&json!("bellwether"), &json!(id), &json!("settled")));
        for (stated, booked) in [
            ("/account", "/account"),
            ("/mode", "/mode"),
            ("/created_at", "/created_at"),
            ("/served_at", "/settled_at"),
            ("/requested_model", "/requested_model"),
            ("/model", "/model"),
            ("/leaves", "/usage"),
            ("/price", "/price"),
            ("/charge", "/charge"),
            ("/written_off", "/written_off"),
        ] {
            assert_eq!(claims.pointer(stated).expect(stated), books.pointer(booked).expect(booked), "{stated}");
        }
        assert_eq!((&claims["provider"], &claims["currency"], &claims["stream"]), (&json!("second"), &json!("XTS"), &json!(false)));
        assert_eq!((claims["charge"]["xts"].as_str(), &answer["usage"]["cost"]), (cost.as_deref(), &claims["charge"]["xts"]));
        assert_eq!(claims["price"]["sha256"].as_str().map(str::len), Some(64), "{claims}");
        let attempts = json!([
            { "n": 1, "provider": "first", "upstream_model": "faulty", "outcome": "overloaded", "charged": false },
            { "n": 2, "provider": "second", "upstream_model": "sound", "outcome": "served", "charged": true },
        ]);
        assert_eq!(claims["attempts"], attempts);
    }
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_sent_along_only_if_it_is_asked_for_and_there_is_one() {
    let rig = Rig::start(Way::InProcess, Company::Shared, &json!({ "kind": "status", "status": 400 })).await;
    let refused = call(&rig, "/v1/chat/completions", false, "true").await;
    assert_eq!((refused.status().as_u16(), header(&refused, "x-bellwether-receipt")), (400, None));
    let id = header(&refused, "x-bellwether-request-id").expect("an id");
    let claims = ReceiptKeys::parse(&keys(&rig).await).expect("a key set").verify(&fetched(&rig, &id).await).expect("genuine");
    assert_eq!((&claims["state"], &claims["charge"]["nano"], &claims["model"]), (&json!("released"), &json!("0"), &Value::Null));
    assert_eq!(claims["attempts"][0]["outcome"], "invalid_request");
    rig.close().await;

    let rig = Rig::start(Way::InProcess, Company::Shared, &json!({ "kind": "drip", "bytes": 500, "every_ms": 1 })).await;
    let silent = call(&rig, "/v1/chat/completions", false, "false").await;
    assert_eq!((silent.status().as_u16(), header(&silent, "x-bellwether-receipt")), (200, None));
    let odd = call(&rig, "/v1/chat/completions", false, "please").await;
    assert_eq!(odd.status(), 400);
    let stream = call(&rig, "/v1/messages", true, "true").await;
    assert_eq!((stream.status().as_u16(), header(&stream, "x-bellwether-receipt")), (200, None));
    let id = header(&stream, "x-bellwether-request-id").expect("an id");
    let text = stream.text().await.expect("a clean end");
    let claims = ReceiptKeys::parse(&keys(&rig).await).expect("a key set").verify(&fetched(&rig, &id).await).expect("genuine");
    assert_eq!(claims["stream"], true);
    assert!(text.contains(&format!(r#""cost":"{}""#, claims["charge"]["xts"].as_str().expect("a charge"))), "{text}");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_its_accounts_own() {
    let rig = Rig::start(Way::InProcess, Company::Shared, &json!({ "kind": "status", "status": 429 })).await;
    let response = call(&rig, "/v1/chat/completions", false, "true").await;
    let id = header(&response, "x-bellwether-request-id").expect("an id");
    let stranger = stranger(&rig).await;
    let (status, body) = get(&rig, &stranger, &format!("/v1/billing/requests/{id}/receipt")).await;
    let (missing, other) = get(&rig, &stranger, "/v1/billing/requests/00000000-0000-7000-8000-000000000000/receipt").await;
    assert_eq!((status, missing), (404, 404), "{body}");
    assert_eq!(body.to_string().replace(&id, ""), other.to_string().replace("00000000-0000-7000-8000-000000000000", ""));
    let nobody = client().get(format!("{}/v1/billing/requests/{id}/receipt", rig.gateway.url())).send().await.expect("an answer");
    assert_eq!(nobody.status(), 401);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_tells_genuine_from_forged_without_the_gateway() {
    let rig = Rig::start(Way::InProcess, Company::Shared, &json!({ "kind": "status", "status": 529 })).await;
    let response = call(&rig, "/v1/chat/completions", false, "true").await;
    let receipt = header(&response, "x-bellwether-receipt").expect("a receipt");
    let cost = header(&response, "x-bellwether-cost-usd").expect("a cost");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let set = folder.path().join("keys.json");
    std::fs::write(&set, keys(&rig).await).expect("a writable folder");
    rig.close().await;

    let saved = folder.path().join("receipt.json");
    std::fs::write(&saved, json!({ "receipt": receipt }).to_string()).expect("a writable folder");
    let path = saved.to_str().expect("text");
    for (given, input) in [(receipt.as_str(), ""), ("-", receipt.as_str()), (path, "")] {
        let (status, text) = verify(given, &set, input.as_bytes());
        assert_eq!(status, 0, "{text}");
        assert!(
            text.contains("genuine") && text.contains(&format!("{cost} XTS")) && text.contains("second/sound: served, charged"),
            "{text}"
        );
    }
    for at in [0, receipt.len() / 2, receipt.len() - 1] {
        let mut altered = receipt.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).expect("ASCII");
        for (given, input) in [(altered.as_str(), ""), ("-", altered.as_str())] {
            let (status, text) = verify(given, &set, input.as_bytes());
            assert_eq!(status, 1, "byte {at}: {text}");
        }
    }
    let (status, text) = verify("-", &set, b"\xff\xfe");
    assert_eq!(status, 1, "{text}");
    for (given, keys) in [("no-such-file", set.as_path()), ("-", Path::new("no-such-keys.json")), ("-", saved.as_path())] {
        let (status, text) = verify(given, keys, receipt.as_bytes());
        assert_eq!(status, 2, "{text}");
    }
}

#[expect(clippy::disallowed_methods, reason = "the caller's own clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
