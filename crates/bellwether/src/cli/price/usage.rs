//! Usage as somebody has it at hand: our leaves, or the object that a provider's answer reports.
//!
//! A provider's object is read by the decoder that reads the provider's answers, so that what is quoted is what would be
//! charged.

use anyhow::{Context, Result, bail};
use gateway_billing::{
    price::{PriceVersion, Sku},
    usage::{Leaves, Normalised, leaves_at},
};
use gateway_core::{Egress, Memo, Usage};
use gateway_wire::{anthropic::AnthropicEgress, gemini::GeminiEgress, openai_chat::OpenAiChatEgress};
use serde_json::{Map, Value, json};

/// What a request used.
pub(super) enum Used {
    /// Counted as we count.
    Leaves(Leaves),
    /// As a provider reports it.
    Reported(Box<Usage>),
}

impl Used {
    /// What is charged for by this price.
    pub(super) fn at(self, version: &PriceVersion, at_us: i64) -> Normalised {
        match self {
            Self::Leaves(leaves) => Normalised { leaves, inconsistent: false },
            Self::Reported(usage) => leaves_at(&usage, version, at_us),
        }
    }
}

/// How a usage object is written.
enum Dialect {
    Leaves,
    OpenAiChat,
    OpenAiResponses,
    Anthropic,
    Gemini,
}

pub(super) fn read(text: &str) -> Result<Used> {
    let usage: Map<String, Value> =
        serde_json::from_str(text).context("--usage must be a JSON object such as {\"tok.in\": 120, \"tok.out\": 40}")?;
    let object = Value::Object(usage.clone());
    let dialect = dialect(&usage)?;
    if !matches!(dialect, Dialect::Leaves) {
        whole_counts(&object)?;
    }
    match dialect {
        Dialect::Leaves => leaves(text, &usage).map(Used::Leaves),
        Dialect::OpenAiChat => decoded(&OpenAiChatEgress::new(), &chat_answer(&object)),
        Dialect::OpenAiResponses => decoded(&OpenAiChatEgress::new(), &chat_answer(&as_chat(&usage)?)),
        Dialect::Anthropic => {
            let answer = json!({ "type": "message", "role": "assistant", "content": [], "stop_reason": "end_turn", "usage": object });
            decoded(&AnthropicEgress::new(), &answer)
        }
        Dialect::Gemini => {
            let candidate = json!({ "index": 0, "content": { "role": "model", "parts": [{ "text": "." }] }, "finishReason": "STOP" });
            decoded(&GeminiEgress::new(), &json!({ "candidates": [candidate], "usageMetadata": object }))
        }
    }
}

fn dialect(usage: &Map<String, Value>) -> Result<Dialect> {
    let has = |names: &[&str]| names.iter().any(|name| usage.contains_key(*name));
    let found = [
        (has(&["prompt_tokens", "completion_tokens"]), Dialect::OpenAiChat),
        (has(&["promptTokenCount", "candidatesTokenCount", "totalTokenCount"]), Dialect::Gemini),
        // Both count `input_tokens`, but only Anthropic's leaves the cached ones out of it.
        (has(&["input_tokens", "output_tokens"]) && has(&["input_tokens_details", "total_tokens"]), Dialect::OpenAiResponses),
        (has(&["input_tokens", "output_tokens"]) && !has(&["input_tokens_details", "total_tokens"]), Dialect::Anthropic),
    ];
    let mut found = found.into_iter().filter_map(|(is, dialect)| is.then_some(dialect));
    match (found.next(), found.next()) {
        (None, _) => Ok(Dialect::Leaves),
        (Some(dialect), None) => Ok(dialect),
        (Some(_), Some(_)) => bail!("--usage mixes the names of several providers; give the usage object of one answer"),
    }
}

fn leaves(text: &str, usage: &Map<String, Value>) -> Result<Leaves> {
    let unknown: Vec<&str> =
        usage.keys().map(String::as_str).filter(|name| *name != "service_tier" && name.parse::<Sku>().is_err()).collect();
    if !unknown.is_empty() {
        let known = Sku::names().collect::<Vec<_>>().join(", ");
        bail!(
            "--usage counts `{}`, which is nothing that can be priced; known are {known}, and providers' own usage objects",
            unknown.join("`, `")
        );
    }
    Leaves::from_stored(text).map_err(|error| anyhow::anyhow!("--usage: {error}; counts are whole numbers"))
}

