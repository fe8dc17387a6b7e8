//! The one pass over a request body: where its top-level keys stand, and how large the prompt can be.

use std::{borrow::Cow, ops::Range};

use gateway_core::{InputSize, KeySpan, WireError};
use memchr::memmem;

use super::cursor::{Cursor, DEPTH_MAX, Kind, too_deep};

/// What [`scan`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Every top-level key and value, in order, repetitions included.
    pub spans: Vec<KeySpan>,
    /// The bound on the prompt.
    pub input: InputSize,
    /// The values that the prompt is made of, the conversation last.
    pub prompt: Vec<Range<usize>>,
    /// A string begins with the tag of a sealed envelope, see [`crate::seal`].
    pub sealed: bool,
}

/// What a protocol's prompt is made of.
#[derive(Debug, Clone, Copy)]
pub struct SizeRules {
    /// Top-level arrays whose elements are counted as items: messages, tools. They and the media zones are the prompt. The
    /// first is the conversation.
    pub item_keys: &'static [&'static str],
    /// Top-level keys below which media parts may stand.
    pub media_zones: &'static [&'static str],
    /// Keys that hold one media part each, as an object or as a string (`image_url`, `source`, `inlineData`). Base64
    /// and `data:` URLs directly in such an object are media, not text.
    pub media_keys: &'static [&'static str],
    /// Types of the elements of `tools` that the caller runs; one that ends in `_` stands for all that begin so. An
    /// element of any other type is run by the provider; without a type it is the caller's.
    pub callers_tools: &'static [&'static str],
    /// Top-level keys that let the provider run tools of its own, unless their value is empty.
    pub provider_tools: &'static [&'static str],
}

/// How often a tool of the provider's is taken to be used where the request does not say.
const TOOL_USES: u32 = 10;
/// No provider searches oftener for one answer, whatever a request allows.
const TOOL_USES_MAX: u32 = 50;

/// Finds every top-level key and value of an object, and checks the document on the way: UTF-8, syntax, nesting.
///
/// # Errors
/// The document is not well-formed, is nested too deeply, or is no object.
pub fn top_level(body: &[u8]) -> Result<Vec<KeySpan>, WireError> {
    check_utf8(body)?;
    let mut cursor = Cursor::new(body);
    let mut spans = Vec::with_capacity(16);
    while let Some(key) = cursor.key(spans.is_empty())? {
        spans.push(KeySpan { key, value: cursor.value()? });
    }
    cursor.end()?;
    Ok(spans)
}

/// [`top_level`] that also sizes the prompt and looks for sealed envelopes.
///
/// # Errors
/// As [`top_level`].
pub fn scan(body: &[u8], rules: &SizeRules) -> Result<Scan, WireError> {
    check_utf8(body)?;
    let mut cursor = Cursor::new(body);
    let mut spans = Vec::with_capacity(16);
    let (mut prompt, mut conversation) = (Vec::with_capacity(4), None);
    let mut sizer = Sizer { rules, input: InputSize::default(), in_media_zone: false, in_prompt: false, tool: None };
    while let Some(key) = cursor.key(spans.is_empty())? {
        let name = unescaped(&cursor, key.clone());
        sizer.in_media_zone = contains(rules.media_zones, &name);
        let items = if contains(rules.item_keys, &name) { Items::Elements } else { Items::None };
        sizer.in_prompt = sizer.in_media_zone || matches!(items, Items::Elements);
        sizer.tool = (&*name == b"tools").then(Tool::default);
        cursor.kind()?;
        let start = cursor.at();
        sizer.value(&mut cursor, Place { depth: 1, in_media: false, under: b"" }, items)?;
        let value = start..cursor.at();
        if contains(rules.provider_tools, &name) && !matches!(cursor.bytes(value.clone()), b"null" | b"false" | b"[]") {
            sizer.provider_uses(TOOL_USES);
        }
        if rules.item_keys.first().is_some_and(|first| first.as_bytes() == &*name) {
            conversation = Some(value.clone());
        } else if sizer.in_prompt {
            prompt.push(value.clone());
        }
        spans.push(KeySpan { key, value });
    }
    cursor.end()?;
    prompt.extend(conversation);
    Ok(Scan { spans, input: sizer.input, prompt, sealed: holds_seal(body) })
}

/// Whether the document is text.
///
/// # Errors
/// It is not, and from which byte on.
pub(crate) fn check_utf8(body: &[u8]) -> Result<(), WireError> {
    match std::str::from_utf8(body) {
        Ok(_) => Ok(()),
        Err(e) => Err(WireError::new(format!("the body is not valid UTF-8 at byte {}", e.valid_up_to()))),
    }
}

/// A key as its readers see it: whoever is sent the body unescapes it, so `sour\u0063e` is `source`. What is no valid
/// escape stays as written; nobody can read it as a key that matters.
fn unescaped<'b>(cursor: &Cursor<'b>, key: Range<usize>) -> Cow<'b, [u8]> {
    let written = cursor.bytes(key.clone());
    if !written.contains(&b'\\') {
        return Cow::Borrowed(written);
    }
    match serde_json::from_slice::<String>(cursor.bytes(key.start.saturating_sub(1)..key.end + 1)) {
        Ok(text) => Cow::Owned(text.into_bytes()),
        Err(_) => Cow::Borrowed(written),
    }
}

fn contains(keys: &[&str], name: &[u8]) -> bool {
    keys.iter().any(|key| key.as_bytes() == name)
}

/// Whether a string begins with the tag of an envelope. A prompt that merely quotes one only costs the fast path.
fn holds_seal(body: &[u8]) -> bool {
    memmem::find_iter(body, b"\"bw1").any(|at| matches!(body.get(at + 4), Some(b'/' | b'.')))
}

