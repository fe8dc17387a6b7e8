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

use super::Admin;

impl Admin {
    pub(super) async fn usage(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let (mut account, mut mode, mut rest) = (None, Mode::Live, Vec::new());
        for (name, value) in request.query() {
            match (&*name, &*value) {
                ("account", _) => account = Some(value.into_owned()),
                ("mode", "live") => mode = Mode::Live,
                ("mode", "test") => mode = Mode::Test,
                ("mode", _) => return Err(Fault::invalid("`mode` must be `live` or `test`").with_param("mode")),
                _ => rest.push((name.into_owned(), value.into_owned())),
            }
        }
        let (rest, form) = form_of(rest)?;
        let ask = UsageAsk::parse(Scope::Operator(account), Currency::of(mode), &rest, self.ledger.clock().unix_us())?;
        Ok(render(&self.ledger.usage(ask).await?, form)?)
    }
}
