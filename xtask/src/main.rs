//! Builds, checks and measures the workspace. Nothing here is part of the product.

mod bench;
mod ci;
mod clients;
mod gateway;
mod peers;
mod shell;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Builds, checks and measures the workspace")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Formatting, lints, tests, documentation, dependencies, house rules: what must hold for every commit
    Ci,
    /// The house rules that a machine can check
    Tidy,
    /// Real SDKs and the reference clients against a running gateway, in environments of their own
    Clients(clients::Options),
    /// Charges against those of independent calculators; needs Python 3 and a network
    Peers(peers::Options),
    /// What the gateway costs, beside nginx as a plain proxy and no proxy at all
    Bench(bench::Options),
    /// Known vulnerabilities in dependencies; needs a network
    Audit,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Ci => ci::ci(),
        Task::Tidy => tidy::tidy(),
        Task::Clients(options) => clients::clients(&options),
        Task::Peers(options) => peers::peers(&options),
        Task::Bench(options) => bench::bench(&options),
        Task::Audit => shell::cargo(&["deny", "--workspace", "check", "advisories"]),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
