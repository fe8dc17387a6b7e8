//! Credit given by hand, with a reason, at most once per idempotency key.

use std::{sync::Arc, time::SystemTime};

use gateway_core::{Mode, OrgId};
use serde::Serialize;
use serde_json::Value;

use super::{
    Ledger,
    accounts::{BalanceReading, balance_of, find, new_id, rfc3339},
    expiry::Agenda,
    lots::{Class, Parcel, credit, expiring_in},
    once::Once,
    tokens::to_us,
};
use crate::{
    book::Wallet,
    error::LedgerError,
    journal::{Scope, code},
    money::{Currency, Money, Nano},
};

const REASON_CHARS_MAX: usize = 500;

/// What credits by hand are called in the books.
const KIND: &str = "credit";

/// Most that one credit may be: ten million.
pub(super) const CREDIT_MAX: Nano = Nano::new(10_000_000_000_000_000);

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
    /// When it ends; only where the options allow that bought credit ends.
    pub expires_at: Option<SystemTime>,
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
        self.check_credit(&new)?;
        let org = self.account(&new.account).await?.id;
        let wallet = self
            .book
            .wallet(org, Currency::of(new.mode))
            .ok_or_else(|| LedgerError::not_found("wallet", Currency::of(new.mode).as_str()))?;
        let agenda = Arc::clone(&self.agenda);
        self.journal.exec(move |scope| give(scope, &new, &wallet, &agenda)).await
    }

    pub(super) fn check_credit(&self, new: &Credit) -> Result<(), LedgerError> {
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
        match new.expires_at {
            None => Ok(()),
            Some(at) if to_us(at) <= self.clock.unix_us() => Err(LedgerError::invalid("expires_at", "lies in the past")),
            Some(_) => self.check_paid_expiry("expires_at"),
        }
    }

    /// Whoever bought credit keeps it, unless the operator has decided otherwise.
    pub(super) fn check_paid_expiry(&self, param: &'static str) -> Result<(), LedgerError> {
        if self.paid_credit_may_expire {
            return Ok(());
        }
        Err(LedgerError::invalid(param, "is not possible for bought credit, unless `[billing] paid_credit_may_expire` allows it"))
    }
}

/// Credits, unless the same was done under this key.
pub(super) fn give(scope: &mut Scope<'_>, new: &Credit, wallet: &Arc<Wallet>, agenda: &Arc<Agenda>) -> Result<Credited, LedgerError> {
    let org = find(scope.connection(), &new.account)?;
    let once = once_of(new, org, scope.now_us())?;
    if let Some(answer) = once.earlier(scope)? {
        if answer["object"] == "pending_credit" {
            return Err(LedgerError::conflict("this credit waits for a second person, or was refused by one"));
        }
        return Ok(Credited(answer));
    }
    let expiry = new.expires_at.map(|at| (to_us(at), agenda));
    let class = Class::Paid;
    let parcel = Parcel { wallet: wallet.id(), org, currency: wallet.currency(), amount: new.amount, class, source: "manual", expiry };
    let posted = credit(scope, &parcel, code::BANK, "credit", once.key(), Some(new.reason.trim()), Some(&new.actor))?;
    let answer = answer(scope, new, &parcel, posted.txn)?;
    once.keep(scope, &answer)?;
    let (wallet, amount) = (Arc::clone(wallet), new.amount);
    scope.after_commit(move || wallet.credit(amount));
    Ok(Credited(answer))
}

/// Under what a credit is remembered: the name that its sender gave it, or one of our own.
pub(super) fn once_of(new: &Credit, org: OrgId, now_us: i64) -> Result<Once, LedgerError> {
    let mut body = format!("{org}\n{}\n{}\n{}", new.mode.as_str(), new.amount.get(), new.reason.trim());
    if let Some(at) = new.expires_at {
        body = format!("until {}\n{body}", to_us(at));
    }
    match &new.idempotency_key {
        Some(key) => Once::new(KIND, key, &body),
        None => Once::new(KIND, &format!("{:032x}", u128::from_be_bytes(new_id(now_us)?)), &body),
    }
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
    let expiring = expiring_in(scope.connection(), parcel.wallet, parcel.currency)?;
    let balance = BalanceReading { expiring, ..balance_of(parcel.org, new.mode, reading, Nano::new(promo), scope.now_us()) };
    Ok(serde_json::json!({ "transaction": transaction, "balance": balance }))
}
