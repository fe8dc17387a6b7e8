//! How much of what providers bill a key's callers may leave unpaid by hanging up before the first byte.
//!
//! Nothing delivered is nothing charged; without a limit that would invite sending long prompts and hanging up.

use std::collections::HashMap;

use gateway_core::KeyId;
use parking_lot::Mutex;
use rusqlite::Connection;

use crate::{budget::QUARTER_US, error::LedgerError, money::Nano};

/// What a key may leave unpaid in a day unless the options say otherwise: one dollar.
pub const ABANDON_ALLOWANCE: Nano = Nano::new(1_000_000_000);

const DAY_US: i64 = 96 * QUARTER_US;

/// What each key's callers have left unpaid today, UTC.
#[derive(Debug)]
pub(crate) struct Allowances {
    a_day: Nano,
    used: Mutex<Today>,
}

#[derive(Debug, Default)]
struct Today {
    day: i64,
    keys: HashMap<KeyId, i64>,
}

impl Allowances {
    /// As the database has them.
    pub(crate) fn load(connection: &Connection, a_day: Nano, now_us: i64) -> Result<Self, LedgerError> {
        let day = now_us.div_euclid(DAY_US);
        let mut statement = connection.prepare("SELECT api_key, amount FROM abandoned WHERE day = ?1")?;
        let keys = statement.query_map([day], |row| Ok((KeyId::from_bytes(row.get(0)?), row.get(1)?)))?.collect::<Result<_, _>>()?;
        Ok(Self { a_day, used: Mutex::new(Today { day, keys }) })
    }

    /// Whether this much more may be left unpaid; if so it is noted.
    pub(super) fn allow(&self, key: KeyId, amount: Nano, now_us: i64) -> bool {
        let day = now_us.div_euclid(DAY_US);
        let mut today = self.used.lock();
        if today.day < day {
            *today = Today { day, keys: HashMap::new() };
        }
        let used = today.keys.get(&key).copied().unwrap_or(0);
        let with_it = used.saturating_add(amount.get());
        let allowed = with_it <= self.a_day.get();
        if allowed && with_it != used {
            today.keys.insert(key, with_it);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_an_allowance_and_each_key_its_own() {
        let allowances = Allowances { a_day: Nano::new(100), used: Mutex::default() };
        let (one, other) = (KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
        assert!(allowances.allow(one, Nano::new(60), DAY_US));
        assert!(!allowances.allow(one, Nano::new(41), DAY_US + 5));
        assert!(allowances.allow(one, Nano::new(40), DAY_US + 5), "what was refused is not counted");
        assert!(!allowances.allow(one, Nano::new(1), 2 * DAY_US - 1));
        assert!(allowances.allow(one, Nano::ZERO, 2 * DAY_US - 1));
        assert!(allowances.allow(other, Nano::new(100), 2 * DAY_US - 1));
        assert!(allowances.allow(one, Nano::new(100), 2 * DAY_US), "a new day");
    }
}
