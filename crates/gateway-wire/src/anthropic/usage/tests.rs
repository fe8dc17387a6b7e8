use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

fn read(json: &str) -> WireUsage {
    WireUsage::decode(Json::parse(json.as_bytes()).unwrap())
}

fn written(usage: &Usage) -> String {
    let mut out = BytesMut::new();
    write(&mut Writer::new(&mut out), usage, None);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn cache_is_extra_and_thinking_is_inside() {
    let usage = read(
        r#"{"input_tokens":10,"cache_creation_input_tokens":150,"cache_read_input_tokens":7,
            "cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":50},
            "output_tokens":40,"output_tokens_details":{"thinking_tokens":30},
            "server_tool_use":{"web_search_requests":2,"web_fetch_requests":0},"service_tier":"standard"}"#,
    );
    assert!(!usage.has_more());
    let usage = usage.canonical();
    assert_eq!((usage.input_uncached, usage.input_cache_read), (Some(10), Some(7)));
    assert_eq!((usage.input_cache_write_5m, usage.input_cache_write_1h), (Some(100), Some(50)));
    assert_eq!((usage.output_text, usage.output_reasoning, usage.reported_output), (Some(10), Some(30), Some(40)));
    assert_eq!((usage.web_searches, usage.service_tier.as_deref()), (Some(2), Some("standard")));
    assert_eq!(usage.input_tokens(), 167);
}

#[test]
fn a_later_total_without_a_split_counts_nothing_twice() {
    let mut usage = read(
        r#"{"input_tokens":10,"cache_creation_input_tokens":150,"output_tokens":1,
            "cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":50}}"#,
    );
    usage.restate(read(r#"{"cache_creation_input_tokens":150,"output_tokens":9}"#));
    let usage = usage.canonical();
    assert_eq!((usage.input_cache_write_5m, usage.input_cache_write_1h), (Some(100), Some(50)));
    assert_eq!((usage.input_uncached, usage.output_text), (Some(10), Some(9)));
}

#[test]
fn iterations_are_billed_by_their_sum() {
    let usage = read(
        r#"{"input_tokens":5,"output_tokens":3,"iterations":[
            {"type":"message","input_tokens":2,"output_tokens":1,"cache_creation_input_tokens":4},
            {"type":"advisor_message","input_tokens":30,"output_tokens":10},
            {"type":"message","input_tokens":3,"output_tokens":2}]}"#,
    );
    assert!(usage.has_more());
    let usage = usage.canonical();
    assert_eq!((usage.input_uncached, usage.input_cache_write_5m, usage.output_text), (Some(35), Some(4), Some(13)));
}

#[test]
fn odd_counts_do_not_underflow_and_do_not_add_up() {
    let usage = read(
        r#"{"output_tokens":3,"output_tokens_details":{"thinking_tokens":9},"cache_creation_input_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":8}}"#,
    );
    let usage = usage.canonical();
    assert_eq!((usage.output_text, usage.output_reasoning, usage.reported_output), (Some(0), Some(9), Some(3)));
    assert_eq!((usage.input_cache_write_5m, usage.input_cache_write_1h, usage.reported_input), (Some(0), Some(8), Some(1)));
}

#[test]
fn other_protocols_buckets_add_up_to_ours() {
    let usage = Usage {
        input_uncached: Some(1),
        input_audio: Some(2),
        input_image: Some(4),
        input_audio_cache_read: Some(8),
        output_audio: Some(16),
        output_text: Some(32),
        service_tier: Some("default".into()),
        ..Usage::default()
    };
    let back = read(&written(&usage)).canonical();
    assert_eq!((back.input_tokens(), back.output_tokens()), (usage.input_tokens(), usage.output_tokens()));
    assert_eq!(back.service_tier.as_deref(), Some("standard"));
}

proptest! {
    #[test]
    fn what_the_protocol_can_say_survives_the_round_trip(
        input in 0u64..1_000, read_cache in proptest::option::of(0u64..1_000), five in proptest::option::of(0u64..1_000),
        hour in proptest::option::of(0u64..1_000), text in 0u64..1_000, thinking in proptest::option::of(0u64..1_000),
        searches in proptest::option::of(0u64..9),
    ) {
        let usage = Usage {
            input_uncached: Some(input),
            input_cache_read: read_cache,
            input_cache_write_5m: five.or(hour.map(|_| 0)),
            input_cache_write_1h: hour,
            output_text: Some(text),
            output_reasoning: thinking,
            reported_output: Some(text + thinking.unwrap_or(0)),
            web_searches: searches,
            ..Usage::default()
        };
        prop_assert_eq!(read(&written(&usage)).canonical(), usage);
    }
}
