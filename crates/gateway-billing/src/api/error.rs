//! What the billing interface answers when it cannot answer.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use crate::error::LedgerError;

#[derive(Debug)]
pub(super) enum ApiError {
    NotFound(String),
    MethodNotAllowed,
    /// A parameter's name and what is wrong with it.
    Parameter(String, String),
    Overflow,
    Internal(String),
}

impl ApiError {
    pub(super) fn no_such_path(path: &str) -> Self {
        let path = shown(path);
        Self::NotFound(format!(
            "there is no `{path}`; known are /v1/billing/balance, /v1/billing/requests/{{id}} and /v1/billing/cost-report"
        ))
    }

    pub(super) fn not_found(what: &str, name: &str) -> Self {
        Self::NotFound(format!("no {what} `{}`", shown(name)))
    }

    pub(super) fn unknown_parameter(pair: &str, known: &str) -> Self {
        let name = shown(pair.split('=').next().unwrap_or(""));
        Self::Parameter(name.clone(), format!("unknown query parameter `{name}`; {known}"))
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Parameter(..) => StatusCode::BAD_REQUEST,
            Self::Overflow | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What goes to the log and not to the caller.
    pub(super) fn cause(&self) -> Option<&str> {
        match self {
            Self::Internal(cause) => Some(cause),
            Self::Overflow => Some("a sum of money is beyond the ledger's range"),
            Self::NotFound(_) | Self::MethodNotAllowed | Self::Parameter(..) => None,
        }
    }

    pub(super) fn body(&self) -> Bytes {
        let (kind, code, param, message) = match self {
            Self::NotFound(message) => ("invalid_request_error", "not_found", None, message.as_str()),
            Self::MethodNotAllowed => ("invalid_request_error", "method_not_allowed", None, "this address is for reading: use GET"),
            Self::Parameter(name, message) => ("invalid_request_error", "invalid_parameter", Some(name.as_str()), message.as_str()),
            Self::Overflow | Self::Internal(_) => {
                ("server_error", "internal_error", None, "the books could not be read; nothing was charged, try again")
            }
        };
        let error = json!({ "error": { "message": message, "type": kind, "param": param, "code": code } });
        Bytes::from(error.to_string())
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::NotFound { what, name } => Self::not_found(what, &name),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A caller's text, short enough and plain enough to be repeated to them.
fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}
