//! A provider built from parts for one test, and the attempts sent to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::{
    Attempt, Clock, Deployment, Egress, Encoded, Fault, Operation, Protocol, Provider, ProviderId, Reply, ReplyBody, Secret, SystemClock,
    Timeouts,
    clock::Instant,
    testing::{TEST_PROTOCOL, TestCall, attempt, deployment, read_body},
};
use gateway_providers::{Adapter, Credential, CredentialPool, HttpProvider, Transport, TransportSettings, simulator::Simulator};
use http::Request;

use crate::codec::HouseEgress;

/// A protocol that no caller of these tests speaks.
pub(crate) const OTHER: Protocol = Protocol::new("house-lines");

/// The machine's clock, moved ahead by hand: real sockets need real time, resting keys need minutes.
#[derive(Debug, Default)]
pub(crate) struct SkipClock(AtomicU64);

impl SkipClock {
    pub(crate) fn skip(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    fn ahead(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

impl Clock for SkipClock {
    fn wall(&self) -> SystemTime {
        SystemClock.wall() + self.ahead()
    }

    fn monotonic(&self) -> Instant {
        SystemClock.monotonic() + self.ahead()
    }
}

pub(crate) struct HouseAdapter {
    id: ProviderId,
    egress: HouseEgress,
    url: String,
}

#[async_trait]
impl Adapter for HouseAdapter {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn egress(&self, _deployment: &Deployment) -> &dyn Egress {
        &self.egress
    }

    fn serves(&self, _deployment: &Deployment, _operation: Operation) -> bool {
        true
    }

    fn address(&self, _attempt: &Attempt, encoded: Encoded) -> Result<Request<Bytes>, Fault> {
        let request = Request::post(&self.url).body(encoded.body);
        request.map_err(|error| Fault::internal("a test's URL is wrong").with_source(error))
    }

    async fn authorize(&self, request: &mut Request<Bytes>, credential: Option<&Credential>) -> Result<(), Fault> {
        if let Some(credential) = credential {
            let value = format!("Bearer {}", credential.secret().expose()).parse().expect("a test's key is plain text");
            request.headers_mut().insert("authorization", value);
        }
        Ok(())
    }
}

pub(crate) struct House {
    pub(crate) provider: HttpProvider<HouseAdapter, Transport>,
    pub(crate) clock: Arc<SkipClock>,
    pub(crate) timeouts: Timeouts,
}

impl House {
    /// At `http://ADDRESS/v1`, in the callers' protocol, with one key.
    pub(crate) fn at(address: impl std::fmt::Display) -> Self {
        Self::with(&format!("http://{address}/v1"), TEST_PROTOCOL, &["sk-aaaaaaaaaaaa1111"], &TransportSettings::default())
    }

    /// The same, in a protocol of its own.
    pub(crate) fn other(address: impl std::fmt::Display) -> Self {
        Self::with(&format!("http://{address}/v1"), OTHER, &["sk-aaaaaaaaaaaa1111"], &TransportSettings::default())
    }

    pub(crate) fn with(url: &str, protocol: Protocol, keys: &[&str], settings: &TransportSettings) -> Self {
        let clock = Arc::new(SkipClock::default());
        let keys = keys.iter().map(|key| Secret::new(*key)).collect();
        let pool = Arc::new(CredentialPool::new(keys, "set HOUSE_KEY", Arc::clone(&clock) as Arc<_>));
        let adapter = HouseAdapter { id: ProviderId::new("house"), egress: HouseEgress(protocol), url: url.to_owned() };
        let transport = Transport::new(settings).expect("a test's settings are right");
        let provider = HttpProvider::new(adapter, transport, pool, Arc::clone(&clock) as Arc<_>).with_simulator(Some(Simulator::default()));
        Self { provider, clock, timeouts: Timeouts::default() }
    }

    pub(crate) fn limits(mut self, set: impl FnOnce(&mut Timeouts)) -> Self {
        set(&mut self.timeouts);
        self
    }

    pub(crate) fn attempt(&self, call: TestCall) -> Attempt {
        let deployment = Deployment { timeouts: self.timeouts, ..deployment("m", "house") };
        attempt(&call.build(), &Arc::new(deployment), 1)
    }

    pub(crate) async fn ask(&self, call: TestCall) -> Result<Reply, Fault> {
        self.provider.attempt(self.attempt(call)).await
    }

    /// Asks and reads everything; a stream is read past its commit point.
    pub(crate) async fn text(&self, call: TestCall) -> Result<String, Fault> {
        let mut reply = self.ask(call).await?;
        reply.commit().await?;
        Ok(String::from_utf8(read_body(reply).await.to_vec()).expect("tests answer in text"))
    }
}

pub(crate) fn whole() -> TestCall {
    TestCall::to("m")
}

pub(crate) fn streamed() -> TestCall {
    TestCall::to("m").streamed()
}

pub(crate) fn is_stream(reply: &Reply) -> bool {
    matches!(reply.body, ReplyBody::Stream(_))
}

/// Longer than any of our own delays, shorter than a test may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
