use super::*;

#[track_caller]
fn check(usage: &str, stored: &str, inconsistent: bool) {
    let usage: Usage = serde_json::from_str(usage).unwrap();
    let normalised = leaves_of(&usage);
    assert_eq!((normalised.leaves.to_stored().as_str(), normalised.inconsistent), (stored, inconsistent));
    assert_eq!(Leaves::from_stored(stored).unwrap(), normalised.leaves);
}

#[test]
fn each_bucket_is_one_leaf_and_the_sides_add_up() {
    check("{}", "{}", false);
    check(
        r#"{"input_uncached":3808,"input_cache_read":8192,"output_text":600,"output_reasoning":100,"reported_input":12000,"reported_output":700}"#,
        r#"{"tok.in":3808,"tok.in.cache_read":8192,"tok.out":600,"tok.out.reasoning":100}"#,
        false,
    );
    check(r#"{"output_text":1,"service_tier":"batch"}"#, r#"{"tok.out":1,"service_tier":"batch"}"#, false);
    check(r#"{"output_text":1,"service_tier":"a\"b"}"#, r#"{"tok.out":1}"#, false);
    check(r#"{"web_searches":2}"#, r#"{"call.web_search":2}"#, false);
}

#[test]
fn a_report_that_does_not_add_up_is_read_in_the_callers_favour() {
    // Cached tokens above the whole prompt, as one host reports them: the codec has floored the fresh ones at zero.
    check(
        r#"{"input_uncached":0,"input_cache_read":161,"output_text":9,"reported_input":10,"reported_output":9}"#,
        r#"{"tok.in":0,"tok.in.cache_read":10,"tok.out":9}"#,
        true,
    );
    // Cache writes counted beside the prompt: the fresh tokens give way, after the written ones.
    check(r#"{"input_uncached":100,"input_cache_write_5m":40,"reported_input":100}"#, r#"{"tok.in":100,"tok.in.cache_write_5m":0}"#, true);
    check(r#"{"input_uncached":90,"reported_input":100}"#, r#"{"tok.in":90}"#, true);
    check(r#"{"output_text":8,"output_reasoning":8,"reported_output":10}"#, r#"{"tok.out":2,"tok.out.reasoning":8}"#, true);
    let most = format!(r#"{{"input_uncached":{0},"input_audio":{0},"reported_input":0}}"#, u64::MAX);
    assert!(leaves_of(&serde_json::from_str(&most).unwrap()).inconsistent);
}

#[test]
fn an_answer_without_a_report_is_counted_low() {
    let early: Usage = serde_json::from_str(r#"{"input_uncached":25,"output_text":1}"#).unwrap();
    let (usage, source) = counted(&early, 999, 41, BytesPerToken::USUAL);
    assert_eq!((leaves_of(&usage).leaves.to_stored().as_str(), source), (r#"{"tok.in":25,"tok.out":10}"#, UsageSource::EarlyAndCounted));
    let (usage, source) = counted(&Usage::default(), 12, 0, BytesPerToken::USUAL);
    assert_eq!((leaves_of(&usage).leaves.to_stored().as_str(), source), (r#"{"tok.in":12,"tok.out":0}"#, UsageSource::Counted));
    assert_eq!(BytesPerToken::CAUTIOUS.bound(5), 3);
    assert_eq!(BytesPerToken::from_milli(0).bound(7), 7, "never more tokens than bytes");
}

#[test]
fn stored_usage_that_is_not_usage_is_refused() {
    for text in ["", "[]", "{\"tok.in\":-1}", "{\"tok.in\":1.5}", "{\"tok.inn\":1}", "{\"service_tier\":3}", "{\"tok.in\":\"1\"}"] {
        assert!(Leaves::from_stored(text).is_err(), "{text}");
    }
}

#[test]
fn flags_keep_unknown_bits_and_name_known_ones() {
    let flags = UsageFlags::from_bits(1 << 20).and(UsageFlags::INCONSISTENT).and(UsageFlags::OVER_BOUND);
    assert_eq!(flags.names().collect::<Vec<_>>(), ["usage_inconsistent", "over_bound"]);
    assert_eq!(flags.bits(), (1 << 20) | 9);
    for source in [UsageSource::Reported, UsageSource::EarlyAndCounted, UsageSource::Counted, UsageSource::Recovered] {
        assert_eq!(UsageSource::from_code(source.code()), Some(source));
    }
}
