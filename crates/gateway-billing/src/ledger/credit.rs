//! Credit given by hand, with a reason, at most once per idempotency key.

use gateway_core::Mode;
use ring::digest::{SHA256, digest};
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;
use serde_json::Value;

use super::{
    Ledger,
    accounts::{Class, Parcel, balance_of, credit, find, new_id, rfc3339},
};
use crate::{
    book::Wallet,
    error::LedgerError,
    journal::{Scope, code},
    money::{Currency, Money, Nano},
};

const REASON_CHARS_MAX: usize = 500;
const KEY_CHARS_MAX: usize = 200;

/// Most that one credit may be: ten million.
const CREDIT_MAX: Nano = Nano::new(10_000_000_000_000_000);

/// A credit by hand.
#[derive(Debug, Clone)]
pub struct Credit {
    /// To which account, by name or id.
    pub account: String,
    /// Real or test money.
    pub mode: Mode,
    /// How much; above zero.
    pub amount: Nano,
    /// Why; kept with the transaction.
    pub reason: String,
    /// Who; kept with the transaction.
    pub actor: String,
    /// Repeating the same credit with the same key changes nothing and answers the same.
    pub idempotency_key: Option<String>,
}

/// A transaction as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransactionView {
    /// Its number in the ledger.
    pub id: i64,
    /// `credit`.
    pub kind: &'static str,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// When, RFC 3339.
    pub created_at: String,
}

/// What a credit answers: `{"transaction", "balance"}`. A repeat returns exactly what the first one did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Credited(pub Value);

impl Ledger {
    /// Credits an account by hand: from the operator's bank account into the wallet's paid side.
    ///
    /// # Errors
    /// There is no such account, the amount or the reason is missing, the idempotency key was used for another credit, or
    /// nothing can be written.
    pub async fn credit(&self, new: Credit) -> Result<Credited, LedgerError> {
        let reason = new.reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
            return Err(LedgerError::invalid(
                "reason",
                format!("must have 1 to {REASON_CHARS_MAX} characters: it stays in the books for ever"),
            ));
        }
        if new.amount <= Nano::ZERO || new.amount > CREDIT_MAX {
            return Err(LedgerError::invalid("amount_usd", format!("must be above 0 and at most {CREDIT_MAX}")));
        }
        if let Some(key) = &new.idempotency_key
            && (key.trim().is_empty() || key.len() > KEY_CHARS_MAX)
        {
            return Err(LedgerError::invalid("Idempotency-Key", format!("must have 1 to {KEY_CHARS_MAX} characters")));
        }
        let org = self.account(&new.account).await?.id;
        let wallet = self
            .book
            .wallet(org, Currency::of(new.mode))
            .ok_or_else(|| LedgerError::not_found("wallet", Currency::of(new.mode).as_str()))?;
        self.journal.exec(move |scope| give(scope, &new, &wallet)).await
    }
}

fn give(scope: &mut Scope<'_>, new: &Credit, wallet: &std::sync::Arc<Wallet>) -> Result<Credited, LedgerError> {
    let now_us = scope.now_us();
    let org = find(scope.connection(), &new.account)?;
    let body = format!("{org}\n{}\n{}\n{}", new.mode.as_str(), new.amount.get(), new.reason.trim());
    let body_sha = digest(&SHA256, body.as_bytes());
    let key = match &new.idempotency_key {
        Some(key) => format!("credit:{}", key.trim()),
        None => format!("credit:{:032x}", u128::from_be_bytes(new_id(now_us)?)),
    };
    let earlier: Option<(Vec<u8>, String)> = scope
        .connection()
        .query_row("SELECT body_sha, answer FROM admin_idem WHERE key = ?1", [&key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((sha, answer)) = earlier {
        if sha != body_sha.as_ref() {
            return Err(LedgerError::conflict("this Idempotency-Key was used for a different credit; use a new key for a new credit"));
        }
        let answer = serde_json::from_str(&answer).map_err(|_| LedgerError::Refused { problem: "a stored answer is damaged".into() })?;
        return Ok(Credited(answer));
    }
    let parcel = Parcel { wallet: wallet.id(), org, currency: wallet.currency(), amount: new.amount, class: Class::Paid, source: "manual" };
    let id = credit(scope, &parcel, code::BANK, "credit", &key, Some(new.reason.trim()), Some(&new.actor))?;
    let answer = answer(scope, new, &parcel, id)?;
    scope.connection().execute(
        "INSERT INTO admin_idem(key, body_sha, answer, at) VALUES (?1, ?2, ?3, ?4)",
        params![key, body_sha.as_ref(), answer.to_string(), now_us],
    )?;
    let (wallet, amount) = (std::sync::Arc::clone(wallet), new.amount);
    scope.after_commit(move || wallet.credit(amount));
    Ok(Credited(answer))
}

/// Built from the rows as this transaction leaves them, so that it is stored with them.
fn answer(scope: &Scope<'_>, new: &Credit, parcel: &Parcel<'_>, txn: i64) -> Result<Value, LedgerError> {
    let reading = scope.connection().query_row("SELECT posted, held, floor FROM wallet WHERE id = ?1", [parcel.wallet], |row| {
        Ok(crate::book::WalletReading { posted: Nano::new(row.get(0)?), held: Nano::new(row.get(1)?), floor: Nano::new(row.get(2)?) })
    })?;
    let promo = scope.connection().query_row(
        "SELECT COALESCE(SUM(remaining), 0) FROM lot WHERE wallet = ?1 AND class = 'promo'",
        [parcel.wallet],
        |row| row.get(0),
    )?;
    let transaction = TransactionView {
        id: txn,
        kind: "credit",
        amount: Money::new(parcel.amount, parcel.currency),
        reason: new.reason.trim().to_owned(),
        created_at: rfc3339(scope.now_us()),
    };
    let balance = balance_of(parcel.org, new.mode, reading, Nano::new(promo), scope.now_us());
    Ok(serde_json::json!({ "transaction": transaction, "balance": balance }))
}
