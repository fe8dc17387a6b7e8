//! `/admin/v1/hints`: where accounts could pay less, and the operator.

use bytes::Bytes;
use gateway_billing::{hint::HintAsk, report::Scope};
use gateway_core::Fault;
use gateway_server::MountRequest;
use http::{Response, StatusCode};

use super::{Admin, json, reports::narrowed};

impl Admin {
    pub(super) async fn hints(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let (account, mode, rest) = narrowed(request)?;
        let ask = HintAsk::parse(Scope::Operator(account), mode, &rest, self.ledger.clock().unix_us())?;
        json(StatusCode::OK, &*self.ledger.hints(ask).await?)
    }
}
