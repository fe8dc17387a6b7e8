//! The tower layer: holds before, settles after, and shows the caller what it cost.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::{Either, select};
use gateway_core::{Admitted, Call, Clock, Deployment, Fault, NoLog, Reply, ReplyBody, Routed, Tried};
use http::{HeaderName, HeaderValue};
use tower::{Layer, Service};

use super::{
    AdmitRequest, Billing, Refusal,
    admission::{Admission, ReleaseReason},
    delivery::{Watch, in_full},
    guard, request_of,
    written::Ended,
};
use crate::{budget::BudgetRefusal, error::LedgerError, money::Nano};

const COST: HeaderName = HeaderName::from_static("x-bellwether-cost-usd");
const REMAINING: HeaderName = HeaderName::from_static("x-bellwether-credits-remaining");
const OUTPUT_LIMIT: HeaderName = HeaderName::from_static("x-bellwether-output-limit");
const RECEIPT: HeaderName = HeaderName::from_static("x-bellwether-receipt");

/// A receipt longer than this is not sent along: clients and proxies refuse long headers, and with them the answer.
const RECEIPT_CHARS_MAX: usize = 6_000;

/// How the layer behaves.
#[derive(Debug, Clone, Copy)]
pub struct HoldOptions {
    /// How long a request may wait for running ones to free what they did not use.
    pub admission_wait: Duration,
    /// Holds the end of every answer back until its settlement is written.
    pub strict_settle: bool,
}

impl Default for HoldOptions {
    fn default() -> Self {
        Self { admission_wait: Duration::from_millis(300), strict_settle: false }
    }
}

/// Makes [`Hold`] services.
#[derive(Clone)]
pub struct HoldLayer {
    billing: Arc<dyn Billing>,
    clock: Arc<dyn Clock>,
    options: HoldOptions,
}

impl HoldLayer {
    /// A layer that holds money with `billing`.
    #[must_use]
    pub fn new(billing: Arc<dyn Billing>, clock: Arc<dyn Clock>, options: HoldOptions) -> Self {
        Self { billing, clock, options }
    }
}

impl<S> Layer<S> for HoldLayer {
    type Service = Hold<S>;

    fn layer(&self, inner: S) -> Hold<S> {
        Hold { inner, layer: self.clone() }
    }
}

/// Holds money for each call before the inner service sees it.
#[derive(Clone)]
pub struct Hold<S> {
    inner: S,
    layer: HoldLayer,
}

impl<S> Service<Routed> for Hold<S>
where
    S: Service<Admitted, Response = Reply, Error = Fault> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, routed: Routed) -> Self::Future {
        // The instance that was polled ready is the one that must be called.
        let fresh = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, fresh);
        let layer = self.layer.clone();
        Box::pin(async move { layer.run(inner, routed).await })
    }
}

impl HoldLayer {
    async fn run<S>(self, mut inner: S, routed: Routed) -> Result<Reply, Fault>
    where
        S: Service<Admitted, Response = Reply, Error = Fault>,
    {
        let Some((mut request, mut routed)) = request_of(&routed, &*self.billing).map_err(refused)? else {
            return inner.call(Admitted { routed, output_limit: None, log: Arc::new(NoLog) }).await;
        };
        guard::fit(&mut request, &mut routed).map_err(refused)?;
        let unlimited = request.output.limit.is_none();
        let receipt_for = routed.call.peek().controls.receipt.then(|| Arc::clone(&routed.call));
        let (admission, routed) = self.admit(request, routed).await.map_err(refused)?;
        let admitted = Admitted { routed, output_limit: Some(admission.output_limit()), log: admission.log() };
        let mut reply = match beside(inner.call(admitted), &admission).await {
            Ok(reply) => reply,
            Err(fault) => {
                admission.release(ReleaseReason::Failed);
                return Err(fault);
            }
        };
        if unlimited {
            put(&mut reply, OUTPUT_LIMIT, HeaderValue::from(admission.output_limit_tried()));
        }
        let tried = Tried::from(&reply.head);
        self.bill(reply, admission, receipt_for.as_deref()).await.map_err(|fault| fault.with_tried(tried))
    }

    /// Holds money. Where a budget for a model or a provider is spent, the request goes without what that budget counts, as
    /// long as the model that was asked for is still there; a fallback must not turn away what needs none.
    async fn admit(&self, mut request: AdmitRequest, mut routed: Routed) -> Result<(Admission, Routed), Refusal> {
        loop {
            let refusal = match self.billing.admit(&request, self.options.admission_wait).await {
                Err(Refusal::Budget(refusal)) => refusal,
                other => return other.map(|admission| (admission, routed)),
            };
            if !spare(&mut request, &mut routed, &refusal) {
                return Err(Refusal::Budget(refusal));
            }
        }
    }

