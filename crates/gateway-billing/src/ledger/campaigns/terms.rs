//! A campaign's row, and whether it gives anything now.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::Campaign;
use crate::{
    error::LedgerError,
    ledger::accounts::rfc3339,
    money::{Currency, Money, Nano},
};

/// A campaign's row.
pub(super) struct Terms {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) amount: Nano,
    pub(super) valid_days: Option<i64>,
    pub(super) grants_max: Option<i64>,
    pub(super) grants_made: i64,
    pub(super) starts_at: i64,
    pub(super) ends_at: Option<i64>,
    pub(super) created_at: i64,
}

pub(super) const COLUMNS: &str =
    "SELECT id, name, amount, valid_days, grants_max, grants_made, starts_at, ends_at, created_at FROM campaign";

impl Terms {
    pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<Self>, LedgerError> {
        let found = connection.prepare_cached(&format!("{COLUMNS} WHERE name = ?1"))?.query_row([name], Self::of_row).optional()?;
        Ok(found)
    }

    pub(super) fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            amount: Nano::new(row.get(2)?),
            valid_days: row.get(3)?,
            grants_max: row.get(4)?,
            grants_made: row.get(5)?,
            starts_at: row.get(6)?,
            ends_at: row.get(7)?,
            created_at: row.get(8)?,
        })
    }

    pub(super) fn state(&self, now_us: i64) -> &'static str {
        if self.ends_at.is_some_and(|at| at <= now_us) {
            "ended"
        } else if self.grants_max.is_some_and(|max| self.grants_made >= max) {
            "exhausted"
        } else if self.starts_at > now_us {
            "scheduled"
        } else {
            "running"
        }
    }

    pub(super) fn check_running(&self, now_us: i64) -> Result<(), LedgerError> {
        match self.state(now_us) {
            "running" => Ok(()),
            "exhausted" => Err(self.exhausted()),
            "scheduled" => Err(LedgerError::conflict(format!("the campaign `{}` begins at {}", self.name, rfc3339(self.starts_at)))),
            _ => Err(LedgerError::conflict(format!("the campaign `{}` has ended", self.name))),
        }
    }

    pub(super) fn exhausted(&self) -> LedgerError {
        let max = self.grants_max.unwrap_or(self.grants_made);
        LedgerError::conflict(format!("the campaign `{}` has made all of its {max} grants", self.name))
    }

    pub(super) fn view(self, now_us: i64) -> Campaign {
        Campaign {
            state: self.state(now_us),
            amount: Money::new(self.amount, Currency::USD),
            valid_days: self.valid_days,
            grants_max: self.grants_max,
            grants_made: self.grants_made,
            starts_at: rfc3339(self.starts_at),
            ends_at: self.ends_at.map(rfc3339),
            created_at: rfc3339(self.created_at),
            name: self.name,
        }
    }
}
