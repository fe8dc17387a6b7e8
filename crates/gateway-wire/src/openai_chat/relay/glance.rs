//! One look at a chunk or a whole answer: where the model's name stands, and what the meter wants to know. Allocates only for usage.

use std::ops::Range;

use gateway_core::{Usage, WireError, ir::FinishReason};

use crate::{
    json::{Cursor, Json, Kind},
    openai_chat::{answer::usage_from, finish},
};

/// What was seen of all chunks so far, or of the answer.
#[derive(Debug, Default)]
pub(super) struct Seen {
    choices: Vec<SeenChoice>,
}

#[derive(Debug)]
struct SeenChoice {
    index: u64,
    spoke: bool,
    called: bool,
    finished: bool,
}

impl Seen {
    /// Every choice came with a message, and there is one.
    pub(super) fn is_answer(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| choice.spoke)
    }

    pub(super) fn is_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finished)
    }

    fn choice(&mut self, index: u64) -> &mut SeenChoice {
        let at = self.choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
            self.choices.push(SeenChoice { index, spoke: false, called: false, finished: false });
            self.choices.len() - 1
        });
        &mut self.choices[at]
    }
}

/// One chunk, or a whole answer.
#[derive(Debug, Default)]
pub(super) struct Glance {
    /// The last one, where the key is repeated.
    pub(super) model: Option<Range<usize>>,
    pub(super) models: usize,
    /// The last one of these, where it is an object.
    pub(super) usage_at: Option<Range<usize>>,
    pub(super) usages: usize,
    pub(super) content_bytes: usize,
    pub(super) commits: bool,
    pub(super) finishes: Vec<FinishReason>,
    pub(super) usage: Option<Usage>,
    /// Usage and no choices: the frame that `include_usage` adds.
    pub(super) is_only_usage: bool,
    pub(super) is_error: bool,
}

impl Glance {
    pub(super) fn at(data: &[u8], seen: &mut Seen) -> Result<Self, WireError> {
        let mut glance = Self::default();
        let mut cursor = Cursor::new(data);
        let (mut first, mut no_choices) = (true, true);
        let (mut groq, mut tier) = (None, None);
        while let Some(key) = cursor.key(std::mem::take(&mut first))? {
            match cursor.bytes(key) {
                b"choices" if cursor.kind()? == Kind::Array => {
                    let mut n = 0;
                    while cursor.element(n == 0)? {
                        glance.choice(&mut cursor, n, seen)?;
                        n += 1;
                    }
                    no_choices = n == 0;
                }
                b"model" => {
                    let range = cursor.value()?;
                    glance.models += 1;
                    glance.model = (cursor.bytes(range.clone()).first() == Some(&b'"')).then_some(range);
                }
                b"usage" => {
                    glance.usages += 1;
                    glance.usage_at = present(&mut cursor)?;
                }
                b"x_groq" => groq = present(&mut cursor)?,
                b"service_tier" => tier = present(&mut cursor)?,
                b"error" => glance.is_error |= present(&mut cursor)?.is_some(),
                _ => {
                    cursor.value()?;
                }
            }
        }
        cursor.end()?;
        if glance.usage_at.is_some() || groq.is_some() {
            let value = |range: &Option<Range<usize>>| range.clone().map(|range| Json::parse(cursor.bytes(range))).transpose();
            glance.usage = usage_from(value(&glance.usage_at)?, value(&groq)?, value(&tier)?);
        }
        glance.is_only_usage = glance.usage.is_some() && no_choices;
        Ok(glance)
    }

    fn choice(&mut self, cursor: &mut Cursor<'_>, n: u64, seen: &mut Seen) -> Result<(), WireError> {
        let (mut first, mut index, mut called, mut native) = (true, n, false, None);
        let (mut has_delta, mut message) = (false, None);
        while let Some(key) = cursor.key(std::mem::take(&mut first))? {
            match cursor.bytes(key) {
                b"index" => {
                    let range = cursor.value()?;
                    index = std::str::from_utf8(cursor.bytes(range)).ok().and_then(|text| text.parse().ok()).unwrap_or(n);
                }
                b"delta" if cursor.kind()? == Kind::Object => {
                    has_delta = true;
                    called |= self.delta(cursor)?;
                }
                b"message" if cursor.kind()? == Kind::Object => message = Some(cursor.value()?),
                b"finish_reason" if cursor.kind()? == Kind::String => {
                    let range = cursor.string()?;
                    native = Some(range).filter(|range| !range.is_empty());
                }
                _ => {
                    cursor.value()?;
                }
            }
        }
        let spoke = has_delta || message.is_some();
        // Beside a delta, a message repeats what all of them said.
        if let (Some(message), false) = (message, has_delta) {
            called |= self.delta(&mut Cursor::new(cursor.bytes(message)))?;
        }
        let choice = seen.choice(index);
        choice.spoke |= spoke;
        choice.called |= called;
        if let Some(native) = native
            && !choice.finished
        {
            choice.finished = true;
            let native = std::str::from_utf8(cursor.bytes(native)).unwrap_or_default();
            self.finishes.push(finish::decode(native, choice.called).reason);
            self.commits = true;
        }
        Ok(())
    }

