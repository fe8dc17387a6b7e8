//! Calls, deployments and attempts in one line each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, request};
use serde_json::{Map, Value};

use super::{
    clock::{TestClock, now},
    ingress::{TEST_PROTOCOL, TestIngress},
};
use crate::{
    attempt::{Attempt, NoLog},
    call::{Call, CallContext},
    clock::Clock,
    codec::Ingress,
    deployment::{Deployment, ModelLimits, OnLoss, Quirks, Timeouts},
    id::{DeploymentId, KeyId, OrgId, ProviderId, RequestId},
    key::{Mode, ModelAllowList, Principal},
    protocol::Protocol,
};

/// Builds a [`Call`] in the test protocol. Defaults: live, all models allowed, `"hello"`, a whole answer, 600 s.
///
/// ```
/// use gateway_core::testing::TestCall;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let call = TestCall::to("gpt-4.1").streamed().fallbacks(&["other"]).build();
/// assert!(call.peek().stream);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct TestCall {
    body: Map<String, Value>,
    principal: Principal,
    ingress: TestIngress,
    within: Duration,
    id: Option<RequestId>,
    headers: Vec<(&'static str, String)>,
}

impl TestCall {
    /// A call for the model.
    #[must_use]
    pub fn to(model: &str) -> Self {
        let body = Map::from_iter([("model".to_owned(), Value::from(model)), ("input".to_owned(), Value::from("hello"))]);
        let principal = Principal::new(OrgId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]), Mode::Live);
        Self { body, principal, ingress: TestIngress::new(), within: Duration::from_secs(600), id: None, headers: Vec::new() }
    }

    /// Sets any key of the request.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.body.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The prompt.
    #[must_use]
    pub fn input(self, text: &str) -> Self {
        self.with("input", text)
    }

    /// Asks for a stream.
    #[must_use]
    pub fn streamed(self) -> Self {
        self.with("stream", true)
    }

    /// The caller's own output limit.
    #[must_use]
    pub fn output_limit(self, tokens: u32) -> Self {
        self.with("output_limit", tokens)
    }

    /// The caller's own list of models.
    #[must_use]
    pub fn models(self, names: &[&str]) -> Self {
        self.with("models", names.to_vec())
    }

    /// The caller's own fallbacks.
    #[must_use]
    pub fn fallbacks(self, names: &[&str]) -> Self {
        self.with("fallbacks", names.to_vec())
    }

    /// With a test key.
    #[must_use]
    pub fn test_mode(mut self) -> Self {
        self.principal.mode = Mode::Test;
        self
    }

    /// With a key that may use only these models.
    #[must_use]
    pub fn only(mut self, names: &[&str]) -> Self {
        self.principal.models = ModelAllowList::Only(names.iter().map(|name| Box::from(*name)).collect());
        self
    }

    /// As this caller.
    #[must_use]
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principal = principal;
        self
    }

    /// The call must be over after so long.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// The same format under another protocol's name.
    #[must_use]
    pub fn speaking(mut self, protocol: Protocol) -> Self {
        self.ingress = TestIngress::speaking(protocol);
        self
    }

    /// A request id of the test's choice; otherwise each call gets a fresh one.
    #[must_use]
    pub fn id(mut self, id: RequestId) -> Self {
        self.id = Some(id);
        self
    }

    /// The call. Its calendar time is that of [`TestClock::new`].
    ///
    /// # Panics
    /// When the keys set by [`TestCall::with`] are not the test protocol's.
    #[must_use]
    pub fn build(self) -> Arc<Call> {
        let body = Bytes::from(Value::Object(self.body).to_string());
        let mut head = head();
        for (name, value) in self.headers {
            let value = value.parse().expect("a test's header value is plain text");
            head.headers.insert(name, value);
        }
        let peek = self.ingress.peek(&head, &body).expect("a test's request is valid in the test protocol");
        let now = now();
        let ctx = CallContext {
            request_id: self.id.unwrap_or_else(fresh_id),
            principal: Arc::new(self.principal),
            received_at: TestClock::new().wall(),
            read_at: now,
            deadline: now + self.within,
        };
        Arc::new(Call::new(ctx, Arc::new(self.ingress), head, body, peek))
    }
}

/// `model` served by `provider` as `<model>-upstream`, in [`TEST_PROTOCOL`], weight 1. Change fields as needed.
#[must_use]
pub fn deployment(model: &str, provider: &str) -> Deployment {
    Deployment {
        id: DeploymentId::new(format!("{model}@{provider}/{model}-upstream")),
        provider: ProviderId::new(provider),
        model: Arc::from(model),
        upstream_model: Arc::from(format!("{model}-upstream")),
        protocol: TEST_PROTOCOL,
        weight: 1,
        limits: ModelLimits { output_tokens_max: Some(4_096), context_window: Some(128_000) },
        timeouts: Timeouts::default(),
        on_loss: OnLoss::Report,
        quirks: Quirks::default(),
        notice: None,
    }
}

/// The `ordinal`th attempt of the call at the deployment, within the call's own deadline.
#[must_use]
pub fn attempt(call: &Arc<Call>, deployment: &Arc<Deployment>, ordinal: u32) -> Attempt {
    Attempt {
        call: Arc::clone(call),
        deployment: Arc::clone(deployment),
        ordinal,
        deadline: call.ctx().deadline,
        output_limit: call.peek().output_limit,
        log: Arc::new(NoLog),
    }
}

fn head() -> request::Parts {
    Request::post("/test").body(()).expect("the request is constant and valid").into_parts().0
}

fn fresh_id() -> RequestId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    RequestId::v7(1_795_435_200_000 + n, [0; 10])
}
