//! Which rows a set of prices asks for: a changed price is a new version, an unchanged one is nothing.
//!
//! Three speak of prices: the configuration, an operator by hand while the gateway runs, and the catalog. That is also the
//! order of who wins at one place. So that each start leaves what was published by hand as it is, [`publish`] passes over
//! a place with such a price unless the configuration states one; and so that nobody publishes by hand what the next start
//! would undo, `by_hand` refuses a place whose price the configuration states.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use super::{
    PriceError,
    calendar::Calendars,
    seal::{Sealed, seal},
    terms::{Source, Terms},
    version::{PriceRow, PriceVersionId},
};
use crate::money::Currency;

/// A price that somebody wants to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The book.
    pub book: Box<str>,
    /// The public model; `*` is any.
    pub model: Box<str>,
    /// `<provider>/<upstream model>`; empty is any.
    pub route: Box<str>,
    /// The terms, not yet closed.
    pub terms: Terms,
    /// Where they come from.
    pub source: Source,
}

/// What the drafts of a start stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// All prices of the books they name, but for those published by hand: what is not among them ends.
    Whole,
    /// Some prices: the others stand.
    Part,
}

/// Who stated a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The configuration. Nothing else speaks where it does.
    Config,
    /// The catalog, where nobody else does.
    Catalog,
    /// Somebody, while the gateway ran.
    Hand,
}

impl Origin {
    /// The one that the column `published_by` tells of.
    #[must_use]
    pub fn of(published_by: &str) -> Self {
        match published_by.split_once(':').map_or(published_by, |(kind, _)| kind) {
            "config" => Self::Config,
            "catalog" => Self::Catalog,
            _ => Self::Hand,
        }
    }

    /// The word the API shows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Catalog => "catalog",
            Self::Hand => "hand",
        }
    }
}

/// A row to be inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVersion {
    /// The book.
    pub book: Box<str>,
    /// The public model; `*` is any.
    pub model: Box<str>,
    /// `<provider>/<upstream model>`; empty is any.
    pub route: Box<str>,
    /// What the rates are in.
    pub currency: Currency,
    /// Microseconds since 1970.
    pub effective_from: i64,
    /// The canonical closed terms. The source is not among them: checking the same price again is not a new price.
    pub body: Box<str>,
    /// Of the body.
    pub sha256: [u8; 32],
    /// Where the price came from, for the column of that name: `catalog:openai/gpt-4.1`.
    pub published_by: Box<str>,
}

impl NewVersion {
    /// The row that a store makes of it.
    #[must_use]
    pub fn row(&self, id: PriceVersionId, published_at: i64) -> PriceRow {
        PriceRow {
            id,
            book: self.book.clone(),
            model: self.model.clone(),
            route: self.route.clone(),
            effective_from: self.effective_from,
            effective_to: None,
            body: self.body.clone(),
            sha256: self.sha256,
            published_by: self.published_by.clone(),
            published_at,
        }
    }
}

/// What the store must write, all in one transaction: first the ends, then the new rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publication {
    /// Rows to insert.
    pub new: Vec<NewVersion>,
    /// Standing rows whose `effective_to` becomes the given microsecond.
    pub ended: Vec<(PriceVersionId, i64)>,
}

impl Publication {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.ended.is_empty()
    }

    /// The last look before anything is written: no version may begin before those of its place have ended.
    fn check(&self, places: &Places<'_>) -> Result<(), Vec<PublishError>> {
        let ends: HashMap<PriceVersionId, i64> = self.ended.iter().copied().collect();
        let collides = |new: &&NewVersion| {
            let end = |row: &PriceRow| row.effective_to.or_else(|| ends.get(&row.id).copied());
            places.at((&new.book, &new.model, &new.route)).iter().any(|row| end(row).is_none_or(|end| end > new.effective_from))
        };
        let collisions = self.new.iter().filter(collides);
        let errors: Vec<_> =
            collisions.map(|new| PublishError { model: new.model.clone(), route: new.route.clone(), error: PriceError::Overlap }).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// Which draft cannot be published, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishError {
    /// The public model.
    pub model: Box<str>,
    /// The route.
    pub route: Box<str>,
    /// What is wrong.
    pub error: PriceError,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.route.is_empty() { "any deployment" } else { &*self.route };
        write!(f, "the price of model `{}` at {at}: {}", self.model, self.error)
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Book, model and route.
type Place<'p> = (&'p str, &'p str, &'p str);

/// The rows there are, by place.
struct Places<'p>(HashMap<Place<'p>, Vec<&'p PriceRow>>);

impl<'p> Places<'p> {
    fn of(rows: &'p [PriceRow]) -> Self {
        let mut places: HashMap<Place<'_>, Vec<&PriceRow>> = HashMap::new();
        for row in rows {
            places.entry((&row.book, &row.model, &row.route)).or_default().push(row);
        }
        Self(places)
    }

    fn at<'s>(&'s self, place: Place<'s>) -> &'s [&'p PriceRow] {
        self.0.get(&place).map_or(&[], Vec::as_slice)
    }
}

/// The earliest moment at which a further version can begin after these.
fn earliest_after(rows: &[&PriceRow]) -> Option<i64> {
    rows.iter().map(|row| row.effective_to.unwrap_or(row.effective_from + 1)).max()
}

/// Compares drafts with the rows of their books and says what to write so that they hold from `now_us` on. This is what
/// every start does with the prices of the configuration and the catalog; `Ledger::publish_prices_by_hand` is the other way.
/// `existing` are rows of those books, ended ones may be among them.
///
/// # Errors
/// Every draft that cannot be published; then nothing should be.
pub fn publish(
    drafts: &[Draft],
    existing: &[PriceRow],
    coverage: Coverage,
    calendars: &Calendars,
    now_us: i64,
) -> Result<Publication, Vec<PublishError>> {
    compare(&seal(drafts, calendars)?, existing, coverage, now_us)
}

