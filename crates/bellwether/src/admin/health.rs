//! What `GET /admin/v1/health` shows: each provider's keys, and each deployment in trouble.

use std::{sync::Arc, time::SystemTime};

use gateway_core::FaultKind;
use gateway_providers::CredentialPool;
use gateway_routing::{Health, HealthState};
use serde_json::{Value, json};

/// Where health is read from.
pub struct HealthSources {
    /// Each provider's keys.
    pub credentials: Vec<(Box<str>, Arc<CredentialPool>)>,
    /// Each deployment in trouble.
    pub deployments: Health,
}

impl HealthSources {
    /// The reading now.
    #[must_use]
    pub fn read(&self) -> Value {
        let providers: Vec<_> = self.credentials.iter().map(|(id, pool)| json!({ "id": id, "credentials": credentials(pool) })).collect();
        let deployments = self.deployments.snapshot().into_iter().map(|one| {
            json!({
                "id": one.deployment,
                "state": match one.state {
                    HealthState::Failing => "failing",
                    HealthState::Resting { .. } => "resting",
                    HealthState::Probing => "probing",
                },
                "failures": one.failures,
                "last_fault": one.last_fault.as_str(),
            })
        });
        json!({ "providers": providers, "deployments": deployments.collect::<Vec<_>>() })
    }
}

fn credentials(pool: &CredentialPool) -> Vec<Value> {
    pool.health()
        .into_iter()
        .map(|key| {
            json!({
                "suffix": key.suffix,
                "state": key.state.as_str(),
                "until": key.until.map(rfc3339),
                "last_fault": key.last_fault.map(FaultKind::as_str),
            })
        })
        .collect()
}

fn rfc3339(at: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(at).ok().map(|at| at.to_string())
}
