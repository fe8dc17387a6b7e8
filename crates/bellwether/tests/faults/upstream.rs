//! A provider of the tests' own, on a socket: it does what it is told to `faulty`, answers every other model soundly, and
//! notes when it is left alone.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, header};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::wire::{At, Reports, Speaks};

/// What is done to `faulty`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error answer.
    Status(u16),
    /// The same, with a wait in seconds, stated in the protocol's own way.
    Wait(u16, u64),
    /// No head ever comes.
    Hang,
    /// The answer stops and the connection stays open.
    Stall(At),
    /// The connection breaks.
    Cut(At),
    /// The answer ends politely, too early.
    Short(At),
    /// The protocol's own error inside a 200.
    Error(At),
    /// Bytes that are not what the protocol says.
    Malformed(At),
    /// A sound answer with usage that is not.
    Usage(Reports),
}

/// What the provider saw of its callers.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// All that `faulty` was to be told has been sent, and no end of it.
    silent: AtomicBool,
    /// When an exchange with `faulty` was given up before its end.
    abandoned: Mutex<Vec<Instant>>,
    /// When a connection's other side was closed or reset.
    hung_up: Mutex<Vec<Instant>>,
}

impl Sight {
    /// Whether the provider has nothing more to say, and has not ended.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// The first exchange given up.
    pub(crate) fn abandoned(&self) -> Option<Instant> {
        self.abandoned.lock().expect("nobody panics in it").first().copied()
    }

    /// The first connection closed by its other side.
    pub(crate) fn hung_up(&self) -> Option<Instant> {
        self.hung_up.lock().expect("nobody panics in it").first().copied()
    }
}

/// The provider. Clones share what it sees.
#[derive(Debug, Clone)]
pub(crate) struct Scripted {
    pub(crate) speaks: Speaks,
    fault: Fault,
    pub(crate) sight: Arc<Sight>,
}

impl Scripted {
    pub(crate) fn new(speaks: Speaks, fault: Fault) -> Self {
        Self { speaks, fault, sight: Arc::default() }
    }

