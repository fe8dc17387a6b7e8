//! Accounts: making, finding and reading them. A name and an id are both accepted everywhere.

use std::sync::Arc;

use gateway_core::{Mode, OrgId};
use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use sqlx::Row as _;

use super::{
    Ledger,
    campaigns::{self, Recipient},
    expiry::Agenda,
    lots::{self, Class, ExpiringCredit, Parcel, credit},
};
use crate::{
    book::{Wallet, WalletReading},
    error::LedgerError,
    journal::{Scope, code},
    money::{Currency, Money, Nano},
};

/// What every account's test wallet starts with.
const TEST_GRANT: Nano = Nano::new(1_000_000_000_000_000);

const NAME_CHARS_MAX: usize = 100;
const PAGE_MAX: u32 = 200;

/// Whether a new account gets the sign-up grant. Its test wallet is filled either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grant {
    /// Promotional credit, as much as [`super::LedgerOptions::sign_up_grant`] says, once for each verified identity.
    #[default]
    SignUp,
    /// Nothing.
    None,
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its name, unique.
    pub name: String,
    /// Whether it gets the sign-up grant.
    pub grant: Grant,
}

/// An account as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// `acc_…`.
    pub id: OrgId,
    /// Its name.
    pub name: String,
    /// The plan its calls are charged by.
    pub plan: String,
    /// The zone its months are in.
    pub tz: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// At most so many; 0 means 50, and more than 200 means 200.
    pub limit: u32,
    /// What the last page's `next` said.
    pub after: Option<String>,
}

/// A page of accounts, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountPage {
    /// The accounts.
    pub data: Vec<Account>,
    /// Whether there are more.
    pub has_more: bool,
    /// What to ask for next.
    pub next: Option<String>,
}

/// A balance as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BalanceReading {
    /// `balance`.
    pub object: &'static str,
    /// Whose.
    pub account: OrgId,
    /// `live` or `test`.
    pub mode: &'static str,
    /// `USD` or `XTS`.
    pub currency: Currency,
    /// What a request may use now: paid + promo − held − floor.
    pub available: Money,
    /// Reserved by running requests.
    pub held: Money,
    /// Bought and not spent.
    pub paid: Money,
    /// Granted and not spent.
    pub promo: Money,
    /// What must remain.
    pub floor: Money,
    /// Credit that will expire, soonest first.
    pub expiring: Vec<ExpiringCredit>,
    /// When this was read, RFC 3339.
    pub as_of: String,
}

impl Ledger {
    /// Makes an account with its two wallets and their grants.
    ///
    /// # Errors
    /// The name is empty, too long or taken, or nothing can be written.
    pub async fn create_account(&self, new: NewAccount) -> Result<Account, LedgerError> {
        self.create(new, None).await
    }

    /// Makes an account for an identity that the operator has verified. An identity gets one sign-up grant, however many
    /// accounts it has.
    ///
    /// # Errors
    /// As [`Ledger::create_account`], or the identity is empty or too long.
    pub async fn create_account_for(&self, new: NewAccount, subject: &str) -> Result<Account, LedgerError> {
        self.create(new, Some(campaigns::subject(subject)?)).await
    }

    async fn create(&self, new: NewAccount, subject: Option<String>) -> Result<Account, LedgerError> {
        let name = new.name.trim().to_owned();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(LedgerError::invalid("name", format!("must have 1 to {NAME_CHARS_MAX} printable characters")));
        }
        if name.parse::<OrgId>().is_ok() {
            return Err(LedgerError::invalid(
                "name",
                "looks like an account id; names and ids are both accepted elsewhere, so they must differ",
            ));
        }
        let (book, agenda) = (Arc::clone(&self.book), Arc::clone(&self.agenda));
        self.journal.exec(move |scope| create(scope, &name, new.grant, subject.as_deref(), &book, &agenda)).await
    }

    /// Accounts, oldest first.
    ///
    /// # Errors
    /// `after` is not an account id, or the database cannot be read.
    pub async fn accounts(&self, page: PageRequest) -> Result<AccountPage, LedgerError> {
        let limit = if page.limit == 0 { 50 } else { page.limit.min(PAGE_MAX) };
        let after = match &page.after {
            None => Vec::new(),
            Some(id) => id.parse::<OrgId>().map_err(|error| LedgerError::invalid("after", error.to_string()))?.as_bytes().to_vec(),
        };
        let rows = sqlx::query("SELECT id, name, created_at, plan, tz FROM org WHERE id > ?1 ORDER BY id LIMIT ?2")
            .bind(after)
            .bind(i64::from(limit) + 1)
            .fetch_all(self.reader())
            .await?;
        let has_more = rows.len() > limit as usize;
        let data: Vec<_> = rows.iter().take(limit as usize).map(view).collect::<Result<_, _>>()?;
        let next = data.last().filter(|_| has_more).map(|account| account.id.to_string());
        Ok(AccountPage { data, has_more, next })
    }

    /// One account by name or id.
    ///
    /// # Errors
    /// There is none, or the database cannot be read.
    pub async fn account(&self, name_or_id: &str) -> Result<Account, LedgerError> {
        let id = name_or_id.parse::<OrgId>().ok();
        let row = sqlx::query("SELECT id, name, created_at, plan, tz FROM org WHERE id = ?1 OR (?1 IS NULL AND name = ?2)")
            .bind(id.map(|id| id.as_bytes().to_vec()))
            .bind(name_or_id)
            .fetch_optional(self.reader())
            .await?
            .ok_or_else(|| LedgerError::not_found("account", name_or_id))?;
        view(&row)
    }

    /// The balance of an account, by name or id.
    ///
    /// # Errors
    /// There is no such account, or the database cannot be read.
    pub async fn balance(&self, account: &str, mode: Mode) -> Result<BalanceReading, LedgerError> {
        let account = self.account(account).await?;
        let currency = Currency::of(mode);
        let rows = sqlx::query("SELECT class, COALESCE(SUM(remaining), 0) FROM lot WHERE wallet = (SELECT id FROM wallet WHERE org = ?1 AND currency = ?2) GROUP BY class")
            .bind(account.id.as_bytes().to_vec())
            .bind(currency.as_str())
            .fetch_all(self.reader())
            .await?;
        let mut promo = Nano::ZERO;
        for row in rows {
            if row.try_get::<String, _>(0)? == "promo" {
                promo = Nano::new(row.try_get(1)?);
            }
        }
        let wallet = self.book.wallet(account.id, currency).ok_or_else(|| LedgerError::not_found("wallet", currency.as_str()))?;
        let expiring = lots::expiring(self.reader(), wallet.id(), currency).await?;
        Ok(BalanceReading { expiring, ..balance_of(account.id, mode, wallet.reading(), promo, self.clock.unix_us()) })
    }
}

