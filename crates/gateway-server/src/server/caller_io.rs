//! The socket as hyper sees it, with the time limits that hyper does not have: a connection without requests, a head
//! that does not end, an answer that nobody takes. One timer serves them all and is moved only when it fires, so an
//! ordinary request touches none.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use gateway_core::{Clock, clock::Instant};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};

use super::{ServerLimits, sniff::Version};

/// How many requests a connection has begun and ended.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Traffic {
    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Exchange(Arc::clone(self))
    }

    fn busy(&self) -> bool {
        self.begun.load(Ordering::Relaxed) != self.ended.load(Ordering::Relaxed)
    }
}

/// One request of a connection, until its answer has ended.
pub(super) struct Exchange(Arc<Traffic>);

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) struct CallerIo<T> {
    io: TokioIo<T>,
    /// Read while telling the versions apart.
    replay: Bytes,
    version: Version,
    traffic: Arc<Traffic>,
    limits: ServerLimits,
    clock: Arc<dyn Clock>,
    waiting: Waiting,
    stalled: Option<Stall>,
}

/// Bytes that the caller has not taken yet.
struct Stall {
    timer: Pin<Box<Sleep>>,
    since: Instant,
}

/// What the connection waits for while no request is being answered.
struct Waiting {
    /// Requests begun when this wait was last looked at; more of them make it a new wait.
    begun: u64,
    since: Option<Instant>,
    /// Part of a head has come.
    in_head: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> CallerIo<T> {
    pub(super) fn new(io: T, replay: Bytes, version: Version, traffic: Arc<Traffic>, limits: ServerLimits, clock: Arc<dyn Clock>) -> Self {
        let waiting = Waiting { begun: 0, since: None, in_head: true, timer: None };
        Self { io: TokioIo::new(io), replay, version, traffic, limits, clock, waiting, stalled: None }
    }

    fn renew_wait(&mut self) {
        let begun = self.traffic.begun.load(Ordering::Relaxed);
        if self.waiting.begun != begun {
            self.waiting.begun = begun;
            self.waiting.since = None;
            self.waiting.in_head = false;
        }
    }

    fn note_read(&mut self) {
        self.renew_wait();
        if !self.waiting.in_head && !self.traffic.busy() {
            self.waiting.in_head = true;
            self.waiting.since = None;
        }
    }

    /// Ready when the caller has been waited for too long.
    fn poll_waited(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.traffic.busy() {
            return Poll::Pending;
        }
        self.renew_wait();
        let now = self.clock.monotonic();
        let since = *self.waiting.since.get_or_insert(now);
        // An idle HTTP/2 connection exchanges pings, which are no part of a head.
        let in_head = self.waiting.in_head && self.version == Version::Http1;
        let due = since + if in_head { self.limits.header_read } else { self.limits.idle };
        if now >= due {
            return Poll::Ready(());
        }
        let timer = self.waiting.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() > due || timer.is_elapsed() {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            // It was set for an earlier wait. The clock of the limits and that of the timer are the same.
            if self.clock.monotonic() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    /// The time until which the caller must take some more, and all of it in the end.
    fn stall_limit(&self, since: Instant, now: Instant) -> Instant {
        (now + self.limits.write_stall).min(since + self.limits.request_life)
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.stalled.is_none() {
            let since = self.clock.monotonic();
            let timer = Box::pin(tokio::time::sleep_until(self.stall_limit(since, since)));
            self.stalled = Some(Stall { timer, since });
        }
        let Some(stall) = self.stalled.as_mut() else { return Poll::Pending };
        stall.timer.as_mut().poll(cx).map(|()| io::Error::new(io::ErrorKind::TimedOut, "the caller did not take the answer in time"))
    }

    fn wrote(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if result.is_pending() {
            return self.poll_stalled(cx).map(Err);
        }
        let now = self.stalled.is_some().then(|| self.clock.monotonic());
        if let (Some(now), Some(since)) = (now, self.stalled.as_ref().map(|stall| stall.since)) {
            let limit = self.stall_limit(since, now);
            if let Some(stall) = self.stalled.as_mut() {
                stall.timer.as_mut().reset(limit);
            }
        }
        result
    }

    /// hyper flushes once all of its buffer is written.
    fn flushed(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if result.is_pending() {
            return self.poll_stalled(cx).map(Err);
        }
        self.stalled = None;
        result
    }
}

impl<T: AsyncRead + Unpin> Read for CallerIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.replay.is_empty() {
            let taken = this.replay.len().min(buf.remaining());
            buf.put_slice(&this.replay[..taken]);
            this.replay.advance(taken);
            if this.replay.is_empty() {
                // An empty slice would keep its buffer for as long as the connection lives.
                this.replay = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(result) => {
                this.note_read();
                Poll::Ready(result)
            }
            Poll::Pending => {
                this.poll_waited(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the caller sent no request in time")))
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> Write for CallerIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.flushed(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_shutdown(cx);
        self.flushed(cx, result)
    }
}