/// [`publish`] for drafts that are sealed already.
pub(crate) fn compare(drafts: &[Sealed], existing: &[PriceRow], coverage: Coverage, now_us: i64) -> Result<Publication, Vec<PublishError>> {
    let places = Places::of(existing);
    let mut publication = Publication::default();
    for draft in drafts {
        let rows = places.at(draft.place());
        let stands_by_hand = |row: &&PriceRow| row.origin() == Origin::Hand && row.effective_to.is_none_or(|end| end > now_us);
        if draft.origin() == Origin::Catalog && rows.iter().any(stands_by_hand) {
            continue;
        }
        let standing = rows.iter().find(|row| row.effective_to.is_none());
        if standing.is_some_and(|row| row.sha256 == draft.sha256 && row.origin() == draft.origin()) {
            continue;
        }
        // Two publications within one microsecond must still follow one another.
        let effective_from = earliest_after(rows).map_or(now_us, |earliest| earliest.max(now_us));
        if let Some(row) = standing {
            publication.ended.push((row.id, effective_from));
        }
        publication.new.push(draft.version(effective_from));
    }
    if coverage == Coverage::Whole {
        let books: HashSet<&str> = drafts.iter().map(|draft| &*draft.book).collect();
        let wanted: HashSet<Place<'_>> = drafts.iter().map(Sealed::place).collect();
        let gone = |row: &&PriceRow| {
            let ours = books.contains(&*row.book) && row.origin() != Origin::Hand;
            ours && row.effective_to.is_none() && !wanted.contains(&(&*row.book, &*row.model, &*row.route))
        };
        publication.ended.extend(existing.iter().filter(gone).map(|row| (row.id, now_us.max(row.effective_from + 1))));
    }
    publication.check(&places)?;
    Ok(publication)
}

/// What publishing a draft by hand would do to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is no price yet.
    New,
    /// Another price begins.
    Change,
    /// The price stays, but follows the catalog no longer.
    Pin,
    /// The price stays, and follows the catalog again.
    Unpin,
    /// The price is there already, from the same origin.
    Nothing,
}

impl Step {
    /// The word the API shows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Change => "changed",
            Self::Pin => "pinned",
            Self::Unpin => "unpinned",
            Self::Nothing => "unchanged",
        }
    }
}

/// What publishing one draft by hand would do, and from when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Move<'p> {
    pub(crate) step: Step,
    pub(crate) before: Option<&'p PriceRow>,
    pub(crate) effective_from: i64,
}

/// What publishing each of these by hand from `at_us` on, or from now on, would do; in the order of the drafts.
pub(crate) fn moves<'p>(drafts: &[Sealed], existing: &'p [PriceRow], at_us: Option<i64>, now_us: i64) -> Vec<Result<Move<'p>, PriceError>> {
    let places = Places::of(existing);
    drafts.iter().map(|draft| one_move(draft, places.at(draft.place()), at_us, now_us)).collect()
}

fn one_move<'p>(draft: &Sealed, rows: &[&'p PriceRow], at_us: Option<i64>, now_us: i64) -> Result<Move<'p>, PriceError> {
    if at_us.is_some_and(|at| at < now_us) {
        return Err(PriceError::InThePast(now_us));
    }
    let standing = rows.iter().copied().find(|row| row.effective_to.is_none());
    if standing.is_some_and(|row| row.origin() == Origin::Config) {
        return Err(PriceError::StatedByConfiguration);
    }
    let earliest = earliest_after(rows);
    let effective_from = match (at_us, earliest) {
        (Some(at), Some(earliest)) if at < earliest => return Err(PriceError::Scheduled(earliest)),
        (Some(at), _) => at,
        (None, Some(_)) if standing.is_some_and(|row| row.effective_from > now_us) => {
            return Err(PriceError::Scheduled(earliest.unwrap_or(now_us)));
        }
        (None, earliest) => earliest.map_or(now_us, |earliest| earliest.max(now_us)),
    };
    let step = match standing {
        None => Step::New,
        Some(row) if row.sha256 != draft.sha256 => Step::Change,
        Some(row) if row.origin() == draft.origin() => Step::Nothing,
        Some(_) if draft.origin() == Origin::Catalog => Step::Unpin,
        Some(_) => Step::Pin,
    };
    Ok(Move { step, before: standing, effective_from })
}

/// What to write so that these hold from `at_us` on, or from now on, published by hand: all of them or none. A price that
/// begins later ends its predecessor at that moment; until then the predecessor holds.
///
/// # Errors
/// Every draft that cannot be published: the moment has passed, a later version is scheduled, or the configuration states
/// the price of its place.
pub(crate) fn by_hand(drafts: &[Sealed], existing: &[PriceRow], at_us: Option<i64>, now_us: i64) -> Result<Publication, Vec<PublishError>> {
    let mut publication = Publication::default();
    let mut errors = Vec::new();
    for (draft, outcome) in drafts.iter().zip(moves(drafts, existing, at_us, now_us)) {
        match outcome {
            Err(error) => errors.push(PublishError { model: draft.model.clone(), route: draft.route.clone(), error }),
            Ok(Move { step: Step::Nothing, .. }) => {}
            Ok(Move { before, effective_from, .. }) => {
                publication.ended.extend(before.map(|row| (row.id, effective_from)));
                publication.new.push(draft.version(effective_from));
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    publication.check(&Places::of(existing))?;
    Ok(publication)
}
