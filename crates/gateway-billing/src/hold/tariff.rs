//! What an account's calls are charged by: its plan and the books that plan reads.

use std::sync::Arc;

use gateway_core::{Deployment, Mode};

use super::{PinnedPlan, PricedCandidate};
use crate::price::{PriceBook, PriceError, ServedAt};

/// An account's plan at one moment, and the published prices.
#[derive(Debug, Clone)]
pub struct Tariff {
    /// The plan's version.
    pub plan: PinnedPlan,
    name: Arc<str>,
    prices: Arc<PriceBook>,
    mode: Mode,
}

impl Tariff {
    /// Prices for a plan of this name.
    #[must_use]
    pub fn new(prices: Arc<PriceBook>, name: Arc<str>, plan: PinnedPlan, mode: Mode) -> Self {
        Self { plan, name, prices, mode }
    }

    /// The prices that a request to this deployment, arriving at `at_us`, is pinned to; `None` when it is not sold.
    ///
    /// # Errors
    /// The row that should hold cannot be read; the deployment must then be left out.
    pub fn price(&self, deployment: &Arc<Deployment>, at_us: i64) -> Result<Option<PricedCandidate>, PriceError> {
        let at = ServedAt { provider: deployment.provider.as_str(), upstream_model: &deployment.upstream_model, model: &deployment.model };
        let Some(price) = self.prices.sell(&self.name, at, at_us)? else { return Ok(None) };
        // No provider bills what the simulator answers; its cost stays in test money.
        let cost = match self.mode {
            Mode::Live => self.prices.cost(at, at_us)?,
            Mode::Test => None,
        };
        Ok(Some(PricedCandidate { deployment: Arc::clone(deployment), price, cost }))
    }
}
