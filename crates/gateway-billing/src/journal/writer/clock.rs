//! Telling when the clock stands before what is already stated.

/// How far it may stand behind, as after small corrections.
const BEHIND_MAX_US: i64 = 600_000_000;

/// What was last found of it.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    is_behind: bool,
}

impl ClockWatch {
    /// Tells once when the clock is set far back. What is posted then is posted where the last month ends that is stated.
    pub(super) fn look(&mut self, now_us: i64, stated_until: i64) {
        let is_behind = stated_until.saturating_sub(now_us) > BEHIND_MAX_US;
        if is_behind && !self.is_behind {
            tracing::error!(
                until_us = stated_until,
                "statements were issued up to a moment that the clock says lies ahead; until then everything is posted at that moment"
            );
        }
        self.is_behind = is_behind;
    }
}
