//! Anthropic messages: `POST /v1/messages` and `POST /v1/messages/count_tokens`.
//!
//! Promises
//!
//! * A caller of this protocol served by a provider of this protocol loses nothing, on either path. The fast path edits
//!   top-level values only; the caller's `anthropic-version` and `anthropic-beta` are the provider layer's to forward.
//! * A request translated from another protocol speaks version 2023-06-01 and follows the protocol's rules of order:
//!   system text apart, roles in turn, all tool results of a turn first in one user message.
//! * Thinking signatures go back to providers of this protocol and to nobody else. Another protocol's seal travels
//!   through a caller of this one in `signature` (a thought's) or in a `redacted_thinking` block after the part it signs;
//!   a thought that nobody signed is marked as such there, and never shown to a model that would look for its own.

mod block;
mod fault;
mod forward;
mod names;
mod peek;
mod relay;
mod request;
mod response;
mod stream;
mod usage;

use bytes::Bytes;
use gateway_core::{
    Call, Egress, Encoded, EventDecoder, EventEncoder, Fault, Framer, Ingress, Losses, Memo, Peek, Protocol, Relay, RelayCtx, RenderCtx,
    RequestId, Signal, Target, WireError,
    ir::{ChatRequest, ChatResponse},
};
use http::{StatusCode, request::Parts as RequestParts, response::Parts as ResponseParts};

use crate::{ANTHROPIC_MESSAGES, sse::SseFramer};

/// The callers' half.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnthropicIngress;

impl AnthropicIngress {
    /// Stateless; one serves every call.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Ingress for AnthropicIngress {
    fn protocol(&self) -> Protocol {
        ANTHROPIC_MESSAGES
    }

    fn peek(&self, head: &RequestParts, body: &[u8]) -> Result<Peek, WireError> {
        peek::peek(head, body)
    }

    fn decode(&self, _head: &RequestParts, body: &[u8]) -> Result<ChatRequest, WireError> {
        request::decode(body)
    }

    fn encode(&self, response: &ChatResponse, ctx: &RenderCtx, losses: &mut Losses) -> Bytes {
        response::encode(response, ctx, losses)
    }

    fn event_encoder(&self, ctx: &RenderCtx) -> Box<dyn EventEncoder> {
        Box::new(stream::Encoder::new(ctx))
    }

    fn encode_fault(&self, fault: &Fault, request_id: RequestId) -> (StatusCode, Bytes) {
        fault::encode(fault, request_id)
    }
}

/// The providers' half.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnthropicEgress;

impl AnthropicEgress {
    /// Stateless; one serves every provider of the protocol.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Egress for AnthropicEgress {
    fn protocol(&self) -> Protocol {
        ANTHROPIC_MESSAGES
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) -> Result<Encoded, WireError> {
        request::encode(request, target, request::Purpose::Answer, losses)
    }

    fn forward(&self, call: &Call, target: &Target<'_>, losses: &mut Losses) -> Option<Encoded> {
        forward::forward(call, target, losses)
    }

    fn decode(&self, body: &[u8], memo: &Memo) -> Result<ChatResponse, WireError> {
        response::decode(body, memo)
    }

    fn fault_in_body(&self, body: &[u8]) -> Option<Fault> {
        fault::in_body(body)
    }

    fn framer(&self) -> Box<dyn Framer> {
        Box::new(SseFramer::new())
    }

    fn event_decoder(&self, memo: Memo) -> Box<dyn EventDecoder> {
        Box::new(stream::Decoder::new(memo))
    }

    fn relay(&self, ctx: &RelayCtx) -> Box<dyn Relay> {
        Box::new(relay::StreamRelay::new(ctx))
    }

    fn relay_whole(&self, ctx: &RelayCtx, body: Bytes, emit: &mut dyn FnMut(Signal)) -> Result<Bytes, Fault> {
        relay::whole(ctx, body, emit)
    }

    fn decode_fault(&self, head: &ResponseParts, body: &Bytes) -> Fault {
        fault::decode(head, body)
    }
}

#[cfg(test)]
mod tests;