    /// Settles a whole answer, or sets somebody to watch a streamed one.
    async fn bill(&self, mut reply: Reply, admission: Admission, receipt_for: Option<&Call>) -> Result<Reply, Fault> {
        let Some(deployment) = reply.head.deployment.clone() else {
            admission.durable().await?;
            admission.release(ReleaseReason::Failed);
            return Ok(reply);
        };
        match &mut reply.body {
            ReplyBody::Whole(_) => {
                let usage = reply.meter.read(in_full);
                let (committed, ended) = (admission.committed(), admission.ended());
                // Queued before the body is written, and often in one commit with the hold itself.
                let receipt = admission.settle(&deployment, &usage);
                committed.wait().await?;
                if self.options.strict_settle {
                    ended.wait().await?;
                }
                if let Some(call) = receipt_for {
                    self.enclose_receipt(call, &ended, &mut reply).await;
                }
                put(&mut reply, COST, amount(receipt.paid));
                put(&mut reply, REMAINING, amount(receipt.remaining));
            }
            ReplyBody::Stream(body) => {
                admission.durable().await?;
                let remaining = admission.remaining();
                body.watch(Box::new(Watch::new(admission, deployment, Arc::clone(&self.clock), self.options.strict_settle)));
                put(&mut reply, REMAINING, amount(remaining));
            }
        }
        Ok(reply)
    }
}

impl HoldLayer {
    /// Puts the signed receipt beside the answer. It states what is in the books, so they are waited for; if that fails, the
    /// answer goes out without.
    async fn enclose_receipt(&self, call: &Call, ended: &Ended, reply: &mut Reply) {
        let ctx = call.ctx();
        if let Err(error) = ended.wait().await {
            tracing::warn!(id = %ctx.request_id, %error, "no receipt goes with the answer: its settlement is not written");
            return;
        }
        let Some(receipt) = self.billing.signed_receipt(&ctx.principal, ctx.request_id).await else { return };
        match HeaderValue::try_from(receipt) {
            Ok(receipt) if receipt.len() <= RECEIPT_CHARS_MAX => put(reply, RECEIPT, receipt),
            Ok(_) | Err(_) => tracing::debug!(id = %ctx.request_id, "the receipt is too long for a header; it can be fetched"),
        }
    }
}

/// Leaves out the candidates that a spent budget counts; false where that would not help, because the model that was asked for
/// would not be left, or none is counted.
pub(super) fn spare(request: &mut AdmitRequest, routed: &mut Routed, refusal: &BudgetRefusal) -> bool {
    let spared = |deployment: &Deployment| !refusal.counts(deployment.provider.as_str(), &deployment.model);
    let left: Vec<_> = routed.candidates.iter().filter(|candidate| spared(&candidate.deployment)).cloned().collect();
    let asked_is_left = match (routed.candidates.first(), left.first()) {
        (Some(asked), Some(first)) => asked.rank == first.rank,
        _ => false,
    };
    if !asked_is_left || left.len() == routed.candidates.len() {
        return false;
    }
    request.candidates = request.candidates.iter().filter(|candidate| spared(&candidate.deployment)).cloned().collect();
    *routed = Routed { call: Arc::clone(&routed.call), candidates: left.into() };
    true
}

/// Runs the call beside the hold's commit. If the commit fails the call is dropped, which stops the provider.
async fn beside(call: impl Future<Output = Result<Reply, Fault>>, admission: &Admission) -> Result<Reply, Fault> {
    match select(pin!(call), pin!(admission.durable())).await {
        Either::Left((reply, _)) => reply,
        Either::Right((Ok(()), call)) => call.await,
        Either::Right((Err(error), _)) => Err(not_recorded(error)),
    }
}

/// No provider has been asked yet.
fn refused(cause: impl Into<Fault>) -> Fault {
    cause.into().with_tried(Tried::default())
}

fn not_recorded(error: LedgerError) -> Fault {
    Fault::from(error).with_retry_after(Some(Duration::from_secs(1)))
}

fn amount(amount: Nano) -> HeaderValue {
    // Digits and a point are always a valid header value.
    HeaderValue::try_from(amount.to_string()).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

fn put(reply: &mut Reply, name: HeaderName, value: HeaderValue) {
    reply.head.headers.insert(name, value);
}
