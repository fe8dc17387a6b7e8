//! Requests of other protocols, written for this one.

use gateway_core::{
    OutputLimitKey, StreamUsage,
    ir::{
        CacheMark, CacheTtl, Effort, Extras, Logprobs, Media, MediaKind, MediaSource, OutputFormat, Reasoning, ReasoningAmount, Sampling,
        Tool, ToolCall, ToolChoice, ToolKind, ToolResult, ToolSpec,
    },
};
use serde_json::json;

use super::*;

fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::new(PartBody::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), kind: ToolKind::Function }))
}

fn result(id: &str, text: &str) -> Part {
    let content = vec![Part::text(text)];
    Part::new(PartBody::ToolResult(ToolResult { call_id: id.into(), name: None, content, is_error: None }))
}

fn tool(name: &str) -> Tool {
    let parameters = Some(raw(r#"{"properties":{}}"#));
    let spec = ToolSpec::Function { name: name.into(), description: None, parameters, strict: Some(false) };
    Tool { spec, cache: None, extras: None }
}

fn ask() -> ChatRequest {
    ChatRequest { messages: vec![user("Hi")], output_tokens_max: Some(1_000), ..ChatRequest::default() }
}

struct Written {
    body: Value,
    lost: Vec<String>,
    encoded: Encoded,
}

fn write(request: &ChatRequest, quirks: Quirks, paid: Option<u32>) -> Written {
    let deployment = deployment(quirks);
    let target = Target { deployment: &deployment, stream: request.stream, output_limit: paid };
    let mut losses = Losses::new();
    let encoded = AnthropicEgress::new().encode(request, &target, &mut losses).unwrap();
    Written { body: json(&encoded.body), lost: lost(&losses), encoded }
}

/// Checks the named top-level values (null: absent) and all losses.
fn check(request: &ChatRequest, quirks: Quirks, paid: Option<u32>, expected: &Value, losses: &[&str]) {
    let written = write(request, quirks, paid);
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(written.body.get(key).unwrap_or(&Value::Null), value, "{key} in {}", written.body);
    }
    assert_eq!(written.lost, losses, "{}", written.body);
}

fn by_effort() -> Quirks {
    Quirks { thinking_by_effort: true, ..Quirks::default() }
}

#[test]
fn the_conversation_follows_the_protocols_order() {
    let mut request = ask();
    request.messages = vec![
        message(Role::System, vec![Part::text("A")]),
        message(Role::Developer, vec![Part::text("B")]),
        user("Weather?"),
        message(Role::Assistant, vec![call("call.1", "get:weather", r#"{"city":"Oslo"}"#), call("call:1", "now", "")]),
        message(Role::Tool, vec![result("call.1", "4")]),
        user("Hurry"),
        message(Role::Tool, vec![result("call:1", "noon")]),
        message(Role::System, vec![Part::text("C")]),
        message(Role::Assistant, vec![Part::text("")]),
    ];
    request.tools = vec![tool("get:weather"), tool("now")];
    let schema = json!({"type": "object", "properties": {}});
    let expected = json!({
        "system": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}, {"type": "text", "text": "C"}],
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "call_1_2", "name": "now", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "4"},
                {"type": "tool_result", "tool_use_id": "call_1_2", "content": "noon"},
                {"type": "text", "text": "Hurry"}]}],
        "tools": [{"name": "get_weather", "input_schema": schema}, {"name": "now", "input_schema": schema}],
        "max_tokens": 1_000,
    });
    check(&request, Quirks::default(), None, &expected, &["messages[7];approximated"]);
    let written = write(&request, Quirks::default(), None);
    assert_eq!(written.encoded.headers["anthropic-version"], "2023-06-01");
    // The answer's names come back as the caller knows them.
    let answer = r#"{"model":"m","content":[{"type":"tool_use","id":"toolu_9","name":"get_weather","input":{}}],"stop_reason":"tool_use"}"#;
    let answer = AnthropicEgress::new().decode(answer.as_bytes(), &written.encoded.memo).unwrap();
    assert_eq!(answer.choices[0].parts, [call("toolu_9", "get:weather", "{}")]);
}

