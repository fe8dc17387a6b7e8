//! What the billing interface answers when it cannot answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::error::LedgerError;

#[derive(Debug)]
pub(super) enum ApiError {
    NotFound(String),
    /// What the address takes, as the `Allow` header lists it.
    MethodNotAllowed(&'static str),
    /// Understood, and not done.
    Refused {
        status: u16,
        code: &'static str,
        param: Option<&'static str>,
        message: String,
    },
    /// Too often.
    TooMany {
        retry_after: Duration,
        message: &'static str,
    },
    /// Others are having something long read.
    Occupied {
        retry_after: Duration,
    },
    /// A parameter's name and what is wrong with it.
    Parameter(String, String),
    Overflow,
    Internal(String),
}

impl ApiError {
    pub(super) fn no_such_path(path: &str, known: &str) -> Self {
        Self::NotFound(format!("there is no `{}`; known are {known}", shown(path)))
    }

    pub(super) fn refused(status: u16, code: &'static str, param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self::Refused { status, code, param, message: message.into() }
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
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Refused { status, .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST),
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Occupied { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Parameter(..) => StatusCode::BAD_REQUEST,
            Self::Overflow | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What goes to the log and not to the caller.
    pub(super) fn cause(&self) -> Option<&str> {
        match self {
            Self::Internal(cause) => Some(cause),
            Self::Overflow => Some("a sum of money is beyond the ledger's range"),
            Self::NotFound(_)
            | Self::MethodNotAllowed(_)
            | Self::Refused { .. }
            | Self::TooMany { .. }
            | Self::Occupied { .. }
            | Self::Parameter(..) => None,
        }
    }

    /// The header that belongs to the status.
    pub(super) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::MethodNotAllowed(allowed) => Some((header::ALLOW, HeaderValue::from_static(allowed))),
            Self::TooMany { retry_after, .. } | Self::Occupied { retry_after } => {
                Some((header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1))))
            }
            _ => None,
        }
    }

    pub(super) fn body(&self) -> Bytes {
        let (kind, code, param, message) = match self {
            Self::NotFound(message) => ("invalid_request_error", "not_found", None, message.as_str()),
            Self::MethodNotAllowed("POST") => {
                ("invalid_request_error", "method_not_allowed", None, "this address does something: use POST")
            }
            Self::MethodNotAllowed(_) => ("invalid_request_error", "method_not_allowed", None, "this address is for reading: use GET"),
            Self::Refused { status, code, param, message } => {
                (if *status < 500 { "invalid_request_error" } else { "server_error" }, *code, *param, message.as_str())
            }
            Self::TooMany { message, .. } => ("rate_limit_error", "too_many_attempts", None, *message),
            Self::Occupied { .. } => {
                ("server_error", "readings_occupied", None, "other long readings of the ledger are under way; ask again in a moment")
            }
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
            LedgerError::Conflict { problem } => Self::refused(409, "conflict", None, problem.as_ref()),
            LedgerError::Invalid { param, .. } => Self::refused(400, "invalid_parameter", Some(param), error.to_string()),
            LedgerError::Occupied { retry_after } => Self::Occupied { retry_after },
            LedgerError::Busy | LedgerError::Down { .. } | LedgerError::Stopped => {
                Self::refused(503, "ledger_down", None, "the ledger cannot record money right now, so nothing was done; try again shortly")
            }
            LedgerError::Amount(_) => Self::Overflow,
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
