//! Ids for tool calls that came without one. Gemini before 3 names a call by the function alone; callers of other
//! protocols need an id to tie a result to.
//!
//! A made-up id is `gemini_`, sixteen hexadecimal digits and the call's number in the answer. The digits are a digest of
//! the answer's id, of how many calls the conversation already held and of the answer's first call, so that two turns of
//! one conversation cannot collide and the same answer always gets the same ids. It fits every protocol's rules (40
//! characters of `[A-Za-z0-9_-]`). On the way back such an id is left out again: Gemini then goes by name and order.

use std::fmt::Write as _;

const PREFIX: &str = "gemini_";

/// What the request encoder tells the decoder.
pub(super) struct Sent {
    /// Tool calls in the history that was sent.
    pub(super) calls: u32,
}

/// Whether an id was made up here.
pub(super) fn is_made_up(id: &str) -> bool {
    id.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).is_some_and(|(digest, number)| {
        digest.len() == 16
            && digest.bytes().all(|b| b.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Makes ids up for the calls of one choice.
pub(super) struct Ids {
    seed: u64,
    made: u32,
}

impl Ids {
    /// For one choice of an answer to a conversation that already holds `calls` calls.
    pub(super) fn new(calls: u32, choice: u32) -> Self {
        Self { seed: fnv(fnv(FNV_OFFSET, &calls.to_le_bytes()), &choice.to_le_bytes()), made: 0 }
    }

    /// Mixes in the answer's own id. Only before the first id is made: the ids of an answer share their digest.
    pub(super) fn answer(&mut self, id: &str) {
        if self.made == 0 {
            self.seed = fnv(self.seed, id.as_bytes());
        }
    }

    /// The next id. The first call's name and arguments are part of the digest.
    pub(super) fn next(&mut self, name: &str, arguments: &str) -> String {
        if self.made == 0 {
            self.seed = fnv(fnv(self.seed, name.as_bytes()), arguments.as_bytes());
        }
        let mut id = String::with_capacity(PREFIX.len() + 20);
        // Writing to a string cannot fail.
        let _ = write!(id, "{PREFIX}{:016x}_{}", self.seed, self.made);
        self.made += 1;
        id
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: short, stable across builds, and nobody gains by forging it.
fn fnv(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_deterministic_distinct_and_recognised() {
        let made = |calls: u32, answer: &str| {
            let mut ids = Ids::new(calls, 0);
            ids.answer(answer);
            [ids.next("look", "{}"), ids.next("look", "{}")]
        };
        let [first, second] = made(0, "abc");
        assert_eq!([first.clone(), second.clone()], made(0, "abc"));
        assert_ne!(first, second);
        assert_ne!(first, made(1, "abc")[0], "the same call in a later turn");
        assert_ne!(first, made(0, "abd")[0], "another answer");
        assert_ne!(Ids::new(0, 1).next("look", "{}"), Ids::new(0, 0).next("look", "{}"), "another choice");
        for id in [&first, &second] {
            assert!(is_made_up(id), "{id}");
            assert!(id.len() <= 40 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{id}");
        }
    }

    #[test]
    fn other_ids_are_not_taken_for_ours() {
        for id in ["", "call_abc", "gemini_", "gemini_0123456789abcdef", "gemini_0123456789abcdef_", "gemini_0123456789abcdeg_0"] {
            assert!(!is_made_up(id), "{id}");
        }
    }
}
