//! Makes one connection: TCP or a proxy's tunnel, then TLS, within one time limit.

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use gateway_core::clock::Instant;
use http::{Uri, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
        proxy::matcher::Matcher,
    },
    rt::TokioIo,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tower::Service;

use super::tls::LazyTls;
use crate::error::ProviderError;

type BoxError = Box<dyn Error + Send + Sync>;

/// Where connecting failed; found again in the chain of the client's error.
#[derive(Debug)]
pub(super) enum ConnectFailure {
    Timeout { after: Duration },
    Refused(ProviderError),
    Dns(BoxError),
    Tcp(BoxError),
    Tunnel(BoxError),
    Tls(BoxError),
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { after } => write!(f, "not connected within {} ms", after.as_millis()),
            Self::Refused(error) => fmt::Display::fmt(error, f),
            Self::Dns(error) | Self::Tcp(error) | Self::Tunnel(error) | Self::Tls(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl Error for ConnectFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Timeout { .. } => None,
            Self::Refused(error) => Some(error),
            Self::Dns(error) | Self::Tcp(error) | Self::Tunnel(error) | Self::Tls(error) => error.source(),
        }
    }
}

/// The failure inside a client's error, if connecting is what failed.
pub(super) fn failure<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e ConnectFailure> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// Makes connections for one pool.
#[derive(Clone)]
pub(super) struct Connector {
    limit: Duration,
    dial: Dial,
    tls: LazyTls,
    https: Arc<OnceLock<HttpsConnector<Dial>>>,
    alpn_http2: bool,
    only_http2: bool,
}

impl Connector {
    pub(super) fn new(limit: Duration, proxy: Option<Arc<Matcher>>, tls: LazyTls, only_http2: bool) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        // Long idle connections behind a NAT die silently; the probe finds them before a request does.
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let alpn_http2 = tls.http2();
        Self { limit, dial: Dial { tcp, proxy, tunnel_always: only_http2 }, tls, https: Arc::default(), alpn_http2, only_http2 }
    }

    fn https(&self) -> Result<HttpsConnector<Dial>, ConnectFailure> {
        if let Some(ready) = self.https.get() {
            return Ok(ready.clone());
        }
        let config = self.tls.config().map_err(ConnectFailure::Refused)?;
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let dial = self.dial.clone();
        let made =
            if self.alpn_http2 { builder.enable_all_versions().wrap_connector(dial) } else { builder.enable_http1().wrap_connector(dial) };
        Ok(self.https.get_or_init(|| made).clone())
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Watched<MaybeHttpsStream<Dialled>>>;
    type Error = ConnectFailure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectFailure>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { limit, only_http2, .. } = *self;
        let connecting = if uri.scheme() == Some(&Scheme::HTTPS) {
            self.https().map(|mut https| https.call(uri))
        } else {
            let dialling = self.dial.call(uri);
            Ok(Box::pin(async move { dialling.await.map(MaybeHttpsStream::Http).map_err(BoxError::from) }) as Pin<Box<_>>)
        };
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting?).await {
                Ok(Ok(stream)) => Ok(TokioIo::new(Watched::new(stream, only_http2))),
                Ok(Err(error)) => Err(match error.downcast::<ConnectFailure>() {
                    Ok(failure) => *failure,
                    Err(error) => ConnectFailure::Tls(error),
                }),
                Err(_elapsed) => Err(ConnectFailure::Timeout { after: limit }),
            }
        })
    }
}

/// TCP to the provider, or to its proxy.
#[derive(Clone)]
struct Dial {
    tcp: HttpConnector,
    proxy: Option<Arc<Matcher>>,
    /// HTTP/2 cannot be spoken to a forwarding proxy, so plain `http` is tunnelled too.
    tunnel_always: bool,
}

/// A TCP stream and whether a forwarding proxy is at its end.
pub(super) struct Dialled {
    stream: TokioIo<TcpStream>,
    forwarding_proxy: bool,
}

