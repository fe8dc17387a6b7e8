//! From the provider's answer to the caller's, within the time limits and the size limits.

use std::{future::Future, pin::pin};

use bytes::{Bytes, BytesMut};
use gateway_core::{
    Attempt, Clock, Egress, Fault, FaultKind, Meter, Operation, Origin, Relay, RelayCtx, RenderCtx, Reply, ReplyBody, ReplyHead, Retry,
    WireError,
    clock::Instant,
    stream::{EventPump, RelayPump, Transcoder},
};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, SET_COOKIE},
    response::Parts,
};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout_at;

use super::{
    prepare::{Prepared, Way},
    replay,
};
use crate::adapter::Adapter;

/// Most bytes of a whole answer.
const WHOLE_BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// Most bytes read of an error answer; what follows cannot change its meaning.
const ERROR_BYTES_MAX: usize = 64 * 1_024;

/// One request to a provider and its answer.
pub(super) struct Exchange<'a, A> {
    attempt: &'a Attempt,
    prepared: &'a Prepared,
    adapter: &'a A,
    clock: &'a dyn Clock,
    began: Instant,
    first_byte: Instant,
}

/// What a successful answer holds, by its content type.
enum Shape {
    Stream,
    Whole,
    Foreign(String),
}

impl<'a, A: Adapter> Exchange<'a, A> {
    pub(super) fn begin(attempt: &'a Attempt, prepared: &'a Prepared, adapter: &'a A, clock: &'a dyn Clock) -> Self {
        let timeouts = &attempt.deployment.timeouts;
        let limit = if attempt.call.peek().stream { timeouts.first_byte_stream } else { timeouts.first_byte_whole };
        let began = clock.monotonic();
        Self { attempt, prepared, adapter, clock, began, first_byte: (began + limit).min(attempt.deadline) }
    }

    /// Waits for the head.
    pub(super) async fn head<B>(&self, sending: impl Future<Output = Result<Response<B>, Fault>>) -> Result<Response<B>, Fault> {
        timeout_at(self.first_byte, sending).await.unwrap_or_else(|_elapsed| Err(self.late("did not begin to answer in time")))
    }

    /// Reads the rest, or begins to. A fault keeps what the caller may see of the head.
    pub(super) async fn read<B>(self, response: Response<B>) -> Result<Reply, Fault>
    where
        B: Body<Data = Bytes, Error = Fault> + Send + 'static,
    {
        let (mut parts, body) = response.into_parts();
        parts.headers.remove(SET_COOKIE);
        self.rest(&parts, body).await.map_err(|fault| {
            let mut shown = HeaderMap::new();
            self.adapter.answer_headers(&parts.headers, &mut shown);
            fault.with_headers(shown)
        })
    }

    async fn rest<B>(&self, parts: &Parts, body: B) -> Result<Reply, Fault>
    where
        B: Body<Data = Bytes, Error = Fault> + Send + 'static,
    {
        let status = parts.status;
        if status.is_redirection() {
            // Following would send a key to whoever the answer names.
            return Err(self.bad(&format!("answered with the redirect {}, which is not followed; check its base_url", status.as_u16())));
        }
        if !status.is_success() {
            return Err(self.refused(parts, body).await);
        }
        if compressed(&parts.headers) {
            return Err(self.bad("compressed its answer although it was asked not to"));
        }
        let asked_stream = self.attempt.call.peek().stream;
        match shape(parts, asked_stream) {
            Shape::Foreign(content_type) => {
                Err(self.bad(&format!("answered with {content_type}, which no protocol of ours is written in")))
            }
            Shape::Stream => Ok(self.stream(parts, body)),
            Shape::Whole if asked_stream => self.whole_as_stream(parts, body).await,
            Shape::Whole => self.whole(parts, body).await,
        }
    }

