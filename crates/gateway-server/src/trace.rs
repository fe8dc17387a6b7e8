//! One log line and one set of metrics a request, written when its answer has ended, however it ended.

use std::{sync::Arc, time::Duration};

use gateway_core::{Clock, Fault, FaultKind, RequestId, clock::Instant};
use http::{HeaderValue, Method, Response, StatusCode, Uri};
use tower::Layer;

use crate::{
    drain::{Drain, InFlight},
    edge_body::EdgeBody,
    metrics::{Metrics, Observation},
    site::Target,
    stage::{Answer, Arrival, Failed, Seen, Served, Stage, Unserved},
};

/// Watches requests from their head to the end of their answer.
#[derive(Clone)]
pub struct TraceLayer {
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    drain: Drain,
}

impl TraceLayer {
    /// Counts into `metrics`; `drain` learns what is in flight.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, metrics: Metrics, drain: Drain) -> Self {
        Self { clock, metrics, drain }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, clock: Arc::clone(&self.clock), metrics: self.metrics.clone(), drain: self.drain.clone() }
    }
}

/// See [`TraceLayer`].
#[derive(Clone)]
pub struct Trace<S> {
    inner: S,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    drain: Drain,
}

impl<S: Stage<Box<Arrival>, Answer = Answer, Error = Failed>> Stage<Box<Arrival>> for Trace<S> {
    type Answer = Response<EdgeBody>;
    type Error = Refused;

    async fn serve(&self, arrival: Box<Arrival>) -> Result<Response<EdgeBody>, Refused> {
        let mut record = Box::new(Record {
            id: arrival.id,
            arrived: arrival.arrived,
            interest: Interest::in_target(&arrival.matched.target),
            method: arrival.head.method.clone(),
            path: path(&arrival.head.uri).into(),
            trace_parent: arrival.head.headers.get("traceparent").cloned(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            status: None,
            first_byte: None,
            outcome: Outcome::Open,
            seen: Seen::default(),
            fault: None,
            in_flight: self.drain.request(),
        });
        match self.inner.serve(arrival).await {
            Ok(Answer { mut response, seen }) => {
                record.status = Some(response.status());
                record.seen = seen;
                response.body_mut().watch(record);
                Ok(response)
            }
            Err(Failed { fault, seen }) => {
                record.seen = *seen;
                record.outcome = Outcome::Fault(fault.kind());
                record.fault = Some(fault.clone());
                Err(Refused { fault, record })
            }
        }
    }
}

/// A fault on its way to being rendered, with the record that goes along with its body.
pub struct Refused {
    pub(crate) fault: Fault,
    pub(crate) record: Box<Record>,
}

/// How much a request matters to whoever reads metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    /// A call: counted and logged.
    Call,
    /// Logged.
    Visit,
    /// A probe or a scrape, which comes every few seconds: logged for debugging only.
    Probe,
}

impl Interest {
    fn in_target(target: &Target) -> Self {
        match target {
            Target::Call(_) => Self::Call,
            Target::Models | Target::Model { .. } | Target::Mount(..) | Target::WrongMethod { .. } | Target::Nothing => Self::Visit,
            Target::Metrics(_) | Target::Root | Target::Live | Target::Ready => Self::Probe,
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has not; a record dropped so belongs to a caller who left.
    Open,
    Complete,
    Fault(FaultKind),
    Panic,
    /// Dropped at the deadline of a shutdown.
    Cut,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => FaultKind::CallerGone.as_str(),
            Self::Complete => "ok",
            Self::Fault(kind) => kind.as_str(),
            Self::Panic => "panic",
            Self::Cut => "shutdown",
        }
    }
}

/// What is known of one request. Dropping it writes the line.
pub(crate) struct Record {
    id: RequestId,
    arrived: Instant,
    interest: Interest,
    method: Method,
    path: Box<str>,
    trace_parent: Option<HeaderValue>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    status: Option<StatusCode>,
    first_byte: Option<Duration>,
    outcome: Outcome,
    seen: Seen,
    fault: Option<Fault>,
    in_flight: InFlight,
}

