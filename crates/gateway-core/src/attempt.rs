//! One try at one deployment, and the log that outlives it.

use std::sync::Arc;

use crate::{
    call::Call,
    clock::Instant,
    deployment::Deployment,
    fault::{Fault, FaultKind},
    meter::{PartialUsage, Used},
};

/// One try. All attempts of a call share the call and the money held for it.
#[derive(Clone)]
pub struct Attempt {
    /// The call.
    pub call: Arc<Call>,
    /// Where it goes.
    pub deployment: Arc<Deployment>,
    /// 1 for the first attempt of the call.
    pub ordinal: u32,
    /// When the attempt, its body included, must be over.
    pub deadline: Instant,
    /// Most output tokens per choice that are paid for.
    pub output_limit: Option<u32>,
    /// Where the call's attempts are recorded, and who knows what an answer costs.
    pub log: Arc<dyn AttemptLog>,
}

/// How far a failed attempt got, which decides what the provider may bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Refused before any work: a connect error, a 4xx, a 429.
    Nothing,
    /// The provider had accepted it.
    Work,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEnd {
    /// Its answer reached the commit point and went to the caller.
    Served,
    /// It failed and the caller saw nothing of it.
    Failed {
        /// What happened.
        kind: FaultKind,
        /// The provider's status, if it answered.
        status: Option<u16>,
        /// How far it got.
        reached: Reached,
    },
    /// It was dropped before it ended: the caller left, or the call's deadline passed.
    Abandoned,
}

impl AttemptEnd {
    /// The end that a fault describes.
    #[must_use]
    pub fn failed(fault: &Fault) -> Self {
        Self::Failed {
            kind: fault.kind(),
            status: fault.upstream().map(|upstream| upstream.status.as_u16()),
            reached: if fault.work_began() { Reached::Work } else { Reached::Nothing },
        }
    }
}

/// Where routing records attempts, and who says what their answer costs. Implementations are memory only and never block:
/// they run in `Drop` too.
pub trait AttemptLog: Send + Sync {
    /// Asked before each attempt, which it may make smaller.
    ///
    /// # Errors
    /// The attempt must not be made; another deployment's may. Told to the caller if nothing else is.
    fn may_start(&self, attempt: &mut Attempt) -> Result<(), Fault> {
        let _ = attempt;
        Ok(())
    }

    /// The attempt is about to be sent.
    fn started(&self, attempt: &Attempt);

    /// Attempt `ordinal` ended; `seen` is what is known of its usage. Called exactly once for each `started`.
    fn ended(&self, ordinal: u32, end: AttemptEnd, seen: &PartialUsage);

    /// What the caller pays for an answer of `deployment` that has come to this by its end: the decimal that is written
    /// into the answer, and the figure it is settled at. `None`: nobody charges for it. Codecs ask when the last report of
    /// usage is about to go out, which is once an answer; so it may allocate.
    fn price(&self, deployment: &Arc<Deployment>, used: &Used) -> Option<Box<str>> {
        let _ = (deployment, used);
        None
    }
}

/// A log for calls that cost nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLog;

impl AttemptLog for NoLog {
    fn started(&self, _attempt: &Attempt) {}

    fn ended(&self, _ordinal: u32, _end: AttemptEnd, _seen: &PartialUsage) {}
}
