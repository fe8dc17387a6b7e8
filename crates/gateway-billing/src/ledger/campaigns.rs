//! Campaigns: credit that is given, once to each subject and for ever.
//!
//! A subject is whoever may have it once: an account, or an identity that the operator has verified. The sign-up grant is the
//! campaign `signup`; its amount and validity follow the options at every start, those of all others never change.

mod terms;

use std::{sync::Arc, time::SystemTime};

use gateway_core::{Mode, OrgId};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;

use self::terms::{COLUMNS, Terms};
use super::{
    Ledger,
    accounts::{find, rfc3339},
    credit::CREDIT_MAX,
    expiry::Agenda,
    lots::{Class, Parcel, VALID_DAYS_MAX, credit, end_of},
    tokens::to_us,
};
use crate::{
    error::LedgerError,
    journal::{Scope, code},
    money::{Currency, Money, Nano},
};

/// The campaign that new accounts are given credit from.
pub const SIGN_UP: &str = "signup";

const NAME_CHARS_MAX: usize = 64;
const SUBJECT_CHARS_MAX: usize = 200;

/// A campaign to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCampaign {
    /// Its name, unique for ever.
    pub name: String,
    /// What each subject is given.
    pub amount: Nano,
    /// How many days each grant is valid; `None` = for ever.
    pub valid_days: Option<u32>,
    /// How many grants there are in all; `None` = no limit.
    pub grants_max: Option<u32>,
    /// When it begins; `None` = now.
    pub starts_at: Option<SystemTime>,
    /// When it ends; `None` = never.
    pub ends_at: Option<SystemTime>,
}

/// A campaign as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Campaign {
    /// Its name.
    pub name: String,
    /// What each subject is given.
    pub amount: Money,
    /// How many days each grant is valid; `null` = for ever.
    pub valid_days: Option<i64>,
    /// How many grants there are in all; `null` = no limit.
    pub grants_max: Option<i64>,
    /// How many were made.
    pub grants_made: i64,
    /// `scheduled`, `running`, `exhausted` or `ended`.
    pub state: &'static str,
    /// When it begins, RFC 3339.
    pub starts_at: String,
    /// When it ends, RFC 3339.
    pub ends_at: Option<String>,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

/// A grant to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGrant {
    /// From which campaign.
    pub campaign: String,
    /// To which account, by name or id.
    pub account: String,
    /// To whom; `None` = the account itself. Case and white space around it make no difference.
    pub subject: Option<String>,
    /// Who gives it; kept with the transaction.
    pub actor: String,
}

/// A grant as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantView {
    /// `grant`.
    pub object: &'static str,
    /// From which campaign.
    pub campaign: String,
    /// To which account.
    pub account: OrgId,
    /// To whom.
    pub subject: String,
    /// How much.
    pub amount: Money,
    /// When it ends, RFC 3339.
    pub expires_at: Option<String>,
    /// When it was made, RFC 3339.
    pub granted_at: String,
    /// It had been made before, and nothing was added.
    pub repeated: bool,
}

impl Ledger {
    /// Every campaign, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn campaigns(&self) -> Result<Vec<Campaign>, LedgerError> {
        self.journal
            .exec(|scope| {
                let mut statement = scope.connection().prepare(&format!("{COLUMNS} ORDER BY id"))?;
                let rows = statement.query_map([], Terms::of_row)?;
                rows.map(|row| Ok(row?.view(scope.now_us()))).collect()
            })
            .await
    }

    /// Gives credit of a campaign to a subject. The same again, to the same account, changes nothing and answers the same.
    ///
    /// # Errors
    /// There is no such campaign or account, the campaign is not running or has nothing left, the subject has had its grant in
    /// another account, or nothing can be written.
    pub async fn grant(&self, new: NewGrant) -> Result<GrantView, LedgerError> {
        let subject = new.subject.as_deref().map(subject).transpose()?;
        let org = self.account(&new.account).await?.id;
        let wallet = self
            .book
            .wallet(org, Currency::of(Mode::Live))
            .ok_or_else(|| LedgerError::not_found("wallet", Currency::of(Mode::Live).as_str()))?;
        let agenda = Arc::clone(&self.agenda);
        self.journal
            .exec(move |scope| {
                let org = find(scope.connection(), &new.account)?;
                let terms = Terms::find(scope.connection(), &new.campaign)?
                    .ok_or_else(|| LedgerError::not_found("campaign", new.campaign.as_str()))?;
                if let Some(earlier) = earlier(scope.connection(), &terms, subject.as_deref(), org)? {
                    return Ok(earlier);
                }
                terms.check_running(scope.now_us())?;
                let to = Recipient { org, wallet: wallet.id(), subject: subject.clone(), actor: Some(&new.actor), agenda: &agenda };
                give(scope, &terms, &to)?;
                let (wallet, amount) = (Arc::clone(&wallet), terms.amount);
                scope.after_commit(move || wallet.credit(amount));
                earlier(scope.connection(), &terms, subject.as_deref(), org)?
                    .map(|view| GrantView { repeated: false, ..view })
                    .ok_or_else(|| LedgerError::Refused { problem: "a grant is not where it was written".into() })
            })
            .await
    }
}

