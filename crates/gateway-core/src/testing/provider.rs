//! A provider that does what a script says, and tells what was done to it.

use std::{
    borrow::Cow,
    collections::VecDeque,
    future::{pending, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http_body::Body;

use super::clock::now;
use crate::{
    attempt::Attempt,
    codec::RenderCtx,
    fault::{Fault, FaultKind, Origin, Retry},
    id::ProviderId,
    ir::{ChatResponse, Choice, Delta, Event, Finish, FinishReason, Part, PartBody, PartKind},
    key::Mode,
    provider::{Provider, Readiness},
    reply::{Reply, ReplyBody},
    stream::EventPump,
    usage::Usage,
};

/// One step of a scripted stream.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "scripts are short; a box in every test would only be noise")]
pub enum Beat {
    /// Sends an event.
    Event(Event<'static>),
    /// Pauses.
    Wait(Duration),
    /// Never sends anything again.
    Hang,
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one per attempt of a test")]
enum Outcome {
    /// Whole or streamed, as the call asked.
    Answer(ChatResponse),
    /// These beats, whatever the call asked.
    Stream(Vec<Beat>),
    Fault(Fault),
    Hang,
    Panic,
}

/// What one attempt meets.
#[derive(Debug, Clone)]
pub struct Act {
    latency: Duration,
    outcome: Outcome,
}

impl Act {
    /// Answers with the text, whole or streamed as the call asks. See [`answer`] for its usage.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::answer(answer(text))
    }

    /// Answers so, whole or streamed as the call asks.
    #[must_use]
    pub fn answer(response: ChatResponse) -> Self {
        Self { latency: Duration::ZERO, outcome: Outcome::Answer(response) }
    }

    /// Answers with a stream of exactly these beats.
    #[must_use]
    pub fn stream(beats: Vec<Beat>) -> Self {
        Self { latency: Duration::ZERO, outcome: Outcome::Stream(beats) }
    }

    /// Fails before any head.
    #[must_use]
    pub fn fault(fault: Fault) -> Self {
        Self { latency: Duration::ZERO, outcome: Outcome::Fault(fault) }
    }

    /// Fails before any head as a provider of this kind of trouble would.
    #[must_use]
    pub fn fails(kind: FaultKind, retry: Retry) -> Self {
        Self::fault(Fault::new(kind, Origin::Provider, format!("scripted {}", kind.as_str())).with_retry(retry))
    }

    /// Never answers.
    #[must_use]
    pub fn hang() -> Self {
        Self { latency: Duration::ZERO, outcome: Outcome::Hang }
    }

    /// Panics, as a faulty provider crate might.
    #[must_use]
    pub fn panic() -> Self {
        Self { latency: Duration::ZERO, outcome: Outcome::Panic }
    }

    /// The same after a pause.
    #[must_use]
    pub fn after(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }
}

/// Plays one [`Act`] per attempt, in order, then the standing one for ever.
pub struct ScriptedProvider {
    id: ProviderId,
    script: Mutex<VecDeque<Act>>,
    standing: Act,
    readiness: Mutex<[Readiness; 2]>,
    seen: Mutex<Vec<Attempt>>,
    traffic: Arc<Traffic>,
}

#[derive(Default)]
struct Traffic {
    in_flight: AtomicUsize,
    in_flight_most: AtomicUsize,
    cancelled: AtomicUsize,
}

impl ScriptedProvider {
    /// Answers `"hello from <id>"` to everything.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self::always(id, Act::text(&format!("hello from {id}")))
    }

    /// Does the same every time.
    #[must_use]
    pub fn always(id: &str, act: Act) -> Self {
        Self {
            id: ProviderId::new(id),
            script: Mutex::default(),
            standing: act,
            readiness: Mutex::new([Readiness::Ready, Readiness::Ready]),
            seen: Mutex::default(),
            traffic: Arc::default(),
        }
    }

    /// Does these first.
    #[must_use]
    pub fn first(self, acts: impl IntoIterator<Item = Act>) -> Self {
        lock(&self.script).extend(acts);
        self
    }

    /// Adds one more act after those not yet played.
    pub fn then(&self, act: Act) {
        lock(&self.script).push_back(act);
    }

    /// What it says when asked whether it can serve.
    pub fn set_readiness(&self, mode: Mode, readiness: Readiness) {
        lock(&self.readiness)[slot(mode)] = readiness;
    }

    /// Every attempt it was given.
    #[must_use]
    pub fn seen(&self) -> Vec<Attempt> {
        lock(&self.seen).clone()
    }

    /// How many attempts it was given.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.seen).len()
    }

    /// Attempts begun whose future or body is still alive.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.traffic.in_flight.load(Ordering::SeqCst)
    }

    /// The most that were in flight at one time.
    #[must_use]
    pub fn in_flight_most(&self) -> usize {
        self.traffic.in_flight_most.load(Ordering::SeqCst)
    }

    /// Attempts whose future or body was dropped before its end.
    #[must_use]
    pub fn cancelled(&self) -> usize {
        self.traffic.cancelled.load(Ordering::SeqCst)
    }
}

