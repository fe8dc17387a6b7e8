//! Runs a plan: one attempt after another until one answers, within the policy and the call's deadline.
//!
//! Each attempt is recorded exactly once in the call's log, however it ends, also when the caller leaves and the future
//! is dropped in the middle.

mod record;
mod run;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use gateway_core::{Admitted, Clock, Fault, Mode, Readiness, Reply, Routed, clock::Instant};
use parking_lot::Mutex;
use tower::Service;

use crate::{
    health::Health,
    plan::{Plan, Standing},
    policy::RetryPolicy,
    providers::Providers,
};

/// The innermost service of the stack: an admitted call in, a reply past its commit point out. Clones share everything.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

struct Inner {
    providers: Providers,
    health: Health,
    clock: Arc<dyn Clock>,
    policy: RetryPolicy,
    rng: Mutex<fastrand::Rng>,
}

impl Router {
    /// With the default policy and a random seed.
    #[must_use]
    pub fn new(providers: Providers, health: Health, clock: Arc<dyn Clock>) -> Self {
        Self::with_policy(providers, health, clock, RetryPolicy::default(), fastrand::u64(..))
    }

    /// With a policy and a seed: the same seed draws the same deployments and pauses.
    #[must_use]
    pub fn with_policy(providers: Providers, health: Health, clock: Arc<dyn Clock>, policy: RetryPolicy, seed: u64) -> Self {
        Self(Arc::new(Inner { providers, health, clock, policy, rng: Mutex::new(fastrand::Rng::with_seed(seed)) }))
    }

    /// The order in which the call's candidates would be tried at `now`.
    ///
    /// A test call reaches only the simulator, where anybody may script any fault; so it neither sees nor changes the
    /// health that live calls share.
    #[must_use]
    pub fn plan(&self, routed: &Routed, now: Instant, rng: &mut fastrand::Rng) -> Plan {
        self.0.plan(routed, now, rng)
    }

    /// The health of deployments, for reports.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// The providers, for reports.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        &self.0.providers
    }
}

impl Inner {
    fn plan(&self, routed: &Routed, now: Instant, rng: &mut fastrand::Rng) -> Plan {
        let mode = routed.call.mode();
        let standing = |deployment: &gateway_core::Deployment| match mode {
            Mode::Test => Standing::Up,
            Mode::Live => match self.providers.peek(&deployment.provider, |provider| provider.readiness(mode)) {
                None | Some(Readiness::Unusable(_)) => Standing::Unusable,
                Some(Readiness::Resting { until }) if until > now => Standing::Resting { until },
                Some(Readiness::Ready | Readiness::Resting { .. }) => self.health.standing(&deployment.id, now),
            },
        };
        Plan::new(routed, standing, rng)
    }
}

impl Service<Admitted> for Router {
    type Response = Reply;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>>;

    /// Always ready: what limits concurrency stands further out, where a refusal costs nothing.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, admitted: Admitted) -> Self::Future {
        let router = Arc::clone(&self.0);
        Box::pin(async move { run::Run::new(&router, &admitted).serve().await })
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("providers", &self.0.providers).field("policy", &self.0.policy).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
