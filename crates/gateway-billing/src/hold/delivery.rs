//! Watches a stream being delivered: checkpoints while it flows, the settlement at its end.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use gateway_core::{
    Clock, Deployment, Fault, Meter, MeterSnapshot, PartialUsage, Usage, clock,
    stream::{Delivery, StreamEnd},
};

use super::{
    admission::{Admission, FinalUsage, ReleaseReason},
    written::Ended,
};

/// A running stream is checkpointed at least this often, …
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);
/// … or after so many bytes of content: about 512 tokens.
const CHECKPOINT_BYTES: u64 = 2_048;

pub(super) struct Watch {
    admission: Option<Admission>,
    deployment: Arc<Deployment>,
    clock: Arc<dyn Clock>,
    strict: bool,
    ended: Option<Ended>,
    checkpoint: Option<(clock::Instant, u64)>,
}

impl Watch {
    pub(super) fn new(admission: Admission, deployment: Arc<Deployment>, clock: Arc<dyn Clock>, strict: bool) -> Self {
        Self { admission: Some(admission), deployment, clock, strict, ended: None, checkpoint: None }
    }
}

impl Delivery for Watch {
    fn delivered(&mut self, meter: &Meter) {
        let Some(admission) = &self.admission else { return };
        let bytes = meter.read(|reading| reading.delivered_bytes);
        let now = self.clock.monotonic();
        let due = self
            .checkpoint
            .is_none_or(|(at, had)| bytes > had && (bytes - had >= CHECKPOINT_BYTES || now.duration_since(at) >= CHECKPOINT_EVERY));
        if due {
            admission.progress(&self.deployment, meter.read(MeterSnapshot::partial));
            self.checkpoint = Some((now, bytes));
        }
    }

    fn ended(&mut self, end: StreamEnd, meter: &Meter) {
        let Some(admission) = self.admission.take() else { return };
        if self.strict {
            self.ended = Some(admission.ended());
        }
        match meter.read(|reading| verdict(end, reading)) {
            Some(usage) => {
                admission.settle(&self.deployment, &usage);
            }
            None => {
                let reason = if end == StreamEnd::Dropped { ReleaseReason::CallerLeft } else { ReleaseReason::Failed };
                admission.forfeit(meter.read(in_full), reason);
            }
        }
    }

    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match &self.ended {
            None => Poll::Ready(Ok(())),
            Some(ended) => ended.poll(cx).map_err(Fault::from),
        }
    }
}

/// What the caller is charged for; `None`: nothing.
fn verdict(end: StreamEnd, reading: &MeterSnapshot) -> Option<FinalUsage> {
    let all_delivered = match end {
        // The last bytes are released right after this.
        StreamEnd::Complete => true,
        // What the provider had sent is not what the caller got.
        StreamEnd::Failed(_) | StreamEnd::Dropped => {
            if !reading.delivered {
                return None;
            }
            reading.delivered_bytes == reading.content_bytes
        }
    };
    Some(if all_delivered { in_full(reading) } else { FinalUsage::Counted(reading.partial()) })
}

/// What all of an answer has used, whether or not the caller has it.
pub(super) fn in_full(reading: &MeterSnapshot) -> FinalUsage {
    last_word(&reading.usage, reading.usage_final, reading.content_bytes)
}

/// What an answer is charged by that has come to this.
pub(super) fn last_word(usage: &Usage, is_final: bool, content_bytes: u64) -> FinalUsage {
    if is_final && tells_of_the_answer(usage, content_bytes) {
        FinalUsage::Reported(usage.clone())
    } else {
        FinalUsage::Counted(PartialUsage { usage: usage.clone(), content_bytes })
    }
}

/// Whether the provider's final report tells what the answer has used. Some servers send one in which nothing stands, or
/// nothing but a tier; charged as it is, it would make the answer free.
fn tells_of_the_answer(usage: &Usage, content_bytes: u64) -> bool {
    let tells_output = usage.output_tokens() > 0 || usage.reported_output.is_some();
    let tells_input = usage.input_tokens() > 0 || usage.reported_input.is_some();
    tells_output || content_bytes == 0 && tells_input
}

#[cfg(test)]
mod tests {
    use gateway_core::FaultKind;

    use super::*;

    fn reading(delivered: u64, content: u64, usage_final: bool) -> MeterSnapshot {
        MeterSnapshot {
            usage: Usage { input_uncached: Some(10), output_text: Some(100), ..Usage::default() },
            usage_final,
            content_bytes: content,
            delivered_bytes: delivered,
            delivered: delivered > 0,
            ..MeterSnapshot::default()
        }
    }

    #[test]
    fn what_is_charged_is_what_was_delivered() {
        let reported = |reading: &MeterSnapshot| Some(FinalUsage::Reported(reading.usage.clone()));
        let counted = |reading: &MeterSnapshot, content_bytes| {
            Some(FinalUsage::Counted(PartialUsage { usage: reading.usage.clone(), content_bytes }))
        };
        let failed = StreamEnd::Failed(FaultKind::Timeout);
        for (end, delivered, content, usage_final, expected) in [
            (StreamEnd::Complete, 300, 400, true, "reported"),
            (StreamEnd::Complete, 300, 400, false, "counted 400"),
            (StreamEnd::Dropped, 0, 400, true, "nothing"),
            (StreamEnd::Dropped, 300, 400, true, "counted 300"),
            (StreamEnd::Dropped, 300, 400, false, "counted 300"),
            (StreamEnd::Dropped, 400, 400, true, "reported"),
            (failed, 0, 0, false, "nothing"),
            (failed, 300, 400, false, "counted 300"),
            (failed, 400, 400, true, "reported"),
        ] {
            let reading = reading(delivered, content, usage_final);
            let wanted = match expected {
                "reported" => reported(&reading),
                "nothing" => None,
                words => counted(&reading, words.trim_start_matches("counted ").parse().unwrap()),
            };
            assert_eq!(verdict(end, &reading), wanted, "{end:?} {delivered}/{content} {usage_final}");
        }
    }

    #[test]
    fn a_last_word_that_says_nothing_of_the_answer_is_none() {
        let tier = || Usage { service_tier: Some("default".into()), ..Usage::default() };
        for (usage, content, is_last_word) in [
            (Usage::default(), 400, false),
            (tier(), 400, false),
            (Usage { input_uncached: Some(10), reported_input: Some(10), ..tier() }, 400, false),
            (Usage { web_searches: Some(1), ..tier() }, 400, false),
            (Usage { output_text: Some(100), ..tier() }, 400, true),
            // Zero means zero: the provider says so itself.
            (Usage { output_text: Some(0), reported_output: Some(0), ..tier() }, 400, true),
            // Nothing was produced, so only the input can be told of.
            (Usage { input_uncached: Some(10), ..tier() }, 0, true),
            (tier(), 0, false),
        ] {
            let reading = MeterSnapshot { usage: usage.clone(), ..reading(content, content, true) };
            let expected = if is_last_word {
                FinalUsage::Reported(usage.clone())
            } else {
                FinalUsage::Counted(PartialUsage { usage: usage.clone(), content_bytes: content })
            };
            assert_eq!(verdict(StreamEnd::Complete, &reading), Some(expected), "{usage:?} {content}");
        }
    }
}
