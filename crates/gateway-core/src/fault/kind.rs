//! The closed list of what can happen to a call.

use http::StatusCode;

/// What happened, in terms a caller can act on. A closed list; metrics label by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// The request is wrong; sending it again will not help.
    InvalidRequest,
    /// No key, or not one of ours.
    Authentication,
    /// The key may not do this.
    PermissionDenied,
    /// No such thing: a model, a path, a record.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body is larger than the limit.
    PayloadTooLarge,
    /// The prompt does not fit the model's window.
    ContextLength,
    /// A content filter refused the request.
    ContentFiltered,
    /// The caller's wallet or budget cannot pay.
    InsufficientFunds,
    /// The model has no price, so it is not sold.
    ModelNotPriced,
    /// Too many requests.
    RateLimited,
    /// The provider says it is overloaded.
    Overloaded,
    /// A time limit passed.
    Timeout,
    /// The provider could not be reached, or answered that it is down.
    Unavailable,
    /// The provider answered something that is not its own protocol.
    BadUpstream,
    /// The provider reported an internal error.
    UpstreamError,
    /// No deployment can serve the call: none configured, all retired or all resting.
    NoDeployment,
    /// The ledger cannot record money right now, so nothing is served.
    LedgerDown,
    /// The caller went away.
    CallerGone,
    /// A bug or a broken invariant of ours.
    Internal,
}

impl FaultKind {
    /// The word used in metric labels, logs and attempt records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Authentication => "authentication",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::PayloadTooLarge => "payload_too_large",
            Self::ContextLength => "context_length",
            Self::ContentFiltered => "content_filtered",
            Self::InsufficientFunds => "insufficient_funds",
            Self::ModelNotPriced => "model_not_priced",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::BadUpstream => "bad_upstream",
            Self::UpstreamError => "upstream_error",
            Self::NoDeployment => "no_deployment",
            Self::LedgerDown => "ledger_down",
            Self::CallerGone => "caller_gone",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status a caller sees unless the fault names another.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest | Self::ContextLength | Self::ContentFiltered | Self::ModelNotPriced => StatusCode::BAD_REQUEST,
            Self::Authentication => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::InsufficientFunds => StatusCode::PAYMENT_REQUIRED,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Overloaded | Self::Unavailable | Self::NoDeployment | Self::LedgerDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadUpstream | Self::UpstreamError => StatusCode::BAD_GATEWAY,
            // 499 is nginx's status for a client that closed its connection; nobody is left to read it.
            Self::CallerGone => match StatusCode::from_u16(499) {
                Ok(status) => status,
                Err(_) => StatusCode::BAD_REQUEST,
            },
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
