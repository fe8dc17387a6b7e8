//! `/admin/v1/what-if`: what usage would have cost otherwise, for one account or all of them.

use std::sync::Arc;

use bytes::Bytes;
use gateway_billing::what_if::{Directory, WhatIfAsk};
use gateway_core::{Deployment, Fault};
use gateway_routing::Routes;
use gateway_server::MountRequest;
use http::{Response, StatusCode};

use super::{Admin, json};

/// The models of the routes in force, for questions that name one.
#[derive(Debug, Clone)]
pub struct PublicModels(pub Routes);

impl Directory for PublicModels {
    fn deployments(&self, model: &str) -> Vec<Arc<Deployment>> {
        self.0.load().served_by(model)
    }
}

impl Admin {
    pub(super) async fn what_if(&self, request: &MountRequest) -> Result<Response<Bytes>, Fault> {
        let ask = WhatIfAsk::of_operator(&request.body, self.ledger.clock().unix_us(), Arc::clone(&self.desk.calendars))?;
        let models = PublicModels(self.desk.routes.clone());
        json(StatusCode::OK, &self.ledger.what_if(ask, Arc::new(models)).await?)
    }
}
