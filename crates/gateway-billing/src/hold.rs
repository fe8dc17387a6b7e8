//! Holding money for a call and settling what it really used.
//!
//! [`Billing`] is all that a gateway needs to see: [`Billing::try_admit`] reserves in memory within microseconds, the
//! [`Admission`] it returns is made durable beside the upstream call, and is settled or released exactly once: at the
//! latest when it is dropped. [`HoldLayer`] does all of it for a tower stack.

mod admission;
mod delivery;
mod layer;
mod sizing;
mod written;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use gateway_core::{Deployment, Fault, FaultKind, KeyId, Mode, Operation, OrgId, Origin, RequestId, Routed};

use self::sizing::Size;
pub use self::{
    admission::{Admission, FinalUsage, Receipt, ReleaseReason},
    layer::{Hold, HoldLayer, HoldOptions},
    sizing::{LearnedSizes, OutputAsk},
};
use crate::{
    book::Wallet,
    error::LedgerError,
    ledger::Ledger,
    money::{Currency, Money},
    price::{PriceBook, PriceKey, PriceVersion, SELL_BOOK, TierReach},
};

/// The plan every account is on until plans can be chosen; its row is part of the schema.
const DEFAULT_PLAN: i64 = 1;

/// A candidate with the price it is pinned to: whatever is published later, this request is charged by it.
#[derive(Debug, Clone)]
pub struct PricedCandidate {
    /// Where it may be served.
    pub deployment: Arc<Deployment>,
    /// The price.
    pub price: Arc<PriceVersion>,
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
}

/// Why no money was held.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Refusal {
    /// The wallet cannot pay for it.
    InsufficientFunds {
        /// What is free.
        available: Money,
        /// What would have to be held.
        required: Money,
        /// Most output tokens per choice that the free money would pay for.
        affordable_max_tokens: u64,
    },
    /// No candidate has a price.
    NotPriced {
        /// The model.
        model: Box<str>,
    },
    /// The account has no such wallet.
    NoWallet,
    /// The ledger cannot take it now.
    Ledger(LedgerError),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InsufficientFunds { available, required, affordable_max_tokens } => {
                let advice = if affordable_max_tokens == 0 {
                    "top up, or send a shorter prompt".to_owned()
                } else {
                    format!("top up, or ask for at most {affordable_max_tokens} output tokens")
                };
                let message = format!("this request may cost up to {required} and {available} are available; {advice}");
                Self::new(FaultKind::InsufficientFunds, Origin::Caller, message)
                    .with_code("insufficient_credits")
                    .with_detail("available_usd", available.amount.to_string())
                    .with_detail("required_usd", required.amount.to_string())
                    .with_detail("affordable_max_tokens", affordable_max_tokens)
            }
            Refusal::NotPriced { model } => Self::new(
                FaultKind::ModelNotPriced,
                Origin::Gateway,
                format!("the model `{model}` has no price, so it is not sold; the operator must set one"),
            )
            .with_code("model_not_priced")
            .with_param("model"),
            Refusal::NoWallet => Self::internal("the account of this key has no wallet"),
            Refusal::Ledger(error) => {
                let retry_after = matches!(error, LedgerError::Busy | LedgerError::Down { .. }).then_some(Duration::from_secs(1));
                Self::from(error).with_retry_after(retry_after)
            }
        }
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
    async fn admit(&self, request: AdmitRequest, wait: Duration) -> Result<Admission, Refusal>;

    /// The prices that candidates are pinned to.
    fn prices(&self) -> &Arc<PriceBook>;
}

#[async_trait]
impl Billing for Ledger {
    fn try_admit(&self, request: &AdmitRequest) -> Result<Admission, Refusal> {
        let wallet = self.wallet_of(request)?;
        Ok(self.hold(request, &wallet)?)
    }

    async fn admit(&self, request: AdmitRequest, wait: Duration) -> Result<Admission, Refusal> {
        let wallet = self.wallet_of(&request)?;
        if wait.is_zero() {
            return Ok(self.hold(&request, &wallet)?);
        }
        let deadline = self.clock().monotonic() + wait;
        loop {
            // Listening begins before looking, or what is freed in between would be missed.
            let mut freed = std::pin::pin!(wallet.freed());
            freed.as_mut().enable();
            match self.hold(&request, &wallet) {
                Err(No::NotYet(refusal)) => {
                    if tokio::time::timeout_at(deadline, freed).await.is_err() {
                        return Err(refusal);
                    }
                }
                other => return Ok(other?),
            }
        }
    }

    fn prices(&self) -> &Arc<PriceBook> {
        Ledger::prices(self)
    }
}

/// Whether waiting may help.
enum No {
    Final(Refusal),
    /// Running requests hold money that they may free. The look that refused must be the one that tells: a moment later
    /// they may have ended, and a caller who could pay would be turned away.
    NotYet(Refusal),
}

impl From<No> for Refusal {
    fn from(no: No) -> Self {
        let (No::Final(refusal) | No::NotYet(refusal)) = no;
        refusal
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Final(refusal)
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
        let size = Size::of(request, wallet.reading().available(), self.sizes()).map_err(|error| Refusal::Ledger(error.into()))?;
        Admission::reserve(self, request, wallet, size, slot).map_err(|reading| {
            let money = |amount| Money::new(amount, wallet.currency());
            let available = reading.available();
            let refusal = Refusal::InsufficientFunds {
                available: money(available),
                required: money(size.amount),
                affordable_max_tokens: size.affordable(request, available, self.sizes()),
            };
            if reading.held.is_zero() { No::Final(refusal) } else { No::NotYet(refusal) }
        })
    }
}

/// What the layer asks for, or `None` for an operation that is free.
fn request_of(routed: &Routed, prices: &PriceBook) -> Result<Option<(AdmitRequest, Routed)>, Refusal> {
    let call = &routed.call;
    match call.operation() {
        Operation::CountTokens => return Ok(None),
        Operation::Chat => {}
    }
    let (ctx, peek) = (call.ctx(), call.peek());
    let received_at = unix_us(ctx.received_at);
    let mut candidates = Vec::with_capacity(routed.candidates.len());
    let mut priced = Vec::with_capacity(routed.candidates.len());
    for candidate in routed.candidates.iter() {
        let deployment = &candidate.deployment;
        let key = PriceKey {
            book: SELL_BOOK,
            provider: deployment.provider.as_str(),
            upstream_model: &deployment.upstream_model,
            model: &deployment.model,
        };
        match prices.lookup(key, received_at) {
            Ok(Some(price)) => {
                priced.push(PricedCandidate { deployment: Arc::clone(deployment), price });
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
        org: ctx.principal.org,
        key: ctx.principal.key,
        mode: ctx.principal.mode,
        requested_model: peek.model.clone(),
        stream: peek.stream,
        received_at,
        candidates: priced.into(),
        input: peek.input,
        output: OutputAsk { limit: peek.output_limit, choices: peek.choices.max(1) },
        names_tier: peek.span(call.body(), "service_tier").is_some(),
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
