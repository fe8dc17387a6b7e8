//! Properties of the Anthropic codec over recorded traffic.

#[path = "support/cassettes.rs"]
mod cassettes;

#[test]
fn every_recording_of_the_messages_interface_is_complete() {
    for cassette in cassettes::load(&["anthropic.messages"]).into_iter().flatten() {
        let request = cassette.request.as_ref().unwrap_or_else(|| panic!("{}: no request", cassette.file));
        assert_eq!(request["stream"].as_bool().unwrap_or(false), cassette.stream, "{}", cassette.file);
        assert!(cassette.path.starts_with("/v1/messages"), "{}", cassette.file);
        assert!(!cassette.provider.is_empty() && !cassette.api.is_empty() && !cassette.body.is_empty(), "{}", cassette.file);
        let has_limits = cassette.headers.keys().any(|name| name.starts_with("anthropic-ratelimit-"));
        assert_eq!(has_limits, cassette.features.iter().any(|f| f == "rate_limit_headers"), "{}", cassette.file);
        assert!(cassette.status >= 200);
    }
}
