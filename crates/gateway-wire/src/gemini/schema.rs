//! The shape of an answer as Gemini writes it: borrowed from its bytes, tolerant of nulls, of absent fields and of fields
//! that are not known. A whole answer and a frame of a stream have the same shape.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Text borrowed where it holds no escapes. The wrapper is what makes serde borrow inside an `Option`.
#[derive(Deserialize, Debug, Clone)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A whole answer, or one frame of a stream.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow)]
    pub(super) prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(borrow)]
    pub(super) usage_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) model_version: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) response_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(borrow)]
    pub(super) content: Option<Content<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<Text<'a>>,
    pub(super) index: Option<u32>,
    #[serde(borrow)]
    pub(super) citation_metadata: Option<CitationMetadata<'a>>,
    #[serde(borrow)]
    pub(super) grounding_metadata: Option<GroundingMetadata<'a>>,
    #[serde(borrow)]
    pub(super) logprobs_result: Option<LogprobsResult<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    /// Raw, so that a part we do not model is kept as it came.
    #[serde(borrow)]
    pub(super) parts: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionCall<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) args: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) partial_args: Option<Vec<PartialArg<'a>>>,
    pub(super) will_continue: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartialArg<'a> {
    #[serde(borrow)]
    pub(super) json_path: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) string_value: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) number_value: Option<&'a RawValue>,
    pub(super) bool_value: Option<bool>,
    #[serde(borrow)]
    pub(super) null_value: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback<'a> {
    #[serde(borrow)]
    pub(super) block_reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) block_reason_message: Option<Text<'a>>,
}

/// Usage, each value raw: what is no count must not cost the caller the answer it stands in.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct UsageMetadata<'a> {
    #[serde(borrow)]
    pub(super) prompt_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) cached_content_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) candidates_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) thoughts_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_use_prompt_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) total_token_count: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) cache_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) candidates_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) traffic_type: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ModalityCount<'a> {
    #[serde(borrow)]
    pub(super) modality: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) token_count: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct CitationMetadata<'a> {
    #[serde(borrow)]
    pub(super) citations: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CitationSource<'a> {
    pub(super) start_index: Option<u64>,
    pub(super) end_index: Option<u64>,
    #[serde(borrow)]
    pub(super) uri: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) title: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroundingMetadata<'a> {
    #[serde(borrow)]
    pub(super) grounding_chunks: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub(super) grounding_supports: Option<Vec<GroundingSupport<'a>>>,
    #[serde(borrow)]
    pub(super) web_search_queries: Option<Vec<&'a RawValue>>,
}

/// A source: one of these keys holds its address and title.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroundingChunk<'a> {
    #[serde(borrow)]
    pub(super) web: Option<GroundingSource<'a>>,
    #[serde(borrow)]
    pub(super) retrieved_context: Option<GroundingSource<'a>>,
    #[serde(borrow)]
    pub(super) maps: Option<GroundingSource<'a>>,
    #[serde(borrow)]
    pub(super) image: Option<GroundingSource<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroundingSource<'a> {
    #[serde(borrow)]
    pub(super) uri: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) source_uri: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) title: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroundingSupport<'a> {
    #[serde(borrow)]
    pub(super) segment: Option<Segment<'a>>,
    pub(super) grounding_chunk_indices: Option<Vec<usize>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Segment<'a> {
    pub(super) start_index: Option<u64>,
    pub(super) end_index: Option<u64>,
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogprobsResult<'a> {
    #[serde(borrow)]
    pub(super) chosen_candidates: Option<Vec<TokenLogprob<'a>>>,
    #[serde(borrow)]
    pub(super) top_candidates: Option<Vec<TopCandidates<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct TopCandidates<'a> {
    #[serde(borrow)]
    pub(super) candidates: Option<Vec<TokenLogprob<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenLogprob<'a> {
    #[serde(borrow)]
    pub(super) token: Option<Text<'a>>,
    pub(super) log_probability: Option<f64>,
}
