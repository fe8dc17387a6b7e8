//! Content blocks: read into parts, and written from what a planner has chosen to write.
//!
//! Reading is the same for requests and answers. Writing is split: whoever plans (towards a provider or towards a
//! caller) decides what of a part may be written and records the losses; a [`Block`] can then be written without fail.
//!
//! A seal's bytes are the `signature` as it came. The `data` of a `redacted_thinking` block carries [`REDACTED`] before
//! it, so that a caller of another protocol, who keeps nothing but the seal, still returns the right kind of block.

use std::borrow::Cow;

use gateway_core::{
    WireError,
    ir::{CacheMark, CacheTtl, Citation, Extras, Media, MediaSource, Part, PartBody, Raw, Seal, ToolCall, ToolKind, ToolResult},
};
use serde_json::value::RawValue;

use crate::{
    ANTHROPIC_MESSAGES,
    json::{Fields, Json, Kind, Within, Writer},
    seal,
};

mod media;

use media::{document, has_known_source, image, search_result};

/// Marks the seal of a `redacted_thinking` block. Base64 has no colon, so no signature begins with it.
pub(super) const REDACTED: &str = "redacted:";

/// Reads the content of a message or a tool result: a string, or blocks.
pub(super) fn decode_content(content: Json<'_>) -> Result<Vec<Part>, WireError> {
    if content.kind() == Kind::String {
        return Ok(vec![Part::text(content.str()?)]);
    }
    let blocks = content.array().map_err(|_| content.mismatch("a string or an array of content blocks"))?;
    let mut parts = Vec::with_capacity(blocks.len());
    for (n, block) in blocks.into_iter().enumerate() {
        decode_into(&mut parts, block).within_index(n)?;
    }
    Ok(parts)
}

/// Reads one block. The seal of another protocol that was shown in a block of its own goes back onto the part it signs.
pub(super) fn decode_into(parts: &mut Vec<Part>, block: Json<'_>) -> Result<(), WireError> {
    let part = decode(block)?;
    if let (PartBody::Reasoning(text), Some(seal)) = (&part.body, &part.seal)
        && text.is_empty()
        && seal.issuer != ANTHROPIC_MESSAGES
        && is_redacted(block)
        && let Some(signed) = parts.last_mut()
        && signed.seal.is_none()
        && matches!(signed.body, PartBody::Text { .. } | PartBody::ToolCall(_))
    {
        signed.seal = part.seal;
        return Ok(());
    }
    parts.push(part);
    Ok(())
}

fn is_redacted(block: Json<'_>) -> bool {
    block.fields().is_ok_and(|fields| fields.peek("type").is_some_and(|kind| kind.text() == "\"redacted_thinking\""))
}

/// Reads one block.
pub(super) fn decode(block: Json<'_>) -> Result<Part, WireError> {
    let mut fields = block.fields()?;
    let kind = fields.need_str("type")?;
    let (body, seal) = match &*kind {
        "text" => (text(&mut fields)?, None),
        "image" if has_known_source(&fields) => (PartBody::Media(image(&mut fields)?), None),
        "document" if has_known_source(&fields) => (PartBody::Media(document(&mut fields)?), None),
        "search_result" => (PartBody::Media(search_result(&mut fields, block)?), None),
        "thinking" => {
            let text = fields.take_string("thinking")?.unwrap_or_default();
            let signature = fields.take_str("signature")?;
            (PartBody::Reasoning(text), signature.and_then(|bytes| seal::signature(ANTHROPIC_MESSAGES, &bytes)))
        }
        "redacted_thinking" => (PartBody::Reasoning(String::new()), Some(redacted_seal(&fields.need_str("data")?))),
        "tool_use" => (PartBody::ToolCall(tool_use(&mut fields)?), None),
        "tool_result" => (PartBody::ToolResult(tool_result(&mut fields)?), None),
        _ => (PartBody::Opaque { origin: ANTHROPIC_MESSAGES, raw: block.raw()? }, None),
    };
    if matches!(body, PartBody::Opaque { .. }) {
        return Ok(Part::new(body));
    }
    // A search result keeps its own kind among the extras: it is shown to other protocols as a document.
    if &*kind == "search_result" {
        fields = block.fields()?;
    }
    let cache = take_cache(&mut fields)?;
    let mut extras = extras(fields)?;
    if let Some(extras) = extras.as_mut().filter(|_| &*kind == "search_result") {
        ["type", "source", "title", "content", "citations"].iter().for_each(|name| extras.mark_modelled(name));
    }
    Ok(Part { body, cache, seal, extras })
}

