//! Bellwether: the composition of the gateway's crates, its configuration and its command line.

#![doc = include_str!("../README.md")]

pub mod admin;
pub mod administrators;
pub mod assembly;
pub mod cli;
pub mod config;
pub mod demo;
pub mod estimate;
pub mod serve;
pub mod stack;
pub mod tls;
pub mod webhooks;

use std::process::ExitCode;

pub use gateway_providers::Registry;

/// Runs the command line of the process with these providers, and prints what went wrong if something did.
#[must_use]
pub fn run(registry: Registry) -> ExitCode {
    tls::install_crypto_provider();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli::run(registry)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