impl Service<Uri> for Dial {
    type Response = Dialled;
    type Error = ConnectFailure;
    type Future = Pin<Box<dyn Future<Output = Result<Dialled, ConnectFailure>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut tcp = self.tcp.clone();
        let tunnelled = self.tunnel_always || uri.scheme() == Some(&Scheme::HTTPS);
        match self.proxy.as_ref().and_then(|proxy| proxy.intercept(&uri)) {
            Some(via) if tunnelled => {
                let tunnel = Tunnel::new(via.uri().clone(), tcp);
                let mut tunnel = match via.basic_auth() {
                    Some(auth) => tunnel.with_auth(auth.clone()),
                    None => tunnel,
                };
                Box::pin(async move {
                    let stream = tunnel.call(with_port(uri)).await.map_err(|error| ConnectFailure::Tunnel(error.into()))?;
                    Ok(Dialled { stream, forwarding_proxy: false })
                })
            }
            Some(via) => Box::pin(async move {
                let stream = tcp.call(via.uri().clone()).await.map_err(tcp_failure)?;
                Ok(Dialled { stream, forwarding_proxy: true })
            }),
            None => Box::pin(async move {
                let stream = tcp.call(uri).await.map_err(tcp_failure)?;
                Ok(Dialled { stream, forwarding_proxy: false })
            }),
        }
    }
}

/// CONNECT names a port always; the tunnel takes it from the URL and assumes 443 otherwise.
fn with_port(uri: Uri) -> Uri {
    if uri.port().is_some() || uri.scheme() != Some(&Scheme::HTTP) {
        return uri;
    }
    let host = uri.host().unwrap_or_default();
    format!("http://{host}:80/").parse().unwrap_or(uri)
}

fn tcp_failure(error: impl Error + Send + Sync + 'static) -> ConnectFailure {
    // The connector's error type has no accessor for its stage but this one.
    if error.to_string().starts_with("dns error") { ConnectFailure::Dns(error.into()) } else { ConnectFailure::Tcp(error.into()) }
}

impl Connection for Dialled {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.forwarding_proxy)
    }
}

/// Tells a connection that broke while it lay idle from one that broke while it worked. Says nothing of HTTP/2,
/// where many requests share it; there the client itself resends what was never sent.
#[derive(Debug, Default)]
pub(super) struct ReuseMark {
    answered_before: AtomicBool,
    silent_since_request: AtomicBool,
    last_write: Mutex<Option<Instant>>,
    shared: bool,
}

/// A connection that the peer had closed breaks on the first write or right after it. One that breaks later may have been
/// worked for all the while, and nothing is sent twice to a provider that may bill both.
const BREAKS_WITHIN: Duration = Duration::from_secs(1);

impl ReuseMark {
    /// The connection had answered before, and not one byte came after the last request.
    pub(super) fn was_idle(&self) -> bool {
        let silent = self.answered_before.load(Ordering::Relaxed) && self.silent_since_request.load(Ordering::Relaxed);
        !self.shared && silent && self.last_write.lock().is_some_and(|at| now().saturating_duration_since(at) < BREAKS_WITHIN)
    }

    fn read(&self) {
        self.answered_before.store(true, Ordering::Relaxed);
        self.silent_since_request.store(false, Ordering::Relaxed);
    }

    fn wrote(&self) {
        *self.last_write.lock() = Some(now());
        self.silent_since_request.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a socket has been silent is real time, whatever clock the caller keeps")]
fn now() -> Instant {
    Instant::now()
}

/// A connection whose use is marked. The mark sits outside TLS, so that a handshake is no answer.
pub(super) struct Watched<S> {
    stream: TokioIo<S>,
    mark: Arc<ReuseMark>,
}

impl<S: Connection> Watched<S> {
    fn new(stream: S, only_http2: bool) -> Self {
        let shared = only_http2 || stream.connected().is_negotiated_h2();
        Self { stream: TokioIo::new(stream), mark: Arc::new(ReuseMark { shared, ..ReuseMark::default() }) }
    }
}

impl<S: Connection> Connection for Watched<S> {
    fn connected(&self) -> Connected {
        let connected = self.stream.connected();
        connected.extra(Arc::clone(&self.mark))
    }
}

impl<S: Read + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.mark.read();
        }
        polled
    }
}

impl<S: Write + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.mark.wrote();
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.mark.wrote();
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

impl Read for Dialled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Dialled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}
