use gateway_core::{
    Protocol, Quirks,
    ir::{
        CacheMark, Citation, Effort, Extras, Logprobs, Media, MediaKind, MediaSource, OutputFormat, Part, PartBody, Reasoning,
        ReasoningAmount, Role, Sampling, Seal, ToolCall, ToolKind, ToolResult,
    },
};
use serde_json::{Value, json};

use super::*;
use crate::{
    ANTHROPIC_MESSAGES,
    gemini::{
        config::{budget_of, level_of},
        ids::Ids,
        tests::{deployment, encoded, hello, message},
    },
};

fn by_level() -> Quirks {
    Quirks { thinking_by_effort: true, ..Quirks::default() }
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    let call = ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), kind: ToolKind::Function };
    Part::new(PartBody::ToolCall(call))
}

fn result(id: &str, text: &str, is_error: Option<bool>) -> Part {
    Part::new(PartBody::ToolResult(ToolResult { call_id: id.into(), name: None, content: vec![Part::text(text)], is_error }))
}

fn sealed(part: Part, issuer: Protocol) -> Part {
    part.sealed(Some(Seal { issuer, bytes: "c2ln".into() }))
}

fn raw(json: &str) -> Raw {
    Raw::of(&serde_json::from_str::<Box<serde_json::value::RawValue>>(json).unwrap()).unwrap()
}

/// Encodes the conversation; compares `contents` and the losses.
#[expect(clippy::needless_pass_by_value, reason = "a literal at every call")]
fn contents(messages: Vec<gateway_core::ir::Message>, quirks: Quirks, expected: Value, losses: &[&str]) {
    let request = ChatRequest { messages, ..ChatRequest::default() };
    let (body, found) = encoded(&request, quirks);
    assert_eq!(body["contents"], expected);
    assert_eq!(found, losses);
}

/// Changes one thing about "hi"; compares everything but `contents`, and the losses.
#[expect(clippy::needless_pass_by_value, reason = "a literal at every call")]
fn check(change: impl FnOnce(&mut ChatRequest), quirks: Quirks, expected: Value, losses: &[&str]) {
    let mut request = hello();
    change(&mut request);
    let (mut body, found) = encoded(&request, quirks);
    body.as_object_mut().unwrap().remove("contents");
    assert_eq!(body, expected);
    assert_eq!(found, losses);
}

#[test]
fn system_text_goes_to_the_front_and_a_late_one_is_a_loss() {
    let messages = vec![
        message(Role::System, vec![Part::text("be brief")]),
        message(Role::User, vec![Part::text("hi")]),
        message(Role::Developer, vec![Part::text("be kind")]),
        message(Role::Assistant, vec![Part::text("hello")]),
    ];
    let (body, losses) = encoded(&ChatRequest { messages, ..ChatRequest::default() }, Quirks::default());
    assert_eq!(
        body,
        json!({"systemInstruction": {"parts": [{"text": "be brief"}, {"text": "be kind"}]},
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}, {"role": "model", "parts": [{"text": "hello"}]}]})
    );
    assert_eq!(losses, ["messages[2].role;approximated"]);
}

#[test]
fn instructions_alone_become_a_turn_and_nothing_at_all_is_refused() {
    contents(
        vec![message(Role::System, vec![Part::text("say hi")])],
        Quirks::default(),
        json!([{"role": "user", "parts": [{"text": "say hi"}]}]),
        &["messages[0].role;approximated"],
    );
    let deployment = deployment(Quirks::default());
    let target = Target { deployment: &deployment, stream: false, output_limit: None };
    let empty = ChatRequest { messages: vec![message(Role::User, vec![Part::text("")])], ..ChatRequest::default() };
    let error = encode(&empty, &target, &mut Losses::new()).unwrap_err();
    assert_eq!(error.path.as_deref(), Some("messages"));
}

