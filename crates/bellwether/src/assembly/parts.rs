//! The running parts: everything of the outline, joined with an open ledger.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use gateway_billing::{api::BillingApi, ledger::Ledger, price::Coverage};
use gateway_core::Clock;
use gateway_routing::{Health, HealthPolicy, Providers, RetryPolicy, Router, Routes};

use super::{listing::Listing, outline::Outline};
use crate::{
    admin::{Admin, HealthSources, PriceDesk, PublicModels},
    config::Config,
};

/// What the stack is made of.
pub struct Parts {
    /// Money.
    pub ledger: Arc<Ledger>,
    /// `/v1/billing`.
    pub billing_api: BillingApi,
    /// `/admin`.
    pub admin: Admin,
    /// Which names exist.
    pub routes: Routes,
    /// Who serves.
    pub providers: Providers,
    /// Plans and attempts.
    pub router: Router,
    /// `/v1/models`.
    pub listing: Arc<Listing>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The longest a call may take anywhere.
    pub total_max: Duration,
}

impl Parts {
    /// Publishes the prices and joins the parts.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub async fn assemble(config: &Config, outline: Outline, ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> Result<Self> {
        let calendars = Arc::new(outline.calendars.clone());
        let published =
            ledger.publish_prices(outline.drafts, Coverage::Whole, outline.calendars).await.context("cannot publish the prices")?;
        tracing::info!(new = published.new, ended = published.ended, "prices");
        if published.late > 0 {
            tracing::warn!(
                prices = published.late,
                "prices of the configuration hold only later: others are scheduled by hand at their places, and what is published is never \
                 changed; `bellwether prices show MODEL` says when"
            );
        }
        let implied: Vec<Box<str>> =
            outline.plan.entries.iter().filter(|entry| entry.implied).map(|entry| (&*entry.deployment.model).into()).collect();
        let total_max = outline.built.total_max();
        let credentials = outline.built.facts.into_iter().map(|(id, facts)| (id, facts.credentials)).collect();
        let providers = Providers::new(outline.built.providers);
        let routes = Routes::new(outline.plan.table);
        let desk = PriceDesk { routes: routes.clone(), calendars };
        let health = Health::new(HealthPolicy::default());
        let router = Router::with_policy(providers.clone(), health.clone(), Arc::clone(&clock), policy(config), fastrand::u64(..));
        let listing = Listing::new(routes.clone(), providers.clone(), Arc::clone(ledger.prices()), implied, Arc::clone(&clock));
        Ok(Self {
            billing_api: BillingApi::new(Arc::clone(&ledger)).with_models(Arc::new(PublicModels(routes.clone()))),
            admin: Admin::new(Arc::clone(&ledger), HealthSources { credentials, deployments: health }, desk),
            ledger,
            routes,
            providers,
            router,
            listing: Arc::new(listing),
            clock,
            total_max,
        })
    }
}

fn policy(config: &Config) -> RetryPolicy {
    let routing = &config.routing;
    RetryPolicy {
        attempts_per_deployment: routing.attempts_per_deployment,
        attempts_per_call: routing.attempts_per_call,
        backoff_first: Duration::from_millis(routing.backoff_ms),
        backoff_max: Duration::from_millis(routing.backoff_ms_max),
        retry_after_max: Duration::from_secs(routing.retry_after_s_max),
        ..RetryPolicy::default()
    }
}
