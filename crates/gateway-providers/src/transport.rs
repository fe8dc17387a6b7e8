//! How requests reach a provider: hyper with a connection pool, TLS, proxies and either version of HTTP.
//!
//! Promises: TCP_NODELAY always; a dropped future or body closes its socket (HTTP/1.1) or resets its stream (HTTP/2) at
//! once; redirects are not followed; messages name the host and never a credential.

mod body;
mod connect;
mod tls;

use std::{
    error::Error,
    fmt,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use gateway_core::{Fault, Secret};
use http::{Request, Response, Uri, uri::Scheme};
use http_body_util::Full;
use hyper_util::{
    client::{
        legacy::{Client, Error as ClientError},
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioTimer},
};
use tower::Service;

pub use body::UpstreamBody;
pub use tls::Roots;

use self::{
    body::InFlight,
    connect::{ConnectFailure, Connector, ReuseMark},
};
use crate::error::ProviderError;

/// HTTP/2 peers commonly allow a hundred streams a connection; beyond that requests would queue unseen.
const STREAMS_PER_CONNECTION: u32 = 100;

/// How to reach a provider through proxies. Values are what the usual variables hold; this crate reads none of them.
#[derive(Clone, Default)]
pub struct ProxySettings {
    /// For plain `http` (`HTTP_PROXY`). May hold a user and password.
    pub http: Option<Secret>,
    /// For `https` (`HTTPS_PROXY`).
    pub https: Option<Secret>,
    /// For whatever the other two leave open (`ALL_PROXY`).
    pub all: Option<Secret>,
    /// Hosts reached directly, comma-separated (`NO_PROXY`).
    pub no: String,
}

impl ProxySettings {
    fn matcher(&self) -> Result<Option<Matcher>, ProviderError> {
        let given = [&self.http, &self.https, &self.all];
        if given.iter().all(|proxy| proxy.is_none()) {
            return Ok(None);
        }
        for proxy in given.into_iter().flatten() {
            let scheme = match proxy.expose().split_once("://") {
                Some((scheme, _)) => scheme,
                None => "http",
            };
            if scheme != "http" {
                let reason = format!("the scheme `{scheme}` is not supported; give the proxy as http://host:port");
                return Err(ProviderError::Proxy { reason: reason.into() });
            }
            if !proxy.expose().parse::<Uri>().is_ok_and(|uri| uri.authority().is_some()) {
                let reason = "the value is not a URL; give the proxy as http://host:port".into();
                return Err(ProviderError::Proxy { reason });
            }
        }
        let text = |proxy: &Option<Secret>| proxy.as_ref().map_or("", Secret::expose).to_owned();
        Ok(Some(Matcher::builder().http(text(&self.http)).https(text(&self.https)).all(text(&self.all)).no(self.no.clone()).build()))
    }
}

impl fmt::Debug for ProxySettings {
    /// A proxy's URL may hold a password, so only what is set is told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxySettings")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("all", &self.all.is_some())
            .field("no", &self.no)
            .finish()
    }
}

/// How a [`Transport`] connects.
#[derive(Debug, Clone)]
pub struct TransportSettings {
    /// Longest time until a connection stands, proxy and TLS included.
    pub connect: Duration,
    /// Speak HTTP/2 where the provider does: by ALPN with TLS, by prior knowledge without.
    pub http2: bool,
    /// Most HTTP/2 connections; a request takes the least busy one once the first is busy.
    pub http2_connections: usize,
    /// Idle connections are closed after so long.
    pub idle: Duration,
    /// A file of certificate authorities to trust instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// The machine's certificate authorities, shared between providers and read on first use.
    pub roots: Roots,
    /// Proxies.
    pub proxy: ProxySettings,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            http2: false,
            http2_connections: 4,
            idle: Duration::from_secs(90),
            ca_file: None,
            roots: Roots::system(),
            proxy: ProxySettings::default(),
        }
    }
}

/// A pool of connections. Cloning shares it. It is a [`tower::Service`], so limits and doubles are layers.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    /// HTTP/1.1, or whatever ALPN chose.
    negotiated: Vec<Slot>,
    /// HTTP/2 without TLS, by prior knowledge; empty unless `http2` is set.
    prior_knowledge: Vec<Slot>,
}

/// One pool and how many of its streams are in flight. The pool keeps at most one HTTP/2 connection a host, so several
/// connections are several pools.
struct Slot {
    client: Client<Connector, Full<Bytes>>,
    in_flight: Arc<AtomicU32>,
}