    /// Serves until the test's runtime ends: HTTP/1.1, or HTTP/2 where TLS agrees on it.
    pub(crate) async fn serve(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        while let Ok((stream, _)) = listener.accept().await {
            let (scripted, tls) = (self.clone(), tls.clone());
            super::rig::spawn(async move {
                let stream = Watched { stream, sight: Arc::clone(&scripted.sight) };
                match tls {
                    None => scripted.converse(stream).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            scripted.converse(stream).await;
                        }
                    }
                }
            });
        }
    }

    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let service = service_fn(move |request| self.clone().respond(request));
        // A scripted cut ends here too.
        drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
    }

    async fn respond(self, request: Request<Incoming>) -> Result<Response<UnsyncBoxBody<Bytes, io::Error>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (model, stream) = self.speaks.asked(head.uri.path(), &body);
        let fault = (model == "faulty").then_some(self.fault);
        let exchange = Exchange { sight: Arc::clone(&self.sight), over: fault.is_none() };
        let (status, wait) = match fault {
            Some(Fault::Hang) => return exchange.silence().await,
            Some(Fault::Status(status)) => (status, None),
            Some(Fault::Wait(status, seconds)) => (status, Some(seconds)),
            _ => (200, None),
        };
        if status != 200 {
            let refusal = self.speaks.refusal(status, wait);
            // Google refuses a bad key as a bad request.
            let status = if self.speaks == Speaks::Gemini && status == 401 { 400 } else { status };
            let mut response = Response::builder().status(status).header(header::CONTENT_TYPE, refusal.content_type);
            if let Some(wait) = refusal.retry_after {
                response = response.header(header::RETRY_AFTER, wait);
            }
            return Ok(response.body(play(exchange, [Step::Send(refusal.body)].into())).expect("a response of constants"));
        }
        let content_type = if stream { "text/event-stream" } else { "application/json" };
        let steps = if stream { self.streamed(&model, fault) } else { self.whole(&model, fault) };
        let response = Response::builder().header(header::CONTENT_TYPE, content_type);
        Ok(response.body(play(exchange, steps)).expect("a response of constants"))
    }

    fn streamed(&self, model: &str, fault: Option<Fault>) -> VecDeque<Step> {
        let speaks = self.speaks;
        let (until, reports) = match fault {
            Some(Fault::Stall(at) | Fault::Cut(at) | Fault::Short(at) | Fault::Error(at) | Fault::Malformed(at)) => {
                (Some(at), Reports::Right)
            }
            Some(Fault::Usage(reports)) => (None, reports),
            Some(Fault::Status(_) | Fault::Wait(..) | Fault::Hang) | None => (None, Reports::Right),
        };
        let mut steps: VecDeque<_> = speaks.events(model, reports, until).into_iter().map(Step::Send).collect();
        match fault {
            Some(Fault::Stall(_)) => steps.push_back(Step::Forever),
            Some(Fault::Cut(_)) => steps.extend([Step::Pause, Step::Break]),
            Some(Fault::Error(_)) => steps.push_back(Step::Send(speaks.error_event())),
            Some(Fault::Malformed(_)) => steps.push_back(Step::Send(speaks.broken_event().to_owned())),
            Some(Fault::Status(_) | Fault::Wait(..) | Fault::Hang | Fault::Short(_) | Fault::Usage(_)) | None => {}
        }
        steps
    }

    fn whole(&self, model: &str, fault: Option<Fault>) -> VecDeque<Step> {
        let reports = if let Some(Fault::Usage(reports)) = fault { reports } else { Reports::Right };
        let mut body = self.speaks.whole(model, reports);
        let after = match fault {
            Some(Fault::Stall(_)) => vec![Step::Forever],
            Some(Fault::Cut(_)) => vec![Step::Pause, Step::Break],
            Some(Fault::Short(_) | Fault::Malformed(_)) => Vec::new(),
            Some(Fault::Error(_)) => return [Step::Send(self.speaks.error_object().to_string())].into(),
            Some(Fault::Status(_) | Fault::Wait(..) | Fault::Hang | Fault::Usage(_)) | None => return [Step::Send(body)].into(),
        };
        body.truncate(body.len() / 2);
        [Step::Send(body)].into_iter().chain(after).collect()
    }
}

enum Step {
    Send(String),
    /// Lets a server send what it was given: a cut comes after it, not instead of it.
    Pause,
    /// Nothing more, and no end.
    Forever,
    /// The connection breaks.
    Break,
}

/// One exchange, from the request to the last byte of the answer.
struct Exchange {
    sight: Arc<Sight>,
    /// It went as scripted, or nobody asks.
    over: bool,
}

impl Exchange {
    /// Nothing more, and no end; the other side may leave.
    async fn silence<T>(&self) -> T {
        self.sight.silent.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    fn finish(&mut self) {
        self.over = true;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.over {
            self.sight.abandoned.lock().expect("nobody panics in it").push(super::now());
        }
    }
}

fn play(exchange: Exchange, steps: VecDeque<Step>) -> UnsyncBoxBody<Bytes, io::Error> {
    let frames = stream::unfold((exchange, steps), |(mut exchange, mut steps)| async move {
        loop {
            let frame = match steps.pop_front() {
                Some(Step::Send(text)) => Ok(Frame::data(Bytes::from(text))),
                Some(Step::Pause) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                Some(Step::Forever) => exchange.silence().await,
                Some(Step::Break) => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                None => {
                    exchange.finish();
                    return None;
                }
            };
            if frame.is_err() {
                exchange.finish();
            }
            return Some((frame, (exchange, steps)));
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A connection that notes when its other side closes it.
struct Watched {
    stream: TcpStream,
    sight: Arc<Sight>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if read.is_err() || (buf.filled().len() == before && buf.remaining() > 0) {
            self.sight.hung_up.lock().expect("nobody panics in it").push(super::now());
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
