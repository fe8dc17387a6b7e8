//! Hand-driven doubles for tests, and the conformance checks that every provider crate runs. Feature `testing`.
//!
//! Nothing here opens a socket or reads the machine's clock: under tokio's paused time every test of a whole stack is
//! exact. [`TestIngress`] is a protocol of its own, small enough to read in a failure message, so that a crate which
//! knows only core can drive calls from one end to the other.

pub mod conformance;

mod call;
mod clock;
mod ingress;
mod log;
mod provider;

pub use call::{TestCall, attempt, deployment};
pub use clock::TestClock;
pub use ingress::{TEST_PROTOCOL, TestIngress};
pub use log::{LogEntry, RecordingLog};
pub use provider::{Act, Beat, ScriptedProvider, answer, events_of, read_body};

#[cfg(test)]
mod tests;