impl Record {
    /// A frame went out.
    pub(crate) fn flows(&mut self) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.elapsed());
        }
    }

    /// The body ended so. That of an error says nothing new.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if self.outcome == Outcome::Open {
            self.outcome = outcome;
        }
    }

    /// The status that the caller's protocol gives to the fault.
    pub(crate) fn rendered_as(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The model that was asked for, if the request came so far.
    pub(crate) fn requested(&self) -> Option<&str> {
        self.seen.model.as_deref()
    }

    /// How far a call came that nobody served.
    pub(crate) fn unserved(&self) -> Option<&Unserved> {
        self.seen.unserved.as_ref()
    }

    fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_duration_since(self.arrived)
    }

    /// A stream that ended by the protocol's error event ended cleanly for HTTP, but not for the log.
    fn settle_outcome(&mut self) {
        if self.outcome == Outcome::Open && std::thread::panicking() {
            self.outcome = Outcome::Panic;
        }
        if self.outcome == Outcome::Open && self.in_flight.is_cut() {
            self.outcome = Outcome::Cut;
        }
        if let (Outcome::Complete, Some(served)) = (self.outcome, &self.seen.served)
            && let Some(kind) = served.meter.read(|reading| reading.fault)
        {
            self.outcome = Outcome::Fault(kind);
        }
        if self.status.is_none() {
            self.status = Some(match self.outcome {
                Outcome::Panic => StatusCode::INTERNAL_SERVER_ERROR,
                Outcome::Cut => StatusCode::SERVICE_UNAVAILABLE,
                Outcome::Open | Outcome::Complete | Outcome::Fault(_) => FaultKind::CallerGone.status(),
            });
        }
    }

    fn log(&self, status: StatusCode, took: Duration) {
        let (served, unserved) = (self.seen.served.as_ref(), self.seen.unserved.as_ref());
        let last = unserved.and_then(|unserved| unserved.tried.last.as_deref());
        let deployment = served.and_then(|served| served.deployment.as_deref()).or(last);
        let (input, output) = served.map_or((None, None), Served::tokens);
        let principal = self.seen.principal.as_deref();
        tracing::info!(
            target: "bellwether::request",
            request_id = %self.id,
            trace_id = self.trace_parent.as_ref().and_then(trace_id),
            method = %self.method,
            path = &*self.path,
            status = status.as_u16(),
            outcome = self.outcome.as_str(),
            account = principal.map(|principal| tracing::field::display(principal.org)),
            key = principal.map(|principal| tracing::field::display(principal.key)),
            mode = principal.map(|principal| principal.mode.as_str()),
            requested_model = self.seen.model.as_deref().map(printable).map(tracing::field::debug),
            model = deployment.map(|deployment| &*deployment.model),
            provider = deployment.map(|deployment| deployment.provider.as_str()),
            upstream_model = deployment.map(|deployment| &*deployment.upstream_model),
            attempts = served.map(|served| served.attempts).or(unserved.map(|unserved| unserved.tried.attempts)),
            stream = self.seen.streamed,
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            first_byte_us = self.first_byte.map(|wait| u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)),
            overhead_us = served.map(|served| served.overhead_us).or(unserved.map(|unserved| unserved.overhead_us)),
            input_tokens = input,
            output_tokens = output,
            losses = served.map(|served| served.losses.iter().len()).filter(|losses| *losses > 0),
            error = self.fault.as_ref().map(Fault::message),
            cause = self.fault.as_ref().and_then(std::error::Error::source).map(tracing::field::display),
        );
    }
}

impl Served {
    fn tokens(&self) -> (Option<u64>, Option<u64>) {
        self.meter.read(|reading| {
            if reading.usage.is_empty() { (None, None) } else { (Some(reading.usage.input_tokens()), Some(reading.usage.output_tokens())) }
        })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.settle_outcome();
        let took = self.elapsed();
        let status = self.status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.interest == Interest::Call {
            self.metrics.observe(&Observation {
                served: self.seen.served.as_ref(),
                requested: self.seen.model.as_deref(),
                status,
                took,
                first_byte: self.first_byte.filter(|_| self.seen.streamed),
            });
        }
        match self.interest {
            Interest::Call | Interest::Visit => self.log(status, took),
            Interest::Probe => tracing::debug!(target: "bellwether::request", path = &*self.path, status = status.as_u16(), "probed"),
        }
    }
}

/// The path without its query, which may hold a key.
fn path(uri: &Uri) -> &str {
    let path = uri.path();
    path.get(..200).unwrap_or(path)
}

/// A name from a caller, cut to a sane length; the log escapes what is not printable.
fn printable(name: &str) -> &str {
    match name.char_indices().nth(128) {
        Some((at, _)) => &name[..at],
        None => name,
    }
}

/// The trace id of a W3C `traceparent`, if the header is one.
fn trace_id(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let mut fields = text.split('-');
    let (version, id, parent) = (fields.next()?, fields.next()?, fields.next()?);
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (hex(version, 2) && hex(id, 32) && hex(parent, 16)).then_some(id)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::trace_id;

    #[test]
    fn only_a_well_formed_traceparent_names_a_trace() {
        let id = |text: &'static str| trace_id(&HeaderValue::from_static(text)).map(str::to_owned);
        assert_eq!(id("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(id("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"), None);
        assert_eq!(id("garbage"), None);
    }
}
