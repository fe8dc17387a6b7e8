//! The notes of what waits for a second person, and of how it ended.

use gateway_core::OrgId;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::PendingCredit;
use crate::{
    error::LedgerError,
    journal::Scope,
    ledger::{
        NewCampaign, NewCodes,
        accounts::{new_id, rfc3339},
        lots::Class,
        tokens::to_us,
    },
    money::{Currency, Money, Nano},
    outbox,
};

const PREFIX: &str = "pend_";

/// Most that may wait at once.
const OPEN_MAX: usize = 1_000;

/// What a confirmation has to do.
#[derive(Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub(super) enum What {
    Credit { account: String, test: bool, amount: i64, reason: String, expires_at: Option<i64>, idempotency_key: String },
    Campaign { name: String, amount: i64, valid_days: Option<u32>, grants_max: Option<u32>, starts_at: Option<i64>, ends_at: Option<i64> },
    Codes { batch: String, count: u32, amount: i64, paid: bool, uses: u32, expires_at: Option<i64>, valid_days: Option<u32> },
}

#[derive(Serialize, Deserialize)]
pub(super) struct Note {
    #[serde(flatten)]
    pub(super) what: What,
    pub(super) asked_by: String,
    asked_at: i64,
    ended: Option<Ended>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Ended {
    by: String,
    at: i64,
    confirmed: bool,
}

impl Note {
    /// As the API shows it.
    fn view(&self, id: &str) -> PendingCredit {
        let (what, total, (account, name, reason)) = match &self.what {
            What::Credit { account, amount, reason, .. } => ("credit", Some(*amount), (account.parse().ok(), None, Some(reason.clone()))),
            What::Campaign { name, amount, grants_max, .. } => {
                let total = grants_max.and_then(|max| amount.checked_mul(i64::from(max)));
                ("campaign", total, (None, Some(name.clone()), None))
            }
            What::Codes { batch, amount, count, uses, .. } => {
                let total = i64::from(*count).checked_mul(i64::from(*uses)).and_then(|uses| amount.checked_mul(uses));
                ("codes", total, (None, Some(batch.clone()), None))
            }
        };
        PendingCredit {
            object: "pending_credit",
            id: id.to_owned(),
            what,
            account,
            name,
            amount: total.map(|total| Money::new(Nano::new(total), Currency::USD)),
            reason,
            state: match &self.ended {
                None => "pending",
                Some(ended) if ended.confirmed => "confirmed",
                Some(_) => "refused",
            },
            asked_by: self.asked_by.clone(),
            asked_at: rfc3339(self.asked_at),
            ended_by: self.ended.as_ref().map(|ended| ended.by.clone()),
            ended_at: self.ended.as_ref().map(|ended| rfc3339(ended.at)),
        }
    }

    pub(super) fn check_open(&self, id: &str) -> Result<(), LedgerError> {
        match &self.ended {
            None => Ok(()),
            Some(ended) => {
                let how = if ended.confirmed { "confirmed" } else { "refused" };
                Err(LedgerError::conflict(format!("{id} was {how} by `{}` at {}", ended.by, rfc3339(ended.at))))
            }
        }
    }

