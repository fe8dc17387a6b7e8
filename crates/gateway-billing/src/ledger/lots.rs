//! Parcels of credit: putting one into a wallet, and telling which ones will expire.

use std::sync::Arc;

use gateway_core::OrgId;
use rusqlite::{Connection, params};
use serde::Serialize;
use sqlx::{Row as _, SqlitePool};

use super::{
    accounts::{new_id, rfc3339},
    expiry::Agenda,
};
use crate::{
    error::LedgerError,
    journal::{AccountKey, Entry, OPERATOR, Scope, code},
    money::{Currency, Money, Nano},
};

/// Microseconds of a day of 24 hours.
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// The longest that credit may be valid for: a hundred years.
pub(super) const VALID_DAYS_MAX: u32 = 36_525;

/// Whether credit was bought or given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Class {
    /// Given: spent first, never paid back.
    #[default]
    Promo,
    /// Bought.
    Paid,
}

impl Class {
    /// As the database and the API write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promo => "promo",
            Self::Paid => "paid",
        }
    }

    pub(super) fn of_column(text: &str) -> Self {
        if text == "paid" { Self::Paid } else { Self::Promo }
    }
}

/// Credit for one wallet.
pub(super) struct Parcel<'p> {
    pub(super) wallet: i64,
    pub(super) org: OrgId,
    pub(super) currency: Currency,
    pub(super) amount: Nano,
    pub(super) class: Class,
    pub(super) source: &'p str,
    /// When it ends, and the list of dates that must know of it.
    pub(super) expiry: Option<(i64, &'p Arc<Agenda>)>,
}

/// What a credit has written.
pub(super) struct Posted {
    pub(super) txn: i64,
    pub(super) lot: [u8; 16],
}

/// Money in: a lot, the wallet's balance and the postings, in one. The caller adds it to the book after the commit.
pub(super) fn credit(
    scope: &mut Scope<'_>,
    parcel: &Parcel<'_>,
    debit: i64,
    kind: &str,
    idem: &str,
    reason: Option<&str>,
    actor: Option<&str>,
) -> Result<Posted, LedgerError> {
    let now_us = scope.now_us();
    let credit = match parcel.class {
        Class::Promo => code::WALLET_PROMO,
        Class::Paid => code::WALLET_PAID,
    };
    let amount = parcel.amount.get();
    let lot = new_id(now_us)?;
    let expires_at = parcel.expiry.map(|(at, _)| at);
    scope
        .connection()
        .prepare_cached(
            "INSERT INTO lot(id, wallet, class, source, granted, remaining, expires_at, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7)",
        )?
        .execute(params![&lot[..], parcel.wallet, parcel.class.as_str(), parcel.source, amount, expires_at, now_us])?;
    scope.lots_changed(parcel.wallet);
    scope.connection().prepare_cached("UPDATE wallet SET posted = posted + ?2 WHERE id = ?1")?.execute([parcel.wallet, amount])?;
    let postings = vec![
        (AccountKey::new(debit, OPERATOR, parcel.currency), amount),
        (AccountKey::new(credit, parcel.org.as_bytes(), parcel.currency), -amount),
    ];
    let txn = scope.post(&Entry { kind, idem, reason, actor, postings })?;
    if let Some((at, agenda)) = parcel.expiry {
        let (agenda, wallet) = (Arc::clone(agenda), parcel.wallet);
        scope.after_commit(move || agenda.note(at, wallet));
    }
    Ok(Posted { txn, lot })
}

/// The end of credit that begins now and is valid for so many days.
pub(super) fn end_of(now_us: i64, valid_days: Option<i64>) -> Option<i64> {
    valid_days.map(|days| now_us.saturating_add(days.saturating_mul(DAY_US)))
}

/// Credit that will expire, as a balance shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpiringCredit {
    /// How much of it is left.
    pub amount: Money,
    /// `promo` or `paid`.
    pub class: &'static str,
    /// When it ends, RFC 3339.
    pub expires_at: String,
}

/// Soonest first; what ends at one moment is one entry a class, and a long list is cut.
const EXPIRING: &str = "SELECT class, expires_at, SUM(remaining) FROM lot WHERE wallet = ?1 AND remaining > 0 AND expires_at IS NOT NULL \
                        GROUP BY expires_at, class ORDER BY expires_at, class DESC LIMIT 20";

fn expiring_of(currency: Currency, (class, at, amount): (String, i64, i64)) -> ExpiringCredit {
    ExpiringCredit { amount: Money::new(Nano::new(amount), currency), class: Class::of_column(&class).as_str(), expires_at: rfc3339(at) }
}

/// What will expire in a wallet.
pub(super) async fn expiring(reader: &SqlitePool, wallet: i64, currency: Currency) -> Result<Vec<ExpiringCredit>, LedgerError> {
    let rows = sqlx::query(EXPIRING).bind(wallet).fetch_all(reader).await?;
    rows.iter().map(|row| Ok(expiring_of(currency, (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))).collect()
}

/// The same inside a transaction of the writer.
pub(super) fn expiring_in(connection: &Connection, wallet: i64, currency: Currency) -> Result<Vec<ExpiringCredit>, LedgerError> {
    let mut statement = connection.prepare_cached(EXPIRING)?;
    let rows = statement.query_map([wallet], |row| Ok(expiring_of(currency, (row.get(0)?, row.get(1)?, row.get(2)?))))?;
    rows.collect::<Result<_, _>>().map_err(LedgerError::from)
}
