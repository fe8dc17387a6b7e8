//! Checks that the books are right, on a running ledger or on a file.
//!
//! Everything is read in one snapshot, so a check beside running traffic sees no half-written state. Nothing is written.

mod budgets;
mod chain;
mod credit;
pub(crate) mod rollups;
mod settlements;
mod statements;

use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use crate::{error::LedgerError, store::open_read_only};

/// Most violations listed per check; the rest is counted.
const LISTED_MAX: usize = 20;

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which promise: `INV-1` … or `chain`.
    pub id: &'static str,
    /// How many rows were looked at.
    pub rows: u64,
    /// What is wrong, each in a sentence; empty when the promise holds.
    pub violations: Vec<String>,
    /// Why there was nothing to look at, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

/// The result of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every promise holds.
    pub ok: bool,
    /// Each check.
    pub checks: Vec<Check>,
    /// Holds open now.
    pub open_holds: u64,
    /// Open holds whose run is over; never above 0 after a start.
    pub earlier_boot_holds: u64,
}

/// Checks the books in a file, whether or not a gateway is running on it.
///
/// # Errors
/// The file cannot be read, or is not a ledger.
pub fn verify_file(path: &Path) -> Result<Report, LedgerError> {
    let connection = open_read_only(path)?;
    connection.execute_batch("BEGIN")?;
    verify(&connection)
}

/// Checks the books through a connection, which should be inside a read transaction.
fn verify(connection: &Connection) -> Result<Report, LedgerError> {
    let mut checks = Vec::new();
    for (id, rows, violations) in BY_QUERY {
        checks.push(by_query(connection, id, rows, violations)?);
    }
    checks.push(settlements::prices_are_as_published(connection)?);
    checks.extend(settlements::recomputed(connection)?);
    checks.push(budgets::check(connection)?);
    checks.push(rollups::check(connection)?);
    checks.push(statements::check(connection)?);
    checks.push(credit::given_once(connection)?);
    checks.push(chain::check(connection)?);
    checks.sort_by_key(|check| order(check.id));
    let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    let open_holds = count("SELECT COUNT(*) FROM hold WHERE state = 0")?;
    let earlier_boot_holds = count(EARLIER_BOOT_HOLDS)?;
    let ok = checks.iter().all(|check| check.violations.is_empty());
    Ok(Report { ok, checks, open_holds, earlier_boot_holds })
}

fn order(id: &str) -> u32 {
    id.strip_prefix("INV-").and_then(|number| number.parse().ok()).unwrap_or(u32::MAX)
}

const EARLIER_BOOT_HOLDS: &str = "SELECT COUNT(*) FROM hold WHERE state = 0 AND boot < (SELECT MAX(id) FROM boot)";

fn by_query(connection: &Connection, id: &'static str, rows: &str, violations: &str) -> Result<Check, LedgerError> {
    let rows = connection.query_row(rows, [], |row| row.get::<_, i64>(0))?.unsigned_abs();
    let mut statement = connection.prepare(violations)?;
    let found = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut list = Violations::default();
    for sentence in found {
        list.push(sentence?);
    }
    Ok(Check { id, rows, violations: list.into_list(), note: None })
}

/// A list that stays short.
#[derive(Default)]
struct Violations {
    listed: Vec<String>,
    more: usize,
}

impl Violations {
    fn push(&mut self, sentence: String) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push(sentence);
        } else {
            self.more += 1;
        }
    }

    fn into_list(mut self) -> Vec<String> {
        if self.more > 0 {
            self.listed.push(format!("and {} more", self.more));
        }
        self.listed
    }
}

