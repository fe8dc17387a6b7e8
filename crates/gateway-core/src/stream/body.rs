//! The body of a streamed reply: pumps, waits for the commit point, keeps the time limits and tells who is watching.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use super::pump::{Pump, Pumped};
use crate::{
    clock::Instant,
    codec::Signal,
    fault::{Fault, FaultKind, Origin, Retry},
    meter::Meter,
};

/// Most bytes kept back while waiting for the commit point.
const COMMIT_BYTES_MAX: usize = 256 * 1_024;

/// A batch is sent when it has so many bytes, …
const BATCH_BYTES: usize = 16 * 1_024;
/// … or after so many reads.
const BATCH_READS_MAX: u32 = 64;
/// hyper's HTTP/1.1 dispatcher looks at a pending body twice before it lets go of the task, and nothing else has run then.
const POLLS_PER_TURN: u32 = 2;

const TOO_LONG: &str = "the call took longer than its total time limit";

/// Time limits of a streamed body.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// The first chunk must be there by then.
    pub first_chunk: Instant,
    /// Longest silence between two chunks.
    pub between_chunks: Duration,
    /// The whole body must be over by then.
    pub deadline: Instant,
    /// After so long a silence a committed stream sends a keep-alive.
    pub keep_alive: Duration,
}

/// How a stream ended, from the point of view of whoever bills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// The provider's stream ended as its protocol says.
    Complete,
    /// A fault ended it after the commit; the caller got the protocol's error event.
    Failed(FaultKind),
    /// The body was dropped before its end: the caller left.
    Dropped,
}

/// Watches a stream being delivered. All methods are cheap and never block; `ended` runs in `Drop` too.
pub trait Delivery: Send {
    /// A frame was handed to the caller's connection.
    fn delivered(&mut self, meter: &Meter);

    /// The stream ended; called exactly once, before its last bytes are released.
    fn ended(&mut self, end: StreamEnd, meter: &Meter);

    /// Holds the last bytes back until it is ready.
    ///
    /// # Errors
    /// The last bytes are replaced by the protocol's error event.
    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }
}

/// Where the body stands.
#[derive(Clone, Copy)]
enum State {
    /// Reading; nothing may go out before the commit.
    Waiting,
    /// Committed; frames flow.
    Flowing,
    /// The pump has ended and the watcher has not been told.
    Over(StreamEnd),
    /// The watcher knows; `out` goes out once it releases it.
    Releasing,
    /// Released; `out` drains, then the body ends.
    Draining,
}

/// A streamed reply's body. Dropping it stops the provider at once.
pub struct StreamBody {
    pump: Box<dyn Pump>,
    out: VecDeque<Bytes>,
    meter: Meter,
    limits: StreamLimits,
    timer: Pin<Box<Sleep>>,
    last_chunk: Option<Instant>,
    last_keep_alive: Option<Instant>,
    state: State,
    batch: Batch,
    delivery: Option<Box<dyn Delivery>>,
}

impl StreamBody {
    /// A body that has not been polled yet. Must be called within a tokio runtime, whose timer it uses.
    #[must_use]
    pub fn new(pump: Box<dyn Pump>, meter: Meter, limits: StreamLimits) -> Self {
        Self {
            pump,
            out: VecDeque::new(),
            meter,
            limits,
            timer: Box::pin(tokio::time::sleep_until(limits.first_chunk.min(limits.deadline))),
            last_chunk: None,
            last_keep_alive: None,
            state: State::Waiting,
            batch: Batch::default(),
            delivery: None,
        }
    }

    /// Sets who watches the delivery; at most one, and before the first frame.
    pub fn watch(&mut self, delivery: Box<dyn Delivery>) {
        debug_assert!(self.delivery.is_none(), "a stream has one watcher");
        self.delivery = Some(delivery);
    }

    /// Waits for the commit point: the first event with content.
    ///
    /// # Errors
    /// The stream failed before it; nothing has reached the caller, so another attempt may follow.
    pub async fn commit(&mut self) -> Result<(), Fault> {
        poll_fn(|cx| self.poll_commit(cx)).await
    }