#[test]
fn parallel_results_share_a_content_in_the_order_of_their_calls() {
    contents(
        vec![
            message(Role::User, vec![Part::text("compare")]),
            message(Role::Assistant, vec![Part::text("looking"), call("a", "look", r#"{"x": 1.50}"#), call("b", "look", "")]),
            message(Role::Tool, vec![result("b", "two", None)]),
            message(Role::Tool, vec![result("a", "one", Some(true))]),
            message(Role::User, vec![Part::text("go on")]),
        ],
        Quirks::default(),
        json!([
            {"role": "user", "parts": [{"text": "compare"}]},
            {"role": "model", "parts": [{"text": "looking"}, {"functionCall": {"id": "a", "name": "look", "args": {"x": 1.50}}},
                {"functionCall": {"id": "b", "name": "look", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "a", "name": "look", "response": {"error": "one"}}},
                {"functionResponse": {"id": "b", "name": "look", "response": {"result": "two"}}}, {"text": "go on"}]},
        ]),
        &[],
    );
}

#[test]
fn made_up_ids_are_left_out_again() {
    let mut ids = Ids::new(0, 0);
    let (one, two) = (ids.next("look", "{}"), ids.next("look", "{}"));
    contents(
        vec![
            message(Role::Assistant, vec![call(&one, "look", "{}"), call(&two, "find", "{}")]),
            message(Role::User, vec![Part::text("here"), result(&two, "2", None), result(&one, "1", None)]),
        ],
        Quirks::default(),
        json!([
            {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {}}}, {"functionCall": {"name": "find", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"result": "1"}}},
                {"functionResponse": {"name": "find", "response": {"result": "2"}}}, {"text": "here"}]},
        ]),
        &["messages[1].content[1];approximated"],
    );
}

