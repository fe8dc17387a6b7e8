//! What a rule is, and the list of them.

use std::sync::Arc;

use super::{
    finding::{Coverage, Findings, TOO_LARGE},
    offers::Offer,
    rules::{
        batch_or_flex::BatchOrFlex, cache_write_waste::CacheWriteWaste, cheaper_model::CheaperModel, cheaper_route::CheaperRoute,
        duplicate_requests::DuplicateRequests, long_context_step::LongContextStep, off_peak::OffPeak, oversized_limit::OversizedLimit,
        prompt_cache::PromptCache,
    },
    seen::Seen,
};
use crate::money::MoneyError;

/// A rule over settled requests. It sees each of them once, in the order of arrival.
pub(super) trait Rule: Send {
    /// Its name in the interface.
    fn id(&self) -> &'static str;

    /// Which requests it could look at so far.
    fn coverage(&mut self) -> &mut Coverage;

    /// Takes in a request; of one that cannot be reckoned, nothing.
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError>;

    /// What it found.
    fn end(self: Box<Self>) -> Findings;
}

/// Shows a request to a rule. One whose amounts are beyond the ledger's range is left out, and takes the answer from nobody.
pub(super) fn show(rule: &mut dyn Rule, seen: &Seen<'_>) {
    let before = rule.coverage().requests;
    if let Err(MoneyError::TooLarge) = rule.see(seen) {
        let coverage = rule.coverage();
        coverage.requests = before;
        coverage.exclude(TOO_LARGE);
    }
}

/// Every rule, fresh. `known`: all models; `offers`: those that may be named. `costs`: those that can also look at what
/// providers bill.
pub(super) fn all(known: &Arc<[Offer]>, offers: &Arc<[Offer]>, costs: bool) -> Vec<Box<dyn Rule>> {
    vec![
        Box::new(CheaperModel::new(Arc::clone(offers), costs)),
        Box::new(CheaperRoute::new(Arc::clone(offers), costs)),
        Box::new(PromptCache::default()),
        Box::new(CacheWriteWaste::default()),
        Box::new(BatchOrFlex::default()),
        Box::new(LongContextStep::default()),
        Box::new(OffPeak::default()),
        Box::new(OversizedLimit::new(Arc::clone(known))),
        Box::new(DuplicateRequests::default()),
    ]
}
