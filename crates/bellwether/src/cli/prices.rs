//! `bellwether prices …`: what a running gateway sells at.

mod changes;
mod import;
mod plan;
mod publish;
mod show;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use super::admin_client::AdminClient;
use crate::config::Environment;

#[derive(Debug, Subcommand)]
pub(super) enum Prices {
    /// Make a list of prices from a catalog file, and show what publishing it would change; nothing is published
    Import(import::Import),
    /// Publish a list of prices, all of them or none, from now or a later moment on
    Publish(publish::Publish),
    /// Show the prices of a model, and those that are scheduled
    Show(show::Show),
    /// List every price that holds
    List(show::List),
    /// Set and list plans: the factors that accounts' prices are multiplied by
    #[command(subcommand)]
    Plan(plan::Plan),
}

impl Prices {
    pub(super) async fn run(self, environment: &dyn Environment) -> Result<ExitCode> {
        let admin = || AdminClient::from_environment(environment);
        match self {
            Self::Import(import) => import.run(environment).await,
            Self::Publish(publish) => publish.run(&admin()?).await,
            Self::Show(show) => show.run(&admin()?).await,
            Self::List(list) => list.run(&admin()?).await,
            Self::Plan(plan) => plan.run(&admin()?).await,
        }
    }
}
