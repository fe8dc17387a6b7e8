//! What a rule is, and the list of them.

use std::sync::Arc;

use super::{
    finding::Findings,
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

    /// Takes in a request.
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError>;

    /// What it found.
    fn end(self: Box<Self>) -> Result<Findings, MoneyError>;
}

/// Every rule, fresh. `costs`: those that can also look at what providers bill.
pub(super) fn all(offers: &Arc<[Offer]>, costs: bool) -> Vec<Box<dyn Rule>> {
    vec![
        Box::new(CheaperModel::new(Arc::clone(offers), costs)),
        Box::new(CheaperRoute::new(Arc::clone(offers), costs)),
        Box::new(PromptCache::default()),
        Box::new(CacheWriteWaste::default()),
        Box::new(BatchOrFlex::default()),
        Box::new(LongContextStep::default()),
        Box::new(OffPeak::default()),
        Box::new(OversizedLimit::default()),
        Box::new(DuplicateRequests::default()),
    ]
}
