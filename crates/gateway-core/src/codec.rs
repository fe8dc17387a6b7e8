//! The codec traits: each protocol is written once, in two halves.
//!
//! [`Ingress`] faces callers, [`Egress`] faces providers. Where both sides speak the same protocol, [`Egress::forward`]
//! and [`Relay`] edit the bytes in place and no canonical form is built.

use std::{any::Any, borrow::Cow, collections::VecDeque, fmt, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, request, response};

use crate::{
    attempt::Attempt,
    call::Call,
    deployment::Deployment,
    fault::{Fault, FaultKind, Origin, Retry},
    id::RequestId,
    ir::{ChatRequest, ChatResponse, Event, FinishReason},
    losses::{Loss, Losses},
    meter::Used,
    peek::Peek,
    pricer::Pricer,
    protocol::Protocol,
    usage::Usage,
};

/// Bytes that are not what their protocol says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WireError {
    /// What was wrong and what was expected, fit to be shown.
    pub message: Cow<'static, str>,
    /// Where: a path such as `messages[2].content[0].type`.
    pub path: Option<Cow<'static, str>>,
}

impl WireError {
    /// An error about the whole message.
    #[must_use]
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), path: None }
    }

    /// An error at a path.
    #[must_use]
    pub fn at(path: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), path: Some(path.into()) }
    }

    /// As the caller's mistake: 400, final.
    #[must_use]
    pub fn into_caller_fault(self) -> Fault {
        let fault = Fault::invalid(self.message);
        match self.path {
            Some(path) => fault.with_param(path),
            None => fault,
        }
    }

    /// As the provider's failure to speak its own protocol: the next deployment may do better.
    #[must_use]
    pub fn into_upstream_fault(self) -> Fault {
        Fault::new(FaultKind::BadUpstream, Origin::Provider, "the provider sent an answer that is not valid for its protocol")
            .with_retry(Retry::NextDeployment)
            .after_work_began()
            .with_source(self)
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{path}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for WireError {}

/// What a caller-side encoder needs besides the answer.
#[derive(Debug, Clone)]
pub struct RenderCtx {
    /// The call.
    pub request_id: RequestId,
    /// The public name of the model that served.
    pub model: Arc<str>,
    /// Unix time in seconds.
    pub created: u64,
    /// Whether the caller wants usage in the stream.
    pub stream_usage: bool,
    /// Tells what the answer costs its caller, which is written beside its final usage.
    pub price: Pricer,
}

impl RenderCtx {
    /// The context of an attempt's answer.
    #[must_use]
    pub fn of(attempt: &Attempt) -> Self {
        let (ctx, peek) = (attempt.call.ctx(), attempt.call.peek());
        let since = ctx.received_at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            request_id: ctx.request_id,
            model: Arc::clone(&attempt.deployment.model),
            created: since.as_secs(),
            stream_usage: peek.stream_usage,
            price: Pricer::of(attempt),
        }
    }
}

/// Where a provider-side encoder writes to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The deployment: upstream model, limits, quirks.
    pub deployment: &'a Deployment,
    /// Whether the provider should stream.
    pub stream: bool,
    /// Most output tokens per choice that are paid for.
    pub output_limit: Option<u32>,
}

impl Target<'_> {
    /// The output limit to write, given the caller's own. `None`: write none. A limit is written when the caller asked
    /// for one (never above what is paid for, nor above the model's maximum where that is known), when what is paid for is
    /// below the model's maximum, or when the protocol demands a number (`demanded`); then an unknown maximum becomes 4,096,
    /// which every current chat model accepts.
    #[must_use]
    pub fn limit_to_write(&self, asked: Option<u32>, demanded: bool) -> Option<u32> {
        let paid = self.output_limit.unwrap_or(u32::MAX);
        let most = self.deployment.limits.output_tokens_max;
        match (asked, most) {
            (Some(asked), most) => Some(asked.min(paid).min(most.unwrap_or(u32::MAX))),
            (None, Some(most)) if demanded => Some(most.min(paid)),
            (None, Some(most)) => (paid < most).then_some(paid),
            (None, None) if demanded => Some(paid.min(4_096)),
            (None, None) => self.output_limit,
        }
    }
}

