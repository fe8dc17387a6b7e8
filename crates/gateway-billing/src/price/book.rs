//! The published prices in memory: a snapshot that is swapped whole, so a lookup takes no lock.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;

use super::{
    ANY_MODEL, PriceError,
    plan::DEFAULT_PLAN,
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

/// Where a call is or may be served, whatever the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServedAt<'k> {
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
        let PriceKey { book, provider, upstream_model, model } = key;
        self.find([BookName::split(book)], ServedAt { provider, upstream_model, model }, at_us)
    }

    /// What an account on `plan` is charged: the price in the plan's own book `sell:<plan>`, else that in `sell:default`.
    /// A price of the plan's own wins over one of the default book however general it is. The plan's multiplier is not in
    /// it; [`super::PlanBook`] has that.
    ///
    /// # Errors
    /// As [`PriceBook::lookup`].
    pub fn sell(&self, plan: &str, at: ServedAt<'_>, at_us: i64) -> Result<Option<Arc<PriceVersion>>, PriceError> {
        let default = BookName { kind: BookName::SELL, name: DEFAULT_PLAN };
        if plan == DEFAULT_PLAN {
            return self.find([default], at, at_us);
        }
        self.find([BookName { kind: BookName::SELL, name: plan }, default], at, at_us)
    }

    /// What the provider bills: the price in its book `cost:<provider>`. It may be in another currency.
    ///
    /// # Errors
    /// As [`PriceBook::lookup`].
    pub fn cost(&self, at: ServedAt<'_>, at_us: i64) -> Result<Option<Arc<PriceVersion>>, PriceError> {
        self.find([BookName { kind: BookName::COST, name: at.provider }], at, at_us)
    }

    fn find<const N: usize>(
        &self,
        books: [BookName<'_>; N],
        at: ServedAt<'_>,
        at_us: i64,
    ) -> Result<Option<Arc<PriceVersion>>, PriceError> {
        let snapshot = self.snapshot.load();
        let route = (at.provider, at.upstream_model);
        let places = [(at.model, route), (at.model, ("", "")), (ANY_MODEL, route)];
        let candidates = books.into_iter().flat_map(|book| places.map(|(model, route)| (book, model, route)));
        let entry = candidates.into_iter().find_map(|(book, model, route)| snapshot.standing(book, model, route, at_us));
        entry.map(|entry| entry.read()).transpose()
    }

    /// A version by its row id, whenever it held.
    ///
    /// # Errors
    /// The row cannot be read.
    pub fn version(&self, id: PriceVersionId) -> Result<Option<Arc<PriceVersion>>, PriceError> {
        self.snapshot.load().ids.get(&id).map(|entry| entry.read()).transpose()
    }

    /// Copies of the rows that `wanted` picks, in the order in which they were published.
    pub(crate) fn rows(&self, wanted: impl Fn(&PriceRow) -> bool) -> Vec<PriceRow> {
        let snapshot = self.snapshot.load();
        let mut rows: Vec<PriceRow> = snapshot.ids.values().filter(|entry| wanted(&entry.row)).map(|entry| entry.row.clone()).collect();
        rows.sort_unstable_by_key(|row| row.id);
        rows
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
            let place = hasher.hash_one((BookName::split(&row.book), &*row.model, split_route(&row.route)));
            ids.insert(row.id, Arc::clone(&entry));
            places.entry(place).or_default().push(entry);
        }
        Self { hasher, places, ids }
    }

    fn standing(&self, book: BookName<'_>, model: &str, route: (&str, &str), at_us: i64) -> Option<&Arc<Entry>> {
        let entries = self.places.get(&self.hasher.hash_one((book, model, route)))?;
        entries.iter().find(|entry| {
            let row = &entry.row;
            row.holds_at(at_us) && BookName::split(&row.book) == book && &*row.model == model && split_route(&row.route) == route
        })
    }
}

/// A book's name in its two parts, so that the name of a plan's or provider's book need not be put together to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct BookName<'b> {
    kind: &'b str,
    name: &'b str,
}

impl<'b> BookName<'b> {
    const SELL: &'static str = "sell";
    const COST: &'static str = "cost";

    fn split(book: &'b str) -> Self {
        let (kind, name) = book.split_once(':').unwrap_or((book, ""));
        Self { kind, name }
    }
}

/// Provider ids hold no slash, upstream models may.
fn split_route(route: &str) -> (&str, &str) {
    route.split_once('/').unwrap_or(("", ""))
}
