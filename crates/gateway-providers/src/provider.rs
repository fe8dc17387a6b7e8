//! Serves attempts over HTTP: prepares the request, chooses a key, keeps the time limits, reads the answer.
//!
//! Cancel-safe: dropping the attempt's future or the reply's body drops the upstream exchange with it.

mod answer;
mod prepare;
mod replay;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_core::{Attempt, Clock, Fault, FaultKind, Mode, Operation, Origin, Provider, ProviderId, Readiness, Reply, Retry};
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::{Service, ServiceExt};

use self::{answer::Exchange, prepare::Prepared};
#[cfg(feature = "builtin")]
use crate::simulator::Simulator;
use crate::{adapter::Adapter, credential::CredentialPool};

/// A provider reached over HTTP. `A` says what is particular to it; `T` moves the bytes.
pub struct HttpProvider<A, T> {
    adapter: A,
    transport: T,
    credentials: Arc<CredentialPool>,
    clock: Arc<dyn Clock>,
    #[cfg(feature = "builtin")]
    simulator: Option<Simulator>,
}

impl<A: Adapter, T> HttpProvider<A, T> {
    /// A provider for live calls; test-mode calls are refused until there is a simulator.
    #[must_use]
    pub fn new(adapter: A, transport: T, credentials: Arc<CredentialPool>, clock: Arc<dyn Clock>) -> Self {
        Self {
            adapter,
            transport,
            credentials,
            clock,
            #[cfg(feature = "builtin")]
            simulator: None,
        }
    }

    /// Serves test-mode calls from `simulator`, without network and without credentials.
    #[cfg(feature = "builtin")]
    #[must_use]
    pub fn with_simulator(mut self, simulator: Option<Simulator>) -> Self {
        self.simulator = simulator;
        self
    }

    /// The keys, for their health.
    #[must_use]
    pub fn credentials(&self) -> &Arc<CredentialPool> {
        &self.credentials
    }

    fn test_refusal(&self) -> Arc<str> {
        format!("the provider {} has no simulator, so test keys cannot use it", self.adapter.id()).into()
    }

    #[cfg(feature = "builtin")]
    async fn attempt_test(&self, attempt: &Attempt, prepared: Prepared) -> Result<Reply, Fault> {
        match &self.simulator {
            Some(simulator) => {
                let simulator = simulator.reporting(attempt.deployment.quirks.stream_usage);
                self.exchange(&simulator, attempt, &prepared, prepared.request.clone()).await
            }
            None => Err(unusable(&self.test_refusal())),
        }
    }

    #[cfg(not(feature = "builtin"))]
    async fn attempt_test(&self, _attempt: &Attempt, _prepared: Prepared) -> Result<Reply, Fault> {
        Err(unusable(&self.test_refusal()))
    }

    async fn exchange<X, B>(&self, transport: &X, attempt: &Attempt, prepared: &Prepared, request: Request<Bytes>) -> Result<Reply, Fault>
    where
        X: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Fault> + Clone + Send,
        X::Future: Send,
        B: Body<Data = Bytes, Error = Fault> + Send + 'static,
    {
        let exchange = Exchange::begin(attempt, prepared, &self.adapter, &*self.clock);
        let response = exchange.head(transport.clone().oneshot(request.map(Full::new))).await?;
        exchange.read(response).await
    }
}

impl<A, T, B> HttpProvider<A, T>
where
    A: Adapter,
    T: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Fault> + Clone + Send + Sync,
    T::Future: Send,
    B: Body<Data = Bytes, Error = Fault> + Send + 'static,
{
    /// Tries the keys in turn. Another key takes over at once, uncounted, when the provider refused this one before it
    /// did any work.
    async fn attempt_live(&self, attempt: &Attempt, mut prepared: Prepared) -> Result<Reply, Fault> {
        let mut tried = Vec::new();
        let mut last: Option<Fault> = None;
        loop {
            let credential = match self.credentials.take(&tried) {
                Ok(credential) => credential,
                Err(readiness) => return Err(last.unwrap_or_else(|| self.no_credential(readiness))),
            };
            let several = self.credentials.len() > 1;
            let mut request = if several { prepared.request.clone() } else { std::mem::take(&mut prepared.request) };
            self.adapter.authorize(&mut request, credential.as_ref()).await?;
            let result = self.exchange(&self.transport, attempt, &prepared, request).await;
            let Some(credential) = credential else { return result };
            let fault = match result {
                Ok(reply) => {
                    self.credentials.served(&credential);
                    return Ok(reply);
                }
                Err(fault) => fault,
            };
            if !fault.blames_credential() {
                return Err(fault);
            }
            // Counting tokens is free and has a limit of its own: reaching it says nothing about the key's calls.
            let aside = attempt.call.operation() != Operation::Chat && fault.kind() == FaultKind::RateLimited;
            if !aside && fault.rests_credential() {
                self.credentials.rest(&credential, &fault);
            }
            tried.push(credential.index());
            if fault.work_began() || !self.credentials.has_other(&tried) {
                return Err(fault);
            }
            tracing::warn!(provider = %self.adapter.id(), key = credential.secret().suffix(), kind = fault.kind().as_str(), "a key was refused; the next one takes over");
            last = Some(fault);
        }
    }

    fn no_credential(&self, readiness: Readiness) -> Fault {
        let id = self.adapter.id();
        match readiness {
            Readiness::Unusable(text) => unusable(&text),
            Readiness::Resting { until } => {
                let wait = until.saturating_duration_since(self.clock.monotonic());
                let message = format!("every key of the provider {id} is resting after it was refused");
                Fault::new(FaultKind::Unavailable, Origin::Gateway, message).with_retry(Retry::NextDeployment).with_retry_after(Some(wait))
            }
            Readiness::Ready => unusable("no key could be chosen"),
        }
    }
}

#[async_trait]
impl<A, T, B> Provider for HttpProvider<A, T>
where
    A: Adapter,
    T: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Fault> + Clone + Send + Sync,
    T::Future: Send,
    B: Body<Data = Bytes, Error = Fault> + Send + 'static,
{
    fn id(&self) -> &ProviderId {
        self.adapter.id()
    }

    fn readiness(&self, mode: Mode) -> Readiness {
        match mode {
            Mode::Live => self.credentials.readiness(),
            #[cfg(feature = "builtin")]
            Mode::Test if self.simulator.is_some() => Readiness::Ready,
            Mode::Test => Readiness::Unusable(self.test_refusal()),
        }
    }

    async fn attempt(&self, attempt: Attempt) -> Result<Reply, Fault> {
        let prepared = prepare::prepare(&self.adapter, &attempt)?;
        match attempt.call.mode() {
            Mode::Live => self.attempt_live(&attempt, prepared).await,
            Mode::Test => self.attempt_test(&attempt, prepared).await,
        }
    }
}

fn unusable(text: &str) -> Fault {
    Fault::new(FaultKind::Unavailable, Origin::Gateway, text.to_owned()).with_retry(Retry::NextDeployment)
}
