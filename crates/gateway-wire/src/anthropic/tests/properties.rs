//! What the protocol can express survives being written and read again.

use gateway_core::ir::{
    CacheMark, CacheTtl, Extras, Media, MediaKind, MediaSource, Reasoning, ReasoningAmount, ToolCall, ToolKind, ToolResult,
};
use proptest::prelude::*;

use super::*;

fn cache() -> impl Strategy<Value = Option<CacheMark>> {
    let ttl = prop_oneof![Just(None), Just(Some(CacheTtl::FiveMinutes)), Just(Some(CacheTtl::OneHour))];
    proptest::option::of(ttl.prop_map(|ttl| CacheMark { ttl }))
}

fn plain() -> impl Strategy<Value = Part> {
    ("[^\u{0}]{1,12}", cache()).prop_map(|(text, cache)| Part { cache, ..Part::text(text) })
}

fn media() -> impl Strategy<Value = Part> {
    let document = |source, media_type: Option<&str>| Media {
        kind: MediaKind::Document,
        media_type: media_type.map(str::to_owned),
        source,
        detail: None,
        title: Some("t".into()),
        context: None,
        citations: Some(true),
    };
    prop_oneof![
        "[A-Za-z0-9+/]{4,12}".prop_map(move |data| document(MediaSource::Inline { base64: data.into() }, Some("application/pdf"))),
        "[ -~]{1,12}".prop_map(move |text| document(MediaSource::Text(text), Some("text/plain"))),
        "https://[a-z]{1,8}".prop_map(move |url| document(MediaSource::Url(url), None)),
    ]
    .prop_map(|media| Part::new(PartBody::Media(media)))
}

fn thought() -> impl Strategy<Value = Part> {
    prop_oneof![
        (".{0,12}", "[A-Za-z0-9+/=]{0,12}")
            .prop_map(|(text, bytes)| { reasoning(&text, Some(Seal { issuer: ANTHROPIC_MESSAGES, bytes: bytes.into() })) }),
        "[A-Za-z0-9+/=]{0,12}"
            .prop_map(|data| { reasoning("", Some(Seal { issuer: ANTHROPIC_MESSAGES, bytes: format!("redacted:{data}").into() })) }),
    ]
}

fn call() -> impl Strategy<Value = Part> {
    let arguments = prop_oneof![Just("{}".to_owned()), "[a-z]{1,6}".prop_map(|value| format!("{{\"k\":\"{value}\",\"n\":1.50}}"))];
    ("[a-zA-Z0-9_-]{1,20}", "[a-zA-Z0-9_-]{1,20}", arguments)
        .prop_map(|(id, name, arguments)| Part::new(PartBody::ToolCall(ToolCall { id, name, arguments, kind: ToolKind::Function })))
}

fn result() -> impl Strategy<Value = Part> {
    ("[a-zA-Z0-9_-]{1,20}", proptest::collection::vec(plain(), 0..3), proptest::option::of(any::<bool>()))
        .prop_map(|(call_id, content, is_error)| Part::new(PartBody::ToolResult(ToolResult { call_id, name: None, content, is_error })))
}

fn turns() -> impl Strategy<Value = Vec<Message>> {
    let asked = proptest::collection::vec(prop_oneof![plain(), media(), result()], 1..4).prop_map(|parts| message(Role::User, parts));
    let said = proptest::collection::vec(prop_oneof![plain(), thought(), call()], 1..4).prop_map(|parts| message(Role::Assistant, parts));
    let told = plain().prop_map(|part| Message { extras: Some(Extras::new(ANTHROPIC_MESSAGES)), ..message(Role::System, vec![part]) });
    proptest::collection::vec(prop_oneof![3 => asked, 3 => said, 1 => told], 1..6)
}

fn amount() -> impl Strategy<Value = Option<ReasoningAmount>> {
    use gateway_core::ir::Effort;
    let level = || prop_oneof![Just(Effort::Low), Just(Effort::Medium), Just(Effort::High), Just(Effort::Xhigh), Just(Effort::Max)];
    proptest::option::of(prop_oneof![
        level().prop_map(ReasoningAmount::Effort),
        level().prop_map(ReasoningAmount::AdaptiveEffort),
        (0u32..40_000).prop_map(ReasoningAmount::Budget),
        Just(ReasoningAmount::Adaptive),
        Just(ReasoningAmount::Off),
    ])
}

proptest! {
    #[test]
    fn native_requests_survive_the_slow_path(
        messages in turns(),
        system in proptest::option::of(proptest::collection::vec(plain(), 1..3)),
        amount in amount(),
        temperature in proptest::option::of(0.0f64..1.0),
        user in proptest::option::of("[a-z]{1,5}"),
        stream in any::<bool>(),
        cache in cache(),
    ) {
        let system = system.map(|parts| message(Role::System, parts));
        let mut request = ChatRequest {
            messages: system.into_iter().chain(messages).collect(),
            reasoning: amount.map(|amount| Reasoning { amount: Some(amount), visible: None }),
            output_tokens_max: Some(1_000),
            user,
            stream,
            cache,
            extras: Some(Extras { fields: vec![("x".into(), raw("1.50"))], ..Extras::new(ANTHROPIC_MESSAGES) }),
            ..ChatRequest::default()
        };
        request.sampling.temperature = temperature;
        let deployment = deployment(Quirks::default());
        let target = Target { deployment: &deployment, stream, output_limit: None };
        let mut losses = Losses::new();
        let encoded = AnthropicEgress::new().encode(&request, &target, &mut losses).unwrap();
        prop_assert_eq!(lost(&losses), Vec::<String>::new());
        prop_assert!(encoded.headers.is_empty(), "a native request keeps the caller's own version");
        let head = http::Request::post("/v1/messages").body(()).unwrap().into_parts().0;
        let back = AnthropicIngress::new().decode(&head, &encoded.body).unwrap();
        prop_assert_eq!(back, request);
    }

    #[test]
    fn no_input_panics(body in "[\\[\\]{}\",:a-z0-9\\\\ ]{0,60}") {
        let head = http::Request::post("/v1/messages").body(()).unwrap().into_parts().0;
        let _ = AnthropicIngress::new().peek(&head, body.as_bytes());
        let _ = AnthropicIngress::new().decode(&head, body.as_bytes());
        let egress = AnthropicEgress::new();
        let _ = egress.decode(body.as_bytes(), &Memo::default());
        let _ = egress.fault_in_body(body.as_bytes());
        let mut decoder = egress.event_decoder(Memo::default());
        let _ = decoder.decode(gateway_core::Frame { name: None, data: body.as_bytes() }, &mut |_| {});
    }
}