/// The seal of a `redacted_thinking` block.
pub(super) fn redacted_seal(data: &str) -> Seal {
    seal::open(data).unwrap_or_else(|| Seal { issuer: ANTHROPIC_MESSAGES, bytes: format!("{REDACTED}{data}").into() })
}

/// What is left of an object, without what is null: a null says nothing that its absence does not.
pub(super) fn extras(mut fields: Fields<'_>) -> Result<Option<Extras>, WireError> {
    let nulls: Vec<String> = fields.rest().filter(|(_, value)| value.is_null()).map(|(key, _)| key.to_owned()).collect();
    for key in nulls {
        fields.take(&key);
    }
    fields.extras(ANTHROPIC_MESSAGES)
}

/// Takes `cache_control` if it is one we model; another stays among the unknown fields.
pub(super) fn take_cache(fields: &mut Fields<'_>) -> Result<Option<CacheMark>, WireError> {
    let Some(value) = fields.peek("cache_control") else { return Ok(None) };
    let mut control = value.fields().within("cache_control")?;
    let kind = control.take_str("type").within("cache_control")?;
    let ttl = match control.take_str("ttl").within("cache_control")?.as_deref() {
        None => None,
        Some("5m") => Some(CacheTtl::FiveMinutes),
        Some("1h") => Some(CacheTtl::OneHour),
        Some(_) => return Ok(None),
    };
    if kind.as_deref() != Some("ephemeral") || control.rest().next().is_some() {
        return Ok(None);
    }
    fields.take("cache_control");
    Ok(Some(CacheMark { ttl }))
}

fn text(fields: &mut Fields<'_>) -> Result<PartBody, WireError> {
    let text = fields.need_with("text", Json::str)?.into_owned();
    let citations = fields.take_array("citations")?.unwrap_or_default();
    let citations = citations.into_iter().enumerate().map(|(n, one)| citation(one).within_index(n).within("citations"));
    Ok(PartBody::Text { text, citations: citations.collect::<Result<_, _>>()? })
}

/// Reads one citation. Its positions are those in the document, not in the answer, so they stay in the raw form.
pub(super) fn citation(value: Json<'_>) -> Result<Citation, WireError> {
    let mut fields = value.fields()?;
    let url = fields.take_string("url")?.or(fields.take_string("source")?);
    let title = fields.take_string("title")?.or(fields.take_string("document_title")?);
    let cited_text = fields.take_string("cited_text")?;
    Ok(Citation { url, title, cited_text, start: None, end: None, origin: ANTHROPIC_MESSAGES, raw: value.raw()? })
}

fn tool_use(fields: &mut Fields<'_>) -> Result<ToolCall, WireError> {
    let id = fields.need_str("id")?.into_owned();
    let name = fields.need_str("name")?.into_owned();
    let arguments = match fields.take_raw("input")? {
        Some(input) => input.text().to_owned(),
        None => "{}".to_owned(),
    };
    Ok(ToolCall { id, name, arguments, kind: ToolKind::Function })
}

fn tool_result(fields: &mut Fields<'_>) -> Result<ToolResult, WireError> {
    let call_id = fields.need_str("tool_use_id")?.into_owned();
    let content = fields.take_with("content", decode_content)?.unwrap_or_default();
    Ok(ToolResult { call_id, name: None, content, is_error: fields.take_bool("is_error")? })
}

/// A block that may be written as it stands.
#[derive(Debug)]
pub(super) enum Block<'a> {
    Text {
        text: Cow<'a, str>,
        citations: Vec<&'a Citation>,
    },
    Media {
        kind: &'static str,
        media: &'a Media,
        media_type: Cow<'a, str>,
        text: Option<Cow<'a, str>>,
    },
    Thinking {
        text: &'a str,
        signature: Cow<'a, str>,
    },
    Redacted {
        data: Cow<'a, str>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Cow<'a, str>,
    },
    ToolResult {
        id: Cow<'a, str>,
        content: Vec<Planned<'a>>,
        is_error: Option<bool>,
    },
    /// The whole block, its type included, is among the extras.
    Kept,
    Opaque(&'a Raw),
}

/// A block with what hangs on it.
#[derive(Debug)]
pub(super) struct Planned<'a> {
    pub(super) block: Block<'a>,
    pub(super) cache: Option<CacheMark>,
    pub(super) extras: Option<&'a Extras>,
}

impl Planned<'_> {
    pub(super) fn write(&self, w: &mut Writer<'_>) {
        if let Block::Opaque(raw) = &self.block {
            w.raw(raw.text());
            return;
        }
        w.begin_object();
        self.block.write_fields(w);
        write_cache(w, self.cache);
        write_extras(w, self.extras);
        w.end_object();
    }

    /// Plain text with nothing on it, which may be written as a bare string.
    pub(super) fn as_bare_text(&self) -> Option<&str> {
        match &self.block {
            Block::Text { text, citations } if citations.is_empty() && self.cache.is_none() && self.extras.is_none() => Some(text),
            _ => None,
        }
    }
}

