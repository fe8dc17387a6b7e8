//! Holding money for a call and settling what it really used.
//!
//! [`Billing`] is all that a gateway needs to see: [`Billing::try_admit`] reserves in memory within microseconds, the
//! [`Admission`] it returns is made durable beside the upstream call, and is settled or released exactly once: at the
//! latest when it is dropped. [`HoldLayer`] does all of it for a tower stack.

mod admission;
mod allowance;
mod delivery;
mod estimate;
mod guard;
mod layer;
mod notice;
mod refusal;
mod sizing;
mod tariff;
mod written;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use gateway_core::{Call, Deployment, KeyId, Mode, Operation, OrgId, Principal, RequestId, Routed, TeamId, UserId};

pub(crate) use self::allowance::Allowances;
use self::sizing::Size;
pub use self::{
    admission::{Admission, FinalUsage, Receipt, ReleaseReason},
    allowance::ABANDON_ALLOWANCE,
    estimate::Estimate,
    layer::{Hold, HoldLayer, HoldOptions},
    refusal::Refusal,
    sizing::{LearnedSizes, OutputAsk},
    tariff::Tariff,
};
use crate::{
    api::Viewer,
    book::Wallet,
    budget::{
        Bounds,
        claim::{Claim, Short, ordered},
        gauge::Gauge,
        index::Spender,
    },
    error::LedgerError,
    facts::RequestFacts,
    ledger::Ledger,
    money::{Currency, Money, MoneyError, Nano, Ppm},
    price::{DEFAULT_PLAN, PriceVersion, TierReach},
};

/// A candidate with the price it is pinned to: whatever is published later, this request is charged by it.
#[derive(Debug, Clone)]
pub struct PricedCandidate {
    /// Where it may be served.
    pub deployment: Arc<Deployment>,
    /// The price.
    pub price: Arc<PriceVersion>,
    /// What the provider bills us, where there is a price list for it; else what the caller pays is taken for it.
    pub cost: Option<Arc<PriceVersion>>,
}

/// The plan a request is pinned to: what its prices are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinnedPlan {
    /// Its version's row.
    pub version: i64,
    /// The multiplier.
    pub multiplier: Ppm,
}

impl PinnedPlan {
    /// The plan every account is on unless it is put on another; its row is part of the schema.
    pub const DEFAULT: Self = Self { version: 1, multiplier: Ppm::ONE };
}

/// A request for money.
#[derive(Debug, Clone)]
pub struct AdmitRequest {
    /// The call, and the hold made for it.
    pub id: RequestId,
    /// Who pays.
    pub org: OrgId,
    /// With which key.
    pub key: KeyId,
    /// Which money.
    pub mode: Mode,
    /// The team of the key.
    pub team: Option<TeamId>,
    /// The user of the key.
    pub user: Option<UserId>,
    /// The person behind the request, as the caller names them.
    pub tag: Option<Box<str>>,
    /// What prices are multiplied by.
    pub plan: PinnedPlan,
    /// The model the caller named.
    pub requested_model: Box<str>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Arrival, in microseconds since 1970; prices are judged at it.
    pub received_at: i64,
    /// Every candidate that has a price; at least one.
    pub candidates: Arc<[PricedCandidate]>,
    /// How large the prompt can be.
    pub input: gateway_core::InputSize,
    /// How much output the caller asked for.
    pub output: OutputAsk,
    /// The caller named a service tier, so any priced one may apply.
    pub names_tier: bool,
    /// What the caller lets the call cost at most, over all of its attempts.
    pub max_total_cost: Option<Nano>,
    /// What is kept of it for hints.
    pub facts: Option<RequestFacts>,
}

impl AdmitRequest {
    fn stored_facts(&self) -> Option<Box<[u8]>> {
        self.facts.as_ref().map(RequestFacts::encode)
    }
}

/// Whoever can hold money.
#[async_trait]
pub trait Billing: Send + Sync {
    /// Reserves in memory, or says what refused. Microseconds; never waits.
    ///
    /// # Errors
    /// See [`Refusal`].
    fn try_admit(&self, request: &AdmitRequest) -> Result<Admission, Refusal>;

    /// The same, but may wait up to `wait` for running requests to free what they did not use.
    ///
    /// # Errors
    /// See [`Refusal`].
    async fn admit(&self, request: &AdmitRequest, wait: Duration) -> Result<Admission, Refusal>;

    /// What an account's calls are charged by at `at_us`.
    fn tariff(&self, org: OrgId, mode: Mode, at_us: i64) -> Tariff;

    /// What is kept of an account's call for hints; `None`: nothing is.
    fn facts(&self, org: OrgId, call: &Call) -> Option<RequestFacts> {
        let _ = (org, call);
        None
    }

