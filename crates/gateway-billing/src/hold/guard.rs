//! The caller's own limit on a call (`max_total_cost`): over all of its attempts, what failed ones may have cost and the
//! most that the next one can cost never pass it.
//!
//! A hold is sized by what prompts have been found to come to. A limit is a promise, so it goes by what they can come to. Where
//! nothing bounds that beforehand (media by reference, a provider that ignores its output limit) the charge is bounded: what
//! passes the limit is written off.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use gateway_core::{Attempt, Fault, FaultKind, InputSize, Origin, Routed, Usage};

use super::{
    AdmitRequest, PricedCandidate, Refusal, reach,
    sizing::{OUTPUT_MIN, hard_bound, input_bound},
};
use crate::{
    money::{Currency, Money, Nano, Ppm},
    price::{UsageBound, WorstRates, worst_rates},
    usage::BytesPerToken,
};

/// What the fault of a call that would pass its limit is called.
pub(super) const CODE: &str = "max_total_cost_exceeded";

/// The limit of one call, and the worst case of each of its candidates.
#[derive(Debug)]
pub(super) struct Guard {
    max: Nano,
    currency: Currency,
    worst: Box<[Worst]>,
    /// The caller's own output limit, in tokens per choice.
    asked: Option<u32>,
    choices: u64,
    /// What the account's plan multiplies prices by.
    plan: Ppm,
    /// What the latest attempt was allowed, where the caller set no limit.
    allowed: AtomicU32,
}

/// The most that an attempt at one candidate can cost.
#[derive(Debug)]
struct Worst {
    rates: WorstRates,
    /// The provider's own rates, where it bills in the money of the call: an attempt that fails is counted at these.
    cost: Option<WorstRates>,
    input: UsageBound,
    output_max: Option<u32>,
}

/// Why an attempt must not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Over {
    required: Nano,
    affordable: u64,
}

impl Guard {
    /// The limit that the request comes with, if it does.
    pub(super) fn of(request: &AdmitRequest) -> Option<Self> {
        Some(Self {
            max: request.max_total_cost?,
            currency: Currency::of(request.mode),
            worst: request.candidates.iter().map(|candidate| Worst::of(request, candidate)).collect(),
            asked: request.output.limit,
            choices: u64::from(request.output.choices),
            plan: request.plan.multiplier,
            allowed: AtomicU32::new(0),
        })
    }

