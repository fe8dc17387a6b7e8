//! One request explained: what was held, what was charged, and how the charge follows from the usage.

mod signed;

use gateway_core::{KeyId, OrgId, RequestId};
use serde::Serialize;
use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

use super::{ApiError, Sight, Viewer, instant};
use crate::{
    money::{Currency, Money, Ppm},
    price::{PriceRow, PriceVersion, PriceVersionId, charge},
    usage::{Leaves, UsageFlags, UsageSource},
};

pub(super) use signed::signed;

#[derive(Serialize)]
pub(super) struct Receipt {
    object: &'static str,
    id: RequestId,
    state: &'static str,
    mode: &'static str,
    account: OrgId,
    key: KeyId,
    created_at: String,
    settled_at: Option<String>,
    requested_model: String,
    model: Option<String>,
    stream: bool,
    hold: Money,
    charge: Option<Money>,
    written_off: Money,
    usage_source: Option<&'static str>,
    flags: Vec<&'static str>,
    usage: Option<Leaves>,
    price: Option<PriceUsed>,
    lines: Vec<LineShown>,
    attempts: Vec<AttemptShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Money>,
}

#[derive(Serialize)]
struct PriceUsed {
    version: i64,
    book: String,
    model: String,
    sha256: String,
    multiplier_ppm: u32,
}

#[derive(Serialize)]
struct LineShown {
    sku: String,
    quantity: String,
    price_pico: String,
    amount: Money,
}

#[derive(Serialize)]
struct AttemptShown {
    n: i64,
    provider: String,
    upstream_model: String,
    started_at: String,
    ended_at: Option<String>,
    outcome: Option<String>,
    status: Option<i64>,
    charged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Money>,
}

/// A settlement with what it points at.
struct Settled {
    attempt: i64,
    provider: String,
    upstream_model: String,
    model: String,
    multiplier: Ppm,
    leaves: Leaves,
    source: Option<UsageSource>,
    flags: UsageFlags,
    charge: i64,
    written_off: i64,
    cost: i64,
    at: i64,
    price: PriceRow,
}

pub(super) async fn read(reader: &SqlitePool, viewer: &Viewer, id: &str) -> Result<Receipt, ApiError> {
    let missing = || ApiError::not_found("request", id);
    let id: RequestId = id.parse().map_err(|_| missing())?;
    let key = id.as_bytes().as_slice();
    let hold = sqlx::query(
        "SELECT w.org, w.currency, h.api_key, h.amount, h.state, h.requested_model, h.stream, h.created_at, h.ended_at \
         FROM hold h JOIN wallet w ON w.id = h.wallet WHERE h.id = ?1",
    )
    .bind(key)
    .fetch_optional(reader)
    .await?
    .ok_or_else(missing)?;
    let owned = bytes16(&hold, 0)? == *viewer.org.as_bytes() && hold.try_get::<String, _>(1)? == Currency::of(viewer.mode).as_str();
    if !owned {
        return Err(missing());
    }
    let created_at: i64 = hold.try_get(7)?;
    let settled = settlement(reader, key).await?;
    let rows = sqlx::query(
        "SELECT n, provider, upstream_model, started_at, ended_at, outcome, status, cost FROM attempt WHERE hold = ?1 ORDER BY n",
    );
    let rows = rows.bind(key).fetch_all(reader).await?;
    let attempts = attempts(viewer, &rows, settled.as_ref(), created_at)?;
    let (state, ended_at) = (hold.try_get::<i64, _>(4)?, hold.try_get::<Option<i64>, _>(8)?);
    let mut receipt = Receipt {
        object: "request",
        id,
        state: state_name(state)?,
        mode: viewer.mode.as_str(),
        account: viewer.org,
        key: KeyId::from_bytes(bytes16(&hold, 2)?),
        created_at: instant(created_at),
        settled_at: settled.as_ref().map(|settled| settled.at).or(ended_at).map(instant),
        requested_model: hold.try_get(5)?,
        model: None,
        stream: hold.try_get(6)?,
        hold: viewer.money(hold.try_get(3)?),
        charge: None,
        written_off: viewer.money(0),
        usage_source: None,
        flags: Vec::new(),
        usage: None,
        price: None,
        lines: Vec::new(),
        attempts,
        cost: None,
    };
    if let Some(settled) = settled {
        receipt.explain(viewer, settled, created_at)?;
    }
    Ok(receipt)
}

impl Receipt {
    fn explain(&mut self, viewer: &Viewer, settled: Settled, created_at: i64) -> Result<(), ApiError> {
        let broken = |e: &dyn std::fmt::Display| ApiError::Internal(format!("{}: {e}", self.id));
        let version = PriceVersion::read(&settled.price).map_err(|e| broken(&e))?;
        let recomputed = charge(&version, settled.multiplier, &settled.leaves, created_at).map_err(|e| broken(&e))?;
        if recomputed.total.get() != settled.charge {
            // The stored charge is the truth; `ledger verify` says the same of it as INV-10.
            tracing::error!(request = %self.id, stored = settled.charge, recomputed = recomputed.total.get(), "a charge does not follow from its usage");
        }
        let line = |line: crate::price::Line| LineShown {
            sku: line.sku.to_string(),
            quantity: line.quantity.to_string(),
            price_pico: line.price.get().to_string(),
            amount: viewer.money(line.amount.get()),
        };
        self.lines = recomputed.lines.into_iter().map(line).collect();
        self.price = Some(PriceUsed {
            version: version.id.0,
            book: version.book.to_string(),
            model: version.model.to_string(),
            sha256: version.sha256_hex(),
            multiplier_ppm: settled.multiplier.get(),
        });
        self.charge = Some(viewer.money(settled.charge));
        self.written_off = viewer.money(settled.written_off);
        self.usage_source = settled.source.map(UsageSource::as_str);
        self.flags = settled.flags.names().collect();
        self.usage = Some(settled.leaves);
        self.model = Some(settled.model);
        self.cost = (viewer.sight == Sight::Operator).then(|| viewer.money(settled.cost));
        Ok(())
    }
}

