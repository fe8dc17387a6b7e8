//! `/admin/v1/hints`: where accounts could pay less, and the operator.

use bytes::Bytes;
use gateway_billing::{hint::HintAsk, report::Scope};
use gateway_core::{Fault, Mode};
use gateway_server::MountRequest;
use http::{Response, StatusCode};

use super::{Admin, json};

impl Admin {
    pub(super) async fn hints(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
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
        let ask = HintAsk::parse(Scope::Operator(account), mode, &rest, self.ledger.clock().unix_us())?;
        json(StatusCode::OK, &*self.ledger.hints(ask).await?)
    }
}
