//! `bellwether prices …`: what a running gateway sells at.

mod plan;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::admin_client::AdminClient;
use crate::config::Environment;

#[derive(Debug, Subcommand)]
pub(super) enum Prices {
    /// Set and list plans: the factors that accounts' prices are multiplied by
    #[command(subcommand)]
    Plan(plan::Plan),
}

impl Prices {
    pub(super) async fn run(self, environment: &dyn Environment) -> Result<ExitCode> {
        match self {
            Self::Plan(plan) => plan.run(&AdminClient::from_environment(environment)?).await,
        }
    }
}
