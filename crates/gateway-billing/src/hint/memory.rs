//! What a rule remembers of requests for a while, within a bound.

use std::collections::HashMap;

/// Most entries that are remembered at once: some ten megabytes.
const ENTRIES_MAX: usize = 200_000;
/// What is forgotten is looked for at most so often while a memory lasts: to look through all of it for each new entry would
/// take for ever.
const LOOKS: i64 = 8;

/// Values by place and hash, each for so long after its last touch. Time is that of the requests, which come in its order.
#[derive(Debug)]
pub(super) struct Memory<V> {
    entries: HashMap<(usize, u64), (i64, V)>,
    lasting_us: i64,
    entries_max: usize,
    look_again_us: i64,
}

impl<V> Memory<V> {
    /// Remembers for this many microseconds.
    pub(super) fn lasting(lasting_us: i64) -> Self {
        Self { entries: HashMap::new(), lasting_us, entries_max: ENTRIES_MAX, look_again_us: i64::MIN }
    }

    /// What is remembered here, if it is not forgotten yet.
    pub(super) fn get(&mut self, place: (usize, u64), now_us: i64) -> Option<&mut V> {
        let (at, value) = self.entries.get_mut(&place)?;
        (now_us - *at <= self.lasting_us).then_some(value)
    }

    /// Begins the time of an entry anew, if there is one.
    pub(super) fn touch(&mut self, place: (usize, u64), now_us: i64) {
        if let Some((at, _)) = self.entries.get_mut(&place) {
            *at = now_us;
        }
    }

    /// Remembers a value from now on; `false`: there is no room for another.
    pub(super) fn put(&mut self, place: (usize, u64), now_us: i64, value: V) -> bool {
        if self.entries.len() >= self.entries_max && !self.entries.contains_key(&place) {
            if now_us >= self.look_again_us {
                let lasting_us = self.lasting_us;
                self.entries.retain(|_, (at, _)| now_us - *at <= lasting_us);
                self.look_again_us = now_us.saturating_add(lasting_us / LOOKS);
            }
            if self.entries.len() >= self.entries_max {
                return false;
            }
        }
        self.entries.insert(place, (now_us, value));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_makes_room_and_what_is_not_keeps_its_place() {
        let mut memory = Memory { entries_max: 2, ..Memory::lasting(80) };
        assert!(memory.put((0, 1), 0, 'a') && memory.put((1, 1), 50, 'b'));
        let get = |memory: &mut Memory<char>, place, now| memory.get(place, now).copied();
        assert_eq!((get(&mut memory, (0, 1), 80), get(&mut memory, (0, 1), 81), get(&mut memory, (2, 1), 0)), (Some('a'), None, None));
        // Full, and nothing is old enough to go.
        assert!(!memory.put((0, 2), 60, 'c'));
        assert!(memory.put((1, 1), 60, 'd'), "what is there already is no other entry");
        // The first is forgotten by now, but it is looked for again only after ten microseconds.
        assert!(memory.put((0, 2), 90, 'c'));
        assert_eq!((get(&mut memory, (0, 1), 90), get(&mut memory, (1, 1), 140)), (None, Some('d')));
        assert!(!memory.put((0, 3), 99, 'e'));
        assert!(memory.put((0, 3), 141, 'e'));
    }
}