#[derive(Clone, Copy)]
enum Items {
    None,
    Elements,
}

#[derive(Clone, Copy)]
struct Place<'b> {
    depth: u32,
    /// The enclosing object is a media part.
    in_media: bool,
    /// The key the value stands under; for an array's elements, the array's.
    under: &'b [u8],
}

struct Sizer<'r> {
    rules: &'r SizeRules,
    input: InputSize,
    in_media_zone: bool,
    in_prompt: bool,
    /// Below `tools`, the element that is being read.
    tool: Option<Tool>,
}

#[derive(Clone, Copy, Default)]
struct Tool {
    by_provider: bool,
    uses_max: Option<u32>,
}

/// Where the fields of the elements of a top-level array stand.
const DEPTH_OF_FIELDS: u32 = 3;

impl Sizer<'_> {
    // Recursion is bounded by the nesting limit, which is checked first.
    fn value(&mut self, cursor: &mut Cursor<'_>, place: Place<'_>, items: Items) -> Result<(), WireError> {
        let kind = cursor.kind()?;
        if place.depth >= DEPTH_MAX && matches!(kind, Kind::Object | Kind::Array) {
            return Err(too_deep());
        }
        let is_media = self.in_media_zone && contains(self.rules.media_keys, place.under);
        match kind {
            Kind::Object => {
                self.input.media = self.input.media.saturating_add(u32::from(is_media));
                self.object(cursor, Place { in_media: is_media, ..place })
            }
            Kind::Array => {
                let mut first = true;
                while cursor.element(first)? {
                    first = false;
                    self.input.items = self.input.items.saturating_add(u32::from(matches!(items, Items::Elements)));
                    self.value(cursor, Place { depth: place.depth + 1, ..place }, Items::None)?;
                    if matches!(items, Items::Elements) {
                        self.end_of_item();
                    }
                }
                Ok(())
            }
            Kind::String => {
                let range = cursor.string()?;
                let text = cursor.bytes(range);
                if let Some(tool) = &mut self.tool
                    && place.depth == DEPTH_OF_FIELDS
                    && place.under == b"type"
                {
                    tool.by_provider |= !callers(self.rules.callers_tools, text);
                }
                // A direct string (`"image_url": "data:…"`) is the part itself.
                self.input.media = self.input.media.saturating_add(u32::from(is_media && !place.in_media));
                match media_bytes(text, is_media || place.in_media, place.under) {
                    Some(bytes) => self.input.media_bytes = self.input.media_bytes.saturating_add(bytes),
                    None => {
                        self.text(text.len());
                        let prompt = if self.in_prompt { text.len() as u64 } else { 0 };
                        self.input.prompt_bytes = self.input.prompt_bytes.saturating_add(prompt);
                    }
                }
                Ok(())
            }
            Kind::Number | Kind::Bool | Kind::Null => {
                let range = cursor.scalar()?;
                self.text(range.len());
                if let Some(tool) = &mut self.tool
                    && place.depth == DEPTH_OF_FIELDS
                    && place.under == b"max_uses"
                {
                    let uses = std::str::from_utf8(cursor.bytes(range)).ok().and_then(|text| text.parse().ok());
                    tool.uses_max = uses.max(tool.uses_max);
                }
                Ok(())
            }
        }
    }

    fn object(&mut self, cursor: &mut Cursor<'_>, place: Place<'_>) -> Result<(), WireError> {
        let mut first = true;
        while let Some(key) = cursor.key(first)? {
            first = false;
            self.text(key.len());
            let under = unescaped(cursor, key);
            self.value(cursor, Place { depth: place.depth + 1, in_media: place.in_media, under: &under }, Items::None)?;
        }
        Ok(())
    }

    fn end_of_item(&mut self) {
        let Some(tool) = self.tool.as_mut().map(std::mem::take) else { return };
        if tool.by_provider {
            self.provider_uses(tool.uses_max.unwrap_or(TOOL_USES).clamp(1, TOOL_USES_MAX));
        }
    }

    fn provider_uses(&mut self, times: u32) {
        self.input.provider_tool_uses = self.input.provider_tool_uses.saturating_add(times).min(TOOL_USES_MAX);
    }

    fn text(&mut self, bytes: usize) {
        self.input.text_bytes = self.input.text_bytes.saturating_add(bytes as u64);
    }
}

/// Whether the caller runs tools of a type. An escaped one is compared as written, and so taken for the provider's.
fn callers(types: &[&str], found: &[u8]) -> bool {
    types.iter().any(|of| if of.ends_with('_') { found.starts_with(of.as_bytes()) } else { found == of.as_bytes() })
}

/// How many bytes a string decodes to if it is media data.
fn media_bytes(text: &[u8], in_media: bool, key: &[u8]) -> Option<u64> {
    if !in_media {
        return None;
    }
    let data = if text.starts_with(b"data:") {
        let head = &text[..text.len().min(256)];
        &text[memmem::find(head, b";base64,")? + b";base64,".len()..]
    } else if key == b"data" || key == b"file_data" {
        text
    } else {
        return None;
    };
    is_base64(data).then_some(data.len() as u64 / 4 * 3)
}

/// Chunked and branch-free inside, so that the compiler vectorises it: an image is megabytes.
fn is_base64(text: &[u8]) -> bool {
    // The backslash is for writers that escape `/`.
    let fits = |b: u8| b.is_ascii_alphanumeric() | matches!(b, b'+' | b'/' | b'=' | b'-' | b'_' | b'\\');
    text.chunks(128).all(|chunk| chunk.iter().fold(true, |ok, &b| ok & fits(b)))
}
