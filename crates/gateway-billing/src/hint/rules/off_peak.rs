//! Requests at hours that cost more than hours soon after.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, json};

use crate::{
    budget::QUARTER_US,
    hint::{
        finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair},
        rule::Rule,
        rules::{group, written_off},
        seen::Seen,
    },
    money::MoneyError,
    price::PriceVersionId,
};

/// How long a request is taken to be able to wait, in quarters of an hour: a day.
const WAIT_QUARTERS: i64 = 96;

/// Prices requests at the cheapest hour of the day that follows them.
#[derive(Default)]
pub(in crate::hint) struct OffPeak {
    /// Of the quarter of an hour that each version was last asked of: the moments at which its windows differ.
    hours: HashMap<PriceVersionId, (i64, Vec<i64>)>,
    sums: HashMap<Arc<str>, Movable>,
    coverage: Coverage,
}

#[derive(Default)]
struct Movable {
    pair: Pair,
    dear: u64,
}

impl Rule for OffPeak {
    fn id(&self) -> &'static str {
        "off_peak"
    }

    fn coverage(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError> {
        if written_off(seen, &mut self.coverage) {
            return Ok(());
        }
        let settled = seen.settled;
        if !seen.price.terms().overrides.iter().any(|entry| entry.when.window.is_some()) {
            self.coverage.exclude("same_at_all_hours");
            return Ok(());
        }
        if settled.stream {
            self.coverage.exclude("streamed");
            return Ok(());
        }
        self.coverage.requests += 1;
        let quarter = settled.arrived_us.div_euclid(QUARTER_US);
        let known = self.hours.entry(settled.price_version).or_default();
        if known.1.is_empty() || known.0 != quarter {
            let moments = (1..=WAIT_QUARTERS).map(|ahead| (quarter + ahead) * QUARTER_US);
            *known = (quarter, seen.price.unlike_hours(moments));
        }
        let mut cheapest = settled.charge;
        for at in &known.1 {
            cheapest = cheapest.min(seen.priced_at(seen.price, seen.leaves, *at)?);
        }
        let Some(movable) = group(&mut self.sums, Arc::clone(&settled.served.model), &mut self.coverage.capped) else { return Ok(()) };
        movable.dear += u64::from(cheapest < settled.charge);
        movable.pair.add(settled.id, settled.charge, cheapest)
    }

    fn end(self: Box<Self>) -> Findings {
        let dear = self.sums.into_iter().filter(|(_, movable)| movable.pair.tells());
        let found = dear.map(|(model, movable)| Finding {
            about: About { model: Some(model), ..About::default() },
            effect: Effect::Charged,
            basis: Basis::Counted,
            pair: movable.pair,
            assumptions: vec![
                "every request that was not streamed can wait for a cheaper hour within 24 hours; no other is counted".to_owned(),
                "the answer would have been of the same length".to_owned(),
            ],
            details: Map::from_iter([("requests_at_dear_hours".to_owned(), json!(movable.dear))]),
        });
        Findings { found: found.collect(), coverage: self.coverage }
    }
}
