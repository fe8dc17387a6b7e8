//! The extension boundary: whoever implements [`Provider`] can serve calls.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{attempt::Attempt, clock::Instant, fault::Fault, id::ProviderId, key::Mode, reply::Reply};

/// Whether a provider can take a call now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// Not before this instant: all its credentials are resting.
    Resting {
        /// When the first credential wakes.
        until: Instant,
    },
    /// Not at all until somebody changes something; the text says what, such as the variable to set.
    Unusable(Arc<str>),
}

/// Serves attempts. Implementations must be cancel-safe: a dropped future or body stops the upstream call at once.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The name that configuration and routes use.
    fn id(&self) -> &ProviderId;

    /// Whether a call of this mode can be served now. Planning asks it on every call: memory only.
    fn readiness(&self, mode: Mode) -> Readiness {
        let _ = mode;
        Readiness::Ready
    }

    /// Sends the attempt and answers in the caller's protocol.
    ///
    /// # Errors
    /// A [`Fault`] whose `retry` tells routing what to do next. Errors after the head of a stream travel in its body.
    async fn attempt(&self, attempt: Attempt) -> Result<Reply, Fault>;
}
