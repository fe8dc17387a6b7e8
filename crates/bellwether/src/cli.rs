//! The command line: what each command takes, and where it goes.

mod account;
mod admin_client;
mod budget;
mod campaign;
mod check;
mod code;
mod hints;
mod key;
mod ledger;
mod models;
mod output;
mod pending;
mod people;
mod price;
mod prices;
mod receipt;
mod simulate;
mod statement;
mod what_if;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

pub use admin_client::AdminClient;

use crate::{Registry, config::ProcessEnvironment, demo, serve};

/// A self-hosted AI gateway: one API in front of every provider, one bill over all of them.
#[derive(Debug, Parser)]
#[command(name = "bellwether", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (the default)
    Serve(ConfigFile),
    /// Start a throw-away gateway, play a story against it over HTTP and verify its ledger
    Demo {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Read the configuration, say what is wrong with it, and stop
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Serve the simulated provider, which speaks every upstream protocol
    Simulate(simulate::Simulate),
    /// List the public models with their chains and prices
    Models {
        #[command(flatten)]
        config: ConfigFile,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Compute what some usage would cost, line by line; no gateway need run
    Price(price::Price),
    /// Create, list and credit accounts of a running gateway
    #[command(subcommand)]
    Account(account::Account),
    /// Make and list the teams of an account
    #[command(subcommand)]
    Team(people::Team),
    /// Make and list the users of an account
    #[command(subcommand)]
    User(people::User),
    /// Make, list, change and end budgets
    #[command(subcommand)]
    Budget(budget::Budget),
    /// Give credit, once to each account or person, from a running gateway's campaigns
    #[command(subcommand)]
    Campaign(campaign::Campaign),
    /// Create, list and revoke redemption codes of a running gateway
    #[command(subcommand)]
    Code(code::Code),
    /// Create, list and revoke API keys of a running gateway
    #[command(subcommand)]
    Key(key::Key),
    /// Show and publish the prices and plans of a running gateway
    #[command(subcommand)]
    Prices(prices::Prices),
    /// List, show and issue the monthly statements of an account
    #[command(subcommand)]
    Statement(statement::Statement),
    /// Show where an account could pay less
    Hints(hints::Hints),
    /// Price the usage of a period again, under other models, prices, plans or orders of providers
    WhatIf(what_if::WhatIf),
    /// Check the books
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// Check signed receipts, offline, and print the keys to check them with
    #[command(subcommand)]
    Receipt(receipt::Receipt),
    /// Print a completion script for your shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which configuration.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigFile {
    /// Configuration file; without it `bellwether.toml` in the working directory is read if it is there
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Runs the command that the process arguments name, with the given providers compiled in.
///
/// # Errors
/// The command failed; the error says why and what to do. Usage errors exit the process with status 2.
pub async fn run(registry: Registry) -> Result<ExitCode> {
    let environment = ProcessEnvironment;
    match Cli::parse().command.unwrap_or(Command::Serve(ConfigFile::default())) {
        Command::Serve(file) => serve::serve(&file, &environment, registry).await,
        Command::Demo { json } => demo::demo(json, registry).await,
        Command::Check { config, json } => check::check(&config, &environment, &registry, json),
        Command::Simulate(simulate) => simulate.run(&environment).await,
        Command::Models { config, json } => models::models(&config, &environment, &registry, json),
        Command::Price(price) => price.run(&environment, &registry),
        Command::Account(account) => account.run(&AdminClient::from_environment(&environment)?).await,
        Command::Team(team) => team.run(&AdminClient::from_environment(&environment)?).await,
        Command::User(user) => user.run(&AdminClient::from_environment(&environment)?).await,
        Command::Budget(budget) => budget.run(&AdminClient::from_environment(&environment)?).await,
        Command::Campaign(campaign) => campaign.run(&AdminClient::from_environment(&environment)?).await,
        Command::Code(code) => code.run(&AdminClient::from_environment(&environment)?).await,
        Command::Key(key) => key.run(&AdminClient::from_environment(&environment)?).await,
        Command::Prices(prices) => prices.run(&environment).await,
        Command::Statement(statement) => statement.run(&AdminClient::from_environment(&environment)?).await,
        Command::Hints(hints) => hints.run(&AdminClient::from_environment(&environment)?).await,
        Command::WhatIf(question) => question.run(&AdminClient::from_environment(&environment)?).await,
        Command::Ledger(ledger) => ledger.run(&environment).await,
        Command::Receipt(receipt) => receipt.run(&environment).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "bellwether", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