    /// The same was asked for once more, under the same key.
    pub(super) fn asked_again(&self, id: &str) -> Result<PendingCredit, LedgerError> {
        self.check_open(id).map(|()| self.view(id))
    }
}

/// Notes what is asked for, and has the other administrators told.
pub(super) fn ask(scope: &Scope<'_>, what: What, actor: &str) -> Result<([u8; 16], PendingCredit), LedgerError> {
    let connection = scope.connection();
    let waiting = open(connection)?;
    if waiting.len() >= OPEN_MAX {
        return Err(LedgerError::conflict(format!("{OPEN_MAX} credits wait for a second person; confirm or refuse some first")));
    }
    let note = Note { what, asked_by: actor.to_owned(), asked_at: scope.now_us(), ended: None };
    let id = new_id(scope.now_us())?;
    let view = note.view(&format!("{PREFIX}{:032x}", u128::from_be_bytes(id)));
    if let Some(same) = waiting.iter().find(|other| other.name.is_some() && (other.what, &other.name) == (view.what, &view.name)) {
        return Err(LedgerError::conflict(format!("the same name waits for a second person already, as {}", same.id)));
    }
    connection.execute("INSERT INTO meta(key, value) VALUES (?1, ?2)", params![open_key(&view.id), text(&note)?])?;
    let org = view.account.unwrap_or(OrgId::from_bytes([0; 16]));
    outbox::queue(connection, scope.now_us(), "credit.pending", &org, &json!(view))?;
    Ok((id, view))
}

/// Ends it: confirmed with what it led to, or refused with `None`.
pub(super) fn end(
    scope: &Scope<'_>,
    id: &str,
    mut note: Note,
    actor: &str,
    done: Option<Option<i64>>,
) -> Result<PendingCredit, LedgerError> {
    let connection = scope.connection();
    note.ended = Some(Ended { by: actor.to_owned(), at: scope.now_us(), confirmed: done.is_some() });
    connection.execute("DELETE FROM meta WHERE key = ?1", [open_key(id)])?;
    connection.execute("INSERT INTO meta(key, value) VALUES (?1, ?2)", params![ended_key(id), text(&note)?])?;
    if matches!(note.what, What::Credit { .. }) {
        let bytes = bytes(id).ok_or_else(damaged)?;
        let changed = connection.execute(
            "UPDATE pending_credit SET ended_by = ?2, ended_at = ?3, txn = ?4 WHERE id = ?1 AND ended_at IS NULL",
            params![&bytes[..], actor, scope.now_us(), done.flatten()],
        )?;
        if changed != 1 {
            return Err(damaged());
        }
    }
    Ok(note.view(id))
}

pub(super) fn open(connection: &Connection) -> Result<Vec<PendingCredit>, LedgerError> {
    let mut statement =
        connection.prepare_cached("SELECT substr(key, 9), value FROM meta WHERE key >= 'pending:' AND key < 'pending;' ORDER BY key")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (id, value) = row?;
        Ok(serde_json::from_str::<Note>(&value).map_err(|_| damaged())?.view(&id))
    })
    .collect()
}

pub(super) fn read(connection: &Connection, id: &str) -> Result<Note, LedgerError> {
    let value: Option<String> = connection
        .prepare_cached("SELECT value FROM meta WHERE key IN (?1, ?2)")?
        .query_row([open_key(id), ended_key(id)], |row| row.get(0))
        .optional()?;
    let value = value.ok_or_else(|| LedgerError::not_found("pending credit", id))?;
    serde_json::from_str(&value).map_err(|_| damaged())
}

fn open_key(id: &str) -> String {
    format!("pending:{id}")
}

fn ended_key(id: &str) -> String {
    format!("pended:{id}")
}

fn text(note: &Note) -> Result<String, LedgerError> {
    serde_json::to_string(note).map_err(|_| damaged())
}

fn bytes(id: &str) -> Option<[u8; 16]> {
    u128::from_str_radix(id.strip_prefix(PREFIX)?, 16).ok().map(u128::to_be_bytes)
}

pub(super) fn damaged() -> LedgerError {
    LedgerError::Refused { problem: "a credit that waits for a second person is damaged".into() }
}

impl What {
    pub(super) fn of_campaign(new: &NewCampaign) -> Self {
        Self::Campaign {
            name: new.name.clone(),
            amount: new.amount.get(),
            valid_days: new.valid_days,
            grants_max: new.grants_max,
            starts_at: new.starts_at.map(to_us),
            ends_at: new.ends_at.map(to_us),
        }
    }

    pub(super) fn of_codes(new: &NewCodes) -> Self {
        Self::Codes {
            batch: new.batch.clone(),
            count: new.count,
            amount: new.amount.get(),
            paid: new.class == Class::Paid,
            uses: new.uses,
            expires_at: new.expires_at.map(to_us),
            valid_days: new.valid_days,
        }
    }
}
