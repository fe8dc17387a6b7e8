//! INV-19: each statement follows again from the books, and each opens with what the one before it closed with.

use std::collections::HashMap;

use gateway_core::OrgId;
use rusqlite::Connection;
use serde_json::Value;

use super::{Check, Violations};
use crate::{
    error::LedgerError,
    money::Currency,
    statement::{
        GENESIS,
        derive::{Place, derive, movements},
        hash, number,
    },
};

struct Stored {
    no: i64,
    place: Place,
    opening: i64,
    closing: i64,
    body: String,
    prev: Vec<u8>,
    sha: Vec<u8>,
}

pub(super) fn check(connection: &Connection) -> Result<Check, LedgerError> {
    let mut violations = Violations::default();
    let stored = stored(connection, &mut violations)?;
    let (mut chained, mut wallets): (Vec<u8>, HashMap<i64, (i64, i64)>) = (GENESIS.to_vec(), HashMap::new());
    for (expected, one) in (1i64..).zip(&stored) {
        let name = number(one.no);
        if one.no != expected {
            violations.push(format!("{name} stands where {} should", number(expected)));
        }
        if one.prev != chained || hash(&one.prev, &one.body)[..] != one.sha[..] {
            violations.push(format!("{name} does not continue the chain of hashes, or is not what was issued"));
        }
        chained.clone_from(&one.sha);
        let before = wallets.insert(one.place.wallet, (one.place.end, one.closing));
        match before {
            None if one.opening != 0 => violations.push(format!("{name} is its wallet's first and opens with {}", one.opening)),
            Some((end, closing)) if (end, closing) != (one.place.start, one.opening) => {
                violations.push(format!(
                    "{name} begins at {} with {}, the one before it ended at {end} with {closing}",
                    one.place.start, one.opening
                ));
            }
            Some(_) | None => {}
        }
    }
    let places: Vec<Place> = stored.iter().map(|one| one.place.clone()).collect();
    let moved = if places.is_empty() { Vec::new() } else { movements(connection, &places)? };
    for (one, moved) in stored.iter().zip(moved) {
        let name = number(one.no);
        match derive(connection, one.place.clone(), one.opening, moved) {
            Err(error) => violations.push(format!("{name}: {error}")),
            Ok(again) if again.closing != one.closing => {
                violations.push(format!("{name} closes with {}, its transactions come to {}", one.closing, again.closing));
            }
            Ok(again) => {
                if again.body(one.no)? != one.body {
                    violations.push(format!("{name} says otherwise than its transactions"));
                }
            }
        }
    }
    let note = stored.is_empty().then_some("no statement has been issued");
    Ok(Check { id: "INV-19", rows: stored.len().try_into().unwrap_or(u64::MAX), violations: violations.into_list(), note })
}

fn stored(connection: &Connection, violations: &mut Violations) -> Result<Vec<Stored>, LedgerError> {
    let mut statement = connection.prepare(
        "SELECT s.no, s.wallet, w.org, w.currency, s.start_at, s.end_at, s.opening, s.closing, s.body, s.prev_sha256, s.sha256 \
         FROM statement s JOIN wallet w ON w.id = s.wallet ORDER BY s.no",
    )?;
    let mut rows = statement.query([])?;
    let mut stored = Vec::new();
    while let Some(row) = rows.next()? {
        let (no, body): (i64, String) = (row.get(0)?, row.get(8)?);
        let currency = Currency::new(&row.get::<_, String>(3)?);
        // How the month and the zone are called is the statement's own word; the moments are in columns.
        let said: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        let (Some(currency), Some(month), Some(tz)) = (currency, said["month"].as_str(), said["tz"].as_str()) else {
            violations.push(format!("{} cannot be read", number(no)));
            continue;
        };
        let place = Place {
            wallet: row.get(1)?,
            org: OrgId::from_bytes(row.get(2)?),
            currency,
            start: row.get(4)?,
            end: row.get(5)?,
            month: month.to_owned(),
            tz: tz.to_owned(),
        };
        let (opening, closing, prev, sha) = (row.get(6)?, row.get(7)?, row.get(9)?, row.get(10)?);
        stored.push(Stored { no, place, opening, closing, body, prev, sha });
    }
    Ok(stored)
}
