//! Writes content.

use gateway_core::{
    LossReason, Losses,
    ir::{self, MediaKind, MediaSource, Part, PartBody},
};

use super::extras::{write_nested, write_outer};
use crate::{OPENAI_CHAT, json::Writer};

/// Whether the role may hold media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Allowed,
    Refused,
}

/// Why the part has no place in a message; `None` when it has one.
pub(super) fn refusal(part: &Part, media: Media) -> Option<LossReason> {
    match &part.body {
        PartBody::Text { .. } | PartBody::Refusal(_) | PartBody::Reasoning(_) => None,
        PartBody::Media(_) if media == Media::Refused => Some(LossReason::Unsupported),
        PartBody::Media(what) => Place::of(what).err(),
        PartBody::Opaque { origin, .. } if *origin == OPENAI_CHAT => None,
        PartBody::Opaque { .. } => Some(LossReason::Foreign),
        PartBody::ToolCall(_) | PartBody::ToolResult(_) => Some(LossReason::Unsupported),
    }
}

/// Writes `content`: a string where a string says it all, else parts.
pub(super) fn content(w: &mut Writer<'_>, path: &str, parts: &[(usize, &Part)], media: Media, losses: &mut Losses) {
    w.key("content");
    match parts {
        [] => w.str(""),
        [(_, Part { body: PartBody::Text { text, citations }, cache: None, seal: None, extras: None })] if citations.is_empty() => {
            w.str(text);
        }
        parts => {
            w.begin_array();
            for (p, one) in parts {
                part(w, &format!("{path}.content[{p}]"), one, media, losses);
            }
            w.end_array();
        }
    }
}

/// Writes one part, or records why not.
pub(super) fn part(w: &mut Writer<'_>, path: &str, part: &Part, media: Media, losses: &mut Losses) {
    if let Some(reason) = refusal(part, media) {
        return losses.push(path.to_owned(), reason);
    }
    if part.cache.is_some() {
        losses.push(format!("{path}.cache_control"), LossReason::Unsupported);
    }
    if part.seal.is_some() {
        losses.push(format!("{path}.signature"), LossReason::Foreign);
    }
    let mut nested = "";
    match &part.body {
        PartBody::Text { text, citations } => {
            if !citations.is_empty() {
                losses.push(format!("{path}.citations"), LossReason::Unsupported);
            }
            begin(w, "text");
            w.key("text").str(text);
        }
        PartBody::Refusal(text) => {
            begin(w, "refusal");
            w.key("refusal").str(text);
        }
        PartBody::Reasoning(text) => {
            begin(w, "thinking");
            w.key("thinking").begin_array();
            begin(w, "text");
            w.key("text").str(text);
            w.end_object();
            w.end_array();
        }
        PartBody::Media(what) => {
            let Ok(place) = Place::of(what) else { return };
            nested = write_media(w, path, what, &place, losses);
            if nested.is_empty() {
                return w.end_object();
            }
            write_nested(w, part.extras.as_ref(), nested);
            w.end_object();
        }
        PartBody::Opaque { raw, .. } => return w.raw(raw.text()),
        PartBody::ToolCall(_) | PartBody::ToolResult(_) => return,
    }
    let nested: &[&str] = if nested.is_empty() { &[] } else { &[nested] };
    if !write_outer(w, part.extras.as_ref(), nested) {
        losses.push(format!("{path}.extras"), LossReason::Foreign);
    }
    w.end_object();
}

fn begin(w: &mut Writer<'_>, kind: &str) {
    w.begin_object();
    w.key("type").str(kind);
}

/// Where media goes.
enum Place<'a> {
    /// A document that is text: nothing but its words can be kept.
    Text(&'a str),
    ImageUrl(&'a str),
    ImageData(&'a str),
    Audio(&'a str),
    FileData(&'a str),
    FileId(&'a str),
}

impl<'a> Place<'a> {
    fn of(media: &'a ir::Media) -> Result<Self, LossReason> {
        match (&media.source, media.kind) {
            (MediaSource::Text(text), _) => Ok(Self::Text(text)),
            (MediaSource::Url(url), MediaKind::Image) => Ok(Self::ImageUrl(url)),
            (MediaSource::Inline { base64 }, MediaKind::Image) => Ok(Self::ImageData(base64)),
            (MediaSource::Inline { base64 }, MediaKind::Audio) => Ok(Self::Audio(base64)),
            (MediaSource::Inline { base64 }, MediaKind::Document) => Ok(Self::FileData(base64)),
            (MediaSource::File { origin, id }, MediaKind::Document) if *origin == OPENAI_CHAT => Ok(Self::FileId(id)),
            (MediaSource::File { .. }, _) => Err(LossReason::Foreign),
            (MediaSource::Url(_), MediaKind::Audio | MediaKind::Video | MediaKind::Document)
            | (MediaSource::Inline { .. }, MediaKind::Video) => Err(LossReason::Unsupported),
        }
    }
}

/// Writes all but the end of the part and of its inner object, which stay open for extras; the extras' prefix, or
/// nothing where there is no inner object.
fn write_media(w: &mut Writer<'_>, path: &str, media: &ir::Media, place: &Place<'_>, losses: &mut Losses) -> &'static str {
    for (given, what) in [(media.context.is_some(), "context"), (media.citations == Some(true), "citations")] {
        if given {
            losses.push(format!("{path}.{what}"), LossReason::Unsupported);
        }
    }
    let open = |w: &mut Writer<'_>, kind: &str| {
        begin(w, kind);
        w.key(kind).begin_object();
    };
    let data = |usual: &str, base64: &str| format!("data:{};base64,{base64}", media.media_type.as_deref().unwrap_or(usual));
    match place {
        Place::Text(text) => {
            losses.push(path.to_owned(), LossReason::Approximated);
            begin(w, "text");
            w.key("text").str(text);
            ""
        }
        Place::ImageUrl(url) => {
            open(w, "image_url");
            w.key("url").str(url);
            w.opt_str("detail", media.detail.as_deref());
            "image_url."
        }
        Place::ImageData(base64) => {
            open(w, "image_url");
            w.key("url").str(&data("image/png", base64));
            w.opt_str("detail", media.detail.as_deref());
            "image_url."
        }
        Place::Audio(base64) => {
            open(w, "input_audio");
            w.key("data").str(base64);
            w.key("format").str(audio_format(media.media_type.as_deref()));
            "input_audio."
        }
        Place::FileData(base64) => {
            open(w, "file");
            // The name is required with data; callers of other protocols may have given none.
            w.key("filename").str(media.title.as_deref().unwrap_or("document.pdf"));
            w.key("file_data").str(&data("application/pdf", base64));
            "file."
        }
        Place::FileId(id) => {
            open(w, "file");
            w.key("file_id").str(id);
            w.opt_str("filename", media.title.as_deref());
            "file."
        }
    }
}

fn audio_format(media_type: Option<&str>) -> &str {
    match media_type {
        Some("audio/mpeg" | "audio/mp3") => "mp3",
        Some("audio/x-wav" | "audio/wave" | "audio/wav") | None => "wav",
        Some(other) => other.strip_prefix("audio/").unwrap_or(other),
    }
}
