//! The hash chain: recomputed from the first transaction to the last.

use rusqlite::Connection;

use super::{Check, Violations};
use crate::{
    error::LedgerError,
    journal::{CanonicalSettlement, GENESIS, TxnHasher},
};

type Numbers = [i64; 18];

struct Settled {
    txn: i64,
    hold: Vec<u8>,
    leaves: Vec<u8>,
    numbers: Numbers,
}

pub(super) fn check(connection: &Connection) -> Result<Check, LedgerError> {
    let mut txns = connection.prepare("SELECT id, at, kind, idem, reason, actor, reverses, prev_hash, hash FROM txn ORDER BY id")?;
    let mut postings = connection.prepare("SELECT txn, account, amount FROM posting ORDER BY txn, seq")?;
    let mut settlements = connection.prepare(
        "SELECT txn, hold, leaves, seq, wallet, attempt, served, price_version, plan_version, COALESCE(cost_version, -1), tokens_in, tokens_out, \
         usage_source, flags, charge, from_hold, overrun, written_off, cost, COALESCE(cost_reported, -1), at FROM settlement ORDER BY txn, hold, seq",
    )?;
    let mut postings = postings.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)))?.peekable();
    let mut settlements = settlements.query_map([], settled)?.peekable();
    let mut violations = Violations::default();
    let mut rows = 0;
    let mut prev = GENESIS.to_vec();
    let mut txns = txns.query([])?;
    while let Some(row) = txns.next()? {
        let id: i64 = row.get(0)?;
        let texts: [String; 4] =
            [row.get(2)?, row.get(3)?, row.get::<_, Option<_>>(4)?.unwrap_or_default(), row.get::<_, Option<_>>(5)?.unwrap_or_default()];
        let mut hasher = TxnHasher::new(&prev, id, row.get(1)?, texts.each_ref().map(String::as_str), row.get(6)?);
        while let Some(posting) = postings.next_if(|posting| posting.as_ref().is_ok_and(|(txn, ..)| *txn == id)) {
            let (_, account, amount) = posting?;
            hasher.posting(account, amount);
        }
        while let Some(settlement) = settlements.next_if(|settlement| settlement.as_ref().is_ok_and(|settled| settled.txn == id)) {
            let Settled { hold, leaves, numbers, .. } = settlement?;
            hasher.settlement(&CanonicalSettlement { hold: &hold, leaves: &leaves, numbers });
        }
        let (stored_prev, stored): (Vec<u8>, Vec<u8>) = (row.get(7)?, row.get(8)?);
        if stored_prev != prev {
            violations.push(format!("transaction {id} does not follow the one before it"));
        }
        if stored != hasher.finish() {
            violations.push(format!("transaction {id}, its postings or its settlements are not what was written"));
        }
        // The stored hash goes on, so that one changed row is reported once and not for every later one.
        prev = stored;
        rows += 1;
    }
    let strays = [postings.next().map(|row| row.map(|(txn, ..)| txn)), settlements.next().map(|row| row.map(|settled| settled.txn))];
    for txn in strays.into_iter().flatten() {
        violations.push(format!("rows name transaction {}, which does not exist", txn?));
    }
    Ok(Check { id: "chain", rows, violations: violations.into_list(), note: None })
}

fn settled(row: &rusqlite::Row<'_>) -> rusqlite::Result<Settled> {
    let mut numbers = [0; 18];
    for (column, number) in (3usize..).zip(&mut numbers) {
        *number = row.get(column)?;
    }
    Ok(Settled { txn: row.get(0)?, hold: row.get(1)?, leaves: row.get(2)?, numbers })
}
