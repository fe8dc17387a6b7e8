//! The sums of both worlds, and how they are told.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    ask::WhatIfAsk,
    reprice::{Alternative, Cost, Reason, Repriced},
};
use crate::{
    error::LedgerError,
    ledger::rfc3339,
    money::{Currency, Money, MoneyError, Nano},
    scan::{Covered, ScanServed, Settled},
};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WhatIf {
    object: &'static str,
    from: String,
    to: String,
    tz: String,
    counted_by: &'static str,
    currency: Currency,
    /// How many requests were looked at.
    pub requests: u64,
    /// How many of them would have been priced otherwise.
    pub repriced: u64,
    current: Side,
    alternative: Side,
    difference: Money,
    unpriced: Unpriced,
    by_model: Vec<Row>,
    /// Only where nothing was to be otherwise: whether every request came to what it was charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    assumptions: Vec<String>,
    /// Whether all of the period was looked at.
    pub complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<Stopped>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Side {
    charge: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_off: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Money>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    cost_in_other_currencies: BTreeMap<Currency, Money>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Unpriced {
    requests: u64,
    charge: Money,
    reasons: Vec<ReasonRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ReasonRow {
    reason: &'static str,
    requests: u64,
    message: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    model: String,
    provider: String,
    upstream_model: String,
    alternative_model: Option<String>,
    alternative_provider: Option<String>,
    alternative_upstream_model: Option<String>,
    requests: u64,
    current: Side,
    alternative: Side,
    difference: Money,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Stopped {
    after_requests: u64,
    before: String,
    message: String,
}

/// Costs by their currency.
type ByCurrency = BTreeMap<Currency, i64>;

#[derive(Debug, Clone, Default)]
struct Sums {
    settlements: u64,
    requests: u64,
    charge: i64,
    other: i64,
    costs: ByCurrency,
    other_costs: ByCurrency,
}

/// The requests that one place served, by the place that they would have gone to.
#[derive(Default)]
struct Moves {
    to: BTreeMap<ScanServed, Sums>,
    /// Those that cannot be priced otherwise.
    kept: Sums,
}

/// What has been counted so far.
pub(super) struct Tally {
    currency: Currency,
    with_cost: bool,
    moves: BTreeMap<ScanServed, Moves>,
    written_off: i64,
    repriced: u64,
    /// Requests that came to another charge than they were booked with.
    differing: u64,
    unpriced: BTreeMap<Reason, u64>,
    /// All that requests would have come to that are priced otherwise, and what their providers would have billed.
    others: i64,
    other_costs: ByCurrency,
}

/// As far as what would have been is added up: no real bill comes near, and with what was charged it is still an amount.
const OTHERS_MAX: i64 = i64::MAX / 2;

impl Sums {
    fn add(&mut self, requests: u64, (charge, cost): (Nano, Option<Cost>), other: (Nano, Option<Cost>)) -> Result<(), MoneyError> {
        self.settlements += 1;
        self.requests += requests;
        more(&mut self.charge, charge)?;
        more(&mut self.other, other.0)?;
        for (sums, cost) in [(&mut self.costs, cost), (&mut self.other_costs, other.1)] {
            if let Some((cost, currency)) = cost {
                more(sums.entry(currency).or_default(), cost)?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
        self.settlements += other.settlements;
        self.requests += other.requests;
        more(&mut self.charge, Nano::new(other.charge))?;
        more(&mut self.other, Nano::new(other.other))?;
        for (sums, others) in [(&mut self.costs, &other.costs), (&mut self.other_costs, &other.other_costs)] {
            for (currency, cost) in others {
                more(sums.entry(*currency).or_default(), Nano::new(*cost))?;
            }
        }
        Ok(())
    }

    fn show(&self, currency: Currency, with_cost: bool) -> Result<(Side, Side, Money), MoneyError> {
        let difference = self.other.checked_sub(self.charge).ok_or(MoneyError::TooLarge)?;
        let side = |charge, costs| Side::new(charge, with_cost.then_some(costs), currency);
        Ok((side(self.charge, &self.costs), side(self.other, &self.other_costs), money(difference, currency)))
    }
}

impl Side {
    fn new(charge: i64, costs: Option<&ByCurrency>, currency: Currency) -> Self {
        let others = costs.into_iter().flatten().filter(|(of, cost)| **of != currency && **cost != 0);
        Self {
            charge: money(charge, currency),
            written_off: None,
            cost: costs.map(|costs| money(costs.get(&currency).copied().unwrap_or(0), currency)),
            cost_in_other_currencies: others.map(|(of, cost)| (*of, money(*cost, *of))).collect(),
        }
    }
}

fn money(nano: i64, currency: Currency) -> Money {
    Money::new(Nano::new(nano), currency)
}

fn more(sum: &mut i64, amount: Nano) -> Result<(), MoneyError> {
    *sum = sum.checked_add(amount.get()).ok_or(MoneyError::TooLarge)?;
    Ok(())
}

impl Tally {
    pub(super) fn new(currency: Currency, with_cost: bool) -> Self {
        Self {
            currency,
            with_cost,
            moves: BTreeMap::new(),
            written_off: 0,
            repriced: 0,
            differing: 0,
            unpriced: BTreeMap::new(),
            others: 0,
            other_costs: ByCurrency::new(),
        }
    }

    /// Counts one settlement. What has no other price keeps its charge, and its cost, on both sides.
    pub(super) fn add(&mut self, settled: &Settled<'_>, alternative: &Alternative) -> Result<(), LedgerError> {
        // A correction of a settlement is money, and no further request.
        let request = u64::from(settled.seq == 0);
        more(&mut self.written_off, settled.written_off)?;
        let (booked, repriced) = match alternative.booked(settled) {
            Ok(booked) => (booked, alternative.reprice(settled, booked)),
            Err(reason) => (None, Err(reason)),
        };
        let current = (settled.charge, booked);
        let repriced = repriced.and_then(|repriced| self.within_range(repriced));
        let moves = entry(&mut self.moves, settled.served);
        match repriced {
            Ok(Repriced { at, charge, otherwise, cost }) => {
                self.repriced += request * u64::from(otherwise);
                self.differing += u64::from(charge != settled.charge);
                entry(&mut moves.to, at).add(request, current, (charge, cost))?;
            }
            Err(reason) => {
                *self.unpriced.entry(reason).or_default() += request;
                moves.kept.add(request, current, current)?;
            }
        }
        Ok(())
    }

    /// Counts what a request would have come to, or refuses it: whoever reports absurd numbers of tokens must not keep others
    /// from their answer.
    fn within_range<'a>(&mut self, repriced: Repriced<'a>) -> Result<Repriced<'a>, Reason> {
        let sum = |sum: i64, more: Nano| sum.checked_add(more.get()).filter(|sum| *sum <= OTHERS_MAX).ok_or(Reason::TooLarge);
        let others = sum(self.others, repriced.charge)?;
        if let Some((cost, currency)) = repriced.cost {
            let costs = self.other_costs.entry(currency).or_default();
            *costs = sum(*costs, cost)?;
        }
        self.others = others;
        Ok(repriced)
    }

    /// The answer, as far as the period was read.
    pub(super) fn answer(self, ask: &WhatIfAsk, covered: Covered) -> Result<WhatIf, LedgerError> {
        let (currency, with_cost) = (self.currency, self.with_cost);
        let (mut all, mut kept, mut rows) = (Sums::default(), Sums::default(), Vec::new());
        for (from, moves) in &self.moves {
            let to = moves.to.iter().map(|(to, sums)| (Some(to), sums));
            kept.merge(&moves.kept)?;
            for (to, sums) in to.chain([(None, &moves.kept)]).filter(|(_, sums)| sums.settlements > 0) {
                all.merge(sums)?;
                rows.push(row(from, to, sums, currency, with_cost)?);
            }
        }
        let (mut current, alternative, difference) = all.show(currency, with_cost)?;
        current.written_off = Some(money(self.written_off, currency));
        let unpriced = Unpriced {
            requests: self.unpriced.values().sum(),
            charge: money(kept.charge, currency),
            reasons: self.unpriced.iter().map(|(reason, requests)| reason.row(*requests)).collect(),
        };
        let stopped = match covered {
            Covered::Whole => None,
            Covered::Until(at) => Some(Stopped {
                after_requests: all.requests,
                before: rfc3339(at),
                message: format!("stopped after {} requests, because its time was up; narrow the period", all.requests),
            }),
        };
        let exact = ask.change.is_none().then_some(self.differing == 0 && self.unpriced.is_empty());
        Ok(WhatIf {
            object: "what_if",
            from: ask.span.show(ask.span.from_us()),
            to: ask.span.show(ask.span.to_us()),
            tz: ask.span.zone_name().to_owned(),
            counted_by: "arrival",
            currency,
            requests: all.requests,
            repriced: self.repriced,
            current,
            alternative,
            difference,
            assumptions: assumptions(ask, unpriced.requests),
            unpriced,
            by_model: rows,
            exact,
            complete: stopped.is_none(),
            stopped,
        })
    }
}

/// The place's entry; its name is only copied for the first one.
fn entry<'m, T: Default>(map: &'m mut BTreeMap<ScanServed, T>, place: &ScanServed) -> &'m mut T {
    if !map.contains_key(place) {
        map.insert(place.clone(), T::default());
    }
    let Some(entry) = map.get_mut(place) else { unreachable!("it was put there") };
    entry
}

fn row(from: &ScanServed, to: Option<&ScanServed>, sums: &Sums, currency: Currency, with_cost: bool) -> Result<Row, MoneyError> {
    let (current, alternative, difference) = sums.show(currency, with_cost)?;
    Ok(Row {
        model: from.model.to_string(),
        provider: from.provider.to_string(),
        upstream_model: from.upstream_model.to_string(),
        alternative_model: to.map(|to| to.model.to_string()),
        alternative_provider: to.map(|to| to.provider.to_string()),
        alternative_upstream_model: to.map(|to| to.upstream_model.to_string()),
        requests: sums.requests,
        current,
        alternative,
        difference,
    })
}

impl Reason {
    fn row(self, requests: u64) -> ReasonRow {
        ReasonRow { reason: self.code(), requests, message: self.words() }
    }
}

/// What the figures take for granted, in words.
fn assumptions(ask: &WhatIfAsk, unpriced: u64) -> Vec<String> {
    let change = &ask.change;
    let mut said = vec![
        "Charges are compared: the price of what was used, before what was written off.".to_owned(),
        "Requests are counted by their arrival; reports count them by their posting.".to_owned(),
    ];
    if !change.models.is_empty() {
        said.push("Another model is taken to use the same tokens; its tokenizer counts the same text differently.".to_owned());
    }
    if !change.models.is_empty() || !change.order.is_empty() {
        said.push("Cache hits, retries and answers are taken to be the same elsewhere.".to_owned());
        said.push("Quality, speed and limits are not judged.".to_owned());
    }
    if let Some(at) = change.prices_at {
        said.push(format!("Prices are those that held at {}; hours and days are judged by each request's own arrival.", rfc3339(at)));
        if change.plan.is_none() {
            said.push("The factor of the plan is the one that was charged.".to_owned());
        }
    }
    if change.prices.is_some() {
        said.push("The prices that were tried are taken to have held for all of the period.".to_owned());
    }
    if unpriced > 0 {
        said.push(format!("{unpriced} requests cannot be priced otherwise; they keep their charge in both sums."));
    }
    said
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::price::Calendars;

    #[test]
    fn an_answer_that_was_stopped_says_where() {
        let ask = WhatIfAsk::of_operator(br#"{"cost":true}"#, 1_795_435_200_000_000, Arc::new(Calendars::default())).unwrap();
        let mut tally = Tally::new(Currency::USD, true);
        let house = ScanServed { provider: "house".into(), upstream_model: "up".into(), model: "model".into() };
        let sums = entry(&mut entry(&mut tally.moves, &house).to, &house);
        sums.add(7, (Nano::new(10), Some((Nano::new(3), Currency::USD))), (Nano::new(4), None)).unwrap();
        let answer = tally.answer(&ask, Covered::Until(1_794_000_000_000_000)).unwrap();
        let told = serde_json::to_value(answer).unwrap();
        assert_eq!((&told["complete"], &told["stopped"]["after_requests"]), (&false.into(), &7.into()));
        assert_eq!(told["stopped"]["before"], "2026-11-06T21:20:00Z");
        assert!(told["stopped"]["message"].as_str().unwrap().contains("after 7 requests") && told["difference"]["nano"] == "-6", "{told}");
        assert_eq!((&told["current"]["cost"]["nano"], &told["alternative"]["cost"]["nano"]), (&"3".into(), &"0".into()));
    }

    #[test]
    fn a_sum_beyond_the_ledgers_range_is_an_error() {
        let mut sums = Sums::default();
        sums.add(1, (Nano::MAX, None), (Nano::ZERO, None)).unwrap();
        assert!(sums.add(1, (Nano::new(1), None), (Nano::ZERO, None)).is_err());
    }
}
