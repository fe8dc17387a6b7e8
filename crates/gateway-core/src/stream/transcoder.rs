//! Joins any provider's protocol to any caller's: framer → decoder → encoder.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::tap::Tap;
use crate::{
    codec::{EventDecoder, EventEncoder, Framer, Relay, Signal, WireError},
    fault::Fault,
    ir::Event,
    losses::Losses,
};

/// A [`Relay`] between two protocols. It keeps one output buffer and allocates nothing per event.
pub struct Transcoder {
    framer: Box<dyn Framer>,
    decoder: Box<dyn EventDecoder>,
    writer: Writer,
}

impl Transcoder {
    /// Reads with the provider's half, writes with the caller's.
    #[must_use]
    pub fn new(framer: Box<dyn Framer>, decoder: Box<dyn EventDecoder>, encoder: Box<dyn EventEncoder>) -> Self {
        Self { framer, decoder, writer: Writer::new(encoder) }
    }
}

impl Relay for Transcoder {
    fn push(&mut self, chunk: Bytes, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
        let Self { framer, decoder, writer } = self;
        let result = framer.push(&chunk, &mut |frame| {
            if writer.tap.has_fault() {
                return Ok(());
            }
            decoder.decode(frame, &mut |event| writer.write(&event, emit))
        });
        writer.flush(out, emit);
        if let Some(fault) = writer.tap.take_fault() {
            return Err(fault);
        }
        result.map_err(WireError::into_upstream_fault)
    }

    fn finish(&mut self, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
        let Self { framer, decoder, writer } = self;
        let result = framer
            .finish(&mut |frame| decoder.decode(frame, &mut |event| writer.write(&event, emit)))
            .and_then(|()| decoder.finish(&mut |event| writer.write(&event, emit)));
        if let Some(fault) = writer.tap.take_fault() {
            writer.flush(out, emit);
            return Err(fault);
        }
        if result.is_ok() {
            writer.encoder.finish(writer.tap.used(), &mut writer.buffer);
        }
        writer.flush(out, emit);
        result.map_err(WireError::into_upstream_fault)
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut VecDeque<Bytes>) {
        self.writer.interrupt(fault, out);
    }

    fn keep_alive(&self) -> Bytes {
        self.writer.encoder.keep_alive()
    }
}

/// The caller's half: writes events and tells the meter of them.
pub(super) struct Writer {
    pub(super) encoder: Box<dyn EventEncoder>,
    pub(super) buffer: BytesMut,
    pub(super) tap: Tap,
    losses: Losses,
}

impl Writer {
    pub(super) fn new(encoder: Box<dyn EventEncoder>) -> Self {
        Self { encoder, buffer: BytesMut::new(), tap: Tap::default(), losses: Losses::new() }
    }

    pub(super) fn write(&mut self, event: &Event<'_>, emit: &mut dyn FnMut(Signal)) {
        self.tap.see(event, emit);
        if self.tap.has_fault() {
            return;
        }
        self.encoder.encode(event, &mut self.buffer, &mut self.losses);
    }

    pub(super) fn flush(&mut self, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) {
        for loss in &std::mem::take(&mut self.losses) {
            emit(Signal::Loss(loss.clone()));
        }
        if !self.buffer.is_empty() {
            out.push_back(self.buffer.split().freeze());
        }
    }

    pub(super) fn interrupt(&mut self, fault: &Fault, out: &mut VecDeque<Bytes>) {
        self.encoder.interrupt(fault, &mut self.buffer);
        if !self.buffer.is_empty() {
            out.push_back(self.buffer.split().freeze());
        }
    }
}
