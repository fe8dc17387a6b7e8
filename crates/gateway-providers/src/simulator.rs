//! A provider that needs no account: it speaks all three protocols, in process or as a server.
//!
//! An answer is a pure function of the seed and the request, whether it is streamed or not: same request, same text,
//! tool calls and token counts. A [`Scenario`] adds latency and faults; only its `nth` ranges count requests.
//!
//! Tokens are counted by a rule of the simulator's own, so that nobody's counting is tested against itself: a text costs
//! one token for every four bytes begun, a message three more, a declared tool eight and its schema's text, a picture or
//! a document 256. An answer's words are one token each, its JSON one for every four bytes.

mod answer;
mod body;
mod faces;
mod plan;
mod question;
mod scenario;
mod schema;
mod server;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use gateway_core::{Fault, StreamUsage};
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tower::Service;

pub use body::SimulatedBody;
pub use scenario::{Latency, Match, Nth, Rule, Scenario, SimulatedFault, UsageMode};
pub use server::serve;

use self::plan::Plan;
use crate::headers::SIMULATE;

/// Most scenarios sent by header whose requests are counted; beyond that counting starts anew.
const COUNTED_SCENARIOS_MAX: usize = 256;

/// The simulated provider. Cloning shares its counters. It is a [`tower::Service`] like [`crate::Transport`].
#[derive(Clone)]
pub struct Simulator {
    inner: Arc<Inner>,
    stream_usage: StreamUsage,
}

struct Inner {
    scenario: Scenario,
    /// Requests seen by each rule, in the scenario's order.
    counts: Mutex<Vec<u64>>,
    /// The same for scenarios that came by header, by the header's text.
    by_header: Mutex<HashMap<Box<str>, Vec<u64>>>,
}

impl Simulator {
    /// A simulator that follows a scenario.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let counts = Mutex::new(vec![0; scenario.rules.len()]);
        Self { inner: Arc::new(Inner { scenario, counts, by_header: Mutex::default() }), stream_usage: StreamUsage::Option }
    }

    /// The same simulator, reporting the usage of OpenAI chat streams as a provider with this habit does.
    #[must_use]
    pub fn reporting(&self, stream_usage: StreamUsage) -> Self {
        Self { stream_usage, ..self.clone() }
    }

    /// What the simulator answers to this request.
    fn plan(&self, head: &http::request::Parts, body: &[u8]) -> Plan {
        let question = match question::read(head, body) {
            Ok(question) => question.reported(self.stream_usage),
            Err(refusal) => return plan::refuse(&refusal),
        };
        let by_header = head.headers.get(SIMULATE).map(|value| value.to_str().unwrap_or("not text"));
        let chosen = match by_header {
            Some(text) => match scenario::parse_header(text) {
                Ok(rules) => {
                    let mut all = self.inner.by_header.lock();
                    if all.len() >= COUNTED_SCENARIOS_MAX && !all.contains_key(text) {
                        all.clear();
                    }
                    let counts = all.entry(text.into()).or_insert_with(|| vec![0; rules.len()]);
                    choose(&rules, &question, counts).map(|(rule, count)| (rule.clone(), count))
                }
                Err(message) => return plan::refuse(&question::Refusal::invalid(question.face, message)),
            },
            None => choose(&self.inner.scenario.rules, &question, &mut self.inner.counts.lock()).map(|(rule, count)| (rule.clone(), count)),
        };
        plan::make(self.inner.scenario.seed, &question, chosen.as_ref())
    }

    async fn respond<B>(self, request: Request<B>) -> Result<Response<SimulatedBody>, Fault>
    where
        B: Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        let body = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            // Only the server's face can meet this: the caller left.
            Err(_left) => Bytes::new(),
        };
        self.plan(&parts, &body).run().await
    }
}

/// The first rule that matches, and how many requests it had matched before this one. Every rule counts what it could
/// have matched, so that `nth` means the same wherever the rule stands.
fn choose<'r>(rules: &'r [Rule], question: &question::Question, counts: &mut [u64]) -> Option<(&'r Rule, u64)> {
    let mut chosen = None;
    for (rule, count) in rules.iter().zip(counts) {
        if rule.matching.fits(question) {
            *count += 1;
            if chosen.is_none() && rule.matching.nth.is_none_or(|nth| nth.contains(*count)) {
                chosen = Some((rule, *count));
            }
        }
    }
    chosen
}

impl Default for Simulator {
    fn default() -> Self {
        Self::new(Scenario::default())
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Simulator").field(&self.inner.scenario).finish()
    }
}

impl<B> Service<Request<B>> for Simulator
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<SimulatedBody>;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Fault>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.clone().respond(request))
    }
}

#[cfg(test)]
mod tests;
