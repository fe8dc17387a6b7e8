//! The callers' view of their money: `/v1/billing/balance`, `/requests/{id}`, the same as a signed receipt, `/cost-report`,
//! `/usage`, `/hints`, `/budgets`, `/statements`, what usage would have cost otherwise, and the redemption of codes.
//!
//! What reads has what is queued written first, so that a caller finds the answer it just got. A viewer sees one account and one
//! mode; what belongs to another is answered as if it did not exist. What providers bill us is shown to operators only.

mod error;
mod hints;
mod period;
mod receipt;
mod redeem;
mod report;
mod routes;
mod statements;
#[cfg(test)]
mod tests;
mod usage;
mod what_if;

use std::sync::Arc;

use bytes::Bytes;
use gateway_core::{KeyId, Mode, OrgId, Principal, RequestId};
use http::{HeaderValue, Method, Response, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    ledger::Ledger,
    money::{Currency, Money, Nano},
    what_if::{Directory, NoDirectory},
};
use error::ApiError;
use routes::Route;
pub use statements::as_csv;
pub use usage::{Form, form_of, render};

/// Who is looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    /// Whose books.
    pub org: OrgId,
    /// With which key; whoever looks without one changes nothing.
    pub key: Option<KeyId>,
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
        Self { org: principal.org, key: Some(principal.key), mode: principal.mode, sight: Sight::Account }
    }

    fn money(&self, nano: i64) -> Money {
        Money::new(Nano::new(nano), Currency::of(self.mode))
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct ApiRequest<'r> {
    /// How.
    pub method: &'r Method,
    /// Where, with or without `/v1/billing` before it.
    pub path: &'r str,
    /// The query, if there is one.
    pub query: Option<&'r str>,
    /// The body; empty for what only reads.
    pub body: &'r [u8],
}

/// The service. Cloning shares its connections.
#[derive(Debug, Clone)]
pub struct BillingApi {
    ledger: Arc<Ledger>,
    models: Arc<dyn Directory>,
}

impl BillingApi {
    /// Serves from this ledger: balances from memory, so that an answer just charged shows at once, the rest from its
    /// connections for reading.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, models: Arc::new(NoDirectory) }
    }

    /// With the models of these routes, which [`WhatIfAsk`](crate::what_if::WhatIfAsk)s may name.
    #[must_use]
    pub fn with_models(self, models: Arc<dyn Directory>) -> Self {
        Self { models, ..self }
    }

    /// Answers one request. Whatever goes wrong is an answer in OpenAI's error shape.
    pub async fn handle(&self, viewer: &Viewer, request: ApiRequest<'_>) -> Response<Bytes> {
        match self.answer(viewer, request).await {
            Ok(response) => response,
            Err(error) => {
                if let Some(cause) = error.cause() {
                    tracing::error!(%cause, path = request.path, "the billing interface could not answer");
                }
                let mut response = reply(error.status(), error.body());
                if let Some((name, value)) = error.header() {
                    response.headers_mut().insert(name, value);
                }
                response
            }
        }
    }

    async fn answer(&self, viewer: &Viewer, request: ApiRequest<'_>) -> Result<Response<Bytes>, ApiError> {
        let (route, id) = routes::find(request.method, request.path)?;
        let query = request.query;
        match route {
            Route::Balance => {
                no_query(query)?;
                ok(&self.ledger.balance(&viewer.org.to_string(), viewer.mode).await?)
            }
            Route::Receipt => {
                no_query(query)?;
                self.ledger.flush().await;
                ok(&receipt::read(self.ledger.reader(), viewer, id).await?)
            }
            Route::SignedReceipt => {
                no_query(query)?;
                self.ledger.flush().await;
                ok(&receipt::signed(self.ledger.reader(), viewer, id, self.ledger.receipt_key()).await?)
            }
            Route::CostReport => {
                let period = period::Period::of_query(query, self.now())?;
                self.ledger.flush().await;
                ok(&report::read(self.ledger.reader(), viewer, &period).await?)
            }
            Route::Budgets => {
                no_query(query)?;
                self.ledger.flush().await;
                ok(&budgets(&self.ledger, viewer).await?)
            }
            Route::Usage => usage::answer(self, viewer, query).await,
            Route::Hints => hints::answer(self, viewer, query).await,
            Route::Statements => statements::list(self, viewer, query).await,
            Route::Statement => statements::one(self, viewer, id, query).await,
            Route::Redeem => {
                no_query(query)?;
                ok(&redeem::redeem(&self.ledger, viewer, request.body).await?)
            }
            Route::WhatIf => {
                no_query(query)?;
                what_if::answer(self, viewer, request.body).await
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.ledger.clock().unix_us()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The budgets that the viewer's key falls under; without a key, those of the account.
async fn budgets(ledger: &Ledger, viewer: &Viewer) -> Result<serde_json::Value, ApiError> {
    let data = match viewer.key {
        Some(key) => ledger.budgets_of_key(viewer.org, viewer.mode, key).await?,
        None => ledger.budgets(viewer.org, viewer.mode),
    };
    Ok(serde_json::json!({ "object": "list", "data": data }))
}

/// The signed receipt of a call that has ended and is written; `None`, with a word in the log, if there is none.
pub(crate) async fn signed_receipt(ledger: &Ledger, viewer: &Viewer, id: RequestId) -> Option<String> {
    match receipt::signed(ledger.reader(), viewer, &id.to_string(), ledger.receipt_key()).await {
        Ok(signed) => Some(signed.into_text()),
        Err(error) => {
            tracing::warn!(%id, ?error, "no receipt goes with the answer; it can be fetched");
            None
        }
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

fn ok(value: &impl Serialize) -> Result<Response<Bytes>, ApiError> {
    json(value).map(|body| reply(StatusCode::OK, body))
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
