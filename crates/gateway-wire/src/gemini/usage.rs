//! Splits Gemini's overlapping counts into buckets.
//!
//! `promptTokenCount` holds the cached part and every modality; thoughts lie outside `candidatesTokenCount`, and what the
//! provider's tools added to the prompt lies outside `promptTokenCount`.

use gateway_core::Usage;

use super::schema::{Count, ModalityCount, UsageMetadata};

/// The buckets of one report. Protobuf leaves zeros out, so in a report that states a prompt or a total, a count that is
/// absent was zero; a report without either says nothing of tokens.
pub(super) fn decode(wire: &UsageMetadata<'_>) -> Usage {
    let mut usage = Usage { service_tier: tier(wire), ..Usage::default() };
    if wire.prompt_token_count.is_none() && wire.total_token_count.is_none() {
        return usage;
    }
    let tool = count(wire.tool_use_prompt_token_count);
    let thoughts = count(wire.thoughts_token_count);
    let prompt = count(wire.prompt_token_count);
    let candidates = wire
        .candidates_token_count
        .map_or_else(|| count(wire.total_token_count).saturating_sub(prompt.saturating_add(tool).saturating_add(thoughts)), |Count(n)| n);

    let sent = Modalities::of(wire.prompt_tokens_details.as_deref());
    let cached_by = Modalities::of(wire.cache_tokens_details.as_deref());
    let cached = count(wire.cached_content_token_count);
    // Where the cache is not split by modality, what it holds may be any of them: the parts never exceed the whole.
    let mut rest = prompt.saturating_sub(cached);
    let mut part = |sent: u64, cached: u64| {
        let part = sent.saturating_sub(cached).min(rest);
        rest -= part;
        part
    };
    let (audio, image, video) = (part(sent.audio, cached_by.audio), part(sent.image, cached_by.image), part(sent.video, cached_by.video));
    usage.input_uncached = Some(rest);
    usage.input_cache_read = wire.cached_content_token_count.map(|_| cached.saturating_sub(cached_by.audio));
    usage.input_audio_cache_read = some_if_any(cached_by.audio.min(cached));
    usage.input_audio = some_if_any(audio);
    usage.input_image = some_if_any(image);
    usage.input_video = some_if_any(video);
    usage.input_tool = wire.tool_use_prompt_token_count.map(|Count(n)| n);

    let made = Modalities::of(wire.candidates_tokens_details.as_deref());
    usage.output_text = Some(minus(candidates, &[made.audio, made.image]));
    usage.output_audio = some_if_any(made.audio.min(candidates));
    usage.output_image = some_if_any(made.image.min(candidates));
    usage.output_reasoning = wire.thoughts_token_count.map(|Count(n)| n);

    usage.reported_input = Some(prompt.saturating_add(tool));
    usage.reported_output = Some(candidates.saturating_add(thoughts));
    usage
}

/// Tokens by modality. Text and documents are billed alike and stay in the rest.
#[derive(Default)]
struct Modalities {
    audio: u64,
    image: u64,
    video: u64,
}

impl Modalities {
    fn of(details: Option<&[ModalityCount<'_>]>) -> Self {
        let mut found = Self::default();
        for detail in details.unwrap_or_default() {
            let bucket = match detail.modality.as_ref().map(|text| &*text.0) {
                Some("AUDIO") => &mut found.audio,
                Some("IMAGE") => &mut found.image,
                Some("VIDEO") => &mut found.video,
                Some(_) | None => continue,
            };
            *bucket = bucket.saturating_add(count(detail.token_count));
        }
        found
    }
}

/// The tier that served: stated outright, or told by the kind of traffic on Vertex.
fn tier(wire: &UsageMetadata<'_>) -> Option<Box<str>> {
    if let Some(stated) = &wire.service_tier {
        return Some(stated.0.to_ascii_lowercase().into());
    }
    let traffic = &*wire.traffic_type.as_ref()?.0;
    Some(match traffic {
        "ON_DEMAND" => "standard".into(),
        "ON_DEMAND_FLEX" => "flex".into(),
        "ON_DEMAND_PRIORITY" => "priority".into(),
        other => other.to_ascii_lowercase().into(),
    })
}

fn count(wire: Option<Count>) -> u64 {
    wire.map_or(0, |Count(n)| n)
}

fn minus(whole: u64, parts: &[u64]) -> u64 {
    parts.iter().fold(whole, |rest, part| rest.saturating_sub(*part))
}

fn some_if_any(n: u64) -> Option<u64> {
    (n > 0).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "a literal at every call")]
    fn check(wire: serde_json::Value, expected: Usage) {
        let text = wire.to_string();
        let wire: UsageMetadata<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(decode(&wire), expected, "{text}");
    }

    #[test]
    fn thoughts_and_tools_lie_outside_the_counts_they_belong_to() {
        check(
            serde_json::json!({"promptTokenCount": 147, "candidatesTokenCount": 108, "toolUsePromptTokenCount": 360,
                "thoughtsTokenCount": 168, "totalTokenCount": 783, "serviceTier": "standard"}),
            Usage {
                input_uncached: Some(147),
                input_tool: Some(360),
                output_text: Some(108),
                output_reasoning: Some(168),
                reported_input: Some(507),
                reported_output: Some(276),
                service_tier: Some("standard".into()),
                ..Usage::default()
            },
        );
    }

    #[test]
    fn cached_tokens_lie_inside_the_prompt_by_modality() {
        check(
            serde_json::json!({"promptTokenCount": 1000, "cachedContentTokenCount": 600, "candidatesTokenCount": 50, "totalTokenCount": 1050,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 500}, {"modality": "AUDIO", "tokenCount": 300},
                    {"modality": "IMAGE", "tokenCount": 150}, {"modality": "VIDEO", "tokenCount": 30}, {"modality": "DOCUMENT", "tokenCount": 20}],
                "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 400}, {"modality": "AUDIO", "tokenCount": 200}],
                "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 10}, {"modality": "IMAGE", "tokenCount": 40}],
                "trafficType": "ON_DEMAND_FLEX"}),
            Usage {
                input_uncached: Some(120),
                input_cache_read: Some(400),
                input_audio: Some(100),
                input_audio_cache_read: Some(200),
                input_image: Some(150),
                input_video: Some(30),
                output_text: Some(10),
                output_image: Some(40),
                reported_input: Some(1000),
                reported_output: Some(50),
                service_tier: Some("flex".into()),
                ..Usage::default()
            },
        );
    }

    #[test]
    fn more_cached_than_sent_does_not_underflow() {
        check(
            serde_json::json!({"promptTokenCount": 10, "cachedContentTokenCount": 161, "candidatesTokenCount": "3", "totalTokenCount": -1}),
            Usage {
                input_uncached: Some(0),
                input_cache_read: Some(161),
                output_text: Some(3),
                reported_input: Some(10),
                reported_output: Some(3),
                ..Usage::default()
            },
        );
    }

    #[test]
    fn an_absent_output_is_what_the_total_leaves() {
        check(
            serde_json::json!({"promptTokenCount": 15, "thoughtsTokenCount": 2, "totalTokenCount": 17}),
            Usage {
                input_uncached: Some(15),
                output_text: Some(0),
                output_reasoning: Some(2),
                reported_input: Some(15),
                reported_output: Some(2),
                ..Usage::default()
            },
        );
    }

    #[test]
    fn a_report_of_the_tier_alone_says_nothing_of_tokens() {
        check(serde_json::json!({"trafficType": "ON_DEMAND"}), Usage { service_tier: Some("standard".into()), ..Usage::default() });
        check(serde_json::json!({}), Usage::default());
    }
}
