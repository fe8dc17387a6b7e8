//! Pass-through: the caller's bytes go up and the provider's come down as they are, but for the model's name.
//!
//! The decoder reads along for the meter; what it makes of a frame decides nothing but signals and faults.

use std::{collections::VecDeque, ops::Range};

use bytes::{BufMut, Bytes, BytesMut};
use gateway_core::{
    Call, Encoded, EventDecoder, Fault, FaultKind, Frame, LossReason, Losses, Memo, Peek, Relay, RelayCtx, Signal, Target, WireError,
    stream::Tap,
};

use super::{
    fault,
    stream::{self, Decoder},
};
use crate::{
    controls,
    json::{Cursor, top_level, write_str},
    splice::Splice,
    sse::{Cut, Payload, SseCutter, Stop},
};

/// Edits the caller's own body. Limits and sampling stand in `generationConfig`, below the top level: when one of them
/// must change, this is `None`.
pub(super) fn forward(call: &Call, target: &Target<'_>, losses: &mut Losses) -> Option<Encoded> {
    edited(call.body(), call.peek(), target, losses).map(Encoded::body)
}

fn edited(body: &Bytes, peek: &Peek, target: &Target<'_>, losses: &mut Losses) -> Option<Bytes> {
    let quirks = &target.deployment.quirks;
    let same_limit = target.limit_to_write(peek.output_limit, false) == peek.output_limit;
    if !same_limit || quirks.no_sampling || peek.foreign_seal {
        return None;
    }
    let mut splice = Splice::new(body, &peek.spans);
    let mut removed: Vec<_> = controls::KEYS.into_iter().filter(|key| splice.has(key)).map(Into::into).collect();
    if splice.has("model") {
        // The path names the upstream model; a public name in the body would contradict it.
        removed.push("model".into());
    }
    for key in splice.keys() {
        let refused = !quirks.accepted_keys.is_empty() && !quirks.accepted_keys.iter().any(|accepted| **accepted == *key);
        if refused && !removed.contains(&key) {
            losses.push(key.clone().into_owned(), LossReason::Unsupported);
            removed.push(key);
        }
    }
    if removed.is_empty() {
        return Some(body.clone());
    }
    for key in removed {
        splice.remove(key);
    }
    Some(splice.apply())
}

/// Passes a whole answer on.
pub(super) fn whole(ctx: &RelayCtx, body: &Bytes, emit: &mut dyn FnMut(Signal)) -> Result<Bytes, Fault> {
    if let Some(fault) = fault::in_body(body) {
        return Err(fault);
    }
    let mut read = || {
        let mut decoder = Decoder::new(&Memo::default());
        let mut tap = Tap::default();
        decoder.answer(&stream::parse(body)?, &mut |event| tap.see(&event, emit))?;
        decoder.close(&mut |event| tap.see(&event, emit))?;
        top_level(body)
    };
    let spans = read().map_err(WireError::into_upstream_fault)?;
    let mut splice = Splice::new(body, &spans);
    if !splice.has(MODEL) {
        return Ok(body.clone());
    }
    splice.set_str(MODEL, &ctx.render.model);
    Ok(splice.apply())
}

const MODEL: &str = "modelVersion";

/// Passes a stream on.
pub(super) struct Stream {
    cutter: SseCutter,
    reader: Reader,
}

struct Reader {
    decoder: Decoder,
    tap: Tap,
    /// The public model's name as a JSON string.
    model: Bytes,
}

impl Stream {
    pub(super) fn new(ctx: &RelayCtx) -> Self {
        let mut model = BytesMut::new();
        write_str(&mut model, &ctx.render.model);
        let reader = Reader { decoder: Decoder::new(&ctx.memo), tap: Tap::default(), model: model.freeze() };
        Self { cutter: SseCutter::new(), reader }
    }
}

impl Relay for Stream {
    fn push(&mut self, chunk: Bytes, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
        let Self { cutter, reader } = self;
        cutter.push(&chunk, |cut| reader.pass(cut, out, emit)).map_err(Stop::into_fault)
    }

