//! Listeners and connections around a stack of layers.

mod caller_io;
mod connection;
mod sniff;
pub mod tls;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use gateway_core::Clock;
use http::{Request, Response};
use hyper::body::Incoming;
use rustls::ServerConfig;
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    drain::{Drain, Phase},
    edge_body::EdgeBody,
    error::EdgeError,
    stage::Stage,
    supervise,
};
use connection::Connections;

/// Limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Most connections at once. Further ones wait in the system's queue.
    pub connections: usize,
    /// Largest head of a request; at least 8 KiB.
    pub header_bytes: usize,
    /// Longest time for a head to arrive whole, and for the TLS handshake.
    pub header_read: Duration,
    /// Longest time a connection may stand without a request.
    pub idle: Duration,
    /// A caller who takes nothing of an answer for so long is dropped.
    pub write_stall: Duration,
    /// Most requests at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Longest life of one request and its answer, however slowly but steadily the caller takes it. Choose it above the
    /// total time of a call.
    pub request_life: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 64 * 1_024,
            header_read: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            write_stall: Duration::from_secs(30),
            http2_streams: 250,
            request_life: Duration::from_secs(900),
        }
    }
}

/// A server that does not listen yet.
pub struct Server<S> {
    stack: Arc<S>,
    limits: ServerLimits,
    clock: Arc<dyn Clock>,
    drain: Drain,
    listens: Vec<(SocketAddr, Option<Arc<ServerConfig>>)>,
}

impl<S> Server<S>
where
    S: Stage<Request<Incoming>, Answer = Response<EdgeBody>, Error = Infallible>,
{
    /// Serves with `stack`, whose outermost layer is [`crate::RescueLayer`]. `drain` is the one its layers know.
    #[must_use]
    pub fn new(stack: S, clock: Arc<dyn Clock>, drain: Drain) -> Self {
        Self { stack: Arc::new(stack), limits: ServerLimits::default(), clock, drain, listens: Vec::new() }
    }

    /// Other limits than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Listens on an address in the clear: HTTP/1.1, and HTTP/2 by prior knowledge. Port 0 is any free port.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listens.push((address, None));
        self
    }

    /// Listens on an address with TLS: HTTP/1.1 and HTTP/2 by ALPN. See [`tls::from_pem`].
    #[must_use]
    pub fn listen_tls(mut self, address: SocketAddr, config: Arc<ServerConfig>) -> Self {
        self.listens.push((address, Some(config)));
        self
    }

    /// Takes the addresses. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// An address cannot be listened on, or there is none.
    pub fn bind(self) -> Result<Bound<S>, EdgeError> {
        if self.listens.is_empty() {
            return Err(EdgeError::NothingToListenOn);
        }
        let connections = Connections::new(Arc::clone(&self.stack), self.limits, Arc::clone(&self.clock), self.drain.clone());
        let mut listeners = Vec::with_capacity(self.listens.len());
        for (address, tls) in self.listens {
            listeners.push((listener(address).map_err(|source| EdgeError::Bind { address, source })?, tls));
        }
        Ok(Bound { connections, limits: self.limits, drain: self.drain, listeners })
    }
}

fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    /// Callers that arrive while the accept loop is busy wait here.
    const BACKLOG: i32 = 4_096;
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    // A restart must not wait for the last process's connections to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A server that has its addresses and serves nobody yet.
pub struct Bound<S> {
    connections: Connections<S>,
    limits: ServerLimits,
    drain: Drain,
    listeners: Vec<(TcpListener, Option<Arc<ServerConfig>>)>,
}

impl<S> Bound<S>
where
    S: Stage<Request<Incoming>, Answer = Response<EdgeBody>, Error = Infallible>,
{
    /// The addresses, with real port numbers, in the order they were given.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(listener, _)| listener.local_addr().ok()).collect()
    }

    /// Begins to serve, in tasks of the current runtime.
    #[must_use]
    pub fn start(self) -> Running {
        let addresses = self.addresses();
        let slots = Arc::new(Semaphore::new(self.limits.connections.min(Semaphore::MAX_PERMITS)));
        for (listener, tls) in self.listeners {
            let tls = tls.map(tokio_rustls::TlsAcceptor::from);
            supervise::spawn("listener", connection::accept(listener, tls, self.connections.clone(), Arc::clone(&slots)));
        }
        Running { addresses, drain: self.drain }
    }
}

/// A server at work. Dropping it does not stop the server; [`Running::shutdown`] does.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    drain: Drain,
}

/// What a shutdown had to cut off at its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Requests whose answer had not ended.
    pub requests_cut: usize,
    /// Connections that were still open, with or without a request.
    pub connections_cut: usize,
}

impl Running {
    /// The addresses, with real port numbers, in the order they were given.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting, lets what is in flight end for up to `grace`, and drops the rest. When it returns, every answer
    /// has ended or its body has been dropped, so that whoever bills has been told.
    pub async fn shutdown(self, grace: Duration) -> Drained {
        self.drain.advance(Phase::Draining);
        let _ = tokio::time::timeout(grace, self.emptied()).await;
        let cut = Drained { requests_cut: self.drain.in_flight(), connections_cut: self.drain.connections() };
        self.drain.advance(Phase::Cutting);
        // Dropping takes no longer than the tasks need to be scheduled.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.emptied()).await;
        cut
    }

    async fn emptied(&self) {
        let pause = Duration::from_millis(5);
        while self.drain.in_flight() > 0 || self.drain.connections() > 0 {
            tokio::time::sleep(pause).await;
        }
    }
}
