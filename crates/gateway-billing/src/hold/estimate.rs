//! What a call would hold and whether it would be let through, told without holding or writing anything.
//!
//! The sizes are [`super::Billing::try_admit`]'s own, so that an estimate and the hold of the same call at the same moment are equal.
//! Of the output nothing is known beforehand but its limit, so nothing more is told of it.

use gateway_core::{Fault, Routed};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    AdmitRequest, PricedCandidate, Refusal,
    guard::{self, Guard},
    layer::spare,
    request_of,
    sizing::Size,
};
use crate::{
    ledger::Ledger,
    money::{Currency, Money, Nano},
    price::{Sku, charge_total},
    usage::Leaves,
};

/// What a call would hold, in all and for each place where it may be served.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    object: &'static str,
    model: Box<str>,
    /// What would be held: the most that the dearest candidate can cost.
    hold: Money,
    /// Most output tokens per choice that the hold pays for.
    output_limit: u32,
    available: Money,
    would_be_admitted: bool,
    /// Why not, or which budgets take candidates out.
    refusals: Vec<Map<String, Value>>,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Serialize)]
struct Candidate {
    model: Box<str>,
    provider: Box<str>,
    upstream_model: Box<str>,
    price: Price,
    hold: Money,
    input_tokens_max: u64,
    output_limit: u32,
    /// Absent where the prompt is not text alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Expected>,
}

#[derive(Debug, Clone, Serialize)]
struct Price {
    version: i64,
    sha256: String,
    multiplier_ppm: u32,
}

/// What the input will likely come to.
#[derive(Debug, Clone, Serialize)]
struct Expected {
    input_tokens: u64,
    /// `learned` from what the provider reported of this model, else `usual`: four bytes a token.
    basis: &'static str,
    input: Money,
}

impl Ledger {
    /// What the call would hold now; `None` for an operation that is free. Nothing is held, and nobody is told of a budget that
    /// would refuse.
    ///
    /// # Errors
    /// The model is not sold, the account has no wallet, or the ledger takes nothing now. That there is not enough money is part of
    /// the estimate.
    pub fn estimate(&self, routed: &Routed) -> Result<Option<Estimate>, Refusal> {
        let Some((mut request, mut routed)) = request_of(routed, self)? else { return Ok(None) };
        let wallet = self.wallet_of(&request)?;
        drop(self.journal().admit(request.mode).map_err(Refusal::Ledger)?);
        let mut refusals = Vec::new();
        let within_limit = guard::fit(&mut request, &mut routed).map_err(|refusal| refusals.push(told(refusal))).is_ok();
        let (size, within_budgets) = loop {
            let (size, claims) = self.sized(&request, &wallet)?;
            let short: Vec<_> = claims.iter().filter_map(|claim| claim.refusal(request.received_at)).collect();
            let spared = short.first().map(|first| spare(&mut request, &mut routed, first));
            refusals.extend(short.into_iter().take(if spared == Some(true) { 1 } else { usize::MAX }).map(Refusal::Budget).map(told));
            if spared != Some(true) {
                break (size, spared.is_none());
            }
        };
        let available = wallet.reading().available();
        let within_funds = size.amount <= available;
        if !within_funds {
            refusals.push(told(self.insufficient(&request, &wallet, size, available)));
        }
        let money = |amount| Money::new(amount, wallet.currency());
        // The caller's own limit on the cost shortens an answer further.
        let guard = Guard::of(&request);
        let limits = (0..request.candidates.len())
            .map(|n| guard.as_ref().and_then(|guard| guard.limit_at_first(n, size.output_limit)).unwrap_or(size.output_limit));
        let candidates = request.candidates.iter().zip(limits).map(|(candidate, limit)| self.one(&request, size, candidate, limit));
        let candidates: Vec<Candidate> = candidates.collect::<Result<_, _>>()?;
        let output_limit = candidates.iter().map(|candidate| candidate.output_limit).max().unwrap_or(size.output_limit);
        Ok(Some(Estimate {
            object: "estimate",
            model: request.requested_model.clone(),
            hold: money(size.amount),
            output_limit,
            available: money(available),
            would_be_admitted: within_limit && within_budgets && within_funds,
            refusals,
            candidates,
        }))
    }

    fn one(&self, request: &AdmitRequest, size: Size, candidate: &PricedCandidate, limit: u32) -> Result<Candidate, Refusal> {
        let (deployment, price) = (&candidate.deployment, &candidate.price);
        let money = |amount: Nano| Money::new(amount, Currency::of(request.mode));
        let alone = size.of_candidate(request, candidate, self.sizes()).map_err(|error| Refusal::Ledger(error.into()))?;
        let expected = match self.sizes().expected(&deployment.upstream_model, &request.input) {
            None => None,
            Some((input_tokens, is_learned)) => {
                let leaves = Leaves::new().with(Sku::IN, input_tokens);
                let (input, _) = charge_total(price, request.plan.multiplier, &leaves, request.received_at)
                    .map_err(|error| Refusal::Ledger(error.into()))?;
                Some(Expected { input_tokens, basis: if is_learned { "learned" } else { "usual" }, input: money(input) })
            }
        };
        Ok(Candidate {
            model: (&*deployment.model).into(),
            provider: deployment.provider.as_str().into(),
            upstream_model: (&*deployment.upstream_model).into(),
            price: Price { version: price.id.0, sha256: price.sha256_hex(), multiplier_ppm: request.plan.multiplier.get() },
            hold: money(alone.amount),
            input_tokens_max: alone.input_tokens,
            output_limit: alone.output_limit.min(limit),
            expected,
        })
    }
}

/// A refusal as the call itself would be told of it.
fn told(refusal: Refusal) -> Map<String, Value> {
    let fault = Fault::from(refusal);
    let details = fault.details().iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let mut told: Map<_, _> = details.collect();
    told.insert("code".to_owned(), fault.code().into());
    told.insert("message".to_owned(), fault.message().into());
    told
}
