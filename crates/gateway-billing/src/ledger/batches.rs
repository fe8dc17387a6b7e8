//! Batches of redemption codes: making one, counting them, taking one back.

use std::time::SystemTime;

use ring::rand::SystemRandom;
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;

use super::{
    Ledger,
    accounts::rfc3339,
    campaigns::{check_days, check_name},
    credit::CREDIT_MAX,
    lots::Class,
    tokens::to_us,
};
use crate::{
    codes::Code,
    error::LedgerError,
    journal::Scope,
    keys::KeyRing,
    money::{Currency, Money, Nano},
};

/// Most codes in a batch: they are written in one commit, and nothing else is written meanwhile.
const COUNT_MAX: u32 = 5_000;
const USES_MAX: u32 = 1_000_000;

/// A batch of codes to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCodes {
    /// Its name, unique for ever.
    pub batch: String,
    /// How many codes.
    pub count: u32,
    /// What each use gives.
    pub amount: Nano,
    /// Whether that is given or was bought.
    pub class: Class,
    /// How often each code may be used, each time by another account.
    pub uses: u32,
    /// When the codes can no longer be redeemed; `None` = always.
    pub expires_at: Option<SystemTime>,
    /// How many days the credit is valid from its redemption; `None` = for ever.
    pub valid_days: Option<u32>,
    /// Who makes it.
    pub actor: String,
}

impl NewCodes {
    /// What all uses of all codes come to; `None`: beyond the ledger's range.
    pub(super) fn total(&self) -> Option<Nano> {
        let uses = i64::from(self.count).checked_mul(i64::from(self.uses))?;
        self.amount.get().checked_mul(uses).map(Nano::new)
    }

    pub(super) fn check(&self) -> Result<(), LedgerError> {
        check_name("batch", &self.batch)?;
        if self.count == 0 || self.count > COUNT_MAX {
            return Err(LedgerError::invalid("count", format!("must be from 1 to {COUNT_MAX}; make several batches for more")));
        }
        if self.uses == 0 || self.uses > USES_MAX {
            return Err(LedgerError::invalid("uses", format!("must be from 1 to {USES_MAX}")));
        }
        if self.amount <= Nano::ZERO || self.amount > CREDIT_MAX || self.total().is_none() {
            return Err(LedgerError::invalid("amount_usd", format!("must be above 0 and at most {CREDIT_MAX}, and all uses within range")));
        }
        check_days(self.valid_days)
    }
}

/// A new batch, with the only showing of its codes.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct CreatedCodes {
    /// `code_batch`.
    pub object: &'static str,
    /// What lists will show.
    #[serde(flatten)]
    pub record: CodeBatch,
    /// The codes. They are stored nowhere and cannot be shown again.
    pub codes: Vec<String>,
}

impl std::fmt::Debug for CreatedCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedCodes").field("record", &self.record).finish_non_exhaustive()
    }
}

/// A batch as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodeBatch {
    /// Its name.
    pub batch: String,
    /// What each use gives.
    pub amount: Money,
    /// `promo` or `paid`.
    pub class: &'static str,
    /// How many days the credit is valid; `null` = for ever.
    pub valid_days: Option<i64>,
    /// How many codes.
    pub count: i64,
    /// How many uses they have in all.
    pub uses: i64,
    /// How many were made use of.
    pub redeemed: i64,
    /// How many can still be.
    pub redeemable: i64,
    /// When they can no longer be redeemed, RFC 3339; `null` = never.
    pub expires_at: Option<String>,
    /// `active`, `used_up`, `expired` or `revoked`.
    pub state: &'static str,
    /// Who made it.
    pub created_by: String,
    /// When, RFC 3339.
    pub created_at: String,
}

const BATCHES: &str = "SELECT b.name, b.amount, b.class, b.valid_days, b.created_by, b.created_at, COUNT(*), SUM(c.uses), \
                       SUM(c.uses - c.uses_left), SUM(c.uses_left), MAX(c.not_after) \
                       FROM code_batch b JOIN code c ON c.batch = b.id WHERE ?1 IS NULL OR b.name = ?1 GROUP BY b.id ORDER BY b.id";

