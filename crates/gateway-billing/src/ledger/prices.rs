//! Prices in the store: reading all versions, and publishing new ones in one transaction.

mod by_hand;
mod shown;

use std::{fmt, path::Path, sync::Arc};

use gateway_core::Fault;
use rusqlite::{Connection, params};

pub use self::{
    by_hand::{HandPublication, PublishedPrices},
    shown::{PricePage, PriceQuery, PriceView},
};
use super::Ledger;
use crate::{
    error::LedgerError,
    journal::Scope,
    price::{Calendars, Coverage, Draft, NewVersion, PriceBook, PriceRow, PriceVersionId, Publication, PublishError, compare, seal},
    store::open_read_only,
};

/// What a publication changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Published {
    /// New versions.
    pub new: usize,
    /// Versions that ended.
    pub ended: usize,
    /// New versions that hold only later, because one published by hand is scheduled at their place before them.
    pub late: usize,
}

/// Why nothing was published.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PublishFailure {
    /// These prices cannot be used.
    Prices(Vec<PublishError>),
    /// The ledger could not write them.
    Ledger(LedgerError),
}

impl fmt::Display for PublishFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prices(errors) => {
                for (n, error) in errors.iter().enumerate().take(ERRORS_SHOWN) {
                    write!(f, "{}{error}", if n == 0 { "" } else { "; " })?;
                }
                match errors.len().saturating_sub(ERRORS_SHOWN) {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
            Self::Ledger(error) => error.fmt(f),
        }
    }
}

/// How many refused prices an error names; thousands may be refused for one reason.
const ERRORS_SHOWN: usize = 10;

impl std::error::Error for PublishFailure {}

impl From<LedgerError> for PublishFailure {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<PublishFailure> for Fault {
    fn from(failure: PublishFailure) -> Self {
        match failure {
            PublishFailure::Ledger(error) => error.into(),
            PublishFailure::Prices(_) => {
                Self::invalid(format!("nothing was published: {failure}")).with_code("prices_refused").with_param("prices")
            }
        }
    }
}

impl Ledger {
    /// Publishes prices that hold from now on. Unchanged ones publish nothing, so this may run at every start; what was
    /// published by hand stays, unless the configuration states the price of its place.
    ///
    /// # Errors
    /// A price cannot be used, or nothing can be written; then nothing was published.
    pub async fn publish_prices(&self, drafts: Vec<Draft>, coverage: Coverage, calendars: Calendars) -> Result<Published, PublishFailure> {
        // Outside the writer: closing thousands of prices takes longer than anybody's hold should wait.
        let sealed = seal(&drafts, &calendars).map_err(PublishFailure::Prices)?;
        let book = Arc::clone(&self.prices);
        let published = self
            .journal
            .exec(move |scope| {
                let existing = rows(scope.connection())?;
                let publication = match compare(&sealed, &existing, coverage, scope.now_us()) {
                    Ok(publication) => publication,
                    Err(errors) => return Ok(Err(errors)),
                };
                write(scope, &publication, &book)?;
                let late = publication.new.iter().filter(|version| version.effective_from > scope.now_us()).count();
                Ok(Ok(Published { new: publication.new.len(), ended: publication.ended.len(), late }))
            })
            .await?;
        published.map_err(PublishFailure::Prices)
    }
}

/// Writes a publication whole and shows it to the prices in memory once it is committed.
fn write(scope: &mut Scope<'_>, publication: &Publication, book: &Arc<PriceBook>) -> Result<(), LedgerError> {
    if publication.is_empty() {
        return Ok(());
    }
    let mut end = scope.connection().prepare_cached("UPDATE price_version SET effective_to = ?2 WHERE id = ?1")?;
    for (id, at) in &publication.ended {
        end.execute([id.0, *at])?;
    }
    drop(end);
    for version in &publication.new {
        insert(scope, version)?;
    }
    let (book, rows) = (Arc::clone(book), rows(scope.connection())?);
    scope.after_commit(move || book.replace(rows));
    Ok(())
}

/// Every price of a ledger's file, read without changing it, whether or not a gateway is running on it.
///
/// # Errors
/// There is no such ledger, or it cannot be read.
pub fn prices_of_file(path: &Path) -> Result<PriceBook, LedgerError> {
    rows(&open_read_only(path)?).map(PriceBook::new)
}

fn insert(scope: &Scope<'_>, version: &NewVersion) -> Result<(), LedgerError> {
    scope
        .connection()
        .prepare_cached(
            "INSERT INTO price_version(book, model, route, currency, effective_from, body, sha256, published_at, published_by) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            &*version.book,
            &*version.model,
            &*version.route,
            version.currency.as_str(),
            version.effective_from,
            &*version.body,
            &version.sha256[..],
            scope.now_us(),
            &*version.published_by,
        ])?;
    Ok(())
}

/// Every version there is, ended ones included.
pub(crate) fn rows(connection: &Connection) -> Result<Vec<PriceRow>, LedgerError> {
    let mut statement = connection.prepare(
        "SELECT id, book, model, route, effective_from, effective_to, body, sha256, COALESCE(published_by, ''), COALESCE(published_at, 0) \
         FROM price_version",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(PriceRow {
            id: PriceVersionId(row.get(0)?),
            book: row.get::<_, String>(1)?.into(),
            model: row.get::<_, String>(2)?.into(),
            route: row.get::<_, String>(3)?.into(),
            effective_from: row.get(4)?,
            effective_to: row.get(5)?,
            body: row.get::<_, String>(6)?.into(),
            sha256: row.get(7)?,
            published_by: row.get::<_, String>(8)?.into(),
            published_at: row.get(9)?,
        })
    })?;
    rows.collect::<Result<_, _>>().map_err(LedgerError::from)
}
