//! Gemini `generateContent`: the providers' side of the protocol.
//!
//! The model and the verb stand in the path ([`path`]), everything else in the body. Callers do not speak it here, so there
//! is no ingress; pass-through is complete all the same, for callers whose protocol a third party adds.

mod body;
mod citations;
mod config;
mod contents;
mod fault;
mod finish;
mod ids;
mod logprobs;
mod media;
mod part;
mod partial;
mod relay;
mod request;
mod response;
mod schema;
mod stream;
mod usage;

use bytes::Bytes;
use gateway_core::{
    Call, Egress, Encoded, EventDecoder, Fault, Framer, Losses, Memo, Protocol, Relay, RelayCtx, Signal, Target, WireError,
    ir::{ChatRequest, ChatResponse},
};
use http::response::Parts;

use crate::{GEMINI, sse::SseFramer};

/// The path of an attempt, relative to a base address such as `https://generativelanguage.googleapis.com/v1beta`.
///
/// The model's name may hold slashes, which name a resource (`tunedModels/…`, `publishers/…`) and stay; everything else
/// that could end a path segment is escaped. A plain name is one of `models/`.
///
/// ```
/// use gateway_wire::gemini::path;
///
/// assert_eq!(path("gemini-2.5-flash", false), "/models/gemini-2.5-flash:generateContent");
/// assert_eq!(path("gemini-2.5-flash", true), "/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
/// assert_eq!(path("tunedModels/my tune", false), "/tunedModels/my%20tune:generateContent");
/// assert_eq!(path("a?b#c", false), "/models/a%3Fb%23c:generateContent");
/// ```
#[must_use]
pub fn path(upstream_model: &str, stream: bool) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let name = upstream_model.trim_matches('/');
    let mut path = String::with_capacity(name.len() + 48);
    path.push('/');
    if !name.contains('/') {
        path.push_str("models/");
    }
    // A segment of dots would climb out of the base address.
    let climbs = |segment: &str| segment == "." || segment == "..";
    for (n, segment) in name.split('/').enumerate() {
        if n > 0 {
            path.push('/');
        }
        for byte in segment.bytes() {
            let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'@') || (byte == b'.' && !climbs(segment));
            if plain {
                path.push(char::from(byte));
            } else {
                path.push('%');
                path.push(char::from(HEX[usize::from(byte >> 4)]));
                path.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    path.push_str(if stream { ":streamGenerateContent?alt=sse" } else { ":generateContent" });
    path
}

/// Reads and writes for providers that speak Gemini.
#[derive(Debug, Clone, Copy, Default)]
pub struct GeminiEgress;

impl GeminiEgress {
    /// It has no settings: what differs between deployments is in their quirks.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Egress for GeminiEgress {
    fn protocol(&self) -> Protocol {
        GEMINI
    }

    fn encode(&self, request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) -> Result<Encoded, WireError> {
        request::encode(request, target, losses)
    }

    fn forward(&self, call: &Call, target: &Target<'_>, losses: &mut Losses) -> Option<Encoded> {
        relay::forward(call, target, losses)
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
        Box::new(stream::Decoder::new(&memo))
    }

    fn relay(&self, ctx: &RelayCtx) -> Box<dyn Relay> {
        Box::new(relay::Stream::new(ctx))
    }

    fn relay_whole(&self, ctx: &RelayCtx, body: Bytes, emit: &mut dyn FnMut(Signal)) -> Result<Bytes, Fault> {
        relay::whole(ctx, &body, emit)
    }

    fn decode_fault(&self, head: &Parts, body: &Bytes) -> Fault {
        fault::decode(head, body)
    }
}

#[cfg(test)]
mod tests;