/// Of an answer, a count that is none is passed over for the caller's sake; somebody who asks for a price wants to know of it.
fn whole_counts(usage: &Value) -> Result<()> {
    match usage {
        Value::Array(items) => items.iter().try_for_each(whole_counts),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let is_count = name.ends_with("_tokens") || name.to_ascii_lowercase().ends_with("tokencount");
            if is_count && !value.is_null() && !value.is_u64() {
                bail!("--usage: `{name}` is {value}; counts are whole numbers");
            }
            whole_counts(value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn chat_answer(usage: &Value) -> Value {
    let tier = usage.get("service_tier").cloned().unwrap_or(Value::Null);
    json!({ "object": "chat.completion", "choices": [], "service_tier": tier, "usage": usage })
}

/// The responses API counts as chat completions do, under other names.
fn as_chat(usage: &Map<String, Value>) -> Result<Value> {
    let mut renamed = Map::new();
    for (name, value) in usage {
        let name = match name.as_str() {
            "input_tokens" => "prompt_tokens",
            "input_tokens_details" => "prompt_tokens_details",
            "output_tokens" => "completion_tokens",
            "output_tokens_details" => "completion_tokens_details",
            "total_tokens" | "service_tier" => name,
            other => bail!("--usage: `{other}` is not part of the usage object of OpenAI's responses"),
        };
        renamed.insert(name.to_owned(), value.clone());
    }
    Ok(Value::Object(renamed))
}

fn decoded(codec: &dyn Egress, answer: &Value) -> Result<Used> {
    let body = serde_json::to_vec(answer)?;
    let response = codec.decode(&body, &Memo::default()).map_err(|error| anyhow::anyhow!("--usage: {error}"))?;
    let usage = response.usage.context("--usage reports nothing that was used")?;
    Ok(Used::Reported(Box::new(usage)))
}

#[cfg(test)]
mod tests {
    use gateway_billing::usage::leaves_of;

    use super::*;

    #[track_caller]
    fn check(usage: &Value, leaves: &Value) {
        let used = match read(&usage.to_string()).expect("it can be read") {
            Used::Leaves(leaves) => Normalised { leaves, inconsistent: false },
            Used::Reported(usage) => leaves_of(&usage),
        };
        assert_eq!(serde_json::to_value(&used.leaves).expect("JSON"), *leaves, "{usage}");
        assert!(!used.inconsistent);
    }

    #[test]
    fn each_providers_own_object_is_read_as_its_answers_are() {
        check(&json!({"tok.in": 120, "tok.out": 40, "service_tier": "batch"}), &json!({"tok.in": 120, "tok.out": 40}));
        check(
            &json!({"prompt_tokens": 12_000, "completion_tokens": 700, "total_tokens": 12_700,
                "prompt_tokens_details": {"cached_tokens": 8_192}, "completion_tokens_details": {"reasoning_tokens": 200}}),
            &json!({"tok.in": 3_808, "tok.in.cache_read": 8_192, "tok.out": 500, "tok.out.reasoning": 200}),
        );
        check(
            &json!({"input_tokens": 12_000, "output_tokens": 700, "total_tokens": 12_700,
                "input_tokens_details": {"cached_tokens": 8_192}, "output_tokens_details": {"reasoning_tokens": 200}}),
            &json!({"tok.in": 3_808, "tok.in.cache_read": 8_192, "tok.out": 500, "tok.out.reasoning": 200}),
        );
        check(
            &json!({"input_tokens": 500, "cache_creation_input_tokens": 10_000, "cache_read_input_tokens": 20_000, "output_tokens": 300,
                "cache_creation": {"ephemeral_5m_input_tokens": 4_000, "ephemeral_1h_input_tokens": 6_000}}),
            &json!({"tok.in": 500, "tok.in.cache_read": 20_000, "tok.in.cache_write_5m": 4_000, "tok.in.cache_write_1h": 6_000, "tok.out": 300}),
        );
        check(
            &json!({"promptTokenCount": 1_000, "candidatesTokenCount": 50, "totalTokenCount": 1_050,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 400}, {"modality": "AUDIO", "tokenCount": 600}]}),
            &json!({"tok.in": 400, "tok.in.audio": 600, "tok.out": 50}),
        );
    }

    #[track_caller]
    fn check_refused(text: &str, message: &str) {
        let error = read(text).err().expect("it is refused");
        assert!(format!("{error:#}").contains(message), "{error:#}");
    }

    #[test]
    fn what_is_no_usage_is_refused_with_what_would_be() {
        check_refused("nonsense", "must be a JSON object");
        check_refused("[1]", "must be a JSON object");
        check_refused(r#"{"tokens": 5}"#, "`tokens`, which is nothing that can be priced; known are tok.in, tok.in.cache_read,");
        check_refused(r#"{"tok.in": -1}"#, "counts are whole numbers");
        check_refused(r#"{"tok.in": 1.5}"#, "counts are whole numbers");
        check_refused(r#"{"prompt_tokens": 1, "input_tokens": 1}"#, "mixes the names of several providers");
        check_refused(r#"{"prompt_tokens": "many"}"#, "--usage: `prompt_tokens` is \"many\"; counts are whole numbers");
        check_refused(r#"{"input_tokens": 1, "total_tokens": 2, "tok.in": 1}"#, "`tok.in` is not part of");
    }
}