/// What an encoder must remember until the answer comes back, such as rewritten tool ids. Opaque to everyone else.
#[derive(Clone, Default)]
pub struct Memo(Option<Arc<dyn Any + Send + Sync>>);

impl Memo {
    /// Remembers `value`.
    #[must_use]
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        Self(Some(Arc::new(value)))
    }

    /// What was remembered, if it is a `T`.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.as_deref().and_then(|any| any.downcast_ref())
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Memo(..)" } else { "Memo(empty)" })
    }
}

/// A request ready to be sent.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The body.
    pub body: Bytes,
    /// Headers that the protocol needs for this body, such as a version.
    pub headers: HeaderMap,
    /// To be handed to the decoder of the answer.
    pub memo: Memo,
}

impl Encoded {
    /// A body that needs no headers and no memory.
    #[must_use]
    pub fn body(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), headers: HeaderMap::new(), memo: Memo::default() }
    }
}

/// What a relay needs besides the bytes.
#[derive(Debug, Clone)]
pub struct RelayCtx {
    /// How to show the answer to the caller.
    pub render: RenderCtx,
    /// From the encoder of the request.
    pub memo: Memo,
}

/// What a codec tells the meter while bytes flow.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "signals are handed over at once and never stored; a box would allocate per report")]
pub enum Signal {
    /// Content was produced for the caller: text, reasoning, refusal or tool arguments, in bytes before JSON escaping.
    Content {
        /// How many.
        bytes: usize,
    },
    /// The first event with content has been produced: from here on there is no second attempt.
    Commit,
    /// Usage so far; cumulative.
    Usage {
        /// The report.
        usage: Usage,
        /// The provider's last word.
        is_final: bool,
    },
    /// The answer ended so (the first choice's reason, when there are several).
    Finish(FinishReason),
    /// The answer was ended by a fault.
    Fault(FaultKind),
    /// Something of the answer could not be carried.
    Loss(Loss),
}

/// One frame of a stream, borrowed from the framer's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'b> {
    /// The event's name, where the framing has names.
    pub name: Option<&'b str>,
    /// The payload.
    pub data: &'b [u8],
}

