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
