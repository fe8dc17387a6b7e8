//! How often, how long and how patiently a call is tried. Pure numbers; every one has a limit.

use std::time::Duration;

/// What the router may spend on one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most attempts at one deployment.
    pub attempts_per_deployment: u32,
    /// Most attempts over all deployments.
    pub attempts_per_call: u32,
    /// Upper end of the first pause; it doubles with each further attempt at the same deployment.
    pub backoff_first: Duration,
    /// Upper end of the longest pause.
    pub backoff_max: Duration,
    /// A longer `Retry-After` sends the call to the next deployment instead of waiting.
    pub retry_after_max: Duration,
    /// When every deployment rests, how long a call waits for the first to wake before it is refused.
    pub rest_wait_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_per_deployment: 2,
            attempts_per_call: 6,
            backoff_first: Duration::from_millis(250),
            backoff_max: Duration::from_secs(8),
            retry_after_max: Duration::from_secs(5),
            rest_wait_max: Duration::from_secs(5),
        }
    }
}

impl RetryPolicy {
    /// The pause after the `nth` failure (from 1) at one deployment, or `None` when its `Retry-After` is not worth
    /// waiting for. Full jitter: uniform from zero, because callers that failed together must not return together. A
    /// `Retry-After` is a floor, with jitter on top for the same reason.
    #[must_use]
    pub fn pause(&self, nth: u32, retry_after: Option<Duration>, rng: &mut fastrand::Rng) -> Option<Duration> {
        let doublings = nth.saturating_sub(1).min(20);
        let ceiling = self.backoff_first.saturating_mul(1 << doublings).min(self.backoff_max);
        match retry_after {
            Some(floor) if floor > self.retry_after_max => None,
            Some(floor) => Some(floor + ceiling.min(self.backoff_first).mul_f64(rng.f64())),
            None => Some(ceiling.mul_f64(rng.f64())),
        }
    }
}

/// When a deployment that keeps failing is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthPolicy {
    /// Consecutive failures that send a deployment to rest.
    pub failures_to_rest: u32,
    /// The first rest; it doubles with each probe that fails.
    pub rest_first: Duration,
    /// The longest rest, also the most that a provider's `Retry-After` may ask for.
    pub rest_max: Duration,
    /// A failure older than this is forgotten.
    pub forget_after: Duration,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            failures_to_rest: 3,
            rest_first: Duration::from_secs(10),
            rest_max: Duration::from_secs(300),
            forget_after: Duration::from_secs(600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_maximum_and_fill_their_range() {
        let policy = RetryPolicy::default();
        let mut rng = fastrand::Rng::with_seed(7);
        for (nth, ceiling_ms) in [(1, 250), (2, 500), (5, 4_000), (6, 8_000), (7, 8_000), (u32::MAX, 8_000)] {
            let pauses: Vec<_> = (0..400).map(|_| policy.pause(nth, None, &mut rng).expect("no Retry-After").as_millis()).collect();
            assert!(pauses.iter().all(|pause| *pause <= ceiling_ms), "attempt {nth}");
            assert!(pauses.iter().any(|pause| *pause < ceiling_ms / 4), "attempt {nth} has no low jitter");
            assert!(pauses.iter().any(|pause| *pause > ceiling_ms * 3 / 4), "attempt {nth} has no high jitter");
        }
    }

    #[test]
    fn a_retry_after_is_a_floor_and_a_long_one_is_not_waited_for() {
        let policy = RetryPolicy::default();
        let mut rng = fastrand::Rng::with_seed(7);
        let floor = Duration::from_secs(5);
        let pause = policy.pause(1, Some(floor), &mut rng).expect("five seconds are waited for");
        assert!(pause >= floor && pause <= floor + policy.backoff_first);
        assert_eq!(policy.pause(1, Some(floor + Duration::from_millis(1)), &mut rng), None);
    }
}
