//! The sums that reports are read from, against the settlements they are sums of.

use rusqlite::Connection;

use super::{Check, Violations};
use crate::error::LedgerError;

/// Every sum as the settlements have it, in the order of the table's columns.
pub(crate) const BY_PLACE: &str = "\
    SELECT s.wallet AS wallet, t.at / 900000000 AS quarter, s.served AS served, h.api_key AS api_key, \
      COALESCE((SELECT currency FROM price_version WHERE id = s.cost_version), w.currency) AS cost_currency, \
      SUM(s.seq = 0) AS requests, SUM(s.tokens_in) AS tokens_in, SUM(s.tokens_out) AS tokens_out, \
      SUM((SELECT COALESCE(SUM(value), 0) FROM json_each(CAST(s.leaves AS TEXT)) WHERE key LIKE 'tok.in%.cache_read')) AS cache_read, \
      SUM((SELECT COALESCE(SUM(value), 0) FROM json_each(CAST(s.leaves AS TEXT)) WHERE key LIKE 'tok.in%.cache_write%')) AS cache_write, \
      SUM((SELECT COALESCE(SUM(value), 0) FROM json_each(CAST(s.leaves AS TEXT)) WHERE key LIKE 'tok.out%.reasoning')) AS reasoning, \
      SUM(s.charge) AS charge, SUM(s.written_off) AS written_off, SUM(s.cost) AS cost \
    FROM settlement s JOIN txn t ON t.id = s.txn JOIN hold h ON h.id = s.hold JOIN wallet w ON w.id = s.wallet \
    GROUP BY 1, 2, 3, 4, 5";

/// The same by end user.
pub(crate) const BY_TAG: &str = "\
    SELECT s.wallet AS wallet, t.at / 900000000 AS quarter, h.tag AS tag, s.served AS served, SUM(s.seq = 0) AS requests, \
      SUM(s.tokens_in) AS tokens_in, SUM(s.tokens_out) AS tokens_out, SUM(s.charge) AS charge, SUM(s.written_off) AS written_off \
    FROM settlement s JOIN txn t ON t.id = s.txn JOIN hold h ON h.id = s.hold WHERE h.tag IS NOT NULL GROUP BY 1, 2, 3, 4";

pub(super) fn check(connection: &Connection) -> Result<Check, LedgerError> {
    let rows = connection.query_row("SELECT COUNT(*) FROM rollup", [], |row| row.get::<_, i64>(0))?.unsigned_abs();
    let mut violations = Violations::default();
    for (table, truth) in [("rollup", BY_PLACE), ("rollup_tag", BY_TAG)] {
        for (first, second, problem) in [
            (format!("SELECT * FROM {table}"), truth.to_owned(), "says otherwise than"),
            (truth.to_owned(), format!("SELECT * FROM {table}"), "lacks"),
        ] {
            let sql = format!("SELECT wallet, quarter FROM ({first} EXCEPT {second}) ORDER BY 1, 2");
            let mut statement = connection.prepare(&sql)?;
            let mut differing = statement.query([])?;
            while let Some(row) = differing.next()? {
                let (wallet, quarter): (i64, i64) = (row.get(0)?, row.get(1)?);
                violations.push(format!("{table} {problem} its settlements for wallet {wallet} in quarter {quarter}"));
            }
        }
    }
    Ok(Check { id: "rollups", rows, violations: violations.into_list(), note: None })
}
