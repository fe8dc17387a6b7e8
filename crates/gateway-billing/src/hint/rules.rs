//! The rules, one file each.

pub(super) mod batch_or_flex;
pub(super) mod cache_write_waste;
pub(super) mod cheaper_model;
pub(super) mod cheaper_route;
pub(super) mod duplicate_requests;
pub(super) mod long_context_step;
pub(super) mod off_peak;
pub(super) mod oversized_limit;
pub(super) mod prompt_cache;

use std::{collections::HashMap, hash::Hash};

use super::{finding::Coverage, seen::Seen};

/// Most groups that a rule keeps apart: keys, models and places of one account come nowhere near.
const GROUPS_MAX: usize = 10_000;

/// Whether the wallet paid less than the price of the request, and so might have saved less: it is left out.
fn written_off(seen: &Seen<'_>, coverage: &mut Coverage) -> bool {
    let partly = !seen.settled.written_off.is_zero();
    if partly {
        coverage.exclude("written_off");
    }
    partly
}

/// The sums of a group, made when it is first met; `None`: there are as many as there may be.
fn group<'m, K: Hash + Eq, V: Default>(groups: &'m mut HashMap<K, V>, key: K, capped: &mut bool) -> Option<&'m mut V> {
    if groups.len() >= GROUPS_MAX && !groups.contains_key(&key) {
        *capped = true;
        return None;
    }
    Some(groups.entry(key).or_default())
}
