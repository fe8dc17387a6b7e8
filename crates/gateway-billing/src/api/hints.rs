//! `GET /v1/billing/hints`: where the account could pay less.

use bytes::Bytes;
use http::Response;

use super::{ApiError, BillingApi, Viewer, ok};
use crate::{hint::HintAsk, report::Scope};

pub(super) async fn answer(api: &BillingApi, viewer: &Viewer, query: Option<&str>) -> Result<Response<Bytes>, ApiError> {
    let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or("").as_bytes()).into_owned().collect();
    let ask = HintAsk::parse(Scope::Account(viewer.org), viewer.mode, &pairs, api.ledger.clock().unix_us())?;
    ok(&*api.ledger.hints(ask.asked_with(viewer.key)).await?)
}
