//! OpenAI chat completions, `POST /v1/chat/completions`, and everything that imitates it.
//!
//! What the canonical form has no field for is kept as extras and written back to providers of this protocol. An extra
//! that stood inside a nested object has the object's name and a dot before it (`function.x`, `message.audio`).
//!
//! Sealed reasoning travels in `reasoning_details`. A detail in a vendor's own format *is* the seal of this protocol: the
//! seal's bytes are the detail's JSON, so it goes back unchanged. A foreign seal is a detail whose `format` is
//! `bw1/<protocol>`; on a tool call it stands in `extra_content.bellwether.seal`.

mod answer;
mod chunk;
mod encoder;
mod extras;
mod fault;
mod finish;
mod forward;
mod memo;
mod messages;
mod parts;
mod peek;
mod reasoning;
mod relay;
mod request;
mod usage;
mod write_answer;
mod write_messages;
mod write_parts;
mod write_request;
mod write_tools;

use bytes::Bytes;
use gateway_core::{
    Call, Egress, Encoded, EventDecoder, EventEncoder, Fault, Framer, Ingress, Losses, Memo, Peek, Protocol, Relay, RelayCtx, RenderCtx,
    RequestId, Signal, Target, WireError,
    ir::{ChatRequest, ChatResponse},
};
use http::{StatusCode, request::Parts as RequestHead, response::Parts as ResponseHead};

use crate::{OPENAI_CHAT, sse::SseFramer};

/// The callers' side.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiChatIngress;

impl OpenAiChatIngress {
    /// The codec; it has no state.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Ingress for OpenAiChatIngress {
    fn protocol(&self) -> Protocol {
        OPENAI_CHAT
    }

    fn peek(&self, head: &RequestHead, body: &[u8]) -> Result<Peek, WireError> {
        peek::peek(head, body)
    }

    fn decode(&self, _head: &RequestHead, body: &[u8]) -> Result<ChatRequest, WireError> {
        request::decode(body)
    }

    fn encode(&self, response: &ChatResponse, ctx: &RenderCtx, losses: &mut Losses) -> Bytes {
        write_answer::encode(response, ctx, losses)
    }

    fn event_encoder(&self, ctx: &RenderCtx) -> Box<dyn EventEncoder> {
        Box::new(encoder::Encoder::new(ctx))
    }

    fn encode_fault(&self, fault: &Fault, request_id: RequestId) -> (StatusCode, Bytes) {
        fault::encode(fault, request_id)
    }
}

/// The providers' side.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiChatEgress;

impl OpenAiChatEgress {
    /// The codec; it has no state.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Egress for OpenAiChatEgress {
    fn protocol(&self) -> Protocol {
        OPENAI_CHAT
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) -> Result<Encoded, WireError> {
        write_request::encode(request, target, losses)
    }

    fn forward(&self, call: &Call, target: &Target<'_>, losses: &mut Losses) -> Option<Encoded> {
        forward::forward(call, target, losses)
    }

    fn decode(&self, body: &[u8], memo: &Memo) -> Result<ChatResponse, WireError> {
        answer::decode(body, memo)
    }

    fn fault_in_body(&self, body: &[u8]) -> Option<Fault> {
        fault::in_body(body)
    }

    fn framer(&self) -> Box<dyn Framer> {
        Box::new(SseFramer::new())
    }

    fn event_decoder(&self, memo: Memo) -> Box<dyn EventDecoder> {
        Box::new(chunk::Decoder::new(memo))
    }

    fn relay(&self, ctx: &RelayCtx) -> Box<dyn Relay> {
        Box::new(relay::ChatRelay::new(ctx))
    }

    fn relay_whole(&self, ctx: &RelayCtx, body: Bytes, emit: &mut dyn FnMut(Signal)) -> Result<Bytes, Fault> {
        relay::whole(ctx, &body, emit)
    }

    fn decode_fault(&self, head: &ResponseHead, body: &Bytes) -> Fault {
        fault::decode(head, body)
    }
}

#[cfg(test)]
mod tests;
