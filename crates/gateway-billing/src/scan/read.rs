//! Reading settlements page by page.

use std::{collections::HashMap, sync::Arc};

use gateway_core::{KeyId, RequestId};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::{Covered, Limit, Scan, ScanServed, Settled};
use crate::{
    error::LedgerError,
    money::Nano,
    price::{PlanVersionId, PriceVersionId},
    usage::{UsageFlags, UsageSource},
};

/// How many settlements are walked over in one snapshot, other accounts' included: some hundredths of a second.
pub(super) const PAGE: i64 = 20_000;

/// Where the next page begins.
const PAGE_END: &str = "SELECT hold FROM settlement WHERE hold >= ?1 AND hold < ?2 ORDER BY hold, seq LIMIT 1 OFFSET ?3";

/// Settlements first, so that a request of somebody else is left out before its hold is looked for.
const ROWS: &str = "\
    SELECT s.hold, s.seq, s.wallet, h.api_key, h.tag, h.requested_model, h.stream, h.created_at, s.served, s.attempt, s.price_version, \
      s.plan_version, s.cost_version, s.leaves, s.usage_source, s.flags, s.charge, s.written_off, s.cost, s.cost_reported, h.facts, s.at, h.amount \
    FROM settlement s CROSS JOIN hold h ON h.id = s.hold \
    WHERE s.hold >= ?1 AND s.hold < ?2 AND s.wallet IN (SELECT id FROM wallet WHERE currency = ?3 AND (?4 IS NULL OR org = ?4)) \
      AND (?5 IS NULL OR s.served IN (SELECT id FROM served WHERE model = ?5)) AND (?6 IS NULL OR h.api_key = ?6) \
      AND (?7 IS NULL OR h.api_key IN (SELECT id FROM api_key WHERE team = ?7)) AND (?8 IS NULL OR h.tag = ?8) \
    ORDER BY s.hold, s.seq";

const FAILED: &str = "SELECT provider FROM attempt WHERE hold = ?1 AND n < ?2 ORDER BY n";

