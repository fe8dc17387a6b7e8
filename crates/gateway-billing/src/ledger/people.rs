//! Inside an account: its teams and users, and the plan it is on.

use std::sync::Arc;

use gateway_core::{Mode, OrgId, TeamId, UserId};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{
    Ledger,
    accounts::{find, new_id, rfc3339},
};
use crate::{error::LedgerError, money::Currency};

const NAME_CHARS_MAX: usize = 100;

/// A team as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Team {
    /// `team_…`.
    pub id: TeamId,
    /// Of which account.
    pub account: OrgId,
    /// Its name, unique in the account.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

/// A user as the API shows it: a person or a service that owns keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// `user_…`.
    pub id: UserId,
    /// Of which account.
    pub account: OrgId,
    /// In which team, if in any.
    pub team: Option<TeamId>,
    /// Their name, unique in the account.
    pub name: String,
    /// When they were added, RFC 3339.
    pub created_at: String,
}

impl Ledger {
    /// Makes a team.
    ///
    /// # Errors
    /// There is no such account, the name cannot be used or is taken, or nothing can be written.
    pub async fn create_team(&self, account: &str, name: &str) -> Result<Team, LedgerError> {
        let (account, name) = (account.to_owned(), checked_name(name)?);
        self.journal
            .exec(move |scope| {
                let (connection, now_us) = (scope.connection(), scope.now_us());
                let org = find(connection, &account)?;
                let id = TeamId::from_bytes(new_id(now_us)?);
                let inserted = connection.execute(
                    "INSERT INTO team(id, org, name, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                    params![&id.as_bytes()[..], &org.as_bytes()[..], name, now_us],
                )?;
                if inserted == 0 {
                    return Err(LedgerError::conflict(format!("the account has a team `{name}` already")));
                }
                Ok(Team { id, account: org, name: name.clone(), created_at: rfc3339(now_us) })
            })
            .await
    }

    /// Adds a user to an account, in a team (by name or id) or in none.
    ///
    /// # Errors
    /// There is no such account or team, the name cannot be used or is taken, or nothing can be written.
    pub async fn create_user(&self, account: &str, name: &str, team: Option<&str>) -> Result<User, LedgerError> {
        let (account, name, team) = (account.to_owned(), checked_name(name)?, team.map(str::to_owned));
        self.journal
            .exec(move |scope| {
                let (connection, now_us) = (scope.connection(), scope.now_us());
                let org = find(connection, &account)?;
                let team = team.as_deref().map(|team| find_team(connection, org, team)).transpose()?;
                let id = UserId::from_bytes(new_id(now_us)?);
                let inserted = connection.execute(
                    "INSERT INTO user(id, org, team, name, created_at) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
                    params![&id.as_bytes()[..], &org.as_bytes()[..], team.as_ref().map(|team| &team.as_bytes()[..]), name, now_us],
                )?;
                if inserted == 0 {
                    return Err(LedgerError::conflict(format!("the account has a user `{name}` already")));
                }
                Ok(User { id, account: org, team, name: name.clone(), created_at: rfc3339(now_us) })
            })
            .await
    }

    /// The teams of an account, oldest first.
    ///
    /// # Errors
    /// There is no such account, or the database cannot be read.
    pub async fn teams(&self, account: &str) -> Result<Vec<Team>, LedgerError> {
        let org = self.account(account).await?.id;
        let rows = sqlx::query("SELECT id, name, created_at FROM team WHERE org = ?1 ORDER BY id")
            .bind(org.as_bytes().to_vec())
            .fetch_all(self.reader())
            .await?;
        let team = |row: &SqliteRow| {
            Ok(Team { id: TeamId::from_bytes(id_of(row, 0)?), account: org, name: row.try_get(1)?, created_at: rfc3339(row.try_get(2)?) })
        };
        rows.iter().map(team).collect()
    }

    /// The users of an account, oldest first.
    ///
    /// # Errors
    /// There is no such account, or the database cannot be read.
    pub async fn users(&self, account: &str) -> Result<Vec<User>, LedgerError> {
        let org = self.account(account).await?.id;
        let rows = sqlx::query("SELECT id, name, created_at, team FROM user WHERE org = ?1 ORDER BY id")
            .bind(org.as_bytes().to_vec())
            .fetch_all(self.reader())
            .await?;
        let user = |row: &SqliteRow| {
            let team: Option<Vec<u8>> = row.try_get(3)?;
            Ok(User {
                id: UserId::from_bytes(id_of(row, 0)?),
                account: org,
                team: team.map(|_| id_of(row, 3)).transpose()?.map(TeamId::from_bytes),
                name: row.try_get(1)?,
                created_at: rfc3339(row.try_get(2)?),
            })
        };
        rows.iter().map(user).collect()
    }

