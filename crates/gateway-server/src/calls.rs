//! From an authenticated request to a [`Call`], and from a [`Reply`] to a response.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use gateway_core::{
    Call, CallContext, Clock, Fault, FaultKind, InputSize, Mode, Operation, Origin, Reply, ReplyBody, ReplyHead, clock::Instant,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};
use tower::{Layer, Service};

use crate::{
    edge_body::EdgeBody,
    metrics::Metrics,
    reply_head,
    stage::{Answer, Asked, Failed, Seen, Served, Stage, Unserved},
};

const TIMEOUT: HeaderName = HeaderName::from_static("x-bellwether-timeout-ms");
const SIMULATE: HeaderName = HeaderName::from_static("x-bellwether-simulate");
const ESTIMATED: HeaderName = HeaderName::from_static("x-bellwether-estimated");

/// The code of a fault that says the model is served, but by nobody who offers the operation.
const OPERATION_UNSUPPORTED: &str = "operation_unsupported";

/// The layers below keep the deadline themselves and say more about it; this is for those that do not.
const DEADLINE_GRACE: Duration = Duration::from_millis(250);

/// Limits of a call.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// The whole call, from the last byte of the request to the last byte of the answer. The header
    /// `x-bellwether-timeout-ms` shortens it for one call.
    pub total: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { total: Duration::from_secs(600) }
    }
}

/// Makes calls. Below it, errors are [`Fault`]s and answers are [`Reply`]s.
#[derive(Clone)]
pub struct CallLayer {
    limits: CallLimits,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl CallLayer {
    /// Calls within these limits.
    #[must_use]
    pub fn new(limits: CallLimits, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { limits, clock, metrics }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls { inner, limits: self.limits, clock: Arc::clone(&self.clock), metrics: self.metrics.clone() }
    }
}

/// See [`CallLayer`].
#[derive(Clone)]
pub struct Calls<S> {
    inner: S,
    limits: CallLimits,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl<S> Stage<Asked> for Calls<S>
where
    S: Service<Arc<Call>, Response = Reply, Error = Fault> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    type Answer = Answer;
    type Error = Failed;

    async fn serve(&self, asked: Asked) -> Result<Answer, Failed> {
        let call = Arc::new(self.call(asked).await?);
        let until = call.ctx().deadline + DEADLINE_GRACE;
        let replied = tokio::time::timeout_at(until, self.reply(Arc::clone(&call))).await.unwrap_or_else(|_elapsed| {
            Err(Fault::new(FaultKind::Timeout, Origin::Gateway, "the call took longer than its total time limit"))
        });
        match replied {
            Ok(reply) => Ok(self.answer(&call, reply)),
            Err(fault) if counts_without_provider(&call, &fault) => Ok(self.answer(&call, estimate(&call))),
            Err(fault) => {
                let unserved = fault.tried().map(|tried| Unserved {
                    tried: tried.clone(),
                    overhead_us: overhead(self.clock.monotonic(), &call, tried.upstream_wait),
                });
                let seen = Seen { model: Some(call.peek().model.clone()), streamed: call.peek().stream, unserved, ..Seen::default() };
                Err(Failed { fault, seen: Box::new(seen) })
            }
        }
    }
}

impl<S> Calls<S>
where
    S: Service<Arc<Call>, Response = Reply, Error = Fault> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    async fn call(&self, asked: Asked) -> Result<Call, Fault> {
        let Asked { arrival, principal, ingress } = asked;
        let head = arrival.head;
        refuse_what_cannot_be_meant(&head, principal.mode)?;
        let total = total(&head.headers, self.limits.total)?;
        let body = arrival.body.read().await?;
        let read_at = self.clock.monotonic();
        let peek = ingress.peek(&head, &body).map_err(gateway_core::WireError::into_caller_fault)?;
        let ctx = CallContext { request_id: arrival.id, principal, received_at: arrival.received_at, read_at, deadline: read_at + total };
        Ok(Call::new(ctx, ingress, head, body, peek))
    }

    async fn reply(&self, call: Arc<Call>) -> Result<Reply, Fault> {
        let mut inner = self.inner.clone();
        poll_fn(|cx| inner.poll_ready(cx)).await?;
        inner.call(call).await
    }

    fn answer(&self, call: &Call, reply: Reply) -> Answer {
        let Reply { head, body, meter } = reply;
        let overhead = overhead(self.clock.monotonic(), call, head.upstream_wait);
        let labels = head.deployment.as_deref().map(|deployment| self.metrics.deployment(deployment));
        let streamed = matches!(body, ReplyBody::Stream(_));
        let mut response = Response::new(EdgeBody::new(body));
        *response.status_mut() = head.status;
        *response.headers_mut() = reply_head::headers(
            head.headers,
            streamed,
            &reply_head::Told {
                requested: &call.peek().model,
                served: labels.as_deref(),
                attempts: head.attempts,
                overhead_us: overhead,
                losses: &head.losses,
            },
        );
        let served = Served { deployment: head.deployment, attempts: head.attempts, overhead_us: overhead, losses: head.losses, meter };
        Answer { response, seen: Seen { model: Some(call.peek().model.clone()), streamed, served: Some(served), ..Seen::default() } }
    }
}

