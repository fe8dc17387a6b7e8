//! What is to be told to somebody outside: written in the commit that made it true, delivered until it is taken or too old.
//!
//! An event is queued once. When it is due it becomes one delivery for each receiver that wants its kind, in one commit, so
//! that a receiver that is down holds up no other. A delivery is marked as done once: what was marked is never sent again,
//! and what was sent and not marked (the process died in between) is sent again under the same id, by which a receiver
//! tells it. Who sends is no concern of this module; it knows no address and no secret.

use std::time::Duration;

use gateway_core::OrgId;
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use sqlx::Row as _;

use crate::{
    error::LedgerError,
    ledger::{Ledger, new_id, rfc3339},
};

/// The kinds of events there are.
pub const EVENTS: [&str; 4] = ["budget.alert", "budget.exceeded", "credit.expired", "credit.pending"];

/// How long a delivery is tried, counted from the event.
const TRIED_FOR_US: i64 = 24 * 3_600 * 1_000_000;

/// How long after each failure the next attempt comes; the last one is repeated.
const PAUSES_S: [i64; 8] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400];

/// How long what is done is kept, for whoever asks what was sent.
const KEPT_US: i64 = 7 * 24 * 3_600 * 1_000_000;

/// Most events that one commit distributes.
const BATCH: i64 = 100;

/// What a delivery's kind begins with; the rest names its receiver.
const DELIVERY: &str = "deliver:";

const ERROR_CHARS_MAX: usize = 300;

/// Queues an event in the commit that makes it true. `kind` is one of [`EVENTS`].
///
/// # Errors
/// It cannot be written.
pub(crate) fn queue(connection: &Connection, now_us: i64, kind: &str, org: &OrgId, body: &Value) -> Result<(), LedgerError> {
    debug_assert!(EVENTS.contains(&kind), "`{kind}` is not among the kinds that receivers can ask for");
    connection.prepare_cached("INSERT INTO outbox(at, kind, org, body, next_at) VALUES (?1, ?2, ?3, ?4, ?1)")?.execute(params![
        now_us,
        kind,
        &org.as_bytes()[..],
        body.to_string()
    ])?;
    Ok(())
}

/// Somebody who is told of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// A name that stays the same across restarts.
    pub id: String,
    /// The kinds it wants; all of them if there are none.
    pub events: Vec<String>,
}

impl Receiver {
    fn wants(&self, kind: &str) -> bool {
        self.events.is_empty() || self.events.iter().any(|event| event == kind)
    }
}

/// A message for one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its row.
    pub row: i64,
    /// The event's id, the same at every attempt.
    pub event: String,
    /// What is sent, byte for byte the same at every attempt.
    pub payload: String,
    /// Attempts made.
    pub tries: u32,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another one after this time.
    Retry(Duration),
    /// None: it is too old, or it had ended before.
    GivenUp,
}

impl Ledger {
    /// Turns due events into deliveries, ends the deliveries of receivers that are no more, and forgets what was done a week
    /// ago. Returns how many events it took; when that is not 0 there may be more.
    ///
    /// # Errors
    /// Nothing can be read or written.
    pub async fn distribute_events(&self, receivers: &[Receiver]) -> Result<usize, LedgerError> {
        let now_us = self.clock().unix_us();
        let known: Vec<_> = receivers.iter().map(|receiver| format!("{DELIVERY}{}", receiver.id)).collect();
        let known = json!(known).to_string();
        // A look costs no commit, and there is mostly nothing.
        let work: i64 = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE done_at IS NULL AND next_at <= ?1 \
               AND (kind NOT LIKE 'deliver:%' OR kind NOT IN (SELECT value FROM json_each(?2)))) \
             OR EXISTS (SELECT 1 FROM outbox WHERE done_at < ?3)",
        )
        .bind(now_us)
        .bind(&known)
        .bind(now_us - KEPT_US)
        .fetch_one(self.reader())
        .await?
        .try_get(0)?;
        if work == 0 {
            return Ok(0);
        }
        let receivers = receivers.to_vec();
        self.journal().exec(move |scope| distribute(scope.connection(), scope.now_us(), &receivers, &known)).await
    }

    /// The deliveries of one receiver that are due, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn due_deliveries(&self, receiver: &str, limit: u32) -> Result<Vec<Delivery>, LedgerError> {
        let rows = sqlx::query(
            "SELECT id, body, tries FROM outbox WHERE done_at IS NULL AND next_at <= ?1 AND kind = ?2 ORDER BY next_at, id LIMIT ?3",
        )
        .bind(self.clock().unix_us())
        .bind(format!("{DELIVERY}{receiver}"))
        .bind(limit)
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|row| {
                let payload: String = row.try_get(1)?;
                let event = serde_json::from_str::<Value>(&payload).ok().and_then(|payload| payload["id"].as_str().map(str::to_owned));
                let event = event.ok_or_else(|| LedgerError::Refused { problem: "an event in the outbox is damaged".into() })?;
                Ok(Delivery { row: row.try_get(0)?, event, payload, tries: row.try_get(2)? })
            })
            .collect()
    }

    /// Marks a delivery as taken by its receiver. Marking it again changes nothing.
    ///
    /// # Errors
    /// It cannot be written; then it will be sent again.
    pub async fn delivery_done(&self, row: i64) -> Result<(), LedgerError> {
        self.journal()
            .exec(move |scope| {
                scope
                    .connection()
                    .prepare_cached(
                        "UPDATE outbox SET done_at = ?2, tries = tries + 1, last_error = NULL WHERE id = ?1 AND done_at IS NULL",
                    )?
                    .execute([row, scope.now_us()])?;
                Ok(())
            })
            .await
    }

    /// Notes a failed attempt. The next one comes later each time, until the event is a day old.
    ///
    /// # Errors
    /// It cannot be written; then it is due again at once.
    pub async fn delivery_failed(&self, row: i64, error: &str) -> Result<Next, LedgerError> {
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        self.journal().exec(move |scope| fail(scope.connection(), scope.now_us(), row, &error)).await
    }
}

