//! The canonical form: what every codec decodes to and encodes from.
//!
//! Order is data and is never changed here. Cache marks, seals and unknown fields hang on every part. What was asked
//! is kept as it was asked; the encoder that must convert records the approximation.

mod event;
mod part;
mod request;
mod response;

pub use event::{Delta, Event, PartKind};
pub use part::{
    CacheMark, CacheTtl, Citation, Extras, Media, MediaKind, MediaSource, Part, PartBody, Raw, Seal, ToolCall, ToolKind, ToolResult,
};
pub use request::{
    ChatRequest, Effort, Logprobs, Message, OutputFormat, Reasoning, ReasoningAmount, Role, Sampling, Tool, ToolChoice, ToolSpec,
};
pub use response::{ChatResponse, Choice, Finish, FinishReason};
