//! The scanner: walks JSON text strictly, without recursion, and says where things stand.

use std::ops::Range;

use gateway_core::WireError;
use memchr::memchr2;

/// Deepest nesting that is accepted. A deeper document is refused before any recursive reader sees it.
pub const DEPTH_MAX: u32 = 128;

/// What kind of value a JSON text is; known from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

impl Kind {
    /// With its article, for error messages.
    #[must_use]
    pub const fn described(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Bool => "a boolean",
            Self::Null => "null",
        }
    }
}

/// A position in JSON text. Raw control characters inside strings are let through (they cannot move a boundary);
/// whoever decodes a string refuses them.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where it stands.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The bytes of a range this cursor returned.
    #[must_use]
    pub fn bytes(&self, range: Range<usize>) -> &'a [u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    /// The next byte that is not white space, which stays unread.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// The kind of the value that comes next.
    ///
    /// # Errors
    /// No value can begin here.
    pub fn kind(&mut self) -> Result<Kind, WireError> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) | None => Err(self.expected("a value")),
        }
    }

    /// Reads one punctuation byte if it comes next.
    pub fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Reads one punctuation byte.
    ///
    /// # Errors
    /// Something else comes next.
    pub fn need(&mut self, byte: u8, described: &str) -> Result<(), WireError> {
        if self.eat(byte) { Ok(()) } else { Err(self.expected(described)) }
    }

    /// Reads `{` or the comma after a member, then the key and its colon. `None` at the closing brace, which is read.
    /// `first` must be true on the first call for an object. The range is the key's text between its quotes.
    ///
    /// # Errors
    /// The text is not an object.
    pub fn key(&mut self, first: bool) -> Result<Option<Range<usize>>, WireError> {
        if first {
            self.need(b'{', "an object")?;
            if self.eat(b'}') {
                return Ok(None);
            }
        } else if !self.eat(b',') {
            self.need(b'}', "`,` or `}`")?;
            return Ok(None);
        }
        let key = self.string()?;
        self.need(b':', "`:` after a key")?;
        Ok(Some(key))
    }

    /// Reads `[` or the comma after an element; false at the closing bracket, which is read. The element itself is
    /// unread.
    ///
    /// # Errors
    /// The text is not an array.
    pub fn element(&mut self, first: bool) -> Result<bool, WireError> {
        if first {
            self.need(b'[', "an array")?;
            return Ok(!self.eat(b']'));
        }
        if self.eat(b',') {
            return Ok(true);
        }
        self.need(b']', "`,` or `]`").map(|()| false)
    }

    /// Reads a string; the range is its text between the quotes.
    ///
    /// # Errors
    /// No string comes next, or it has no end.
    pub fn string(&mut self) -> Result<Range<usize>, WireError> {
        self.need(b'"', "a string")?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                return Err(WireError::new(format!("the JSON string that begins at byte {} has no end", start.saturating_sub(1))));
            };
            self.at += found + 1;
            if rest[found] == b'"' {
                return Ok(start..self.at - 1);
            }
            // Whatever is escaped is one byte that cannot end the string; past the end, the next search fails.
            self.at += 1;
        }
    }

    /// Reads one value of any kind; the range is the value itself.
    ///
    /// # Errors
    /// Malformed JSON, or nesting deeper than [`DEPTH_MAX`].
    pub fn value(&mut self) -> Result<Range<usize>, WireError> {
        match self.kind()? {
            Kind::Object | Kind::Array => self.container(),
            Kind::String | Kind::Number | Kind::Bool | Kind::Null => self.scalar(),
        }
    }

    /// Nothing but white space is left.
    ///
    /// # Errors
    /// Something else is.
    pub fn end(&mut self) -> Result<(), WireError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end of the document")),
        }
    }

    pub(super) fn scalar(&mut self) -> Result<Range<usize>, WireError> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::String => {
                self.string()?;
            }
            Kind::Number => self.number()?,
            Kind::Bool | Kind::Null => {
                let rest = &self.bytes[start..];
                let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word.as_bytes()));
                self.at += word.ok_or_else(|| self.expected("`true`, `false` or `null`"))?.len();
            }
            Kind::Object | Kind::Array => return Err(self.expected("a string, a number, a boolean or null")),
        }
        Ok(start..self.at)
    }

    fn container(&mut self) -> Result<Range<usize>, WireError> {
        let start = self.at;
        let mut stack = Stack::default();
        loop {
            // A value comes next.
            match self.kind()? {
                Kind::Object => {
                    self.at += 1;
                    if !self.eat(b'}') {
                        stack.push(true).ok_or_else(too_deep)?;
                        self.member_key()?;
                        continue;
                    }
                }
                Kind::Array => {
                    self.at += 1;
                    if !self.eat(b']') {
                        stack.push(false).ok_or_else(too_deep)?;
                        continue;
                    }
                }
                Kind::String | Kind::Number | Kind::Bool | Kind::Null => {
                    self.scalar()?;
                }
            }
            // A value is complete; close what it completes.
            loop {
                match stack.top() {
                    None => return Ok(start..self.at),
                    Some(_) if self.eat(b',') => break,
                    Some(true) => self.need(b'}', "`,` or `}`")?,
                    Some(false) => self.need(b']', "`,` or `]`")?,
                }
                stack.pop();
            }
            if stack.top() == Some(true) {
                self.member_key()?;
            }
        }
    }

    fn member_key(&mut self) -> Result<(), WireError> {
        self.string()?;
        self.need(b':', "`:` after a key")
    }

    fn number(&mut self) -> Result<(), WireError> {
        let start = self.at;
        self.at += usize::from(self.bytes.get(self.at) == Some(&b'-'));
        let whole = self.digits();
        let leading_zero = whole > 1 && self.bytes.get(self.at - whole) == Some(&b'0');
        let mut well = whole > 0 && !leading_zero;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            well &= self.digits() > 0;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            well &= self.digits() > 0;
        }
        if well { Ok(()) } else { Err(WireError::new(format!("the JSON number at byte {start} is malformed"))) }
    }

    fn digits(&mut self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    pub(super) fn expected(&mut self, what: &str) -> WireError {
        match self.peek() {
            Some(_) => WireError::new(format!("not valid JSON: expected {what} at byte {}", self.at)),
            None => WireError::new(format!("not valid JSON: expected {what}, but it ends after {} bytes", self.bytes.len())),
        }
    }
}

pub(super) fn too_deep() -> WireError {
    WireError::new(format!("the JSON is nested deeper than {DEPTH_MAX} levels"))
}

/// Which containers are open, one bit each: set for an object.
#[derive(Default)]
struct Stack {
    bits: u128,
    depth: u32,
}

impl Stack {
    fn push(&mut self, object: bool) -> Option<()> {
        if self.depth == DEPTH_MAX {
            return None;
        }
        self.bits = (self.bits << 1) | u128::from(object);
        self.depth += 1;
        Some(())
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
    }

    fn top(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}
