//! The body of a provider's answer. Dropping it stops the provider.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use gateway_core::Fault;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::error::ProviderError;

/// One request in flight on a connection; leaves when dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<AtomicU32>);

impl InFlight {
    pub(super) fn enter(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a provider's answer. An end before the announced length is an error, never a clean end.
#[derive(Debug)]
pub struct UpstreamBody {
    inner: Incoming,
    host: Arc<str>,
    _in_flight: InFlight,
}

impl UpstreamBody {
    pub(super) fn new(inner: Incoming, host: Arc<str>, in_flight: InFlight) -> Self {
        Self { inner, host, _in_flight: in_flight }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        polled.map_err(|error| ProviderError::BrokenBody { host: (*self.host).into(), source: Arc::new(error) }.into())
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
