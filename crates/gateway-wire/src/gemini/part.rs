//! Reads one part of an answer.

use std::borrow::Cow;

use gateway_core::{
    WireError,
    ir::{Extras, Media, MediaKind, MediaSource, Raw, Seal},
};
use serde_json::value::RawValue;

use super::schema::FunctionCall;
use crate::{
    GEMINI,
    json::{Fields, Json, Within},
};

/// A part with what stands beside it.
pub(super) struct Part<'a> {
    pub(super) body: Body<'a>,
    pub(super) seal: Option<Seal>,
    pub(super) extras: Option<Extras>,
}

pub(super) enum Body<'a> {
    Text {
        text: Cow<'a, str>,
        thought: bool,
    },
    Call(FunctionCall<'a>),
    Media(Media),
    /// Something we do not model (code it ran, tools it called), whole.
    Opaque(Raw),
}

/// Reads a part.
///
/// # Errors
/// It is no object, or a field that we know has the wrong type.
pub(super) fn decode(raw: &RawValue) -> Result<Part<'_>, WireError> {
    let whole = Json::parse(raw.get().as_bytes())?;
    let mut fields = whole.fields()?;
    let thought = fields.take_bool("thought")?.unwrap_or(false);
    let seal = fields.take_string("thoughtSignature")?.map(|bytes| Seal { issuer: GEMINI, bytes: bytes.into() });
    let body = if let Some(call) = fields.take_value("functionCall") {
        Body::Call(function_call(call).within("functionCall")?)
    } else if let Some(media) = media(&mut fields)?.filter(|_| !thought) {
        Body::Media(media)
    } else if let Some(text) = fields.take_str("text")? {
        Body::Text { text, thought }
    } else {
        // The signature is inside the raw part and goes back with it.
        return Ok(Part { body: Body::Opaque(whole.raw()?), seal: None, extras: None });
    };
    Ok(Part { body, seal, extras: fields.extras(GEMINI)? })
}

fn function_call(call: Json<'_>) -> Result<FunctionCall<'_>, WireError> {
    serde_json::from_str(call.text()).map_err(|error| WireError::new(format!("not a function call: {error}")))
}

fn media(fields: &mut Fields<'_>) -> Result<Option<Media>, WireError> {
    if let Some(mut data) = fields.take_fields("inlineData")? {
        let media_type = data.take_string("mimeType")?;
        let base64 = data.take_string("data")?.unwrap_or_default().into();
        return Ok(Some(made(media_type, MediaSource::Inline { base64 })));
    }
    if let Some(mut file) = fields.take_fields("fileData")? {
        let media_type = file.take_string("mimeType")?;
        let uri = file.take_string("fileUri")?.unwrap_or_default();
        return Ok(Some(made(media_type, MediaSource::Url(uri))));
    }
    Ok(None)
}

fn made(media_type: Option<String>, source: MediaSource) -> Media {
    let kind = match media_type.as_deref().and_then(|full| full.split('/').next()) {
        Some("image") => MediaKind::Image,
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        Some(_) | None => MediaKind::Document,
    };
    Media { kind, media_type, source, detail: None, title: None, context: None, citations: None }
}
