//! The vocabulary every other crate of the gateway shares.
//!
//! Core names no vendor, no protocol, no money and no socket. It owns
//!
//! * [`Call`], the one immutable description of a caller's request;
//! * [`ir`], the canonical form of a request, an answer and a stream;
//! * the traits the crates meet in: [`Ingress`], [`Egress`], [`Provider`], [`KeyStore`], [`AttemptLog`], [`Clock`];
//! * [`Usage`], whose buckets never overlap, and [`Fault`], the one error that crosses the stack.

pub mod admission;
pub mod attempt;
pub mod call;
pub mod clock;
pub mod codec;
pub mod deployment;
pub mod fault;
pub mod id;
pub mod ir;
pub mod key;
pub mod losses;
pub mod meter;
pub mod peek;
pub mod pricer;
pub mod protocol;
pub mod provider;
pub mod reply;
pub mod secret;
pub mod stream;
#[cfg(feature = "testing")]
pub mod testing;
pub mod usage;

pub use admission::{Admitted, Candidate, Routed};
pub use attempt::{Attempt, AttemptEnd, AttemptLog, NoLog, Reached};
pub use call::{Call, CallContext};
pub use clock::{Clock, SystemClock};
pub use codec::{
    Egress, Encoded, EventDecoder, EventEncoder, Frame, Framer, Ingress, Memo, Relay, RelayCtx, RenderCtx, Signal, Target, WireError,
};
pub use deployment::{Deployment, ModelLimits, OnLoss, OutputLimitKey, Quirks, StreamUsage, Timeouts};
pub use fault::{Fault, FaultKind, Origin, Retry, Tried, UpstreamError};
pub use id::{DeploymentId, KeyId, OrgId, ProviderId, RequestId, TeamId, UserId};
pub use key::{KeyRefusal, KeyStore, Mode, ModelAllowList, Principal};
pub use losses::{Loss, LossReason, Losses};
pub use meter::{Meter, MeterSnapshot, PartialUsage, Used};
pub use peek::{Controls, InputSize, KeySpan, Operation, Peek};
pub use pricer::Pricer;
pub use protocol::Protocol;
pub use provider::{Provider, Readiness};
pub use reply::{Reply, ReplyBody, ReplyHead};
pub use secret::Secret;
pub use usage::Usage;

/// The README's example, compiled and run.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../README.md")]
struct Readme;
