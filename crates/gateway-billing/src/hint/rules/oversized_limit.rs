//! Output limits far above what is ever used, for which money is held.

use std::{collections::HashMap, sync::Arc};

use gateway_core::{KeyId, RequestId};
use serde_json::{Map, json};

use crate::{
    hint::{
        finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair, sum},
        offers::Offer,
        rule::Rule,
        rules::group,
        seen::Seen,
    },
    money::{MoneyError, Nano, Pico, nano_of_scaled},
    price::Sku,
    scan::ScanServed,
};

/// Smaller limits hold little.
const LIMIT_MIN: u64 = 1_024;
/// A limit is far above another if it is at least so many times as high.
const FAR: u64 = 4;
/// No lower limit is proposed.
const PROPOSED_MIN: u64 = 256;

/// Compares limits with the longest answer under each.
pub(in crate::hint) struct OversizedLimit {
    offers: Arc<[Offer]>,
    sums: HashMap<(KeyId, Arc<str>, u32), Under>,
    coverage: Coverage,
}

#[derive(Default)]
struct Under {
    requests: u64,
    longest: u64,
    /// The highest limit that was in force: a place ends answers at its own maximum.
    limit: u64,
    /// Σ price of an output token × multiplier × choices, in pico × ppm.
    rates: i128,
    /// Held for output, of each request no more than was held for all of it.
    held: Nano,
    example: Option<RequestId>,
}

impl OversizedLimit {
    pub(in crate::hint) fn new(offers: Arc<[Offer]>) -> Self {
        Self { offers, sums: HashMap::new(), coverage: Coverage::default() }
    }

    /// The limit that was in force where a request was served.
    fn in_force(&self, asked: u32, served: &ScanServed) -> u64 {
        let offer = self.offers.iter().find(|offer| offer.model == served.model);
        let place = offer.and_then(|offer| {
            let mut places = offer.places.iter();
            places.find(|place| (&place.provider, &place.upstream_model) == (&served.provider, &served.upstream_model))
        });
        u64::from(place.and_then(|place| place.output_tokens_max).map_or(asked, |most| most.min(asked)))
    }
}

impl Rule for OversizedLimit {
    fn id(&self) -> &'static str {
        "oversized_limit"
    }

    fn coverage(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError> {
        let Some(facts) = seen.facts else {
            self.coverage.not_known += 1;
            return Ok(());
        };
        let Some(asked) = facts.output_limit else {
            self.coverage.exclude("no_limit");
            return Ok(());
        };
        self.coverage.requests += 1;
        let (settled, leaves) = (seen.settled, seen.leaves);
        let limit = self.in_force(asked, settled.served);
        if limit < LIMIT_MIN {
            return Ok(());
        }
        let key = (settled.key, Arc::clone(&settled.served.model), asked);
        let Some(under) = group(&mut self.sums, key, &mut self.coverage.capped) else { return Ok(()) };
        let choices = u64::from(facts.choices.max(1));
        let rate = seen.price.rate_at(&Sku::OUT, leaves.input_tokens(), leaves.service_tier(), settled.arrived_us);
        let rate = i128::from(rate.map_or(0, Pico::get)) * i128::from(seen.plan.multiplier.get()) * i128::from(choices);
        let rates = under.rates.checked_add(rate).ok_or(MoneyError::TooLarge)?;
        under.held = sum(under.held, at_most(rate, limit, settled.held))?;
        under.rates = rates;
        under.requests += 1;
        under.limit = under.limit.max(limit);
        under.longest = under.longest.max(leaves.output_tokens().div_ceil(choices));
        under.example.get_or_insert(settled.id);
        Ok(())
    }

    fn end(self: Box<Self>) -> Findings {
        let mut found = Vec::new();
        for ((key, model, asked), under) in self.sums {
            let proposed = under.longest.saturating_mul(2).max(PROPOSED_MIN).checked_next_power_of_two().unwrap_or(u64::MAX);
            if proposed.saturating_mul(FAR) > under.limit {
                continue;
            }
            let pair = Pair::of(under.requests, under.held, at_most(under.rates, proposed, under.held), under.example);
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
                    ("output_limit".to_owned(), json!(asked)),
                    ("output_tokens_most".to_owned(), json!(under.longest)),
                    ("output_limit_proposed".to_owned(), json!(proposed)),
                ]),
            });
        }
        Findings { found, coverage: self.coverage }
    }
}

/// What so many tokens come to at a rate in pico × ppm, or `most`: no caller's number makes more of it than was held.
fn at_most(rate: i128, tokens: u64, most: Nano) -> Nano {
    let amount = rate.checked_mul(i128::from(tokens)).and_then(|scaled| nano_of_scaled(scaled).ok());
    amount.map_or(most, |amount| amount.min(most))
}
