//! API keys of accounts: making, listing, revoking.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use gateway_core::{KeyId, Mode, ModelAllowList, OrgId, TeamId, UserId};
use ring::rand::SystemRandom;
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;
use sqlx::Row as _;

use super::{
    Ledger,
    accounts::{find, new_id, rfc3339},
    people::{find_team, find_user},
};
use crate::{
    error::LedgerError,
    journal::Scope,
    keys::{KeyRing, KeyRow},
};

const NAME_CHARS_MAX: usize = 100;
const MODELS_MAX: usize = 200;
/// `hs_live_` and four more characters: enough to tell keys apart, useless for guessing one.
const PREFIX_CHARS: usize = 12;

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// For which account, by name or id.
    pub account: String,
    /// Live or test.
    pub mode: Mode,
    /// The user it is for, by name or id. Their team is the key's, unless another is named.
    pub user: Option<String>,
    /// The team it is for, by name or id.
    pub team: Option<String>,
    /// What it is for.
    pub name: String,
    /// The public models it may use; `None` = all. A trailing `*` matches any rest.
    pub models: Option<Vec<String>>,
    /// When it stops working.
    pub expires_at: Option<SystemTime>,
}

/// A key as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// `key_…`: not the key itself.
    pub id: KeyId,
    /// Whose.
    pub account: OrgId,
    /// The team it was made for.
    pub team: Option<TeamId>,
    /// The user it was made for.
    pub user: Option<UserId>,
    /// `live` or `test`.
    pub mode: &'static str,
    /// What it is for.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// The public models it may use; `null` = all.
    pub models: Option<Vec<String>>,
    /// When it stops working, RFC 3339.
    pub expires_at: Option<String>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// `active`, `expired` or `revoked`.
    pub state: &'static str,
    /// When it was revoked, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
}

/// A new key, with the only showing of its text.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct CreatedKey {
    /// What lists will show.
    #[serde(flatten)]
    pub record: ApiKey,
    /// The key. It is stored nowhere and cannot be shown again.
    pub key: String,
}

impl std::fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedKey").field("record", &self.record).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Makes a key.
    ///
    /// # Errors
    /// There is no such account, the name or the models are unusable, the expiry has passed, or nothing can be written.
    pub async fn create_key(&self, new: NewKey) -> Result<CreatedKey, LedgerError> {
        let name = new.name.trim().to_owned();
        if name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(LedgerError::invalid("name", format!("must have at most {NAME_CHARS_MAX} printable characters")));
        }
        if let Some(models) = &new.models
            && (models.is_empty() || models.len() > MODELS_MAX || models.iter().any(|model| model.trim().is_empty()))
        {
            return Err(LedgerError::invalid("models", format!("must name 1 to {MODELS_MAX} models; leave it out to allow all")));
        }
        let expires_at = new.expires_at.map(to_us);
        if expires_at.is_some_and(|at| at <= self.clock.unix_us()) {
            return Err(LedgerError::invalid("expires_at", "lies in the past"));
        }
        let key = crate::keys::make(new.mode, &SystemRandom::new())?;
        let hash = self.keys.hash(key.expose());
        let prefix = key.expose()[..PREFIX_CHARS].to_owned();
        let made = Made { name, hash, prefix, expires_at };
        let ring = Arc::clone(&self.keys);
        let record = self.journal.exec(move |scope| store(scope, &new, &made, &ring)).await?;
        Ok(CreatedKey { record, key: key.expose().to_owned() })
    }

    /// The keys of one account (by name or id), or of all; oldest first, revoked ones included.
    ///
    /// # Errors
    /// There is no such account, or the database cannot be read.
    pub async fn keys(&self, account: Option<&str>) -> Result<Vec<ApiKey>, LedgerError> {
        let org = match account {
            Some(account) => Some(self.account(account).await?.id.as_bytes().to_vec()),
            None => None,
        };
        let rows = sqlx::query(
            "SELECT id, org, mode, name, prefix, models, expires_at, created_at, revoked_at, team, user FROM api_key \
             WHERE ?1 IS NULL OR org = ?1 ORDER BY created_at, id",
        )
        .bind(org)
        .fetch_all(self.reader())
        .await?;
        let now_us = self.clock.unix_us();
        rows.iter().map(|row| view(row, now_us)).collect()
    }

    /// Revokes a key. When this returns, the key works no more. Revoking it again changes nothing.
    ///
    /// # Errors
    /// There is no such key, or nothing can be written.
    pub async fn revoke_key(&self, id: KeyId) -> Result<ApiKey, LedgerError> {
        let ring = Arc::clone(&self.keys);
        self.journal
            .exec(move |scope| {
                let now_us = scope.now_us();
                let known: Option<i64> = scope
                    .connection()
                    .query_row(
                        "UPDATE api_key SET revoked_at = COALESCE(revoked_at, ?2) WHERE id = ?1 RETURNING revoked_at",
                        params![&id.as_bytes()[..], now_us],
                        |row| row.get(0),
                    )
                    .optional()?;
                known.ok_or_else(|| LedgerError::not_found("key", id.to_string()))?;
                let ring = Arc::clone(&ring);
                scope.after_commit(move || ring.revoke(id));
                Ok(())
            })
            .await?;
        let row = sqlx::query(
            "SELECT id, org, mode, name, prefix, models, expires_at, created_at, revoked_at, team, user FROM api_key WHERE id = ?1",
        )
        .bind(id.as_bytes().to_vec())
        .fetch_one(self.reader())
        .await?;
        view(&row, self.clock.unix_us())
    }
}