/// Microseconds that are ours: from the request read to the head of the answer, less the wait for providers.
fn overhead(now: Instant, call: &Call, upstream_wait: Duration) -> u64 {
    let ours = now.saturating_duration_since(call.ctx().read_at).saturating_sub(upstream_wait);
    u64::try_from(ours.as_micros()).unwrap_or(u64::MAX)
}

fn refuse_what_cannot_be_meant(head: &Parts, mode: Mode) -> Result<(), Fault> {
    if mode == Mode::Live && head.headers.contains_key(SIMULATE) {
        return Err(Fault::invalid("`x-bellwether-simulate` works with test keys only (`hs_test_…`); this key is live")
            .with_param("x-bellwether-simulate"));
    }
    let mut scenarios = head.headers.get_all(SIMULATE).iter();
    if let (Some(_first), Some(second)) = (scenarios.next(), scenarios.next()) {
        return Err(unreadable(&SIMULATE, "one header with all the rules in one JSON array", second));
    }
    match head.headers.get(header::CONTENT_ENCODING) {
        Some(coding) if coding != "identity" => {
            Err(Fault::invalid("compressed request bodies are not accepted; send the JSON as it is").with_param("content-encoding"))
        }
        Some(_) | None => Ok(()),
    }
}

fn total(headers: &HeaderMap, most: Duration) -> Result<Duration, Fault> {
    let mut total = most;
    for value in headers.get_all(TIMEOUT) {
        let asked = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()).filter(|ms| *ms > 0);
        let asked = asked.ok_or_else(|| unreadable(&TIMEOUT, "a whole number of milliseconds above 0", value))?;
        total = total.min(Duration::from_millis(asked));
    }
    Ok(total)
}

fn unreadable(name: &HeaderName, accepted: &str, value: &HeaderValue) -> Fault {
    let shown: String = String::from_utf8_lossy(value.as_bytes()).chars().take(100).flat_map(char::escape_debug).collect();
    Fault::invalid(format!("`{name}` must be {accepted}, not `{shown}`")).with_param(name.as_str().to_owned())
}

/// Nobody counts tokens for this model, so we estimate rather than fail: clients use the number to plan, not to pay.
fn counts_without_provider(call: &Call, fault: &Fault) -> bool {
    call.operation() == Operation::CountTokens && (fault.kind() == FaultKind::NoDeployment || fault.code() == Some(OPERATION_UNSUPPORTED))
}

fn estimate(call: &Call) -> Reply {
    let body = Bytes::from(format!("{{\"input_tokens\":{}}}", estimated_tokens(&call.peek().input)));
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(ESTIMATED, HeaderValue::from_static("true"));
    let head = ReplyHead {
        status: StatusCode::OK,
        headers,
        deployment: None,
        attempts: 0,
        losses: gateway_core::Losses::new(),
        upstream_wait: Duration::ZERO,
    };
    Reply { head, body: ReplyBody::Whole(body), meter: gateway_core::Meter::new() }
}

/// Four bytes a token is usual for English prose and JSON; messages and tools cost a few tokens of template each, and an
/// image at most about 1,600.
fn estimated_tokens(input: &InputSize) -> u64 {
    let text = input.text_bytes.div_ceil(4);
    (text + 5 * u64::from(input.items)).saturating_add(1_600 * u64::from(input.media)).max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue};

    use super::total;

    #[test]
    fn a_caller_may_shorten_the_time_but_not_lengthen_it() {
        let most = Duration::from_secs(600);
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-bellwether-timeout-ms", HeaderValue::from_static(value));
            total(&headers, most).map(|total| total.as_millis()).map_err(|fault| fault.kind())
        };
        assert_eq!(with("250"), Ok(250));
        assert_eq!(with("700000"), Ok(600_000));
        assert_eq!(with("18446744073709551615"), Ok(600_000));
        for wrong in ["0", "-1", "1.5", "", "soon", "18446744073709551616"] {
            let mut headers = HeaderMap::new();
            headers.insert("x-bellwether-timeout-ms", HeaderValue::from_static("250"));
            headers.append("x-bellwether-timeout-ms", HeaderValue::from_static(wrong));
            let fault = total(&headers, most).expect_err(wrong);
            let expected = format!("`x-bellwether-timeout-ms` must be a whole number of milliseconds above 0, not `{wrong}`");
            assert_eq!((fault.message(), fault.param(), fault.status().as_u16()), (&*expected, Some("x-bellwether-timeout-ms"), 400));
        }
    }
}
