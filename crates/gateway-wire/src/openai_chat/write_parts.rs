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
    if part.cache.is_some() {
        losses.push(format!("{path}.cache_control"), LossReason::Unsupported);
    }
    if part.seal.is_some() {
        losses.push(format!("{path}.signature"), LossReason::Foreign);
    }
    let nested = match &part.body {
        PartBody::Text { text, citations } => {
            if !citations.is_empty() {
                losses.push(format!("{path}.citations"), LossReason::Unsupported);
            }
            w.begin_object();
            w.key("type").str("text");
            w.key("text").str(text);
            ""
        }
        PartBody::Refusal(text) => {
            w.begin_object();
            w.key("type").str("refusal");
            w.key("refusal").str(text);
            ""
        }
        PartBody::Reasoning(text) => {
            w.begin_object();
            w.key("type").str("thinking");
            w.key("thinking").begin_array();
            w.begin_object();
            w.key("type").str("text");
            w.key("text").str(text);
            w.end_object();
            w.end_array();
            ""
        }
        PartBody::Media(_) if media == Media::Refused => return losses.push(path.to_owned(), LossReason::Unsupported),
        PartBody::Media(what) => match begin_media(w, path, what, losses) {
            Some(prefix) => {
                write_nested(w, part.extras.as_ref(), prefix);
                w.end_object();
                prefix
            }
            None => return,
        },
        PartBody::Opaque { origin, raw } if *origin == OPENAI_CHAT => return w.raw(raw.text()),
        PartBody::Opaque { .. } => return losses.push(path.to_owned(), LossReason::Foreign),
        PartBody::ToolCall(_) | PartBody::ToolResult(_) => return losses.push(path.to_owned(), LossReason::Unsupported),
    };
    let nested: &[&str] = if nested.is_empty() { &[] } else { &[nested] };
    if !write_outer(w, part.extras.as_ref(), nested) {
        losses.push(format!("{path}.extras"), LossReason::Foreign);
    }
    w.end_object();
}

/// Opens the part and its inner object, which stays open for extras; its prefix. `None`: nothing was written but a loss,
/// or a whole text part.
fn begin_media(w: &mut Writer<'_>, path: &str, media: &ir::Media, losses: &mut Losses) -> Option<&'static str> {
    for (given, what) in [(media.context.is_some(), "context"), (media.citations.is_some(), "citations")] {
        if given {
            losses.push(format!("{path}.{what}"), LossReason::Unsupported);
        }
    }
    let open = |w: &mut Writer<'_>, kind: &str| {
        w.begin_object();
        w.key("type").str(kind);
        w.key(kind).begin_object();
    };
    let media_type = media.media_type.as_deref();
    match (&media.source, media.kind) {
        (MediaSource::Text(text), _) => {
            losses.push(path.to_owned(), LossReason::Approximated);
            w.begin_object();
            w.key("type").str("text");
            w.key("text").str(text);
            w.end_object();
            None
        }
        (MediaSource::Url(url), MediaKind::Image) => {
            open(w, "image_url");
            w.key("url").str(url);
            w.opt_str("detail", media.detail.as_deref());
            Some("image_url.")
        }
        (MediaSource::Inline { base64 }, MediaKind::Image) => {
            open(w, "image_url");
            w.key("url").str(&format!("data:{};base64,{base64}", media_type.unwrap_or("image/png")));
            w.opt_str("detail", media.detail.as_deref());
            Some("image_url.")
        }
        (MediaSource::Inline { base64 }, MediaKind::Audio) => {
            open(w, "input_audio");
            w.key("data").str(base64);
            w.key("format").str(audio_format(media_type));
            Some("input_audio.")
        }
        (MediaSource::Inline { base64 }, MediaKind::Document) => {
            open(w, "file");
            // The name is required with data; callers of other protocols may have given none.
            w.key("filename").str(media.title.as_deref().unwrap_or("document.pdf"));
            w.key("file_data").str(&format!("data:{};base64,{base64}", media_type.unwrap_or("application/pdf")));
            Some("file.")
        }
        (MediaSource::File { origin, id }, MediaKind::Document) if *origin == OPENAI_CHAT => {
            open(w, "file");
            w.key("file_id").str(id);
            w.opt_str("filename", media.title.as_deref());
            Some("file.")
        }
        (MediaSource::File { .. }, _) => {
            losses.push(path.to_owned(), LossReason::Foreign);
            None
        }
        (MediaSource::Url(_), MediaKind::Audio | MediaKind::Video | MediaKind::Document)
        | (MediaSource::Inline { .. }, MediaKind::Video) => {
            losses.push(path.to_owned(), LossReason::Unsupported);
            None
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
