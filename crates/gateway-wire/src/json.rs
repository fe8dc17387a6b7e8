//! JSON at the level of bytes: one validating scanner, borrowed values with field-named errors, and a writer.
//!
//! * [`top_level`] and [`scan`] find where each top-level key and value stands, so that [`crate::splice`] can edit the
//!   caller's own bytes; `scan` also bounds the prompt ([`gateway_core::InputSize`]) and spots sealed envelopes.
//! * [`Json`] is one value as a slice of the document; [`Fields`] is one object whose known fields are *taken* and whose
//!   remainder becomes [`gateway_core::ir::Extras`]. Numbers, key order and unknown fields are never reprinted.
//! * [`Writer`] writes JSON into a buffer without a tree of values.
//!
//! Decoding an object therefore looks like this:
//!
//! ```
//! use gateway_wire::{OPENAI_CHAT, json::Json};
//!
//! let document = Json::parse(br#"{"type":"text","text":"h\u0069","x_new":1.50}"#)?;
//! let mut fields = document.fields()?;
//! assert_eq!(fields.need_str("type")?, "text");
//! assert_eq!(fields.take_str("text")?.as_deref(), Some("hi"));
//! let extras = fields.extras(OPENAI_CHAT)?.expect("one field is left");
//! assert_eq!(extras.fields[0].1.text(), "1.50");
//! # Ok::<(), gateway_core::WireError>(())
//! ```
//!
//! Errors carry a path; whoever descends adds its own step with [`Within`]:
//! `decode_part(item).within_index(n)`, then `.within("content")`.

mod cursor;
mod fields;
mod scan;
mod value;
mod write;

pub use cursor::{Cursor, DEPTH_MAX, Kind};
pub use fields::Fields;
pub(crate) use scan::check_utf8;
pub use scan::{Scan, SizeRules, scan, top_level};
pub use value::{Json, Within};
pub use write::{Writer, write_str};

#[cfg(test)]
mod tests;