impl Block<'_> {
    fn write_fields(&self, w: &mut Writer<'_>) {
        match self {
            Self::Text { text, citations } => {
                w.key("type").str("text");
                w.key("text").str(text);
                if !citations.is_empty() {
                    w.key("citations").begin_array();
                    for citation in citations {
                        w.raw(citation.raw.text());
                    }
                    w.end_array();
                }
            }
            Self::Media { kind, media, media_type, text } => write_media(w, kind, media, media_type, text.as_deref()),
            Self::Thinking { text, signature } => {
                w.key("type").str("thinking");
                w.key("thinking").str(text);
                w.key("signature").str(signature);
            }
            Self::Redacted { data } => {
                w.key("type").str("redacted_thinking");
                w.key("data").str(data);
            }
            Self::ToolUse { id, name, input } => {
                w.key("type").str("tool_use");
                w.key("id").str(id);
                w.key("name").str(name);
                w.key("input").raw(input);
            }
            Self::ToolResult { id, content, is_error } => {
                w.key("type").str("tool_result");
                w.key("tool_use_id").str(id);
                if let [only] = content.as_slice()
                    && let Some(text) = only.as_bare_text()
                {
                    w.key("content").str(text);
                } else if !content.is_empty() {
                    w.key("content").begin_array();
                    content.iter().for_each(|block| block.write(w));
                    w.end_array();
                }
                w.opt_bool("is_error", *is_error);
            }
            Self::Kept => {}
            Self::Opaque(raw) => w.raw(raw.text()),
        }
    }
}

fn write_media(w: &mut Writer<'_>, kind: &str, media: &Media, media_type: &str, text: Option<&str>) {
    w.key("type").str(kind);
    w.key("source").begin_object();
    match (&media.source, text) {
        (_, Some(text)) => write_plain(w, text),
        (MediaSource::Text(text), None) => write_plain(w, text),
        (MediaSource::Inline { base64 }, None) => {
            w.key("type").str("base64");
            w.key("media_type").str(media_type);
            w.key("data").str(base64);
        }
        (MediaSource::Url(url), None) => {
            w.key("type").str("url");
            w.key("url").str(url);
        }
        (MediaSource::File { id, .. }, None) => {
            w.key("type").str("file");
            w.key("file_id").str(id);
        }
    }
    w.end_object();
    w.opt_str("title", media.title.as_deref());
    w.opt_str("context", media.context.as_deref());
    if let Some(enabled) = media.citations {
        w.key("citations").begin_object();
        w.key("enabled").bool(enabled);
        w.end_object();
    }
}

fn write_plain(w: &mut Writer<'_>, text: &str) {
    w.key("type").str("text");
    w.key("media_type").str("text/plain");
    w.key("data").str(text);
}

pub(super) fn write_cache(w: &mut Writer<'_>, cache: Option<CacheMark>) {
    let Some(mark) = cache else { return };
    w.key("cache_control").begin_object();
    w.key("type").str("ephemeral");
    w.opt_str(
        "ttl",
        mark.ttl.map(|ttl| match ttl {
            CacheTtl::FiveMinutes => "5m",
            CacheTtl::OneHour => "1h",
        }),
    );
    w.end_object();
}

/// Writes unknown fields of this protocol; those of another were refused by the planner.
pub(super) fn write_extras(w: &mut Writer<'_>, extras: Option<&Extras>) {
    let _foreign_ones_were_recorded = w.extras(extras, ANTHROPIC_MESSAGES);
}

/// Tool arguments as the object the protocol demands. Truncated or malformed text is kept inside one; `false` says so.
pub(super) fn input_object(arguments: &str) -> (Cow<'_, str>, bool) {
    let text = arguments.trim();
    if text.is_empty() {
        return (Cow::Borrowed("{}"), true);
    }
    if text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok() {
        return (Cow::Borrowed(text), true);
    }
    (Cow::Owned(wrapped("raw_arguments", text)), false)
}

/// Free text of a custom tool as an object.
pub(super) fn input_of_text(text: &str) -> Cow<'_, str> {
    Cow::Owned(wrapped("input", text))
}

fn wrapped(key: &str, text: &str) -> String {
    let mut out = bytes::BytesMut::with_capacity(text.len() + key.len() + 8);
    let mut w = Writer::new(&mut out);
    w.begin_object();
    w.key(key).str(text);
    w.end_object();
    String::from_utf8_lossy(&out).into_owned()
}
