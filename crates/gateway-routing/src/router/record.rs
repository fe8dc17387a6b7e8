//! The record of one attempt: opened before it is sent, closed exactly once.

use gateway_core::{Attempt, AttemptEnd, AttemptLog, Meter, PartialUsage};

use crate::providers::Tally;

/// Open until [`Record::close`]; dropped open, the attempt was abandoned.
pub(super) struct Record<'r> {
    log: &'r dyn AttemptLog,
    tally: &'r Tally,
    ordinal: u32,
    meter: Option<Meter>,
    open: bool,
}

impl<'r> Record<'r> {
    pub(super) fn open(log: &'r dyn AttemptLog, tally: &'r Tally, attempt: &Attempt) -> Self {
        log.started(attempt);
        Self { log, tally, ordinal: attempt.ordinal, meter: None, open: true }
    }

    /// From here on the attempt has an answer, and what it uses is known.
    pub(super) fn metered(&mut self, meter: &Meter) {
        self.meter = Some(meter.clone());
    }

    pub(super) fn close(mut self, end: AttemptEnd) {
        self.end(end);
    }

    fn end(&mut self, end: AttemptEnd) {
        self.open = false;
        self.tally.count(&end);
        let seen = self.meter.as_ref().map_or_else(PartialUsage::default, |meter| meter.read(gateway_core::MeterSnapshot::partial));
        self.log.ended(self.ordinal, end, &seen);
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if self.open {
            self.end(AttemptEnd::Abandoned);
        }
    }
}
