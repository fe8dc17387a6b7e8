//! Which statements can be issued.

use std::collections::HashMap;

use gateway_core::OrgId;
use jiff::tz::TimeZone;
use rusqlite::{Connection, params};

use super::{
    derive::{Derived, Place, derive, movements},
    month::Month,
};
use crate::{error::LedgerError, money::Currency};

/// Whose statements are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Every wallet.
    All,
    /// One.
    One(OrgId, Currency),
}

/// The next statement of each wallet whose month is over, and when the next month of a wallet ends.
pub(super) struct Due {
    pub(super) statements: Vec<Derived>,
    pub(super) next_end: Option<i64>,
}

/// `now_us` is a moment before which nothing will be posted any more.
pub(super) fn due(connection: &Connection, whose: Whose, now_us: i64) -> Result<Due, LedgerError> {
    // One snapshot, so that sums and transactions are of one moment.
    let snapshot = connection.unchecked_transaction()?;
    let (org, currency) = match whose {
        Whose::All => (None, None),
        Whose::One(org, currency) => (Some(org.as_bytes().to_vec()), Some(currency.as_str().to_owned())),
    };
    let mut statement = snapshot.prepare(
        "SELECT w.id, o.id, w.currency, o.tz, o.created_at, s.end_at, s.closing FROM wallet w JOIN org o ON o.id = w.org \
         LEFT JOIN statement s ON s.wallet = w.id AND s.start_at = (SELECT MAX(start_at) FROM statement WHERE wallet = w.id) \
         WHERE (?1 IS NULL OR o.id = ?1) AND (?2 IS NULL OR w.currency = ?2) ORDER BY o.created_at, w.id",
    )?;
    let mut rows = statement.query(params![org, currency])?;
    let (mut places, mut openings, mut next_end) = (Vec::new(), Vec::new(), None::<i64>);
    let mut zones: HashMap<String, TimeZone> = HashMap::new();
    while let Some(row) = rows.next()? {
        let tz: String = row.get(3)?;
        let zone = match zones.get(&tz) {
            Some(zone) => zone,
            None => {
                let known = TimeZone::get(&tz).map_err(|_| LedgerError::Refused { problem: format!("there is no zone `{tz}`").into() })?;
                zones.entry(tz.clone()).or_insert(known)
            }
        };
        let month = match row.get::<_, Option<i64>>(5)? {
            Some(end) => Month::beginning(end, zone)?,
            None => Month::first(row.get(4)?, zone)?,
        };
        if month.end > now_us {
            next_end = Some(next_end.map_or(month.end, |next| next.min(month.end)));
            continue;
        }
        let code: String = row.get(2)?;
        let currency = Currency::new(&code).ok_or_else(|| LedgerError::Refused { problem: format!("`{code}` is no currency").into() })?;
        let org = OrgId::from_bytes(row.get(1)?);
        openings.push(row.get::<_, Option<i64>>(6)?.unwrap_or(0));
        places.push(Place { wallet: row.get(0)?, org, currency, start: month.start, end: month.end, month: month.name, tz });
    }
    drop(rows);
    let moved = if places.is_empty() { Vec::new() } else { movements(&snapshot, &places)? };
    let mut statements = Vec::with_capacity(places.len());
    for ((place, opening), moved) in places.into_iter().zip(openings).zip(moved) {
        match derive(&snapshot, place, opening, moved) {
            Ok(derived) => statements.push(derived),
            // One account's books keep no other from its statement.
            Err(error) if whose == Whose::All => tracing::error!(%error, "a statement was not issued"),
            Err(error) => return Err(error),
        }
    }
    Ok(Due { statements, next_end })
}
