//! Parts: the pieces a message is made of.

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::protocol::Protocol;

/// JSON kept as its author wrote it. Equal when the text is.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Raw(Box<RawValue>);

impl Raw {
    /// Wraps a raw value.
    #[must_use]
    pub fn new(value: Box<RawValue>) -> Self {
        Self(value)
    }

    /// Serialises anything into raw JSON.
    ///
    /// # Errors
    /// The value cannot be JSON, for example a map with keys that are not text.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// The JSON text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// The raw value itself.
    #[must_use]
    pub fn raw(&self) -> &RawValue {
        &self.0
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Fields that one protocol has and we do not model. Only a codec of the same origin writes them back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Extras {
    /// Whose fields they are.
    pub origin: Protocol,
    /// Name and value, in the order met.
    pub fields: Vec<(Box<str>, Raw)>,
    /// Names among them whose meaning the canonical form holds as well. Their own protocol gets them back in its own
    /// words; nobody else misses them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modelled: Vec<Box<str>>,
}

impl Extras {
    /// No fields yet.
    #[must_use]
    pub fn new(origin: Protocol) -> Self {
        Self { origin, fields: Vec::new(), modelled: Vec::new() }
    }

    /// Names of the fields that a protocol of another origin loses.
    pub fn unmodelled(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| &**name).filter(|name| !self.modelled.iter().any(|known| **known == **name))
    }

    /// Marks a field whose meaning the canonical form holds as well.
    pub fn mark_modelled(&mut self, name: &str) {
        if self.fields.iter().any(|(known, _)| **known == *name) && !self.modelled.iter().any(|known| **known == *name) {
            self.modelled.push(name.into());
        }
    }
}

/// Bytes a vendor wants back unchanged: a thinking signature, encrypted reasoning, a thought signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seal {
    /// The protocol that made it; it is returned to nobody else.
    pub issuer: Protocol,
    /// The bytes as text, exactly as they came.
    pub bytes: Box<str>,
}

/// How long a prompt-cache entry should live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheTtl {
    /// Five minutes, or the provider's default.
    FiveMinutes,
    /// One hour.
    OneHour,
}

/// "Cache the prompt up to and including here."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CacheMark {
    /// `None` when the caller named no time.
    pub ttl: Option<CacheTtl>,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// What it is.
    pub body: PartBody,
    /// A cache breakpoint after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheMark>,
    /// A vendor's signature over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// Unknown fields beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extras: Option<Extras>,
}

impl Part {
    /// A part with nothing hanging on it.
    #[must_use]
    pub fn new(body: PartBody) -> Self {
        Self { body, cache: None, seal: None, extras: None }
    }

    /// Plain text without citations.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(PartBody::Text { text: text.into(), citations: Vec::new() })
    }

    /// The same part, sealed.
    #[must_use]
    pub fn sealed(mut self, seal: Option<Seal>) -> Self {
        self.seal = seal;
        self
    }
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartBody {
    /// Text, with what it cites.
    Text {
        /// The text.
        text: String,
        /// Its citations.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        citations: Vec<Citation>,
    },
    /// An image, sound, film or document.
    Media(Media),
    /// The model's reasoning. Empty text with a seal is a redacted or encrypted block: only its issuer can read it.
    Reasoning(String),
    /// The model declines.
    Refusal(String),
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// A tool's answer.
    ToolResult(ToolResult),
    /// A part we do not model, as it came.
    Opaque {
        /// Whose part it is.
        origin: Protocol,
        /// The part.
        raw: Raw,
    },
}

/// What a piece of text rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Citation {
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The words cited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cited_text: Option<String>,
    /// First character of the answer it supports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// One past the last character of the answer it supports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// Whose citation it is.
    pub origin: Protocol,
    /// As it came; only the same protocol writes it back.
    pub raw: Raw,
}

/// The kind of a media part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// A picture.
    Image,
    /// Sound.
    Audio,
    /// Film.
    Video,
    /// A document: PDF, text and the like.
    Document,
}

/// Where a media part's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaSource {
    /// In the request, base64 as it was written.
    Inline {
        /// The standard base64 text.
        base64: Box<str>,
    },
    /// Somewhere the provider can fetch.
    Url(String),
    /// Uploaded to one provider before.
    File {
        /// Whose id it is.
        origin: Protocol,
        /// The id.
        id: String,
    },
    /// Plain text given as a document.
    Text(String),
}

/// An image, sound, film or document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Media {
    /// What it is.
    pub kind: MediaKind,
    /// Its media type, such as `image/png`, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Where its bytes are.
    pub source: MediaSource,
    /// `low`, `high`, `auto`: how closely to look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// A title or file name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Words about the document that are not to be cited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Whether the answer should cite it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<bool>,
}

/// Whether a tool takes JSON arguments or free text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// JSON arguments that follow a schema.
    #[default]
    Function,
    /// Free text.
    Custom,
}

/// The model calls a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolCall {
    /// Ties the result to the call.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments as raw text. Truncated JSON from a model is data, not an error.
    pub arguments: String,
    /// Function or custom.
    pub kind: ToolKind,
}

/// A tool's answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolResult {
    /// The call it answers.
    pub call_id: String,
    /// The tool's name, where the protocol names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The answer's parts.
    pub content: Vec<Part>,
    /// Whether the tool failed; `None` where the protocol cannot say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
}