/// A balance from the wallet in memory, without what will expire; `promo` is the part of it that was granted.
pub(super) fn balance_of(account: OrgId, mode: Mode, reading: WalletReading, promo: Nano, now_us: i64) -> BalanceReading {
    let currency = Currency::of(mode);
    let money = |amount| Money::new(amount, currency);
    // The lots are read a moment before or after the wallet; what is shown must still add up.
    let promo = promo.min(reading.posted).max(Nano::ZERO);
    BalanceReading {
        object: "balance",
        account,
        mode: mode.as_str(),
        currency,
        available: money(reading.available()),
        held: money(reading.held),
        paid: money(Nano::new(reading.posted.get() - promo.get())),
        promo: money(promo),
        floor: money(reading.floor),
        expiring: Vec::new(),
        as_of: rfc3339(now_us),
    }
}

fn view(row: &sqlx::sqlite::SqliteRow) -> Result<Account, LedgerError> {
    let id: Vec<u8> = row.try_get(0)?;
    let id = <[u8; 16]>::try_from(id).map_err(|_| LedgerError::Refused { problem: "an account's id has not 16 bytes".into() })?;
    Ok(Account {
        id: OrgId::from_bytes(id),
        name: row.try_get(1)?,
        created_at: rfc3339(row.try_get(2)?),
        plan: row.try_get(3)?,
        tz: row.try_get(4)?,
    })
}

fn create(
    scope: &mut Scope<'_>,
    name: &str,
    grant: Grant,
    subject: Option<&str>,
    book: &Arc<crate::book::Book>,
    agenda: &Arc<Agenda>,
) -> Result<Account, LedgerError> {
    let now_us = scope.now_us();
    let taken: bool = scope.connection().query_row("SELECT EXISTS (SELECT 1 FROM org WHERE name = ?1)", [name], |row| row.get(0))?;
    if taken {
        return Err(LedgerError::conflict(format!("there is an account `{name}` already; use it, or choose another name")));
    }
    let org = OrgId::from_bytes(new_id(now_us)?);
    scope.connection().execute("INSERT INTO org(id, name, created_at) VALUES (?1, ?2, ?3)", params![&org.as_bytes()[..], name, now_us])?;
    for currency in [Currency::USD, Currency::XTS] {
        scope.connection().execute("INSERT INTO wallet(org, currency) VALUES (?1, ?2)", params![&org.as_bytes()[..], currency.as_str()])?;
        let id = scope.connection().last_insert_rowid();
        let granted = match (currency, grant) {
            (Currency::XTS, _) => {
                let parcel = Parcel { wallet: id, org, currency, amount: TEST_GRANT, class: Class::Promo, source: "test", expiry: None };
                credit(scope, &parcel, code::PROMO_EXPENSE, "grant", &format!("grant:test:{org}"), None, None)?;
                TEST_GRANT
            }
            (_, Grant::SignUp) => {
                let to = Recipient { org, wallet: id, subject: subject.map(str::to_owned), actor: None, agenda };
                campaigns::sign_up(scope, &to)?
            }
            (_, Grant::None) => Nano::ZERO,
        };
        let wallet = Wallet::new(id, org, currency, WalletReading { posted: granted, ..WalletReading::default() });
        let (book, wallet) = (Arc::clone(book), Arc::new(wallet));
        scope.after_commit(move || book.insert(wallet));
    }
    Ok(Account {
        id: org,
        name: name.to_owned(),
        plan: crate::price::DEFAULT_PLAN.to_owned(),
        tz: "UTC".to_owned(),
        created_at: rfc3339(now_us),
    })
}

/// Finds an account inside the writer's transaction.
pub(crate) fn find(connection: &Connection, name_or_id: &str) -> Result<OrgId, LedgerError> {
    let id = name_or_id.parse::<OrgId>().ok();
    connection
        .prepare_cached("SELECT id FROM org WHERE id = ?1 OR (?1 IS NULL AND name = ?2)")?
        .query_row(params![id.as_ref().map(|id| &id.as_bytes()[..]), name_or_id], |row| row.get(0))
        .optional()?
        .map(OrgId::from_bytes)
        .ok_or_else(|| LedgerError::not_found("account", name_or_id))
}

/// A fresh version 7 UUID.
pub(crate) fn new_id(now_us: i64) -> Result<[u8; 16], LedgerError> {
    let mut random = [0; 10];
    SystemRandom::new().fill(&mut random).map_err(|_| LedgerError::Down { problem: "the system's random generator failed".into() })?;
    Ok(*OrgId::v7(now_us.max(0).unsigned_abs() / 1_000, random).as_bytes())
}

/// An instant as the API writes it.
pub(crate) fn rfc3339(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map(|at| at.to_string()).unwrap_or_default()
}
