//! Lines: finds where a frame ends, across chunks, and reads the fields of a whole frame.

use std::ops::Range;

use gateway_core::WireError;
use memchr::memchr2;

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: only comments, or an event without data.
    None,
    /// One `data:` line, by its place in the frame's bytes.
    Slice(Range<usize>),
    /// Several `data:` lines, joined.
    Joined(Vec<u8>),
}

/// Finds the ends of frames: the blank lines.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    line: Line,
    /// A frame has been handed out, so a byte-order mark is no longer one.
    begun: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Nothing of the line has been read.
    #[default]
    Start,
    /// Something has.
    Within,
    /// A carriage return ended a line; a line feed right after it belongs to the same end.
    AfterReturn,
    /// As before, and that line was blank, so the frame is over, as soon as the next byte shows whether a line feed belongs
    /// to it. Left to the next frame it would keep that from being handed out as the slice it is.
    AfterBlankReturn,
}

impl Scanner {
    /// One past the blank line that ends the current frame, if `bytes` reaches so far; zero if what was read before ended
    /// it. Must then be called again with what follows; without an end, all of `bytes` counts as read.
    pub(super) fn frame_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match (self.line, byte) {
                (Line::AfterReturn, b'\n') => {
                    at += 1;
                    self.line = Line::Start;
                }
                (Line::AfterBlankReturn, _) => {
                    self.line = Line::Start;
                    return Some(at + usize::from(byte == b'\n'));
                }
                (Line::Start, b'\n') => {
                    self.line = Line::Start;
                    return Some(at + 1);
                }
                (Line::Start | Line::AfterReturn, b'\r') => {
                    at += 1;
                    self.line = Line::AfterBlankReturn;
                }
                (Line::Start | Line::AfterReturn | Line::Within, _) => {
                    let Some(found) = memchr2(b'\n', b'\r', &bytes[at..]) else {
                        self.line = Line::Within;
                        return None;
                    };
                    at += found + 1;
                    self.line = if bytes[at - 1] == b'\n' { Line::Start } else { Line::AfterReturn };
                }
            }
        }
        None
    }

    /// Whether the frame being handed out is the first; true once.
    pub(super) fn take_first(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }
}

/// The fields of one frame.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) name: Option<Range<usize>>,
    pub(super) payload: Payload,
}

pub(super) fn parse(frame: &[u8], first: bool) -> Result<Parsed, WireError> {
    let mut at = if first && frame.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut parsed = Parsed { name: None, payload: Payload::None };
    while at < frame.len() {
        let end = memchr2(b'\n', b'\r', &frame[at..]).map_or(frame.len(), |found| at + found);
        let line = &frame[at..end];
        if let Some(value) = field(line, b"data") {
            parsed.payload = parsed.payload.with(frame, at + value..end);
        } else if let Some(value) = field(line, b"event") {
            parsed.name = Some(at + value..end);
        }
        // Comments, `id`, `retry` and unknown fields mean nothing here. A blank line between `\r` and `\n` reads as one.
        at = end + 1;
    }
    if let Some(name) = &parsed.name {
        self::name(&frame[name.clone()])?;
    }
    Ok(parsed)
}

pub(super) fn name(bytes: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(bytes).map_err(|_| WireError::new("the name of a stream's event is not valid UTF-8"))
}

/// Where the value begins if the line is the field `name`.
fn field(line: &[u8], name: &[u8]) -> Option<usize> {
    let rest = line.strip_prefix(name)?;
    match rest {
        [] => Some(name.len()),
        [b':', b' ', ..] => Some(name.len() + 2),
        [b':', ..] => Some(name.len() + 1),
        _ => None,
    }
}

impl Payload {
    fn with(self, frame: &[u8], line: Range<usize>) -> Self {
        match self {
            Self::None => Self::Slice(line),
            Self::Slice(before) => {
                let mut joined = frame[before].to_vec();
                joined.push(b'\n');
                joined.extend_from_slice(&frame[line]);
                Self::Joined(joined)
            }
            Self::Joined(mut joined) => {
                joined.push(b'\n');
                joined.extend_from_slice(&frame[line]);
                Self::Joined(joined)
            }
        }
    }
}
