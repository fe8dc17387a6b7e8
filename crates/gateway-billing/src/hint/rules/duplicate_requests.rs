//! Identical bodies, which a response cache would have answered.

use std::{collections::HashMap, sync::Arc};

use gateway_core::KeyId;
use serde_json::{Map, json};

use crate::{
    hint::{
        finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair},
        memory::Memory,
        rule::Rule,
        rules::{group, written_off},
        seen::Seen,
    },
    money::{MoneyError, Nano},
    usage::{UsageFlags, UsageSource},
};

/// How long an answer is taken to be good for.
const GOOD_FOR_US: i64 = 86_400_000_000;

/// Counts requests whose body was answered before.
pub(in crate::hint) struct DuplicateRequests {
    /// Each body from when it was last paid for, with the end of its answer.
    paid: Memory<i64>,
    sums: HashMap<(KeyId, Arc<str>), Repeats>,
    coverage: Coverage,
}

#[derive(Default)]
struct Repeats {
    pair: Pair,
    repeated: u64,
}

impl Default for DuplicateRequests {
    fn default() -> Self {
        Self { paid: Memory::lasting(GOOD_FOR_US), sums: HashMap::new(), coverage: Coverage::default() }
    }
}

impl Rule for DuplicateRequests {
    fn id(&self) -> &'static str {
        "duplicate_requests"
    }

    fn coverage(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError> {
        if written_off(seen, &mut self.coverage) {
            return Ok(());
        }
        let settled = seen.settled;
        let Some(facts) = seen.facts else {
            self.coverage.not_known += 1;
            return Ok(());
        };
        self.coverage.requests += 1;
        let key = (settled.key, Arc::clone(&settled.served.model));
        let Some(repeats) = group(&mut self.sums, key, &mut self.coverage.capped) else { return Ok(()) };
        // Hashes of two accounts never say that their requests were the same.
        let place = (usize::try_from(settled.wallet).unwrap_or_default(), facts.body);
        let known = self.paid.get(place, settled.arrived_us).map(|ended_us| *ended_us);
        if known.is_none() && is_answered(seen) {
            // Only what is paid for begins a new day: an answer does not last longer for being asked for often.
            self.coverage.capped |= !self.paid.put(place, settled.arrived_us, settled.ended_us);
        }
        // Nobody has an answer before it is there.
        let again = known.is_some_and(|ended_us| ended_us <= settled.arrived_us);
        repeats.repeated += u64::from(again);
        repeats.pair.add(settled.id, settled.charge, if again { Nano::ZERO } else { settled.charge })
    }

    fn end(self: Box<Self>) -> Findings {
        let repeating = self.sums.into_iter().filter(|(_, repeats)| repeats.pair.tells());
        let found = repeating.map(|((key, model), repeats)| Finding {
            about: About { model: Some(model), key: Some(key), ..About::default() },
            effect: Effect::Charged,
            basis: Basis::Counted,
            pair: repeats.pair,
            assumptions: vec![
                "the first whole answer would have done again for 24 hours, kept by the caller: this gateway keeps no answers".to_owned(),
                "requests are identical only if every byte of their bodies is".to_owned(),
            ],
            details: Map::from_iter([("requests_repeated".to_owned(), json!(repeats.repeated))]),
        });
        Findings { found: found.collect(), coverage: self.coverage }
    }
}

/// Whether the caller has a whole answer that it could have kept: asking again for one that never came is no waste.
fn is_answered(seen: &Seen<'_>) -> bool {
    let broken = [UsageFlags::NO_FINAL_USAGE, UsageFlags::ABANDONED];
    seen.settled.source == Some(UsageSource::Reported) && !broken.into_iter().any(|flag| seen.settled.flags.has(flag))
}