/// What a campaign may be called, and what it may promise.
pub(super) fn check(new: &NewCampaign) -> Result<(), LedgerError> {
    check_name("name", &new.name)?;
    if new.name == SIGN_UP {
        return Err(LedgerError::invalid("name", "is the sign-up grant's, which follows the configuration: `[billing] signup_grant_usd`"));
    }
    if new.amount <= Nano::ZERO || new.amount > CREDIT_MAX {
        return Err(LedgerError::invalid("amount_usd", format!("must be above 0 and at most {CREDIT_MAX}")));
    }
    check_days(new.valid_days)?;
    if new.grants_max == Some(0) {
        return Err(LedgerError::invalid("grants_max", "must be at least 1; leave it out for no limit"));
    }
    if let (Some(starts_at), Some(ends_at)) = (new.starts_at, new.ends_at)
        && ends_at <= starts_at
    {
        return Err(LedgerError::invalid("ends_at", "must be after `starts_at`"));
    }
    Ok(())
}

/// Names of campaigns and of batches of codes: they stand in paths, in the books and in support tickets.
pub(super) fn check_name(param: &'static str, name: &str) -> Result<(), LedgerError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(plain) {
        let problem = format!("must have 1 to {NAME_CHARS_MAX} of the characters a-z, 0-9, `-`, `_` and `.`");
        return Err(LedgerError::invalid(param, problem));
    }
    Ok(())
}

pub(super) fn check_days(valid_days: Option<u32>) -> Result<(), LedgerError> {
    if valid_days.is_some_and(|days| days == 0 || days > VALID_DAYS_MAX) {
        let problem = format!("must be from 1 to {VALID_DAYS_MAX}; leave it out for credit that never expires");
        return Err(LedgerError::invalid("valid_days", problem));
    }
    Ok(())
}

/// An identity as it is kept: nobody becomes another one by writing a name in capitals.
pub(super) fn subject(text: &str) -> Result<String, LedgerError> {
    let subject = text.trim().to_lowercase();
    if subject.is_empty() || subject.chars().count() > SUBJECT_CHARS_MAX || subject.chars().any(char::is_control) {
        return Err(LedgerError::invalid("subject", format!("must have 1 to {SUBJECT_CHARS_MAX} printable characters")));
    }
    Ok(subject)
}

/// Writes a campaign.
pub(super) fn insert(scope: &Scope<'_>, new: &NewCampaign) -> Result<Campaign, LedgerError> {
    let now_us = scope.now_us();
    let connection = scope.connection();
    if Terms::find(connection, &new.name)?.is_some() {
        let problem = format!("there is a campaign `{}` already, and a name is used once for ever; choose another", new.name);
        return Err(LedgerError::conflict(problem));
    }
    let ends_at = new.ends_at.map(to_us);
    if ends_at.is_some_and(|at| at <= now_us) {
        return Err(LedgerError::invalid("ends_at", "lies in the past"));
    }
    let starts_at = new.starts_at.map_or(now_us, to_us);
    connection.execute(
        "INSERT INTO campaign(name, amount, valid_days, grants_max, starts_at, ends_at, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![new.name, new.amount.get(), new.valid_days, new.grants_max, starts_at, ends_at, now_us],
    )?;
    let written = Terms::find(connection, &new.name)?;
    written.map(|terms| terms.view(now_us)).ok_or_else(|| LedgerError::not_found("campaign", new.name.as_str()))
}

/// Brings the campaign `signup` to what the options say. Grants made before there were campaigns are entered, so that nobody
/// is given a second one.
pub(super) fn keep_sign_up(connection: &Connection, amount: Nano, valid_days: u32, now_us: i64) -> Result<(), LedgerError> {
    let days = (valid_days > 0).then_some(valid_days);
    // All of it or nothing: a start that was cut short would leave some accounts without their entry.
    let transaction = connection.unchecked_transaction()?;
    let known = Terms::find(connection, SIGN_UP)?;
    if amount.is_zero() {
        connection.execute("UPDATE campaign SET ends_at = ?2 WHERE name = ?1 AND ends_at IS NULL", params![SIGN_UP, now_us])?;
    } else if known.is_some() {
        connection.execute(
            "UPDATE campaign SET amount = ?2, valid_days = ?3, ends_at = NULL WHERE name = ?1",
            params![SIGN_UP, amount.get(), days],
        )?;
    } else {
        connection.execute(
            "INSERT INTO campaign(name, amount, valid_days, starts_at, created_at) VALUES (?1, ?2, ?3, ?4, ?4)",
            params![SIGN_UP, amount.get(), days, now_us],
        )?;
        enter_earlier(connection, connection.last_insert_rowid())?;
    }
    transaction.commit().map_err(LedgerError::from)
}

