//! The fast path of answers: what came in goes out as slices, but for the model's name and the price beside the usage.
//!
//! The decoder runs beside it for the meter, so that both paths count the same. `message_stop` is held back until the
//! end is certain.

use std::{borrow::Cow, collections::VecDeque, ops::Range};

use bytes::{Bytes, BytesMut};
use gateway_core::{EventDecoder, Fault, Frame, Relay, RelayCtx, RenderCtx, Signal, Used, WireError, ir::Event, stream::Tap};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    fault, response,
    stream::{Decoder, PING, write_interruption},
    usage::WireUsage,
};
use crate::{
    edits::{Edits, states_cost, write_usage},
    json::{Json, write_str},
    sse::{Cut, Payload, SseCutter, Stop},
};

/// Relays one stream.
#[derive(Debug)]
pub(super) struct StreamRelay {
    ctx: RenderCtx,
    cutter: SseCutter,
    decoder: Decoder,
    /// The terminator, and what followed it.
    held: Vec<Bytes>,
    tap: Tap,
}

impl StreamRelay {
    pub(super) fn new(ctx: &RelayCtx) -> Self {
        Self {
            ctx: ctx.render.clone(),
            cutter: SseCutter::new(),
            decoder: Decoder::new(ctx.memo.clone()),
            held: Vec::new(),
            tap: Tap::default(),
        }
    }
}

/// What a frame goes through; apart from the cutter, which lends it out.
struct Way<'r, 'e> {
    decoder: &'r mut Decoder,
    held: &'r mut Vec<Bytes>,
    tap: &'r mut Tap,
    ctx: &'r RenderCtx,
    out: &'r mut VecDeque<Bytes>,
    emit: &'e mut dyn FnMut(Signal),
}

impl Way<'_, '_> {
    fn pass(&mut self, cut: Cut) -> Result<(), Fault> {
        let Self { decoder, held, tap, ctx, out, emit } = self;
        let frame = Frame { name: cut.name(), data: cut.data() };
        let mut last_word = false;
        let decoded = decoder.decode(frame, &mut |event| {
            last_word |= matches!(event, Event::Usage { is_final: true, .. });
            tap.see(&event, emit);
        });
        if let Some(fault) = tap.take_fault() {
            return Err(fault);
        }
        decoded.map_err(WireError::into_upstream_fault)?;
        if decoder.has_stopped() {
            held.push(cut.raw);
            return Ok(());
        }
        let edited = if last_word { priced(&cut, tap.used(), ctx) } else { renamed(&cut, ctx) };
        match edited {
            Some(pieces) => out.extend(pieces),
            None => out.push_back(cut.raw),
        }
        Ok(())
    }
}

impl Relay for StreamRelay {
    fn push(&mut self, chunk: Bytes, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
        let Self { ctx, cutter, decoder, held, tap } = self;
        let mut way = Way { decoder, held, tap, ctx, out, emit };
        cutter.push(&chunk, |cut| way.pass(cut).map_err(Stop::Fault)).map_err(Stop::into_fault)
    }

    fn finish(&mut self, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
        let Self { ctx, cutter, decoder, held, tap } = self;
        if let Some(cut) = cutter.finish().map_err(WireError::into_upstream_fault)? {
            Way { decoder, held, tap, ctx, out, emit: &mut *emit }.pass(cut)?;
        }
        decoder.finish(&mut |event| tap.see(&event, emit)).map_err(WireError::into_upstream_fault)?;
        out.extend(held.drain(..));
        Ok(())
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut VecDeque<Bytes>) {
        let mut bytes = BytesMut::new();
        write_interruption(fault, &self.ctx, &mut bytes);
        out.push_back(bytes.freeze());
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(PING)
    }
}

#[derive(Deserialize)]
struct Started<'a> {
    #[serde(borrow)]
    message: Named<'a>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// The pieces of a `message_start` frame with another model name; `None` for every other frame.
fn renamed(cut: &Cut, ctx: &RenderCtx) -> Option<[Bytes; 3]> {
    let data = cut.data();
    if memchr::memmem::find(&data[..data.len().min(64)], b"message_start").is_none() && cut.name() != Some("message_start") {
        return None;
    }
    let started: Started<'_> = serde_json::from_slice(data).ok()?;
    let model = started.message.model.and_then(|model| place(data, model));
    let own_cost = started.message.usage.filter(|usage| ctx.price.is_set() && states_cost(usage.get().as_bytes()));
    let Some(usage) = own_cost else {
        return Some(replaced(cut, "message_start", model?, quoted(&ctx.model)));
    };
    // There is no price yet, and what the provider bills is none.
    let name = quoted(&ctx.model);
    let edits = Edits { model: model.map(|at| (at, &name[..])), usage: place(data, usage).map(|at| (at, None)) };
    let mut edited = BytesMut::with_capacity(data.len() + edits.growth());
    edits.apply(data, &mut edited);
    Some(replaced(cut, "message_start", 0..data.len(), edited.freeze()))
}