    /// The signed receipt of a call whose settlement is written, for the holder of the key it was made with.
    async fn signed_receipt(&self, holder: &Principal, id: RequestId) -> Option<String> {
        let _ = (holder, id);
        None
    }
}

#[async_trait]
impl Billing for Ledger {
    fn try_admit(&self, request: &AdmitRequest) -> Result<Admission, Refusal> {
        let wallet = self.wallet_of(request)?;
        self.hold(request, &wallet).map_err(|no| self.tell(no))
    }

    async fn admit(&self, request: &AdmitRequest, wait: Duration) -> Result<Admission, Refusal> {
        let wallet = self.wallet_of(request)?;
        if wait.is_zero() {
            return self.try_admit(request);
        }
        let deadline = self.clock().monotonic() + wait;
        loop {
            // Listening begins before looking, or what is freed in between would be missed.
            let mut freed = std::pin::pin!(wallet.freed());
            freed.as_mut().enable();
            match self.hold(request, &wallet) {
                Err(no) if no.waiting_may_help => {
                    if tokio::time::timeout_at(deadline, freed).await.is_err() {
                        return Err(self.tell(no));
                    }
                }
                other => return other.map_err(|no| self.tell(no)),
            }
        }
    }

    fn tariff(&self, org: OrgId, mode: Mode, at_us: i64) -> Tariff {
        let name = self.book().wallet(org, Currency::of(mode)).map_or_else(|| DEFAULT_PLAN.into(), |wallet| wallet.plan());
        let plan = match self.plans().lookup(&name, at_us) {
            Some((version, multiplier)) => PinnedPlan { version: version.0, multiplier },
            None => PinnedPlan::DEFAULT,
        };
        Tariff::new(Arc::clone(self.prices()), name, plan, mode)
    }

    fn facts(&self, org: OrgId, call: &Call) -> Option<RequestFacts> {
        self.facts_key().map(|key| key.facts(org, call))
    }

    async fn signed_receipt(&self, holder: &Principal, id: RequestId) -> Option<String> {
        crate::api::signed_receipt(self, &Viewer::of(holder), id).await
    }
}

/// A refusal of which nobody has been told yet.
struct No {
    refusal: Refusal,
    /// The budget that refused, and in which of its periods.
    budget: Option<(Arc<Gauge>, Bounds)>,
    /// Running requests hold money that they may free. The look that refused must be the one that tells: a moment later
    /// they may have ended, and a caller who could pay would be turned away.
    waiting_may_help: bool,
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, budget: None, waiting_may_help: false }
    }
}

impl Ledger {
    fn wallet_of(&self, request: &AdmitRequest) -> Result<Arc<Wallet>, Refusal> {
        self.book().wallet(request.org, Currency::of(request.mode)).ok_or(Refusal::NoWallet)
    }

    fn hold(&self, request: &AdmitRequest, wallet: &Arc<Wallet>) -> Result<Admission, No> {
        if request.candidates.is_empty() {
            return Err(Refusal::NotPriced { model: request.requested_model.clone() }.into());
        }
        let journal = self.journal();
        let slot = journal.admit(request.mode).map_err(Refusal::Ledger)?;
        if !journal.has_room() {
            return Err(Refusal::Ledger(LedgerError::Busy).into());
        }
        let (size, claims) = self.sized(request, wallet)?;
        Admission::reserve(self, request, wallet, (size, &claims), slot).map_err(|short| self.refuse(request, wallet, size, short))
    }

    /// What the request needs of the wallet and of each budget it falls under.
    fn sized(&self, request: &AdmitRequest, wallet: &Wallet) -> Result<(Size, Vec<Claim>), Refusal> {
        let gauges = self.budget_book().of(&spender(request, wallet.currency()));
        // What a budget has left is offered to a caller without a limit of its own as if it were all there is.
        let offered = gauges.iter().filter_map(|gauge| room(gauge, request.received_at)).fold(wallet.reading().available(), Nano::min);
        let size = Size::of(request, offered, self.sizes()).map_err(|error| Refusal::Ledger(error.into()))?;
        let claims = claims(gauges, request, size, self.sizes()).map_err(|error| Refusal::Ledger(error.into()))?;
        Ok((size, claims))
    }

    fn insufficient(&self, request: &AdmitRequest, wallet: &Wallet, size: Size, available: Nano) -> Refusal {
        let money = |amount| Money::new(amount, wallet.currency());
        Refusal::InsufficientFunds {
            available: money(available),
            required: money(size.amount),
            affordable_max_tokens: size.affordable(request, available, self.sizes()),
        }
    }