/// Id, a query that counts the rows looked at, and one that words each violation.
const BY_QUERY: &[(&str, &str, &str)] = &[
    (
        "INV-1",
        "SELECT COUNT(*) FROM txn",
        "SELECT 'transaction ' || p.txn || ' is off balance by ' || SUM(p.amount) || ' in ' || a.currency \
         FROM posting p JOIN account a ON a.id = p.account GROUP BY p.txn, a.currency HAVING SUM(p.amount) <> 0",
    ),
    (
        "INV-2",
        "SELECT COUNT(*) FROM account",
        "SELECT 'account ' || a.id || ' (' || a.code || ' ' || a.currency || ') stands at ' || a.posted || ', its postings at ' || COALESCE(SUM(p.amount), 0) \
         FROM account a LEFT JOIN posting p ON p.account = a.id GROUP BY a.id HAVING a.posted <> COALESCE(SUM(p.amount), 0)",
    ),
    (
        "INV-3",
        "SELECT COUNT(*) FROM wallet",
        "SELECT 'wallet ' || id || ' has ' || posted || ' less ' || held || ' held, below its floor of ' || floor \
         FROM wallet WHERE posted - held < floor OR held < 0",
    ),
    (
        "INV-4",
        "SELECT COUNT(*) FROM wallet",
        "SELECT 'wallet ' || w.id || ' has ' || w.held || ' held, its open holds come to ' || COALESCE(SUM(h.amount), 0) \
         FROM wallet w LEFT JOIN hold h ON h.wallet = w.id AND h.state = 0 GROUP BY w.id HAVING w.held <> COALESCE(SUM(h.amount), 0)",
    ),
    (
        "INV-5",
        "SELECT COUNT(*) FROM hold",
        "SELECT 'hold ' || lower(hex(h.id)) || ' is in state ' || h.state || ' with ' || COUNT(s.seq) || ' settlements, taking ' || COALESCE(MAX(s.from_hold), 0) || ' of ' || h.amount \
         FROM hold h LEFT JOIN settlement s ON s.hold = h.id AND s.seq = 0 GROUP BY h.id \
         HAVING (h.state IN (1, 3)) <> (COUNT(s.seq) = 1) OR COALESCE(MAX(s.from_hold), 0) > h.amount \
         UNION ALL SELECT 'a settlement names hold ' || lower(hex(s.hold)) || ', which does not exist' \
         FROM settlement s WHERE NOT EXISTS (SELECT 1 FROM hold h WHERE h.id = s.hold)",
    ),
    (
        "INV-6",
        "SELECT COUNT(*) FROM settlement",
        "WITH paid AS (SELECT txn, wallet, SUM(from_hold + overrun) AS amount FROM settlement GROUP BY txn, wallet), \
         debit AS (SELECT p.txn, w.id AS wallet, SUM(p.amount) AS amount FROM posting p \
           JOIN txn t ON t.id = p.txn AND t.kind = 'usage' JOIN account a ON a.id = p.account AND a.code IN (2100, 2110) \
           JOIN wallet w ON w.org = a.owner AND w.currency = a.currency GROUP BY p.txn, w.id) \
         SELECT 'transaction ' || paid.txn || ' charges wallet ' || paid.wallet || ' ' || COALESCE(debit.amount, 0) || ', its settlements ' || paid.amount \
         FROM paid LEFT JOIN debit ON debit.txn = paid.txn AND debit.wallet = paid.wallet WHERE paid.amount <> COALESCE(debit.amount, 0) \
         UNION ALL SELECT 'transaction ' || debit.txn || ' charges wallet ' || debit.wallet || ' ' || debit.amount || ' without a settlement' \
         FROM debit LEFT JOIN paid ON debit.txn = paid.txn AND debit.wallet = paid.wallet WHERE paid.txn IS NULL",
    ),
    (
        "INV-11",
        "SELECT COUNT(*) FROM lot",
        "WITH lots AS (SELECT w.id AS wallet, w.org, w.currency, w.posted, \
           COALESCE(SUM(CASE WHEN l.class = 'paid' THEN l.remaining END), 0) AS paid, \
           COALESCE(SUM(CASE WHEN l.class = 'promo' THEN l.remaining END), 0) AS promo \
           FROM wallet w LEFT JOIN lot l ON l.wallet = w.id GROUP BY w.id), \
         books AS (SELECT lots.*, \
           -COALESCE((SELECT posted FROM account a WHERE a.code = 2100 AND a.owner = lots.org AND a.currency = lots.currency), 0) AS paid_book, \
           -COALESCE((SELECT posted FROM account a WHERE a.code = 2110 AND a.owner = lots.org AND a.currency = lots.currency), 0) AS promo_book FROM lots) \
         SELECT 'wallet ' || wallet || ' has ' || posted || ' posted, lots of ' || paid || ' paid and ' || promo || ' promo, accounts of ' || paid_book || ' and ' || promo_book \
         FROM books WHERE paid <> paid_book OR promo <> promo_book OR posted <> paid + promo",
    ),
    (
        "INV-17",
        "SELECT COUNT(*) FROM boot",
        "SELECT 'hold ' || lower(hex(id)) || ' of run ' || boot || ' is still open' FROM hold WHERE state = 0 AND boot < (SELECT MAX(id) FROM boot)",
    ),
    (
        "INV-18",
        "SELECT COUNT(*) FROM lot_draw",
        "SELECT 'hold ' || lower(hex(s.hold)) || ' paid ' || SUM(s.from_hold + s.overrun) || ' and drew ' || \
           COALESCE((SELECT SUM(amount) FROM lot_draw d WHERE d.hold = s.hold), 0) || ' from its lots' FROM settlement s GROUP BY s.hold \
         HAVING SUM(s.from_hold + s.overrun) <> COALESCE((SELECT SUM(amount) FROM lot_draw d WHERE d.hold = s.hold), 0) \
         UNION ALL SELECT 'lot ' || lower(hex(l.id)) || ' gave ' || COALESCE(d.gave, 0) || ', let ' || COALESCE(e.ended, 0) || \
           ' expire and lost ' || (l.granted - l.remaining) \
         FROM lot l LEFT JOIN (SELECT lot, SUM(amount) AS gave FROM lot_draw GROUP BY lot) d ON d.lot = l.id \
         LEFT JOIN (SELECT lot, SUM(amount) AS ended FROM lot_expiry GROUP BY lot) e ON e.lot = l.id \
         WHERE COALESCE(d.gave, 0) + COALESCE(e.ended, 0) <> l.granted - l.remaining \
         UNION ALL SELECT 'lot ' || lower(hex(e.lot)) || ' let ' || e.amount || ' expire, which transaction ' || e.txn || ' did not take' \
         FROM lot_expiry e WHERE NOT EXISTS (SELECT 1 FROM txn t JOIN posting p ON p.txn = t.id JOIN account a ON a.id = p.account \
           JOIN lot l ON l.id = e.lot JOIN wallet w ON w.id = l.wallet WHERE t.id = e.txn AND t.kind = 'expiry' AND p.amount = e.amount \
           AND a.owner = w.org AND a.currency = w.currency AND a.code = CASE l.class WHEN 'paid' THEN 2100 ELSE 2110 END) \
         UNION ALL SELECT 'transaction ' || t.id || ' lets credit expire of which no lot knows' FROM txn t \
         WHERE t.kind = 'expiry' AND NOT EXISTS (SELECT 1 FROM lot_expiry e WHERE e.txn = t.id)",
    ),
];

#[cfg(test)]
mod tests;
