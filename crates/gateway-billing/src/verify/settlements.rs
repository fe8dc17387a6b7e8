//! Settlements against the prices they were made from.

use ring::digest::{SHA256, digest};
use rusqlite::Connection;

use super::{Check, Recompute, StoredSettlement, Violations};
use crate::error::LedgerError;

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

/// INV-9 and INV-10, in one pass over the settlements.
pub(super) fn recomputed(connection: &Connection, recompute: Option<&dyn Recompute>) -> Result<[Check; 2], LedgerError> {
    let check = |id, rows, violations: Violations, note| Check { id, rows, violations: violations.into_list(), note };
    let Some(recompute) = recompute else {
        let note = Some("not checked: nobody was given to price the settlements again");
        return Ok([check("INV-9", 0, Violations::default(), note), check("INV-10", 0, Violations::default(), note)]);
    };
    let mut recomputing = recompute.prepare(connection)?;
    let (mut leaves, mut charges, mut rows) = (Violations::default(), Violations::default(), 0);
    let mut statement = connection.prepare(
        "SELECT s.hold, s.price_version, s.plan_version, s.leaves, h.created_at, s.charge, s.tokens_in, s.tokens_out, s.flags, s.usage_source \
         FROM settlement s JOIN hold h ON h.id = s.hold",
    )?;
    let mut settlements = statement.query([])?;
    while let Some(row) = settlements.next()? {
        let hold: [u8; 16] = row.get(0)?;
        let settlement = StoredSettlement {
            price_version: row.get(1)?,
            plan_version: row.get(2)?,
            leaves: row.get(3)?,
            created_at: row.get(4)?,
            charge: row.get(5)?,
            tokens_in: row.get(6)?,
            tokens_out: row.get(7)?,
            flags: row.get(8)?,
            usage_source: row.get(9)?,
        };
        let id = gateway_core::RequestId::from_bytes(hold);
        if let Some(problem) = recomputing.leaves(&settlement) {
            leaves.push(format!("{id}: {problem}"));
        }
        if let Some(problem) = recomputing.charge(&settlement) {
            charges.push(format!("{id}: {problem}"));
        }
        rows += 1;
    }
    Ok([check("INV-9", rows, leaves, None), check("INV-10", rows, charges, None)])
}
