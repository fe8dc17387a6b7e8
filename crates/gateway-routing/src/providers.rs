//! The providers that can be asked, by name, and how often each was asked. Swapped as a whole; counts survive a swap.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use gateway_core::{AttemptEnd, Provider, ProviderId};
use parking_lot::Mutex;

/// How many attempts at one provider ended one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptCount {
    /// The provider.
    pub provider: ProviderId,
    /// `served`, `abandoned` or the kind of the fault.
    pub outcome: &'static str,
    /// How many since the process began.
    pub count: u64,
}

/// A cheap handle: clones share the providers and see every swap.
#[derive(Clone, Default)]
pub struct Providers(Arc<ArcSwap<HashMap<ProviderId, Entry>>>);

/// A provider and its counts.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) tally: Arc<Tally>,
}

#[derive(Default)]
pub(crate) struct Tally {
    served: AtomicU64,
    // Everything but success is rare enough for a lock.
    other: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tally {
    pub(crate) fn count(&self, end: &AttemptEnd) {
        let outcome = match end {
            AttemptEnd::Served => {
                self.served.fetch_add(1, Ordering::Relaxed);
                return;
            }
            AttemptEnd::Failed { kind, .. } => kind.as_str(),
            AttemptEnd::Abandoned => "abandoned",
        };
        *self.other.lock().entry(outcome).or_insert(0) += 1;
    }
}

impl Providers {
    /// These providers; of two with one id the last stays.
    #[must_use]
    pub fn new(providers: impl IntoIterator<Item = Arc<dyn Provider>>) -> Self {
        let handle = Self::default();
        handle.swap(providers);
        handle
    }

    /// Replaces the providers for every call planned from now on. Calls in flight keep the provider they are at.
    pub fn swap(&self, providers: impl IntoIterator<Item = Arc<dyn Provider>>) {
        let before = self.0.load();
        let entries = providers.into_iter().map(|provider| {
            let id = provider.id().clone();
            let tally = before.get(&id).map(|entry| Arc::clone(&entry.tally)).unwrap_or_default();
            (id, Entry { provider, tally })
        });
        self.0.store(Arc::new(entries.collect()));
    }

    /// The provider of that name.
    #[must_use]
    pub fn get(&self, id: &ProviderId) -> Option<Arc<dyn Provider>> {
        self.0.load().get(id).map(|entry| Arc::clone(&entry.provider))
    }

    pub(crate) fn entry(&self, id: &ProviderId) -> Option<Entry> {
        self.0.load().get(id).cloned()
    }

    /// Looks at a provider without cloning its handle, for questions asked on every call.
    pub(crate) fn peek<T>(&self, id: &ProviderId, look: impl FnOnce(&dyn Provider) -> T) -> Option<T> {
        self.0.load().get(id).map(|entry| look(&*entry.provider))
    }

    /// Every provider, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<dyn Provider>> {
        let mut all: Vec<_> = self.0.load().values().map(|entry| Arc::clone(&entry.provider)).collect();
        all.sort_by(|a, b| a.id().cmp(b.id()));
        all
    }

    /// How attempts ended, by provider and outcome, for metrics.
    #[must_use]
    pub fn attempts(&self) -> Vec<AttemptCount> {
        let mut counts = Vec::new();
        for (id, entry) in self.0.load().iter() {
            let served = entry.tally.served.load(Ordering::Relaxed);
            counts.push(AttemptCount { provider: id.clone(), outcome: "served", count: served });
            let other = entry.tally.other.lock();
            counts.extend(other.iter().map(|(outcome, count)| AttemptCount { provider: id.clone(), outcome, count: *count }));
        }
        counts.sort_by(|a, b| (&a.provider, a.outcome).cmp(&(&b.provider, b.outcome)));
        counts
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.load().keys()).finish()
    }
}
