//! Receipts, recomputed without the billing crate: the same sum anybody could do with a pocket calculator.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::caller::Caller;

/// The charge of a request in nano, recomputed from the receipt's own quantities and prices.
pub(super) async fn recomputed(caller: &Caller, id: &str) -> Result<i64> {
    let receipt = settled(caller, id).await?;
    let mut pico = 0i128;
    for line in receipt["lines"].as_array().context("a receipt without lines")? {
        pico += number(&line["quantity"])? * number(&line["price_pico"])?;
    }
    let multiplier = number(&receipt["price"]["multiplier_ppm"])?;
    // The one rounding rule: up, once a request.
    let nano = (pico * multiplier).div_euclid(1_000_000_000) + i128::from((pico * multiplier).rem_euclid(1_000_000_000) > 0);
    let charged = number(&receipt["charge"]["nano"])?;
    ensure!(nano == charged, "request {id} was charged {charged} nano, but its lines come to {nano}");
    i64::try_from(nano).context("a charge beyond the ledger's range")
}

/// A stream's charge is written in the background, so its receipt may be open for a moment.
async fn settled(caller: &Caller, id: &str) -> Result<Value> {
    for _ in 0..100 {
        let receipt = caller.get(&format!("/v1/billing/requests/{id}")).await?;
        if receipt["state"] == "settled" {
            return Ok(receipt);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("request {id} was not settled within two seconds")
}

fn number(value: &Value) -> Result<i128> {
    match value {
        Value::String(text) => text.parse().with_context(|| format!("`{text}` is not a whole number")),
        other => other.as_i64().map(i128::from).with_context(|| format!("`{other}` is not a whole number")),
    }
}
