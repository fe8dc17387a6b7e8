//! A clock that moves with tokio's, paused or not, and whose calendar a test sets.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::clock::{Clock, Instant};

/// Calendar time starts where the test says and advances with tokio's time.
#[derive(Debug)]
pub struct TestClock {
    origin: Instant,
    wall_at_origin: Mutex<SystemTime>,
}

impl TestClock {
    /// 2026-11-23 12:00:00 UTC, a Monday.
    #[must_use]
    pub fn new() -> Self {
        Self::at(UNIX_EPOCH + Duration::from_secs(1_795_435_200))
    }

    /// The given calendar time, now.
    #[must_use]
    pub fn at(wall: SystemTime) -> Self {
        Self { origin: now(), wall_at_origin: Mutex::new(wall) }
    }

    /// Moves the calendar forward without moving any timer: midnight passes, a key expires.
    pub fn skip(&self, by: Duration) {
        *self.wall_at_origin.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// Steps the calendar back, as a corrected machine clock does.
    pub fn step_back(&self, by: Duration) {
        *self.wall_at_origin.lock().unwrap_or_else(PoisonError::into_inner) -= by;
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TestClock {
    fn wall(&self) -> SystemTime {
        *self.wall_at_origin.lock().unwrap_or_else(PoisonError::into_inner) + self.origin.elapsed()
    }

    fn monotonic(&self) -> Instant {
        now()
    }
}

#[expect(clippy::disallowed_methods, reason = "tokio's clock is what this double follows; a paused runtime pauses it")]
pub(super) fn now() -> Instant {
    Instant::now()
}
