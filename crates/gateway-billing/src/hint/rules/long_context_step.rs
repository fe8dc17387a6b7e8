//! Requests a little above the step at which the whole request gets dearer.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, json};

use crate::{
    hint::{
        finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair},
        rule::Rule,
        rules::{group, written_off},
        seen::Seen,
    },
    money::MoneyError,
    price::Sku,
};

/// How far above a step counts as a little: a twentieth of it.
const ABOVE: u64 = 20;

/// Prices requests without the tokens that lifted them over a step.
#[derive(Default)]
pub(in crate::hint) struct LongContextStep {
    sums: HashMap<(Arc<str>, u64), Above>,
    coverage: Coverage,
}

#[derive(Default)]
struct Above {
    pair: Pair,
    tokens: u64,
    most: u64,
}

impl Rule for LongContextStep {
    fn id(&self) -> &'static str {
        "long_context_step"
    }

    fn coverage(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError> {
        if written_off(seen, &mut self.coverage) {
            return Ok(());
        }
        self.coverage.requests += 1;
        let input = seen.leaves.input_tokens();
        let steps = seen.price.terms().overrides.iter().filter_map(|entry| entry.when.input_tokens_over);
        let Some(step) = steps.filter(|step| *step < input && differs_above(*step, seen)).max() else { return Ok(()) };
        let over = input - step;
        if over > step / ABOVE {
            return Ok(());
        }
        // What was read from a cache or is no text cannot simply be left out.
        if seen.leaves.count(&Sku::IN) < over {
            self.coverage.exclude("little_fresh_text");
            return Ok(());
        }
        let key = (Arc::clone(&seen.settled.served.model), step);
        let Some(above) = group(&mut self.sums, key, &mut self.coverage.capped) else { return Ok(()) };
        let trimmed = seen.leaves.without(&Sku::IN, over);
        above.pair.add(seen.settled.id, seen.settled.charge, seen.priced(seen.price, &trimmed)?)?;
        above.tokens = above.tokens.saturating_add(over);
        above.most = above.most.max(over);
        Ok(())
    }

    fn end(self: Box<Self>) -> Findings {
        let near = self.sums.into_iter().filter(|(_, above)| above.pair.tells());
        let found = near.map(|((model, step), above)| Finding {
            about: About { model: Some(model), ..About::default() },
            effect: Effect::Charged,
            basis: Basis::Counted,
            pair: above.pair,
            assumptions: vec![
                format!("each of these prompts can do without the tokens that it has above {step}"),
                "the shorter prompt would have had the same answer".to_owned(),
            ],
            details: Map::from_iter([
                ("input_tokens_step".to_owned(), json!(step)),
                ("tokens_to_trim".to_owned(), json!(above.tokens)),
                ("tokens_to_trim_most".to_owned(), json!(above.most)),
            ]),
        });
        Findings { found: found.collect(), coverage: self.coverage }
    }
}

/// Whether text costs something else above a step than at it, in this request's tier and at its moment: a step may be of another
/// tier or of hours that were over, and may change nothing but what was not used.
fn differs_above(step: u64, seen: &Seen<'_>) -> bool {
    let rate = |sku: &Sku, tokens| seen.price.rate_at(sku, tokens, seen.leaves.service_tier(), seen.settled.arrived_us);
    [Sku::IN, Sku::OUT].iter().any(|sku| rate(sku, step) != rate(sku, step.saturating_add(1)))
}
