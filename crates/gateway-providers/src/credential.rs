//! The keys of one provider: used in turn, rested when they fail, shown to operators by their last characters only.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use gateway_core::{Clock, Fault, FaultKind, Readiness, Secret, clock::Instant};
use parking_lot::Mutex;

/// A rejected or unpaid key stays so until somebody acts, so it is asked again only every few minutes.
const REST_REFUSED: Duration = Duration::from_secs(300);
const REST_REFUSED_MAX: Duration = Duration::from_secs(3_600);
/// A throttled key without a `Retry-After`: most limits refill within seconds.
const REST_THROTTLED: Duration = Duration::from_secs(1);
const REST_THROTTLED_MAX: Duration = Duration::from_secs(60);

/// One key of a provider.
#[derive(Debug, Clone)]
pub struct Credential {
    secret: Secret,
    index: usize,
}

impl Credential {
    /// The key itself, for the header that carries it.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }
}

/// How a key fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialState {
    /// In use.
    Up,
    /// Not used before `until`, unless every key rests.
    Resting,
}

impl CredentialState {
    /// `up` or `resting`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Resting => "resting",
        }
    }
}

/// What an operator may see of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialHealth {
    /// `…` and the last four characters.
    pub suffix: String,
    /// Up or resting.
    pub state: CredentialState,
    /// When a resting key is tried again.
    pub until: Option<SystemTime>,
    /// Why it last rested.
    pub last_fault: Option<FaultKind>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    until: Option<Instant>,
    /// The provider said no to the key itself, rather than to its pace.
    refused: bool,
    failures_in_row: u32,
    last_fault: Option<FaultKind>,
}

/// The keys of one provider. Cheap to read: choosing a key takes one short lock.
#[derive(Debug)]
pub struct CredentialPool {
    secrets: Vec<Secret>,
    rests: Mutex<Vec<Rest>>,
    turn: AtomicUsize,
    how_to_set: Arc<str>,
    required: bool,
    clock: Arc<dyn Clock>,
}

impl CredentialPool {
    /// A pool of `secrets`, in the order they are used. `how_to_set` completes the sentence shown while there are none:
    /// "set OPENAI_API_KEY or providers.openai.api_key".
    #[must_use]
    pub fn new(secrets: Vec<Secret>, how_to_set: impl Into<Arc<str>>, clock: Arc<dyn Clock>) -> Self {
        let rests = Mutex::new(vec![Rest::default(); secrets.len()]);
        Self { secrets, rests, turn: AtomicUsize::new(0), how_to_set: how_to_set.into(), required: true, clock }
    }

    /// For an endpoint that takes no key: always ready.
    #[must_use]
    pub fn none_needed(clock: Arc<dyn Clock>) -> Self {
        Self { required: false, ..Self::new(Vec::new(), "no key is needed", clock) }
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Whether a call could be authorised now.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if self.secrets.is_empty() {
            return if self.required { Readiness::Unusable(Arc::clone(&self.how_to_set)) } else { Readiness::Ready };
        }
        let rests = self.rests.lock();
        if rests.iter().any(|rest| rest.until.is_none()) {
            return Readiness::Ready;
        }
        let now = self.clock.monotonic();
        match rests.iter().filter_map(|rest| rest.until).min() {
            Some(until) if until > now => Readiness::Resting { until },
            Some(_) | None => Readiness::Ready,
        }
    }

