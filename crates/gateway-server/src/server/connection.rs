//! From an accepted socket to the stack, and the end of it.

use std::{convert::Infallible, future::Future, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{Either, select};
use gateway_core::Clock;
use http::{Request, Response};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioTimer;
use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;

use super::{
    ServerLimits,
    caller_io::{CallerIo, Exchange, Traffic},
    sniff::{Version, sniff},
};
use crate::{
    drain::{Drain, Phase},
    edge_body::{EdgeBody, Severed},
    stage::Stage,
    supervise,
};

/// What every connection needs.
pub(super) struct Connections<S> {
    stack: Arc<S>,
    limits: ServerLimits,
    clock: Arc<dyn Clock>,
    drain: Drain,
    http1: http1::Builder,
    http2: http2::Builder<StreamTasks>,
}

impl<S> Clone for Connections<S> {
    fn clone(&self) -> Self {
        Self {
            stack: Arc::clone(&self.stack),
            limits: self.limits,
            clock: Arc::clone(&self.clock),
            drain: self.drain.clone(),
            http1: self.http1.clone(),
            http2: self.http2.clone(),
        }
    }
}

impl<S> Connections<S> {
    pub(super) fn new(stack: Arc<S>, limits: ServerLimits, clock: Arc<dyn Clock>, drain: Drain) -> Self {
        let mut http1 = http1::Builder::new();
        // A caller who closes its side is gone: the request it waits for must stop. Time limits on reading are those of
        // `CallerIo`, which cost no timer per request.
        http1.half_close(false).header_read_timeout(None).max_header_size(limits.header_bytes);
        http1.max_buf_size(limits.header_bytes.max(64 * 1_024));
        let mut http2 = http2::Builder::new(StreamTasks { limit: limits.request_life });
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(limits.http2_streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX));
        Self { stack, limits, clock, drain, http1, http2 }
    }
}

/// Accepts until the server drains. The connection limit is kept by not accepting.
pub(super) async fn accept<S>(listener: TcpListener, tls: Option<TlsAcceptor>, connections: Connections<S>, slots: Arc<Semaphore>)
where
    S: Stage<Request<Incoming>, Answer = Response<EdgeBody>, Error = Infallible>,
{
    let mut phases = connections.drain.phases();
    let mut draining = pin!(phases.wait_for(|phase| *phase > Phase::Running));
    loop {
        let next = pin!(async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        });
        let (slot, accepted) = match select(next, draining.as_mut()).await {
            Either::Left((Some(next), _)) => next,
            Either::Left((None, _)) | Either::Right(_) => return,
        };
        match accepted {
            Ok((stream, _from)) => {
                supervise::spawn("connection", connection(stream, tls.clone(), connections.clone(), slot));
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Errors of one connection are of no concern; the others (no file descriptors left, no memory) pass with time.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        tracing::error!(%error, "cannot accept connections; trying again in 100 ms");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn connection<S>(stream: TcpStream, tls: Option<TlsAcceptor>, connections: Connections<S>, slot: OwnedSemaphorePermit)
where
    S: Stage<Request<Incoming>, Answer = Response<EdgeBody>, Error = Infallible>,
{
    let _slot = slot;
    let _counted = connections.drain.connection();
    // Small writes meeting delayed acknowledgements would stall a stream by 40 ms.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut phases = connections.drain.phases();
    match greet_in_time(stream, tls, connections.limits.header_read, &mut phases).await {
        Some(Greeted::Plain(stream, version, replay)) => connections.serve(stream, version, replay, &mut phases).await,
        Some(Greeted::Tls(stream, version)) => connections.serve(*stream, version, Bytes::new(), &mut phases).await,
        None => {}
    }
}

/// [`greet`] within a time limit, and not beyond the end of the server.
async fn greet_in_time(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    limit: Duration,
    phases: &mut tokio::sync::watch::Receiver<Phase>,
) -> Option<Greeted> {
    // A handshake needs much memory for a short time, which the connection's task must not keep.
    let greeting = Box::pin(tokio::time::timeout(limit, greet(stream, tls)));
    match select(greeting, pin!(phases.wait_for(|phase| *phase == Phase::Cutting))).await {
        Either::Left((Ok(greeted), _)) => greeted,
        Either::Left((Err(_), _)) | Either::Right(_) => None,
    }
}

enum Greeted {
    Plain(TcpStream, Version, Bytes),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>, Version),
}

/// Learns which HTTP version the caller speaks. `None`: it left, or spoke something else.
async fn greet(mut stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Greeted> {
    let Some(acceptor) = tls else {
        let (version, replay) = sniff(&mut stream).await.ok()??;
        return Some(Greeted::Plain(stream, version, replay));
    };
    let stream = acceptor.accept(stream).await.ok()?;
    let version = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Version::Http2 } else { Version::Http1 };
    Some(Greeted::Tls(Box::new(stream), version))
}

impl<S> Connections<S>
where
    S: Stage<Request<Incoming>, Answer = Response<EdgeBody>, Error = Infallible>,
{
    async fn serve<T>(&self, io: T, version: Version, replay: Bytes, phases: &mut tokio::sync::watch::Receiver<Phase>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let traffic = Arc::new(Traffic::default());
        let io = CallerIo::new(io, replay, version, Arc::clone(&traffic), self.limits, Arc::clone(&self.clock));
        let stack = Arc::clone(&self.stack);
        let service = service_fn(move |request| {
            let exchange = traffic.begin();
            let stack = Arc::clone(&stack);
            async move { stack.serve(request).await.map(|response| response.map(|body| Watched { body, _exchange: exchange })) }
        });
        match version {
            Version::Http1 => {
                let connection = pin!(self.http1.serve_connection(io, service));
                drive(connection, phases, http1::Connection::graceful_shutdown).await;
            }
            Version::Http2 => {
                // Much larger than its elder, and the elder's task must not pay for it.
                let mut connection = Box::pin(self.http2.serve_connection(io, service));
                drive(connection.as_mut(), phases, http2::Connection::graceful_shutdown).await;
            }
        }
    }
}

/// Runs a connection to its end, or to that of the server. Its errors are the caller's: gone, or not speaking HTTP.
async fn drive<C>(
    mut connection: std::pin::Pin<&mut C>,
    phases: &mut tokio::sync::watch::Receiver<Phase>,
    finish_up: impl FnOnce(std::pin::Pin<&mut C>),
) where
    C: Future<Output = hyper::Result<()>>,
{
    if let Either::Left((ended, _)) = select(connection.as_mut(), pin!(phases.wait_for(|phase| *phase > Phase::Running))).await {
        return note(ended);
    }
    finish_up(connection.as_mut());
    if let Either::Left((ended, _)) = select(connection, pin!(phases.wait_for(|phase| *phase == Phase::Cutting))).await {
        note(ended);
    }
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Runs the requests of HTTP/2 connections. hyper does not poll a body while the caller gives no window for it, so
/// the time limits inside the body do not fire then; this one does.
#[derive(Clone)]
struct StreamTasks {
    limit: Duration,
}

impl<F> hyper::rt::Executor<F> for StreamTasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, request: F) {
        supervise::spawn("http2 request", tokio::time::timeout(self.limit, request));
    }
}

pin_project! {
    /// A body that keeps its connection busy until it is dropped.
    struct Watched {
        #[pin]
        body: EdgeBody,
        _exchange: Exchange,
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Severed;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Severed>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
