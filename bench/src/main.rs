//! A mock provider and a load generator that checks every answer, for `cargo xtask bench`.
//!
//! Both run on one thread, so that pinning them to one core leaves the other to what is measured. A wrong answer is a
//! failed run: a fast proxy that drops or mixes up answers must not look good.

mod load;
mod payload;
mod upstream;

use std::net::SocketAddr;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Mock provider and load generator for measurements")]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Answers chat completions by the model's name until it is killed; prints its address
    Upstream {
        /// Where to listen; port 0 picks a free one
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Sends requests, checks every answer and prints one line of JSON
    Load(load::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Cli::parse().role {
        Role::Upstream { listen } => upstream::serve(listen).await,
        Role::Load(options) => {
            let report = load::run(options).await?;
            println!("{}", serde_json::to_string(&report)?);
            Ok(())
        }
    }
}