fn distribute(connection: &Connection, now_us: i64, receivers: &[Receiver], known: &str) -> Result<usize, LedgerError> {
    connection.execute("DELETE FROM outbox WHERE done_at < ?1", [now_us - KEPT_US])?;
    let dropped = connection.execute(
        "UPDATE outbox SET done_at = ?1, last_error = 'its receiver is no longer configured' \
         WHERE done_at IS NULL AND kind LIKE 'deliver:%' AND kind NOT IN (SELECT value FROM json_each(?2))",
        params![now_us, known],
    )?;
    if dropped > 0 {
        tracing::warn!(dropped, "dropped what was still to be sent to webhooks that are no longer configured");
    }
    let mut statement = connection.prepare_cached(
        "SELECT id, at, kind, org, body FROM outbox WHERE done_at IS NULL AND next_at <= ?1 AND kind NOT LIKE 'deliver:%' \
         ORDER BY next_at, id LIMIT ?2",
    )?;
    let events = statement
        .query_map([now_us, BATCH], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?, row.get::<_, [u8; 16]>(3)?, row.get(4)?))
        })?
        .collect::<Result<Vec<(i64, i64, String, [u8; 16], String)>, _>>()?;
    for (id, at, kind, org, body) in &events {
        let data: Value =
            serde_json::from_str(body).map_err(|_| LedgerError::Refused { problem: "an event in the outbox is damaged".into() })?;
        let event = format!("evt_{:032x}", u128::from_be_bytes(new_id(now_us)?));
        let account = (*org != [0; 16]).then(|| OrgId::from_bytes(*org));
        let payload = json!({ "id": event, "type": kind, "timestamp": rfc3339(*at), "account": account, "data": data }).to_string();
        for receiver in receivers.iter().filter(|receiver| receiver.wants(kind)) {
            connection.prepare_cached("INSERT INTO outbox(at, kind, org, body, next_at) VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
                at,
                format!("{DELIVERY}{}", receiver.id),
                &org[..],
                payload,
                now_us
            ])?;
        }
        connection.prepare_cached("UPDATE outbox SET done_at = ?2 WHERE id = ?1")?.execute([*id, now_us])?;
    }
    Ok(events.len())
}

fn fail(connection: &Connection, now_us: i64, row: i64, error: &str) -> Result<Next, LedgerError> {
    let mut select = connection.prepare_cached("SELECT at, tries FROM outbox WHERE id = ?1 AND done_at IS NULL")?;
    let mut rows = select.query([row])?;
    let Some(found) = rows.next()? else { return Ok(Next::GivenUp) };
    let (at, tries): (i64, u32) = (found.get(0)?, found.get(1)?);
    let pause_s = PAUSES_S.get(tries as usize).copied().unwrap_or(PAUSES_S[PAUSES_S.len() - 1]);
    let last_at = at.saturating_add(TRIED_FOR_US);
    let given_up = now_us >= last_at;
    // The last attempt comes when the day is over and not a long pause later.
    let next_at = now_us.saturating_add(pause_s * 1_000_000).min(last_at).max(now_us);
    connection
        .prepare_cached("UPDATE outbox SET tries = tries + 1, last_error = ?2, next_at = ?3, done_at = ?4 WHERE id = ?1")?
        .execute(params![row, error, next_at, given_up.then_some(now_us)])?;
    Ok(if given_up { Next::GivenUp } else { Next::Retry(Duration::from_micros(next_at.abs_diff(now_us))) })
}

#[cfg(test)]
mod tests;
