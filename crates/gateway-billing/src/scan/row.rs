//! One settled request, as a scan shows it.

use std::sync::Arc;

use gateway_core::{KeyId, RequestId};

use crate::{
    facts::RequestFacts,
    money::Nano,
    price::{PlanVersionId, PriceVersionId, ServedAt},
    usage::{InvalidLeaves, Leaves, UsageFlags, UsageSource},
};

/// Where an answer was served.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScanServed {
    /// Who served.
    pub provider: Arc<str>,
    /// The name the provider knows the model by.
    pub upstream_model: Arc<str>,
    /// The name callers use.
    pub model: Arc<str>,
}

impl ScanServed {
    /// As prices are looked up by.
    #[must_use]
    pub fn at(&self) -> ServedAt<'_> {
        ServedAt { provider: &self.provider, upstream_model: &self.upstream_model, model: &self.model }
    }
}

/// A settlement with what is known of its request.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'r> {
    /// The request.
    pub id: RequestId,
    /// 0 is the settlement itself, 1 a later correction of it.
    pub seq: i64,
    /// The wallet's row.
    pub wallet: i64,
    /// The key it was made with.
    pub key: KeyId,
    /// The caller's own name for the person behind it.
    pub tag: Option<&'r str>,
    /// The model that was asked for; another may have served.
    pub requested_model: &'r str,
    /// Whether it was streamed.
    pub stream: bool,
    /// Its arrival, in microseconds since 1970: the moment that prices are judged at.
    pub arrived_us: i64,
    /// When its answer was settled.
    pub ended_us: i64,
    /// Where it was served.
    pub served: &'r ScanServed,
    /// Which attempt served.
    pub attempt: i64,
    /// The providers of the attempts before that one, none of which served, in their order.
    pub failed_at: &'r [Box<str>],
    /// The price it was charged by.
    pub price_version: PriceVersionId,
    /// The plan it was charged by.
    pub plan_version: PlanVersionId,
    /// The price list that its cost was taken from, if there is one.
    pub cost_version: Option<PriceVersionId>,
    /// Its usage as stored; see [`Settled::leaves`].
    pub stored_leaves: &'r [u8],
    /// Where the usage is known from; `None` is a source of a later version.
    pub source: Option<UsageSource>,
    /// What to look at in it.
    pub flags: UsageFlags,
    /// What was held for it.
    pub held: Nano,
    /// The price of the usage.
    pub charge: Nano,
    /// Of that: what the operator took on itself.
    pub written_off: Nano,
    /// What the provider bills: in US dollars where it reported that itself, else in the money of [`Settled::cost_version`], else
    /// in the wallet's.
    pub cost: Nano,
    /// What the provider itself reported to bill.
    pub cost_reported: Option<Nano>,
    /// What is kept of the request as stored; see [`Settled::facts`].
    pub stored_facts: Option<&'r [u8]>,
}

impl Settled<'_> {
    /// Its usage.
    ///
    /// # Errors
    /// The stored text is damaged.
    pub fn leaves(&self) -> Result<Leaves, InvalidLeaves> {
        Leaves::from_stored_bytes(self.stored_leaves)
    }

    /// What is kept of the request; `None`: nothing, or in a form that this build does not know.
    #[must_use]
    pub fn facts(&self) -> Option<RequestFacts> {
        self.stored_facts.and_then(RequestFacts::decode)
    }
}
