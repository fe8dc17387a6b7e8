//! Server-sent events: cuts bytes into frames, wherever the bytes are split.
//!
//! Two readers share one scanner. [`SseFramer`] hands out borrowed frames to a decoder. [`SseCutter`] hands out owned
//! slices of the incoming chunks to a relay, so that a frame nobody edits is forwarded without a copy; the slices put
//! together are exactly the bytes that came in.
//!
//! Lines end in `\n`, `\r\n` or `\r`; several `data:` lines join with `\n`; a line that begins with `:` is a comment; the
//! space after the colon may be missing; a byte-order mark before the first line is not part of it. A blank line that is a
//! bare `\r` at the end of a chunk ends its frame when the next byte shows that no `\n` belongs to it; streams with such
//! line ends are allowed and not known to exist.

mod cutter;
mod lines;

use gateway_core::{Frame, Framer, WireError};

pub(crate) use cutter::Stop;
pub use cutter::{Cut, SseCutter};
pub use lines::Payload;
use lines::{Scanner, parse};

/// Largest frame that is accepted unless another limit is given: an inline image fits, an endless line does not.
pub const FRAME_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// Cuts a stream into borrowed frames. A frame that lies in one chunk is not copied.
#[derive(Debug)]
pub struct SseFramer {
    scanner: Scanner,
    pending: Vec<u8>,
    max: usize,
}

impl Default for SseFramer {
    fn default() -> Self {
        Self::new()
    }
}

impl SseFramer {
    /// With [`FRAME_BYTES_MAX`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_max(FRAME_BYTES_MAX)
    }

    /// With another limit, in bytes.
    #[must_use]
    pub fn with_max(max: usize) -> Self {
        Self { scanner: Scanner::default(), pending: Vec::new(), max }
    }
}

impl Framer for SseFramer {
    fn push(&mut self, chunk: &[u8], each: &mut dyn FnMut(Frame<'_>) -> Result<(), WireError>) -> Result<(), WireError> {
        let mut rest = chunk;
        while let Some(end) = self.scanner.frame_end(rest) {
            let (frame, after) = rest.split_at(end);
            rest = after;
            check_size(self.pending.len() + frame.len(), self.max)?;
            if self.pending.is_empty() {
                hand_out(frame, self.scanner.take_first(), each)?;
            } else {
                self.pending.extend_from_slice(frame);
                let first = self.scanner.take_first();
                // The buffer keeps its room for the next frame that is split.
                let handed = hand_out(&self.pending, first, each);
                self.pending.clear();
                handed?;
            }
        }
        check_size(self.pending.len() + rest.len(), self.max)?;
        self.pending.extend_from_slice(rest);
        Ok(())
    }

    fn finish(&mut self, each: &mut dyn FnMut(Frame<'_>) -> Result<(), WireError>) -> Result<(), WireError> {
        let last = std::mem::take(&mut self.pending);
        hand_out(&last, self.scanner.take_first(), each)
    }
}

fn hand_out(bytes: &[u8], first: bool, each: &mut dyn FnMut(Frame<'_>) -> Result<(), WireError>) -> Result<(), WireError> {
    let parsed = parse(bytes, first)?;
    let name = parsed.name.map(|range| &bytes[range]).map(lines::name).transpose()?;
    match parsed.payload {
        Payload::None => Ok(()),
        Payload::Slice(range) => each(Frame { name, data: &bytes[range] }),
        Payload::Joined(data) => each(Frame { name, data: &data }),
    }
}

fn check_size(bytes: usize, max: usize) -> Result<(), WireError> {
    if bytes <= max {
        return Ok(());
    }
    Err(WireError::new(format!("a frame of the stream is larger than the limit of {max} bytes")))
}

#[cfg(test)]
mod tests;
