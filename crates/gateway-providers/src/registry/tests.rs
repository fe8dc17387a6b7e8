use gateway_core::{OutputLimitKey, Readiness, Secret};

use super::*;
use crate::adapter::Pass;

#[cfg(feature = "builtin")]
fn shipped() -> Registry {
    Registry::builtin().expect("the shipped specs are valid")
}

#[cfg(feature = "builtin")]
#[test]
fn the_shipped_specs_parse_and_are_found_by_name_and_alias() {
    let registry = shipped();
    let ids: Vec<&str> = registry.iter().map(|factory| factory.id()).collect();
    assert_eq!(ids, ["openai", "anthropic", "google", "deepseek", "mistral", "openrouter"]);
    assert_eq!(registry.find("gemini").map(|factory| factory.id()).ok(), Some("google"));
    let error = registry.find("opanai").err().expect("unknown").to_string();
    assert!(error.contains("openai, anthropic") && error.contains("base_url"), "{error}");
    for factory in registry.iter() {
        assert!(!factory.env().is_empty(), "{} names its variable", factory.id());
    }
}

#[cfg(feature = "builtin")]
#[test]
fn models_depart_from_their_protocol_as_their_makers_say() {
    let registry = shipped();
    let quirks = |provider, model| registry.find(provider).expect("shipped").quirks(model);
    assert_eq!(quirks("openai", "gpt-4.1").output_limit_key, OutputLimitKey::AsSent);
    assert!(quirks("openai", "o3-mini").no_sampling && quirks("openai", "gpt-5.4").no_sampling);
    assert_eq!(quirks("openai", "gpt-5.4").output_limit_key, OutputLimitKey::MaxCompletionTokens);
    assert!(!quirks("openai", "gpt-5-chat-latest").no_sampling);

    for model in ["claude-3-7-sonnet-20250219", "claude-opus-4-1", "claude-sonnet-4-20250514", "claude-opus-4-0"] {
        let quirks = quirks("anthropic", model);
        assert!(quirks.schema_by_forced_tool && !quirks.no_sampling, "{model}");
    }
    for model in ["claude-sonnet-4-5", "claude-haiku-4-5-20251001", "claude-opus-4-6"] {
        let quirks = quirks("anthropic", model);
        assert!(!quirks.schema_by_forced_tool && !quirks.no_sampling && !quirks.thinking_by_effort, "{model}");
    }
    for model in ["claude-opus-4-7", "claude-opus-5", "claude-sonnet-5-5", "claude-fable-5"] {
        let quirks = quirks("anthropic", model);
        assert!(!quirks.schema_by_forced_tool && quirks.no_sampling && quirks.thinking_by_effort, "{model}");
    }
    assert!(quirks("google", "gemini-3-pro-preview").thinking_by_effort && !quirks("google", "gemini-2.5-flash").thinking_by_effort);
    assert!(quirks("deepseek", "deepseek-chat").no_json_schema);
    let mistral = quirks("mistral", "mistral-large-latest");
    assert!(
        mistral.tool_ids_nine_alphanumeric
            && mistral.seed_is_random_seed
            && mistral.accepted_keys.iter().any(|key| **key == *"random_seed")
    );
}

#[cfg(feature = "builtin")]
#[test]
fn mistral_is_filtered_because_it_refuses_unknown_keys() {
    let spec = ProviderSpec::parse("mistral.toml", include_str!("../../specs/mistral.toml")).expect("valid");
    assert_eq!(spec.pass, Pass::Filtered);
}

#[test]
fn a_protocol_without_a_codec_is_refused_by_name() {
    let context = ProviderContext { codecs: Vec::new(), ..ProviderContext::new() };
    let spec = ProviderSpec::custom("house", "gemini", "http://127.0.0.1:1/v1beta").expect("valid");
    let pool = CredentialPool::new(vec![Secret::new("k")], spec.how_to_set_key("house"), Arc::clone(&context.clock));
    assert_eq!(pool.readiness(), Readiness::Ready);
    let built = spec.build(ProviderSettings::new(ProviderId::new("house"), Arc::new(pool)), &context);
    assert!(built.err().expect("no codec").to_string().contains("gemini"));
}

#[test]
fn a_factory_of_the_same_name_replaces() {
    let spec = |url| ProviderSpec::custom("house", "openai-chat", url).expect("valid");
    let registry = Registry::empty().with(spec("http://127.0.0.1:1/a")).with(spec("http://127.0.0.1:1/b"));
    assert_eq!(registry.iter().count(), 1);
}