#[test]
fn broken_arguments_are_kept_not_refused() {
    let mut request = ask();
    request.messages.push(message(Role::Assistant, vec![call("a", "f", r#"{"city":"Os"#), call("b", "f", "[1]")]));
    let expected = json!({"messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "a", "name": "f", "input": {"raw_arguments": "{\"city\":\"Os"}},
            {"type": "tool_use", "id": "b", "name": "f", "input": {"raw_arguments": "[1]"}}]}],
        // History with calls needs a declaration; the caller declared none, so none may be called.
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "none"}});
    let lost = ["messages[1].content[0].arguments;malformed", "messages[1].content[1].arguments;malformed"];
    check(&request, Quirks::default(), None, &expected, &lost);
}

#[test]
fn nothing_of_another_vendor_is_sent() {
    let mut request = ask();
    let signed = call("a", "f", "{}").sealed(Some(foreign_seal()));
    request.messages.push(message(
        Role::Assistant,
        vec![
            reasoning("secret", Some(foreign_seal())),
            reasoning("unsigned", None),
            reasoning("mine", Some(Seal { issuer: ANTHROPIC_MESSAGES, bytes: "Eq".into() })),
            reasoning("", Some(Seal { issuer: ANTHROPIC_MESSAGES, bytes: "redacted:Et".into() })),
            Part::new(PartBody::Opaque { origin: GEMINI, raw: raw("{}") }),
            signed,
        ],
    ));
    request.tools = vec![tool("f")];
    request.extras = Some(Extras { fields: vec![("labels".into(), raw("{}"))], ..Extras::new(GEMINI) });
    let expected = json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "mine", "signature": "Eq"},
        {"type": "redacted_thinking", "data": "Et"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {}}]}], "labels": null});
    let lost = [
        "messages[1].content[0];foreign",
        "messages[1].content[1];foreign",
        "messages[1].content[4];foreign",
        "messages[1].content[5].seal;foreign",
        "labels;unsupported",
    ];
    check(&request, Quirks::default(), None, &expected, &lost);
}

#[test]
fn media_is_written_or_named_as_lost() {
    let media = |kind, media_type: Option<&str>, source| {
        let media_type = media_type.map(str::to_owned);
        Part::new(PartBody::Media(Media { kind, media_type, source, detail: None, title: None, context: None, citations: None }))
    };
    let inline = |base64: &str| MediaSource::Inline { base64: base64.into() };
    let mut request = ask();
    request.messages = vec![message(
        Role::User,
        vec![
            media(MediaKind::Image, Some("image/jpg"), inline("/9j/")),
            media(MediaKind::Image, None, inline("R0lGOD")),
            media(MediaKind::Document, Some("text/csv"), inline("YSxi")),
            media(MediaKind::Document, Some("application/msword"), inline("0M8R")),
            media(MediaKind::Audio, None, inline("AA==")),
            media(MediaKind::Image, None, MediaSource::File { origin: GEMINI, id: "f".into() }),
        ],
    )];
    let expected = json!({"messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lGOD"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}}]}]});
    let lost = ["messages[0].content[3];unsupported", "messages[0].content[4];unsupported", "messages[0].content[5];foreign"];
    check(&request, Quirks::default(), None, &expected, &lost);
}

