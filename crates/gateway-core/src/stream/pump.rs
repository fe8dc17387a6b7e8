//! Where a stream's bytes come from.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::Body;

use crate::{
    codec::{Relay, Signal},
    fault::Fault,
};

/// What one turn of a pump did.
#[derive(Debug)]
pub enum Pumped {
    /// It read something; `out` may or may not have grown.
    More,
    /// The provider's stream ended as its protocol says; `out` holds the rest.
    End,
    /// It failed. What is in `out` is still good.
    Failed(Fault),
}

/// A source of a caller's bytes. Dropping it stops the provider.
pub trait Pump: Send {
    /// Reads from the provider and pushes what the caller may have to `out`.
    fn poll_pump(&mut self, cx: &mut Context<'_>, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Poll<Pumped>;

    /// Pushes the protocol's own error event.
    fn interrupt(&mut self, fault: &Fault, out: &mut VecDeque<Bytes>);

    /// What may be sent in a long silence.
    fn keep_alive(&self) -> Bytes;
}

/// A provider's HTTP body, run through a [`Relay`].
pub struct RelayPump<B> {
    body: Pin<Box<B>>,
    relay: Box<dyn Relay>,
}

impl<B> RelayPump<B> {
    /// Joins a body and a relay.
    pub fn new(body: B, relay: Box<dyn Relay>) -> Self {
        Self { body: Box::pin(body), relay }
    }
}

impl<B> Pump for RelayPump<B>
where
    B: Body<Error = Fault> + Send,
    B::Data: Send,
{
    fn poll_pump(&mut self, cx: &mut Context<'_>, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Poll<Pumped> {
        let result = match ready!(self.body.as_mut().poll_frame(cx)) {
            // Trailers say nothing that a caller's protocol could carry.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => self.relay.push(data.copy_to_bytes(data.remaining()), out, emit).map(|()| Pumped::More),
                Err(_trailers) => Ok(Pumped::More),
            },
            Some(Err(fault)) => Err(fault),
            None => self.relay.finish(out, emit).map(|()| Pumped::End),
        };
        Poll::Ready(result.unwrap_or_else(Pumped::Failed))
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut VecDeque<Bytes>) {
        self.relay.interrupt(fault, out);
    }

    fn keep_alive(&self) -> Bytes {
        self.relay.keep_alive()
    }
}
