//! Streams: the body that pumps provider bytes to the caller, and the state machine that joins any two protocols.

mod body;
mod events;
mod fold;
mod pump;
mod tap;
mod transcoder;

pub use body::{Delivery, StreamBody, StreamEnd, StreamLimits};
pub use events::EventPump;
pub use fold::Fold;
pub use pump::{Pump, Pumped, RelayPump};
pub use tap::Tap;
pub use transcoder::Transcoder;
