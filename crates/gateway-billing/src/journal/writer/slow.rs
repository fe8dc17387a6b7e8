//! Tells when the disk has become slow: not by one commit, but by their share among the last ones.

use std::collections::VecDeque;

/// A commit slower than this is slow; more than one in a hundred of the last ones are too many.
const SLOW_US: u64 = 250_000;
const SLOW_WINDOW: usize = 256;

/// How many of the last commits were slow.
#[derive(Default)]
pub(super) struct SlowCommits {
    recent: VecDeque<bool>,
    slow: usize,
}

impl SlowCommits {
    /// Notes one commit; `true` when it was slow and more than one in a hundred of the last ones was.
    pub(super) fn note(&mut self, us: u64) -> bool {
        let slow = us > SLOW_US;
        self.recent.push_back(slow);
        self.slow += usize::from(slow);
        if self.recent.len() > SLOW_WINDOW {
            self.slow -= usize::from(self.recent.pop_front() == Some(true));
        }
        slow && self.slow * 100 > SLOW_WINDOW
    }
}
