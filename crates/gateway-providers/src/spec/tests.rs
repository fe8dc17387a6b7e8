use super::*;

const ACME: &str = r#"
id = "acme"
protocol = "openai-chat"
base_url = "https://llm.acme.example/v1/"
auth = { scheme = "bearer", env = ["ACME_API_KEY"] }
stream_usage = "always"
quirks = ["max-tokens"]
request.rename = { max_completion_tokens = "max_tokens" }
request.drop = ["logit_bias"]
request.forward_headers = ["x-acme-tag"]

[[models]]
match = ["acme-*-think", "acme-2"]
quirks = ["no-sampling"]
"#;

#[test]
fn a_spec_says_what_its_file_says() {
    let spec = ProviderSpec::parse("acme.toml", ACME).expect("valid");
    assert_eq!((&*spec.base_url, spec.pass, &spec.auth), ("https://llm.acme.example/v1", Pass::Verbatim, &AuthScheme::Bearer));
    assert_eq!(spec.rename, [("max_completion_tokens".into(), "max_tokens".into())]);
    assert_eq!(spec.how_to_set_key("acme2"), "set ACME_API_KEY or providers.acme2.api_key");
    let (plain, thinking) = (spec.quirks("acme-1"), spec.quirks("acme-1-think"));
    assert_eq!((plain.stream_usage, plain.output_limit_key), (StreamUsage::Always, OutputLimitKey::MaxTokens));
    assert!(!plain.no_sampling && thinking.no_sampling && spec.quirks("acme-2").no_sampling);
}

/// A spec with `from` replaced by `to` is refused in the line that holds it, with a text that names it.
fn refused(from: &str, to: &str, line: usize, says: &str) {
    let text = ACME.replacen(from, to, 1);
    assert_ne!(text, ACME, "{from} is in the file");
    let error = ProviderSpec::parse("acme.toml", &text).expect_err(to).to_string();
    assert!(error.starts_with(&format!("acme.toml:{line}: ")), "{error}");
    assert!(error.contains(says), "{error}");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    refused("stream_usage", "steam_usage", 6, "steam_usage");
    refused("stream_usage = \"always\"", "stream_usage = \"sometimes\"", 6, "sometimes");
    refused("\"max-tokens\"", "\"max-token\"", 7, "max-token");
    refused("openai-chat", "openai-chats", 3, "openai-chat, anthropic-messages, gemini");
    refused("https://llm", "llm", 4, "https://");
    refused("scheme = \"bearer\"", "scheme = \"header\"", 5, "need a `name`");
    refused("request.drop", "request.dorp", 9, "dorp");
    refused("id = \"acme\"", "id = 3", 2, "string");
    refused("stream_usage = \"always\"", "accepted_keys = [\"model\"]", 6, "filtered");
    let missing = ProviderSpec::parse("acme.toml", "id = \"acme\"").expect_err("incomplete").to_string();
    assert!(missing.contains("protocol"), "{missing}");
}

#[test]
fn a_password_in_the_address_is_refused_and_not_repeated() {
    let error = ProviderSpec::custom("house", "openai-chat", "https://user:secret@host/v1").expect_err("refused").to_string();
    assert!(!error.contains("secret") && error.contains("providers.house.base_url"), "{error}");
}

#[test]
fn a_custom_provider_shows_its_key_the_way_of_its_protocol() {
    let scheme = |protocol| ProviderSpec::custom("house", protocol, "http://127.0.0.1:9100/v1").expect("valid").auth;
    assert_eq!(scheme("openai-chat"), AuthScheme::Bearer);
    assert_eq!(scheme("anthropic-messages"), AuthScheme::Header(HeaderName::from_static("x-api-key")));
    assert_eq!(scheme("gemini"), AuthScheme::Header(HeaderName::from_static("x-goog-api-key")));
}

#[test]
fn patterns_hold_stars_anywhere() {
    let check = |pattern, name, expect| assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
    check("claude-*-4-0", "claude-opus-4-0", true);
    check("claude-*-4-0", "claude-opus-4-01", false);
    check("claude-*-4-1*", "claude-opus-4-1-20250805", true);
    check("gpt-5*", "gpt-5", true);
    check("gpt-5*", "gpt-4", false);
    check("o1", "o1", true);
    check("o1", "o1-mini", false);
    check("a*b*a", "aba", true);
    check("a*a", "a", false);
    check("*", "", true);
}