/// What of a new key is not as it was asked for.
struct Made {
    name: String,
    hash: [u8; 32],
    prefix: String,
    expires_at: Option<i64>,
}

fn store(scope: &mut Scope<'_>, new: &NewKey, made: &Made, ring: &Arc<KeyRing>) -> Result<ApiKey, LedgerError> {
    let now_us = scope.now_us();
    let org = find(scope.connection(), &new.account)?;
    let (user, users_team) = match &new.user {
        Some(user) => find_user(scope.connection(), org, user).map(|(user, team)| (Some(user), team))?,
        None => (None, None),
    };
    let team = match &new.team {
        Some(team) => Some(find_team(scope.connection(), org, team)?),
        None => users_team,
    };
    let id = KeyId::from_bytes(new_id(now_us)?);
    let models = new.models.as_ref().map(|models| serde_json::json!(models).to_string());
    scope.connection().execute(
        "INSERT INTO api_key(id, org, mode, name, hash, prefix, models, expires_at, created_at, team, user) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            &id.as_bytes()[..],
            &org.as_bytes()[..],
            new.mode.as_str(),
            made.name,
            &made.hash[..],
            made.prefix,
            models,
            made.expires_at,
            now_us,
            team.as_ref().map(|team| &team.as_bytes()[..]),
            user.as_ref().map(|user| &user.as_bytes()[..]),
        ],
    )?;
    let allowed = new
        .models
        .as_ref()
        .map_or(ModelAllowList::All, |models| ModelAllowList::Only(models.iter().map(|model| model.trim().into()).collect()));
    let row = KeyRow { id, org, team, user, mode: new.mode, models: allowed, expires_at: made.expires_at, revoked: false };
    let (ring, hash) = (Arc::clone(ring), made.hash);
    scope.after_commit(move || ring.insert(hash, row));
    Ok(ApiKey {
        id,
        account: org,
        team,
        user,
        mode: new.mode.as_str(),
        name: made.name.clone(),
        prefix: made.prefix.clone(),
        models: new.models.clone(),
        expires_at: made.expires_at.map(rfc3339),
        created_at: rfc3339(now_us),
        state: state(None, made.expires_at, now_us),
        revoked_at: None,
    })
}

fn view(row: &sqlx::sqlite::SqliteRow, now_us: i64) -> Result<ApiKey, LedgerError> {
    let bytes = |column| -> Result<[u8; 16], LedgerError> {
        let bytes: Vec<u8> = row.try_get(column)?;
        bytes.try_into().map_err(|_| LedgerError::Refused { problem: "a key's row holds an id that has not 16 bytes".into() })
    };
    let optional = |column| row.try_get::<Option<Vec<u8>>, _>(column)?.map(|_| bytes(column)).transpose();
    let models: Option<String> = row.try_get(5)?;
    let expires_at: Option<i64> = row.try_get(6)?;
    let revoked_at: Option<i64> = row.try_get(8)?;
    Ok(ApiKey {
        id: KeyId::from_bytes(bytes(0)?),
        account: OrgId::from_bytes(bytes(1)?),
        team: optional(9)?.map(TeamId::from_bytes),
        user: optional(10)?.map(UserId::from_bytes),
        mode: if row.try_get::<String, _>(2)? == "live" { "live" } else { "test" },
        name: row.try_get(3)?,
        prefix: row.try_get(4)?,
        models: models.map(|json| serde_json::from_str(&json).unwrap_or_default()),
        expires_at: expires_at.map(rfc3339),
        created_at: rfc3339(row.try_get(7)?),
        state: state(revoked_at, expires_at, now_us),
        revoked_at: revoked_at.map(rfc3339),
    })
}

fn state(revoked_at: Option<i64>, expires_at: Option<i64>, now_us: i64) -> &'static str {
    match (revoked_at, expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(at)) if at <= now_us => "expired",
        (None, _) => "active",
    }
}

pub(super) fn to_us(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::state;

    #[test]
    fn a_key_is_revoked_before_it_is_expired() {
        assert_eq!(state(None, None, 10), "active");
        assert_eq!(state(None, Some(11), 10), "active");
        assert_eq!(state(None, Some(10), 10), "expired");
        assert_eq!(state(Some(3), Some(10), 10), "revoked");
        assert_eq!(state(Some(3), None, 10), "revoked");
    }
}
