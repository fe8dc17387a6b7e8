//! The caller's body: read within a size and a time limit, and drained when nobody reads it.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use gateway_core::{Fault, FaultKind, Origin};
use http::{HeaderMap, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use tower::Layer;

use crate::{
    stage::{Answer, Arrival, Failed, Stage},
    supervise,
};

/// Limits on what a caller sends.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Largest body.
    pub bytes: usize,
    /// Longest time from the head to the last byte of the body.
    pub read: Duration,
    /// A body that nobody wants, because the answer is a refusal, is read for so long, so that the caller finishes
    /// writing and then reads the answer instead of meeting a reset connection.
    pub drain: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { bytes: 32 * 1_024 * 1_024, read: Duration::from_secs(60), drain: Duration::from_secs(5) }
    }
}

/// Sets the limits and refuses what already announces to be too large. The body is read further in, once the caller is
/// known: a stranger's body never fills our memory.
#[derive(Debug, Clone)]
pub struct BodyLimitLayer {
    limits: BodyLimits,
}

impl BodyLimitLayer {
    /// With these limits.
    #[must_use]
    pub fn new(limits: BodyLimits) -> Self {
        Self { limits }
    }
}

impl<S> Layer<S> for BodyLimitLayer {
    type Service = BodyLimit<S>;

    fn layer(&self, inner: S) -> BodyLimit<S> {
        BodyLimit { inner, limits: self.limits }
    }
}

/// See [`BodyLimitLayer`].
#[derive(Debug, Clone)]
pub struct BodyLimit<S> {
    inner: S,
    limits: BodyLimits,
}

impl<S: Stage<Box<Arrival>, Answer = Answer, Error = Failed>> Stage<Box<Arrival>> for BodyLimit<S> {
    type Answer = Answer;
    type Error = Failed;

    async fn serve(&self, mut arrival: Box<Arrival>) -> Result<Answer, Failed> {
        arrival.body.limits = self.limits;
        if arrival.body.announced() > self.limits.bytes as u64 {
            return Err(too_large(self.limits.bytes).into());
        }
        self.inner.serve(arrival).await
    }
}

/// The body of a request. Dropped before its end, it goes on being read for a while and thrown away.
pub struct CallerBody {
    incoming: Option<Incoming>,
    limits: BodyLimits,
    /// The caller waits for our word before it sends anything, so there is nothing to drain.
    waits_for_continue: bool,
}

impl CallerBody {
    pub(crate) fn new(incoming: Incoming, headers: &HeaderMap) -> Self {
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        Self { incoming, limits: BodyLimits::default(), waits_for_continue: headers.contains_key(header::EXPECT) }
    }

    fn announced(&self) -> u64 {
        self.incoming.as_ref().map_or(0, |incoming| incoming.size_hint().lower())
    }

    /// The whole body.
    pub(crate) async fn read(mut self) -> Result<Bytes, Fault> {
        let Some(incoming) = self.incoming.as_mut() else { return Ok(Bytes::new()) };
        self.waits_for_continue = false;
        let limits = self.limits;
        let gathered = match tokio::time::timeout(limits.read, gather(incoming, limits.bytes)).await {
            Ok(gathered) => gathered,
            Err(_elapsed) => {
                Err(Fault::new(FaultKind::Timeout, Origin::Caller, format!("the request body was not complete after {:?}", limits.read))
                    .with_status(StatusCode::REQUEST_TIMEOUT))
            }
        };
        if gathered.is_ok() {
            self.incoming = None;
        }
        gathered
    }
}

impl Drop for CallerBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take().filter(|incoming| !incoming.is_end_stream()) else { return };
        if self.waits_for_continue || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let limit = self.limits.drain;
        supervise::spawn("body drain", async move {
            let _ = tokio::time::timeout(limit, discard(incoming)).await;
        });
    }
}

/// Joins the frames. A body that came in one piece is not copied: it lies in the connection's buffer, which the head's
/// values keep alive anyway.
async fn gather(incoming: &mut Incoming, limit: usize) -> Result<Bytes, Fault> {
    let expected = usize::try_from(incoming.size_hint().lower()).unwrap_or(limit).min(limit);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = next(incoming).await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        if rest.is_empty() && first.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(expected.max(first.len() + data.len()));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

async fn discard(mut incoming: Incoming) {
    while let Some(Ok(_)) = next(&mut incoming).await {}
}

fn next(incoming: &mut Incoming) -> impl Future<Output = Option<Result<http_body::Frame<Bytes>, hyper::Error>>> {
    poll_fn(|cx: &mut Context<'_>| -> Poll<_> { Pin::new(&mut *incoming).poll_frame(cx) })
}

fn too_large(limit: usize) -> Fault {
    Fault::new(
        FaultKind::PayloadTooLarge,
        Origin::Caller,
        format!("the request body is larger than {limit} bytes, the limit of this gateway; send less, or refer to media by URL"),
    )
}

fn broken(error: hyper::Error) -> Fault {
    Fault::new(FaultKind::CallerGone, Origin::Caller, "the request body ended before it was complete").with_source(error)
}
