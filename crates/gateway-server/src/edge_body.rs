//! The body of every response. It carries the request's record, which is written when the body is done or dropped.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use gateway_core::{ReplyBody, stream::StreamBody};
use http_body::{Body, Frame, SizeHint};

use crate::{
    supervise::panic_text,
    trace::{Outcome, Record},
};

/// A response's body.
pub struct EdgeBody {
    content: Content,
    record: Option<Box<Record>>,
}

enum Content {
    Whole(Bytes),
    Stream(Box<StreamBody>),
    Done,
}

impl EdgeBody {
    pub(crate) fn new(body: ReplyBody) -> Self {
        let content = match body {
            ReplyBody::Whole(bytes) => Content::Whole(bytes),
            ReplyBody::Stream(stream) => Content::Stream(stream),
        };
        Self { content, record: None }
    }

    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { content: Content::Whole(bytes), record: None }
    }

    /// What the body would have been, for the answer to a HEAD request.
    pub(crate) fn withhold(&mut self) -> Option<usize> {
        match &self.content {
            Content::Whole(bytes) => {
                let length = bytes.len();
                self.content = Content::Whole(Bytes::new());
                // Nobody polls a body that is known to be empty.
                self.note(|record| record.end(Outcome::Complete));
                Some(length)
            }
            Content::Stream(_) | Content::Done => None,
        }
    }

    pub(crate) fn watch(&mut self, mut record: Box<Record>) {
        if matches!(&self.content, Content::Whole(bytes) if bytes.is_empty()) {
            record.end(Outcome::Complete);
        }
        self.record = Some(record);
    }

    fn note(&mut self, tell: impl FnOnce(&mut Record)) {
        if let Some(record) = self.record.as_deref_mut() {
            tell(record);
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Severed>>> {
        let Content::Stream(stream) = &mut self.content else { return Poll::Ready(None) };
        // A bug in one stream must not take the other streams of its connection with it.
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut **stream).poll_frame(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                self.note(Record::flows);
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Ready(None)) => {
                self.note(|record| record.end(Outcome::Complete));
                self.content = Content::Done;
                Poll::Ready(None)
            }
            Err(panic) => {
                tracing::error!(panic = panic_text(&*panic), "a response body panicked");
                self.note(|record| record.end(Outcome::Panic));
                self.content = Content::Done;
                Poll::Ready(Some(Err(Severed)))
            }
        }
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = Severed;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Severed>>> {
        let this = self.get_mut();
        match &mut this.content {
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.content = Content::Done;
                this.note(|record| {
                    record.flows();
                    record.end(Outcome::Complete);
                });
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Content::Stream(_) => this.poll_stream(cx),
            Content::Done => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Stream(_) => false,
            Content::Done => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(_) => SizeHint::default(),
            Content::Done => SizeHint::with_exact(0),
        }
    }
}

/// The body broke off. The connection is ended in a way that nobody takes for a clean end.
#[derive(Debug)]
pub struct Severed;

impl fmt::Display for Severed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the response broke off")
    }
}

impl std::error::Error for Severed {}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        future::poll_fn,
        pin::Pin,
        task::{Context, Poll},
        time::Duration,
    };

    use bytes::Bytes;
    use gateway_core::{
        Clock, Fault, Meter, ReplyBody, Signal,
        stream::{Pump, Pumped, StreamBody, StreamLimits},
        testing::TestClock,
    };
    use http_body::Body;

    use super::EdgeBody;

    /// Says one thing, then panics.
    struct Faulty(bool);

    impl Pump for Faulty {
        fn poll_pump(&mut self, _cx: &mut Context<'_>, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Poll<Pumped> {
            assert!(!self.0, "on purpose");
            self.0 = true;
            out.push_back(Bytes::from_static(b"hello"));
            emit(Signal::Commit);
            Poll::Ready(Pumped::More)
        }

        fn interrupt(&mut self, _fault: &Fault, _out: &mut VecDeque<Bytes>) {}

        fn keep_alive(&self) -> Bytes {
            Bytes::new()
        }
    }

    #[tokio::test]
    async fn a_panic_in_mid_stream_is_no_clean_end() {
        let now = TestClock::new().monotonic();
        let second = Duration::from_secs(1);
        let limits = StreamLimits { first_chunk: now + second, between_chunks: second, deadline: now + second, keep_alive: second };
        let stream = StreamBody::new(Box::new(Faulty(false)), Meter::new(), limits);
        let mut body = EdgeBody::new(ReplyBody::Stream(Box::new(stream)));
        let first = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(first.is_some_and(|frame| frame.is_ok()));
        let second = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(second.is_some_and(|frame| frame.is_err()));
        assert!(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_none());
    }
}