/// Enters the sign-up grants that were made before there were campaigns.
fn enter_earlier(connection: &Connection, campaign: i64) -> Result<(), LedgerError> {
    let mut statement =
        connection.prepare("SELECT w.org, l.id, l.created_at FROM lot l JOIN wallet w ON w.id = l.wallet WHERE l.source = ?1")?;
    let mut rows = statement.query([SIGN_UP])?;
    while let Some(row) = rows.next()? {
        let (org, lot, at): ([u8; 16], [u8; 16], i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        connection.execute(
            "INSERT INTO grant_log(campaign, subject, org, lot, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![campaign, OrgId::from_bytes(org).to_string(), &org[..], &lot[..], at],
        )?;
    }
    connection
        .execute("UPDATE campaign SET grants_made = (SELECT COUNT(*) FROM grant_log WHERE campaign = ?1) WHERE id = ?1", [campaign])?;
    Ok(())
}

/// Who is given credit.
pub(super) struct Recipient<'r> {
    pub(super) org: OrgId,
    pub(super) wallet: i64,
    /// `None`: the account itself.
    pub(super) subject: Option<String>,
    pub(super) actor: Option<&'r str>,
    pub(super) agenda: &'r Arc<Agenda>,
}

/// Gives a new account its sign-up grant, unless there is none, it has run out, or the identity has had it. Returns how much
/// it was; the caller adds it to the book.
pub(super) fn sign_up(scope: &mut Scope<'_>, to: &Recipient<'_>) -> Result<Nano, LedgerError> {
    let Some(terms) = Terms::find(scope.connection(), SIGN_UP)? else { return Ok(Nano::ZERO) };
    let had: bool = scope.connection().query_row(
        "SELECT EXISTS (SELECT 1 FROM grant_log WHERE campaign = ?1 AND subject = ?2)",
        params![terms.id, to.subject_text()],
        |row| row.get(0),
    )?;
    if had || terms.check_running(scope.now_us()).is_err() {
        return Ok(Nano::ZERO);
    }
    give(scope, &terms, to)?;
    Ok(terms.amount)
}

/// The grant itself: counted, entered and posted in one.
fn give(scope: &mut Scope<'_>, terms: &Terms, to: &Recipient<'_>) -> Result<(), LedgerError> {
    let now_us = scope.now_us();
    let counted = scope
        .connection()
        .prepare_cached(
            "UPDATE campaign SET grants_made = grants_made + 1 WHERE id = ?1 AND (grants_max IS NULL OR grants_made < grants_max)",
        )?
        .execute([terms.id])?;
    if counted == 0 {
        return Err(terms.exhausted());
    }
    let subject = to.subject_text();
    let source = if terms.name == SIGN_UP { SIGN_UP.to_owned() } else { format!("campaign:{}", terms.name) };
    let expiry = end_of(now_us, terms.valid_days).map(|at| (at, to.agenda));
    let parcel = Parcel {
        wallet: to.wallet,
        org: to.org,
        currency: Currency::USD,
        amount: terms.amount,
        class: Class::Promo,
        source: &source,
        expiry,
    };
    let idem = format!("grant:{}:{subject}", terms.name);
    let posted = credit(scope, &parcel, code::PROMO_EXPENSE, "grant", &idem, None, to.actor)?;
    scope
        .connection()
        .prepare_cached("INSERT INTO grant_log(campaign, subject, org, lot, at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![terms.id, subject, &to.org.as_bytes()[..], &posted.lot[..], now_us])?;
    Ok(())
}

impl Recipient<'_> {
    fn subject_text(&self) -> String {
        self.subject.clone().unwrap_or_else(|| self.org.to_string())
    }
}

/// The grant that stands in the way: the subject's, or without one whatever the account was given from this campaign.
fn earlier(connection: &Connection, terms: &Terms, subject: Option<&str>, org: OrgId) -> Result<Option<GrantView>, LedgerError> {
    let found = connection
        .prepare_cached(
            "SELECT g.subject, g.org, g.at, l.granted, l.expires_at FROM grant_log g JOIN lot l ON l.id = g.lot \
             WHERE g.campaign = ?1 AND (g.subject = ?2 OR (?2 IS NULL AND (g.org = ?3 OR g.subject = ?4))) ORDER BY g.at LIMIT 1",
        )?
        .query_row(params![terms.id, subject, &org.as_bytes()[..], org.to_string()], |row| {
            let (account, at, granted): ([u8; 16], i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(GrantView {
                object: "grant",
                campaign: terms.name.clone(),
                account: OrgId::from_bytes(account),
                subject: row.get(0)?,
                amount: Money::new(Nano::new(granted), Currency::USD),
                expires_at: row.get::<_, Option<i64>>(4)?.map(rfc3339),
                granted_at: rfc3339(at),
                repeated: true,
            })
        })
        .optional()?;
    match found {
        Some(view) if view.account != org => Err(LedgerError::conflict(format!(
            "`{}` has had its grant of the campaign `{}` in another account; there is one for ever",
            view.subject, terms.name
        ))),
        found => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::subject;

    #[test]
    fn one_identity_has_one_spelling() {
        assert_eq!(subject("  Ann@Example.COM ").unwrap(), "ann@example.com");
        for wrong in ["", "   ", "a\nb", &"x".repeat(201)] {
            assert!(subject(wrong).is_err(), "{wrong:?}");
        }
    }
}
