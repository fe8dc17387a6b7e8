//! Where time comes from. Nothing in the workspace reads the system clock but [`SystemClock`].

use std::{
    fmt::Debug,
    time::{SystemTime, UNIX_EPOCH},
};

pub use tokio::time::Instant;

/// A source of time; tests bring their own.
pub trait Clock: Debug + Send + Sync {
    /// Calendar time, for records. It may step backwards.
    fn wall(&self) -> SystemTime;

    /// Time that never steps back, for deadlines and durations. It is tokio's, so a paused runtime pauses it.
    fn monotonic(&self) -> Instant;

    /// [`Clock::wall`] as microseconds since 1970; a time before that is 0.
    fn unix_us(&self) -> i64 {
        let since = self.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}
