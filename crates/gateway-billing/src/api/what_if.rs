//! `POST /v1/billing/what-if`.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::{ApiError, BillingApi, Viewer, ok};
use crate::what_if::WhatIfAsk;

pub(super) async fn answer(api: &BillingApi, viewer: &Viewer, body: &[u8]) -> Result<Response<Bytes>, ApiError> {
    let ask = WhatIfAsk::of_account(viewer.org, viewer.key, viewer.mode, body, api.ledger.clock().unix_us())?;
    ok(&api.ledger.what_if(ask, Arc::clone(&api.models)).await?)
}
