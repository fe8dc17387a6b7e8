//! `bellwether simulate`: the simulated provider on a socket.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::{Context, Result};
use gateway_providers::simulator::{self, Simulator};
use tokio::net::TcpListener;

use super::ConfigFile;
use crate::{config::Environment, serve};

#[derive(Debug, clap::Args)]
pub(super) struct Simulate {
    /// Address and port
    #[arg(long, default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    #[command(flatten)]
    config: ConfigFile,
}

impl Simulate {
    pub(super) async fn run(self, environment: &dyn Environment) -> Result<ExitCode> {
        let config = serve::load(&self.config, environment)?;
        let listener = TcpListener::bind(self.listen).await.with_context(|| format!("cannot listen on {}", self.listen))?;
        eprintln!("The simulated provider listens on http://{}", listener.local_addr()?);
        let stopped = async { drop(tokio::signal::ctrl_c().await) };
        simulator::serve(listener, Simulator::new(config.simulator), stopped).await?;
        Ok(ExitCode::SUCCESS)
    }
}
