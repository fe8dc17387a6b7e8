//! What is sent and when: the answer, bent by the rule that matched.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use gateway_core::Fault;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use super::{
    answer::answers,
    body::{SimulatedBody, Step},
    faces::{self, Reply},
    question::{Question, Refusal},
    scenario::{Latency, Rule, SimulatedFault, UsageMode},
};

/// The longest that a scenario may keep a request waiting.
const LATENCY_MAX: Duration = Duration::from_secs(600);

/// One answer, ready to be played.
#[derive(Debug)]
pub(super) struct Plan {
    delay: Duration,
    /// `None`: no head ever comes.
    head: Option<(StatusCode, HeaderMap)>,
    steps: VecDeque<Step>,
}

impl Plan {
    /// Plays the plan up to its head.
    pub(super) async fn run(self) -> Result<Response<SimulatedBody>, Fault> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let Some((status, headers)) = self.head else { return std::future::pending().await };
        let mut response = Response::new(SimulatedBody::new(self.steps));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    fn whole(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        let mut plan = Self { delay: Duration::ZERO, head: None, steps: VecDeque::from([Step::Send(body)]) };
        plan.set_head(status, headers, "application/json");
        plan
    }

    fn set_head(&mut self, status: StatusCode, mut headers: HeaderMap, content_type: &'static str) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.head = Some((status, headers));
    }
}

/// The protocol's refusal of a request that cannot be answered.
pub(super) fn refuse(refusal: &Refusal) -> Plan {
    let body = faces::error_body(refusal.face, refusal.status, &refusal.message, None);
    Plan::whole(refusal.status, faces::headers(refusal.face, 0, None), body.to_string().into())
}

/// The answer to a question. `rule` comes with the number of the request among those it matches, which varies the
/// latency of requests that are otherwise the same.
pub(super) fn make(seed: u64, question: &Question, rule: Option<&(Rule, u64)>) -> Plan {
    let fault = rule.and_then(|(rule, _)| rule.fault.as_ref());
    let latency = rule.and_then(|(rule, count)| rule.latency_ms.map(|latency| (latency, *count)));
    let mut plan = answer(seed, question, fault);
    if let Some((latency, count)) = latency {
        plan.delay = draw(latency, &mut Rng::with_seed(seed ^ question.digest ^ count.rotate_left(32)));
    }
    if let Some(SimulatedFault::Hang) = fault {
        plan.head = None;
    }
    plan
}

fn answer(seed: u64, question: &Question, fault: Option<&SimulatedFault>) -> Plan {
    if let Some(SimulatedFault::Status { status, retry_after_s }) = fault {
        let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = format!("the scenario answers with {}", status.as_u16());
        let body = faces::error_body(question.face, status, &message, *retry_after_s);
        return Plan::whole(status, faces::headers(question.face, question.digest, *retry_after_s), body.to_string().into());
    }
    let usage = match fault {
        Some(SimulatedFault::Usage { mode }) => *mode,
        _ => UsageMode::Right,
    };
    let answers = answers(seed, question);
    let reply = Reply { question, answers: &answers, usage };
    let headers = faces::headers(question.face, question.digest, None);
    if question.stream {
        let mut plan = Plan { delay: Duration::ZERO, head: None, steps: VecDeque::new() };
        plan.set_head(StatusCode::OK, headers, "text/event-stream; charset=utf-8");
        plan.steps = stream_steps(question, reply.events(), fault);
        return plan;
    }
    let mut plan = Plan::whole(StatusCode::OK, headers, reply.whole());
    plan.steps = whole_steps(question, reply.whole(), fault);
    plan
}

fn stream_steps(question: &Question, events: Vec<Bytes>, fault: Option<&SimulatedFault>) -> VecDeque<Step> {
    // The terminator is never among the events before a fault, or there would be none.
    let before = |after: usize| events[..after.min(events.len().saturating_sub(1))].iter().cloned().map(Step::Send);
    match fault {
        Some(SimulatedFault::Stall { after_events }) => before(*after_events).chain([Step::Forever]).collect(),
        Some(SimulatedFault::Cut { after_events, reset }) => before(*after_events).chain(cut(*reset)).collect(),
        Some(SimulatedFault::ErrorEvent { after_events }) => {
            before(*after_events).chain([Step::Send(faces::error_event(question.face))]).collect()
        }
        Some(SimulatedFault::Malformed { after_events }) => {
            before(*after_events).chain([Step::Send(Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"con\n\n"))]).collect()
        }
        Some(SimulatedFault::Drip { bytes, every_ms }) => drip(&events.concat(), *bytes, *every_ms),
        Some(SimulatedFault::Status { .. } | SimulatedFault::Hang | SimulatedFault::Usage { .. }) | None => {
            events.into_iter().map(Step::Send).collect()
        }
    }
}

fn whole_steps(question: &Question, body: Bytes, fault: Option<&SimulatedFault>) -> VecDeque<Step> {
    let half = body.slice(..body.len() / 2);
    // A broken answer announces its whole length all the same.
    let rest = body.len() - half.len();
    match fault {
        Some(SimulatedFault::Stall { .. }) => [Step::Send(half), Step::Announce(rest), Step::Forever].into(),
        Some(SimulatedFault::Cut { reset, .. }) => [Step::Send(half), Step::Announce(rest)].into_iter().chain(cut(*reset)).collect(),
        Some(SimulatedFault::ErrorEvent { .. }) => {
            let error = faces::error_body(question.face, StatusCode::SERVICE_UNAVAILABLE, "the simulated provider is overloaded", None);
            [Step::Send(error.to_string().into())].into()
        }
        Some(SimulatedFault::Malformed { .. }) => [Step::Send(half)].into(),
        Some(SimulatedFault::Drip { bytes, every_ms }) => drip(&body, *bytes, *every_ms),
        Some(SimulatedFault::Status { .. } | SimulatedFault::Hang | SimulatedFault::Usage { .. }) | None => [Step::Send(body)].into(),
    }
}

/// The moment lets a server flush what it was given: the cut comes after it, not instead of it.
fn cut(reset: bool) -> [Step; 2] {
    [Step::Wait(Duration::from_millis(5)), Step::Break { reset }]
}

fn drip(all: &[u8], bytes: usize, every_ms: u64) -> VecDeque<Step> {
    let pause = Duration::from_millis(every_ms).min(LATENCY_MAX);
    all.chunks(bytes.max(1)).flat_map(|piece| [Step::Send(Bytes::copy_from_slice(piece)), Step::Wait(pause)]).collect()
}

/// A log-normal latency with the given median and 95th percentile.
fn draw(latency: Latency, rng: &mut Rng) -> Duration {
    /// The standard normal's 95th percentile.
    const Z_95: f64 = 1.644_853_6;
    let p50 = latency.p50.max(0.0);
    let p95 = latency.p95.unwrap_or(p50).max(p50);
    let ms = if p50 > 0.0 && p95 > p50 {
        // Box and Muller's transform.
        let (u, v) = (rng.f64().max(f64::MIN_POSITIVE), rng.f64());
        let z = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        p50 * ((p95 / p50).ln() / Z_95 * z).exp()
    } else {
        p50
    };
    Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or(LATENCY_MAX).min(LATENCY_MAX)
}
