//! The rules every provider keeps, checked from outside. A provider crate calls [`check`] in its own tests.
//!
//! ```
//! use std::sync::Arc;
//! use gateway_core::testing::{ScriptedProvider, conformance::{Subject, check}, deployment};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let provider = Arc::new(ScriptedProvider::new("acme"));
//! let gauge = Arc::clone(&provider);
//! let subject = Subject::new(provider, deployment("m", "acme")).in_flight(move || gauge.in_flight());
//! check(&subject).await.unwrap();
//! # });
//! ```

mod rules;
mod stream;

use std::{fmt, sync::Arc, time::Duration};

use super::TestCall;
use crate::{deployment::Deployment, fault::FaultKind, key::Mode, provider::Provider};

/// A provider under test, one of its deployments, and what its author knows about it.
pub struct Subject {
    provider: Arc<dyn Provider>,
    deployment: Arc<Deployment>,
    mode: Mode,
    prompt: String,
    patience: Duration,
    reports_usage: bool,
    in_flight: Option<Box<dyn Fn() -> usize + Send + Sync>>,
    faults: Vec<(String, FaultKind)>,
}

impl Subject {
    /// The deployment must be one that the provider serves. Live mode, the prompt `"hello"`, usage expected.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, deployment: Deployment) -> Self {
        Self {
            provider,
            deployment: Arc::new(deployment),
            mode: Mode::Live,
            prompt: "hello".to_owned(),
            patience: Duration::from_secs(10),
            reports_usage: true,
            in_flight: None,
            faults: Vec::new(),
        }
    }

    /// Calls in this mode.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// A prompt that the provider answers with text.
    #[must_use]
    pub fn prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = prompt.into();
        self
    }

    /// How long one step may take before it counts as hung. Default 10 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The upstream never says what an answer used, so silence is no mistake.
    #[must_use]
    pub fn without_usage(mut self) -> Self {
        self.reports_usage = false;
        self
    }

    /// How many upstream requests are open, such as the connections of a test server. With it the check proves that a
    /// dropped attempt stops the upstream within 100 ms.
    #[must_use]
    pub fn in_flight(mut self, gauge: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        self.in_flight = Some(Box::new(gauge));
        self
    }

    /// A prompt on which the upstream fails, and the kind of fault that must come of it.
    #[must_use]
    pub fn fails_on(mut self, prompt: impl Into<String>, kind: FaultKind) -> Self {
        self.faults.push((prompt.into(), kind));
        self
    }

    fn call(&self, prompt: &str) -> TestCall {
        let call = TestCall::to(&self.deployment.model).input(prompt);
        if self.mode == Mode::Test { call.test_mode() } else { call }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("provider", self.provider.id()).field("deployment", &self.deployment.id).finish_non_exhaustive()
    }
}

/// A rule that the provider broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The rule, as a short name.
    pub rule: &'static str,
    /// What was seen and what the rule asks for.
    pub seen: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule `{}` is broken: {}", self.rule, self.seen)
    }
}

impl std::error::Error for Broken {}

/// Checks every rule, in an order in which the first one broken explains most. Needs a tokio runtime with time.
///
/// # Errors
/// The first rule that is broken.
pub async fn check(subject: &Subject) -> Result<(), Broken> {
    rules::identity(subject)?;
    rules::readiness(subject)?;
    rules::whole(subject).await?;
    stream::streamed(subject).await?;
    rules::undecodable(subject).await?;
    rules::faults(subject).await?;
    rules::dropped_future(subject).await?;
    stream::dropped_body(subject).await?;
    rules::side_by_side(subject).await
}

fn broken(rule: &'static str, seen: impl Into<String>) -> Broken {
    Broken { rule, seen: seen.into() }
}

fn require(rule: &'static str, holds: bool, seen: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(broken(rule, seen())) }
}

#[cfg(test)]
mod tests;
