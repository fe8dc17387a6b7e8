//! What one scan of a request's top level tells, without decoding it.

use std::ops::Range;

/// What the caller wants done. Anything but [`Operation::Chat`] is served only by a provider of the same protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// An answer from a model.
    Chat,
    /// The size of a prompt; free of charge.
    CountTokens,
}

/// Keys of ours that a request may carry; they are removed before it goes upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Controls {
    /// `models`: the caller's own ordered list, in place of the route's.
    pub models: Option<Vec<Box<str>>>,
    /// `fallbacks`: what to try after `model`, in place of the route's.
    pub fallbacks: Option<Vec<Box<str>>>,
    /// `disable_fallbacks`, or the header `x-bellwether-fallbacks: none`.
    pub disable_fallbacks: bool,
    /// `strict`, or the header `x-bellwether-strict: true`: a loss is an error.
    pub strict: bool,
    /// `max_total_cost`, or the header `x-bellwether-max-total-cost`, the smaller of them: what the call may cost at most over
    /// all of its attempts, in billionths.
    pub max_total_cost: Option<u64>,
    /// The header `x-bellwether-receipt: true`: the signed receipt goes along with a whole answer.
    pub receipt: bool,
}

/// How large the prompt can be, for the money held before the call. Base64 data is not counted as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InputSize {
    /// Bytes of the body that may be prompt text; media data excluded.
    pub text_bytes: u64,
    /// Bytes of the strings in the prompt itself: messages, instructions, tools. What else the body says (limits, names,
    /// metadata, the keys of its objects) is left out, so that it is no more than what the caller wrote for the model.
    pub prompt_bytes: u64,
    /// Messages and declared tools, each of which costs a few tokens of template.
    pub items: u32,
    /// Media parts, inline or by reference.
    pub media: u32,
    /// Decoded bytes of inline media data.
    pub media_bytes: u64,
    /// How often the provider may use tools that it runs itself (searches, code, connected servers), as far as the request
    /// says. What they find becomes input that the body does not hold. Zero: the prompt is all in the body.
    pub provider_tool_uses: u32,
}

/// Where one top-level key and its value stand in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpan {
    /// The key's text between its quotes, still escaped.
    pub key: Range<usize>,
    /// The value, from its first to its last byte.
    pub value: Range<usize>,
}

/// What [`crate::Ingress::peek`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// What is asked.
    pub operation: Operation,
    /// The model the caller named.
    pub model: Box<str>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Whether the caller wants usage in the stream; where the protocol always sends it, true.
    pub stream_usage: bool,
    /// The caller's own output limit, in tokens per choice.
    pub output_limit: Option<u32>,
    /// How many choices were asked for; at least 1.
    pub choices: u32,
    /// Keys addressed to the gateway.
    pub controls: Controls,
    /// Bound on the prompt.
    pub input: InputSize,
    /// The body holds a sealed part of another protocol's, so it must be decoded to return it to its issuer.
    pub foreign_seal: bool,
    /// Every top-level key, in order. A repeated key appears as often as it was written.
    pub spans: Vec<KeySpan>,
    /// Where the prompt stands in the body, as it was sent: tools and instructions first, then the conversation, which is the
    /// order in which models read them. Empty where the codec does not tell.
    pub prompt: Vec<Range<usize>>,
}

impl Peek {
    /// A whole-answer chat request for `model` with nothing else known. For tests and hand-made calls.
    #[must_use]
    pub fn chat(model: impl Into<Box<str>>) -> Self {
        Self {
            operation: Operation::Chat,
            model: model.into(),
            stream: false,
            stream_usage: false,
            output_limit: None,
            choices: 1,
            controls: Controls::default(),
            input: InputSize::default(),
            foreign_seal: false,
            spans: Vec::new(),
            prompt: Vec::new(),
        }
    }

    /// The last span whose key is `key`, however it is escaped. The last, because that is what JSON parsers keep.
    #[must_use]
    pub fn span<'s>(&'s self, body: &[u8], key: &str) -> Option<&'s KeySpan> {
        self.spans.iter().rev().find(|span| span.is_key(body, key))
    }
}

impl KeySpan {
    fn is_key(&self, body: &[u8], key: &str) -> bool {
        let written = body.get(self.key.clone()).unwrap_or_default();
        if !written.contains(&b'\\') {
            return written == key.as_bytes();
        }
        let quoted = body.get(self.key.start.saturating_sub(1)..self.key.end + 1).unwrap_or_default();
        serde_json::from_slice::<String>(quoted).is_ok_and(|text| text == key)
    }
}

#[cfg(test)]
mod tests {
    use super::{KeySpan, Peek};

    #[test]
    fn a_span_is_found_however_its_key_is_escaped() {
        let body = br#"{"tier":1,"t\u0069er":2,"t\ier":3}"#;
        let span = |key: std::ops::Range<usize>| KeySpan { value: key.end + 2..key.end + 3, key };
        let peek = Peek { spans: vec![span(2..6), span(11..20), span(25..30)], ..Peek::chat("m") };
        let value = |key: &str| peek.span(body, key).map(|span| &body[span.value.clone()]);
        assert_eq!(value("tier"), Some(&b"2"[..]));
        assert_eq!(value(r"t\u0069er"), None);
        assert_eq!(value("other"), None);
    }
}