impl Transport {
    /// Builds the pools. Nothing connects before the first request.
    ///
    /// # Errors
    /// The proxy setting or the file of certificate authorities cannot be used.
    pub fn new(settings: &TransportSettings) -> Result<Self, ProviderError> {
        let matcher = settings.proxy.matcher()?.map(Arc::new);
        let tls = tls::LazyTls::new(settings.ca_file.as_deref(), &settings.roots, settings.http2)?;
        let connections = if settings.http2 { settings.http2_connections.max(1) } else { 1 };
        let slots = |only_http2: bool, count: usize| -> Vec<Slot> {
            let connector = Connector::new(settings.connect, matcher.clone(), tls.clone(), only_http2);
            (0..count).map(|_| Slot::new(connector.clone(), settings.idle, only_http2)).collect()
        };
        let prior_knowledge = if settings.http2 { slots(true, connections) } else { Vec::new() };
        Ok(Self(Arc::new(Inner { negotiated: slots(false, connections), prior_knowledge })))
    }
}

impl Slot {
    fn new(connector: Connector, idle: Duration, only_http2: bool) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(idle)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_only(only_http2)
            .http2_adaptive_window(true)
            // A connection that died unseen would take a hundred streams with it, each until its own limit.
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .build(connector);
        Self { client, in_flight: Arc::default() }
    }
}

impl Inner {
    fn slot(&self, uri: &Uri) -> &Slot {
        let plain = uri.scheme() == Some(&Scheme::HTTP);
        let slots = if plain && !self.prior_knowledge.is_empty() { &self.prior_knowledge } else { &self.negotiated };
        // The first that is not busy keeps few connections warm; when all are, the least busy one.
        let busy = |slot: &&Slot| slot.in_flight.load(Ordering::Relaxed);
        let free = slots.iter().find(|slot| busy(slot) < STREAMS_PER_CONNECTION);
        match free.or_else(|| slots.iter().min_by_key(busy)) {
            Some(slot) => slot,
            // `new` makes at least one negotiated slot.
            None => &self.negotiated[0],
        }
    }

    async fn send(self: Arc<Self>, request: Request<Full<Bytes>>) -> Result<Response<UpstreamBody>, Fault> {
        let slot = self.slot(request.uri());
        let in_flight = InFlight::enter(&slot.in_flight);
        let host: Arc<str> = request.uri().authority().map_or("", |authority| authority.as_str()).into();
        let spare = request.clone();
        let answered = match slot.client.request(request).await {
            // An idle connection may have been closed by the peer just as it was picked: that says nothing about the
            // provider, so the request goes out once more at once.
            Err(error) if broke_while_idle(&error) => {
                tracing::debug!(%host, "an idle connection had been closed by the provider; the request is sent on another");
                slot.client.request(spare).await
            }
            answered => answered,
        };
        match answered {
            Ok(response) => Ok(response.map(|body| UpstreamBody::new(body, host, in_flight))),
            Err(error) => Err(classify(error, &host).into()),
        }
    }
}

impl Service<Request<Full<Bytes>>> for Transport {
    type Response = Response<UpstreamBody>;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Fault>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        Box::pin(Arc::clone(&self.0).send(request))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("negotiated", &self.0.negotiated.len())
            .field("prior_knowledge", &self.0.prior_knowledge.len())
            .finish()
    }
}

fn broke_while_idle(error: &ClientError) -> bool {
    let mut extras = http::Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extras);
    }
    extras.get::<Arc<ReuseMark>>().is_some_and(|mark| mark.was_idle())
}

fn classify(error: ClientError, host: &str) -> ProviderError {
    let host = host.into();
    if !error.is_connect() {
        let unreadable = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>()).is_some_and(hyper::Error::is_parse);
        let source = Arc::new(error);
        return if unreadable { ProviderError::NotHttp { host, source } } else { ProviderError::Reset { host, source } };
    }
    match connect::failure(&error) {
        Some(ConnectFailure::Timeout { after }) => ProviderError::ConnectTimeout { host, after: *after },
        Some(ConnectFailure::Refused(refused)) => refused.clone(),
        Some(ConnectFailure::Dns(_)) => ProviderError::Dns { host, source: Arc::new(error) },
        Some(ConnectFailure::Tunnel(_)) => ProviderError::Tunnel { host, source: Arc::new(error) },
        Some(ConnectFailure::Tls(_)) => ProviderError::Tls { host, source: Arc::new(error) },
        Some(ConnectFailure::Tcp(_)) | None => ProviderError::Connect { host, source: Arc::new(error) },
    }
}
