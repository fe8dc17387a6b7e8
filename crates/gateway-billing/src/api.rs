//! The callers' view of their money: `GET /v1/billing/balance`, `/v1/billing/requests/{id}` and `/v1/billing/cost-report`.
//!
//! It reads, and never writes, but has what is queued written first, so that a caller finds the answer it just got. A viewer sees one account and one mode; what belongs to another is answered as if it did
//! not exist. What providers bill us is shown to operators only.

mod error;
mod period;
mod receipt;
mod report;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use gateway_core::{Mode, OrgId, Principal};
use http::{HeaderValue, Method, Response, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    ledger::Ledger,
    money::{Currency, Money, Nano},
};
use error::ApiError;

/// Who is looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    /// Whose books.
    pub org: OrgId,
    /// Live or test money.
    pub mode: Mode,
    /// How much is shown.
    pub sight: Sight,
}

/// How much a viewer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// What the account pays.
    Account,
    /// Also what providers bill.
    Operator,
}

impl Viewer {
    /// The holder of a key.
    #[must_use]
    pub fn of(principal: &Principal) -> Self {
        Self { org: principal.org, mode: principal.mode, sight: Sight::Account }
    }

    fn money(&self, nano: i64) -> Money {
        Money::new(Nano::new(nano), Currency::of(self.mode))
    }
}

/// The service. Cloning shares its connections.
#[derive(Debug, Clone)]
pub struct BillingApi {
    ledger: Arc<Ledger>,
}

impl BillingApi {
    /// Serves from this ledger: balances from memory, so that an answer just charged shows at once, the rest from its
    /// connections for reading.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger }
    }

    /// Answers one request. `path` may stand with or without `/v1/billing` before it. Whatever goes wrong is an answer
    /// in OpenAI's error shape.
    pub async fn handle(&self, viewer: &Viewer, method: &Method, path: &str, query: Option<&str>) -> Response<Bytes> {
        match self.answer(viewer, method, path, query).await {
            Ok(body) => reply(StatusCode::OK, body),
            Err(error) => {
                if let Some(cause) = error.cause() {
                    tracing::error!(%cause, path, "the billing interface could not answer");
                }
                let mut response = reply(error.status(), error.body());
                if error.status() == StatusCode::METHOD_NOT_ALLOWED {
                    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                }
                response
            }
        }
    }

    async fn answer(&self, viewer: &Viewer, method: &Method, path: &str, query: Option<&str>) -> Result<Bytes, ApiError> {
        let place = path.strip_prefix("/v1/billing").unwrap_or(path);
        let place = place.strip_suffix('/').unwrap_or(place);
        let known = matches!(place, "/balance" | "/cost-report") || place.starts_with("/requests/");
        if !known {
            return Err(ApiError::no_such_path(path));
        }
        if method != Method::GET && method != Method::HEAD {
            return Err(ApiError::MethodNotAllowed);
        }
        if let Some(id) = place.strip_prefix("/requests/") {
            no_query(query)?;
            self.ledger.flush().await;
            return json(&receipt::read(self.ledger.reader(), viewer, id).await?);
        }
        if place == "/balance" {
            no_query(query)?;
            return json(&self.ledger.balance(&viewer.org.to_string(), viewer.mode).await?);
        }
        let period = period::Period::of_query(query, self.now())?;
        self.ledger.flush().await;
        json(&report::read(self.ledger.reader(), viewer, &period).await?)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.ledger.clock().unix_us()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Microseconds since 1970 as RFC 3339.
fn instant(us: i64) -> String {
    Timestamp::from_microsecond(us).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn no_query(query: Option<&str>) -> Result<(), ApiError> {
    match query.filter(|query| !query.is_empty()).and_then(|query| query.split('&').next()) {
        Some(pair) => Err(ApiError::unknown_parameter(pair, "this address takes none")),
        None => Ok(()),
    }
}

fn json(value: &impl Serialize) -> Result<Bytes, ApiError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|e| ApiError::Internal(e.to_string()))
}

fn reply(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Money changes with every call; nothing between us and the caller may keep an answer.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
