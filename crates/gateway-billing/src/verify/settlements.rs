//! Settlements against the prices they were made from.

use std::collections::HashMap;

use gateway_core::RequestId;
use ring::digest::{SHA256, digest};
use rusqlite::Connection;

use super::{Check, Violations};
use crate::{
    error::LedgerError,
    ledger::price_rows,
    money::Ppm,
    price::{PriceBook, PriceVersionId, charge_total},
    usage::Leaves,
};

/// INV-8: every settlement names a version that exists, and every version is byte for byte what was published.
pub(super) fn prices_are_as_published(connection: &Connection) -> Result<Check, LedgerError> {
    let mut violations = Violations::default();
    let mut rows = 0;
    let mut statement = connection.prepare("SELECT id, body, sha256 FROM price_version")?;
    let mut versions = statement.query([])?;
    while let Some(row) = versions.next()? {
        let (id, body, sha): (i64, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if digest(&SHA256, body.as_bytes()).as_ref() != sha {
            violations.push(format!("price version {id} is not what was published"));
        }
        rows += 1;
    }
    let mut statement = connection
        .prepare("SELECT DISTINCT price_version FROM settlement WHERE price_version NOT IN (SELECT id FROM price_version) ORDER BY 1")?;
    for version in statement.query_map([], |row| row.get::<_, i64>(0))? {
        violations.push(format!("settlements name price version {}, which does not exist", version?));
    }
    let note = (rows == 0).then_some("no prices have been published");
    Ok(Check { id: "INV-8", rows, violations: violations.into_list(), note })
}

/// INV-9 and INV-10, in one pass over the settlements: their leaves add up to what was booked, and priced again by the
/// versions they are pinned to they come to the same charge.
pub(super) fn recomputed(connection: &Connection) -> Result<[Check; 2], LedgerError> {
    let mut pricing = Pricing { book: PriceBook::new(price_rows(connection)?), plans: plans(connection)? };
    let (mut leaves, mut charges, mut rows) = (Violations::default(), Violations::default(), 0);
    let mut statement = connection.prepare(
        "SELECT s.hold, s.price_version, s.plan_version, s.leaves, h.created_at, s.charge, s.tokens_in, s.tokens_out \
         FROM settlement s JOIN hold h ON h.id = s.hold",
    )?;
    let mut settlements = statement.query([])?;
    while let Some(row) = settlements.next()? {
        let id = RequestId::from_bytes(row.get(0)?);
        let stored: Vec<u8> = row.get(3)?;
        rows += 1;
        let used = match std::str::from_utf8(&stored).ok().and_then(|text| Leaves::from_stored(text).ok()) {
            Some(used) => used,
            None => {
                leaves.push(format!("{id}: its usage cannot be read"));
                continue;
            }
        };
        let booked = (row.get::<_, i64>(6)?.unsigned_abs(), row.get::<_, i64>(7)?.unsigned_abs());
        if (used.input_tokens(), used.output_tokens()) != booked {
            let counted = (used.input_tokens(), used.output_tokens());
            leaves.push(format!("{id}: its leaves hold {counted:?} tokens, {booked:?} are booked"));
        }
        let (charge, at): (i64, i64) = (row.get(5)?, row.get(4)?);
        match pricing.charge(PriceVersionId(row.get(1)?), row.get(2)?, &used, at) {
            Ok(again) if again == charge => {}
            Ok(again) => charges.push(format!("{id}: {charge} was charged, its usage and prices come to {again}")),
            Err(problem) => charges.push(format!("{id}: {problem}")),
        }
    }
    let check = |id, violations: Violations| Check { id, rows, violations: violations.into_list(), note: None };
    Ok([check("INV-9", leaves), check("INV-10", charges)])
}

struct Pricing {
    book: PriceBook,
    plans: HashMap<i64, Ppm>,
}

impl Pricing {
    fn charge(&mut self, version: PriceVersionId, plan: i64, used: &Leaves, at: i64) -> Result<i64, String> {
        let price = match self.book.version(version) {
            Ok(Some(price)) => price,
            Ok(None) => return Err(format!("its price version {} does not exist", version.0)),
            Err(error) => return Err(error.to_string()),
        };
        let multiplier = self.plans.get(&plan).ok_or_else(|| format!("its plan version {plan} does not exist"))?;
        charge_total(&price, *multiplier, used, at).map(|(charge, _)| charge.get()).map_err(|error| error.to_string())
    }
}

fn plans(connection: &Connection) -> Result<HashMap<i64, Ppm>, LedgerError> {
    let mut statement = connection.prepare("SELECT id, multiplier_ppm FROM plan_version")?;
    let mut plans = HashMap::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(multiplier) = Ppm::new(row.get(1)?) {
            plans.insert(row.get(0)?, multiplier);
        }
    }
    Ok(plans)
}
