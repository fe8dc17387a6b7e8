//! Frames as owned slices of what came in, for relays.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use gateway_core::{Fault, WireError};

use super::{
    FRAME_BYTES_MAX, check_size,
    lines::{Payload, Scanner, name, parse},
};

/// One frame with the bytes it stands in, blank line included.
#[derive(Debug, Clone)]
pub struct Cut {
    /// The frame as it came; a slice of the chunk unless the frame was split between chunks.
    pub raw: Bytes,
    /// What it carries, by place in `raw`.
    pub payload: Payload,
    name: Option<Range<usize>>,
}

impl Cut {
    /// The payload; empty when there is none.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match &self.payload {
            Payload::None => &[],
            Payload::Slice(range) => &self.raw[range.clone()],
            Payload::Joined(data) => data,
        }
    }

    /// The event's name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.clone().and_then(|range| name(&self.raw[range]).ok())
    }

    fn of(raw: Bytes, first: bool) -> Result<Self, WireError> {
        let parsed = parse(&raw, first)?;
        Ok(Self { raw, payload: parsed.payload, name: parsed.name })
    }
}

/// Cuts a stream into [`Cut`]s and holds back the one that is incomplete.
#[derive(Debug)]
pub struct SseCutter {
    scanner: Scanner,
    pending: BytesMut,
    max: usize,
}

impl Default for SseCutter {
    fn default() -> Self {
        Self::new()
    }
}

impl SseCutter {
    /// With [`FRAME_BYTES_MAX`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_max(FRAME_BYTES_MAX)
    }

    /// With another limit, in bytes.
    #[must_use]
    pub fn with_max(max: usize) -> Self {
        Self { scanner: Scanner::default(), pending: BytesMut::new(), max }
    }

    /// Feeds one chunk and hands out every frame that it completes, comments included.
    ///
    /// # Errors
    /// A frame is larger than the maximum, or `each` failed.
    pub fn push<E: From<WireError>>(&mut self, chunk: &Bytes, mut each: impl FnMut(Cut) -> Result<(), E>) -> Result<(), E> {
        let mut at = 0;
        while let Some(length) = self.scanner.frame_end(&chunk[at..]) {
            let range = at..at + length;
            at += length;
            check_size(self.pending.len() + length, self.max)?;
            let raw = if self.pending.is_empty() {
                chunk.slice(range)
            } else {
                self.pending.extend_from_slice(&chunk[range]);
                self.pending.split().freeze()
            };
            each(Cut::of(raw, self.scanner.take_first())?)?;
        }
        check_size(self.pending.len() + chunk.len() - at, self.max)?;
        self.pending.extend_from_slice(&chunk[at..]);
        Ok(())
    }

    /// Whether a frame has begun and not ended.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The bytes have ended: the last frame, if it lacked its blank line.
    ///
    /// # Errors
    /// Its event name is not text.
    pub fn finish(&mut self) -> Result<Option<Cut>, WireError> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        Cut::of(self.pending.split().freeze(), self.scanner.take_first()).map(Some)
    }
}

/// Why a relay takes no more frames: they are not the protocol's, or the provider reported a fault in one.
pub(crate) enum Stop {
    Wire(WireError),
    Fault(Fault),
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl Stop {
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Wire(error) => error.into_upstream_fault(),
            Self::Fault(fault) => fault,
        }
    }
}
