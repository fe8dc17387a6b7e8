//! Published prices in the ledger: writing them, reading them, and pricing stored settlements again.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension as _, params};
use sqlx::Row as _;

use super::{
    calendar::Calendars,
    charge::charge_total,
    publish::{Coverage, Draft, Publication, publish},
    version::{PriceRow, PriceVersion, PriceVersionId},
};
use crate::{
    error::LedgerError,
    ledger::Ledger,
    money::Ppm,
    usage::Leaves,
    verify::{Recompute, Recomputing, StoredSettlement},
};

const READ_ALL: &str = "SELECT id, book, model, route, effective_from, effective_to, body, sha256 FROM price_version ORDER BY id";
const READ_ONE: &str = "SELECT id, book, model, route, effective_from, effective_to, body, sha256 FROM price_version WHERE id = ?1";

impl Ledger {
    /// Every published version, for a [`super::PriceBook`].
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn price_rows(&self) -> Result<Vec<PriceRow>, LedgerError> {
        let rows = sqlx::query(READ_ALL).fetch_all(self.reader()).await?;
        rows.iter()
            .map(|row| {
                let text = |column| row.try_get::<String, _>(column).map(Into::into);
                let sha256: Vec<u8> = row.try_get(7)?;
                Ok(PriceRow {
                    id: PriceVersionId(row.try_get(0)?),
                    book: text(1)?,
                    model: text(2)?,
                    route: text(3)?,
                    effective_from: row.try_get(4)?,
                    effective_to: row.try_get(5)?,
                    body: text(6)?,
                    sha256: hash(sha256)?,
                })
            })
            .collect()
    }

    /// Makes these prices hold from now on and returns every version as it then stands. What has not changed is not
    /// written again, so calling it at each start costs a read.
    ///
    /// # Errors
    /// A draft is not a price that can be sold at (the message names each), or nothing can be written.
    pub async fn publish_prices(&self, drafts: Vec<Draft>, coverage: Coverage, calendars: Calendars) -> Result<Vec<PriceRow>, LedgerError> {
        let rows = self.price_rows().await?;
        if plan(&drafts, &rows, coverage, &calendars, self.clock().unix_us())?.is_empty() {
            return Ok(rows);
        }
        self.journal()
            .exec(move |scope| {
                let (connection, now_us) = (scope.connection(), scope.now_us());
                let publication = plan(&drafts, &read_all(connection)?, coverage, &calendars, now_us)?;
                write(connection, &publication, now_us)?;
                Ok(())
            })
            .await?;
        self.price_rows().await
    }
}

fn plan(drafts: &[Draft], rows: &[PriceRow], coverage: Coverage, calendars: &Calendars, now_us: i64) -> Result<Publication, LedgerError> {
    publish(drafts, rows, coverage, calendars, now_us).map_err(|errors| {
        let problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
        LedgerError::invalid("price", problems.join("; "))
    })
}

fn write(connection: &Connection, publication: &Publication, now_us: i64) -> Result<(), LedgerError> {
    let mut end = connection.prepare_cached("UPDATE price_version SET effective_to = ?2 WHERE id = ?1 AND effective_to IS NULL")?;
    for (id, at_us) in &publication.ended {
        end.execute(params![id.0, at_us])?;
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO price_version(book, model, route, currency, effective_from, body, sha256, published_at, published_by) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for new in &publication.new {
        let currency = new.currency.as_str();
        let sha256 = new.sha256.as_slice();
        insert.execute(params![
            new.book,
            new.model,
            new.route,
            currency,
            new.effective_from,
            new.body,
            sha256,
            now_us,
            new.published_by
        ])?;
    }
    Ok(())
}

fn read_all(connection: &Connection) -> Result<Vec<PriceRow>, LedgerError> {
    let mut statement = connection.prepare_cached(READ_ALL)?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read_row(row)?);
    }
    Ok(all)
}

fn read_row(row: &rusqlite::Row<'_>) -> Result<PriceRow, LedgerError> {
    Ok(PriceRow {
        id: PriceVersionId(row.get(0)?),
        book: row.get(1)?,
        model: row.get(2)?,
        route: row.get(3)?,
        effective_from: row.get(4)?,
        effective_to: row.get(5)?,
        body: row.get(6)?,
        sha256: hash(row.get(7)?)?,
    })
}

