//! Output limits far above what is ever used, for which money is held.

use std::{collections::HashMap, sync::Arc};

use gateway_core::{KeyId, RequestId};
use serde_json::{Map, json};

use crate::{
    hint::{
        finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair},
        rule::Rule,
        rules::group,
        seen::Seen,
    },
    money::{MoneyError, Pico, nano_of_scaled},
    price::Sku,
};

/// Smaller limits hold little.
const LIMIT_MIN: u32 = 1_024;
/// A limit is far above another if it is at least so many times as high.
const FAR: u64 = 4;
/// No lower limit is proposed.
const PROPOSED_MIN: u64 = 256;

/// Compares limits with the longest answer under each.
#[derive(Default)]
pub(in crate::hint) struct OversizedLimit {
    sums: HashMap<(KeyId, Arc<str>, u32), Under>,
    coverage: Coverage,
}

#[derive(Default)]
struct Under {
    requests: u64,
    longest: u64,
    /// Σ price of an output token × multiplier × choices, in pico × ppm.
    rates: i128,
    example: Option<RequestId>,
}

impl Rule for OversizedLimit {
    fn id(&self) -> &'static str {
        "oversized_limit"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError> {
        let Some(facts) = seen.facts else {
            self.coverage.not_known += 1;
            return Ok(());
        };
        let Some(limit) = facts.output_limit else {
            self.coverage.exclude("no_limit");
            return Ok(());
        };
        self.coverage.requests += 1;
        if limit < LIMIT_MIN {
            return Ok(());
        }
        let (settled, leaves) = (seen.settled, seen.leaves);
        let key = (settled.key, Arc::clone(&settled.served.model), limit);
        let Some(under) = group(&mut self.sums, key, &mut self.coverage.capped) else { return Ok(()) };
        let choices = u64::from(facts.choices.max(1));
        let rate = seen.price.rate_at(&Sku::OUT, leaves.input_tokens(), leaves.service_tier(), settled.arrived_us);
        let rate = i128::from(rate.map_or(0, Pico::get)) * i128::from(seen.plan.multiplier.get()) * i128::from(choices);
        under.rates = under.rates.checked_add(rate).ok_or(MoneyError::TooLarge)?;
        under.requests += 1;
        under.longest = under.longest.max(leaves.output_tokens().div_ceil(choices));
        under.example.get_or_insert(settled.id);
        Ok(())
    }

    fn end(self: Box<Self>) -> Result<Findings, MoneyError> {
        let mut found = Vec::new();
        for ((key, model, limit), under) in self.sums {
            let proposed = under.longest.saturating_mul(2).max(PROPOSED_MIN).checked_next_power_of_two().unwrap_or(u64::MAX);
            if proposed.saturating_mul(FAR) > u64::from(limit) {
                continue;
            }
            let held = |limit: u64| nano_of_scaled(under.rates.checked_mul(i128::from(limit)).ok_or(MoneyError::TooLarge)?);
            let pair = Pair::of(under.requests, held(u64::from(limit))?, held(proposed)?, under.example);
            if !pair.tells() {
                continue;
            }
            found.push(Finding {
                about: About { model: Some(model), key: Some(key), ..About::default() },
                effect: Effect::Held,
                basis: Basis::Estimated,
                pair,
                assumptions: vec![
                    "nothing is saved on the bill: what is held and not used is given back when a request ends, and until then other \
                     requests cannot have it"
                        .to_owned(),
                    format!("no answer becomes longer than twice the longest so far, {} tokens", under.longest),
                ],
                details: Map::from_iter([
                    ("output_limit".to_owned(), json!(limit)),
                    ("output_tokens_most".to_owned(), json!(under.longest)),
                    ("output_limit_proposed".to_owned(), json!(proposed)),
                ]),
            });
        }
        Ok(Findings { found, coverage: self.coverage })
    }
}