    fn refuse(&self, request: &AdmitRequest, wallet: &Wallet, size: Size, short: Short) -> No {
        match short {
            Short::Wallet(reading) => No {
                refusal: self.insufficient(request, wallet, size, reading.available()),
                budget: None,
                waiting_may_help: !reading.held.is_zero(),
            },
            Short::Budget { refusal, gauge, bounds } => {
                let waiting_may_help = refusal.held;
                No { refusal: Refusal::Budget(refusal), budget: Some((gauge, bounds)), waiting_may_help }
            }
        }
    }

    /// What the caller hears, and whoever watches the budget.
    fn tell(&self, no: No) -> Refusal {
        if let (Refusal::Budget(refusal), Some((gauge, bounds))) = (&no.refusal, &no.budget) {
            notice::refused(self.journal(), gauge, bounds.start, refusal);
        }
        no.refusal
    }
}

/// Whose request it is, as budgets ask.
fn spender(request: &AdmitRequest, currency: Currency) -> Spender<'_> {
    let AdmitRequest { org, key, team, user, .. } = *request;
    Spender { org, key, team, user, tag: request.tag.as_deref(), currency }
}

/// What a hard budget has left, where it counts every answer.
fn room(gauge: &Gauge, now_us: i64) -> Option<Nano> {
    let reading = gauge.reading(now_us);
    (reading.hard && gauge.spec.counts_all()).then(|| reading.left())
}

/// What each budget must hold: the whole hold, or where only some answers count, the most that one of those can cost.
fn claims(gauges: Vec<Arc<Gauge>>, request: &AdmitRequest, size: Size, sizes: &LearnedSizes) -> Result<Vec<Claim>, MoneyError> {
    let mut claims = Vec::with_capacity(gauges.len());
    for gauge in gauges {
        let amount = if gauge.spec.counts_all() {
            Some(size.amount)
        } else {
            let counts =
                |candidate: &PricedCandidate| gauge.spec.counts(candidate.deployment.provider.as_str(), &candidate.deployment.model);
            size.among(request, sizes, counts)?
        };
        if let Some(amount) = amount {
            claims.push(Claim { gauge, amount });
        }
    }
    Ok(ordered(claims))
}

/// What the layer asks for, or `None` for an operation that is free.
fn request_of(routed: &Routed, billing: &dyn Billing) -> Result<Option<(AdmitRequest, Routed)>, Refusal> {
    let call = &routed.call;
    match call.operation() {
        Operation::CountTokens => return Ok(None),
        Operation::Chat => {}
    }
    let (ctx, peek) = (call.ctx(), call.peek());
    let Principal { org, key, mode, team, user, .. } = *ctx.principal;
    let received_at = unix_us(ctx.received_at);
    let tariff = billing.tariff(org, mode, received_at);
    let mut candidates = Vec::with_capacity(routed.candidates.len());
    let mut priced = Vec::with_capacity(routed.candidates.len());
    for candidate in routed.candidates.iter() {
        let deployment = &candidate.deployment;
        match tariff.price(deployment, received_at) {
            Ok(Some(priced_at)) => {
                priced.push(priced_at);
                candidates.push(candidate.clone());
            }
            Ok(None) => tracing::debug!(deployment = %deployment.id, "left out: it has no price"),
            Err(error) => tracing::error!(deployment = %deployment.id, %error, "left out: its price cannot be read"),
        }
    }
    // A fallback without a price is skipped; the model that was asked for must have one.
    let asked_is_priced = match (routed.candidates.first(), candidates.first()) {
        (Some(asked), Some(first)) => asked.rank == first.rank,
        _ => false,
    };
    if !asked_is_priced {
        return Err(Refusal::NotPriced { model: peek.model.clone() });
    }
    let all_priced = candidates.len() == routed.candidates.len();
    let routed = if all_priced { routed.clone() } else { Routed { call: Arc::clone(call), candidates: candidates.into() } };
    let request = AdmitRequest {
        id: ctx.request_id,
        org,
        key,
        mode,
        team,
        user,
        tag: call.end_user(),
        plan: tariff.plan,
        requested_model: peek.model.clone(),
        stream: peek.stream,
        received_at,
        candidates: priced.into(),
        input: peek.input,
        output: OutputAsk { limit: peek.output_limit, choices: peek.choices.max(1) },
        names_tier: peek.span(call.body(), "service_tier").is_some(),
        max_total_cost: peek.controls.max_total_cost.map(|nano| i64::try_from(nano).map_or(Nano::MAX, Nano::new)),
        facts: billing.facts(org, call),
    };
    Ok(Some((request, routed)))
}

fn reach(request: &AdmitRequest) -> TierReach<'static> {
    if request.names_tier { TierReach::Any } else { TierReach::Default }
}

fn unix_us(at: std::time::SystemTime) -> i64 {
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
