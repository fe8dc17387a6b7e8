//! An attempt log that remembers.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    attempt::{Attempt, AttemptEnd, AttemptLog},
    id::DeploymentId,
    meter::PartialUsage,
};

/// One thing the log was told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a few entries per test; a box would only be noise in comparisons")]
pub enum LogEntry {
    /// An attempt is about to be sent.
    Started {
        /// Which.
        ordinal: u32,
        /// Where to.
        deployment: DeploymentId,
    },
    /// An attempt ended.
    Ended {
        /// Which.
        ordinal: u32,
        /// How.
        end: AttemptEnd,
        /// What is known of its usage.
        seen: PartialUsage,
    },
}

/// Remembers every entry in order.
#[derive(Debug, Default)]
pub struct RecordingLog(Mutex<Vec<LogEntry>>);

impl RecordingLog {
    /// Nothing recorded.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything so far.
    #[must_use]
    pub fn entries(&self) -> Vec<LogEntry> {
        self.lock().clone()
    }

    /// Everything so far in short: `1 > m@p/u`, `1 served`, `2 failed rate_limited 429 nothing`, `3 abandoned`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lock().iter().map(line).collect()
    }

    /// Checks that each attempt was started once and ended once, in that order, and that ordinals count from 1.
    ///
    /// # Errors
    /// The sentence says which attempt broke the rule.
    pub fn check(&self) -> Result<(), String> {
        let mut open = BTreeMap::new();
        let mut last = 0;
        for entry in self.lock().iter() {
            match entry {
                LogEntry::Started { ordinal, .. } => {
                    if *ordinal != last + 1 {
                        return Err(format!("attempt {ordinal} was started after attempt {last}"));
                    }
                    last = *ordinal;
                    open.insert(*ordinal, ());
                }
                LogEntry::Ended { ordinal, end, .. } => {
                    if open.remove(ordinal).is_none() {
                        return Err(format!("attempt {ordinal} ended ({end:?}) although it was not open"));
                    }
                }
            }
        }
        match open.keys().next() {
            Some(ordinal) => Err(format!("attempt {ordinal} was started and never ended")),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LogEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn line(entry: &LogEntry) -> String {
    match entry {
        LogEntry::Started { ordinal, deployment } => format!("{ordinal} > {deployment}"),
        LogEntry::Ended { ordinal, end: AttemptEnd::Served, .. } => format!("{ordinal} served"),
        LogEntry::Ended { ordinal, end: AttemptEnd::Abandoned, .. } => format!("{ordinal} abandoned"),
        LogEntry::Ended { ordinal, end: AttemptEnd::Failed { kind, status, reached }, .. } => {
            let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            format!("{ordinal} failed {} {status} {}", kind.as_str(), format!("{reached:?}").to_lowercase())
        }
    }
}

impl AttemptLog for RecordingLog {
    fn started(&self, attempt: &Attempt) {
        self.lock().push(LogEntry::Started { ordinal: attempt.ordinal, deployment: attempt.deployment.id.clone() });
    }

    fn ended(&self, ordinal: u32, end: AttemptEnd, seen: &PartialUsage) {
        self.lock().push(LogEntry::Ended { ordinal, end, seen: seen.clone() });
    }
}
