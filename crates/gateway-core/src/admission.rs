//! What the layers between authentication and the router hand on to each other.

use std::sync::Arc;

use crate::{attempt::AttemptLog, call::Call, deployment::Deployment};

/// One deployment that may serve the call.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Position of its public model in the chain: 0 is the one asked for, then the fallbacks in order.
    pub rank: u32,
    /// The deployment.
    pub deployment: Arc<Deployment>,
}

/// A call whose candidates are known, best rank first; never empty.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The call.
    pub call: Arc<Call>,
    /// In order of rank. Order within a rank carries no meaning; weights and health decide at planning.
    pub candidates: Arc<[Candidate]>,
}

/// A call that is paid for, up to `output_limit` tokens a choice.
#[derive(Clone)]
pub struct Admitted {
    /// The call and its candidates.
    pub routed: Routed,
    /// Most output tokens per choice that the money held covers; `None` for calls that hold none.
    pub output_limit: Option<u32>,
    /// Where attempts are recorded.
    pub log: Arc<dyn AttemptLog>,
}
