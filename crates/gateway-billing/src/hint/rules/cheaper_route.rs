//! The same model at another of its places.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, json};

use crate::{
    hint::{
        finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair},
        offers::{Offer, Place},
        rule::Rule,
        rules::{group, written_off},
        seen::Seen,
    },
    money::{MoneyError, Nano},
};

/// Prices each request at every other place of the model that served it.
pub(in crate::hint) struct CheaperRoute {
    offers: Arc<[Offer]>,
    costs: bool,
    sums: HashMap<(Served, usize), Both>,
    coverage: Coverage,
}

/// Model, provider, upstream model.
type Served = (Arc<str>, Arc<str>, Arc<str>);

#[derive(Default)]
struct Both {
    charge: Pair,
    cost: Pair,
}

impl CheaperRoute {
    pub(in crate::hint) fn new(offers: Arc<[Offer]>, costs: bool) -> Self {
        Self { offers, costs, sums: HashMap::new(), coverage: Coverage::default() }
    }
}

impl Rule for CheaperRoute {
    fn id(&self) -> &'static str {
        "cheaper_route"
    }

    fn coverage(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError> {
        if written_off(seen, &mut self.coverage) {
            return Ok(());
        }
        let served = seen.settled.served;
        let Some(offer) = self.offers.iter().find(|offer| offer.model == served.model) else {
            self.coverage.exclude("model_not_routed");
            return Ok(());
        };
        let mut compared = false;
        for (n, place) in offer.places.iter().enumerate() {
            if (&*place.provider, &*place.upstream_model) == (&*served.provider, &*served.upstream_model) || !fits(place, seen) {
                continue;
            }
            let key = ((Arc::clone(&served.model), Arc::clone(&served.provider), Arc::clone(&served.upstream_model)), n);
            let Some(sums) = group(&mut self.sums, key, &mut self.coverage.capped) else { continue };
            if let Some(charge) = charge_at(seen, offer, place)? {
                sums.charge.add(seen.settled.id, seen.settled.charge, charge)?;
                compared = true;
            }
            if self.costs
                && let (Some(cost), Some(there)) = (seen.cost(), seen.cost_at(offer.at(place))?)
            {
                sums.cost.add(seen.settled.id, cost, there)?;
                compared = true;
            }
        }
        if compared {
            self.coverage.requests += 1;
        } else {
            self.coverage.exclude("nowhere_else");
        }
        Ok(())
    }

    fn end(self: Box<Self>) -> Findings {
        let Self { offers, sums, coverage, .. } = *self;
        let mut best: HashMap<(Served, bool), (Pair, usize)> = HashMap::new();
        for ((served, n), both) in sums {
            for (pair, is_cost) in [(both.charge, false), (both.cost, true)] {
                let standing = best.entry((served.clone(), is_cost)).or_insert((pair, n));
                // The first place listed wins a tie, so that a hint does not change from one answer to the next.
                if pair.saving() > standing.0.saving() || (pair.saving() == standing.0.saving() && n < standing.1) {
                    *standing = (pair, n);
                }
            }
        }
        let found = best.into_iter().filter(|(_, (pair, _))| pair.tells()).filter_map(|((served, is_cost), (pair, n))| {
            let offer = offers.iter().find(|offer| offer.model == served.0)?;
            Some(finding(served, is_cost, pair, &offer.places[n]))
        });
        Findings { coverage, found: found.collect() }
    }
}

fn finding((model, provider, upstream_model): Served, is_cost: bool, pair: Pair, place: &Place) -> Finding {
    let to = format!("{}/{}", place.provider, place.upstream_model);
    let mut assumptions = vec![
        format!("`{to}` would have counted the same tokens and found the same in its cache"),
        "it would have answered as well and as fast".to_owned(),
    ];
    if !is_cost {
        assumptions.push(format!("the key may call `{to}` by that name, or the operator prefers it for `{model}`"));
    }
    Finding {
        about: About { model: Some(model), provider: Some(provider), upstream_model: Some(upstream_model), key: None },
        effect: if is_cost { Effect::Cost } else { Effect::Charged },
        basis: Basis::Counted,
        pair,
        assumptions,
        details: Map::from_iter([(
            "alternative".to_owned(),
            json!({ "provider": place.provider, "upstream_model": place.upstream_model }),
        )]),
    }
}

/// What the request would have been charged at a place; `None`: that has no price for all of it.
pub(in crate::hint) fn charge_at(seen: &Seen<'_>, offer: &Offer, place: &Place) -> Result<Option<Nano>, MoneyError> {
    let Some(price) = seen.sold_at(offer.at(place)) else { return Ok(None) };
    // A tier that changes the price here and is not known there is a feature that the other place lacks.
    let priced = |price: &crate::price::PriceVersion, tier: &str| {
        let tiers = price.terms().overrides.iter().filter_map(|entry| entry.when.service_tier.as_deref());
        tiers.into_iter().any(|known| known.eq_ignore_ascii_case(tier))
    };
    if seen.leaves.service_tier().is_some_and(|tier| priced(seen.price, tier) && !priced(&price, tier)) {
        return Ok(None);
    }
    seen.priced_in_full(&price)
}

/// Whether the request was within the limits of a place.
pub(in crate::hint) fn fits(place: &Place, seen: &Seen<'_>) -> bool {
    let within = |limit: Option<u32>, tokens: u64| limit.is_none_or(|limit| tokens <= u64::from(limit));
    within(place.context_window, seen.leaves.total_tokens()) && within(place.output_tokens_max, seen.leaves.output_tokens())
}