    fn stream<B>(&self, parts: &Parts, body: B) -> Reply
    where
        B: Body<Data = Bytes, Error = Fault> + Send + 'static,
    {
        let egress = self.egress();
        let ctx = self.relay_ctx();
        let relay: Box<dyn Relay> = match self.prepared.way {
            Way::Relay => egress.relay(&ctx),
            Way::Transcode => {
                let encoder = self.attempt.call.ingress().event_encoder(&ctx.render);
                Box::new(Transcoder::new(egress.framer(), egress.event_decoder(ctx.memo), encoder))
            }
        };
        let mut reply = Reply::stream(self.attempt, Box::new(RelayPump::new(body, relay)), self.first_byte);
        self.complete_head(&mut reply.head, parts, "text/event-stream; charset=utf-8");
        reply
    }

    async fn whole<B>(&self, parts: &Parts, body: B) -> Result<Reply, Fault>
    where
        B: Body<Data = Bytes, Error = Fault> + Send,
    {
        let body = self.collect(body).await?;
        let mut reply = match (self.prepared.way, self.attempt.call.operation()) {
            (Way::Relay, Operation::Chat) => {
                let meter = Meter::new();
                let body = self.egress().relay_whole(&self.relay_ctx(), body, &mut |signal| meter.record(signal))?;
                Reply { head: ReplyHead::of(self.attempt), body: ReplyBody::Whole(body), meter }
            }
            (Way::Relay, Operation::CountTokens) => {
                // Only the provider knows this shape, and nothing of it is edited; but a page of HTML is no count.
                serde_json::from_slice::<serde::de::IgnoredAny>(&body).map_err(|error| malformed(&error))?;
                Reply { head: ReplyHead::of(self.attempt), body: ReplyBody::Whole(body), meter: Meter::new() }
            }
            (Way::Transcode, _) => {
                if let Some(fault) = self.egress().fault_in_body(&body) {
                    return Err(fault);
                }
                let response = self.egress().decode(&body, &self.prepared.memo).map_err(WireError::into_upstream_fault)?;
                Reply::whole(self.attempt, &response)
            }
        };
        self.complete_head(&mut reply.head, parts, "application/json");
        Ok(reply)
    }

    /// A provider may answer a request for a stream whole, above all to report an error inside a 200.
    async fn whole_as_stream<B>(&self, parts: &Parts, body: B) -> Result<Reply, Fault>
    where
        B: Body<Data = Bytes, Error = Fault> + Send,
    {
        let body = self.collect(body).await?;
        if let Some(fault) = self.egress().fault_in_body(&body) {
            return Err(fault);
        }
        let answer = self.egress().decode(&body, &self.prepared.memo).map_err(WireError::into_upstream_fault)?;
        let mut events = replay::events(answer).into_iter();
        let encoder = self.attempt.call.ingress().event_encoder(&self.render_ctx());
        let pump = EventPump::new(move || std::future::ready(events.next()), encoder);
        let mut reply = Reply::stream(self.attempt, Box::new(pump), self.first_byte);
        self.complete_head(&mut reply.head, parts, "text/event-stream; charset=utf-8");
        Ok(reply)
    }

    async fn refused<B>(&self, parts: &Parts, body: B) -> Fault
    where
        B: Body<Data = Bytes, Error = Fault> + Send,
    {
        let mut body = pin!(body);
        let mut read = BytesMut::new();
        // What is compressed cannot be read, but the status still says what happened.
        let bytes_max = if compressed(&parts.headers) { 0 } else { ERROR_BYTES_MAX };
        let mut limit = self.first_byte;
        while read.len() < bytes_max {
            // A body that is slow or broken does not change what the status says.
            let Ok(Some(Ok(frame))) = timeout_at(limit, body.frame()).await else { break };
            if let Ok(data) = frame.into_data() {
                read.extend_from_slice(&data[..data.len().min(bytes_max - read.len())]);
            }
            limit = self.next_chunk();
        }
        self.egress().decode_fault(parts, &read.freeze())
    }

