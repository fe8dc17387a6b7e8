//! The rules that core asks of every provider, and an adapter that misbehaves.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::{
    Attempt, Deployment, Egress, Encoded, Fault, Mode, Provider, ProviderId, SystemClock,
    testing::conformance::{Subject, check},
};
use gateway_providers::{Adapter, Credential, CredentialPool, HttpProvider, Transport, TransportSettings, simulator::Simulator};
use http::Request;

use crate::caller::{Asking, Caller, PROVIDERS, Served};

#[tokio::test]
async fn every_provider_keeps_cores_rules() {
    for (id, model) in PROVIDERS {
        let served = Served::in_process(id, model);
        let subject = Subject::new(Arc::clone(&served.provider), served.deployment.clone()).mode(Mode::Test);
        check(&subject).await.unwrap_or_else(|broken| panic!("{id}: {broken}"));
    }
}

/// Panics on the prompt it is told to, sleeps on another, and otherwise speaks OpenAI chat.
struct Moody(ProviderId, gateway_wire::openai_chat::OpenAiChatEgress);

#[async_trait]
impl Adapter for Moody {
    fn id(&self) -> &ProviderId {
        &self.0
    }

    fn egress(&self, _deployment: &Deployment) -> &dyn Egress {
        &self.1
    }

    fn address(&self, attempt: &Attempt, encoded: Encoded) -> Result<Request<Bytes>, Fault> {
        let prompt = String::from_utf8_lossy(attempt.call.body()).into_owned();
        assert!(!prompt.contains("panic"), "the adapter was asked to");
        Ok(Request::post("http://127.0.0.1:1/v1/chat/completions").body(encoded.body).expect("constant"))
    }

    async fn authorize(&self, _request: &mut Request<Bytes>, _credential: Option<&Credential>) -> Result<(), Fault> {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        Ok(())
    }
}

#[tokio::test]
async fn an_adapter_that_panics_or_sleeps_harms_only_its_own_attempt() {
    let pool = CredentialPool::none_needed(Arc::new(SystemClock));
    let transport = Transport::new(&TransportSettings::default()).expect("the defaults are right");
    let adapter = Moody(ProviderId::new("moody"), gateway_wire::openai_chat::OpenAiChatEgress::new());
    let provider = HttpProvider::new(adapter, transport, Arc::new(pool), Arc::new(SystemClock)).with_simulator(Some(Simulator::default()));
    let provider: Arc<dyn Provider> = Arc::new(provider);
    let served = Served::in_process("openai", "gpt-4.1");
    let asking = |text: &str| Asking::new(Caller::OpenAi, Caller::OpenAi.ask(text, false));

    for _ in 0..3 {
        let (provider, attempt) = (Arc::clone(&provider), served.attempt(&asking("panic")));
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move { provider.attempt(attempt).await.map(|_| ()) });
        assert!(task.join_next().await.expect("one task").is_err_and(|error| error.is_panic()));
    }
    let mut live = asking("slow");
    live.mode = Mode::Live;
    let slow = tokio::time::timeout(Duration::from_millis(50), provider.attempt(served.attempt(&live))).await;
    assert!(slow.is_err(), "the router's deadline ends it");
    provider.attempt(served.attempt(&asking("hello"))).await.expect("the provider is as good as new");
}
