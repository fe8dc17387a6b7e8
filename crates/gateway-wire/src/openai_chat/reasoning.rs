//! Reasoning in its several dresses: `reasoning_content`, `reasoning`, `reasoning_details`.

use gateway_core::{
    WireError,
    ir::{Part, PartBody, Seal},
};

use crate::{
    OPENAI_CHAT,
    json::{Fields, Json, Within, Writer},
    seal,
};

/// Takes the reasoning of a message. Details win over the plain text beside them, which repeats them.
pub(super) fn take(message: &mut Fields<'_>) -> Result<Vec<Part>, WireError> {
    let content = message.take_string("reasoning_content")?;
    // OpenRouter's `reasoning` on a message is text; an object of that name is somebody's extension and stays an extra.
    let plain = match message.peek("reasoning").map(Json::str) {
        Some(Ok(_)) => message.take_string("reasoning")?,
        Some(Err(_)) | None => None,
    };
    let text = content.filter(|text| !text.is_empty()).or(plain).filter(|text| !text.is_empty());
    let details = message.take_array("reasoning_details")?.unwrap_or_default();
    let mut parts = Vec::new();
    for (n, detail) in details.into_iter().enumerate() {
        parts.push(decode(detail).within_index(n).within("reasoning_details")?);
    }
    // Details that are all encrypted leave the plain text as the only thing to read.
    let unread = parts.iter().all(|part| matches!(&part.body, PartBody::Reasoning(text) if text.is_empty()));
    if let Some(text) = text.filter(|_| unread) {
        parts.insert(0, Part::new(PartBody::Reasoning(text)));
    }
    Ok(parts)
}

/// One detail as a part.
pub(super) fn decode(detail: Json<'_>) -> Result<Part, WireError> {
    let mut fields = detail.fields()?;
    let text = match fields.take_string("text")? {
        Some(text) => text,
        None => fields.take_string("summary")?.unwrap_or_default(),
    };
    let issuer = fields.take_str("format")?.and_then(|format| seal::tagged_issuer(&format));
    let Some(issuer) = issuer else {
        // A vendor's own detail goes back as it came.
        let seal = Seal { issuer: OPENAI_CHAT, bytes: detail.raw()?.text().into() };
        return Ok(Part::new(PartBody::Reasoning(text)).sealed(Some(seal)));
    };
    let bytes = match fields.take_string("signature")? {
        Some(signature) => Some(signature),
        None => fields.take_string("data")?,
    };
    Ok(Part::new(PartBody::Reasoning(text)).sealed(bytes.map(|bytes| Seal { issuer, bytes: bytes.into() })))
}

/// Writes one part as a detail; `index` counts the reasoning parts of the message.
pub(super) fn write_detail(w: &mut Writer<'_>, text: &str, seal: Option<&Seal>, index: u64) {
    // The bytes may have travelled through a caller: what is no JSON object is not written as one.
    if let Some(own) = seal.filter(|seal| seal.issuer == OPENAI_CHAT)
        && let Ok(detail) = Json::parse(own.bytes.as_bytes()).and_then(Json::raw)
        && detail.text().starts_with('{')
    {
        return w.raw(detail.text());
    }
    let issuer = seal.map_or(OPENAI_CHAT, |seal| seal.issuer);
    let encrypted = text.is_empty() && seal.is_some();
    w.begin_object();
    w.key("type").str(if encrypted { "reasoning.encrypted" } else { "reasoning.text" });
    if !encrypted {
        w.key("text").str(text);
    }
    if let Some(seal) = seal {
        w.key(if encrypted { "data" } else { "signature" }).str(&seal.bytes);
    }
    w.key("format").str(&seal::tag(issuer));
    w.key("index").u64(index);
    w.end_object();
}

/// Writes `reasoning_content`, and `reasoning_details` if any part is sealed.
pub(super) fn write(w: &mut Writer<'_>, parts: &[Part]) {
    let reasoning = || {
        parts.iter().flat_map(|part| match &part.body {
            PartBody::Reasoning(text) => Some((text.as_str(), part.seal.as_ref())),
            PartBody::Text { .. }
            | PartBody::Media(_)
            | PartBody::Refusal(_)
            | PartBody::ToolCall(_)
            | PartBody::ToolResult(_)
            | PartBody::Opaque { .. } => None,
        })
    };
    if reasoning().any(|(text, _)| !text.is_empty()) {
        w.key("reasoning_content").str(&reasoning().map(|(text, _)| text).collect::<String>());
    }
    if reasoning().any(|(_, seal)| seal.is_some()) {
        w.key("reasoning_details").begin_array();
        for (index, (text, seal)) in (0..).zip(reasoning()) {
            write_detail(w, text, seal, index);
        }
        w.end_array();
    }
}