    /// Whether an attempt may be made at a candidate when so much may be spent already. Where the caller set no output
    /// limit, the attempt's is lowered so that it may.
    pub(super) fn admit(&self, candidate: usize, spent: Nano, attempt: &mut Attempt) -> Result<(), Fault> {
        let Some(worst) = self.worst.get(candidate) else { return Err(self.fault()) };
        let limit = attempt.output_limit.unwrap_or(u32::MAX);
        let allowed = self.room(worst, spent, limit).map_err(|_over| self.fault())?;
        if self.asked.is_none() {
            attempt.output_limit = Some(allowed);
            self.allowed.store(allowed, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The output limit that a first attempt at a candidate would get in place of `limit`; `None` where the caller set one, or
    /// the attempt would not be made.
    pub(super) fn limit_at_first(&self, candidate: usize, limit: u32) -> Option<u32> {
        let worst = self.worst.get(candidate).filter(|_| self.asked.is_none())?;
        self.room(worst, Nano::ZERO, limit).ok()
    }

    /// What the latest attempt was allowed, if the guard had a say in it.
    pub(super) fn latest_limit(&self) -> Option<u32> {
        Some(self.allowed.load(Ordering::Relaxed)).filter(|allowed| *allowed > 0)
    }

    /// What is left of the limit when so much may be spent already.
    pub(super) fn left(&self, spent: Nano) -> Nano {
        Nano::new(self.max.get().saturating_sub(spent.get()).max(0))
    }

    /// The output limit under which one more attempt stays within the guard.
    fn room(&self, worst: &Worst, spent: Nano, limit: u32) -> Result<u32, Over> {
        let left = self.left(spent);
        let affordable = worst.output_tokens_for(left, self.plan) / self.choices;
        let limit = u64::from(limit.min(worst.output_max.unwrap_or(u32::MAX)));
        let least = if self.asked.is_some() { limit } else { limit.min(OUTPUT_MIN) };
        let required = worst.of_output(least.saturating_mul(self.choices), self.plan).checked_add(spent).unwrap_or(Nano::MAX);
        if required > self.max {
            return Err(Over { required, affordable });
        }
        Ok(u32::try_from(limit.min(affordable)).unwrap_or(u32::MAX))
    }

    /// Of the costs of attempts only operators may know, so it tells the limit and not what is left of it.
    fn fault(&self) -> Fault {
        let message = format!(
            "no further attempt was made, because with it the call could have cost more than its max_total_cost of {}",
            Money::new(self.max, self.currency)
        );
        Fault::new(FaultKind::InsufficientFunds, Origin::Caller, message)
            .with_code(CODE)
            .with_detail("max_total_cost_usd", self.max.to_string())
    }
}

impl Worst {
    fn of(request: &AdmitRequest, candidate: &PricedCandidate) -> Self {
        let input = most_input(&request.input);
        let total = input.input_tokens.saturating_add(input.media_tokens);
        let rates = |price| worst_rates(price, total, request.received_at, reach(request));
        let own_money = Currency::of(request.mode);
        let cost = candidate.cost.as_ref().filter(|list| list.currency() == own_money).map(|list| rates(list));
        Self { rates: rates(&candidate.price), cost, input, output_max: candidate.deployment.limits.output_tokens_max }
    }

    /// The most that so much output can come to, beside the input.
    fn of_output(&self, output_tokens: u64, plan: Ppm) -> Nano {
        let bound = UsageBound { output_tokens, ..self.input };
        let most = |rates: &WorstRates, multiplier| rates.hold(&bound, multiplier).unwrap_or(Nano::MAX);
        most(&self.rates, plan).max(self.cost.as_ref().map_or(Nano::ZERO, |cost| most(cost, Ppm::ONE)))
    }

    fn output_tokens_for(&self, money: Nano, plan: Ppm) -> u64 {
        let most = self.rates.output_tokens_for(money, &self.input, plan);
        most.min(self.cost.as_ref().map_or(u64::MAX, |cost| cost.output_tokens_for(money, &self.input, Ppm::ONE)))
    }
}

/// The most input that a prompt is ever charged for. Of media, and of what a provider's own tools find, no byte count
/// bounds the tokens; they are taken at what a hold takes them at.
fn most_input(input: &InputSize) -> UsageBound {
    let bound = input_bound(input, BytesPerToken::from_milli(1_000));
    let hard = hard_bound(input, &Usage::default()).unwrap_or(0);
    UsageBound { input_tokens: bound.input_tokens.max(hard), ..bound }
}

/// Leaves out the candidates that alone could pass the call's limit.
///
/// # Errors
/// None is left.
pub(super) fn fit(request: &mut AdmitRequest, routed: &mut Routed) -> Result<(), Refusal> {
    let Some(guard) = Guard::of(request) else { return Ok(()) };
    let limit = request.output.limit.unwrap_or(u32::MAX);
    let verdicts: Vec<_> = guard.worst.iter().map(|worst| guard.room(worst, Nano::ZERO, limit)).collect();
    if verdicts.iter().all(Result::is_ok) {
        return Ok(());
    }
    if verdicts.iter().all(Result::is_err) {
        let over = || verdicts.iter().filter_map(|verdict| verdict.err());
        return Err(Refusal::MaxTotalCost {
            required: Money::new(over().map(|over| over.required).min().unwrap_or(Nano::MAX), guard.currency),
            max: Money::new(guard.max, guard.currency),
            affordable_max_tokens: over().map(|over| over.affordable).max().unwrap_or(0),
        });
    }
    let kept = |n: &usize| verdicts.get(*n).is_some_and(Result::is_ok);
    let places = || (0..verdicts.len()).filter(kept);
    request.candidates = places().filter_map(|n| request.candidates.get(n).cloned()).collect();
    let candidates: Arc<[_]> = places().filter_map(|n| routed.candidates.get(n).cloned()).collect();
    *routed = Routed { call: Arc::clone(&routed.call), candidates };
    Ok(())
}

/// The refusal of a call whose every candidate could pass its limit.
pub(super) fn refusal(required: Money, max: Money, affordable_max_tokens: u64) -> Fault {
    let advice = if affordable_max_tokens == 0 {
        "raise it, or send a shorter prompt".to_owned()
    } else {
        format!("raise it, or ask for at most {affordable_max_tokens} output tokens")
    };
    let message = format!("this request may cost up to {required} and its max_total_cost is {max}; {advice}");
    Fault::new(FaultKind::InsufficientFunds, Origin::Caller, message)
        .with_code(CODE)
        .with_param("max_total_cost")
        .with_detail("required_usd", required.amount.to_string())
        .with_detail("max_total_cost_usd", max.amount.to_string())
        .with_detail("affordable_max_tokens", affordable_max_tokens)
}
