//! A server on a free port, and what its inner service saw.

use std::{
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use gateway_core::{
    Call, Clock, Fault, FaultKind, KeyId, KeyRefusal, KeyStore, Mode, ModelAllowList, Operation, OrgId, Origin, Principal, Protocol,
    Provider, Reply, Secret, SystemClock,
    testing::{Act, ScriptedProvider, TestIngress, attempt, deployment},
};
use gateway_server::{
    Access, AuthLayer, BodyLimitLayer, BodyLimits, CallLayer, CallLimits, Drain, Family, FamilyKind, Metrics, ModelCatalog, ModelInfo,
    Mount, MountRequest, Readiness, RescueLayer, Running, Sample, Server, ServerLimits, Site, SiteLayer, TraceLayer, Value,
};
use http::Response;
use tower::{Service, ServiceBuilder, service_fn};

pub(crate) const KEY: &str = "hs_live_good";
pub(crate) const TEST_KEY: &str = "hs_test_good";
pub(crate) const ADMIN: &str = "the-admin-token";

pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    pub(crate) provider: Arc<ScriptedProvider>,
    pub(crate) running: Running,
    pub(crate) site: Arc<Site>,
}

#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) limits: ServerLimits,
    pub(crate) body: BodyLimits,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// Another site than the one of the test protocol.
    pub(crate) site: Option<Arc<Site>>,
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Edge {
    pub(crate) fn start(act: Act) -> Self {
        Self::with(act, Setup::default())
    }

    pub(crate) fn with(act: Act, setup: Setup) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let provider = Arc::new(ScriptedProvider::always("acme", act));
        let site = setup.site.unwrap_or_else(site);
        let drain = Drain::new();
        let contributed = |out: &mut Vec<Family>| {
            out.push(Family {
                name: "bellwether_holds_open".into(),
                help: "Holds.".into(),
                kind: FamilyKind::Gauge,
                samples: vec![Sample { labels: vec![], value: Value::Number(3.0) }],
            });
        };
        let metrics = Metrics::new(|name| name == "known-model", vec![Arc::new(contributed)]);
        let stack = ServiceBuilder::new()
            .layer(RescueLayer::new(Arc::clone(&site), Arc::clone(&clock)))
            .layer(TraceLayer::new(Arc::clone(&clock), metrics.clone(), drain.clone()))
            .layer(BodyLimitLayer::new(setup.body))
            .layer(AuthLayer::new(Arc::new(Keys), Arc::new(|token: &Secret| (token.expose() == ADMIN).then(|| "admin".into()))))
            .layer(SiteLayer::new(Arc::clone(&site), metrics.clone(), drain.clone()))
            .layer(CallLayer::new(CallLimits::default(), Arc::clone(&clock), metrics))
            .service(Scripted(Arc::clone(&provider)));
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let server = Server::new(stack, clock, drain).limits(setup.limits);
        let server = match setup.tls {
            Some(tls) => server.listen_tls(any, tls),
            None => server.listen(any),
        };
        let running = server.bind().expect("a free port").start();
        Self { address: running.addresses()[0], provider, running, site }
    }

    /// Waits until the inner service has dropped `n` attempts unfinished; how long that took.
    pub(crate) async fn cancelled_after(&self, n: usize) -> Duration {
        let start = SystemClock.monotonic();
        while self.provider.cancelled() < n {
            assert!(start.elapsed() < ms(5_000), "the inner service was never dropped");
            tokio::time::sleep(ms(1)).await;
        }
        start.elapsed()
    }

    pub(crate) async fn reached(&self, n: usize) {
        let start = SystemClock.monotonic();
        while self.provider.count() < n {
            assert!(start.elapsed() < ms(5_000), "the inner service was never called");
            tokio::time::sleep(ms(1)).await;
        }
    }
}

fn site() -> Arc<Site> {
    let ingress = Arc::new(TestIngress::new());
    let other = Arc::new(TestIngress::speaking(Protocol::new("other")));
    let echo = service_fn(|request: MountRequest| async move {
        let whose = request.principal.map_or("nobody".to_owned(), |principal| principal.mode.as_str().to_owned());
        if request.head.uri.path().ends_with("/missing") {
            return Err(Fault::new(FaultKind::NotFound, Origin::Caller, "there is no such record"));
        }
        Ok(Response::new(Bytes::from(format!("{} {} {whose} {}", request.head.method, request.head.uri.path(), request.body.len()))))
    });
    Site::builder(ingress.clone())
        .call("/v1/chat/completions", ingress)
        .call("/v1/messages", other.clone())
        .errors_by_header("anthropic-version", other)
        .mount(Mount::new("/v1/billing", Access::Caller, echo))
        .mount(Mount::new("/admin", Access::Admin, echo))
        .models(Arc::new(Catalog))
        .metrics(Access::Anybody)
        .ready(|| Readiness::Ready)
        .build()
        .expect("the paths are distinct")
}

pub(crate) struct Catalog;

impl ModelCatalog for Catalog {
    fn list(&self) -> Arc<[ModelInfo]> {
        let model = |id: &str| ModelInfo {
            id: id.into(),
            created: 1_700_000_000,
            owned_by: "acme".into(),
            context_window: Some(128_000),
            output_tokens_max: Some(4_096),
            pricing: vec![("prompt", "0.000002".to_owned())],
            ..ModelInfo::default()
        };
        ["known-model", "acme/large", "secret-model"].map(model).into()
    }
}

struct Keys;

#[async_trait]
impl KeyStore for Keys {
    async fn authenticate(&self, presented: &Secret) -> Result<Arc<Principal>, KeyRefusal> {
        let mode = match presented.expose() {
            KEY => Mode::Live,
            TEST_KEY => Mode::Test,
            "hs_live_revoked" => return Err(KeyRefusal::Revoked),
            "hs_live_expired" => return Err(KeyRefusal::Expired),
            "hs_live_mistyped" => return Err(KeyRefusal::Mistyped),
            "hs_live_down" => return Err(KeyRefusal::Unavailable),
            key if key.starts_with("hs_") => return Err(KeyRefusal::Unknown),
            key if key.starts_with("sk-") => return Err(KeyRefusal::Foreign),
            _ => return Err(KeyRefusal::Malformed),
        };
        Ok(Arc::new(Principal {
            models: ModelAllowList::Only(["known-model".into(), "acme/*".into()].into()),
            ..Principal::new(OrgId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]), mode)
        }))
    }
}

/// Serves every model by the scripted provider, except the counting of tokens, which nobody serves.
#[derive(Clone)]
struct Scripted(Arc<ScriptedProvider>);

impl Service<Arc<Call>> for Scripted {
    type Response = Reply;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<Reply, Fault>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Arc<Call>) -> Self::Future {
        let provider = Arc::clone(&self.0);
        Box::pin(async move {
            if call.operation() == Operation::CountTokens {
                return Err(match &*call.peek().model {
                    "uncounted-model" => {
                        Fault::new(FaultKind::NotFound, Origin::Caller, "served, not counted").with_code("operation_unsupported")
                    }
                    "missing-model" => Fault::new(FaultKind::NotFound, Origin::Caller, "no such model").with_code("model_not_found"),
                    _ => Fault::new(FaultKind::NoDeployment, Origin::Gateway, "nobody counts"),
                });
            }
            let deployment = Arc::new(deployment(&call.peek().model, "acme"));
            let mut reply = provider.attempt(attempt(&call, &deployment, 1)).await?;
            reply.commit().await?;
            Ok(reply)
        })
    }
}
