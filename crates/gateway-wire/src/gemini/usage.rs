//! Splits Gemini's overlapping counts into buckets.
//!
//! `promptTokenCount` holds the cached part and every modality; thoughts lie outside `candidatesTokenCount`, and what the
//! provider's tools added to the prompt lies outside `promptTokenCount`.

use std::borrow::Cow;

use gateway_core::Usage;
use serde_json::value::RawValue;

use super::schema::{ModalityCount, Text, UsageMetadata};
use crate::tally::{Tally, reconciled};

/// Takes in one report of a stream. Every one that tells of tokens tells of all of them so far, and its zeros are left out, so
/// what an earlier one counted and this one does not is zero; the tier may have been told earlier.
pub(super) fn restate(usage: &mut Usage, wire: &RawValue) {
    let later = decode(wire);
    if later.reported_input.is_some() {
        for bucket in [
            &mut usage.input_cache_read,
            &mut usage.input_audio,
            &mut usage.input_audio_cache_read,
            &mut usage.input_image,
            &mut usage.input_video,
            &mut usage.input_tool,
            &mut usage.output_reasoning,
            &mut usage.output_audio,
            &mut usage.output_image,
        ] {
            *bucket = bucket.and(Some(0));
        }
    }
    usage.restate(&later);
}

/// The buckets of one report. Protobuf leaves zeros out, so in a report that states a prompt or a total, a count that is
/// absent was zero; a report without either says nothing of tokens. What is no count was not said.
pub(super) fn decode(wire: &RawValue) -> Usage {
    // An array would be taken for the fields in their order.
    let object = Some(wire.get()).filter(|text| text.starts_with('{'));
    let wire: UsageMetadata<'_> = object.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut usage = Usage { service_tier: tier(&wire), ..Usage::default() };
    let (sent, total) = (count(wire.prompt_token_count), count(wire.total_token_count));
    if sent.or(total).is_none() {
        return usage;
    }
    let (tool, thoughts) = (count(wire.tool_use_prompt_token_count), count(wire.thoughts_token_count));
    let prompt = sent.unwrap_or(0);
    let reported_input = prompt.saturating_add(tool.unwrap_or(0));
    let stated = count(wire.candidates_token_count);
    if stated.is_none() && sent.is_none() && wire.prompt_token_count.is_some() {
        // A prompt that cannot be read: what it leaves of the total is not all output, and so nothing is said of either.
        return usage;
    }
    let candidates = stated.unwrap_or_else(|| minus(total.unwrap_or(0), &[reported_input, thoughts.unwrap_or(0)]));

    let by_kind = Modalities::of(wire.prompt_tokens_details);
    let cached_by = Modalities::of(wire.cache_tokens_details);
    let cached = count(wire.cached_content_token_count);
    let in_cache = cached.unwrap_or(0);
    // Where the cache is not split by modality, what it holds may be any of them.
    let mut tally = Tally::new(prompt.saturating_sub(in_cache), in_cache.saturating_sub(cached_by.all));
    let mut fresh = |sent: u64, cached: u64| some_if_any(tally.take(sent.saturating_sub(cached)));
    usage.input_audio = fresh(by_kind.audio, cached_by.audio);
    usage.input_image = fresh(by_kind.image, cached_by.image);
    usage.input_video = fresh(by_kind.video, cached_by.video);
    usage.input_uncached = Some(tally.rest());
    usage.input_cache_read = cached.map(|cached| cached.saturating_sub(cached_by.audio));
    usage.input_audio_cache_read = some_if_any(cached_by.audio);
    usage.input_tool = tool;

    let made = Modalities::of(wire.candidates_tokens_details);
    usage.output_text = Some(minus(candidates, &[made.audio, made.image]));
    usage.output_audio = some_if_any(made.audio);
    usage.output_image = some_if_any(made.image);
    usage.output_reasoning = thoughts;

    let output = candidates.saturating_add(thoughts.unwrap_or(0));
    (usage.reported_input, usage.reported_output) = reconciled(Some(reported_input), Some(output), total, usage.output_tokens());
    usage
}

/// Tokens by modality. Text and documents are billed alike and stay in the rest.
#[derive(Default)]
struct Modalities {
    audio: u64,
    image: u64,
    video: u64,
    all: u64,
}

impl Modalities {
    fn of(details: Option<&RawValue>) -> Self {
        let mut found = Self::default();
        let details: Vec<ModalityCount<'_>> = details.and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
        for detail in details {
            let n = count(detail.token_count).unwrap_or(0);
            found.all = found.all.saturating_add(n);
            let bucket = match word(detail.modality).as_deref() {
                Some("AUDIO") => &mut found.audio,
                Some("IMAGE") => &mut found.image,
                Some("VIDEO") => &mut found.video,
                Some(_) | None => continue,
            };
            *bucket = bucket.saturating_add(n);
        }
        found
    }
}

/// The tier that served: stated outright, or told by the kind of traffic on Vertex.
fn tier(wire: &UsageMetadata<'_>) -> Option<Box<str>> {
    if let Some(stated) = word(wire.service_tier) {
        return Some(stated.to_ascii_lowercase().into());
    }
    Some(match &*word(wire.traffic_type)? {
        "ON_DEMAND" => "standard".into(),
        "ON_DEMAND_FLEX" => "flex".into(),
        "ON_DEMAND_PRIORITY" => "priority".into(),
        other => other.to_ascii_lowercase().into(),
    })
}

fn word(wire: Option<&RawValue>) -> Option<Cow<'_, str>> {
    serde_json::from_str(wire?.get()).ok().map(|Text(word)| word)
}

/// A count of tokens. Gemini writes numbers, some relays text.
fn count(wire: Option<&RawValue>) -> Option<u64> {
    let text = wire?.get();
    let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map_or(text, str::trim);
    digits.strip_suffix(".0").unwrap_or(digits).parse().ok()
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
        assert_eq!(decode(serde_json::from_str(&text).unwrap()), expected, "{text}");
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