fn hash(bytes: Vec<u8>) -> Result<[u8; 32], LedgerError> {
    bytes.try_into().map_err(|_| LedgerError::Refused { problem: "a price version's hash has not 32 bytes".into() })
}

/// Prices stored settlements again, for the ledger's checks INV-9 and INV-10.
#[derive(Debug, Clone, Copy, Default)]
pub struct Repricing;

impl Recompute for Repricing {
    fn prepare<'c>(&self, connection: &'c Connection) -> Result<Box<dyn Recomputing + 'c>, LedgerError> {
        Ok(Box::new(Running { connection, versions: HashMap::new(), plans: HashMap::new() }))
    }
}

struct Running<'c> {
    connection: &'c Connection,
    versions: HashMap<i64, Result<Arc<PriceVersion>, String>>,
    plans: HashMap<i64, Result<Ppm, String>>,
}

impl Running<'_> {
    fn version(&mut self, id: i64) -> Result<Arc<PriceVersion>, String> {
        let connection = self.connection;
        let read = || -> Result<Arc<PriceVersion>, String> {
            let mut statement = connection.prepare_cached(READ_ONE).map_err(|e| e.to_string())?;
            let mut rows = statement.query([id]).map_err(|e| e.to_string())?;
            let row = rows.next().map_err(|e| e.to_string())?.ok_or_else(|| format!("price version {id} does not exist"))?;
            let row = read_row(row).map_err(|e| e.to_string())?;
            PriceVersion::read(&row).map_err(|e| e.to_string())
        };
        self.versions.entry(id).or_insert_with(read).clone()
    }

    fn multiplier(&mut self, id: i64) -> Result<Ppm, String> {
        let connection = self.connection;
        let read = || -> Result<Ppm, String> {
            let ppm: Option<u32> = connection
                .query_row("SELECT multiplier_ppm FROM plan_version WHERE id = ?1", [id], |row| row.get(0))
                .optional()
                .map_err(|e| e.to_string())?;
            ppm.and_then(Ppm::new).ok_or_else(|| format!("plan version {id} does not exist"))
        };
        self.plans.entry(id).or_insert_with(read).clone()
    }

    fn charge_again(&mut self, settlement: &StoredSettlement) -> Result<i64, String> {
        let version = self.version(settlement.price_version)?;
        let multiplier = self.multiplier(settlement.plan_version)?;
        let leaves = leaves_of(settlement)?;
        let charged = charge_total(&version, multiplier, &leaves, settlement.created_at).map_err(|e| e.to_string())?;
        Ok(charged.0.get())
    }
}

impl Recomputing for Running<'_> {
    fn leaves(&mut self, settlement: &StoredSettlement) -> Option<String> {
        let leaves = match leaves_of(settlement) {
            Ok(leaves) => leaves,
            Err(problem) => return Some(problem),
        };
        let fits = |counted: u64, stored: i64| u64::try_from(stored).is_ok_and(|stored| stored == counted);
        let adds_up = fits(leaves.input_tokens(), settlement.tokens_in) && fits(leaves.output_tokens(), settlement.tokens_out);
        (!adds_up).then(|| {
            let (tokens_in, tokens_out) = (settlement.tokens_in, settlement.tokens_out);
            format!("the leaves {} do not add up to {tokens_in} in and {tokens_out} out", leaves.to_stored())
        })
    }

    fn charge(&mut self, settlement: &StoredSettlement) -> Option<String> {
        match self.charge_again(settlement) {
            Ok(charge) if charge == settlement.charge => None,
            Ok(charge) => Some(format!("charged {} but its usage and price give {charge}", settlement.charge)),
            Err(problem) => Some(problem),
        }
    }
}

fn leaves_of(settlement: &StoredSettlement) -> Result<Leaves, String> {
    let text = std::str::from_utf8(&settlement.leaves).map_err(|_| "the stored usage is not text".to_owned())?;
    Leaves::from_stored(text).map_err(|e| e.to_string())
}