/// Shows every settlement of a scan to `each`, in the order of arrival, `page` of them in one snapshot.
pub(super) fn settlements(
    connection: &Connection,
    scan: &Scan,
    limit: &Limit,
    page: i64,
    mut each: impl FnMut(&Settled<'_>) -> Result<(), LedgerError>,
) -> Result<Covered, LedgerError> {
    let (mut first, end) = (key_at(scan.from_us), key_at(scan.to_us));
    let mut reader = Reader::new(connection)?;
    let mut page_end = connection.prepare_cached(PAGE_END)?;
    while first < end {
        if limit.reached()? {
            return Ok(Covered::Until(arrival(first)));
        }
        let next = page_end.query_row(params![&first[..], &end[..], page], |row| row.get(0)).optional()?.unwrap_or(end);
        reader.page(scan, (first, next), &mut each)?;
        first = next;
    }
    Ok(Covered::Whole)
}

/// The first id that a request of this millisecond or later can have.
pub(crate) fn key_at(us: i64) -> [u8; 16] {
    let mut key = [0; 16];
    // Six bytes of milliseconds last until the year 10889.
    let ms = (us.max(0).unsigned_abs().div_ceil(1_000)).min((1 << 48) - 1);
    key[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    key
}

/// The arrival that an id tells, in microseconds since 1970.
fn arrival(key: [u8; 16]) -> i64 {
    let ms = key[..6].iter().fold(0i64, |ms, byte| ms << 8 | i64::from(*byte));
    ms * 1_000
}

struct Reader<'c> {
    connection: &'c Connection,
    rows: CachedStatement<'c>,
    failed: CachedStatement<'c>,
    served: HashMap<i64, Arc<ScanServed>>,
}

impl<'c> Reader<'c> {
    fn new(connection: &'c Connection) -> Result<Self, LedgerError> {
        let (rows, failed) = (connection.prepare_cached(ROWS)?, connection.prepare_cached(FAILED)?);
        Ok(Self { connection, rows, failed, served: HashMap::new() })
    }

    fn page(
        &mut self,
        scan: &Scan,
        (first, end): ([u8; 16], [u8; 16]),
        each: &mut impl FnMut(&Settled<'_>) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let (org, key, team) = (scan.org, scan.key, scan.team);
        let mut rows = self.rows.query(params![
            &first[..],
            &end[..],
            scan.currency.as_str(),
            org.as_ref().map(|id| &id.as_bytes()[..]),
            scan.model,
            key.as_ref().map(|id| &id.as_bytes()[..]),
            team.as_ref().map(|id| &id.as_bytes()[..]),
            scan.tag,
        ])?;
        while let Some(row) = rows.next()? {
            let served = served(self.connection, &mut self.served, row.get(8)?)?;
            let failed_at = failed_before(&mut self.failed, row)?;
            each(&settled(row, &served, &failed_at)?)?;
        }
        Ok(())
    }
}

fn settled<'r>(row: &'r Row<'_>, served: &'r ScanServed, failed_at: &'r [Box<str>]) -> Result<Settled<'r>, LedgerError> {
    let text = |column| row.get_ref(column).map(|value| value.as_str_or_null().ok().flatten());
    let flags: i64 = row.get(15)?;
    Ok(Settled {
        id: RequestId::from_bytes(row.get(0)?),
        seq: row.get(1)?,
        wallet: row.get(2)?,
        key: KeyId::from_bytes(row.get(3)?),
        tag: text(4)?,
        requested_model: text(5)?.unwrap_or_default(),
        stream: row.get(6)?,
        arrived_us: row.get(7)?,
        ended_us: row.get(21)?,
        served,
        attempt: row.get(9)?,
        failed_at,
        price_version: PriceVersionId(row.get(10)?),
        plan_version: PlanVersionId(row.get(11)?),
        cost_version: row.get::<_, Option<i64>>(12)?.map(PriceVersionId),
        stored_leaves: row.get_ref(13)?.as_bytes_or_null().ok().flatten().unwrap_or_default(),
        source: UsageSource::from_code(row.get(14)?),
        flags: UsageFlags::from_bits(u32::try_from(flags).unwrap_or(u32::MAX)),
        held: Nano::new(row.get(22)?),
        charge: Nano::new(row.get(16)?),
        written_off: Nano::new(row.get(17)?),
        cost: Nano::new(row.get(18)?),
        cost_reported: row.get::<_, Option<i64>>(19)?.map(Nano::new),
        stored_facts: row.get_ref(20)?.as_bytes_or_null().ok().flatten(),
    })
}

/// The first attempt has none before it, and almost all requests are served by it.
fn failed_before(statement: &mut CachedStatement<'_>, row: &Row<'_>) -> Result<Vec<Box<str>>, LedgerError> {
    let attempt: i64 = row.get(9)?;
    if attempt <= 1 {
        return Ok(Vec::new());
    }
    let id: [u8; 16] = row.get(0)?;
    let providers = statement.query_map(params![&id[..], attempt], |row| row.get::<_, String>(0).map(Into::into))?;
    providers.collect::<Result<_, _>>().map_err(LedgerError::from)
}

/// Where a settlement's number says it was served. A place that was new after the scan began is looked for when it is met.
fn served(connection: &Connection, known: &mut HashMap<i64, Arc<ScanServed>>, id: i64) -> Result<Arc<ScanServed>, LedgerError> {
    if let Some(served) = known.get(&id) {
        return Ok(Arc::clone(served));
    }
    let found = connection
        .prepare_cached("SELECT provider, upstream_model, model FROM served WHERE id = ?1")?
        .query_row([id], |row| {
            let text = |column| row.get::<_, String>(column).map(Arc::from);
            Ok(ScanServed { provider: text(0)?, upstream_model: text(1)?, model: text(2)? })
        })
        .optional()?;
    let Some(served) = found.map(Arc::new) else {
        let problem = format!("a settlement names place {id}, which is not in the table `served`; run `bellwether ledger verify`");
        return Err(LedgerError::Refused { problem: problem.into() });
    };
    known.insert(id, Arc::clone(&served));
    Ok(served)
}

#[cfg(test)]
mod tests;
