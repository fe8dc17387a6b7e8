//! Starting and stopping a gateway.

mod first_start;
mod logging;
mod secrets;
mod verifying;

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use gateway_billing::ledger::{Ledger, LedgerOptions};
use gateway_core::{Clock, Secret, SystemClock};
use gateway_server::Running;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Registry, administrators,
    assembly::{Outline, Parts},
    cli::ConfigFile,
    config::{Config, Environment, Synchronous},
    stack,
    webhooks::{self, Delivering},
};
use verifying::Verifying;

pub use first_start::FirstStart;

/// How long the ledger may take to write what is queued, after the last request has ended.
const LEDGER_STOP: Duration = Duration::from_secs(10);

/// Where configuration is looked for when nobody says.
const CONFIG_FILE: &str = "bellwether.toml";

/// A running gateway.
pub struct Gateway {
    running: Running,
    ledger: Arc<Ledger>,
    delivering: Delivering,
    verifying: Verifying,
    admin_token: Secret,
    first_start: Option<FirstStart>,
    scheme: &'static str,
    grace: Duration,
}

impl Gateway {
    /// Opens the ledger, resolves what an earlier run left open, and listens.
    ///
    /// # Errors
    /// The configuration or the database cannot be used, or the address is taken; the error says what to do.
    pub async fn start(config: &Config, environment: &dyn Environment, registry: Registry) -> Result<Self> {
        Self::start_by(config, environment, registry, Arc::new(SystemClock)).await
    }

    /// The same by another clock: what is recorded, priced and due goes by its calendar.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub async fn start_by(config: &Config, environment: &dyn Environment, registry: Registry, clock: Arc<dyn Clock>) -> Result<Self> {
        crate::tls::install_crypto_provider();
        // First, so that a wrong configuration leaves no database behind.
        let outline = Outline::at(config, environment, &registry, &clock)?;
        for warning in outline.warnings() {
            tracing::warn!("{warning}");
        }
        let named = administrators::named(config, environment)?;
        let webhooks = webhooks::configured(config, environment)?;
        let path = config.storage.sqlite_path().map_err(anyhow::Error::msg)?;
        let mut options = LedgerOptions::at(&path);
        options.clock = Arc::clone(&clock);
        options.secret = secrets::server_secret(environment);
        options.sign_up_grant = config.billing.signup_grant_usd;
        options.sign_up_days = config.billing.signup_grant_days;
        options.paid_credit_may_expire = config.billing.paid_credit_may_expire;
        options.confirm_above = config.billing.confirm_credits_above_usd;
        options.abandon_allowance = config.billing.abandon_allowance_usd;
        options.offers = crate::assembly::offers(&outline, config);
        options.request_facts = config.billing.request_facts;
        options.store.durability = match config.storage.synchronous {
            Synchronous::Full => gateway_billing::store::Durability::Full,
            Synchronous::Normal => gateway_billing::store::Durability::Normal,
        };
        let ledger = Ledger::open(options).await?;
        let admin_token = secrets::admin_token(environment, &path)?;
        let admins = administrators::check(&admin_token, named)?;
        let parts = Parts::assemble(config, outline, Arc::clone(&ledger), clock).await?;
        let server = stack::server(config, parts, admins)?;
        let bound = server.bind()?;
        let delivering = Delivering::start(&ledger, webhooks)?;
        // The test key is shown once, so nothing that may fail comes between making it and showing it.
        let first_start = FirstStart::prepare(&ledger, environment, &admin_token).await?;
        let running = bound.start();
        let verifying = Verifying::start(Arc::clone(&ledger));
        Ok(Self {
            running,
            ledger,
            delivering,
            verifying,
            admin_token,
            first_start,
            scheme: if config.server.tls.is_some() { "https" } else { "http" },
            grace: Duration::from_secs(config.server.drain_s),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        let address = self.running.addresses().first().map(ToString::to_string).unwrap_or_default();
        format!("{}://{address}", self.scheme)
    }

    /// The operator's token.
    #[must_use]
    pub fn admin_token(&self) -> &Secret {
        &self.admin_token
    }

    /// The ledger, for embedders and tests.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Takes no new work, lets answers finish until the grace is over, settles the rest as they stand, and writes all of it.
    ///
    /// # Errors
    /// None today; a gateway that cannot stop cleanly says so here.
    pub async fn stop(self) -> Result<()> {
        let drained = self.running.shutdown(self.grace).await;
        tracing::info!(?drained, "drained");
        drop(self.verifying);
        self.delivering.stop().await;
        self.ledger.stop(LEDGER_STOP).await;
        Ok(())
    }
}

/// `bellwether serve`.
///
/// # Errors
/// The gateway cannot start.
pub async fn serve(file: &ConfigFile, environment: &dyn Environment, registry: Registry) -> Result<ExitCode> {
    let config = load(file, environment)?;
    logging::start(&config.log)?;
    // Every call may hold two sockets; the usual soft limit of 1,024 is far below the hard one.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let gateway = Gateway::start(&config, environment, registry).await?;
    let url = gateway.url();
    tracing::info!(%url, version = env!("CARGO_PKG_VERSION"), "listening");
    if let Some(first) = &gateway.first_start {
        first.show(&url);
    }
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
        _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
    }
    // A second signal means now; what is open is settled by the next start.
    tokio::select! {
        stopped = gateway.stop() => stopped.map(|()| ExitCode::SUCCESS),
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}

/// Reads the file that was named, or the usual one if it is there.
///
/// # Errors
/// As [`Config::load`].
pub fn load(file: &ConfigFile, environment: &dyn Environment) -> Result<Config> {
    let config = match &file.config {
        Some(path) => Config::load(path, environment),
        None if Path::new(CONFIG_FILE).exists() => Config::load(Path::new(CONFIG_FILE), environment),
        None => Config::parse("", "defaults", environment),
    };
    Ok(config?)
}
