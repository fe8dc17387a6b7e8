//! Keys that never stream, on prices that have a cheaper tier for those who can wait.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use gateway_core::KeyId;
use serde_json::{Map, json};

use crate::{
    hint::{
        finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair},
        rule::Rule,
        rules::{group, written_off},
        seen::Seen,
    },
    money::MoneyError,
};

/// The tiers that trade time for money, the one that a call can ask for first.
const PATIENT: [&str; 2] = ["flex", "batch"];

/// Prices what keys without streams used in each patient tier.
#[derive(Default)]
pub(in crate::hint) struct BatchOrFlex {
    streaming: HashSet<KeyId>,
    sums: HashMap<(KeyId, Arc<str>, usize), Pair>,
    coverage: Coverage,
}

impl Rule for BatchOrFlex {
    fn id(&self) -> &'static str {
        "batch_or_flex"
    }

    fn coverage(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError> {
        let settled = seen.settled;
        if settled.stream {
            self.streaming.insert(settled.key);
            self.coverage.exclude("streamed");
            return Ok(());
        }
        if written_off(seen, &mut self.coverage) {
            return Ok(());
        }
        // What was served in a tier was asked for in it, or is what the provider made of it.
        let tier = seen.leaves.service_tier().unwrap_or("default");
        if !["default", "standard", "auto"].iter().any(|usual| usual.eq_ignore_ascii_case(tier)) {
            self.coverage.exclude("in_a_tier");
            return Ok(());
        }
        self.coverage.requests += 1;
        let tiers = || seen.price.terms().overrides.iter().filter_map(|entry| entry.when.service_tier.as_deref());
        for (n, patient) in PATIENT.into_iter().enumerate() {
            if !tiers().any(|known| known.eq_ignore_ascii_case(patient)) {
                continue;
            }
            let key = (settled.key, Arc::clone(&settled.served.model), n);
            let Some(pair) = group(&mut self.sums, key, &mut self.coverage.capped) else { continue };
            let leaves = seen.leaves.clone().in_tier(Some(patient));
            pair.add(settled.id, settled.charge, seen.priced(seen.price, &leaves)?)?;
        }
        Ok(())
    }

    fn end(self: Box<Self>) -> Findings {
        let Self { streaming, sums, coverage } = *self;
        let patient = sums.into_iter().filter(|((key, ..), pair)| !streaming.contains(key) && pair.tells());
        let found = patient.map(|((key, model, n), pair)| Finding {
            about: About { model: Some(model), key: Some(key), ..About::default() },
            effect: Effect::Charged,
            basis: Basis::Counted,
            pair,
            assumptions: vec![
                "the key's callers can wait: none of its requests in the period was streamed".to_owned(),
                match PATIENT[n] {
                    "batch" => "the requests go to the provider's batch interface, which this gateway does not serve".to_owned(),
                    tier => format!("the requests say `\"service_tier\": \"{tier}\"`, and the provider has room for them"),
                },
            ],
            details: Map::from_iter([("service_tier".to_owned(), json!(PATIENT[n]))]),
        });
        Findings { found: found.collect(), coverage }
    }
}
