//! `/admin/v1/usage`: what accounts used, with what providers bill for it.

use bytes::Bytes;
use gateway_billing::{
    api::{form_of, render},
    money::Currency,
    report::{Scope, UsageAsk},
};
use gateway_core::{Fault, Mode};
use gateway_server::MountRequest;
use http::Response;

use super::{Admin, mode_of};

impl Admin {
    pub(super) async fn usage(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let (account, mode, rest) = narrowed(request)?;
        let (rest, form) = form_of(rest)?;
        let ask = UsageAsk::parse(Scope::Operator(account), Currency::of(mode), &rest, self.ledger.clock().unix_us())?;
        Ok(render(&self.ledger.usage(ask).await?, form)?)
    }
}

/// An account or none, its money, and the parameters that say no more of whose.
type Narrowed = (Option<String>, Mode, Vec<(String, String)>);

/// Whom an operator asks about, and what else is asked.
pub(super) fn narrowed(request: &MountRequest) -> Result<Narrowed, Fault> {
    let (mut account, mut mode, mut rest) = (None, Mode::Live, Vec::new());
    for (name, value) in request.query() {
        match &*name {
            "account" => account = Some(value.into_owned()),
            "mode" => mode = mode_of(&value)?,
            _ => rest.push((name.into_owned(), value.into_owned())),
        }
    }
    Ok((account, mode, rest))
}
