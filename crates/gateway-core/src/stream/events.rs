//! A stream of canonical events as a pump, for providers that speak no wire protocol at all.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;

use super::{
    pump::{Pump, Pumped},
    transcoder::Writer,
};
use crate::{
    codec::{EventEncoder, Signal},
    fault::Fault,
    ir::Event,
};

/// Owned events, written in the caller's protocol. `next` yields `None` after the last event, which is
/// [`Event::End`] or follows it.
pub struct EventPump<N, F> {
    next: N,
    pending: Option<Pin<Box<F>>>,
    writer: Writer,
    ended: bool,
}

impl<N, F> EventPump<N, F>
where
    N: FnMut() -> F + Send,
    F: Future<Output = Option<Event<'static>>> + Send,
{
    /// `next` is asked for one event at a time; dropping the pump drops the future in flight.
    pub fn new(next: N, encoder: Box<dyn EventEncoder>) -> Self {
        Self { next, pending: None, writer: Writer::new(encoder), ended: false }
    }
}

impl<N, F> Pump for EventPump<N, F>
where
    N: FnMut() -> F + Send,
    F: Future<Output = Option<Event<'static>>> + Send,
{
    fn poll_pump(&mut self, cx: &mut Context<'_>, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Poll<Pumped> {
        let next = &mut self.next;
        let future = self.pending.get_or_insert_with(|| Box::pin(next()));
        let event = ready!(future.as_mut().poll(cx));
        self.pending = None;
        let pumped = match event {
            Some(event) => {
                self.ended |= matches!(event, Event::End);
                self.writer.write(&event, emit);
                self.writer.tap.take_fault().map_or(Pumped::More, Pumped::Failed)
            }
            None if self.ended => {
                self.writer.encoder.finish(self.writer.tap.used(), &mut self.writer.buffer);
                Pumped::End
            }
            None => Pumped::Failed(crate::codec::WireError::new("the provider's events ended without an end event").into_upstream_fault()),
        };
        self.writer.flush(out, emit);
        Poll::Ready(pumped)
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut VecDeque<Bytes>) {
        self.writer.interrupt(fault, out);
    }

    fn keep_alive(&self) -> Bytes {
        self.writer.encoder.keep_alive()
    }
}
