//! The body of a simulated answer: steps played in order.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use gateway_core::Fault;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::error::ProviderError;

/// One step of an answer.
#[derive(Debug)]
pub(super) enum Step {
    Send(Bytes),
    Wait(Duration),
    /// Bytes that are announced and never sent.
    Announce(usize),
    /// Nothing more, and no end.
    Forever,
    /// The connection breaks.
    Break {
        reset: bool,
    },
}

/// The body of a simulated answer.
#[derive(Debug)]
pub struct SimulatedBody {
    steps: VecDeque<Step>,
    pause: Option<Pin<Box<Sleep>>>,
    /// Told when the connection must be reset rather than closed.
    reset: Option<Arc<AtomicBool>>,
}

impl SimulatedBody {
    pub(super) fn new(steps: VecDeque<Step>) -> Self {
        Self { steps, pause: None, reset: None }
    }

    pub(super) fn resetting(mut self, reset: Arc<AtomicBool>) -> Self {
        self.reset = Some(reset);
        self
    }
}

impl Body for SimulatedBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        loop {
            if let Some(pause) = self.pause.as_mut() {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Send(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Wait(length)) => self.pause = Some(Box::pin(tokio::time::sleep(length))),
                Some(Step::Announce(_)) => {}
                Some(Step::Forever) => {
                    // Whoever reads must give up by its own limit; nothing will wake it.
                    self.steps.push_front(Step::Forever);
                    return Poll::Pending;
                }
                Some(Step::Break { reset }) => {
                    if let (true, Some(flag)) = (reset, &self.reset) {
                        flag.store(true, Ordering::Relaxed);
                    }
                    self.steps.clear();
                    let source = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
                    return Poll::Ready(Some(Err(
                        ProviderError::BrokenBody { host: "the simulator".into(), source: Arc::new(source) }.into()
                    )));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pause.is_none() && self.steps.is_empty()
    }

    /// Exact when the answer is whole, so that a server announces its length.
    fn size_hint(&self) -> SizeHint {
        let whole = self.steps.len() == 1 || self.steps.iter().any(|step| matches!(step, Step::Announce(_)));
        if !whole {
            return SizeHint::default();
        }
        let length = |step: &Step| match step {
            Step::Send(bytes) => bytes.len(),
            Step::Announce(length) => *length,
            Step::Wait(_) | Step::Forever | Step::Break { .. } => 0,
        };
        SizeHint::with_exact(self.steps.iter().map(length).sum::<usize>() as u64)
    }
}
