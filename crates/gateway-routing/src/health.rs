//! Which deployments are left alone because they keep failing.
//!
//! A deployment that fails several times in a row rests. When its rest is over one call may probe it; success puts it
//! back to work, failure sends it to a longer rest. Only deployments in trouble are remembered, and only for a while, so
//! the memory is bounded whatever names callers invent.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gateway_core::{Deployment, DeploymentId, Fault, FaultKind, Origin, clock::Instant};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{plan::Standing, policy::HealthPolicy};

/// Most deployments remembered at a time. Configured ones are far fewer; the rest are names matched by wildcards.
const TROUBLED_MAX: usize = 4_096;

/// What is known of one deployment in trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// It has failed, but not often enough in a row.
    Failing,
    /// It is left alone until the instant.
    Resting {
        /// When a probe may be made.
        until: Instant,
    },
    /// A probe is under way.
    Probing,
}

/// One deployment in trouble, for reports and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentHealth {
    /// Which.
    pub deployment: DeploymentId,
    /// Its state.
    pub state: HealthState,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure.
    pub last_fault: FaultKind,
}

/// Shared by all calls; clones share.
#[derive(Debug, Clone)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: HealthPolicy,
    /// How many entries `troubled` has: while it is 0, which is nearly always, nobody takes the lock.
    count: AtomicUsize,
    troubled: Mutex<HashMap<DeploymentId, Trouble>>,
    changed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Trouble {
    state: HealthState,
    failures: u32,
    last_fault: FaultKind,
    last_at: Instant,
    /// How long it rested last; doubles with each failed probe.
    rest: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self::new(HealthPolicy::default())
    }
}

impl Health {
    /// Nothing is in trouble.
    #[must_use]
    pub fn new(policy: HealthPolicy) -> Self {
        Self(Arc::new(Inner { policy, count: AtomicUsize::new(0), troubled: Mutex::default(), changed: Notify::new() }))
    }

    /// Whether the deployment may be asked now. Changes nothing.
    #[must_use]
    pub fn standing(&self, deployment: &DeploymentId, now: Instant) -> Standing {
        if self.0.count.load(Ordering::Acquire) == 0 {
            return Standing::Up;
        }
        match self.0.troubled.lock().get(deployment).map(|trouble| trouble.state) {
            None | Some(HealthState::Failing) => Standing::Up,
            Some(HealthState::Resting { until }) if until <= now => Standing::Up,
            Some(HealthState::Resting { until }) => Standing::Resting { until },
            Some(HealthState::Probing) => Standing::Probing,
        }
    }

    /// Lets one attempt through, as the probe if the deployment's rest is over; `None` when it must be left alone.
    pub(crate) fn admit<'h>(&'h self, deployment: &'h Deployment, now: Instant) -> Option<Pass<'h>> {
        let mut probe = false;
        if self.0.count.load(Ordering::Acquire) != 0
            && let Some(trouble) = self.0.troubled.lock().get_mut(&deployment.id)
        {
            match trouble.state {
                HealthState::Failing => {}
                HealthState::Resting { until } if until <= now => {
                    trouble.state = HealthState::Probing;
                    probe = true;
                }
                HealthState::Resting { .. } | HealthState::Probing => return None,
            }
        }
        Some(Pass { health: self, deployment: &deployment.id, probe, decided: false })
    }

