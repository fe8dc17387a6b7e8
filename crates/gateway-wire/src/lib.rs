//! Codecs: each protocol once, in two halves, and the byte-level tools they share.
//!
//! A codec imports core's `ir`, never another codec. It knows protocols, not vendors: what differs between two vendors
//! of one protocol is a quirk in [`gateway_core::Quirks`].

pub mod anthropic;
mod controls;
mod edits;
pub mod gemini;
pub mod json;
mod nano;
pub mod openai_chat;
pub mod retry_after;
pub mod seal;
pub mod splice;
pub mod sse;
mod tally;

use gateway_core::Protocol;

/// OpenAI `POST /v1/chat/completions` and everything that imitates it.
pub const OPENAI_CHAT: Protocol = Protocol::new("openai-chat");
/// Anthropic `POST /v1/messages`.
pub const ANTHROPIC_MESSAGES: Protocol = Protocol::new("anthropic-messages");
/// Gemini `POST …/models/{model}:generateContent` and `:streamGenerateContent`.
pub const GEMINI: Protocol = Protocol::new("gemini");

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
