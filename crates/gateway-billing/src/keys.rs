//! API keys: made once, stored as keyed hashes, answered from memory.
//!
//! The database never holds a key, only its HMAC-SHA-256 under the server's secret, so a stolen database opens nothing.
//! All keys are loaded at start; a revocation takes effect with the answer that confirms it.

mod format;
mod secret;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use gateway_core::{Clock, KeyId, KeyRefusal, KeyStore, Mode, ModelAllowList, OrgId, Principal, Secret, TeamId, UserId};
use parking_lot::RwLock;
use ring::hmac;
use rusqlite::{Connection, OptionalExtension as _};

pub(crate) use self::{format::make, secret::server_secret};
use crate::error::LedgerError;

/// What a stored key is looked up by.
type KeyHash = [u8; 32];

#[derive(Debug, Clone)]
struct Record {
    hash: KeyHash,
    principal: Arc<Principal>,
    expires_at: Option<SystemTime>,
    revoked: bool,
}

/// All keys, in memory.
#[derive(Debug)]
pub struct KeyRing {
    secret: hmac::Key,
    records: RwLock<HashMap<KeyHash, Record>>,
    clock: Arc<dyn Clock>,
}

/// A key's row without its hash.
pub(crate) struct KeyRow {
    pub(crate) id: KeyId,
    pub(crate) org: OrgId,
    pub(crate) team: Option<TeamId>,
    pub(crate) user: Option<UserId>,
    pub(crate) mode: Mode,
    pub(crate) models: ModelAllowList,
    pub(crate) expires_at: Option<i64>,
    pub(crate) revoked: bool,
}

impl KeyRing {
    /// Loads every key.
    pub(crate) fn load(connection: &Connection, secret: hmac::Key, clock: Arc<dyn Clock>) -> Result<Self, LedgerError> {
        let mut statement = connection.prepare("SELECT id, org, mode, hash, models, expires_at, revoked_at, team, user FROM api_key")?;
        let mut rows = statement.query([])?;
        let mut records = HashMap::new();
        while let Some(row) = rows.next()? {
            let hash: KeyHash = row.get(3)?;
            let models: Option<String> = row.get(4)?;
            let key = KeyRow {
                id: KeyId::from_bytes(row.get(0)?),
                org: OrgId::from_bytes(row.get(1)?),
                team: row.get::<_, Option<[u8; 16]>>(7)?.map(TeamId::from_bytes),
                user: row.get::<_, Option<[u8; 16]>>(8)?.map(UserId::from_bytes),
                mode: if row.get::<_, String>(2)? == "live" { Mode::Live } else { Mode::Test },
                models: allow_list(models.as_deref()),
                expires_at: row.get(5)?,
                revoked: row.get::<_, Option<i64>>(6)?.is_some(),
            };
            records.insert(hash, key.into_record(hash));
        }
        Ok(Self { secret, records: RwLock::new(records), clock })
    }

    /// The hash under which a key is stored.
    pub(crate) fn hash(&self, key: &str) -> KeyHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.secret, key.as_bytes()).as_ref());
        hash
    }

    /// Adds a key whose row is committed.
    pub(crate) fn insert(&self, hash: KeyHash, row: KeyRow) {
        self.records.write().insert(hash, row.into_record(hash));
    }

    /// Marks a key as revoked, its row being committed.
    pub(crate) fn revoke(&self, id: KeyId) {
        for record in self.records.write().values_mut() {
            record.revoked |= record.principal.key == id;
        }
    }

    fn find(&self, presented: &str) -> Result<Arc<Principal>, KeyRefusal> {
        let presented = presented.trim();
        format::check(presented)?;
        let hash = self.hash(presented);
        let records = self.records.read();
        // The map is searched by a keyed hash, which a stranger cannot steer; the final comparison is constant-time.
        let record = records.get(&hash).filter(|record| equal(&record.hash, &hash)).ok_or(KeyRefusal::Unknown)?;
        if record.revoked {
            return Err(KeyRefusal::Revoked);
        }
        if record.expires_at.is_some_and(|at| self.clock.wall() >= at) {
            return Err(KeyRefusal::Expired);
        }
        Ok(Arc::clone(&record.principal))
    }
}

impl KeyRow {
    fn into_record(self, hash: KeyHash) -> Record {
        let expires_at = self.expires_at.map(from_us);
        let Self { org, id: key, team, user, mode, models, .. } = self;
        let principal = Principal { org, key, team, user, mode, models, expires_at };
        Record { hash, principal: Arc::new(principal), expires_at, revoked: self.revoked }
    }
}

#[async_trait]
impl KeyStore for KeyRing {
    async fn authenticate(&self, presented: &Secret) -> Result<Arc<Principal>, KeyRefusal> {
        self.find(presented.expose())
    }
}

/// The allow-list as its column stores it; unreadable text allows nothing.
pub(crate) fn allow_list(models: Option<&str>) -> ModelAllowList {
    match models {
        None => ModelAllowList::All,
        Some(json) => ModelAllowList::Only(serde_json::from_str::<Vec<Box<str>>>(json).unwrap_or_default().into()),
    }
}

/// The models that a key may use; one that only another store knows may use all.
pub(crate) fn models_of(connection: &Connection, key: &KeyId) -> rusqlite::Result<ModelAllowList> {
    let models = connection
        .query_row("SELECT models FROM api_key WHERE id = ?1", [&key.as_bytes()[..]], |row| row.get::<_, Option<String>>(0))
        .optional()?;
    Ok(allow_list(models.flatten().as_deref()))
}

pub(crate) fn from_us(us: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(us.max(0).unsigned_abs())
}

/// Takes the same time wherever the two differ.
fn equal(a: &KeyHash, b: &KeyHash) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
