//! `/admin/v1/plans`: the factors that accounts' prices are multiplied by.

use bytes::Bytes;
use gateway_billing::{ledger::NewPlanVersion, money::Ppm};
use gateway_core::Fault;
use gateway_server::MountRequest;
use http::{Response, StatusCode};
use serde::Deserialize;

use super::{Admin, List, idempotency_key, instant_us, json, parse, unknown_parameter};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanBody {
    plan: String,
    multiplier: String,
    #[serde(default)]
    effective_from: Option<String>,
}

impl Admin {
    pub(super) fn plans(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        if let Some((name, _)) = request.query().next() {
            return Err(unknown_parameter(&name, "none"));
        }
        json(StatusCode::OK, &List { data: self.ledger.plan_versions() })
    }

    pub(super) async fn publish_plan(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let body: PlanBody = parse(request)?;
        let multiplier: Ppm = body.multiplier.parse().map_err(|error| {
            let message =
                format!("`multiplier` must be a decimal factor such as \"1.05\", at most 100 and with at most six decimals: {error}");
            Fault::invalid(message).with_param("multiplier")
        })?;
        let new = NewPlanVersion {
            plan: body.plan,
            multiplier,
            effective_from: body.effective_from.as_deref().map(|text| instant_us("effective_from", text)).transpose()?,
            idempotency_key: idempotency_key(request, "so that a repeat cannot publish twice")?,
        };
        json(StatusCode::OK, &self.ledger.publish_plan(new).await?)
    }
}
