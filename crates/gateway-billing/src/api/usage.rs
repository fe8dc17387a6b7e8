//! `GET /v1/billing/usage`: what was used, in groups, as JSON or CSV.

use bytes::Bytes;
use http::{HeaderValue, Response, header};

use super::{ApiError, BillingApi, StatusCode, Viewer, json, reply};
use crate::{
    error::LedgerError,
    money::Currency,
    report::{Scope, UsageAsk, UsagePage},
};

/// Tells the reader of a CSV what to ask for next.
const NEXT: &str = "x-bellwether-next";

pub(super) async fn answer(api: &BillingApi, viewer: &Viewer, query: Option<&str>) -> Result<Response<Bytes>, ApiError> {
    let (pairs, form) = pairs(query)?;
    let ask = UsageAsk::parse(Scope::Account(viewer.org), Currency::of(viewer.mode), &pairs, api.ledger.clock().unix_us())?;
    Ok(render(&api.ledger.usage(ask).await?, form)?)
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As JSON.
    Json,
    /// As CSV with headings.
    Csv,
}

/// The form that `format` names, which is taken out, and the other parameters.
///
/// # Errors
/// It is neither `json` nor `csv`.
pub fn form_of(pairs: Vec<(String, String)>) -> Result<(Vec<(String, String)>, Form), LedgerError> {
    let mut form = None;
    let mut rest = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        if name != "format" {
            rest.push((name, value));
            continue;
        }
        let named = match value.as_str() {
            "json" => Form::Json,
            "csv" => Form::Csv,
            _ => return Err(LedgerError::invalid("format", "may be `json` or `csv`")),
        };
        if form.replace(named).is_some() {
            return Err(LedgerError::invalid("format", "is given twice"));
        }
    }
    Ok((rest, form.unwrap_or(Form::Json)))
}

/// A page in this form; that of a CSV says in `x-bellwether-next` where the next one begins.
///
/// # Errors
/// None that can be met with; writing is fallible by type.
pub fn render(page: &UsagePage, form: Form) -> Result<Response<Bytes>, LedgerError> {
    let unwritten = |_| LedgerError::Refused { problem: "a report could not be written".into() };
    if form == Form::Json {
        return Ok(reply(StatusCode::OK, json(page).map_err(unwritten)?));
    }
    let mut response = csv_reply(page.to_csv()?, "usage.csv");
    // The cursor is hex, which every header takes.
    if let Some(Ok(next)) = page.next.as_deref().map(HeaderValue::from_str) {
        response.headers_mut().insert(NEXT, next);
    }
    Ok(response)
}

pub(super) fn csv_reply(body: Vec<u8>, name: &str) -> Response<Bytes> {
    let mut response = reply(StatusCode::OK, body.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn pairs(query: Option<&str>) -> Result<(Vec<(String, String)>, Form), ApiError> {
    let pairs = form_urlencoded::parse(query.unwrap_or("").as_bytes()).into_owned().collect();
    Ok(form_of(pairs)?)
}
