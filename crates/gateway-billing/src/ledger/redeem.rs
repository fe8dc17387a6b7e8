//! Redeeming a code: once for each account and use, whoever comes first, and no hint for those who guess.

use std::{sync::Arc, time::Duration};

use gateway_core::{KeyId, Mode, OrgId};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use sqlx::Row as _;

use super::{
    BalanceReading, Ledger,
    accounts::rfc3339,
    lots::{Class, Parcel, credit, end_of},
};
use crate::{
    book::Wallet,
    codes::{Code, TooMany},
    error::LedgerError,
    journal::{Scope, code},
    money::{Currency, Money, Nano},
};

/// What a redemption answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Redemption {
    /// `redemption`.
    pub object: &'static str,
    /// What the code gave.
    pub amount: Money,
    /// `promo` or `paid`.
    pub class: &'static str,
    /// When that credit ends, RFC 3339.
    pub expires_at: Option<String>,
    /// When it was redeemed, RFC 3339.
    pub redeemed_at: String,
    /// This account had redeemed the code before; nothing was added now.
    pub already_redeemed: bool,
    /// The balance afterwards.
    pub balance: BalanceReading,
}

/// Why a code gave nothing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RedeemRefusal {
    /// It is not written as a code is, or its check character does not fit.
    Mistyped,
    /// It is unknown, used up, expired or revoked; which of them is told to nobody.
    Unusable,
    /// Too many codes were tried that gave nothing.
    TooMany {
        /// When the next may be tried.
        retry_after: Duration,
    },
    /// A test key spends test money, which nobody needs more of.
    TestKey,
    /// The ledger cannot say.
    Ledger(LedgerError),
}

impl From<LedgerError> for RedeemRefusal {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// What a code gave an account.
struct Given {
    lot_granted: i64,
    class: Class,
    expires_at: Option<i64>,
    at: i64,
    repeated: bool,
}

impl Ledger {
    /// Redeems a code for the account of a live key. The same code again, for the same account, adds nothing and answers the
    /// same facts.
    ///
    /// # Errors
    /// See [`RedeemRefusal`].
    pub async fn redeem(&self, org: OrgId, mode: Mode, key: KeyId, text: &str) -> Result<Redemption, RedeemRefusal> {
        if mode == Mode::Test {
            return Err(RedeemRefusal::TestKey);
        }
        let now_us = self.clock.unix_us();
        let attempt = self.attempts.begin(org, key, now_us).map_err(|TooMany(retry_after)| RedeemRefusal::TooMany { retry_after })?;
        // A slip of the hand is no attempt at guessing.
        let Some(code) = Code::read(text) else { return Err(RedeemRefusal::Mistyped) };
        let hash = self.keys.hash(&code.preimage());
        let given = if self.knows(&hash).await? { self.use_code(org, key, hash).await? } else { None };
        let Some(given) = given else {
            attempt.was_wrong(now_us);
            return Err(RedeemRefusal::Unusable);
        };
        Ok(Redemption {
            object: "redemption",
            amount: Money::new(Nano::new(given.lot_granted), Currency::USD),
            class: given.class.as_str(),
            expires_at: given.expires_at.map(rfc3339),
            redeemed_at: rfc3339(given.at),
            already_redeemed: given.repeated,
            balance: self.balance(&org.to_string(), mode).await?,
        })
    }

    /// Looked up beside the writer, so that those who guess do not occupy it.
    async fn knows(&self, hash: &[u8; 32]) -> Result<bool, LedgerError> {
        let row = sqlx::query("SELECT COUNT(*) FROM code WHERE hash = ?1").bind(&hash[..]).fetch_one(self.reader()).await?;
        Ok(row.try_get::<i64, _>(0)? > 0)
    }

    async fn use_code(&self, org: OrgId, key: KeyId, hash: [u8; 32]) -> Result<Option<Given>, LedgerError> {
        let currency = Currency::of(Mode::Live);
        let wallet = self.book.wallet(org, currency).ok_or_else(|| LedgerError::not_found("wallet", currency.as_str()))?;
        let agenda = Arc::clone(&self.agenda);
        self.journal
            .exec(move |scope| {
                if let Some(given) = earlier(scope.connection(), org, &hash)? {
                    return Ok(Some(given));
                }
                let used = scope
                    .connection()
                    .prepare_cached("UPDATE code SET uses_left = uses_left - 1 WHERE hash = ?1 AND uses_left > 0 AND not_after > ?2")?
                    .execute(params![&hash[..], scope.now_us()])?;
                if used == 0 {
                    return Ok(None);
                }
                let amount = give(scope, &wallet, key, &hash, &agenda)?;
                let wallet = Arc::clone(&wallet);
                scope.after_commit(move || wallet.credit(amount));
                Ok(earlier(scope.connection(), org, &hash)?.map(|given| Given { repeated: false, ..given }))
            })
            .await
    }
}

fn earlier(connection: &Connection, org: OrgId, hash: &[u8; 32]) -> Result<Option<Given>, LedgerError> {
    let found = connection
        .prepare_cached(
            "SELECT l.granted, l.class, l.expires_at, u.at FROM code_use u JOIN lot l ON l.id = u.lot WHERE u.hash = ?1 AND u.org = ?2",
        )?
        .query_row(params![&hash[..], &org.as_bytes()[..]], |row| {
            let class = Class::of_column(&row.get::<_, String>(1)?);
            Ok(Given { lot_granted: row.get(0)?, class, expires_at: row.get(2)?, at: row.get(3)?, repeated: true })
        })
        .optional()?;
    Ok(found)
}

/// The credit of one use. What was bought came in at the bank when the code was sold; what is given is the operator's expense.
fn give(
    scope: &mut Scope<'_>,
    wallet: &Wallet,
    key: KeyId,
    hash: &[u8; 32],
    agenda: &Arc<super::expiry::Agenda>,
) -> Result<Nano, LedgerError> {
    let now_us = scope.now_us();
    let (batch, amount, class, valid_days) = scope
        .connection()
        .prepare_cached("SELECT b.name, b.amount, b.class, b.valid_days FROM code c JOIN code_batch b ON b.id = c.batch WHERE c.hash = ?1")?
        .query_row([&hash[..]], |row| {
            Ok((row.get::<_, String>(0)?, Nano::new(row.get(1)?), Class::of_column(&row.get::<_, String>(2)?), row.get(3)?))
        })?;
    let org = wallet.org();
    let source = format!("code:{batch}");
    let expiry = end_of(now_us, valid_days).map(|at| (at, agenda));
    let parcel = Parcel { wallet: wallet.id(), org, currency: wallet.currency(), amount, class, source: &source, expiry };
    let debit = match class {
        Class::Promo => code::PROMO_EXPENSE,
        Class::Paid => code::BANK,
    };
    // The hash names the code to whoever has it and gives it to nobody; half of it is name enough.
    let name: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let posted = credit(scope, &parcel, debit, "code", &format!("code:{name}:{org}"), None, Some(&key.to_string()))?;
    scope.connection().prepare_cached("INSERT INTO code_use(hash, org, lot, at) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        &hash[..],
        &org.as_bytes()[..],
        &posted.lot[..],
        now_us
    ])?;
    Ok(amount)
}
