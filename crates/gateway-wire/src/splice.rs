//! Edits the top level of a JSON object in place of reprinting it.
//!
//! Several edits are applied in one allocation. Every byte that is not edited stays as the caller wrote it: key order,
//! white space, numbers, escapes, repeated keys. An edit of a key concerns *every* occurrence of it, however it is
//! escaped, so that no reader (first wins, last wins) can see an old value.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};
use gateway_core::KeySpan;

use crate::json::write_str;

/// A set of edits of one body. Edits of one key do not add up: the last one stands.
///
/// ```
/// use gateway_wire::{json::top_level, splice::Splice};
///
/// let body = br#"{"model": "fast", "seed":1.0, "n": 1}"#;
/// let spans = top_level(body)?;
/// let mut splice = Splice::new(body, &spans);
/// splice.set_str("model", "upstream-1");
/// splice.rename("seed", "random_seed");
/// splice.remove("n");
/// splice.set("stream_options", r#"{"include_usage":true}"#);
/// assert_eq!(splice.apply(), r#"{"model": "upstream-1", "random_seed":1.0,"stream_options":{"include_usage":true}}"#);
/// # Ok::<(), gateway_core::WireError>(())
/// ```
#[derive(Debug)]
pub struct Splice<'a> {
    body: &'a [u8],
    spans: &'a [KeySpan],
    edits: Vec<(Cow<'a, str>, Edit<'a>)>,
}

