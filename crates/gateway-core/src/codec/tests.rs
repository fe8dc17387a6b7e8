use std::sync::Arc;

use super::*;
use crate::{
    deployment::{ModelLimits, OnLoss, Quirks, Timeouts},
    id::{DeploymentId, ProviderId},
};

fn limit(asked: Option<u32>, paid: Option<u32>, most: Option<u32>, demanded: bool) -> Option<u32> {
    let deployment = Deployment {
        id: DeploymentId::new("m@p/u"),
        provider: ProviderId::new("p"),
        model: Arc::from("m"),
        upstream_model: Arc::from("u"),
        protocol: Protocol::new("test"),
        weight: 1,
        limits: ModelLimits { output_tokens_max: most, context_window: None },
        timeouts: Timeouts::default(),
        on_loss: OnLoss::Report,
        quirks: Quirks::default(),
        notice: None,
    };
    Target { deployment: &deployment, stream: false, output_limit: paid }.limit_to_write(asked, demanded)
}

#[test]
fn the_limit_written_is_never_above_what_is_paid_for() {
    assert_eq!(limit(Some(100), Some(50), Some(1_000), false), Some(50));
    assert_eq!(limit(Some(100), Some(500), Some(1_000), false), Some(100));
    assert_eq!(limit(None, Some(500), Some(1_000), false), Some(500));
    assert_eq!(limit(None, Some(500), None, false), Some(500));
    assert_eq!(limit(None, Some(500), None, true), Some(500));
    // A hold pays for no more than the model's maximum, where that is known.
    assert_eq!(limit(Some(128_000), Some(128_000), Some(8_192), false), Some(8_192));
    assert_eq!(limit(Some(128_000), Some(128_000), None, false), Some(128_000));
}

#[test]
fn a_funded_account_is_not_cut_short() {
    assert_eq!(limit(None, Some(1_000), Some(1_000), false), None);
    assert_eq!(limit(None, None, Some(1_000), false), None);
    assert_eq!(limit(None, None, None, false), None);
}

#[test]
fn a_protocol_that_demands_a_number_gets_one() {
    assert_eq!(limit(None, None, Some(64_000), true), Some(64_000));
    assert_eq!(limit(None, None, None, true), Some(4_096));
}