#[derive(Deserialize)]
struct LastWord<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

/// The pieces of the frame with the final usage, with the price in it; `None` if nobody charges for the answer.
fn priced(cut: &Cut, used: &Used, ctx: &RenderCtx) -> Option<[Bytes; 3]> {
    let price = ctx.price.price(used)?;
    let data = cut.data();
    let said: LastWord<'_> = serde_json::from_slice(data).ok()?;
    let usage = said.usage?;
    let mut written = BytesMut::with_capacity(usage.get().len() + 32);
    write_usage(&mut written, usage.get().as_bytes(), Some(&price));
    Some(replaced(cut, "message_delta", place(data, usage)?, written.freeze()))
}

/// The pieces of a frame of the event `name` with another value at a place of its payload.
fn replaced(cut: &Cut, name: &str, at: Range<usize>, value: Bytes) -> [Bytes; 3] {
    if let Payload::Slice(data) = &cut.payload {
        return [cut.raw.slice(..data.start + at.start), value, cut.raw.slice(data.start + at.end..)];
    }
    // A joined payload is a copy whose places are not those of the frame; nobody sends one, and it is written anew.
    let line = |bytes: &[u8]| -> Vec<u8> { bytes.iter().map(|&b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }).collect() };
    let (data, head) = (cut.data(), format!("event: {name}\ndata: "));
    [
        Bytes::from([head.as_bytes(), &line(&data[..at.start])].concat()),
        Bytes::from(line(&value)),
        Bytes::from([&line(&data[at.end..])[..], b"\n\n"].concat()),
    ]
}

fn quoted(text: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(text.len() + 2);
    write_str(&mut out, text);
    out.freeze()
}

/// Where `part`, a slice of `whole`, stands in it.
fn place(whole: &[u8], part: &RawValue) -> Option<Range<usize>> {
    let part = part.get();
    let at = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (at + part.len() <= whole.len()).then_some(at..at + part.len())
}

/// Relays a whole answer. The answer to a token count has no model and uses nothing. Only what the meter needs is read:
/// the decoder would copy every word of the answer to count it.
pub(super) fn whole(ctx: &RelayCtx, body: Bytes, emit: &mut dyn FnMut(Signal)) -> Result<Bytes, Fault> {
    if let Some(fault) = fault::in_body(&body) {
        return Err(fault);
    }
    let answer: Whole<'_> = serde_json::from_slice(&body).map_err(|error| broken(&error))?;
    let (Some(model), Some(content)) = (answer.model, &answer.content) else {
        let counted = answer.model.is_none() && answer.input_tokens.is_some();
        return if counted { Ok(body) } else { Err(WireError::new("neither an answer nor a count").into_upstream_fault()) };
    };
    let mut bytes = 0;
    for block in content {
        bytes += block.content_bytes().map_err(WireError::into_upstream_fault)?;
    }
    let mut price = None;
    if let Some(usage) = answer.usage {
        let usage = Json::parse(usage.get().as_bytes()).map(WireUsage::decode).map_err(WireError::into_upstream_fault)?.canonical();
        price = ctx.render.price.price(&Used { usage: usage.clone(), is_final: true, content_bytes: bytes as u64 });
        emit(Signal::Usage { usage, is_final: true });
    }
    emit(Signal::Content { bytes });
    emit(Signal::Finish(response::finish_of(answer.stop_reason.as_deref(), None, false).reason));
    let name = quoted(&ctx.render.model);
    let usage = answer.usage.filter(|_| price.is_some()).and_then(|usage| place(&body, usage));
    let edits = Edits { model: place(&body, model).map(|at| (at, &name[..])), usage: usage.map(|at| (at, price.as_deref())) };
    let mut out = BytesMut::with_capacity(body.len() + edits.growth());
    edits.apply(&body, &mut out);
    Ok(out.freeze())
}

fn broken(error: &serde_json::Error) -> Fault {
    WireError::new(format!("not an answer of the protocol: {error}")).into_upstream_fault()
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<Vec<Block<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(default)]
    stop_reason: Option<Box<str>>,
    /// Of the answer to a count.
    #[serde(default)]
    input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

impl Block<'_> {
    fn content_bytes(&self) -> Result<usize, WireError> {
        let length = |text: Option<&RawValue>| match text {
            Some(text) => Json::parse(text.get().as_bytes())?.str().map(|text| text.len()),
            None => Ok(0),
        };
        match &*self.kind {
            "text" => length(self.text),
            "thinking" => length(self.thinking),
            "tool_use" => Ok(self.input.map_or("{}".len(), |input| input.get().len())),
            _ => Ok(0),
        }
    }
}
