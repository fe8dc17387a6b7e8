//! What an answer rests on: `citationMetadata` and `groundingMetadata` as citations.

use gateway_core::ir::{Citation, Raw};
use serde_json::value::RawValue;

use super::schema::{CitationMetadata, CitationSource, GroundingChunk, GroundingMetadata, GroundingSource, Segment, Text};
use crate::GEMINI;

/// The citations of recited text.
pub(super) fn recited(wire: &CitationMetadata<'_>, answer: &str) -> Vec<Citation> {
    let sources = wire.citations.as_deref().unwrap_or_default();
    sources
        .iter()
        .map(|raw| {
            let source = serde_json::from_str::<CitationSource<'_>>(raw.get()).ok();
            let (start, end) = source.as_ref().map_or((None, None), |source| span(source.start_index, source.end_index, answer));
            Citation {
                url: source.as_ref().and_then(|source| text(source.uri.as_ref())),
                title: source.as_ref().and_then(|source| text(source.title.as_ref())),
                cited_text: None,
                start,
                end,
                origin: GEMINI,
                raw: kept(raw),
            }
        })
        .collect()
}

/// The citations of a grounded answer: one for each pair of supported segment and source; where nothing says what a
/// source supports, one for each source.
pub(super) fn grounded(wire: &GroundingMetadata<'_>, answer: &str) -> Vec<Citation> {
    let chunks = wire.grounding_chunks.as_deref().unwrap_or_default();
    let supports = wire.grounding_supports.as_deref().unwrap_or_default();
    if supports.is_empty() {
        return chunks.iter().map(|raw| from_chunk(raw, None, answer)).collect();
    }
    let mut found = Vec::new();
    for support in supports {
        let indices = support.grounding_chunk_indices.as_deref().unwrap_or_default();
        // An index without a chunk cites nothing that exists.
        found.extend(indices.iter().flat_map(|n| chunks.get(*n)).map(|raw| from_chunk(raw, support.segment.as_ref(), answer)));
    }
    found
}

fn from_chunk(raw: &RawValue, segment: Option<&Segment<'_>>, answer: &str) -> Citation {
    let chunk = serde_json::from_str::<GroundingChunk<'_>>(raw.get()).ok();
    let source = chunk.as_ref().and_then(|chunk| {
        [&chunk.web, &chunk.retrieved_context, &chunk.maps, &chunk.image]
            .into_iter()
            .find_map(|source: &Option<GroundingSource<'_>>| source.as_ref())
    });
    let (start, end) = segment.map_or((None, None), |segment| span(Some(segment.start_index.unwrap_or(0)), segment.end_index, answer));
    Citation {
        url: source.and_then(|source| text(source.uri.as_ref().or(source.source_uri.as_ref()))),
        title: source.and_then(|source| text(source.title.as_ref())),
        cited_text: segment.and_then(|segment| text(segment.text.as_ref())),
        start,
        end,
        origin: GEMINI,
        raw: kept(raw),
    }
}

/// Gemini counts bytes of the answer, we count characters. An offset inside a character or past the text says nothing.
fn span(start: Option<u64>, end: Option<u64>, answer: &str) -> (Option<u64>, Option<u64>) {
    let characters = |byte: u64| {
        let before = answer.get(..usize::try_from(byte).ok()?)?;
        Some(before.chars().count() as u64)
    };
    match (start.and_then(characters), end.and_then(characters)) {
        (Some(start), Some(end)) if start <= end => (Some(start), Some(end)),
        _ => (None, None),
    }
}

fn text(wire: Option<&Text<'_>>) -> Option<String> {
    wire.map(|text| text.0.clone().into_owned())
}

fn kept(raw: &RawValue) -> Raw {
    Raw::new(raw.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(citations: &[Citation]) -> Vec<(Option<&str>, Option<u64>, Option<u64>)> {
        citations.iter().map(|citation| (citation.url.as_deref(), citation.start, citation.end)).collect()
    }

    #[test]
    fn each_supported_segment_cites_each_of_its_sources() {
        let wire = r#"{"groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}, {"retrievedContext": {"uri": "gs://b"}}],
            "groundingSupports": [{"segment": {"endIndex": 5, "text": "Grüß"}, "groundingChunkIndices": [0, 1, 7]},
                {"segment": {"startIndex": 4, "endIndex": 6}, "groundingChunkIndices": [0]},
                {"segment": {"startIndex": 1, "endIndex": 99}, "groundingChunkIndices": [1]}]}"#;
        let found = grounded(&serde_json::from_str(wire).unwrap(), "Grüße");
        assert_eq!(
            spans(&found),
            [
                (Some("https://a.example"), None, None),
                (Some("gs://b"), None, None),
                (Some("https://a.example"), Some(3), Some(4)),
                (Some("gs://b"), None, None)
            ]
        );
        assert_eq!(found[0].title.as_deref(), Some("A"));
        assert_eq!(found[0].cited_text.as_deref(), Some("Grüß"));
    }

    #[test]
    fn sources_without_supports_are_cited_once() {
        let wire = r#"{"groundingChunks": [{"maps": {"uri": "https://maps.example"}}, {"novel": {}}]}"#;
        let found = grounded(&serde_json::from_str(wire).unwrap(), "");
        assert_eq!(spans(&found), [(Some("https://maps.example"), None, None), (None, None, None)]);
        assert_eq!(found[1].raw.text(), r#"{"novel": {}}"#);
    }

    #[test]
    fn recited_text_is_cited() {
        let wire = r#"{"citations": [{"startIndex": 0, "endIndex": 3, "uri": "https://c.example", "license": "mit"}]}"#;
        assert_eq!(spans(&recited(&serde_json::from_str(wire).unwrap(), "abc")), [(Some("https://c.example"), Some(0), Some(3))]);
    }
}
