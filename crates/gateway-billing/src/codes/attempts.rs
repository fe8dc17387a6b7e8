//! How often somebody may try a code that is none. In memory only: a restart forgives, and 128 bits are not guessed in between.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use gateway_core::{KeyId, OrgId};
use parking_lot::Mutex;

/// Wrong codes within the window: of one key, and of all keys of an account.
const WRONG_OF_KEY_MAX: usize = 10;
const WRONG_OF_ACCOUNT_MAX: usize = 30;

/// How long a wrong code counts.
const WINDOW_US: i64 = 3_600 * 1_000_000;

/// Most keys and accounts remembered at once; beyond it the ones that tried longest ago are forgotten.
const ENTRIES_MAX: usize = 20_000;

/// Too many wrong codes: the next may be tried after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) Duration);

type Who = [u8; 16];

#[derive(Debug, Default)]
struct Tries {
    wrong: VecDeque<i64>,
    /// Tries whose outcome is not known yet. They count, or a thousand at once would all pass.
    pending: usize,
}

/// Counts wrong codes.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    of: Mutex<HashMap<Who, Tries>>,
}

impl Attempts {
    /// Lets somebody try a code, or says when they may.
    pub(crate) fn begin(&self, org: OrgId, key: KeyId, now_us: i64) -> Result<Attempt<'_>, TooMany> {
        let who = [(*key.as_bytes(), WRONG_OF_KEY_MAX), (*org.as_bytes(), WRONG_OF_ACCOUNT_MAX)];
        let mut of = self.of.lock();
        for (who, max) in who {
            if let Some(tries) = of.get_mut(&who) {
                tries.forget(now_us);
                if tries.wrong.len() + tries.pending >= max {
                    return Err(tries.wait(max, now_us));
                }
            }
        }
        make_room(&mut of, now_us);
        let who = who.map(|(who, _)| who);
        for who in who {
            of.entry(who).or_default().pending += 1;
        }
        Ok(Attempt { attempts: self, who, wrong_at: None })
    }
}

/// One try. It counts as right unless it is said to be wrong.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    attempts: &'a Attempts,
    who: [Who; 2],
    wrong_at: Option<i64>,
}

impl Attempt<'_> {
    /// There is no such code.
    pub(crate) fn was_wrong(mut self, now_us: i64) {
        self.wrong_at = Some(now_us);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut of = self.attempts.of.lock();
        for who in self.who {
            let Some(tries) = of.get_mut(&who) else { continue };
            tries.pending = tries.pending.saturating_sub(1);
            tries.wrong.extend(self.wrong_at);
            if tries.wrong.is_empty() && tries.pending == 0 {
                of.remove(&who);
            }
        }
    }
}

impl Tries {
    fn forget(&mut self, now_us: i64) {
        // A clock that was set back leaves tries in the future; they are forgotten too.
        self.wrong.retain(|at| (now_us.saturating_sub(WINDOW_US)..=now_us).contains(at));
    }

    fn wait(&self, max: usize, now_us: i64) -> TooMany {
        let oldest = self.wrong.front().filter(|_| self.wrong.len() >= max);
        let wait_us = oldest.map_or(1_000_000, |at| at.saturating_add(WINDOW_US).saturating_sub(now_us).max(1_000_000));
        TooMany(Duration::from_micros(wait_us.unsigned_abs()))
    }
}

fn make_room(of: &mut HashMap<Who, Tries>, now_us: i64) {
    if of.len() + 2 <= ENTRIES_MAX {
        return;
    }
    of.retain(|_, tries| {
        tries.forget(now_us);
        tries.pending > 0 || !tries.wrong.is_empty()
    });
    while of.len() + 2 > ENTRIES_MAX {
        let idle = of.iter().filter(|(_, tries)| tries.pending == 0);
        let Some(oldest) = idle.min_by_key(|(_, tries)| tries.wrong.back().copied()).map(|(who, _)| *who) else { return };
        of.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = WINDOW_US;

    fn org(n: u8) -> OrgId {
        OrgId::from_bytes([n; 16])
    }

    fn key(n: u8) -> KeyId {
        KeyId::from_bytes([100 + n; 16])
    }

    fn wrong(attempts: &Attempts, org_n: u8, key_n: u8, at: i64) -> bool {
        attempts.begin(org(org_n), key(key_n), at).map(|attempt| attempt.was_wrong(at)).is_ok()
    }

    #[test]
    fn ten_wrong_codes_an_hour_and_thirty_of_an_account() {
        let attempts = Attempts::default();
        for at in 0..10 {
            assert!(wrong(&attempts, 1, 1, at * 1_000_000));
        }
        let refused = attempts.begin(org(1), key(1), 10_000_000).unwrap_err();
        assert_eq!(refused, TooMany(Duration::from_secs(3_590)));
        for n in 0..20 {
            assert!(wrong(&attempts, 1, 2 + n / 10, 20_000_000), "{n}");
        }
        assert!(!wrong(&attempts, 1, 9, 30_000_000), "the account has tried thirty");
        assert!(wrong(&attempts, 2, 10, 30_000_000), "another account has not");
        assert!(wrong(&attempts, 1, 1, HOUR + 1), "after an hour the first one is forgotten");
        assert!(!wrong(&attempts, 1, 1, HOUR + 2));
    }

    #[test]
    fn right_codes_do_not_count_and_tries_at_once_do() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            drop(attempts.begin(org(1), key(1), 5).unwrap());
        }
        assert!(attempts.of.lock().is_empty());
        let at_once: Vec<_> = (0..10).map(|_| attempts.begin(org(1), key(1), 5).unwrap()).collect();
        assert_eq!(attempts.begin(org(1), key(1), 5).unwrap_err(), TooMany(Duration::from_secs(1)));
        drop(at_once);
        assert!(attempts.begin(org(1), key(1), 5).is_ok());
    }

    #[test]
    fn the_table_stays_small() {
        let attempts = Attempts::default();
        for n in 0..ENTRIES_MAX as u64 + 500 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&n.to_be_bytes());
            let at = i64::try_from(n).unwrap() * HOUR / 20;
            attempts.begin(org(1), KeyId::from_bytes(id), at).unwrap().was_wrong(at);
        }
        assert!(attempts.of.lock().len() <= ENTRIES_MAX);
    }
}
