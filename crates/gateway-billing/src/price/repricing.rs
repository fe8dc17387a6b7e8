//! Pricing stored settlements again, from what the ledger holds of them.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    charge::charge_total,
    version::{PriceRow, PriceVersion, PriceVersionId},
};
use crate::{
    error::LedgerError,
    money::Ppm,
    usage::Leaves,
    verify::{Recompute, Recomputing, StoredSettlement},
};

const READ_ONE: &str = "SELECT id, book, model, route, effective_from, effective_to, body, sha256 FROM price_version WHERE id = ?1";

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
