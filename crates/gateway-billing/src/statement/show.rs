//! Reading statements, and issuing those of one account.

use gateway_core::{Mode, OrgId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{due::Whose, hex, issue::issue, no_of, number};
use crate::{
    error::LedgerError,
    ledger::{Ledger, rfc3339},
    money::{Currency, Money, Nano},
};

const PAGE: i64 = 100;

/// A statement in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatementHead {
    /// `ST-000001`.
    pub number: String,
    /// The month: `2026-11`.
    pub month: String,
    /// Its first moment, RFC 3339.
    pub from: String,
    /// The moment after its last.
    pub to: String,
    /// What there was at its beginning.
    pub opening: Money,
    /// What there was at its end.
    pub closing: Money,
    /// When it was issued.
    pub issued_at: String,
    /// The hash of the statement before it and of its own text.
    pub sha256: String,
}

/// A page of statements, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatementPage {
    /// The statements.
    pub data: Vec<StatementHead>,
    /// Whether there are more.
    pub has_more: bool,
    /// What to ask for next.
    pub next: Option<String>,
}

/// A whole statement. The text of `statement` is what was hashed, byte for byte.
#[derive(Debug, Clone, Serialize)]
pub struct StatementView {
    /// The statement itself.
    pub statement: Box<RawValue>,
    /// When it was issued, RFC 3339.
    pub issued_at: String,
    /// The hash of the statement before it; zeros before the first.
    pub prev_sha256: String,
    /// SHA-256 of the bytes of that hash and of the text of `statement`.
    pub sha256: String,
}

impl Ledger {
    /// The statements of an account, by name or id, oldest first.
    ///
    /// # Errors
    /// There is no such account, `after` is no statement's number, or the database cannot be read.
    pub async fn statements(&self, account: &str, mode: Mode, after: Option<&str>) -> Result<StatementPage, LedgerError> {
        let after = match after {
            None => 0,
            Some(number) => no_of(number).ok_or_else(|| LedgerError::invalid("after", "must be a number such as ST-000001"))?,
        };
        let (account, currency) = (account.to_owned(), Currency::of(mode));
        self.read(move |connection| list(connection, crate::ledger::find_account(connection, &account)?, currency, after)).await
    }

    /// One statement of an account, by its number. Another account's does not exist.
    ///
    /// # Errors
    /// There is no such account or statement, or the database cannot be read.
    pub async fn statement(&self, account: &str, mode: Mode, number: &str) -> Result<StatementView, LedgerError> {
        let (account, number, currency) = (account.to_owned(), number.to_owned(), Currency::of(mode));
        self.read(move |connection| {
            let org = crate::ledger::find_account(connection, &account)?;
            view(connection, org, currency, &number)
        })
        .await
    }

    /// Issues what is missing of the statements of one of an account's wallets, and answers that of a month such as
    /// `2026-11`, which must be over. One that was issued before is answered as it is.
    ///
    /// # Errors
    /// There is no such account or month, the month is not over, or nothing can be written.
    pub async fn issue_statement(&self, account: &str, mode: Mode, month: &str) -> Result<StatementHead, LedgerError> {
        let well_formed = month.len() == 7 && format!("{month}-01").parse::<jiff::civil::Date>().is_ok();
        if !well_formed {
            return Err(LedgerError::invalid("month", "must be a month such as 2026-11"));
        }
        let (org, currency) = (self.account(account).await?.id, Currency::of(mode));
        issue(self.journal(), self.path(), Whose::One(org, currency), 0).await?;
        let wanted = month.to_owned();
        let found = self.read(move |connection| of_month(connection, org, currency, &wanted)).await?;
        found.ok_or_else(|| {
            let problem = format!("`{month}` is not over in the account's zone, or lies before the account was made");
            LedgerError::invalid("month", problem)
        })
    }

    /// Issues every statement whose month is over, as the ledger's own task does; says how many.
    ///
    /// # Errors
    /// The books do not add up, or nothing can be written.
    pub async fn issue_statements(&self) -> Result<usize, LedgerError> {
        issue(self.journal(), self.path(), Whose::All, 0).await.map(|issued| issued.count)
    }
}

const HEAD: &str = "SELECT s.no, json_extract(s.body, '$.month'), s.start_at, s.end_at, s.opening, s.closing, s.issued_at, s.sha256 \
                    FROM statement s JOIN wallet w ON w.id = s.wallet WHERE w.org = ?1 AND w.currency = ?2";

fn list(connection: &Connection, org: OrgId, currency: Currency, after: i64) -> Result<StatementPage, LedgerError> {
    let mut statement = connection.prepare(&format!("{HEAD} AND s.no > ?3 ORDER BY s.no LIMIT ?4"))?;
    let rows = statement.query_map(params![&org.as_bytes()[..], currency.as_str(), after, PAGE + 1], |row| head(row, currency))?;
    let mut data = rows.collect::<Result<Vec<_>, _>>()?;
    let has_more = data.len() > usize::try_from(PAGE).unwrap_or(usize::MAX);
    data.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    let next = data.last().filter(|_| has_more).map(|last| last.number.clone());
    Ok(StatementPage { data, has_more, next })
}

fn of_month(connection: &Connection, org: OrgId, currency: Currency, month: &str) -> Result<Option<StatementHead>, LedgerError> {
    let mut statement = connection.prepare(&format!("{HEAD} AND json_extract(s.body, '$.month') = ?3 ORDER BY s.no LIMIT 1"))?;
    let found = statement.query_row(params![&org.as_bytes()[..], currency.as_str(), month], |row| head(row, currency));
    found.optional().map_err(LedgerError::from)
}

fn head(row: &Row<'_>, currency: Currency) -> rusqlite::Result<StatementHead> {
    let money = |column| row.get(column).map(|nano| Money::new(Nano::new(nano), currency));
    Ok(StatementHead {
        number: number(row.get(0)?),
        month: row.get(1)?,
        from: rfc3339(row.get(2)?),
        to: rfc3339(row.get(3)?),
        opening: money(4)?,
        closing: money(5)?,
        issued_at: rfc3339(row.get(6)?),
        sha256: hex(&row.get::<_, Vec<u8>>(7)?),
    })
}

fn view(connection: &Connection, org: OrgId, currency: Currency, number: &str) -> Result<StatementView, LedgerError> {
    let missing = || LedgerError::not_found("statement", crate::report::shown(number));
    let no = no_of(number).ok_or_else(missing)?;
    let found: Option<(String, i64, Vec<u8>, Vec<u8>)> = connection
        .query_row(
            "SELECT s.body, s.issued_at, s.prev_sha256, s.sha256 FROM statement s JOIN wallet w ON w.id = s.wallet \
             WHERE s.no = ?1 AND w.org = ?2 AND w.currency = ?3",
            params![no, &org.as_bytes()[..], currency.as_str()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .optional()?;
    let (body, issued_at, prev, sha) = found.ok_or_else(missing)?;
    let statement = RawValue::from_string(body).map_err(|_| LedgerError::Refused { problem: "a stored statement is damaged".into() })?;
    Ok(StatementView { statement, issued_at: rfc3339(issued_at), prev_sha256: hex(&prev), sha256: hex(&sha) })
}
