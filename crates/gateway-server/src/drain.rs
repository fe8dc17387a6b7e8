//! Whether the server is shutting down, and how much is in flight. Shared by the server, its layers and readiness.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::watch;

/// How far the shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving.
    Running,
    /// Finishing what is in flight, accepting nothing new.
    Draining,
    /// Dropping what is left.
    Cutting,
}

/// One per server. Clones share.
#[derive(Debug, Clone)]
pub struct Drain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    phase: watch::Sender<Phase>,
    requests: AtomicUsize,
    connections: AtomicUsize,
}

impl Drain {
    /// A server that is not shutting down.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            phase: watch::Sender::new(Phase::Running),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
        }))
    }

    /// Whether a shutdown has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.phase.borrow() > Phase::Running
    }

    /// Requests whose answer has not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Turns the server unready without stopping it, so that a balancer takes it out first. A shutdown does this itself.
    pub fn begin(&self) {
        self.advance(Phase::Draining);
    }

    pub(crate) fn advance(&self, to: Phase) {
        self.0.phase.send_if_modified(|phase| std::mem::replace(phase, to.max(*phase)) < to);
    }

    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    pub(crate) fn request(&self) -> InFlight {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone(), |shared| &shared.requests)
    }

    pub(crate) fn connection(&self) -> InFlight {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone(), |shared| &shared.connections)
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts one thing until it is dropped.
pub(crate) struct InFlight(Drain, fn(&Shared) -> &AtomicUsize);

impl InFlight {
    /// Whether what is dropped now is dropped because the shutdown's deadline has passed.
    pub(crate) fn is_cut(&self) -> bool {
        *self.0.0.phase.borrow() == Phase::Cutting
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        (self.1)(&self.0.0).fetch_sub(1, Ordering::Relaxed);
    }
}