#[test]
fn thinking_finds_room_and_never_exceeds_what_is_paid() {
    type Row<'a> = (ReasoningAmount, bool, Option<u32>, Option<u32>, Value, &'a [&'a str]);
    let cases: &[Row<'_>] = &[
        // Amount, model thinks by level, asked, paid → expected, losses.
        (
            ReasoningAmount::Effort(Effort::High),
            false,
            Some(1_000),
            None,
            json!({"thinking": {"type": "enabled", "budget_tokens": 16_384}, "max_tokens": 17_384}),
            &["reasoning.effort;approximated"],
        ),
        (
            ReasoningAmount::Effort(Effort::High),
            false,
            Some(4_000),
            Some(4_000),
            json!({"thinking": {"type": "enabled", "budget_tokens": 2_000}, "max_tokens": 4_000}),
            &["reasoning.effort;approximated", "reasoning.budget;approximated"],
        ),
        (
            ReasoningAmount::Effort(Effort::Low),
            false,
            Some(900),
            Some(900),
            json!({"thinking": null, "max_tokens": 900}),
            &["reasoning.effort;approximated", "reasoning;refused_by_model"],
        ),
        (
            ReasoningAmount::Effort(Effort::Max),
            false,
            None,
            None,
            json!({"thinking": {"type": "enabled", "budget_tokens": 49_152}, "max_tokens": 64_000}),
            &["reasoning.effort;approximated"],
        ),
        (
            ReasoningAmount::Budget(500),
            false,
            Some(9_000),
            None,
            json!({"thinking": {"type": "enabled", "budget_tokens": 1_024}, "max_tokens": 9_000}),
            &["reasoning.budget;approximated"],
        ),
        (ReasoningAmount::Budget(0), false, Some(100), None, json!({"thinking": null, "max_tokens": 100}), &[]),
        (
            ReasoningAmount::Effort(Effort::None),
            true,
            Some(100),
            None,
            json!({"thinking": {"type": "disabled"}, "output_config": null}),
            &[],
        ),
        (
            ReasoningAmount::Effort(Effort::Minimal),
            true,
            Some(100),
            None,
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
            &["reasoning.effort;approximated"],
        ),
        (
            ReasoningAmount::Effort(Effort::Xhigh),
            true,
            Some(100),
            None,
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}),
            &[],
        ),
        (
            ReasoningAmount::Budget(4_000),
            true,
            Some(100),
            None,
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}, "max_tokens": 100}),
            &["reasoning.budget;approximated"],
        ),
        (ReasoningAmount::Adaptive, true, Some(100), None, json!({"thinking": {"type": "adaptive"}, "output_config": null}), &[]),
    ];
    for (amount, levels, asked, paid, expected, lost) in cases {
        let reasoning = Some(Reasoning { amount: Some(*amount), visible: None });
        let request = ChatRequest { output_tokens_max: *asked, reasoning, ..ask() };
        check(&request, if *levels { by_effort() } else { Quirks::default() }, *paid, expected, lost);
    }
}