/// Cuts bytes into frames. Bytes may be split anywhere.
pub trait Framer: Send {
    /// Feeds one chunk and hands out every frame that it completes.
    ///
    /// # Errors
    /// The framing is broken, a frame is larger than the framer's maximum, or `each` failed.
    fn push(&mut self, chunk: &[u8], each: &mut dyn FnMut(Frame<'_>) -> Result<(), WireError>) -> Result<(), WireError>;

    /// The bytes have ended; hands out a last frame that needed no terminator.
    ///
    /// # Errors
    /// The bytes ended inside a frame, or `each` failed.
    fn finish(&mut self, each: &mut dyn FnMut(Frame<'_>) -> Result<(), WireError>) -> Result<(), WireError>;
}

/// Turns a provider's frames into canonical events. A state machine: no await, no allocation per event.
pub trait EventDecoder: Send {
    /// Decodes one frame.
    ///
    /// # Errors
    /// The frame is not valid for the protocol. An error that the provider itself reports is [`Event::Fault`].
    fn decode(&mut self, frame: Frame<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), WireError>;

    /// The stream has ended. Emits what was still open, then [`Event::End`].
    ///
    /// # Errors
    /// The stream ended before its protocol's end: a cut must never pass for a clean end.
    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), WireError>;
}

/// Turns canonical events into a caller's frames.
pub trait EventEncoder: Send {
    /// Writes what the event means in the caller's protocol, which may be nothing.
    fn encode(&mut self, event: &Event<'_>, out: &mut BytesMut, losses: &mut Losses);

    /// Writes the end of the stream, its terminator included. `used` is what the whole answer has come to, for the price
    /// that stands beside its usage ([`RenderCtx::price`]).
    fn finish(&mut self, used: &Used, out: &mut BytesMut);

    /// Writes the protocol's own error event in mid-stream and whatever must follow it; no clean terminator.
    fn interrupt(&mut self, fault: &Fault, out: &mut BytesMut);

    /// What may be sent in a long silence without meaning anything.
    fn keep_alive(&self) -> Bytes;
}

/// Turns a provider's bytes into the caller's bytes: by editing them where both speak one protocol, else by decoding and
/// encoding. What it pushes to `out` may be sent at once; it holds back what is incomplete, and the terminator.
pub trait Relay: Send {
    /// Feeds one chunk.
    ///
    /// # Errors
    /// The provider reported an error or broke its protocol. What was pushed to `out` before it stays valid.
    fn push(&mut self, chunk: Bytes, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault>;

    /// The provider's body has ended cleanly; pushes what was held back, the terminator last.
    ///
    /// # Errors
    /// It ended before its protocol's end.
    fn finish(&mut self, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault>;

    /// Pushes the protocol's own error event, so that nobody takes the cut for a clean end.
    fn interrupt(&mut self, fault: &Fault, out: &mut VecDeque<Bytes>);

    /// What may be sent in a long silence without meaning anything. Called only between frames.
    fn keep_alive(&self) -> Bytes;
}

/// The callers' side of a protocol.
pub trait Ingress: Send + Sync {
    /// Which protocol.
    fn protocol(&self) -> Protocol;

    /// Scans the request's top level once.
    ///
    /// # Errors
    /// The body is not an object, or one of the keys that the gateway needs has the wrong type.
    fn peek(&self, head: &request::Parts, body: &[u8]) -> Result<Peek, WireError>;

    /// Decodes the request into canonical form.
    ///
    /// # Errors
    /// The body is not a valid request; the error names the field.
    fn decode(&self, head: &request::Parts, body: &[u8]) -> Result<ChatRequest, WireError>;

    /// Writes a whole answer. What the protocol cannot show goes to `losses`.
    fn encode(&self, response: &ChatResponse, ctx: &RenderCtx, losses: &mut Losses) -> Bytes;

    /// A writer for a streamed answer.
    fn event_encoder(&self, ctx: &RenderCtx) -> Box<dyn EventEncoder>;

    /// Writes an error. The provider's own body is forwarded if it is of this protocol.
    fn encode_fault(&self, fault: &Fault, request_id: RequestId) -> (StatusCode, Bytes);
}

/// The providers' side of a protocol. A private upstream format needs only this half.
pub trait Egress: Send + Sync {
    /// Which protocol.
    fn protocol(&self) -> Protocol;

    /// Writes the request. What the target cannot carry goes to `losses`.
    ///
    /// # Errors
    /// The request cannot be written at all, for example because it has no message the protocol can hold.
    fn encode(&self, request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) -> Result<Encoded, WireError>;

    /// The fast path: edits the caller's own bytes, changing only top-level values (`model`, the output limit, the
    /// gateway's control keys, what the quirks rename). `None` when something below the top level must change; then the
    /// caller of this method goes through [`Egress::encode`]. Called only when the call's protocol is this one.
    fn forward(&self, call: &Call, target: &Target<'_>, losses: &mut Losses) -> Option<Encoded>;

    /// Reads a whole answer.
    ///
    /// # Errors
    /// Bytes that are no answer of this protocol. An error object inside a 200 is found by [`Egress::fault_in_body`].
    fn decode(&self, body: &[u8], memo: &Memo) -> Result<ChatResponse, WireError>;

    /// Reads a provider's error report that came with status 200, if `body` is one.
    fn fault_in_body(&self, body: &[u8]) -> Option<Fault>;

    /// Cuts a streamed answer into frames.
    fn framer(&self) -> Box<dyn Framer>;

    /// Reads a streamed answer.
    fn event_decoder(&self, memo: Memo) -> Box<dyn EventDecoder>;

    /// The fast path of a stream: forwards slices, swaps `model`, writes the price beside the final usage, drops frames that
    /// only we asked for.
    fn relay(&self, ctx: &RelayCtx) -> Box<dyn Relay>;

    /// The fast path of a whole answer: swaps the top-level `model`, writes the price into the usage, and reports usage and
    /// finish; every other byte stays.
    ///
    /// # Errors
    /// The body is not an answer of this protocol, or it is an error inside a 200.
    fn relay_whole(&self, ctx: &RelayCtx, body: Bytes, emit: &mut dyn FnMut(Signal)) -> Result<Bytes, Fault>;

    /// Reads an error answer: what happened, and whether to try again here or elsewhere.
    fn decode_fault(&self, head: &response::Parts, body: &Bytes) -> Fault;
}

#[cfg(test)]
mod tests;
