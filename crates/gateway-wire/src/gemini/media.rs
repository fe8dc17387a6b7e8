//! Pictures, sound, film and documents in a request.

use std::borrow::Cow;

use gateway_core::{
    LossReason, Losses,
    ir::{Media, MediaKind, MediaSource},
};

use super::body::{FileData, InlineData, PartBody};
use crate::GEMINI;

/// A media part as `inlineData` or `fileData`; `None` when Gemini cannot have it.
pub(super) fn encode<'a>(media: &'a Media, path: impl Fn() -> String, losses: &mut Losses) -> Option<PartBody<'a>> {
    let beside = [
        ("detail", media.detail.as_deref().is_some_and(|detail| detail != "auto")),
        ("title", media.title.is_some()),
        ("context", media.context.is_some()),
        ("citations", media.citations == Some(true)),
    ];
    for (name, _) in beside.into_iter().filter(|(_, asked)| *asked) {
        losses.push(format!("{}.{name}", path()), LossReason::Unsupported);
    }
    match &media.source {
        MediaSource::Inline { base64 } => {
            let mime_type = mime_type(media, base64).unwrap_or_else(|| {
                losses.push(format!("{}.media_type", path()), LossReason::Approximated);
                Cow::Borrowed(usual(media.kind))
            });
            Some(PartBody::InlineData(InlineData { mime_type, data: base64 }))
        }
        MediaSource::Url(url) => Some(PartBody::FileData(FileData { mime_type: mime_type_of_url(media, url), file_uri: url })),
        MediaSource::File { origin, id } if *origin == GEMINI => {
            Some(PartBody::FileData(FileData { mime_type: media.media_type.as_deref().map(Cow::Borrowed), file_uri: id }))
        }
        MediaSource::File { .. } => {
            losses.push(path(), LossReason::Foreign);
            None
        }
        MediaSource::Text(text) => Some(PartBody::Text(text.as_str().into())),
    }
}

/// What the caller said, else what the first bytes say: Gemini demands a type.
fn mime_type<'a>(media: &'a Media, base64: &str) -> Option<Cow<'a, str>> {
    /// The starts of common formats, as base64 shows them.
    const STARTS: [(&str, &str); 8] = [
        ("iVBORw0KGgo", "image/png"),
        ("/9j/", "image/jpeg"),
        ("R0lGOD", "image/gif"),
        ("UklGR", "image/webp"),
        ("JVBERi", "application/pdf"),
        ("SUQz", "audio/mp3"),
        ("T2dnUw", "audio/ogg"),
        ("ZkxhQw", "audio/flac"),
    ];
    if let Some(stated) = &media.media_type {
        return Some(Cow::Borrowed(stated));
    }
    let (_, found) = STARTS.iter().find(|(start, _)| base64.starts_with(start))?;
    // RIFF holds pictures and sound alike.
    Some(Cow::Borrowed(if *found == "image/webp" && media.kind == MediaKind::Audio { "audio/wav" } else { found }))
}

/// By the address's ending; Gemini looks for itself when none is given.
fn mime_type_of_url<'a>(media: &'a Media, url: &str) -> Option<Cow<'a, str>> {
    if let Some(stated) = &media.media_type {
        return Some(Cow::Borrowed(stated));
    }
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let ending = path.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(Cow::Borrowed(match &*ending {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        _ => return None,
    }))
}

fn usual(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "image/png",
        MediaKind::Audio => "audio/wav",
        MediaKind::Video => "video/mp4",
        MediaKind::Document => "application/pdf",
    }
}
