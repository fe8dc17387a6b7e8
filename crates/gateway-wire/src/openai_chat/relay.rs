//! The fast path of an answer: the provider's own bytes, but for the model's name and the price beside the usage.
//!
//! A chunk of the stream in which nothing changes goes out as the slice that came in. Where names change, the frames of
//! one incoming chunk are put together in one buffer: cutting each frame in three slices would cost the connection three
//! writes where one copy of a few hundred bytes is cheaper.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use gateway_core::{Fault, Pricer, Relay, RelayCtx, Signal, Usage, Used, WireError};

use super::{encoder, fault, memo::usage_is_ours};
use crate::{
    edits::{Edits, states_cost},
    json::{Json, write_str},
    sse::{Cut, Payload, SseCutter},
};

mod glance;
mod whole;

use glance::{Glance, Seen};
pub(super) use whole::whole;

pub(super) struct ChatRelay {
    cutter: SseCutter,
    /// The public name as a JSON string.
    model: Bytes,
    usage_is_ours: bool,
    price: Pricer,
    used: Used,
    seen: Seen,
    committed: bool,
    /// `[DONE]` as it came, until the body has ended well.
    terminator: Option<Bytes>,
    pending_usage: Option<Usage>,
    buffer: BytesMut,
}

impl ChatRelay {
    pub(super) fn new(ctx: &RelayCtx) -> Self {
        let mut model = BytesMut::new();
        write_str(&mut model, &ctx.render.model);
        Self {
            cutter: SseCutter::new(),
            model: model.freeze(),
            usage_is_ours: usage_is_ours(&ctx.memo),
            price: ctx.render.price.clone(),
            used: Used::default(),
            seen: Seen::default(),
            committed: false,
            terminator: None,
            pending_usage: None,
            buffer: BytesMut::new(),
        }
    }

    fn frame(&mut self, cut: Cut, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
        if self.terminator.is_some() {
            return Ok(());
        }
        let data = cut.data().trim_ascii();
        if data.is_empty() {
            self.forward(cut.raw, out);
            return Ok(());
        }
        if data == b"[DONE]" {
            self.terminator = Some(cut.raw);
            return Ok(());
        }
        let glance = Glance::at(data, &mut self.seen).map_err(WireError::into_upstream_fault)?;
        if glance.is_error || cut.name() == Some("error") {
            return Err(fault::reported(Json::parse(data).ok(), data));
        }
        let is_final = self.report(&glance, emit);
        if glance.is_only_usage && self.usage_is_ours {
            return Ok(());
        }
        let price = if is_final && glance.usage_at.is_some() { self.price.price(&self.used) } else { None };
        let edits = Edits {
            model: glance.model.filter(|model| data[model.clone()] != *self.model).map(|model| (model, &self.model[..])),
            usage: glance
                .usage_at
                .filter(|at| price.is_some() || self.price.is_set() && states_cost(&data[at.clone()]))
                .map(|at| (at, price.as_deref())),
        };
        match &cut.payload {
            Payload::Slice(range) if !edits.is_empty() => {
                // `data` is trimmed; its place in the frame counts from the first byte left.
                let start = range.start + cut.data().len() - cut.data().trim_ascii_start().len();
                self.buffer.extend_from_slice(&cut.raw[..start]);
                edits.apply(data, &mut self.buffer);
                self.buffer.extend_from_slice(&cut.raw[start + data.len()..]);
            }
            // Data over several lines is rare enough to be written anew as one.
            Payload::Joined(_) if !edits.is_empty() => {
                let mut edited = BytesMut::with_capacity(data.len() + edits.growth());
                edits.apply(data, &mut edited);
                self.buffer.extend_from_slice(b"data: ");
                self.buffer.extend(edited.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
                self.buffer.extend_from_slice(b"\n\n");
            }
            Payload::None | Payload::Slice(_) | Payload::Joined(_) => self.forward(cut.raw, out),
        }
        Ok(())
    }

    /// Forwards a frame as it is: into the buffer if that has begun, else as the slice it is.
    fn forward(&mut self, raw: Bytes, out: &mut VecDeque<Bytes>) {
        if self.buffer.is_empty() { out.push_back(raw) } else { self.buffer.extend_from_slice(&raw) }
    }

    /// Tells the meter; true when the provider's last word on usage was among it.
    fn report(&mut self, glance: &Glance, emit: &mut dyn FnMut(Signal)) -> bool {
        if glance.content_bytes > 0 {
            self.tell(Signal::Content { bytes: glance.content_bytes }, emit);
        }
        if glance.commits && !self.committed {
            self.committed = true;
            emit(Signal::Commit);
        }
        for finish in &glance.finishes {
            emit(Signal::Finish(*finish));
        }
        let Some(usage) = &glance.usage else { return false };
        let is_final = glance.is_only_usage || self.seen.is_finished();
        self.pending_usage = (!is_final).then(|| usage.clone());
        self.tell(Signal::Usage { usage: usage.clone(), is_final }, emit);
        is_final
    }

    fn tell(&mut self, signal: Signal, emit: &mut dyn FnMut(Signal)) {
        self.used.see(&signal);
        emit(signal);
    }

    fn flush(&mut self, out: &mut VecDeque<Bytes>) {
        if !self.buffer.is_empty() {
            out.push_back(self.buffer.split().freeze());
        }
    }
}

impl Relay for ChatRelay {
    fn push(&mut self, chunk: Bytes, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
        let mut cutter = std::mem::take(&mut self.cutter);
        let mut failed = None;
        let cut = cutter.push(&chunk, |cut| {
            if failed.is_none() {
                failed = self.frame(cut, out, emit).err();
            }
            Ok::<_, WireError>(())
        });
        self.cutter = cutter;
        self.flush(out);
        match failed {
            Some(fault) => Err(fault),
            None => cut.map_err(WireError::into_upstream_fault),
        }
    }

    fn finish(&mut self, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
        // The last frame may lack its blank line; callers must not wait for it, so it gets one.
        if self.cutter.has_pending() {
            self.push(Bytes::from_static(b"\n\n"), out, emit)?;
        }
        if !self.seen.is_finished() {
            return Err(WireError::new("the stream ended without a finish reason").into_upstream_fault());
        }
        if let Some(usage) = self.pending_usage.take() {
            emit(Signal::Usage { usage, is_final: true });
        }
        // Perplexity sends none; callers of this protocol wait for one.
        out.push_back(self.terminator.take().unwrap_or_else(|| Bytes::from_static(b"data: [DONE]\n\n")));
        Ok(())
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut VecDeque<Bytes>) {
        self.flush(out);
        let mut event = BytesMut::new();
        encoder::interrupt(fault, &mut event);
        out.push_back(event.freeze());
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b": keep-alive\n\n")
    }
}
