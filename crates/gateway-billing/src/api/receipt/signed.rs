//! A receipt as signed facts: what was asked, what served, what was used, what it cost, and how that follows.

use gateway_core::{OrgId, RequestId};
use serde::Serialize;

use super::{AttemptShown, PriceUsed, Receipt, Viewer, read};
use crate::{
    api::ApiError,
    money::{Currency, Money},
    receipt::ReceiptKey,
    usage::Leaves,
};

/// Who states it.
const ISSUER: &str = "bellwether";

/// What is signed. The facts of a call that has ended never change, so neither does its receipt.
#[derive(Serialize)]
struct Claims<'r> {
    iss: &'static str,
    id: RequestId,
    account: OrgId,
    mode: &'static str,
    state: &'static str,
    created_at: &'r str,
    served_at: Option<&'r str>,
    requested_model: &'r str,
    model: Option<&'r str>,
    provider: Option<&'r str>,
    stream: bool,
    leaves: Option<&'r Leaves>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'r str>,
    usage_source: Option<&'static str>,
    price: Option<&'r PriceUsed>,
    currency: Currency,
    charge: Money,
    written_off: Money,
    attempts: Vec<AttemptClaim<'r>>,
}

#[derive(Serialize)]
struct AttemptClaim<'r> {
    n: i64,
    provider: &'r str,
    upstream_model: &'r str,
    outcome: Option<&'r str>,
    charged: bool,
}

#[derive(Serialize)]
pub(in crate::api) struct Signed {
    receipt: String,
}

impl Signed {
    /// The receipt itself.
    pub(in crate::api) fn into_text(self) -> String {
        self.receipt
    }
}

/// The signed receipt of a call that has ended.
pub(in crate::api) async fn signed(reader: &sqlx::SqlitePool, viewer: &Viewer, id: &str, key: &ReceiptKey) -> Result<Signed, ApiError> {
    let receipt = read(reader, viewer, id).await?;
    if receipt.state == "open" {
        return Err(ApiError::refused(409, "request_not_ended", None, "the request is still running; ask again when it has ended"));
    }
    let receipt = key.sign(&claims(viewer, &receipt)).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(Signed { receipt })
}

fn claims<'r>(viewer: &Viewer, receipt: &'r Receipt) -> Claims<'r> {
    Claims {
        iss: ISSUER,
        id: receipt.id,
        account: receipt.account,
        mode: receipt.mode,
        state: receipt.state,
        created_at: &receipt.created_at,
        served_at: receipt.settled_at.as_deref(),
        requested_model: &receipt.requested_model,
        model: receipt.model.as_deref(),
        provider: receipt.attempts.iter().find(|attempt| attempt.charged).map(|attempt| attempt.provider.as_str()),
        stream: receipt.stream,
        leaves: receipt.usage.as_ref(),
        service_tier: receipt.usage.as_ref().and_then(Leaves::service_tier),
        usage_source: receipt.usage_source,
        price: receipt.price.as_ref(),
        currency: Currency::of(viewer.mode),
        charge: receipt.charge.unwrap_or_else(|| viewer.money(0)),
        written_off: receipt.written_off,
        attempts: receipt.attempts.iter().map(attempt).collect(),
    }
}

fn attempt(attempt: &AttemptShown) -> AttemptClaim<'_> {
    AttemptClaim {
        n: attempt.n,
        provider: &attempt.provider,
        upstream_model: &attempt.upstream_model,
        outcome: attempt.outcome.as_deref(),
        charged: attempt.charged,
    }
}