impl Ledger {
    /// Every batch of codes, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn code_batches(&self) -> Result<Vec<CodeBatch>, LedgerError> {
        self.journal.exec(|scope| batches(scope, None)).await
    }

    /// Takes a batch back: what is not redeemed cannot be any more. Doing it again changes nothing.
    ///
    /// # Errors
    /// There is no such batch, or nothing can be written.
    pub async fn revoke_codes(&self, batch: &str) -> Result<CodeBatch, LedgerError> {
        let batch = batch.to_owned();
        self.journal
            .exec(move |scope| {
                // The end goes back before all times; the uses stay, because the books are checked by them.
                scope
                    .connection()
                    .execute("UPDATE code SET not_after = 0 WHERE batch = (SELECT id FROM code_batch WHERE name = ?1)", [&batch])?;
                batches(scope, Some(&batch))?.pop().ok_or_else(|| LedgerError::not_found("batch of codes", batch.as_str()))
            })
            .await
    }
}

/// Writes a batch and shows its codes once.
pub(super) fn insert_codes(scope: &Scope<'_>, keys: &KeyRing, new: &NewCodes) -> Result<CreatedCodes, LedgerError> {
    let (now_us, connection) = (scope.now_us(), scope.connection());
    let not_after = check_new(scope, new)?;
    connection.execute(
        "INSERT INTO code_batch(name, amount, class, valid_days, created_at, created_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![new.batch, new.amount.get(), new.class.as_str(), new.valid_days, now_us, new.actor],
    )?;
    let batch = connection.last_insert_rowid();
    let random = SystemRandom::new();
    let mut insert = connection.prepare_cached("INSERT INTO code(hash, batch, uses, uses_left, not_after) VALUES (?1, ?2, ?3, ?3, ?4)")?;
    let mut codes = Vec::with_capacity(new.count as usize);
    for _ in 0..new.count {
        let code = Code::make(&random)?;
        insert.execute(params![&keys.hash(&code.preimage())[..], batch, new.uses, not_after])?;
        codes.push(code.text().expose().to_owned());
    }
    let record = batches(scope, Some(&new.batch))?.pop();
    let record = record.ok_or_else(|| LedgerError::not_found("batch of codes", new.batch.as_str()))?;
    Ok(CreatedCodes { object: "code_batch", record, codes })
}

/// What only the database can tell of a batch to be made; returns the end of its codes.
pub(super) fn check_new(scope: &Scope<'_>, new: &NewCodes) -> Result<i64, LedgerError> {
    let taken: Option<i64> =
        scope.connection().query_row("SELECT id FROM code_batch WHERE name = ?1", [&new.batch], |row| row.get(0)).optional()?;
    if taken.is_some() {
        let problem = format!(
            "there is a batch `{}` already, and a name is used once for ever; if its codes were lost on the way, revoke it and make another",
            new.batch
        );
        return Err(LedgerError::conflict(problem));
    }
    let not_after = new.expires_at.map_or(i64::MAX, to_us);
    if not_after <= scope.now_us() {
        return Err(LedgerError::invalid("expires_at", "lies in the past"));
    }
    Ok(not_after)
}

fn batches(scope: &Scope<'_>, name: Option<&str>) -> Result<Vec<CodeBatch>, LedgerError> {
    let now_us = scope.now_us();
    let mut statement = scope.connection().prepare_cached(BATCHES)?;
    let rows = statement.query_map([name], |row| {
        let (left, not_after): (i64, i64) = (row.get(9)?, row.get(10)?);
        let state = match (not_after, left) {
            (0, _) => "revoked",
            (_, 0) => "used_up",
            (at, _) if at <= now_us => "expired",
            _ => "active",
        };
        Ok(CodeBatch {
            batch: row.get(0)?,
            amount: Money::new(Nano::new(row.get(1)?), Currency::USD),
            class: Class::of_column(&row.get::<_, String>(2)?).as_str(),
            valid_days: row.get(3)?,
            count: row.get(6)?,
            uses: row.get(7)?,
            redeemed: row.get(8)?,
            redeemable: if state == "active" { left } else { 0 },
            expires_at: (not_after != 0 && not_after != i64::MAX).then(|| rfc3339(not_after)),
            state,
            created_by: row.get(4)?,
            created_at: rfc3339(row.get(5)?),
        })
    })?;
    rows.collect::<Result<_, _>>().map_err(LedgerError::from)
}
