//! `GET /v1/billing/statements` and `/v1/billing/statements/{number}.json` or `.csv`.

use bytes::Bytes;
use http::Response;

use super::{ApiError, BillingApi, Viewer, no_query, ok, usage::csv_reply};
use crate::{error::LedgerError, statement::StatementView};

pub(super) async fn list(api: &BillingApi, viewer: &Viewer, query: Option<&str>) -> Result<Response<Bytes>, ApiError> {
    let mut after = None;
    for (name, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
        match &*name {
            "after" => after = Some(value.into_owned()),
            other => return Err(ApiError::unknown_parameter(other, "this address takes `after`")),
        }
    }
    ok(&api.ledger.statements(&viewer.org.to_string(), viewer.mode, after.as_deref()).await?)
}

pub(super) async fn one(api: &BillingApi, viewer: &Viewer, name: &str, query: Option<&str>) -> Result<Response<Bytes>, ApiError> {
    no_query(query)?;
    let (number, form) = name.rsplit_once('.').unwrap_or((name, "json"));
    let view = api.ledger.statement(&viewer.org.to_string(), viewer.mode, number).await?;
    match form {
        "json" => ok(&view),
        "csv" => Ok(as_csv(&view, number)?),
        _ => Err(ApiError::not_found("statement", name)),
    }
}

/// A statement as a file of CSV.
///
/// # Errors
/// The stored text is damaged.
pub fn as_csv(view: &StatementView, number: &str) -> Result<Response<Bytes>, LedgerError> {
    Ok(csv_reply(view.to_csv()?, &format!("{number}.csv")))
}
