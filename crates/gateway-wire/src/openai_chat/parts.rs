//! Reads content: a string, null, or parts.

use gateway_core::{
    WireError,
    ir::{CacheMark, CacheTtl, Media, MediaKind, MediaSource, Part, PartBody},
};

use super::extras::nest;
use crate::{
    OPENAI_CHAT,
    json::{Fields, Json, Kind, Within},
};

/// Takes `content`.
pub(super) fn content(fields: &mut Fields<'_>) -> Result<Vec<Part>, WireError> {
    Ok(fields.take_with("content", decode)?.unwrap_or_default())
}

/// Content of a message, in a history or in an answer.
pub(super) fn decode(value: Json<'_>) -> Result<Vec<Part>, WireError> {
    match value.kind() {
        Kind::String => Ok(vec![Part::text(value.str()?)]),
        Kind::Array => value.array()?.into_iter().enumerate().map(|(n, item)| part(item).within_index(n)).collect(),
        // Cloudflare parses structured output and sends the object: its text is what was meant.
        Kind::Object => Ok(vec![Part::text(value.raw()?.text())]),
        Kind::Number | Kind::Bool | Kind::Null => Err(value.mismatch("a string or an array of parts")),
    }
}

fn part(item: Json<'_>) -> Result<Part, WireError> {
    if item.kind() == Kind::String {
        return Ok(Part::text(item.str()?));
    }
    let mut fields = item.fields()?;
    let kind = fields.need_str("type")?;
    let mut nested = None;
    let body = match &*kind {
        "text" => PartBody::Text { text: fields.need_str("text")?.into_owned(), citations: Vec::new() },
        "refusal" => PartBody::Refusal(fields.need_str("refusal")?.into_owned()),
        "image_url" => fields.need_with("image_url", |value| image(value, &mut nested))?,
        "input_audio" => fields.need_with("input_audio", |value| audio(value, &mut nested))?,
        "file" => fields.need_with("file", |value| file(value, &mut nested))?,
        "thinking" => PartBody::Reasoning(fields.need_with("thinking", thinking)?),
        _ => PartBody::Opaque { origin: OPENAI_CHAT, raw: item.raw()? },
    };
    let cache = fields.take_with("cache_control", cache_mark)?;
    if matches!(body, PartBody::Opaque { .. }) {
        return Ok(Part { cache, ..Part::new(body) });
    }
    if matches!(body, PartBody::Reasoning(_)) {
        // Mistral's mark that the thinking is complete; a history holds nothing else.
        fields.take("closed");
    }
    let mut extras = fields.extras(OPENAI_CHAT)?;
    if let Some((prefix, inner)) = nested {
        nest(&mut extras, prefix, inner)?;
    }
    Ok(Part { body, cache, seal: None, extras })
}

/// Mistral's thinking: text parts in a list, or plain text.
pub(super) fn thinking(value: Json<'_>) -> Result<String, WireError> {
    if value.kind() == Kind::String {
        return Ok(value.str()?.into_owned());
    }
    let mut text = String::new();
    for (n, item) in value.array()?.into_iter().enumerate() {
        // What is not text in there (references) has no words to keep.
        if let Some(piece) = item.fields().and_then(|mut fields| fields.take_str("text")).within_index(n)? {
            text.push_str(&piece);
        }
    }
    Ok(text)
}

type Nested<'a> = Option<(&'static str, Fields<'a>)>;

fn media(kind: MediaKind, media_type: Option<String>, source: MediaSource) -> Media {
    Media { kind, media_type, source, detail: None, title: None, context: None, citations: None }
}

fn image<'a>(value: Json<'a>, nested: &mut Nested<'a>) -> Result<PartBody, WireError> {
    if value.kind() == Kind::String {
        let (media_type, source) = source_of_url(&value.str()?);
        return Ok(PartBody::Media(media(MediaKind::Image, media_type, source)));
    }
    let mut fields = value.fields()?;
    let (media_type, source) = source_of_url(&fields.need_str("url")?);
    let detail = fields.take_string("detail")?;
    *nested = Some(("image_url.", fields));
    Ok(PartBody::Media(Media { detail, ..media(MediaKind::Image, media_type, source) }))
}

fn audio<'a>(value: Json<'a>, nested: &mut Nested<'a>) -> Result<PartBody, WireError> {
    let mut fields = value.fields()?;
    let base64 = fields.need_str("data")?.into();
    let media_type = fields.take_str("format")?.map(|format| match &*format {
        "mp3" => "audio/mpeg".to_owned(),
        other => format!("audio/{other}"),
    });
    *nested = Some(("input_audio.", fields));
    Ok(PartBody::Media(media(MediaKind::Audio, media_type, MediaSource::Inline { base64 })))
}

fn file<'a>(value: Json<'a>, nested: &mut Nested<'a>) -> Result<PartBody, WireError> {
    let mut fields = value.fields()?;
    let title = fields.take_string("filename")?;
    let id = fields.take_string("file_id")?;
    let (media_type, source) = match (id, fields.take_str("file_data")?) {
        (Some(id), _) => (None, MediaSource::File { origin: OPENAI_CHAT, id }),
        (None, Some(data)) if data.starts_with("data:") || data.contains("://") => source_of_url(&data),
        // Bare base64 is what the schema says; it says no type, and PDF is the only one taken.
        (None, Some(data)) => (Some("application/pdf".to_owned()), MediaSource::Inline { base64: data.into() }),
        (None, None) => return Err(WireError::new("needs file_id or file_data")),
    };
    *nested = Some(("file.", fields));
    Ok(PartBody::Media(Media { title, ..media(MediaKind::Document, media_type, source) }))
}

/// Splits a `data:` URL into its type and its base64; any other URL stays one.
fn source_of_url(url: &str) -> (Option<String>, MediaSource) {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match inline {
        Some((media_type, base64)) => {
            // Parameters such as `;charset=` say nothing about the kind of data.
            let media_type = media_type.split(';').next().filter(|text| !text.is_empty()).map(str::to_owned);
            (media_type, MediaSource::Inline { base64: base64.into() })
        }
        None => (None, MediaSource::Url(url.to_owned())),
    }
}

/// `{type: ephemeral, ttl}`, accepted from callers of Anthropic models.
pub(super) fn cache_mark(value: Json<'_>) -> Result<CacheMark, WireError> {
    let mut fields = value.fields()?;
    let ttl = match fields.take_str("ttl")?.as_deref() {
        None => None,
        Some("5m") => Some(CacheTtl::FiveMinutes),
        Some("1h") => Some(CacheTtl::OneHour),
        Some(other) => return Err(WireError::at("ttl", format!("must be 5m or 1h, not `{}`", other.escape_default()))),
    };
    Ok(CacheMark { ttl })
}