    fn poll_commit(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while matches!(self.state, State::Waiting) {
            match self.poll_turn(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Turn::Read { committed }) => {
                    if committed || self.out.iter().map(Bytes::len).sum::<usize>() > COMMIT_BYTES_MAX {
                        self.state = State::Flowing;
                        self.batch.release(self.out.len(), self.produced());
                        self.arm(self.limits.keep_alive);
                    }
                }
                // An empty answer is an answer: the provider ended it as its protocol says.
                Poll::Ready(Turn::End) => self.state = State::Over(StreamEnd::Complete),
                Poll::Ready(Turn::Failed(fault)) => return Poll::Ready(Err(fault.after_work_began())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, within the time limits.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let mut committed = false;
        let Self { pump, out, meter, .. } = self;
        let pumped = meter.recording(|sink| {
            pump.poll_pump(cx, out, &mut |signal| {
                committed |= matches!(signal, Signal::Commit);
                sink(signal);
            })
        });
        match pumped {
            Poll::Ready(Pumped::More) => {
                let now = now();
                if self.last_chunk.replace(now).is_none() {
                    self.arm(self.limits.between_chunks);
                }
                // A provider that never pauses never lets the timer be looked at.
                if now >= self.limits.deadline {
                    return Poll::Ready(Turn::Failed(timeout(TOO_LONG)));
                }
                Poll::Ready(Turn::Read { committed })
            }
            Poll::Ready(Pumped::End) => Poll::Ready(Turn::End),
            Poll::Ready(Pumped::Failed(fault)) => Poll::Ready(Turn::Failed(fault)),
            Poll::Pending => self.poll_limits(cx),
        }
    }

    /// The timer must not fire later than `after` from now, nor after the deadline.
    fn arm(&mut self, after: Duration) {
        let at = (now() + after).min(self.limits.deadline);
        if at < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(at);
        }
    }

    /// Ready when a limit has passed or a keep-alive is due; otherwise arms the timer for the next of them. Chunks only
    /// note the time: the timer is moved when it fires, not on every chunk.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = now();
            let silent_until = self.last_chunk.map_or(self.limits.first_chunk, |at| at + self.limits.between_chunks);
            if now >= self.limits.deadline {
                return Poll::Ready(Turn::Failed(timeout(TOO_LONG)));
            }
            if now >= silent_until {
                return Poll::Ready(Turn::Failed(timeout(match self.last_chunk {
                    Some(_) => "the provider fell silent in mid-answer",
                    None => "the provider sent no first byte in time",
                })));
            }
            let mut next = silent_until.min(self.limits.deadline);
            if matches!(self.state, State::Flowing) {
                let due = self.last_chunk.max(self.last_keep_alive).unwrap_or(now) + self.limits.keep_alive;
                if now >= due {
                    self.out.push_back(self.pump.keep_alive());
                    self.last_keep_alive = Some(now);
                    self.timer.as_mut().reset(next.min(now + self.limits.keep_alive));
                    return Poll::Ready(Turn::Read { committed: false });
                }
                next = next.min(due);
            }
            self.timer.as_mut().reset(next);
        }
        Poll::Pending
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match self.state {
                State::Waiting => match self.poll_commit(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(fault)) => self.fail(&fault),
                },
                State::Flowing => {
                    if let Some(bytes) = self.take_batch() {
                        return Poll::Ready(Some(bytes));
                    }
                    match self.batch.over.take() {
                        Some(Over::End) => self.state = State::Over(StreamEnd::Complete),
                        Some(Over::Failed(fault)) => self.fail(&fault),
                        None if self.poll_gather(cx).is_pending() => return Poll::Pending,
                        None => {}
                    }
                }
                State::Over(end) => {
                    self.state = State::Releasing;
                    if let Some(delivery) = self.delivery.as_mut() {
                        delivery.ended(end, &self.meter);
                    }
                }
                State::Releasing => {
                    match self.delivery.as_mut().map_or(Poll::Ready(Ok(())), |delivery| delivery.poll_release(cx)) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(fault)) => {
                            self.out.clear();
                            self.pump.interrupt(&fault, &mut self.out);
                        }
                    }
                    self.state = State::Draining;
                }
                State::Draining => return Poll::Ready(self.take(1)),
            }
        }
    }

    /// Reads until there is something to release, or nothing to read.
    ///
    /// A provider's connection hands over one chunk a wake-up, and what is passed on alone costs a system call alone. So
    /// once there is something to send, the connection gets another turn (of the scheduler, not of the clock), and what it
    /// then has goes along. A turn that brings nothing ends the batch.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (had, produced) = (self.out.len(), self.produced());
        match self.poll_turn(cx) {
            Poll::Pending if had == 0 => return Poll::Pending,
            Poll::Pending if self.batch.empty_polls >= POLLS_PER_TURN => self.batch.release(had, produced),
            Poll::Pending => {
                self.batch.empty_polls += 1;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Turn::Read { .. }) => {
                self.batch.empty_polls = 0;
                self.batch.reads += 1;
                if self.batch.reads >= BATCH_READS_MAX || self.out.iter().map(Bytes::len).sum::<usize>() >= BATCH_BYTES {
                    self.batch.release(self.out.len(), self.produced());
                }
            }
            // What was read before goes out before the end is told.
            Poll::Ready(Turn::End) => self.batch.end(had, produced, Over::End),
            Poll::Ready(Turn::Failed(fault)) => self.batch.end(had, produced, Over::Failed(fault)),
        }
        Poll::Ready(())
    }

    /// Of what is released, as much as makes one write.
    fn take_batch(&mut self) -> Option<Bytes> {
        let mut bytes = 0;
        let small = |frame: &&Bytes| {
            bytes += frame.len();
            bytes <= BATCH_BYTES
        };
        let together = self.out.iter().take(self.batch.released).take_while(small).count();
        let frames = together.max(1).min(self.batch.released);
        self.batch.released -= frames;
        self.take(frames)
    }

    /// The next bytes for the caller, noted as delivered.
    fn take(&mut self, frames: usize) -> Option<Bytes> {
        let bytes = match frames {
            0 => return None,
            1 => self.out.pop_front()?,
            _ => self.out.drain(..frames.min(self.out.len())).collect::<Vec<_>>().concat().into(),
        };
        // Behind what is released the end may stand already, which nobody has taken.
        let content = if self.out.is_empty() { Some(self.produced()) } else { (self.batch.released == 0).then_some(self.batch.content) };
        self.meter.mark_delivered(content);
        if let Some(delivery) = self.delivery.as_mut() {
            delivery.delivered(&self.meter);
        }
        Some(bytes)
    }

    /// Bytes of content read so far.
    fn produced(&self) -> u64 {
        self.meter.read(|reading| reading.content_bytes)
    }

    fn fail(&mut self, fault: &Fault) {
        self.pump.interrupt(fault, &mut self.out);
        self.meter.record(Signal::Fault(fault.kind()));
        self.state = State::Over(StreamEnd::Failed(fault.kind()));
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().poll_next(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        if let (State::Waiting | State::Flowing | State::Over(_), Some(delivery)) = (self.state, self.delivery.as_mut()) {
            delivery.ended(StreamEnd::Dropped, &self.meter);
        }
    }
}

/// What is read and goes out together.
#[derive(Default)]
struct Batch {
    /// So many frames of `out` may go out now.
    released: usize,
    /// Bytes of content, from the stream's beginning on, that the caller has with the last of them.
    content: u64,
    /// Times something was read since the last release.
    reads: u32,
    /// Polls that found nothing since something was last read.
    empty_polls: u32,
    /// The pump has ended so, behind what is released.
    over: Option<Over>,
}

enum Over {
    End,
    Failed(Fault),
}

impl Batch {
    fn release(&mut self, frames: usize, content: u64) {
        *self = Self { released: frames, content, ..Self::default() };
    }

    fn end(&mut self, frames: usize, content: u64, over: Over) {
        *self = Self { released: frames, content, over: Some(over), ..Self::default() };
    }
}

enum Turn {
    Read { committed: bool },
    End,
    Failed(Fault),
}

fn timeout(message: &'static str) -> Fault {
    Fault::new(FaultKind::Timeout, Origin::Provider, message).with_retry(Retry::NextDeployment).after_work_began()
}

/// The timer's own clock: limits must be judged by the clock that arms them.
#[expect(clippy::disallowed_methods, reason = "tokio's clock, the one its timers run on; a paused runtime pauses it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
