//! A stream in canonical form: part-indexed, with explicit starts and ends.

use std::borrow::Cow;

use super::{
    part::{Citation, Extras, Media, Raw, Seal, ToolKind},
    response::Finish,
};
use crate::{fault::Fault, usage::Usage};

/// What kind of part begins.
#[derive(Debug, Clone, PartialEq)]
pub enum PartKind<'b> {
    /// Text.
    Text,
    /// Reasoning; without text but sealed when redacted.
    Reasoning,
    /// A refusal.
    Refusal,
    /// A tool call.
    ToolCall {
        /// Ties the result to the call.
        id: Cow<'b, str>,
        /// The tool.
        name: Cow<'b, str>,
        /// Function or custom.
        kind: ToolKind,
    },
    /// A media part, whole.
    Media(Box<Media>),
    /// A part we do not model, as it came.
    Opaque {
        /// Whose part it is.
        origin: crate::protocol::Protocol,
        /// The part.
        raw: Raw,
    },
}

/// What is added to the current part.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta<'b> {
    /// More text of a text, reasoning or refusal part, or more argument text of a tool call.
    Text(Cow<'b, str>),
    /// The seal of the part.
    Seal(Seal),
    /// A citation of the part.
    Citation(Box<Citation>),
    /// Unknown fields of the part.
    Extras(Extras),
}

/// One step of a stream. Parts of one choice are numbered from 0 in order of appearance and are never reopened.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "events are passed by reference and never stored; a box would allocate per report")]
pub enum Event<'b> {
    /// The answer begins.
    Start {
        /// The provider's id of the answer.
        id: Option<Cow<'b, str>>,
        /// The provider's name of the model.
        model: Option<Cow<'b, str>>,
        /// Unix time in seconds.
        created: Option<u64>,
    },
    /// A part begins.
    PartStart {
        /// Of which choice.
        choice: u32,
        /// Which part.
        part: u32,
        /// What it is.
        kind: PartKind<'b>,
    },
    /// A part grows.
    Delta {
        /// Of which choice.
        choice: u32,
        /// Which part.
        part: u32,
        /// What is added.
        delta: Delta<'b>,
    },
    /// A part is complete.
    PartEnd {
        /// Of which choice.
        choice: u32,
        /// Which part.
        part: u32,
    },
    /// Log probabilities of a choice, as the provider wrote them.
    Logprobs {
        /// Of which choice.
        choice: u32,
        /// The object.
        raw: Raw,
    },
    /// A choice is complete.
    Finish {
        /// Which choice.
        choice: u32,
        /// How it ended.
        finish: Finish,
    },
    /// Usage so far. Cumulative: a later one overwrites.
    Usage {
        /// The report.
        usage: Usage,
        /// The provider's last word.
        is_final: bool,
    },
    /// The provider failed in mid-stream.
    Fault(Fault),
    /// An event we do not model, as it came.
    Opaque {
        /// Whose event it is.
        origin: crate::protocol::Protocol,
        /// The event.
        raw: Raw,
    },
    /// The answer is complete.
    End,
}
