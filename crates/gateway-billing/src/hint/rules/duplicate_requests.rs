//! Identical bodies, which a response cache would have answered.

use std::{collections::HashMap, sync::Arc};

use gateway_core::KeyId;
use serde_json::{Map, json};

use crate::{
    hint::{
        finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair},
        memory::Memory,
        rule::Rule,
        rules::group,
        seen::Seen,
    },
    money::{MoneyError, Nano},
};

/// How long an answer is taken to be good for.
const GOOD_FOR_US: i64 = 86_400_000_000;

/// Counts requests whose body was answered before.
pub(in crate::hint) struct DuplicateRequests {
    /// When each body was last paid for.
    paid: Memory<()>,
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

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError> {
        let settled = seen.settled;
        let Some(facts) = seen.facts else {
            self.coverage.not_known += 1;
            return Ok(());
        };
        self.coverage.requests += 1;
        let key = (settled.key, Arc::clone(&settled.served.model));
        let Some(repeats) = group(&mut self.sums, key, &mut self.coverage.capped) else { return Ok(()) };
        // The account's hash is keyed with the account; where all accounts are looked at, no two of them meet in it.
        let place = (0, facts.body);
        let again = self.paid.get(place, settled.arrived_us).is_some();
        if !again {
            // Only what is paid for begins a new day: an answer does not last longer for being asked for often.
            self.coverage.capped |= !self.paid.put(place, settled.arrived_us, ());
        }
        repeats.repeated += u64::from(again);
        repeats.pair.add(settled.id, settled.charge, if again { Nano::ZERO } else { settled.charge })
    }

    fn end(self: Box<Self>) -> Result<Findings, MoneyError> {
        let repeating = self.sums.into_iter().filter(|(_, repeats)| repeats.pair.tells());
        let found = repeating.map(|((key, model), repeats)| Finding {
            about: About { model: Some(model), key: Some(key), ..About::default() },
            effect: Effect::Charged,
            basis: Basis::Counted,
            pair: repeats.pair,
            assumptions: vec![
                "the first answer would have done again for 24 hours, kept by the caller: this gateway keeps no answers".to_owned(),
                "requests are identical only if every byte of their bodies is".to_owned(),
            ],
            details: Map::from_iter([("requests_repeated".to_owned(), json!(repeats.repeated))]),
        });
        Ok(Findings { found: found.collect(), coverage: self.coverage })
    }
}
