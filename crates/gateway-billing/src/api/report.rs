//! What an account spent in a period, by the public model that served.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{Row, SqlitePool};

use super::{ApiError, Viewer, period::Period};
use crate::{
    budget::QUARTER_US,
    money::{Currency, Money, Nano},
};

#[derive(Serialize)]
pub(super) struct Report {
    period: String,
    from: Option<String>,
    to: String,
    total_requests: u64,
    total_tokens: u64,
    total_cost_usd: String,
    total_cost: Money,
    model_breakdown: BTreeMap<String, ModelShare>,
}

#[derive(Serialize)]
struct ModelShare {
    requests: u64,
    tokens: u64,
    percentage: String,
    cost_usd: String,
    cost: Money,
}

/// Requests belong to the quarter of an hour in which they were posted, as on statements. Periods are whole quarters.
pub(super) async fn read(reader: &SqlitePool, viewer: &Viewer, period: &Period) -> Result<Report, ApiError> {
    let currency = Currency::of(viewer.mode);
    let first = period.from.map_or(0, |from| from.as_microsecond() / QUARTER_US);
    // Only `all` ends within a quarter, and nothing is posted after it.
    let end = (period.to.as_microsecond() - 1).div_euclid(QUARTER_US) + 1;
    let rows = sqlx::query(
        "SELECT v.model, SUM(r.requests), SUM(r.tokens_in + r.tokens_out), SUM(r.charge) \
         FROM rollup r JOIN served v ON v.id = r.served \
         WHERE r.wallet = (SELECT id FROM wallet WHERE org = ?3 AND currency = ?4) AND r.quarter >= ?1 AND r.quarter < ?2 \
         GROUP BY v.model ORDER BY v.model",
    )
    .bind(first)
    .bind(end)
    .bind(viewer.org.as_bytes().as_slice())
    .bind(currency.as_str())
    .fetch_all(reader)
    .await?;
    let mut shares = Vec::with_capacity(rows.len());
    let (mut requests, mut tokens, mut cost) = (0u64, 0u64, Nano::ZERO);
    for row in rows {
        let count = |n: i64| u64::try_from(n).map_err(|_| ApiError::Overflow);
        let share = (row.try_get::<String, _>(0)?, count(row.try_get(1)?)?, count(row.try_get(2)?)?, Nano::new(row.try_get(3)?));
        requests = requests.checked_add(share.1).ok_or(ApiError::Overflow)?;
        tokens = tokens.checked_add(share.2).ok_or(ApiError::Overflow)?;
        cost = cost.checked_add(share.3).ok_or(ApiError::Overflow)?;
        shares.push(share);
    }
    let model_breakdown = shares.into_iter().map(|(model, its_requests, its_tokens, its_cost)| {
        let share = ModelShare {
            requests: its_requests,
            tokens: its_tokens,
            percentage: percentage(its_tokens, tokens),
            cost_usd: its_cost.to_string(),
            cost: Money::new(its_cost, currency),
        };
        (model, share)
    });
    Ok(Report {
        period: period.name.clone(),
        from: period.from.map(|from| from.to_string()),
        to: period.to.to_string(),
        total_requests: requests,
        total_tokens: tokens,
        total_cost_usd: cost.to_string(),
        total_cost: Money::new(cost, currency),
        model_breakdown: model_breakdown.collect(),
    })
}

/// `24.3%`, rounded half up to a tenth.
pub(super) fn percentage(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0.0%".to_owned();
    }
    let tenths = (u128::from(part) * 2_000 + u128::from(whole)) / (u128::from(whole) * 2);
    format!("{}.{}%", tenths / 10, tenths % 10)
}
