//! Another model of the same class, by the operator's word.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::{Map, json};

use super::cheaper_route::{charge_at, fits};
use crate::{
    hint::{
        finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair, TOO_LARGE},
        offers::Offer,
        rule::Rule,
        rules::{group, written_off},
        seen::Seen,
    },
    money::{MoneyError, Nano},
};

/// Most models of a class that each request is priced at.
const OTHERS_MAX: usize = 16;

/// Prices each request at every other model of its class.
pub(in crate::hint) struct CheaperModel {
    offers: Arc<[Offer]>,
    costs: bool,
    sums: HashMap<(Arc<str>, usize), Compared>,
    coverage: Coverage,
}

#[derive(Default)]
struct Compared {
    charge: Pair,
    cost: Pair,
    /// What the other model could not be asked, by reason.
    excluded: BTreeMap<&'static str, u64>,
}

impl CheaperModel {
    pub(in crate::hint) fn new(offers: Arc<[Offer]>, costs: bool) -> Self {
        Self { offers, costs, sums: HashMap::new(), coverage: Coverage::default() }
    }
}

impl Rule for CheaperModel {
    fn id(&self) -> &'static str {
        "cheaper_model"
    }

    fn coverage(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError> {
        if written_off(seen, &mut self.coverage) {
            return Ok(());
        }
        let served = seen.settled.served;
        let class = self.offers.iter().find(|offer| offer.model == served.model).and_then(|offer| offer.class.as_deref());
        let Some(class) = class else {
            self.coverage.exclude("model_without_class");
            return Ok(());
        };
        // Every price has rates for media, be they those of text, so they do not say that a model takes any.
        if seen.leaves.iter().any(|(sku, quantity)| quantity > 0 && sku.is_media()) {
            self.coverage.exclude("media");
            return Ok(());
        }
        let offers = Arc::clone(&self.offers);
        let others = offers.iter().enumerate().filter(|(_, offer)| offer.class.as_deref() == Some(class) && offer.model != served.model);
        let mut compared = false;
        for (n, other) in others.take(OTHERS_MAX) {
            let Some(sums) = group(&mut self.sums, (Arc::clone(&served.model), n), &mut self.coverage.capped) else { continue };
            let (id, charge) = (seen.settled.id, seen.settled.charge);
            // One model that would be too dear to reckon does not keep the others from being compared.
            let there = dearest(seen, other).unwrap_or(Err(TOO_LARGE));
            match there.and_then(|there| sums.charge.add(id, charge, there).map_err(|_| TOO_LARGE)) {
                Ok(()) => compared = true,
                Err(reason) => *sums.excluded.entry(reason).or_default() += 1,
            }
            if self.costs
                && let (Some(cost), Ok(Some(there))) = (seen.cost(), dearest_cost(seen, other))
            {
                compared |= sums.cost.add(id, cost, there).is_ok();
            }
        }
        if compared {
            self.coverage.requests += 1;
        } else {
            self.coverage.exclude("no_other_could_serve");
        }
        Ok(())
    }

    fn end(self: Box<Self>) -> Findings {
        let Self { offers, sums, coverage, .. } = *self;
        // Of each model the one that saves most; the first listed wins a tie.
        let mut best: BTreeMap<(Arc<str>, bool), (Pair, usize, u64)> = BTreeMap::new();
        for ((model, n), compared) in sums {
            let left_out = compared.excluded.values().sum();
            for (pair, is_cost) in [(compared.charge, false), (compared.cost, true)] {
                let standing = best.entry((Arc::clone(&model), is_cost)).or_insert((pair, n, left_out));
                if (pair.saving(), std::cmp::Reverse(n)) > (standing.0.saving(), std::cmp::Reverse(standing.1)) {
                    *standing = (pair, n, left_out);
                }
            }
        }
        let telling = best.into_iter().filter(|(_, (pair, ..))| pair.tells());
        let found = telling.map(|((model, is_cost), (pair, n, left_out))| {
            let other = &offers[n];
            Finding {
                about: About { model: Some(model), ..About::default() },
                effect: if is_cost { Effect::Cost } else { Effect::Charged },
                basis: Basis::Estimated,
                pair,
                assumptions: vec![
                    format!("the operator's word that `{}` can stand in: both are of the class `{}`", other.model, class_of(other)),
                    "it would have counted as many tokens: models count the same text differently, and some write longer answers"
                        .to_owned(),
                    "it is priced at the dearest of the places that serve it".to_owned(),
                ],
                details: Map::from_iter([
                    ("alternative_model".to_owned(), json!(other.model)),
                    ("class".to_owned(), json!(class_of(other))),
                    ("requests_left_out".to_owned(), json!(left_out)),
                ]),
            }
        });
        Findings { found: found.collect(), coverage }
    }
}

fn class_of(offer: &Offer) -> &str {
    offer.class.as_deref().unwrap_or_default()
}

/// What the request would have been charged at the dearest place of a model, or why it cannot be told.
fn dearest(seen: &Seen<'_>, other: &Offer) -> Result<Result<Nano, &'static str>, MoneyError> {
    let mut most = Err("nowhere_in_use");
    for place in other.places.iter().filter(|place| place.in_use) {
        if !fits(place, seen) {
            return Ok(Err("too_long"));
        }
        let Some(charge) = charge_at(seen, other, place)? else { return Ok(Err("no_price_for_all_of_it")) };
        most = Ok(most.map_or(charge, |most: Nano| most.max(charge)));
    }
    Ok(most)
}

/// What the dearest provider of a model bills; `None` where that of any is not known, or it could not have served.
fn dearest_cost(seen: &Seen<'_>, other: &Offer) -> Result<Option<Nano>, MoneyError> {
    let mut most = None;
    for place in other.places.iter().filter(|place| place.in_use) {
        let Some(cost) = seen.cost_at(other.at(place))?.filter(|_| fits(place, seen)) else { return Ok(None) };
        most = most.max(Some(cost));
    }
    Ok(most)
}