    /// Puts an account on a plan: what its calls cost from the next one on. Those that are running keep theirs.
    ///
    /// # Errors
    /// There is no such account, no such plan in force, or nothing can be written.
    pub async fn put_on_plan(&self, account: &str, plan: &str) -> Result<(), LedgerError> {
        if self.plans.lookup(plan, self.clock.unix_us()).is_none() {
            return Err(LedgerError::not_found("plan in force", plan));
        }
        let (account, plan, book) = (account.to_owned(), Arc::<str>::from(plan), Arc::clone(&self.book));
        self.journal
            .exec(move |scope| {
                let org = find(scope.connection(), &account)?;
                scope.connection().execute("UPDATE org SET plan = ?2 WHERE id = ?1", params![&org.as_bytes()[..], &*plan])?;
                let (book, plan) = (Arc::clone(&book), Arc::clone(&plan));
                scope.after_commit(move || {
                    for mode in [Mode::Live, Mode::Test] {
                        if let Some(wallet) = book.wallet(org, Currency::of(mode)) {
                            wallet.put_on(&plan);
                        }
                    }
                });
                Ok(())
            })
            .await
    }

    /// Sets the zone whose months an account's statements follow.
    ///
    /// # Errors
    /// There is no such account or zone, or nothing can be written.
    pub async fn put_in_zone(&self, account: &str, tz: &str) -> Result<(), LedgerError> {
        if jiff::tz::TimeZone::get(tz).is_err() {
            return Err(LedgerError::invalid("tz", format!("`{tz}` is no IANA zone such as `Asia/Shanghai`")));
        }
        let (account, tz) = (account.to_owned(), tz.to_owned());
        self.journal
            .exec(move |scope| {
                let org = find(scope.connection(), &account)?;
                scope.connection().execute("UPDATE org SET tz = ?2 WHERE id = ?1", params![&org.as_bytes()[..], tz])?;
                Ok(())
            })
            .await
    }
}

/// A team by name or id.
pub(crate) fn find_team(connection: &Connection, org: OrgId, name_or_id: &str) -> Result<TeamId, LedgerError> {
    let id = name_or_id.parse::<TeamId>().ok();
    connection
        .query_row(
            "SELECT id FROM team WHERE org = ?1 AND (id = ?2 OR (?2 IS NULL AND name = ?3))",
            params![&org.as_bytes()[..], id.as_ref().map(|id| &id.as_bytes()[..]), name_or_id],
            |row| row.get(0),
        )
        .optional()?
        .map(TeamId::from_bytes)
        .ok_or_else(|| LedgerError::not_found("team", name_or_id))
}

/// A user by name or id with their team, inside the writer's transaction.
pub(super) fn find_user(connection: &Connection, org: OrgId, name_or_id: &str) -> Result<(UserId, Option<TeamId>), LedgerError> {
    let id = name_or_id.parse::<UserId>().ok();
    connection
        .query_row(
            "SELECT id, team FROM user WHERE org = ?1 AND (id = ?2 OR (?2 IS NULL AND name = ?3))",
            params![&org.as_bytes()[..], id.as_ref().map(|id| &id.as_bytes()[..]), name_or_id],
            |row| Ok((UserId::from_bytes(row.get(0)?), row.get::<_, Option<[u8; 16]>>(1)?.map(TeamId::from_bytes))),
        )
        .optional()?
        .ok_or_else(|| LedgerError::not_found("user", name_or_id))
}

fn id_of(row: &SqliteRow, column: usize) -> Result<[u8; 16], LedgerError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map_err(|_| LedgerError::Refused { problem: "an id in the database has not 16 bytes".into() })
}

fn checked_name(name: &str) -> Result<String, LedgerError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(LedgerError::invalid("name", format!("must have 1 to {NAME_CHARS_MAX} printable characters")));
    }
    if name.parse::<TeamId>().is_ok() || name.parse::<UserId>().is_ok() {
        return Err(LedgerError::invalid("name", "looks like an id; names and ids are both accepted elsewhere, so they must differ"));
    }
    Ok(name.to_owned())
}
