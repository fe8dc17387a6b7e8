//! Which rows a set of prices asks for: a changed price is a new version from now on, an unchanged one is nothing.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use super::{
    PriceError, SELL_BOOK,
    calendar::Calendars,
    terms::{Source, Terms, TimeBasis},
    version::{PriceRow, PriceVersionId, check_windows, sha256},
};
use crate::money::Currency;

/// A price that somebody wants to hold from now on.
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

/// What the drafts stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// All prices of the books they name: what is not among them ends.
    Whole,
    /// Some prices: the others stand.
    Part,
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

/// Compares drafts with the rows of their books and says what to write so that they hold from `now_us` on.
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
    let mut publication = Publication::default();
    let mut errors = Vec::new();
    let mut places: HashMap<Place<'_>, Vec<&PriceRow>> = HashMap::new();
    for row in existing {
        places.entry((&row.book, &row.model, &row.route)).or_default().push(row);
    }
    let mut wanted = HashSet::new();
    for draft in drafts {
        let at = (&*draft.book, &*draft.model, &*draft.route);
        if !wanted.insert(at) {
            errors.push(PublishError { model: draft.model.clone(), route: draft.route.clone(), error: PriceError::Twice });
            continue;
        }
        let rows = places.get(&at).map_or(&[][..], Vec::as_slice);
        match seal(draft, calendars) {
            Ok((body, hash)) => place(draft, body, hash, rows, now_us, &mut publication),
            Err(error) => errors.push(PublishError { model: draft.model.clone(), route: draft.route.clone(), error }),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if coverage == Coverage::Whole {
        let books: HashSet<&str> = drafts.iter().map(|draft| &*draft.book).collect();
        let gone = |row: &PriceRow| books.contains(&*row.book) && !wanted.contains(&(&*row.book, &*row.model, &*row.route));
        for row in existing.iter().filter(|row| row.effective_to.is_none() && gone(row)) {
            publication.ended.push((row.id, now_us.max(row.effective_from + 1)));
        }
    }
    Ok(publication)
}

/// Book, model and route.
type Place<'p> = (&'p str, &'p str, &'p str);

fn seal(draft: &Draft, calendars: &Calendars) -> Result<(Box<str>, [u8; 32]), PriceError> {
    let terms = draft.terms.clone().close(calendars)?;
    if &*draft.book == SELL_BOOK && terms.time_basis == TimeBasis::ResponseEnd {
        return Err(PriceError::SellAtResponseEnd);
    }
    check_windows(&terms)?;
    let body = terms.canonical()?;
    let hash = sha256(&body);
    Ok((body.into(), hash))
}

fn place(draft: &Draft, body: Box<str>, hash: [u8; 32], rows: &[&PriceRow], now_us: i64, publication: &mut Publication) {
    let standing = rows.iter().find(|row| row.effective_to.is_none());
    if standing.is_some_and(|row| row.sha256 == hash) {
        return;
    }
    // Two publications within one microsecond must still follow one another.
    let earliest = rows.iter().map(|row| row.effective_to.unwrap_or(row.effective_from + 1)).max();
    let effective_from = earliest.map_or(now_us, |earliest| earliest.max(now_us));
    if let Some(row) = standing {
        publication.ended.push((row.id, effective_from));
    }
    publication.new.push(NewVersion {
        book: draft.book.clone(),
        model: draft.model.clone(),
        route: draft.route.clone(),
        currency: draft.terms.currency,
        effective_from,
        body,
        sha256: hash,
        published_by: draft.source.to_string().into(),
    });
}