    fn finish(&mut self, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
        let Self { cutter, reader } = self;
        if let Some(cut) = cutter.finish().map_err(WireError::into_upstream_fault)? {
            reader.pass(cut, out, emit).map_err(Stop::into_fault)?;
        }
        let Reader { decoder, tap, .. } = reader;
        decoder.finish(&mut |event| tap.see(&event, emit)).map_err(WireError::into_upstream_fault)
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut VecDeque<Bytes>) {
        let mut frame = BytesMut::from(&b"data: {\"error\":{\"code\":"[..]);
        frame.extend_from_slice(fault.status().as_str().as_bytes());
        frame.extend_from_slice(b",\"message\":");
        write_str(&mut frame, fault.message());
        frame.extend_from_slice(b",\"status\":");
        write_str(&mut frame, status(fault.kind()));
        frame.extend_from_slice(b"}}\r\n\r\n");
        out.push_back(frame.freeze());
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b": keep-alive\r\n\r\n")
    }
}

impl Reader {
    fn pass(&mut self, cut: Cut, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Stop> {
        let Self { decoder, tap, model } = self;
        decoder.decode(Frame { name: None, data: cut.data() }, &mut |event| tap.see(&event, emit))?;
        if let Some(fault) = tap.take_fault() {
            return Err(Stop::Fault(fault));
        }
        match &cut.payload {
            Payload::None => out.push_back(cut.raw),
            Payload::Slice(range) => {
                let value = model_place(cut.data()).ok().flatten().map(|place| range.start + place.start..range.start + place.end);
                match value.filter(|value| cut.raw[value.clone()] != **model) {
                    Some(value) => {
                        out.push_back(cut.raw.slice(..value.start));
                        out.push_back(model.clone());
                        out.push_back(cut.raw.slice(value.end..));
                    }
                    None => out.push_back(cut.raw),
                }
            }
            Payload::Joined(data) => out.push_back(rewritten(data, model)),
        }
        Ok(())
    }
}

/// Where the model's name stands in a frame: the last place, which is the one a JSON parser keeps.
fn model_place(data: &[u8]) -> Result<Option<Range<usize>>, WireError> {
    let mut cursor = Cursor::new(data);
    let (mut first, mut place) = (true, None);
    while let Some(key) = cursor.key(std::mem::take(&mut first))? {
        let value = cursor.value()?;
        if cursor.bytes(key) == MODEL.as_bytes() {
            place = Some(value);
        }
    }
    Ok(place)
}

/// A frame of several data lines, which are written anew.
fn rewritten(data: &[u8], model: &[u8]) -> Bytes {
    let edited = top_level(data).ok().map(|spans| {
        let mut splice = Splice::new(data, &spans);
        if splice.has(MODEL) {
            splice.set(MODEL, String::from_utf8_lossy(model));
        }
        splice.apply()
    });
    let mut frame = BytesMut::with_capacity(data.len() + 64);
    for line in edited.as_deref().unwrap_or(data).split(|byte| *byte == b'\n') {
        frame.put_slice(b"data: ");
        frame.put_slice(line);
        frame.put_slice(b"\r\n");
    }
    frame.put_slice(b"\r\n");
    frame.freeze()
}

/// Google's word for a fault.
fn status(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::InvalidRequest
        | FaultKind::ContextLength
        | FaultKind::ContentFiltered
        | FaultKind::ModelNotPriced
        | FaultKind::PayloadTooLarge => "INVALID_ARGUMENT",
        FaultKind::Authentication => "UNAUTHENTICATED",
        FaultKind::PermissionDenied => "PERMISSION_DENIED",
        FaultKind::NotFound => "NOT_FOUND",
        FaultKind::MethodNotAllowed => "UNIMPLEMENTED",
        FaultKind::InsufficientFunds => "FAILED_PRECONDITION",
        FaultKind::RateLimited => "RESOURCE_EXHAUSTED",
        FaultKind::Timeout => "DEADLINE_EXCEEDED",
        FaultKind::Overloaded | FaultKind::Unavailable | FaultKind::NoDeployment | FaultKind::LedgerDown => "UNAVAILABLE",
        FaultKind::CallerGone => "CANCELLED",
        FaultKind::BadUpstream | FaultKind::UpstreamError | FaultKind::Internal => "INTERNAL",
    }
}

#[cfg(test)]
mod tests;
