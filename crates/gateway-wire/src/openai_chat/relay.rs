//! The fast path of an answer: the provider's own bytes, but for the model's name.
//!
//! A chunk of the stream in which nothing changes goes out as the slice that came in. Where names change, the frames of
//! one incoming chunk are put together in one buffer: cutting each frame in three slices would cost the connection three
//! writes where one copy of a few hundred bytes is cheaper.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use gateway_core::{Fault, Relay, RelayCtx, Signal, Usage, WireError};

use super::{encoder, fault, memo::usage_is_ours};
use crate::{
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
        self.report(&glance, emit);
        if glance.is_only_usage && self.usage_is_ours {
            return Ok(());
        }
        match (&cut.payload, glance.model) {
            (Payload::Slice(range), Some(model)) if data[model.clone()] != *self.model => {
                // `data` is trimmed; its place in the frame counts from the first byte left.
                let start = range.start + cut.data().len() - cut.data().trim_ascii_start().len();
                self.buffer.extend_from_slice(&cut.raw[..start + model.start]);
                self.buffer.extend_from_slice(&self.model);
                self.buffer.extend_from_slice(&cut.raw[start + model.end..]);
            }
            // Data over several lines is rare enough to be written anew as one.
            (Payload::Joined(data), Some(model)) => {
                let data = data.trim_ascii();
                self.buffer.extend_from_slice(b"data: ");
                self.buffer.extend(data[..model.start].iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
                self.buffer.extend_from_slice(&self.model);
                self.buffer.extend(data[model.end..].iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
                self.buffer.extend_from_slice(b"\n\n");
            }
            (Payload::None | Payload::Slice(_) | Payload::Joined(_), _) => self.forward(cut.raw, out),
        }
        Ok(())
    }

    /// Forwards a frame as it is: into the buffer if that has begun, else as the slice it is.
    fn forward(&mut self, raw: Bytes, out: &mut VecDeque<Bytes>) {
        if self.buffer.is_empty() { out.push_back(raw) } else { self.buffer.extend_from_slice(&raw) }
    }

    fn report(&mut self, glance: &Glance, emit: &mut dyn FnMut(Signal)) {
        if glance.content_bytes > 0 {
            emit(Signal::Content { bytes: glance.content_bytes });
        }
        if glance.commits && !self.committed {
            self.committed = true;
            emit(Signal::Commit);
        }
        for finish in &glance.finishes {
            emit(Signal::Finish(*finish));
        }
        if let Some(usage) = &glance.usage {
            let is_final = glance.is_only_usage || self.seen.is_finished();
            self.pending_usage = (!is_final).then(|| usage.clone());
            emit(Signal::Usage { usage: usage.clone(), is_final });
        }
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