    /// What operators may see, in the order configured.
    #[must_use]
    pub fn health(&self) -> Vec<CredentialHealth> {
        let (now, wall) = (self.clock.monotonic(), self.clock.wall());
        let rests = self.rests.lock();
        self.secrets
            .iter()
            .zip(rests.iter())
            .map(|(secret, rest)| {
                let left = rest.until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero());
                CredentialHealth {
                    suffix: secret.suffix(),
                    state: if left.is_some() { CredentialState::Resting } else { CredentialState::Up },
                    until: left.map(|left| wall + left),
                    last_fault: rest.last_fault,
                }
            })
            .collect()
    }

    /// The next key whose turn it is, skipping those that rest and those in `tried`. When all others rest, a throttled
    /// one is still worth a try; a refused one is not.
    ///
    /// # Errors
    /// There is no key at all, or none left to try.
    pub(crate) fn take(&self, tried: &[usize]) -> Result<Option<Credential>, Readiness> {
        if self.secrets.is_empty() {
            return if self.required { Err(Readiness::Unusable(Arc::clone(&self.how_to_set))) } else { Ok(None) };
        }
        let now = self.clock.monotonic();
        let count = self.secrets.len();
        let first = if count == 1 { 0 } else { self.turn.fetch_add(1, Ordering::Relaxed) % count };
        let rests = self.rests.lock();
        let in_turn = (first..count).chain(0..first).filter(|index| !tried.contains(index));
        let mut throttled: Option<(Instant, usize)> = None;
        let mut refused: Option<Instant> = None;
        for index in in_turn {
            let rest = &rests[index];
            match rest.until {
                Some(until) if until > now && rest.refused => refused = Some(refused.map_or(until, |other| other.min(until))),
                Some(until) if until > now => {
                    if throttled.is_none_or(|(other, _)| until < other) {
                        throttled = Some((until, index));
                    }
                }
                Some(_) | None => return Ok(Some(self.credential(index))),
            }
        }
        match throttled {
            Some((_, index)) if tried.is_empty() => Ok(Some(self.credential(index))),
            Some((until, _)) => Err(Readiness::Resting { until }),
            None => Err(Readiness::Resting { until: refused.unwrap_or(now) }),
        }
    }

    /// The key served: its rest and its record of failures are over.
    pub(crate) fn served(&self, credential: &Credential) {
        let mut rests = self.rests.lock();
        let rest = &mut rests[credential.index];
        if rest.until.is_some() {
            *rest = Rest { last_fault: rest.last_fault, ..Rest::default() };
        }
    }

    /// The provider blamed the key.
    pub(crate) fn rest(&self, credential: &Credential, fault: &Fault) {
        let now = self.clock.monotonic();
        let mut rests = self.rests.lock();
        let rest = &mut rests[credential.index];
        let throttled = matches!(fault.kind(), FaultKind::RateLimited | FaultKind::Overloaded);
        // Out of money is told as 429 by some; the code tells it from a pace limit.
        let refused = !throttled || fault.code() == Some("insufficient_quota");
        // Calls in flight when the key failed report the same failure: that counts once, and only what the provider asks for
        // lengthens a rest. A refusal is news to a key that was only throttled.
        if let Some(until) = rest.until.filter(|until| *until > now)
            && (rest.refused || !refused)
        {
            let asked = fault.retry_after().filter(|_| !refused).unwrap_or_default().min(REST_REFUSED_MAX);
            rest.until = Some(until.max(now + asked));
            return;
        }
        let (base, most) = if refused { (REST_REFUSED, REST_REFUSED_MAX) } else { (REST_THROTTLED, REST_THROTTLED_MAX) };
        let grown = base.saturating_mul(1 << rest.failures_in_row.min(10)).min(most);
        let length = fault.retry_after().filter(|_| !refused).unwrap_or(grown).min(REST_REFUSED_MAX);
        *rest = Rest {
            until: Some(now + length),
            refused,
            failures_in_row: rest.failures_in_row.saturating_add(1),
            last_fault: Some(fault.kind()),
        };
    }

    /// Whether another key may be tried for the same attempt.
    pub(crate) fn has_other(&self, tried: &[usize]) -> bool {
        let now = self.clock.monotonic();
        let rests = self.rests.lock();
        (0..rests.len()).any(|index| !tried.contains(&index) && rests[index].until.is_none_or(|until| until <= now))
    }

    fn credential(&self, index: usize) -> Credential {
        Credential { secret: self.secrets[index].clone(), index }
    }
}

impl Credential {
    pub(crate) fn index(&self) -> usize {
        self.index
    }
}
