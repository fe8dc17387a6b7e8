//! What the meter is told of a stream, derived from its events.

use crate::{
    codec::Signal,
    fault::Fault,
    ir::{Delta, Event, PartKind},
    meter::Used,
};

/// Turns events into the meter's signals. A transcoder has one, and so has a relay whose decoder reads along with the
/// bytes it forwards: both ways count alike because this is the one place that says what counts.
#[derive(Debug, Default)]
pub struct Tap {
    committed: bool,
    fault: Option<Fault>,
    used: Used,
}

impl Tap {
    /// Tells what an event means. After a fault nothing means anything.
    pub fn see(&mut self, event: &Event<'_>, emit: &mut dyn FnMut(Signal)) {
        if self.fault.is_some() {
            return;
        }
        match event {
            Event::Fault(fault) => self.fault = Some(fault.clone()),
            Event::PartStart { kind: PartKind::ToolCall { .. } | PartKind::Media(_) | PartKind::Opaque { .. }, .. } => self.commit(emit),
            Event::Delta { delta: Delta::Text(text), .. } if !text.is_empty() => {
                self.tell(Signal::Content { bytes: text.len() }, emit);
                self.commit(emit);
            }
            Event::Finish { finish, .. } => {
                emit(Signal::Finish(finish.reason));
                self.commit(emit);
            }
            Event::Usage { usage, is_final } => self.tell(Signal::Usage { usage: usage.clone(), is_final: *is_final }, emit),
            Event::PartStart { .. }
            | Event::Delta { .. }
            | Event::Start { .. }
            | Event::PartEnd { .. }
            | Event::Logprobs { .. }
            | Event::Opaque { .. }
            | Event::End => {}
        }
    }

    /// Whether the provider has reported a fault.
    #[must_use]
    pub fn has_fault(&self) -> bool {
        self.fault.is_some()
    }

    /// The fault that the provider reported; once.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// What the answer has come to so far.
    #[must_use]
    pub fn used(&self) -> &Used {
        &self.used
    }

    fn tell(&mut self, signal: Signal, emit: &mut dyn FnMut(Signal)) {
        self.used.see(&signal);
        emit(signal);
    }

    fn commit(&mut self, emit: &mut dyn FnMut(Signal)) {
        if !self.committed {
            self.committed = true;
            emit(Signal::Commit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tap;
    use crate::{
        codec::Signal,
        fault::Fault,
        ir::{Delta, Event, PartKind},
    };

    fn told(events: &[Event<'_>]) -> (Vec<Signal>, Option<String>) {
        let (mut tap, mut signals) = (Tap::default(), Vec::new());
        for event in events {
            tap.see(event, &mut |signal| signals.push(signal));
        }
        (signals, tap.take_fault().map(|fault| fault.message().to_owned()))
    }

    #[test]
    fn content_commits_once_and_nothing_counts_after_a_fault() {
        let text = |text: &'static str| Event::Delta { choice: 0, part: 0, delta: Delta::Text(text.into()) };
        let begun = Event::PartStart { choice: 0, part: 0, kind: PartKind::Text };
        assert_eq!(told(&[begun, text("")]), (Vec::new(), None), "nothing that a caller could see");
        let (signals, fault) =
            told(&[text("ab"), text("c"), Event::Fault(Fault::internal("first")), text("d"), Event::Fault(Fault::internal("x"))]);
        assert_eq!(signals, [Signal::Content { bytes: 2 }, Signal::Commit, Signal::Content { bytes: 1 }]);
        assert_eq!(fault.as_deref(), Some("first"));
    }
}
