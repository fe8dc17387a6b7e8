//! The published prices in memory: a snapshot that is swapped whole, so a lookup takes no lock.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;

use super::{
    ANY_MODEL, PriceError,
    version::{PriceRow, PriceVersion, PriceVersionId},
};

/// What a price is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceKey<'k> {
    /// The book, normally [`super::SELL_BOOK`].
    pub book: &'k str,
    /// Who serves.
    pub provider: &'k str,
    /// The name the provider knows the model by.
    pub upstream_model: &'k str,
    /// The name callers use.
    pub model: &'k str,
}

/// All published versions.
#[derive(Debug)]
pub struct PriceBook {
    snapshot: ArcSwap<Snapshot>,
}

/// A row, compiled when it is first asked for: a start with thousands of rows reads none of their bodies.
#[derive(Debug)]
struct Entry {
    row: PriceRow,
    version: OnceLock<Result<Arc<PriceVersion>, PriceError>>,
}

#[derive(Debug)]
struct Snapshot {
    hasher: RandomState,
    /// By hash of (book, model, route); the entries are compared again, so a collision only costs time.
    places: HashMap<u64, Vec<Arc<Entry>>>,
    ids: HashMap<PriceVersionId, Arc<Entry>>,
}

impl PriceBook {
    /// A book of these rows.
    #[must_use]
    pub fn new(rows: Vec<PriceRow>) -> Self {
        let entries = rows.into_iter().map(|row| Arc::new(Entry { row, version: OnceLock::new() }));
        Self { snapshot: ArcSwap::from_pointee(Snapshot::of(entries)) }
    }

    /// Takes in the rows as they stand in the store after a publication. Versions already compiled stay as they are;
    /// a row that is known only has its end updated.
    pub fn replace(&self, rows: Vec<PriceRow>) {
        let old = self.snapshot.load();
        let entries = rows.into_iter().map(|row| {
            let version = old.ids.get(&row.id).map(|entry| entry.version.clone()).unwrap_or_default();
            Arc::new(Entry { row, version })
        });
        let fresh = Snapshot::of(entries);
        self.snapshot.store(Arc::new(fresh));
    }

    /// The version that holds at `at_us`: that of the public model on this route, else of the public model anywhere,
    /// else of the route under any name.
    ///
    /// # Errors
    /// The row that should hold cannot be read. A request must then be refused: an older or more general price would
    /// be a guess.
    pub fn lookup(&self, key: PriceKey<'_>, at_us: i64) -> Result<Option<Arc<PriceVersion>>, PriceError> {
        let snapshot = self.snapshot.load();
        let route = (key.provider, key.upstream_model);
        let places = [(key.model, route), (key.model, ("", "")), (ANY_MODEL, route)];
        let entry = places.into_iter().find_map(|(model, route)| snapshot.standing(key.book, model, route, at_us));
        entry.map(|entry| entry.read()).transpose()
    }

    /// A version by its row id, whenever it held.
    ///
    /// # Errors
    /// The row cannot be read.
    pub fn version(&self, id: PriceVersionId) -> Result<Option<Arc<PriceVersion>>, PriceError> {
        self.snapshot.load().ids.get(&id).map(|entry| entry.read()).transpose()
    }

    /// How many rows it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.snapshot.load().ids.len()
    }

    /// Whether nothing has been published.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Entry {
    fn read(&self) -> Result<Arc<PriceVersion>, PriceError> {
        self.version.get_or_init(|| PriceVersion::read(&self.row)).clone()
    }
}

impl Snapshot {
    fn of(entries: impl Iterator<Item = Arc<Entry>>) -> Self {
        let hasher = RandomState::new();
        let mut places: HashMap<u64, Vec<Arc<Entry>>> = HashMap::new();
        let mut ids = HashMap::new();
        for entry in entries {
            let row = &entry.row;
            let place = hasher.hash_one((&*row.book, &*row.model, split_route(&row.route)));
            ids.insert(row.id, Arc::clone(&entry));
            places.entry(place).or_default().push(entry);
        }
        Self { hasher, places, ids }
    }

    fn standing(&self, book: &str, model: &str, route: (&str, &str), at_us: i64) -> Option<&Arc<Entry>> {
        let entries = self.places.get(&self.hasher.hash_one((book, model, route)))?;
        entries.iter().find(|entry| {
            let row = &entry.row;
            let holds = row.effective_from <= at_us && row.effective_to.is_none_or(|end| at_us < end);
            holds && &*row.book == book && &*row.model == model && split_route(&row.route) == route
        })
    }
}

/// Provider ids hold no slash, upstream models may.
fn split_route(route: &str) -> (&str, &str) {
    route.split_once('/').unwrap_or(("", ""))
}