#[test]
fn what_thinking_rules_out_is_dropped_and_named() {
    let mut request = ask();
    request.reasoning = Some(Reasoning { amount: Some(ReasoningAmount::Effort(Effort::Low)), visible: Some(true) });
    request.sampling = Sampling { temperature: Some(0.2), top_k: Some(5), top_p: Some(0.5), ..Sampling::default() };
    let expected = json!({"temperature": null, "top_k": null, "top_p": null,
        "thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}});
    let lost = ["temperature;refused_by_model", "top_p;refused_by_model", "top_k;refused_by_model"];
    check(&request, by_effort(), None, &expected, &lost);
    request.sampling = Sampling::default();
    request.tools = vec![tool("f")];
    request.tool_choice = Some(ToolChoice::Required);
    let expected = json!({"thinking": {"type": "disabled"}, "output_config": null, "tool_choice": {"type": "any"}});
    check(&request, by_effort(), None, &expected, &["reasoning;refused_by_model"]);
}

#[test]
fn settings_the_protocol_lacks_are_losses() {
    let mut request = ask();
    request.sampling = Sampling {
        temperature: Some(1.7),
        top_p: Some(0.9),
        top_k: None,
        frequency_penalty: Some(0.5),
        presence_penalty: Some(0.0),
        seed: Some(7),
    };
    request.choices = Some(2);
    request.logprobs = Some(Logprobs { top: None });
    request.stop = vec!["END".into(), "\n".into()];
    request.metadata = vec![("team".into(), "a".into())];
    request.user = Some("u".into());
    request.service_tier = Some("flex".into());
    let expected =
        json!({"temperature": 1.0, "top_p": null, "stop_sequences": ["END"], "metadata": {"user_id": "u"}, "service_tier": null});
    let lost = [
        "frequency_penalty;unsupported",
        "seed;unsupported",
        "top_p;refused_by_model",
        "temperature;approximated",
        "choices;unsupported",
        "logprobs;unsupported",
        "metadata.team;unsupported",
        "stop[1];refused_by_model",
        "service_tier;unsupported",
    ];
    check(&request, Quirks::default(), None, &expected, &lost);
    let quirks =
        Quirks { no_sampling: true, stream_usage: StreamUsage::Always, output_limit_key: OutputLimitKey::AsSent, ..Quirks::default() };
    let request = ChatRequest { sampling: Sampling { temperature: Some(1.0), ..Sampling::default() }, ..ask() };
    check(&request, quirks, None, &json!({"temperature": null}), &["temperature;refused_by_model"]);
}

#[test]
fn tool_choices() {
    let named = |name: &str| ToolChoice::Named(name.into());
    let allowed = |required| ToolChoice::Allowed { names: vec!["b".into()], required };
    type Row<'a> = (Option<ToolChoice>, Option<bool>, Value, usize, &'a [&'a str]);
    let cases: &[Row<'_>] = &[
        (None, None, Value::Null, 2, &[]),
        (None, Some(false), json!({"type": "auto", "disable_parallel_tool_use": true}), 2, &[]),
        (Some(ToolChoice::None), Some(false), json!({"type": "none"}), 2, &[]),
        (Some(ToolChoice::Required), Some(true), json!({"type": "any", "disable_parallel_tool_use": false}), 2, &[]),
        (Some(named("a")), None, json!({"type": "tool", "name": "a"}), 2, &[]),
        (Some(allowed(false)), None, json!({"type": "auto"}), 1, &["tool_choice;approximated"]),
        (Some(allowed(true)), None, json!({"type": "any"}), 1, &["tool_choice;approximated"]),
    ];
    for (choice, parallel, expected, declared, lost) in cases {
        let request =
            ChatRequest { tools: vec![tool("a"), tool("b")], tool_choice: choice.clone(), parallel_tool_calls: *parallel, ..ask() };
        check(&request, Quirks::default(), None, &json!({"tool_choice": expected}), lost);
        assert_eq!(write(&request, Quirks::default(), None).body["tools"].as_array().unwrap().len(), *declared, "{choice:?}");
    }
    // Without tools there is nothing to choose.
    let request = ChatRequest { tool_choice: Some(ToolChoice::Required), parallel_tool_calls: Some(false), ..ask() };
    check(&request, Quirks::default(), None, &json!({"tool_choice": null, "tools": null}), &["tool_choice;unsupported"]);
}

#[test]
fn shapes_of_answers() {
    let format =
        |schema: &str| OutputFormat::JsonSchema { name: Some("place".into()), description: None, schema: raw(schema), strict: None };
    let request = ChatRequest { output_format: OutputFormat::JsonObject, ..ask() };
    let written = write(&request, Quirks::default(), None);
    assert!(written.body["system"][0]["text"].as_str().unwrap().contains("JSON object"));
    assert_eq!(written.lost, ["output_format;approximated"]);

    let schema = r#"{"type":"object","properties":{"city":{"type":"string"}}}"#;
    let request = ChatRequest { output_format: format(schema), ..ask() };
    let expected = json!({"output_config": {"format": {"type": "json_schema", "schema": json(schema.as_bytes())}}, "tools": null});
    check(&request, Quirks::default(), None, &expected, &[]);

    let quirks = Quirks { schema_by_forced_tool: true, ..Quirks::default() };
    let written = write(&request, quirks, None);
    assert_eq!(written.body["tool_choice"], json!({"type": "tool", "name": "place"}));
    assert_eq!(written.body["tools"][0]["input_schema"], json(schema.as_bytes()));
    let answer =
        r#"{"model":"m","content":[{"type":"tool_use","id":"t","name":"place","input":{"city":"Oslo"}}],"stop_reason":"tool_use"}"#;
    let answer = AnthropicEgress::new().decode(answer.as_bytes(), &written.encoded.memo).unwrap();
    assert_eq!(answer.choices[0].parts, [Part::text(r#"{"city":"Oslo"}"#)]);
    assert_eq!(answer.choices[0].finish.reason, gateway_core::ir::FinishReason::Stop);

    let mut text = String::new();
    let mut decoder = AnthropicEgress::new().event_decoder(written.encoded.memo.clone());
    for data in [
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"place","input":{}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"city\":\"Oslo\"}"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1}}"#,
        r#"{"type":"message_stop"}"#,
    ] {
        let frame = gateway_core::Frame { name: None, data: data.as_bytes() };
        decoder.decode(frame, &mut |event| text.push_str(&format!("{event:?}\n"))).unwrap();
    }
    assert!(text.contains("kind: Text }"), "{text}");
    assert!(text.contains(r#"Text("{\"city\":\"Oslo\"}")"#), "{text}");
    assert!(text.contains("reason: Stop"), "{text}");
}

#[test]
fn cache_breakpoints_stop_at_four() {
    let mut request = ask();
    let marked = |text: &str| Part { cache: Some(CacheMark { ttl: Some(CacheTtl::OneHour) }), ..Part::text(text) };
    request.messages = vec![message(Role::User, (0..5).map(|n| marked(&n.to_string())).collect())];
    let written = write(&request, Quirks::default(), None);
    let blocks = written.body["messages"][0]["content"].as_array().unwrap();
    assert_eq!(blocks.iter().filter(|block| block["cache_control"] == json!({"type": "ephemeral", "ttl": "1h"})).count(), 4);
    assert_eq!(written.lost, ["messages[0].content[4].cache;unsupported"]);
}

#[test]
fn a_request_without_anything_to_say_is_refused_with_advice() {
    let request = ChatRequest { messages: vec![message(Role::User, vec![Part::text("")])], ..ask() };
    let deployment = deployment(Quirks::default());
    let target = Target { deployment: &deployment, stream: false, output_limit: None };
    let error = AnthropicEgress::new().encode(&request, &target, &mut Losses::new()).unwrap_err();
    assert_eq!(error.path.as_deref(), Some("messages"));
}

#[test]
fn errors_of_callers_name_the_field() {
    let head = http::Request::post("/v1/messages").body(()).unwrap().into_parts().0;
    for (body, path) in [
        (r#"{"model":"m"}"#, Some("messages")),
        (r#"{"messages":[{"role":"bot","content":"x"}]}"#, Some("messages[0].role")),
        (r#"{"messages":[{"role":"user","content":[{"type":"text"}]}]}"#, Some("messages[0].content[0].text")),
        (r#"{"messages":[{"role":"user","content":7}]}"#, Some("messages[0].content")),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64"}}]}]}"#,
            Some("messages[0].content[0].source.data"),
        ),
        (r#"{"messages":[],"tool_choice":{"type":"some"}}"#, Some("tool_choice.type")),
        (r#"{"messages":[],"tools":[{"input_schema":{}}]}"#, Some("tools[0].name")),
        (r#"{"messages":[],"thinking":{"type":"enabled"}}"#, Some("thinking.budget_tokens")),
        (r#"{"messages":[],"output_config":{"format":{"type":"xml"}}}"#, Some("output_config.format.type")),
        (r#"{"messages":[],"temperature":"hot"}"#, Some("temperature")),
        (r#"["x"]"#, None),
        (r#"{"messages":[]"#, None),
    ] {
        let error = AnthropicIngress::new().decode(&head, body.as_bytes()).unwrap_err();
        assert_eq!(error.path.as_deref(), path, "{body}: {error}");
    }
}