async fn settlement(reader: &SqlitePool, hold: &[u8]) -> Result<Option<Settled>, ApiError> {
    let row = sqlx::query(
        "SELECT s.attempt, v.provider, v.upstream_model, v.model, p.multiplier_ppm, s.leaves, s.usage_source, s.flags, s.charge, \
         s.written_off, s.cost, s.at, r.id, r.book, r.model, r.route, r.effective_from, r.effective_to, r.body, r.sha256, \
         COALESCE(r.published_by, ''), COALESCE(r.published_at, 0) \
         FROM settlement s JOIN served v ON v.id = s.served JOIN plan_version p ON p.id = s.plan_version \
         JOIN price_version r ON r.id = s.price_version WHERE s.hold = ?1 AND s.seq = 0",
    );
    let Some(row) = row.bind(hold).fetch_optional(reader).await? else { return Ok(None) };
    let broken = |what: &str| ApiError::Internal(format!("a settlement's {what} cannot be read"));
    let leaves: Vec<u8> = row.try_get(5)?;
    let leaves = std::str::from_utf8(&leaves).ok().and_then(|text| Leaves::from_stored(text).ok()).ok_or_else(|| broken("usage"))?;
    let multiplier: i64 = row.try_get(4)?;
    let sha256: Vec<u8> = row.try_get(19)?;
    Ok(Some(Settled {
        attempt: row.try_get(0)?,
        provider: row.try_get(1)?,
        upstream_model: row.try_get(2)?,
        model: row.try_get(3)?,
        multiplier: u32::try_from(multiplier).ok().and_then(Ppm::new).ok_or_else(|| broken("multiplier"))?,
        leaves,
        source: UsageSource::from_code(row.try_get(6)?),
        flags: UsageFlags::from_bits(u32::try_from(row.try_get::<i64, _>(7)?).map_err(|_| broken("flags"))?),
        charge: row.try_get(8)?,
        written_off: row.try_get(9)?,
        cost: row.try_get(10)?,
        at: row.try_get(11)?,
        price: PriceRow {
            id: PriceVersionId(row.try_get(12)?),
            book: row.try_get::<String, _>(13)?.into(),
            model: row.try_get::<String, _>(14)?.into(),
            route: row.try_get::<String, _>(15)?.into(),
            effective_from: row.try_get(16)?,
            effective_to: row.try_get(17)?,
            body: row.try_get::<String, _>(18)?.into(),
            sha256: sha256.try_into().map_err(|_| broken("price hash"))?,
            published_by: row.try_get::<String, _>(20)?.into(),
            published_at: row.try_get(21)?,
        },
    }))
}

/// The attempts as recorded; where none is, there was one and it served, and the settlement tells of it.
fn attempts(viewer: &Viewer, rows: &[SqliteRow], settled: Option<&Settled>, created_at: i64) -> Result<Vec<AttemptShown>, ApiError> {
    let operator = viewer.sight == Sight::Operator;
    let mut shown = Vec::with_capacity(rows.len().max(1));
    for row in rows {
        let n: i64 = row.try_get(0)?;
        let cost: Option<i64> = row.try_get(7)?;
        shown.push(AttemptShown {
            n,
            provider: row.try_get(1)?,
            upstream_model: row.try_get(2)?,
            started_at: instant(row.try_get(3)?),
            ended_at: row.try_get::<Option<i64>, _>(4)?.map(instant),
            outcome: row.try_get(5)?,
            status: row.try_get(6)?,
            charged: settled.is_some_and(|settled| settled.attempt == n),
            cost: cost.filter(|_| operator).map(|cost| viewer.money(cost)),
        });
    }
    if let (true, Some(settled)) = (shown.is_empty(), settled) {
        shown.push(AttemptShown {
            n: settled.attempt,
            provider: settled.provider.clone(),
            upstream_model: settled.upstream_model.clone(),
            started_at: instant(created_at),
            ended_at: Some(instant(settled.at)),
            outcome: Some("served".to_owned()),
            status: None,
            charged: true,
            cost: operator.then(|| viewer.money(settled.cost)),
        });
    }
    Ok(shown)
}

fn state_name(state: i64) -> Result<&'static str, ApiError> {
    match state {
        0 => Ok("open"),
        1 => Ok("settled"),
        2 => Ok("released"),
        3 => Ok("estimated"),
        other => Err(ApiError::Internal(format!("a hold is in state {other}, which does not exist"))),
    }
}

fn bytes16(row: &SqliteRow, column: usize) -> Result<[u8; 16], ApiError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map_err(|_| ApiError::Internal("an id in the ledger has not 16 bytes".to_owned()))
}