    /// Every deployment in trouble, by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<DeploymentHealth> {
        let report = |(id, trouble): (&DeploymentId, &Trouble)| DeploymentHealth {
            deployment: id.clone(),
            state: trouble.state,
            failures: trouble.failures,
            last_fault: trouble.last_fault,
        };
        let mut all: Vec<_> = self.0.troubled.lock().iter().map(report).collect();
        all.sort_by(|a, b| a.deployment.cmp(&b.deployment));
        all
    }

    /// Forgets all trouble, as an operator asks after repairing something.
    pub fn reset(&self) {
        self.update(HashMap::clear);
    }

    /// Completes when some deployment's state has changed.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.changed.notified()
    }

    fn update<T>(&self, change: impl FnOnce(&mut HashMap<DeploymentId, Trouble>) -> T) -> T {
        let mut troubled = self.0.troubled.lock();
        let result = change(&mut troubled);
        self.0.count.store(troubled.len(), Ordering::Release);
        drop(troubled);
        self.0.changed.notify_waiters();
        result
    }

    fn succeeded(&self, id: &DeploymentId, probe: bool) {
        if self.0.count.load(Ordering::Acquire) == 0 {
            return;
        }
        self.update(|troubled| {
            // An attempt from before the rest says nothing about now: only the probe ends a rest.
            if probe || troubled.get(id).is_some_and(|trouble| trouble.state == HealthState::Failing) {
                troubled.remove(id);
            }
        });
    }

    fn failed(&self, id: &DeploymentId, probe: bool, fault: &Fault, now: Instant) {
        let policy = self.0.policy;
        self.update(|troubled| {
            if !troubled.contains_key(id) && troubled.len() >= TROUBLED_MAX {
                troubled.retain(|_, trouble| !is_stale(trouble, policy, now));
                if troubled.len() >= TROUBLED_MAX {
                    // The oldest that is not resting makes room: whoever fills the memory must not blind it.
                    let failing = troubled.iter().filter(|(_, trouble)| trouble.state == HealthState::Failing);
                    let Some(oldest) = failing.min_by_key(|(_, trouble)| trouble.last_at).map(|(id, _)| id.clone()) else { return };
                    troubled.remove(&oldest);
                }
            }
            let trouble = troubled.entry(id.clone()).or_insert(Trouble {
                state: HealthState::Failing,
                failures: 0,
                last_fault: fault.kind(),
                last_at: now,
                rest: Duration::ZERO,
            });
            if is_stale(trouble, policy, now) && trouble.state == HealthState::Failing {
                trouble.failures = 0;
            }
            trouble.failures = trouble.failures.saturating_add(1);
            trouble.last_fault = fault.kind();
            trouble.last_at = now;
            let asked = fault.retry_after().unwrap_or_default().min(policy.rest_max);
            match trouble.state {
                HealthState::Failing if trouble.failures >= policy.failures_to_rest => {
                    trouble.rest = policy.rest_first;
                    trouble.state = HealthState::Resting { until: now + trouble.rest.max(asked) };
                }
                HealthState::Failing => {}
                HealthState::Probing if probe => {
                    trouble.rest = (trouble.rest * 2).min(policy.rest_max);
                    trouble.state = HealthState::Resting { until: now + trouble.rest.max(asked) };
                }
                // Stragglers from before the rest neither lengthen nor shorten it.
                HealthState::Resting { .. } | HealthState::Probing => {}
            }
        });
    }

    fn probe_undecided(&self, id: &DeploymentId) {
        self.update(|troubled| {
            if let Some(trouble) = troubled.get_mut(id)
                && trouble.state == HealthState::Probing
            {
                trouble.state = HealthState::Resting { until: trouble.last_at };
            }
        });
    }
}

fn is_stale(trouble: &Trouble, policy: HealthPolicy, now: Instant) -> bool {
    let idle = match trouble.state {
        HealthState::Failing => now.duration_since(trouble.last_at),
        HealthState::Resting { until } => now.duration_since(until),
        HealthState::Probing => Duration::ZERO,
    };
    idle > policy.forget_after
}

/// Whether the fault speaks against the deployment rather than against the request or one credential, which its
/// provider rests by itself.
#[must_use]
pub(crate) fn speaks_against(fault: &Fault) -> bool {
    let about_the_request = match fault.kind() {
        // A name that the provider does not know says nothing about its other models, and callers may invent names.
        FaultKind::NotFound
        | FaultKind::InvalidRequest
        | FaultKind::PayloadTooLarge
        | FaultKind::ContextLength
        | FaultKind::ContentFiltered => true,
        FaultKind::Authentication
        | FaultKind::PermissionDenied
        | FaultKind::MethodNotAllowed
        | FaultKind::InsufficientFunds
        | FaultKind::ModelNotPriced
        | FaultKind::RateLimited
        | FaultKind::Overloaded
        | FaultKind::Timeout
        | FaultKind::Unavailable
        | FaultKind::BadUpstream
        | FaultKind::UpstreamError
        | FaultKind::NoDeployment
        | FaultKind::LedgerDown
        | FaultKind::CallerGone
        | FaultKind::Internal => false,
    };
    fault.origin() == Origin::Provider && !about_the_request && !fault.blames_credential() && fault.retry() != gateway_core::Retry::Never
}

/// Leave to make one attempt. A probe that is dropped without a verdict leaves the place to the next call.
#[derive(Debug)]
pub(crate) struct Pass<'h> {
    health: &'h Health,
    deployment: &'h DeploymentId,
    probe: bool,
    decided: bool,
}

impl Pass<'_> {
    /// The deployment served.
    pub(crate) fn served(mut self) {
        self.decided = true;
        self.health.succeeded(self.deployment, self.probe);
    }

    /// The deployment failed; faults that do not speak against it count only as a sign of life.
    pub(crate) fn failed(mut self, fault: &Fault, now: Instant) {
        self.decided = true;
        if speaks_against(fault) {
            self.health.failed(self.deployment, self.probe, fault, now);
        } else if self.probe {
            let alive = fault.origin() == Origin::Provider && !fault.blames_credential();
            if alive { self.health.succeeded(self.deployment, true) } else { self.health.probe_undecided(self.deployment) }
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe && !self.decided {
            self.health.probe_undecided(self.deployment);
        }
    }
}

#[cfg(test)]
mod tests;
