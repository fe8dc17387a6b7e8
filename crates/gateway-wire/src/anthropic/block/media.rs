//! Blocks that hold media, read: images, documents, and search results, which other protocols are shown as documents.

use gateway_core::{
    WireError,
    ir::{Media, MediaKind, MediaSource},
};

use crate::{
    ANTHROPIC_MESSAGES,
    json::{Fields, Json, Within},
};

pub(super) fn has_known_source(fields: &Fields<'_>) -> bool {
    let source = fields.peek("source").and_then(|source| source.fields().ok());
    let kind = source.and_then(|source| source.peek("type"));
    kind.is_none_or(|kind| matches!(kind.text(), r#""base64""# | r#""url""# | r#""file""# | r#""text""#))
}

pub(super) fn image(fields: &mut Fields<'_>) -> Result<Media, WireError> {
    let (media_type, source) = fields.need_with("source", source)?;
    Ok(Media { kind: MediaKind::Image, media_type, source, detail: None, title: None, context: None, citations: None })
}

pub(super) fn document(fields: &mut Fields<'_>) -> Result<Media, WireError> {
    let (media_type, source) = fields.need_with("source", source)?;
    let citations = citing(fields)?;
    let (title, context) = (fields.take_string("title")?, fields.take_string("context")?);
    Ok(Media { kind: MediaKind::Document, media_type, source, detail: None, title, context, citations })
}

fn citing(fields: &mut Fields<'_>) -> Result<Option<bool>, WireError> {
    match fields.take_fields("citations")? {
        Some(mut config) => config.take_bool("enabled").within("citations"),
        None => Ok(None),
    }
}

pub(super) fn search_result(fields: &mut Fields<'_>, block: Json<'_>) -> Result<Media, WireError> {
    let mut text = String::new();
    for (n, item) in fields.take_array("content")?.unwrap_or_default().into_iter().enumerate() {
        let piece = item.fields().and_then(|mut item| item.take_str("text")).within_index(n).within("content")?;
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&piece.unwrap_or_default());
    }
    let source = MediaSource::Text(text);
    let mut named = block.fields()?;
    let (title, context) = (named.take_string("title")?, named.take_string("source")?);
    let citations = citing(&mut named)?;
    Ok(Media { kind: MediaKind::Document, media_type: None, source, detail: None, title, context, citations })
}

fn source(value: Json<'_>) -> Result<(Option<String>, MediaSource), WireError> {
    let mut fields = value.fields()?;
    let kind = fields.need_str("type")?;
    let media_type = fields.take_string("media_type")?;
    let source = match &*kind {
        "base64" => MediaSource::Inline { base64: fields.need_str("data")?.into() },
        "url" => MediaSource::Url(fields.need_str("url")?.into_owned()),
        "file" => MediaSource::File { origin: ANTHROPIC_MESSAGES, id: fields.need_str("file_id")?.into_owned() },
        "text" => MediaSource::Text(fields.need_str("data")?.into_owned()),
        other => return Err(WireError::at("type", format!("expected base64, url, file, text or content, found `{other}`"))),
    };
    Ok((media_type, source))
}
