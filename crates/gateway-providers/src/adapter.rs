//! What differs between two HTTP providers. Everything else is in [`crate::HttpProvider`].

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::{Attempt, Deployment, Egress, Encoded, Fault, Operation, ProviderId};
use http::{HeaderMap, HeaderName, Request};

use crate::credential::Credential;

/// Whether the caller's own bytes may be forwarded to a provider of the same protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pass {
    /// Yes: the provider accepts or ignores whatever its protocol has.
    #[default]
    Verbatim,
    /// No: the request is decoded and written anew, so that only what the provider accepts is sent.
    Filtered,
}

/// What differs between two HTTP providers. Apart from [`Adapter::authorize`] it is pure: bytes in, bytes out.
#[async_trait]
pub trait Adapter: Send + Sync + 'static {
    /// The name that configuration and routes use.
    fn id(&self) -> &ProviderId;

    /// The codec for a deployment.
    fn egress(&self, deployment: &Deployment) -> &dyn Egress;

    /// Whether the fast path may be taken.
    fn pass(&self, deployment: &Deployment) -> Pass {
        let _ = deployment;
        Pass::Verbatim
    }

    /// Whether the provider serves an operation other than chat at all.
    fn serves(&self, deployment: &Deployment, operation: Operation) -> bool {
        let _ = deployment;
        operation == Operation::Chat
    }

    /// Puts a body into a request: method, URL and the headers that this provider needs. Credentials come later.
    ///
    /// # Errors
    /// The deployment cannot be addressed, for example because its upstream model cannot stand in a URL.
    fn address(&self, attempt: &Attempt, encoded: Encoded) -> Result<Request<Bytes>, Fault>;

    /// Proves to the provider who is calling. `None` when the pool holds no key and none is needed.
    ///
    /// # Errors
    /// The proof could not be made, for example because a token service did not answer.
    async fn authorize(&self, request: &mut Request<Bytes>, credential: Option<&Credential>) -> Result<(), Fault>;

    /// Further request headers of a caller of the same protocol that may be forwarded.
    fn forwarded_headers(&self) -> &[HeaderName] {
        &[]
    }

    /// Copies from the provider's headers what the caller may see. Never a cookie.
    fn answer_headers(&self, from: &HeaderMap, to: &mut HeaderMap) {
        crate::headers::forward_answer(from, to);
    }
}
