//! The trait that joins the layers of the edge, and what they hand to each other.
//!
//! The layers are [`tower::Layer`]s, so a composition reads as one `ServiceBuilder`. What they build is a [`Stage`]
//! rather than a `tower::Service`: a stage borrows itself for the time of one request, so nothing is cloned and no
//! future is boxed between the socket and the first service of calls.

use std::{future::Future, sync::Arc, time::SystemTime};

use gateway_core::{Deployment, Fault, Ingress, Losses, Meter, Principal, RequestId, Tried, clock::Instant};
use http::{Response, request::Parts};

use crate::{body::CallerBody, edge_body::EdgeBody, site::Matched};

/// One step of serving a request. Each layer of the edge wraps the next one.
pub trait Stage<Q>: Send + Sync + 'static {
    /// What it answers.
    type Answer: Send;
    /// Why it did not.
    type Error: Send;

    /// Serves one request. Dropping the future stops everything below.
    fn serve(&self, request: Q) -> impl Future<Output = Result<Self::Answer, Self::Error>> + Send;
}

/// A request whose head has been read. It travels in a box: each stage's future would otherwise hold it, twice over.
pub struct Arrival {
    pub(crate) id: RequestId,
    pub(crate) received_at: SystemTime,
    pub(crate) arrived: Instant,
    pub(crate) matched: Matched,
    pub(crate) head: Parts,
    pub(crate) body: CallerBody,
}

impl Arrival {
    /// The request's id, shown to the caller whatever happens.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Method, path and headers.
    #[must_use]
    pub fn head(&self) -> &Parts {
        &self.head
    }
}

/// Who is asking, as far as the path demands to know.
pub enum Who {
    /// The path is open to everybody.
    Anybody,
    /// A caller with a valid key.
    Caller(Arc<Principal>),
    /// An administrator, by name.
    Admin(Arc<str>),
}

/// A request whose sender has shown what the path demands.
pub struct Known {
    pub(crate) arrival: Box<Arrival>,
    pub(crate) who: Who,
}

/// An authenticated request for a model. Only the site makes one, and only from [`Who::Caller`].
pub struct Asked {
    pub(crate) arrival: Box<Arrival>,
    pub(crate) principal: Arc<Principal>,
    pub(crate) ingress: Arc<dyn Ingress>,
}

/// An answer with what was learned about it.
pub struct Answer {
    pub(crate) response: Response<EdgeBody>,
    pub(crate) seen: Seen,
}

/// A refusal with what was learned before it.
pub struct Failed {
    pub(crate) fault: Fault,
    pub(crate) seen: Box<Seen>,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { fault, seen: Box::default() }
    }
}

/// What the layers learned, for the log line and the metrics.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) principal: Option<Arc<Principal>>,
    pub(crate) model: Option<Box<str>>,
    pub(crate) streamed: bool,
    pub(crate) served: Option<Served>,
    pub(crate) unserved: Option<Unserved>,
}

/// What is known of a call that nobody served.
pub(crate) struct Unserved {
    pub(crate) tried: Tried,
    pub(crate) overhead_us: u64,
}

/// What is known of an answer from a service of calls.
pub(crate) struct Served {
    pub(crate) deployment: Option<Arc<Deployment>>,
    pub(crate) attempts: u32,
    pub(crate) overhead_us: u64,
    pub(crate) losses: Losses,
    pub(crate) meter: Meter,
}