#[derive(Debug)]
enum Edit<'a> {
    /// Replace every value, or add the key.
    Set(Cow<'a, str>),
    Remove,
    /// Replace every key's text.
    Rename(Cow<'a, str>),
}

impl<'a> Splice<'a> {
    /// No edits yet. `spans` are what [`crate::json::top_level`] found in `body`.
    #[must_use]
    pub fn new(body: &'a [u8], spans: &'a [KeySpan]) -> Self {
        Self { body, spans, edits: Vec::new() }
    }

    /// Whether the body has the key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.spans.iter().any(|span| self.is_key(span, key))
    }

    /// The value the body has under the key: the last, which is what JSON parsers keep. Edits do not show.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&'a [u8]> {
        self.values(key).next_back()
    }

    /// Every value the body has under the key, in order. Edits do not show.
    pub(crate) fn values(&self, key: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.spans.iter().filter(move |span| self.is_key(span, key)).filter_map(|span| self.body.get(span.value.clone()))
    }

    /// The body's keys, unescaped, in order.
    pub fn keys(&self) -> impl Iterator<Item = Cow<'a, str>> {
        let body = self.body;
        self.spans.iter().map(move |span| unescaped(body, span.key.clone()))
    }

    /// Replaces the key's value by JSON text, or adds the key at the end.
    pub fn set(&mut self, key: impl Into<Cow<'a, str>>, json: impl Into<Cow<'a, str>>) {
        self.edit(key.into(), Edit::Set(json.into()));
    }

    /// Replaces the key's value by a string, or adds the key at the end.
    pub fn set_str(&mut self, key: impl Into<Cow<'a, str>>, text: &str) {
        let mut json = BytesMut::new();
        write_str(&mut json, text);
        // What `write_str` writes is its UTF-8 input plus ASCII.
        self.edit(key.into(), Edit::Set(Cow::Owned(String::from_utf8_lossy(&json).into_owned())));
    }

    /// Takes the key out.
    pub fn remove(&mut self, key: impl Into<Cow<'a, str>>) {
        self.edit(key.into(), Edit::Remove);
    }

    /// Gives the key another name; what stood under that name is taken out. Without the key nothing happens.
    pub fn rename(&mut self, from: impl Into<Cow<'a, str>>, to: impl Into<Cow<'a, str>>) {
        let (from, to) = (from.into(), to.into());
        if self.has(&from) && from != to {
            self.edit(to.clone(), Edit::Remove);
            self.edit(from, Edit::Rename(to));
        }
    }

    /// The edited body.
    #[must_use]
    pub fn apply(&self) -> Bytes {
        let growth: usize = self.edits.iter().map(|(key, edit)| key.len() + edit.size() + 8).sum();
        let mut out = BytesMut::with_capacity(self.body.len() + growth);
        let mut done = vec![false; self.edits.len()];
        // What has been copied so far, and whether a member stands before the cursor.
        let mut copied = 0;
        let mut any = false;
        for (n, span) in self.spans.iter().enumerate() {
            let found = self.edits.iter().position(|(key, _)| self.is_key(span, key));
            let edit = found.map(|at| {
                done[at] = true;
                &self.edits[at].1
            });
            match edit {
                Some(Edit::Remove) => {
                    // A first member goes with the comma after it, any other with the comma before it.
                    let from = if any { self.spans[n - 1].value.end } else { opening_quote(span) };
                    let to = match self.spans.get(n + 1) {
                        Some(next) if !any => opening_quote(next),
                        Some(_) | None => span.value.end,
                    };
                    self.copy(&mut out, copied..from.max(copied));
                    copied = to;
                }
                Some(Edit::Set(json)) => {
                    self.copy(&mut out, copied..span.value.start);
                    out.extend_from_slice(json.as_bytes());
                    copied = span.value.end;
                    any = true;
                }
                Some(Edit::Rename(to)) => {
                    self.copy(&mut out, copied..opening_quote(span));
                    write_str(&mut out, to);
                    copied = span.key.end + 1;
                    any = true;
                }
                None => any = true,
            }
        }
        self.add(&mut out, copied, any, &done);
        out.freeze()
    }

    /// Copies up to the closing brace, puts the keys that the body does not have before it, and copies the rest.
    fn add(&self, out: &mut BytesMut, mut copied: usize, mut any: bool, done: &[bool]) {
        for ((key, edit), done) in self.edits.iter().zip(done) {
            let Edit::Set(json) = edit else { continue };
            if *done {
                continue;
            }
            let end = match self.spans.last() {
                Some(last) => last.value.end,
                None => memchr::memchr(b'{', self.body).map_or(0, |at| at + 1),
            };
            if copied < end {
                self.copy(out, copied..end);
                copied = end;
            }
            if any {
                out.extend_from_slice(b",");
            }
            write_str(out, key);
            out.extend_from_slice(b":");
            out.extend_from_slice(json.as_bytes());
            any = true;
        }
        self.copy(out, copied..self.body.len());
    }

    fn copy(&self, out: &mut BytesMut, range: Range<usize>) {
        out.extend_from_slice(self.body.get(range).unwrap_or_default());
    }

    fn edit(&mut self, key: Cow<'a, str>, edit: Edit<'a>) {
        match self.edits.iter_mut().find(|(edited, _)| *edited == key) {
            Some((_, standing)) => *standing = edit,
            None => self.edits.push((key, edit)),
        }
    }

    fn is_key(&self, span: &KeySpan, key: &str) -> bool {
        let written = self.body.get(span.key.clone()).unwrap_or_default();
        written == key.as_bytes() || (written.contains(&b'\\') && unescaped(self.body, span.key.clone()) == key)
    }
}

impl Edit<'_> {
    fn size(&self) -> usize {
        match self {
            Self::Set(text) | Self::Rename(text) => text.len(),
            Self::Remove => 0,
        }
    }
}

/// Where the key's text begins, quote included. Places that are not of the body make nonsense, never a panic.
fn opening_quote(span: &KeySpan) -> usize {
    span.key.start.saturating_sub(1)
}

fn unescaped(body: &[u8], key: Range<usize>) -> Cow<'_, str> {
    let written = body.get(key.clone()).unwrap_or_default();
    if written.contains(&b'\\')
        && let Some(Ok(text)) = body.get(key.start.saturating_sub(1)..key.end + 1).map(serde_json::from_slice::<String>)
    {
        return Cow::Owned(text);
    }
    String::from_utf8_lossy(written)
}

#[cfg(test)]
mod tests;
