//! The one error that crosses the stack: what happened, whose fault it is, and what may be tried next.

mod kind;

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

pub use kind::FaultKind;

use crate::{deployment::Deployment, losses::Losses, protocol::Protocol, reply::ReplyHead};

/// Who caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The caller's request.
    Caller,
    /// This gateway.
    Gateway,
    /// The provider.
    Provider,
}

/// What routing may do about it, before anything reached the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Give up: the answer would be the same everywhere.
    Never,
    /// The same deployment may work after a pause; then the next one.
    SameDeployment,
    /// This deployment will not serve it now; go to the next one.
    NextDeployment,
}

/// A provider's own error body, forwarded verbatim only to a caller of the same protocol.
#[derive(Debug, Clone)]
pub struct UpstreamError {
    /// The protocol the body is written in.
    pub protocol: Protocol,
    /// The provider's status.
    pub status: StatusCode,
    /// The provider's headers.
    pub headers: HeaderMap,
    /// The provider's body.
    pub body: Bytes,
}

/// What had been tried for a call when it failed.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    /// Attempts made.
    pub attempts: u32,
    /// Where the last of them went; `None` if there was none.
    pub last: Option<Arc<Deployment>>,
    /// Time spent waiting for providers, over all attempts; the rest of the latency is ours.
    pub upstream_wait: Duration,
}

impl From<&ReplyHead> for Tried {
    /// For a call that had an answer and failed all the same.
    fn from(head: &ReplyHead) -> Self {
        Self { attempts: head.attempts, last: head.deployment.clone(), upstream_wait: head.upstream_wait }
    }
}

/// An error on its way to the caller. Cheap to move; build it with [`Fault::new`] and the `with_` methods.
#[derive(Clone)]
pub struct Fault(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: FaultKind,
    origin: Origin,
    retry: Retry,
    retry_after: Option<Duration>,
    message: Cow<'static, str>,
    code: Option<Cow<'static, str>>,
    param: Option<Cow<'static, str>>,
    status: Option<StatusCode>,
    details: Vec<(&'static str, Value)>,
    losses: Losses,
    upstream: Option<UpstreamError>,
    headers: HeaderMap,
    tried: Option<Tried>,
    reached_work: bool,
    blame: Blame,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A fault that is final. `message` is shown to the caller: what was wrong, where, and what to do; never a secret,
    /// never content.
    #[must_use]
    pub fn new(kind: FaultKind, origin: Origin, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            origin,
            retry: Retry::Never,
            retry_after: None,
            message: message.into(),
            code: None,
            param: None,
            status: None,
            details: Vec::new(),
            losses: Losses::new(),
            upstream: None,
            headers: HeaderMap::new(),
            tried: None,
            reached_work: false,
            blame: Blame::Nobody,
            source: None,
        }))
    }

    /// The caller's mistake: 400, final.
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FaultKind::InvalidRequest, Origin::Caller, message)
    }

    /// A broken invariant of ours: 500, final. `message` is shown; put the cause into [`Fault::with_source`].
    #[must_use]
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FaultKind::Internal, Origin::Gateway, message)
    }

    /// What routing may do about it.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// How long the provider or the gateway asks to wait.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after = wait;
        self
    }

    /// The machine-readable code, where the kind alone is too coarse: `insufficient_credits`, `model_not_found`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// The field of the request that is wrong.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// A status other than the kind's own.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self
    }

    /// One more member of the error object, such as `affordable_max_tokens`.
    #[must_use]
    pub fn with_detail(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.details.push((name, value.into()));
        self
    }

    /// What could not be carried, when that is the reason.
    #[must_use]
    pub fn with_losses(mut self, losses: Losses) -> Self {
        self.0.losses = losses;
        self
    }

    /// The provider's own error body.
    #[must_use]
    pub fn with_upstream(mut self, upstream: UpstreamError) -> Self {
        self.0.upstream = Some(upstream);
        self
    }

    /// Told in our words even where the provider's own body could be forwarded, because ours say more.
    #[must_use]
    pub fn in_our_words(mut self) -> Self {
        if let Some(upstream) = &mut self.0.upstream {
            upstream.protocol = Protocol::new("");
        }
        self
    }

    /// The headers of the provider's answer that a caller may see.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.0.headers = headers;
        self
    }

    /// What had been tried. Whoever knows says it, once: routing for what it asked, the layers before it that nothing was.
    #[must_use]
    pub fn with_tried(mut self, tried: Tried) -> Self {
        self.0.tried = Some(tried);
        self
    }

    /// Marks that the provider had accepted the work, so it may bill for it.
    #[must_use]
    pub fn after_work_began(mut self) -> Self {
        self.0.reached_work = true;
        self
    }

    /// Marks that the credential is the cause (bad, blocked, out of money, throttled) and another may work.
    #[must_use]
    pub fn blaming_credential(mut self) -> Self {
        self.0.blame = Blame::Credential;
        self
    }

    /// Marks that the credential may not do this one thing (use this model, pay for so large an answer): another may, but
    /// this one stays good for everything else. Callers choose what they ask for, so it must not cost others the credential.
    #[must_use]
    pub fn blaming_access(mut self) -> Self {
        self.0.blame = Blame::Access;
        self
    }

    /// The cause, for logs only.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        self.0.kind
    }

    /// Who caused it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// What routing may do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// How long to wait, if anybody said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The sentence shown to the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The machine-readable code, if more specific than the kind.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The wrong field, if one is.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// The status the caller gets.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status.unwrap_or_else(|| self.0.kind.status())
    }

    /// Further members of the error object.
    #[must_use]
    pub fn details(&self) -> &[(&'static str, Value)] {
        &self.0.details
    }

    /// What could not be carried.
    #[must_use]
    pub fn losses(&self) -> &Losses {
        &self.0.losses
    }

    /// The provider's own error, if it sent one.
    #[must_use]
    pub fn upstream(&self) -> Option<&UpstreamError> {
        self.0.upstream.as_ref()
    }

    /// The headers of the provider's answer that a caller may see.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// What had been tried; `None` if nobody knows, as when the call was cut off from outside.
    #[must_use]
    pub fn tried(&self) -> Option<&Tried> {
        self.0.tried.as_ref()
    }

    /// Whether the provider had accepted the work and may bill for it.
    #[must_use]
    pub fn work_began(&self) -> bool {
        self.0.reached_work
    }

    /// Whether another credential of the same provider may work.
    #[must_use]
    pub fn blames_credential(&self) -> bool {
        self.0.blame != Blame::Nobody
    }

    /// Whether the credential should not be used for a while.
    #[must_use]
    pub fn rests_credential(&self) -> bool {
        self.0.blame == Blame::Credential
    }
}

/// What of the gateway's own the provider blames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Nobody,
    Credential,
    Access,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("kind", &self.0.kind)
            .field("origin", &self.0.origin)
            .field("retry", &self.0.retry)
            .field("retry_after", &self.0.retry_after)
            .field("message", &self.0.message)
            .field("code", &self.0.code)
            .field("status", &self.status().as_u16())
            .field("upstream_status", &self.0.upstream.as_ref().map(|u| u.status.as_u16()))
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind.as_str(), self.0.message)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_ref().map(|s| &**s as &(dyn Error + 'static))
    }
}