    /// Counts a delta's content; true when it holds a tool call.
    fn delta(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, WireError> {
        let (mut first, mut called) = (true, false);
        let mut thoughts = Thoughts::default();
        while let Some(key) = cursor.key(std::mem::take(&mut first))? {
            match (cursor.bytes(key), cursor.kind()?) {
                (b"content", Kind::Array) => {
                    let text = cursor.value()?;
                    self.parts(cursor.bytes(text))?;
                }
                (b"content" | b"refusal", Kind::String) => {
                    let text = cursor.string()?;
                    self.text(unescaped_len(cursor.bytes(text)));
                }
                (b"reasoning_content", Kind::String) => {
                    let text = cursor.string()?;
                    thoughts.content = unescaped_len(cursor.bytes(text));
                }
                (b"reasoning", Kind::String) => {
                    let text = cursor.string()?;
                    thoughts.plain = unescaped_len(cursor.bytes(text));
                }
                (b"reasoning_details", Kind::Array) => {
                    let text = cursor.value()?;
                    thoughts.details = details_len(cursor.bytes(text))?;
                }
                (b"tool_calls" | b"function_call", Kind::Array | Kind::Object) => {
                    let calls = cursor.value()?;
                    called |= self.calls(cursor.bytes(calls))?;
                }
                (_, _) => {
                    cursor.value()?;
                }
            }
        }
        self.text(thoughts.len());
        Ok(called)
    }

    fn text(&mut self, bytes: usize) {
        self.content_bytes += bytes;
        self.commits |= bytes > 0;
    }

    /// Content as parts, as Mistral sends thinking: rare, so read in full.
    fn parts(&mut self, text: &[u8]) -> Result<(), WireError> {
        use gateway_core::ir::PartBody;
        for part in crate::openai_chat::parts::decode(Json::parse(text)?)? {
            match &part.body {
                PartBody::Text { text, .. } | PartBody::Reasoning(text) | PartBody::Refusal(text) => self.text(text.len()),
                PartBody::Media(_) | PartBody::Opaque { .. } => self.commits = true,
                PartBody::ToolCall(_) | PartBody::ToolResult(_) => {}
            }
        }
        Ok(())
    }

    /// Counts the argument text of calls, wherever it stands; true when there is a call at all.
    fn calls(&mut self, text: &[u8]) -> Result<bool, WireError> {
        let mut cursor = Cursor::new(text);
        if cursor.kind()? == Kind::Object {
            self.call(&mut cursor)?;
            self.commits = true;
            return Ok(true);
        }
        let mut n = 0;
        while cursor.element(n == 0)? {
            n += 1;
            self.call(&mut cursor)?;
        }
        // The start of a call commits; pieces of its arguments come after it.
        self.commits |= n > 0;
        Ok(n > 0)
    }

    fn call(&mut self, cursor: &mut Cursor<'_>) -> Result<(), WireError> {
        let mut first = true;
        while let Some(key) = cursor.key(std::mem::take(&mut first))? {
            match (cursor.bytes(key), cursor.kind()?) {
                (b"function" | b"custom", Kind::Object) => self.call(cursor)?,
                (b"arguments" | b"input", Kind::String) => {
                    let text = cursor.string()?;
                    self.text(unescaped_len(cursor.bytes(text)));
                }
                (b"arguments" | b"input", Kind::Object) => {
                    let text = cursor.value()?;
                    self.text(text.len());
                }
                (_, _) => {
                    cursor.value()?;
                }
            }
        }
        Ok(())
    }
}

/// Three fields may repeat one thought; the decoder reads the details, else `reasoning_content`, else `reasoning`.
#[derive(Default)]
struct Thoughts {
    content: usize,
    plain: usize,
    details: usize,
}

impl Thoughts {
    fn len(&self) -> usize {
        [self.details, self.content, self.plain].into_iter().find(|bytes| *bytes > 0).unwrap_or(0)
    }
}

fn details_len(text: &[u8]) -> Result<usize, WireError> {
    let mut bytes = 0;
    for item in Json::parse(text)?.array()? {
        let fields = item.fields()?;
        if let Some(text) = fields.peek("text").or(fields.peek("summary")) {
            bytes += text.str()?.len();
        }
    }
    Ok(bytes)
}

/// Where the next value stands, unless it is null.
fn present(cursor: &mut Cursor<'_>) -> Result<Option<Range<usize>>, WireError> {
    let range = cursor.value()?;
    Ok((cursor.bytes(range.clone()) != b"null").then_some(range))
}

/// Bytes of a string after unescaping.
fn unescaped_len(text: &[u8]) -> usize {
    let mut bytes = text.len();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', text.get(at..).unwrap_or_default()) {
        at += found;
        if text.get(at + 1) == Some(&b'u') {
            let code =
                text.get(at + 2..at + 6).and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u32::from_str_radix(hex, 16).ok());
            // A surrogate is half of a character of four bytes.
            bytes -= match code {
                Some(0..0x80) => 5,
                Some(0x80..0x800 | 0xd800..0xe000) => 4,
                Some(_) | None => 3,
            };
            at += 6;
        } else {
            bytes -= 1;
            at += 2;
        }
    }
    bytes
}