#[test]
fn arguments_that_are_no_object_are_wrapped_and_recorded() {
    for (arguments, wrapped) in [(r#"{"city": "Par"#, r#"{"city": "Par"#), ("[1]", "[1]"), ("hello", "hello")] {
        contents(
            vec![message(Role::Assistant, vec![call("a", "look", arguments)])],
            Quirks::default(),
            json!([{"role": "model", "parts": [{"functionCall": {"id": "a", "name": "look", "args": {"arguments": wrapped}}}]}]),
            &["messages[0].content[0].arguments;malformed"],
        );
    }
    let custom = ToolCall { id: "c".into(), name: "run".into(), arguments: "ls -l".into(), kind: ToolKind::Custom };
    contents(
        vec![message(Role::Assistant, vec![Part::new(PartBody::ToolCall(custom))])],
        Quirks::default(),
        json!([{"role": "model", "parts": [{"functionCall": {"id": "c", "name": "run", "args": {"input": "ls -l"}}}]}]),
        &["messages[0].content[0].arguments;approximated"],
    );
}

#[test]
fn a_result_without_a_call_keeps_its_text() {
    contents(
        vec![message(Role::Tool, vec![result("lost", "text", None)])],
        Quirks::default(),
        json!([{"role": "user", "parts": [{"functionResponse": {"id": "lost", "name": "lost", "response": {"result": "text"}}}]}]),
        &["messages[0].content[0].tool_call_id;malformed"],
    );
}

#[test]
fn signatures_return_to_the_very_part_they_came_on() {
    let thought = Part::new(PartBody::Reasoning("hm".into()));
    contents(
        vec![message(
            Role::Assistant,
            vec![
                sealed(thought.clone(), GEMINI),
                sealed(Part::text("x"), GEMINI),
                sealed(call("a", "f", "{}"), GEMINI),
                call("b", "f", "{}"),
            ],
        )],
        by_level(),
        json!([{"role": "model", "parts": [{"text": "hm", "thought": true, "thoughtSignature": "c2ln"},
            {"text": "x", "thoughtSignature": "c2ln"}, {"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"id": "b", "name": "f", "args": {}}}]}]),
        &[],
    );
    contents(
        vec![message(
            Role::Assistant,
            vec![thought.clone(), sealed(thought, ANTHROPIC_MESSAGES), sealed(Part::text("x"), ANTHROPIC_MESSAGES)],
        )],
        Quirks::default(),
        json!([{"role": "model", "parts": [{"text": "x"}]}]),
        &[
            "messages[0].content[0];unsupported",
            "messages[0].content[1].signature;foreign",
            "messages[0].content[1];foreign",
            "messages[0].content[2].signature;foreign",
        ],
    );
}

#[test]
fn a_turn_of_another_model_tells_the_validator_to_look_away() {
    let history = || {
        vec![
            message(Role::Assistant, vec![call("a", "f", "{}"), call("b", "f", "{}")]),
            message(Role::Tool, vec![result("a", "1", None), result("b", "2", None)]),
        ]
    };
    let results = json!({"role": "user", "parts": [{"functionResponse": {"id": "a", "name": "f", "response": {"result": "1"}}},
        {"functionResponse": {"id": "b", "name": "f", "response": {"result": "2"}}}]});
    contents(
        history(),
        by_level(),
        json!([{"role": "model", "parts": [
            {"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": "skip_thought_signature_validator"},
            {"functionCall": {"id": "b", "name": "f", "args": {}}}]}, results]),
        &["messages[0].content[0];approximated"],
    );
    contents(
        history(),
        Quirks::default(),
        json!([{"role": "model", "parts": [{"functionCall": {"id": "a", "name": "f", "args": {}}},
            {"functionCall": {"id": "b", "name": "f", "args": {}}}]}, results]),
        &[],
    );
}

fn media(kind: MediaKind, media_type: Option<&str>, source: MediaSource) -> Media {
    Media { kind, media_type: media_type.map(Into::into), source, detail: None, title: None, context: None, citations: None }
}

#[test]
fn media_go_inline_or_by_address() {
    let inline = |base64: &str| MediaSource::Inline { base64: base64.into() };
    let url = |url: &str| MediaSource::Url(url.into());
    let table = [
        (
            media(MediaKind::Image, Some("image/webp"), inline("AAAA")),
            json!({"inlineData": {"mimeType": "image/webp", "data": "AAAA"}}),
            None,
        ),
        (media(MediaKind::Image, None, inline("/9j/AA")), json!({"inlineData": {"mimeType": "image/jpeg", "data": "/9j/AA"}}), None),
        (media(MediaKind::Audio, None, inline("UklGRA")), json!({"inlineData": {"mimeType": "audio/wav", "data": "UklGRA"}}), None),
        (
            media(MediaKind::Document, None, inline("AAAA")),
            json!({"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}),
            Some("media_type;approximated"),
        ),
        (
            media(MediaKind::Image, None, url("https://h/a.PNG?x=1")),
            json!({"fileData": {"mimeType": "image/png", "fileUri": "https://h/a.PNG?x=1"}}),
            None,
        ),
        (media(MediaKind::Video, None, url("https://youtu.be/x")), json!({"fileData": {"fileUri": "https://youtu.be/x"}}), None),
        (
            media(MediaKind::Document, None, MediaSource::File { origin: GEMINI, id: "https://f/1".into() }),
            json!({"fileData": {"fileUri": "https://f/1"}}),
            None,
        ),
        (media(MediaKind::Document, None, MediaSource::Text("plain".into())), json!({"text": "plain"}), None),
    ];
    for (media, part, loss) in table {
        let losses: Vec<String> = loss.iter().map(|loss| format!("messages[0].content[0].{loss}")).collect();
        let losses: Vec<&str> = losses.iter().map(String::as_str).collect();
        let messages = vec![message(Role::User, vec![Part::new(PartBody::Media(media))])];
        contents(messages, Quirks::default(), json!([{"role": "user", "parts": [part]}]), &losses);
    }
    let foreign = media(MediaKind::Image, None, MediaSource::File { origin: ANTHROPIC_MESSAGES, id: "file_1".into() });
    let labelled = Media {
        detail: Some("high".into()),
        title: Some("t".into()),
        context: Some("c".into()),
        citations: Some(true),
        ..media(MediaKind::Image, Some("image/png"), inline("AA"))
    };
    contents(
        vec![message(Role::User, vec![Part::new(PartBody::Media(foreign)), Part::new(PartBody::Media(labelled))])],
        Quirks::default(),
        json!([{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA"}}]}]),
        &[
            "messages[0].content[0];foreign",
            "messages[0].content[1].detail;unsupported",
            "messages[0].content[1].title;unsupported",
            "messages[0].content[1].context;unsupported",
            "messages[0].content[1].citations;unsupported",
        ],
    );
}

#[test]
fn a_picture_in_a_result_goes_inside_or_follows_it() {
    let picture = media(MediaKind::Image, Some("image/png"), MediaSource::Inline { base64: "AA".into() });
    let content = vec![Part::text("a"), Part::new(PartBody::Media(picture)), Part::text("b")];
    let answer = ToolResult { call_id: "a".into(), name: Some("shot".into()), content, is_error: Some(false) };
    let messages = || vec![message(Role::User, vec![Part::new(PartBody::ToolResult(answer.clone()))])];
    let data = json!({"inlineData": {"mimeType": "image/png", "data": "AA"}});
    contents(
        messages(),
        by_level(),
        json!([{"role": "user", "parts": [{"functionResponse": {"id": "a", "name": "shot", "response": {"result": "a\nb"}, "parts": [data]}}]}]),
        &[],
    );
    contents(
        messages(),
        Quirks::default(),
        json!([{"role": "user", "parts": [{"functionResponse": {"id": "a", "name": "shot", "response": {"result": "a\nb"}}}, data]}]),
        &["messages[0].content[0].content[1];approximated"],
    );
}

#[test]
fn what_is_foreign_or_out_of_place_is_recorded() {
    let citation =
        Citation { url: None, title: None, cited_text: None, start: None, end: None, origin: ANTHROPIC_MESSAGES, raw: raw("{}") };
    let opaque = |origin| Part::new(PartBody::Opaque { origin, raw: raw(r#"{"executableCode":{"code":"1"},"thoughtSignature":"s"}"#) });
    let mut named = message(
        Role::User,
        vec![
            Part { cache: Some(CacheMark { ttl: None }), ..Part::text("q") },
            Part::new(PartBody::Text { text: "w".into(), citations: vec![citation] }),
            Part::new(PartBody::Refusal("no".into())),
            call("x", "f", "{}"),
            opaque(ANTHROPIC_MESSAGES),
        ],
    );
    named.name = Some("ann".into());
    named.extras = Some(Extras { fields: vec![("new".into(), raw("1"))], ..Extras::new(ANTHROPIC_MESSAGES) });
    let mut answer = message(Role::Assistant, vec![opaque(GEMINI), result("x", "y", None)]);
    answer.parts.push(Part {
        extras: Some(Extras { fields: vec![("partMetadata".into(), raw(r#"{"k":1.0}"#))], ..Extras::new(GEMINI) }),
        ..Part::text("t")
    });
    contents(
        vec![named, answer],
        Quirks::default(),
        json!([
            {"role": "user", "parts": [{"text": "q"}, {"text": "w"}, {"text": "no"}]},
            {"role": "model", "parts": [{"executableCode": {"code": "1"}, "thoughtSignature": "s"}, {"text": "t", "partMetadata": {"k": 1.0}}]},
        ]),
        &[
            "messages[0].name;unsupported",
            "messages[0].new;unsupported",
            "messages[0].content[0].cache_control;unsupported",
            "messages[0].content[1].citations;unsupported",
            "messages[0].content[2];approximated",
            "messages[0].content[3];malformed",
            "messages[0].content[4];foreign",
            "messages[1].content[1];malformed",
        ],
    );
}

fn function(name: &str, strict: Option<bool>) -> Tool {
    let parameters = Some(raw(r#"{"type":"object","$defs":{},"additionalProperties":false}"#));
    Tool { spec: ToolSpec::Function { name: name.into(), description: Some("d".into()), parameters, strict }, cache: None, extras: None }
}

fn declared(name: &str) -> Value {
    json!({"name": name, "description": "d", "parametersJsonSchema": {"type": "object", "$defs": {}, "additionalProperties": false}})
}

#[test]
fn tools_are_declared_by_real_schema() {
    let hosted = |origin| Tool {
        spec: ToolSpec::Hosted { origin, raw: raw(r#"{"googleSearch":{}}"#) },
        cache: Some(CacheMark { ttl: None }),
        extras: None,
    };
    check(
        |request| request.tools = vec![function("f", None), hosted(GEMINI), hosted(ANTHROPIC_MESSAGES), function("g", Some(true))],
        Quirks::default(),
        json!({"tools": [{"functionDeclarations": [declared("f"), declared("g")]}, {"googleSearch": {}}]}),
        &["tools[1].cache_control;unsupported", "tools[2].cache_control;unsupported", "tools[2];foreign", "tools[3].strict;approximated"],
    );
}

#[test]
fn every_tool_choice_is_mapped() {
    let names = || vec!["f".to_owned(), "g".to_owned()];
    let table = [
        (ToolChoice::Auto, json!({"mode": "AUTO"})),
        (ToolChoice::None, json!({"mode": "NONE"})),
        (ToolChoice::Required, json!({"mode": "ANY"})),
        (ToolChoice::Named("f".into()), json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
        (ToolChoice::Allowed { names: names(), required: true }, json!({"mode": "ANY", "allowedFunctionNames": ["f", "g"]})),
        (ToolChoice::Allowed { names: names(), required: false }, json!({"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]})),
    ];
    for (choice, expected) in table {
        check(
            |request| {
                request.tools = vec![function("f", None)];
                request.tool_choice = Some(choice);
            },
            Quirks::default(),
            json!({"tools": [{"functionDeclarations": [declared("f")]}], "toolConfig": {"functionCallingConfig": expected}}),
            &[],
        );
    }
    check(|request| request.tool_choice = Some(ToolChoice::Required), Quirks::default(), json!({}), &["tool_choice;unsupported"]);
    check(|request| request.tool_choice = Some(ToolChoice::None), Quirks::default(), json!({}), &[]);
    check(|request| request.parallel_tool_calls = Some(false), Quirks::default(), json!({}), &["parallel_tool_calls;unsupported"]);
    check(|request| request.parallel_tool_calls = Some(true), Quirks::default(), json!({}), &[]);
}

#[test]
fn sampling_and_limits_stand_in_the_generation_config() {
    let all = |request: &mut ChatRequest| {
        request.sampling = Sampling {
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(40),
            frequency_penalty: Some(0.1),
            presence_penalty: Some(-0.1),
            seed: Some(7),
        };
        request.output_tokens_max = Some(100);
        request.stop = vec!["END".into()];
        request.choices = Some(2);
        request.logprobs = Some(Logprobs { top: Some(3) });
    };
    check(
        all,
        Quirks::default(),
        json!({"generationConfig": {"temperature": 0.5, "topP": 0.9, "topK": 40, "frequencyPenalty": 0.1, "presencePenalty": -0.1,
            "seed": 7, "maxOutputTokens": 100, "stopSequences": ["END"], "candidateCount": 2, "responseLogprobs": true, "logprobs": 3}}),
        &[],
    );
    check(
        all,
        Quirks { no_sampling: true, ..Quirks::default() },
        json!({"generationConfig": {"frequencyPenalty": 0.1, "presencePenalty": -0.1, "seed": 7, "maxOutputTokens": 100,
            "stopSequences": ["END"], "candidateCount": 2, "responseLogprobs": true, "logprobs": 3}}),
        &["temperature;refused_by_model", "top_p;refused_by_model", "top_k;refused_by_model"],
    );
    check(
        |request| {
            request.sampling.seed = Some(0x1_0000_0005);
            request.stop = ["1", "2", "3", "4", "5", "6"].map(Into::into).to_vec();
            request.choices = Some(1);
            request.logprobs = Some(Logprobs { top: Some(0) });
        },
        Quirks::default(),
        json!({"generationConfig": {"seed": 5, "stopSequences": ["1", "2", "3", "4", "5"], "responseLogprobs": true}}),
        &["seed;approximated", "stop[5];unsupported"],
    );
}

#[test]
fn the_limit_that_is_paid_for_is_written() {
    let deployment = deployment(Quirks::default());
    let target = Target { deployment: &deployment, stream: true, output_limit: Some(50) };
    let mut request = hello();
    request.output_tokens_max = Some(100);
    let body = encode(&request, &target, &mut Losses::new()).unwrap().body;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["generationConfig"], json!({"maxOutputTokens": 50}));
}

#[test]
fn the_answers_shape_is_asked_for() {
    check(|_| {}, Quirks::default(), json!({}), &[]);
    check(
        |request| request.output_format = OutputFormat::JsonObject,
        Quirks::default(),
        json!({"generationConfig": {"responseMimeType": "application/json"}}),
        &[],
    );
    let schema = || OutputFormat::JsonSchema {
        name: Some("n".into()),
        description: Some("d".into()),
        schema: raw(r#"{"type":"object","$ref":"x"}"#),
        strict: Some(true),
    };
    check(
        |request| request.output_format = schema(),
        Quirks::default(),
        json!({"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object", "$ref": "x"}}}),
        &["response_format.json_schema.description;unsupported"],
    );
}

#[test]
fn every_amount_of_reasoning_is_mapped() {
    use ReasoningAmount::{Adaptive, AdaptiveEffort, Budget, Effort as At, Off};
    let table = [
        (Adaptive, (None, true), (-1, true)),
        (AdaptiveEffort(Effort::Low), (Some("low"), true), (-1, false)),
        (Off, (Some("minimal"), false), (0, true)),
        (At(Effort::None), (Some("minimal"), false), (0, true)),
        (At(Effort::Minimal), (Some("minimal"), true), (1_024, false)),
        (At(Effort::Low), (Some("low"), true), (2_048, false)),
        (At(Effort::Medium), (Some("medium"), true), (8_192, false)),
        (At(Effort::High), (Some("high"), true), (16_384, false)),
        (At(Effort::Xhigh), (Some("xhigh"), true), (24_576, false)),
        (At(Effort::Max), (Some("xhigh"), false), (24_576, false)),
        (Budget(0), (Some("minimal"), false), (0, true)),
        (Budget(2_000), (Some("low"), false), (2_000, true)),
        (Budget(10_000), (Some("medium"), false), (10_000, true)),
        (Budget(20_000), (Some("high"), false), (20_000, true)),
        (Budget(u32::MAX), (Some("xhigh"), false), (24_576, false)),
    ];
    for (amount, level, budget) in table {
        assert_eq!(level_of(amount), level, "{amount:?}");
        assert_eq!(budget_of(amount), budget, "{amount:?}");
    }
    let asked = |amount, visible| move |request: &mut ChatRequest| request.reasoning = Some(Reasoning { amount, visible });
    check(
        asked(Some(At(Effort::Low)), Some(true)),
        by_level(),
        json!({"generationConfig": {"thinkingConfig": {"thinkingLevel": "low", "includeThoughts": true}}}),
        &[],
    );
    check(
        asked(Some(At(Effort::Low)), None),
        Quirks::default(),
        json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 2048}}}),
        &["reasoning;approximated"],
    );
    check(asked(None, Some(false)), Quirks::default(), json!({"generationConfig": {"thinkingConfig": {"includeThoughts": false}}}), &[]);
    check(asked(Some(Adaptive), None), by_level(), json!({}), &[]);
    check(
        |request| {
            request.output_tokens_max = Some(1_000);
            request.reasoning = Some(Reasoning { amount: Some(Budget(1_000)), visible: None });
        },
        Quirks::default(),
        json!({"generationConfig": {"maxOutputTokens": 1000, "thinkingConfig": {"thinkingBudget": 500}}}),
        &["reasoning;approximated"],
    );
}

#[test]
fn tiers_labels_and_unknown_fields() {
    for (asked, written) in [("auto", None), ("default", Some("standard")), ("standard_only", Some("standard")), ("flex", Some("flex"))] {
        let expected = written.map_or_else(|| json!({}), |tier| json!({"serviceTier": tier}));
        check(|request| request.service_tier = Some(asked.into()), Quirks::default(), expected, &[]);
    }
    check(|request| request.service_tier = Some("scale".into()), Quirks::default(), json!({}), &["service_tier;unsupported"]);
    check(
        |request| {
            request.user = Some("u".into());
            request.metadata = vec![("k".into(), "v".into())];
            request.cache = Some(CacheMark { ttl: None });
            request.extras = Some(Extras { fields: vec![("container".into(), raw("1"))], ..Extras::new(ANTHROPIC_MESSAGES) });
        },
        Quirks::default(),
        json!({}),
        &["user;unsupported", "metadata;unsupported", "cache_control;unsupported", "container;unsupported"],
    );
    check(
        |request| {
            let fields = vec![("safetySettings".into(), raw("[]")), ("contents".into(), raw("[]"))];
            request.extras = Some(Extras { fields, ..Extras::new(GEMINI) });
        },
        Quirks::default(),
        json!({"safetySettings": []}),
        &["contents;malformed"],
    );
}
