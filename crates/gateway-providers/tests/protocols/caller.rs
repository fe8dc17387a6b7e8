//! Callers of each protocol, and providers of each, wired as the gateway wires them.

use std::{sync::Arc, time::Duration};

use gateway_core::{
    Attempt, Call, CallContext, Clock, Deployment, Fault, Ingress, KeyId, Mode, OrgId, Principal, Provider, ProviderId, Reply, RequestId,
    Secret, SystemClock, Timeouts,
    testing::{attempt, deployment, read_body},
};
use gateway_providers::{
    CredentialPool, ProviderContext, ProviderSettings, Registry,
    simulator::{Simulator, serve},
};
use http::Request;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

/// A caller's protocol: its path and its codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    OpenAi,
    Anthropic,
}

impl Caller {
    fn ingress(self) -> Arc<dyn Ingress> {
        match self {
            Self::OpenAi => Arc::new(gateway_wire::openai_chat::OpenAiChatIngress::new()),
            Self::Anthropic => Arc::new(gateway_wire::anthropic::AnthropicIngress::new()),
        }
    }

    /// The smallest request of the protocol.
    pub(crate) fn ask(self, text: &str, stream: bool) -> Value {
        let mut body = json!({ "model": "public", "messages": [{ "role": "user", "content": text }], "max_tokens": 512 });
        if stream {
            body["stream"] = true.into();
            if self == Self::OpenAi {
                body["stream_options"] = json!({ "include_usage": true });
            }
        }
        body
    }
}

/// One request of a caller.
pub(crate) struct Asking {
    pub(crate) caller: Caller,
    pub(crate) path: &'static str,
    pub(crate) body: Value,
    pub(crate) scenario: Option<&'static str>,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) mode: Mode,
}

impl Asking {
    pub(crate) fn new(caller: Caller, body: Value) -> Self {
        let path = if caller == Caller::OpenAi { "/v1/chat/completions" } else { "/v1/messages" };
        Self { caller, path, body, scenario: None, headers: Vec::new(), mode: Mode::Test }
    }

    pub(crate) fn call(&self) -> Arc<Call> {
        let mut request = Request::post(self.path).header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        if let Some(scenario) = self.scenario {
            request = request.header("x-bellwether-simulate", scenario);
        }
        let head = request.body(()).expect("constant").into_parts().0;
        let body = bytes::Bytes::from(self.body.to_string());
        let ingress = self.caller.ingress();
        let peek = ingress.peek(&head, &body).expect("a valid request");
        let principal = Principal::new(OrgId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]), self.mode);
        let now = SystemClock.monotonic();
        let ctx = CallContext {
            request_id: RequestId::v7(1_795_435_200_000, [7; 10]),
            principal: Arc::new(principal),
            received_at: SystemClock.wall(),
            read_at: now,
            deadline: now + Duration::from_secs(10),
        };
        Arc::new(Call::new(ctx, ingress, head, body, peek))
    }
}

/// A provider of the registry and how to reach it.
pub(crate) struct Served {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) deployment: Deployment,
    _tasks: JoinSet<()>,
}

impl Served {
    /// Test calls, in process.
    pub(crate) fn in_process(id: &str, model: &str) -> Self {
        Self::build(id, model, None, JoinSet::new())
    }

    /// Live calls, to the simulator on a socket.
    pub(crate) async fn on_a_socket(id: &str, model: &str, rules: &str) -> Self {
        let scenario = serde_json::from_str(&format!("{{\"rules\":{rules}}}")).expect("a valid scenario");
        let quirks = Registry::builtin().expect("the shipped specs are valid").find(id).expect("shipped").quirks(model);
        let simulator = Simulator::new(scenario).reporting(quirks.stream_usage);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serve(listener, simulator, std::future::pending()).await.expect("it listens") });
        Self::build(id, model, Some(format!("http://{address}/v1")), tasks)
    }

    fn build(id: &str, model: &str, base_url: Option<String>, tasks: JoinSet<()>) -> Self {
        let registry = Registry::builtin().expect("the shipped specs are valid");
        let factory = registry.find(id).expect("shipped");
        let pool = CredentialPool::new(vec![Secret::new("sk-0123456789abcdef")], factory.how_to_set_key(id), Arc::new(SystemClock));
        let mut settings = ProviderSettings::new(ProviderId::new(id), Arc::new(pool));
        settings.base_url = base_url.map(Into::into);
        let provider = factory.build(settings, &ProviderContext::new()).expect("it can be built");
        let limit = Duration::from_millis(250);
        let timeouts = Timeouts { first_byte_stream: limit, first_byte_whole: limit, between_chunks: limit, ..Timeouts::default() };
        let deployment = Deployment {
            upstream_model: model.into(),
            protocol: factory.protocol(),
            quirks: factory.quirks(model),
            timeouts,
            ..deployment("public", id)
        };
        Self { provider, deployment, _tasks: tasks }
    }

    pub(crate) fn attempt(&self, asking: &Asking) -> Attempt {
        attempt(&asking.call(), &Arc::new(self.deployment.clone()), 1)
    }

    pub(crate) async fn ask(&self, asking: &Asking) -> Result<Reply, Fault> {
        self.provider.attempt(self.attempt(asking)).await
    }

    /// The whole answer, read past its commit point.
    pub(crate) async fn text(&self, asking: &Asking) -> Result<String, Fault> {
        let mut reply = self.ask(asking).await?;
        reply.commit().await?;
        Ok(String::from_utf8(read_body(reply).await.to_vec()).expect("protocols are text"))
    }
}

/// Every provider that is reached differently, with one of its models.
pub(crate) const PROVIDERS: [(&str, &str); 6] = [
    ("openai", "gpt-4.1"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-flash"),
    ("deepseek", "deepseek-chat"),
    ("mistral", "mistral-large-latest"),
    ("openrouter", "deepseek/deepseek-chat"),
];
