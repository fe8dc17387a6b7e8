//! Repeats of an operator's commands: what the first one answered is stored with what it did, and a repeat gets the same.

use ring::digest::{SHA256, digest};
use rusqlite::{OptionalExtension as _, params};
use serde_json::Value;

use crate::{error::LedgerError, journal::Scope};

const KEY_CHARS_MAX: usize = 200;

/// One command, under the key its sender chose for it.
#[derive(Debug, Clone)]
pub(super) struct Once {
    key: String,
    body_sha: [u8; 32],
}

impl Once {
    /// A command of this kind; `body` is everything that makes it what it is.
    pub(super) fn new(kind: &str, key: &str, body: &str) -> Result<Self, LedgerError> {
        let key = key.trim();
        if key.is_empty() || key.len() > KEY_CHARS_MAX {
            return Err(LedgerError::invalid("Idempotency-Key", format!("must have 1 to {KEY_CHARS_MAX} characters")));
        }
        let mut body_sha = [0; 32];
        body_sha.copy_from_slice(digest(&SHA256, body.as_bytes()).as_ref());
        Ok(Self { key: format!("{kind}:{key}"), body_sha })
    }

    /// What it answered before, if it ran before.
    pub(super) fn earlier(&self, scope: &Scope<'_>) -> Result<Option<Value>, LedgerError> {
        let earlier: Option<(Vec<u8>, String)> = scope
            .connection()
            .prepare_cached("SELECT body_sha, answer FROM admin_idem WHERE key = ?1")?
            .query_row([&self.key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match earlier {
            None => Ok(None),
            Some((sha, _)) if sha != self.body_sha => {
                Err(LedgerError::conflict("this Idempotency-Key was used for a different request; use a new key for a new one"))
            }
            Some((_, answer)) => {
                serde_json::from_str(&answer).map(Some).map_err(|_| LedgerError::Refused { problem: "a stored answer is damaged".into() })
            }
        }
    }

    /// The kind and the key together, as the books name it.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The key as its sender chose it.
    pub(super) fn name(&self) -> &str {
        self.key.split_once(':').map_or(&*self.key, |(_, name)| name)
    }

    /// Makes way for another answer.
    pub(super) fn forget(&self, scope: &Scope<'_>) -> Result<(), LedgerError> {
        scope.connection().execute("DELETE FROM admin_idem WHERE key = ?1", [&self.key])?;
        Ok(())
    }

    /// Stores what it answers.
    pub(super) fn keep(&self, scope: &Scope<'_>, answer: &Value) -> Result<(), LedgerError> {
        scope
            .connection()
            .prepare_cached("INSERT INTO admin_idem(key, body_sha, answer, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.key, &self.body_sha[..], answer.to_string(), scope.now_us()])?;
        Ok(())
    }
}