    /// Reads a body to its end. One chunk, the usual case, is not copied.
    async fn collect<B>(&self, body: B) -> Result<Bytes, Fault>
    where
        B: Body<Data = Bytes, Error = Fault> + Send,
    {
        let announced = body.size_hint().lower();
        if announced > WHOLE_BYTES_MAX as u64 {
            return Err(self.too_large());
        }
        let mut body = pin!(body);
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        let mut limit = self.first_byte;
        loop {
            let frame =
                timeout_at(limit, body.frame()).await.map_err(|_elapsed| self.late("fell silent before its answer was complete"))?;
            let Some(frame) = frame else { break };
            let Ok(data) = frame?.into_data() else { continue };
            limit = self.next_chunk();
            if first.len() + rest.len() + data.len() > WHOLE_BYTES_MAX {
                return Err(self.too_large());
            }
            if first.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let mut all = BytesMut::with_capacity(first.len() + rest.len());
        all.extend_from_slice(&first);
        all.extend_from_slice(&rest);
        Ok(all.freeze())
    }

    fn complete_head(&self, head: &mut ReplyHead, parts: &Parts, content_type: &'static str) {
        self.adapter.answer_headers(&parts.headers, &mut head.headers);
        head.headers.remove(SET_COOKIE);
        head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let mut losses = self.prepared.losses.clone();
        losses.extend(std::mem::take(&mut head.losses));
        head.losses = losses;
        head.upstream_wait = self.clock.monotonic().saturating_duration_since(self.began);
    }

    fn egress(&self) -> &dyn Egress {
        self.adapter.egress(&self.attempt.deployment)
    }

    fn render_ctx(&self) -> RenderCtx {
        RenderCtx::of(self.attempt)
    }

    fn relay_ctx(&self) -> RelayCtx {
        RelayCtx { render: self.render_ctx(), memo: self.prepared.memo.clone() }
    }

    fn next_chunk(&self) -> Instant {
        (self.clock.monotonic() + self.attempt.deployment.timeouts.between_chunks).min(self.attempt.deadline)
    }

    fn late(&self, what: &str) -> Fault {
        let message = format!("the provider {} {what}", self.adapter.id());
        Fault::new(FaultKind::Timeout, Origin::Provider, message).with_retry(Retry::NextDeployment).after_work_began()
    }

    fn bad(&self, what: &str) -> Fault {
        let message = format!("the provider {} {what}", self.adapter.id());
        Fault::new(FaultKind::BadUpstream, Origin::Provider, message).with_retry(Retry::NextDeployment).after_work_began()
    }

    fn too_large(&self) -> Fault {
        self.bad(&format!("sent more than {} MiB, the most a whole answer may have", WHOLE_BYTES_MAX / 1_024 / 1_024))
    }
}

/// Whether the body is in an encoding that was not asked for.
fn compressed(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|encoding| !encoding.is_empty() && !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn shape(parts: &Parts, asked_stream: bool) -> Shape {
    let Some(value) = parts.headers.get(CONTENT_TYPE) else {
        return if asked_stream { Shape::Stream } else { Shape::Whole };
    };
    let text = value.to_str().unwrap_or("an unreadable content type");
    let media = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "text/event-stream" if asked_stream => Shape::Stream,
        media if media == "application/json" || media.ends_with("+json") => Shape::Whole,
        // Some compatible servers label JSON as text; the decoder judges the bytes.
        "text/plain" | "application/octet-stream" => {
            if asked_stream {
                Shape::Stream
            } else {
                Shape::Whole
            }
        }
        other if parts.status == StatusCode::OK && other.is_empty() => {
            if asked_stream {
                Shape::Stream
            } else {
                Shape::Whole
            }
        }
        other => Shape::Foreign(other.chars().filter(char::is_ascii_graphic).take(64).collect()),
    }
}

fn malformed(error: &serde_json::Error) -> Fault {
    WireError::new(format!("the answer is not JSON: {error}")).into_upstream_fault()
}
