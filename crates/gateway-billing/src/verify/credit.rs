//! INV-15: what was given was given once, counted, and is where it should be.

use rusqlite::Connection;

use super::{Check, Violations};
use crate::error::LedgerError;

/// Each counts its rows and words each violation.
const QUERIES: [(&str, &str); 5] = [
    // Campaigns count their grants.
    (
        "SELECT COUNT(*) FROM campaign",
        "SELECT 'campaign `' || c.name || '` counts ' || c.grants_made || ' grants and has made ' || COUNT(g.subject) \
         FROM campaign c LEFT JOIN grant_log g ON g.campaign = c.id GROUP BY c.id HAVING c.grants_made <> COUNT(g.subject)",
    ),
    // Each grant is a parcel of promotional credit of its account. Only the sign-up grant's amount may change.
    (
        "SELECT COUNT(*) FROM grant_log",
        "SELECT 'the grant of `' || c.name || '` to `' || g.subject || '` is not a parcel of ' || c.amount || ' in its account' \
         FROM grant_log g JOIN campaign c ON c.id = g.campaign LEFT JOIN lot l ON l.id = g.lot LEFT JOIN wallet w ON w.id = l.wallet \
         WHERE l.id IS NULL OR w.org <> g.org OR w.currency <> 'USD' OR l.class <> 'promo' \
           OR (c.name <> 'signup' AND l.granted <> c.amount) \
           OR l.source <> CASE c.name WHEN 'signup' THEN 'signup' ELSE 'campaign:' || c.name END \
         UNION ALL SELECT 'lot ' || lower(hex(l.id)) || ' is a grant that nobody entered' FROM lot l \
         WHERE (l.source = 'signup' OR l.source LIKE 'campaign:%') AND l.id NOT IN (SELECT lot FROM grant_log) \
           AND EXISTS (SELECT 1 FROM campaign WHERE name = 'signup')",
    ),
    // Codes count their uses.
    (
        "SELECT COUNT(*) FROM code",
        "SELECT 'a code of the batch `' || b.name || '` counts ' || (c.uses - c.uses_left) || ' uses and has had ' || COUNT(u.org) \
         FROM code c JOIN code_batch b ON b.id = c.batch LEFT JOIN code_use u ON u.hash = c.hash GROUP BY c.hash \
         HAVING c.uses - c.uses_left <> COUNT(u.org)",
    ),
    // Each use is a parcel of the batch's amount and class in its account.
    (
        "SELECT COUNT(*) FROM code_use",
        "SELECT 'a use of the batch `' || b.name || '` is not a parcel of ' || b.amount || ' in its account' \
         FROM code_use u JOIN code c ON c.hash = u.hash JOIN code_batch b ON b.id = c.batch \
         LEFT JOIN lot l ON l.id = u.lot LEFT JOIN wallet w ON w.id = l.wallet \
         WHERE l.id IS NULL OR w.org <> u.org OR l.class <> b.class OR l.granted <> b.amount OR l.source <> 'code:' || b.name \
         UNION ALL SELECT 'lot ' || lower(hex(l.id)) || ' came from a code that counts no such use' FROM lot l \
         WHERE l.source LIKE 'code:%' AND l.id NOT IN (SELECT lot FROM code_use)",
    ),
    // A confirmed credit is the transaction it names.
    (
        "SELECT COUNT(*) FROM pending_credit",
        "SELECT 'the credit that `' || p.ended_by || '` confirmed is not transaction ' || p.txn FROM pending_credit p \
         WHERE p.txn IS NOT NULL AND NOT EXISTS (SELECT 1 FROM txn t JOIN posting o ON o.txn = t.id JOIN account a ON a.id = o.account \
           WHERE t.id = p.txn AND t.kind = 'credit' AND a.code = 2100 AND a.owner = p.org AND a.currency = p.currency AND o.amount = -p.amount)",
    ),
];

/// Grants, codes and confirmed credits.
pub(super) fn given_once(connection: &Connection) -> Result<Check, LedgerError> {
    let mut rows = 0;
    let mut list = Violations::default();
    for (count, violations) in QUERIES {
        rows += connection.query_row(count, [], |row| row.get::<_, i64>(0))?.unsigned_abs();
        let mut statement = connection.prepare(violations)?;
        for sentence in statement.query_map([], |row| row.get::<_, String>(0))? {
            list.push(sentence?);
        }
    }
    Ok(Check { id: "INV-15", rows, violations: list.into_list(), note: None })
}