fn slot(mode: Mode) -> usize {
    match mode {
        Mode::Live => 0,
        Mode::Test => 1,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts an attempt as in flight while it lives, and as cancelled unless it was finished.
struct Flight {
    traffic: Arc<Traffic>,
    finished: bool,
}

impl Flight {
    fn take_off(traffic: &Arc<Traffic>) -> Self {
        let now = traffic.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        traffic.in_flight_most.fetch_max(now, Ordering::SeqCst);
        Self { traffic: Arc::clone(traffic), finished: false }
    }

    fn land(mut self) {
        self.finished = true;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.traffic.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !self.finished {
            self.traffic.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl Provider for ScriptedProvider {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn readiness(&self, mode: Mode) -> Readiness {
        lock(&self.readiness)[slot(mode)].clone()
    }

    async fn attempt(&self, attempt: Attempt) -> Result<Reply, Fault> {
        let flight = Flight::take_off(&self.traffic);
        lock(&self.seen).push(attempt.clone());
        let act = lock(&self.script).pop_front().unwrap_or_else(|| self.standing.clone());
        if !act.latency.is_zero() {
            tokio::time::sleep(act.latency).await;
        }
        if let Err(error) = attempt.call.canonical() {
            flight.land();
            return Err(error.into_caller_fault());
        }
        let beats = match act.outcome {
            Outcome::Answer(response) if !attempt.call.peek().stream => {
                flight.land();
                return Ok(Reply::whole(&attempt, &response));
            }
            Outcome::Answer(response) => events_of(&response).into_iter().map(Beat::Event).collect(),
            Outcome::Stream(beats) => beats,
            Outcome::Fault(fault) => {
                flight.land();
                return Err(fault);
            }
            Outcome::Hang => pending().await,
            Outcome::Panic => panic!("a scripted provider panics because its script says so"),
        };
        let ctx = RenderCtx::of(&attempt);
        let pump = EventPump::new(player(beats, flight), attempt.call.ingress().event_encoder(&ctx));
        Ok(Reply::stream(&attempt, Box::new(pump), now() + attempt.deployment.timeouts.first_byte_stream))
    }
}

/// The future of one event of a scripted stream.
type NextEvent = Pin<Box<dyn Future<Output = Option<Event<'static>>> + Send>>;

/// Hands out one event at a time; the flight lands with the last beat or is cancelled with the pump.
fn player(beats: Vec<Beat>, flight: Flight) -> impl FnMut() -> NextEvent + Send {
    let mut beats = VecDeque::from(beats);
    let mut flight = Some(flight);
    move || {
        let mut wait = Duration::ZERO;
        loop {
            match beats.pop_front() {
                Some(Beat::Wait(length)) => wait += length,
                Some(Beat::Hang) => return Box::pin(pending()),
                Some(Beat::Event(event)) => {
                    return Box::pin(async move {
                        if !wait.is_zero() {
                            tokio::time::sleep(wait).await;
                        }
                        Some(event)
                    });
                }
                None => {
                    if let Some(flight) = flight.take() {
                        flight.land();
                    }
                    return Box::pin(async { None });
                }
            }
        }
    }
}

/// One choice of plain text that ended naturally, with ten input tokens and one output token a word.
#[must_use]
pub fn answer(text: &str) -> ChatResponse {
    let words = text.split_whitespace().count() as u64;
    ChatResponse {
        id: Some("answer-1".to_owned()),
        choices: vec![Choice {
            index: 0,
            parts: vec![Part::text(text)],
            finish: Finish::new(FinishReason::Stop),
            logprobs: None,
            extras: None,
        }],
        usage: Some(Usage { input_uncached: Some(10), output_text: Some(words), ..Usage::default() }),
        ..ChatResponse::default()
    }
}

/// The events of a stream that says the same: one delta a word, usage before the end.
#[must_use]
pub fn events_of(response: &ChatResponse) -> Vec<Event<'static>> {
    let mut events = vec![Event::Start {
        id: response.id.clone().map(Cow::Owned),
        model: response.model.clone().map(Cow::Owned),
        created: response.created,
    }];
    for choice in &response.choices {
        for (part, body) in (0u32..).zip(choice.parts.iter().map(|part| &part.body)) {
            let choice = choice.index;
            let (kind, text) = opening(body);
            events.push(Event::PartStart { choice, part, kind });
            let words = text.split_inclusive(' ');
            events.extend(words.map(|word| Event::Delta { choice, part, delta: Delta::Text(Cow::Owned(word.to_owned())) }));
            events.push(Event::PartEnd { choice, part });
        }
        events.push(Event::Finish { choice: choice.index, finish: choice.finish.clone() });
    }
    if let Some(usage) = &response.usage {
        events.push(Event::Usage { usage: usage.clone(), is_final: true });
    }
    events.push(Event::End);
    events
}

fn opening(body: &PartBody) -> (PartKind<'static>, &str) {
    match body {
        PartBody::Text { text, .. } => (PartKind::Text, text),
        PartBody::Reasoning(text) => (PartKind::Reasoning, text),
        PartBody::Refusal(text) => (PartKind::Refusal, text),
        PartBody::ToolCall(call) => {
            (PartKind::ToolCall { id: Cow::Owned(call.id.clone()), name: Cow::Owned(call.name.clone()), kind: call.kind }, &call.arguments)
        }
        PartBody::Media(media) => (PartKind::Media(Box::new(media.clone())), ""),
        PartBody::Opaque { origin, raw } => (PartKind::Opaque { origin: *origin, raw: raw.clone() }, ""),
        PartBody::ToolResult(_) => (PartKind::Text, ""),
    }
}

/// Reads a reply's body to its end, as the caller's connection would.
pub async fn read_body(reply: Reply) -> Bytes {
    match reply.body {
        ReplyBody::Whole(bytes) => bytes,
        ReplyBody::Stream(mut body) => {
            let mut all = BytesMut::new();
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
                let Ok(frame) = frame;
                if let Ok(data) = frame.into_data() {
                    all.extend_from_slice(&data);
                }
            }
            all.freeze()
        }
    }
}
