//! What an answer has used so far, written by the body as it flows and read by whoever bills it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{codec::Signal, fault::FaultKind, ir::FinishReason, losses::Losses, usage::Usage};

/// What is known of an answer that is not complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartialUsage {
    /// What the provider has reported, perhaps only the input side.
    pub usage: Usage,
    /// Bytes of text, reasoning, refusal and tool arguments handed to the caller.
    pub content_bytes: u64,
}

/// What an answer has come to, as the codec that writes it has seen: the figures that its meter shows and that it is
/// charged by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// What the provider has reported; cumulative reports overwrite.
    pub usage: Usage,
    /// The provider's final report is among it.
    pub is_final: bool,
    /// Bytes of content produced.
    pub content_bytes: u64,
}

impl Used {
    /// Takes in what the meter is told.
    pub fn see(&mut self, signal: &Signal) {
        match signal {
            Signal::Content { bytes } => self.content_bytes = self.content_bytes.saturating_add(*bytes as u64),
            Signal::Usage { usage, is_final } => {
                self.usage.restate(usage);
                self.is_final |= is_final;
            }
            Signal::Commit | Signal::Finish(_) | Signal::Fault(_) | Signal::Loss(_) => {}
        }
    }
}

/// A reading of a [`Meter`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeterSnapshot {
    /// What the provider has reported so far; cumulative reports overwrite.
    pub usage: Usage,
    /// The provider's final report has been seen: `usage` is the truth.
    pub usage_final: bool,
    /// Bytes of content produced, whether or not the caller has taken them yet.
    pub content_bytes: u64,
    /// Bytes of content in frames that the caller has taken. What is released together counts once all of it is taken.
    pub delivered_bytes: u64,
    /// Any frame at all was taken by the caller.
    pub delivered: bool,
    /// How the answer ended, once it has.
    pub finish: Option<FinishReason>,
    /// The fault that ended it, if one did.
    pub fault: Option<FaultKind>,
    /// What of the answer could not be carried to the caller.
    pub losses: Losses,
}

impl MeterSnapshot {
    /// What an attempt record needs.
    #[must_use]
    pub fn partial(&self) -> PartialUsage {
        PartialUsage { usage: self.usage.clone(), content_bytes: self.delivered_bytes }
    }
}

/// Shared between a reply's body and the layers that watch it. Cloning shares.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<MeterSnapshot>>);

impl Meter {
    /// Nothing used yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The reading now.
    #[must_use]
    pub fn snapshot(&self) -> MeterSnapshot {
        self.lock().clone()
    }

    /// Reads one thing without cloning the rest.
    pub fn read<T>(&self, look: impl FnOnce(&MeterSnapshot) -> T) -> T {
        look(&self.lock())
    }

    /// Records one signal from a codec.
    pub fn record(&self, signal: Signal) {
        record(&mut self.lock(), signal);
    }

    /// Records the signals of one chunk under one lock; `run` gets the sink.
    pub(crate) fn recording<T>(&self, run: impl FnOnce(&mut dyn FnMut(Signal)) -> T) -> T {
        let mut reading = self.lock();
        run(&mut |signal| record(&mut reading, signal))
    }

    /// A frame has been taken by the caller, and with it all content up to so many bytes, where that can be told.
    pub(crate) fn mark_delivered(&self, content: Option<u64>) {
        let mut reading = self.lock();
        reading.delivered = true;
        reading.delivered_bytes = reading.delivered_bytes.max(content.unwrap_or(0));
    }

    fn lock(&self) -> MutexGuard<'_, MeterSnapshot> {
        // A panic while recording leaves at worst a stale count, which is still in the caller's favour.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn record(reading: &mut MeterSnapshot, signal: Signal) {
    match signal {
        Signal::Content { bytes } => reading.content_bytes = reading.content_bytes.saturating_add(bytes as u64),
        Signal::Commit => {}
        Signal::Usage { usage, is_final } => {
            reading.usage.restate(&usage);
            reading.usage_final |= is_final;
        }
        Signal::Finish(reason) => {
            reading.finish.get_or_insert(reason);
        }
        Signal::Fault(kind) => reading.fault = Some(kind),
        Signal::Loss(loss) => reading.losses.push(loss.path, loss.reason),
    }
}
