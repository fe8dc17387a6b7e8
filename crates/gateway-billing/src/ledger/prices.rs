//! Prices in the store: reading all versions, and publishing new ones in one transaction.

use std::{fmt, sync::Arc};

use rusqlite::{Connection, params};

use super::Ledger;
use crate::{
    error::LedgerError,
    journal::Scope,
    price::{Calendars, Coverage, Draft, PriceRow, PriceVersionId, PublishError, publish},
};

/// What a publication changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Published {
    /// New versions.
    pub new: usize,
    /// Versions that ended.
    pub ended: usize,
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
                for (n, error) in errors.iter().enumerate() {
                    write!(f, "{}{error}", if n == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::Ledger(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PublishFailure {}

impl From<LedgerError> for PublishFailure {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl Ledger {
    /// Publishes prices that hold from now on. Unchanged ones publish nothing, so this may run at every start.
    ///
    /// # Errors
    /// A price cannot be used, or nothing can be written; then nothing was published.
    pub async fn publish_prices(&self, drafts: Vec<Draft>, coverage: Coverage, calendars: Calendars) -> Result<Published, PublishFailure> {
        let book = Arc::clone(&self.prices);
        let published = self
            .journal
            .exec(move |scope| {
                let existing = rows(scope.connection())?;
                let publication = match publish(&drafts, &existing, coverage, &calendars, scope.now_us()) {
                    Ok(publication) => publication,
                    Err(errors) => return Ok(Err(errors)),
                };
                let done = Published { new: publication.new.len(), ended: publication.ended.len() };
                if publication.is_empty() {
                    return Ok(Ok(done));
                }
                for (id, end) in &publication.ended {
                    scope.connection().prepare_cached("UPDATE price_version SET effective_to = ?2 WHERE id = ?1")?.execute([id.0, *end])?;
                }
                for version in &publication.new {
                    insert(scope, version)?;
                }
                let (book, rows) = (Arc::clone(&book), rows(scope.connection())?);
                scope.after_commit(move || book.replace(rows));
                Ok(Ok(done))
            })
            .await?;
        published.map_err(PublishFailure::Prices)
    }
}

fn insert(scope: &Scope<'_>, version: &crate::price::NewVersion) -> Result<(), LedgerError> {
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
    let mut statement =
        connection.prepare("SELECT id, book, model, route, effective_from, effective_to, body, sha256 FROM price_version")?;
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
        })
    })?;
    rows.collect::<Result<_, _>>().map_err(LedgerError::from)
}
