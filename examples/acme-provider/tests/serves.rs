//! Acme keeps the rules of providers, and serves callers of both protocols through the real gateway.

use std::{collections::BTreeMap, sync::Arc};

use acme_provider::Acme;
use bellwether::{Registry, config::Config, serve::Gateway};
use gateway_core::{
    ProviderId, SystemClock,
    testing::{
        conformance::{Subject, check},
        deployment,
    },
};
use gateway_providers::{CredentialPool, ProviderContext, ProviderFactory, ProviderSettings};
use serde_json::{Value, json};

#[tokio::test]
async fn it_keeps_the_rules_of_providers() {
    let pool = Arc::new(CredentialPool::none_needed(Arc::new(SystemClock)));
    let provider = Acme.build(ProviderSettings::new(ProviderId::new("acme"), pool), &ProviderContext::new());
    let subject = Subject::new(provider.expect("Acme needs nothing"), deployment("m", "acme"));
    check(&subject).await.expect("Acme keeps the rules");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_both_protocols_whole_and_streamed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\nurl = \"sqlite://{}\"\n[[models]]\nname = \"echo\"\n\
         deployments = [{{ provider = \"acme\", model = \"echo-1\" }}]\nprice = {{ input = \"1\", output = \"2\" }}\n",
        folder.path().join("acme.db").display()
    );
    let environment = BTreeMap::new();
    let config = Config::parse(&text, "test", &environment).expect("a valid configuration");
    let registry = Registry::builtin().expect("shipped specs").with(Acme);
    let gateway = Gateway::start(&config, &environment, registry).await.expect("it starts");
    let admin = bellwether::cli::AdminClient::new(&gateway.url(), gateway.admin_token().clone()).expect("a client");
    let key = admin.post("/admin/v1/keys", &json!({ "account": "default", "mode": "live" }), None).await.expect("a key");
    let key = key["key"].as_str().expect("shown once");

    let chat = json!({ "model": "echo", "messages": [{ "role": "user", "content": "one two three" }] });
    let answer: Value = serde_json::from_str(&post(&gateway, "/v1/chat/completions", key, &chat).await).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "one two three");
    assert_eq!(answer["usage"]["total_tokens"], 6);
    let mut streamed = chat.clone();
    streamed["stream"] = json!(true);
    let text = post(&gateway, "/v1/chat/completions", key, &streamed).await;
    assert!(text.contains("\"two \"") && text.ends_with("data: [DONE]\n\n"), "{text}");

    let message = json!({ "model": "echo", "max_tokens": 50, "messages": [{ "role": "user", "content": "four five" }] });
    let answer: Value = serde_json::from_str(&post(&gateway, "/v1/messages", key, &message).await).expect("JSON");
    assert_eq!(answer["content"][0]["text"], "four five");
    let mut streamed = message.clone();
    streamed["stream"] = json!(true);
    let text = post(&gateway, "/v1/messages", key, &streamed).await;
    assert!(text.contains("\"four \"") && text.contains("event: message_stop"), "{text}");
    gateway.stop().await.expect("it stops");
}

async fn post(gateway: &Gateway, path: &str, key: &str, body: &Value) -> String {
    let request = reqwest::Client::new().post(format!("{}{path}", gateway.url())).bearer_auth(key).json(body);
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let text = response.text().await.expect("a whole answer");
    assert!(status.is_success(), "{path}: {status} {text}");
    text
}
