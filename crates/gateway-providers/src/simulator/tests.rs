use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

const PATHS: [(&str, &str, &str); 3] = [
    ("openai-chat", "/v1/chat/completions", "/v1/chat/completions"),
    ("anthropic-messages", "/v1/messages", "/v1/messages"),
    ("gemini", "/v1beta/models/m:generateContent", "/v1beta/models/m:streamGenerateContent?alt=sse"),
];

/// A request that asks the same in every protocol.
fn ask(protocol: &str, text: &str, stream: bool, more: &Value) -> Value {
    let mut body = match protocol {
        "openai-chat" => {
            json!({ "model": "m", "stream": stream, "messages": [{ "role": "user", "content": text }], "stream_options": { "include_usage": true } })
        }
        "anthropic-messages" => {
            json!({ "model": "m", "stream": stream, "max_tokens": 1000, "messages": [{ "role": "user", "content": text }] })
        }
        _ => json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }] }),
    };
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

fn post(path: &str, body: &Value, scenario: &str) -> Request<Full<Bytes>> {
    let mut request = Request::post(path);
    if !scenario.is_empty() {
        request = request.header(SIMULATE, scenario);
    }
    request.body(Full::new(body.to_string().into())).expect("constant")
}

struct Told {
    status: u16,
    headers: http::HeaderMap,
    text: String,
    broken: bool,
}

async fn tell(simulator: &Simulator, request: Request<Full<Bytes>>) -> Told {
    let (parts, mut body) = simulator.clone().oneshot(request).await.expect("the simulator answers").into_parts();
    let mut told = Told { status: parts.status.as_u16(), headers: parts.headers, text: String::new(), broken: false };
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => told.text.push_str(std::str::from_utf8(&frame.into_data().expect("no trailers")).expect("text")),
            Err(_) => told.broken = true,
        }
    }
    told
}

/// Whole and streamed, in each protocol.
async fn each(more: impl Fn(&str) -> Value, text: &str, scenario: &str, check: impl Fn(&str, bool, Told)) {
    for (protocol, whole, streamed) in PATHS {
        for stream in [false, true] {
            let path = if stream { streamed } else { whole };
            let told = tell(&Simulator::default(), post(path, &ask(protocol, text, stream, &more(protocol)), scenario)).await;
            check(protocol, stream, told);
        }
    }
}

fn nothing(_: &str) -> Value {
    json!({})
}

fn data(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect()
}

/// The text of an answer, whichever way it came.
fn said(protocol: &str, stream: bool, text: &str) -> String {
    let values = if stream { data(text) } else { vec![serde_json::from_str(text).expect("JSON")] };
    let pointers: &[&str] = match (protocol, stream) {
        ("openai-chat", false) => &["/choices/0/message/content"],
        ("openai-chat", true) => &["/choices/0/delta/content"],
        ("anthropic-messages", true) => &["/delta/text"],
        ("anthropic-messages", false) => &["/content/0/text", "/content/1/text"],
        _ => &["/candidates/0/content/parts/0/text", "/candidates/0/content/parts/1/text"],
    };
    let thought = |value: &Value| value.pointer("/candidates/0/content/parts/0/thought").is_some() && stream;
    values
        .iter()
        .filter(|value| !thought(value))
        .flat_map(|value| pointers.iter().filter_map(|pointer| value.pointer(pointer)?.as_str()))
        .collect()
}

#[tokio::test]
async fn the_same_request_always_gets_the_same_answer_and_another_another() {
    for (protocol, whole, streamed) in PATHS {
        for (path, stream) in [(whole, false), (streamed, true)] {
            let request = |text| post(path, &ask(protocol, text, stream, &json!({})), "");
            let simulator = Simulator::default();
            let first = tell(&simulator, request("hello")).await.text;
            assert_eq!(first, tell(&simulator, request("hello")).await.text, "{protocol}");
            assert_eq!(first, tell(&Simulator::default(), request("hello")).await.text, "{protocol}");
            assert_ne!(first, tell(&simulator, request("goodbye")).await.text, "{protocol}");
            let seeded = Simulator::new(Scenario { seed: 2, ..Scenario::default() });
            assert_ne!(first, tell(&seeded, request("hello")).await.text, "{protocol}");
        }
    }
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says_and_counts_the_same() {
    for (protocol, whole, streamed) in PATHS {
        let simulator = Simulator::default();
        let request = |path, stream| post(path, &ask(protocol, "hello", stream, &json!({})), "");
        let (whole, streamed) = (tell(&simulator, request(whole, false)).await.text, tell(&simulator, request(streamed, true)).await.text);
        let text = said(protocol, false, &whole);
        assert!(text.len() > 20, "{text}");
        assert_eq!(text, said(protocol, true, &streamed), "{protocol}");
        let usage =
            |value: &Value| ["usage", "usageMetadata"].iter().find_map(|key| value.get(*key).filter(|usage| !usage.is_null()).cloned());
        let last = data(&streamed).iter().rev().find_map(usage);
        assert_eq!(usage(&serde_json::from_str(&whole).expect("JSON")), last, "{protocol}");
    }
}

#[tokio::test]
async fn tools_are_called_when_asked_for_and_results_are_answered_in_text() {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" }, "days": { "type": "integer", "minimum": 1, "maximum": 7 } }, "required": ["city"] });
    let tools = |protocol: &str| match protocol {
        "openai-chat" => json!({ "tools": [{ "type": "function", "function": { "name": "get_weather", "parameters": schema } }] }),
        "anthropic-messages" => json!({ "tools": [{ "name": "get_weather", "input_schema": schema }] }),
        _ => json!({ "tools": [{ "functionDeclarations": [{ "name": "get_weather", "parametersJsonSchema": schema }] }] }),
    };
    let calls = |text: &str| text.matches("\"name\":\"get_weather\"").count();
    each(tools, "the weather in Oslo, please", "", |protocol, _, told| assert_eq!(calls(&told.text), 1, "{protocol} {}", told.text)).await;
    each(tools, "the weather in Oslo and Quito", "", |protocol, _, told| assert_eq!(calls(&told.text), 2, "{protocol}")).await;
    each(tools, "hello", "", |protocol, _, told| assert_eq!(calls(&told.text), 0, "{protocol}")).await;
    each(tools, "the weather in Oslo", "", |protocol, stream, told| {
        let reason = match protocol {
            "openai-chat" => "\"finish_reason\":\"tool_calls\"",
            "anthropic-messages" => "\"stop_reason\":\"tool_use\"",
            _ => "\"finishReason\":\"STOP\"",
        };
        assert!(told.text.contains(reason), "{protocol} {stream} {}", told.text);
    })
    .await;

    let mut body = ask("anthropic-messages", "the weather in Oslo", false, &tools("anthropic-messages"));
    body["messages"] = json!([
        { "role": "user", "content": "the weather in Oslo" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "t1", "name": "get_weather", "input": {} }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": "rain" }] },
    ]);
    let told = tell(&Simulator::default(), post("/v1/messages", &body, "")).await;
    assert!(told.text.contains("\"end_turn\"") && told.text.contains("tool results"), "{}", told.text);
}

#[tokio::test]
async fn structured_output_satisfies_its_schema() {
    let schema = json!({
        "type": "object", "required": ["name", "tags", "kind"], "$defs": { "tag": { "type": "string", "maxLength": 3 } },
        "properties": { "name": { "type": "string" }, "tags": { "type": "array", "items": { "$ref": "#/$defs/tag" }, "minItems": 3 },
            "kind": { "enum": ["a", "b"] }, "share": { "type": "number", "minimum": 0, "maximum": 1 } },
    });
    let more = |protocol: &str| match protocol {
        "openai-chat" => json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": schema } } }),
        "anthropic-messages" => json!({ "output_config": { "format": { "type": "json_schema", "schema": schema } } }),
        _ => json!({ "generationConfig": { "responseMimeType": "application/json", "responseJsonSchema": schema } }),
    };
    each(more, "hello", "", |protocol, stream, told| {
        let value: Value = serde_json::from_str(&said(protocol, stream, &told.text)).expect("JSON");
        assert!(value["name"].is_string() && ["a", "b"].contains(&value["kind"].as_str().expect("text")), "{value}");
        let tags = value["tags"].as_array().expect("array");
        assert!(tags.len() == 3 && tags.iter().all(|tag| tag.as_str().is_some_and(|tag| tag.len() <= 3)), "{value}");
        assert!(value["share"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{value}");
    })
    .await;
}

/// Each of these would take all memory, or all time, if it were followed to its end.
#[tokio::test]
async fn a_schema_that_multiplies_itself_is_cut_off() {
    let many: Vec<String> = (0..50_000).map(|n| format!("name-{n}")).collect();
    let properties: serde_json::Map<String, Value> = many.iter().map(|name| (name.clone(), json!({ "type": "string" }))).collect();
    let deep = |inner: Value| (0..6).fold(inner, |inner, _| json!({ "type": "object", "required": ["a"], "properties": { "a": inner } }));
    let schemas = [
        json!({ "type": "array", "minItems": 64, "items": { "$ref": "#" } }),
        json!({ "allOf": vec![json!({ "$ref": "#" }); 1_000] }),
        json!({ "type": "object", "properties": { "a": { "$ref": "#" }, "b": { "$ref": "#" } }, "required": ["a", "b"] }),
        json!({ "const": vec![vec![1; 1_000]; 1_000] }),
        json!({ "enum": ["x".repeat(1_000_000)] }),
        json!({ "type": "array", "minItems": 64, "items": { "type": "array", "minItems": 64, "items": { "minLength": 4_096 } } }),
        deep(json!({ "type": "object", "properties": properties, "required": many })),
    ];
    for schema in &schemas {
        for more in [
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": schema } } }),
            json!({ "tools": [{ "type": "function", "function": { "name": "probe", "parameters": schema } }], "tool_choice": "required" }),
        ] {
            let told = tell(&Simulator::default(), post("/v1/chat/completions", &ask("openai-chat", "hello", false, &more), "")).await;
            assert_eq!(told.status, 200);
            assert!(told.text.len() < 1_000_000, "{} bytes for {:.80}", told.text.len(), schema.to_string());
        }
    }
}

#[tokio::test]
async fn reasoning_comes_in_the_protocols_form_and_limits_are_kept() {
    let more = |protocol: &str| match protocol {
        "openai-chat" => json!({ "reasoning_effort": "low" }),
        "anthropic-messages" => json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } }),
        _ => json!({ "generationConfig": { "thinkingConfig": { "includeThoughts": true } } }),
    };
    each(more, "hello", "", |protocol, stream, told| {
        let marks: &[&str] = match protocol {
            "openai-chat" => &["\"reasoning_content\"", "\"reasoning_tokens\""],
            "anthropic-messages" => &["\"thinking\"", "\"signature\":\"c2lt"],
            _ => &["\"thought\":true", "\"thoughtSignature\":\"c2lt", "\"thoughtsTokenCount\""],
        };
        assert!(marks.iter().all(|mark| told.text.contains(mark)), "{protocol} {stream} {}", told.text);
        assert!(!said(protocol, stream, &told.text).is_empty());
    })
    .await;
    let limited = |protocol: &str| match protocol {
        "openai-chat" => json!({ "max_completion_tokens": 5 }),
        "anthropic-messages" => json!({ "max_tokens": 5 }),
        _ => json!({ "generationConfig": { "maxOutputTokens": 5 } }),
    };
    each(limited, "hello", "", |protocol, stream, told| {
        assert_eq!(said(protocol, stream, &told.text).split_whitespace().count(), 5, "{protocol}");
        assert!(["\"length\"", "\"max_tokens\"", "\"MAX_TOKENS\""].iter().any(|reason| told.text.contains(reason)), "{}", told.text);
    })
    .await;
}

#[tokio::test]
async fn cache_marks_are_written_first_and_read_later() {
    let block = json!({ "type": "text", "text": "a long and stable beginning", "cache_control": { "type": "ephemeral" } });
    let ask = |messages: Value| json!({ "model": "m", "max_tokens": 9, "system": [block], "messages": messages });
    let usage = async |messages| -> Value {
        let told = tell(&Simulator::default(), post("/v1/messages", &ask(messages), "")).await;
        serde_json::from_str::<Value>(&told.text).expect("JSON")["usage"].clone()
    };
    let first = usage(json!([{ "role": "user", "content": "hi" }])).await;
    assert_eq!((first["cache_creation_input_tokens"].as_u64(), first["cache_read_input_tokens"].as_u64()), (Some(7), Some(0)));
    let turns = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": "ho" }, { "role": "user", "content": "hi" }]);
    let later = usage(turns).await;
    assert_eq!((later["cache_creation_input_tokens"].as_u64(), later["cache_read_input_tokens"].as_u64()), (Some(0), Some(7)));
    let counted = tell(
        &Simulator::default(),
        post("/v1/messages/count_tokens", &json!({ "model": "m", "messages": [{ "role": "user", "content": "four and four" }] }), ""),
    )
    .await;
    assert_eq!(counted.text, r#"{"input_tokens":7}"#);
}

#[tokio::test]
async fn every_fault_shows_in_every_protocol_whole_and_streamed() {
    let fault = |fault: &str| format!(r#"[{{"fault":{fault}}}]"#);
    each(nothing, "hi", &fault(r#"{"kind":"status","status":429,"retry_after_s":3}"#), |protocol, _, told| {
        assert_eq!(told.status, 429);
        let value: Value = serde_json::from_str(&told.text).expect("JSON");
        assert!(value["error"]["message"].is_string(), "{value}");
        let waits = told.headers.get("retry-after").is_some_and(|wait| wait == "3") || told.text.contains("\"3s\"");
        assert!(waits, "{protocol} {}", told.text);
    })
    .await;
    each(nothing, "hi", &fault(r#"{"kind":"cut","after_events":2}"#), |_, stream, told| {
        assert!(told.broken && !told.text.is_empty());
        assert!(if stream { told.text.matches("\n\n").count() == 2 } else { serde_json::from_str::<Value>(&told.text).is_err() });
    })
    .await;
    each(nothing, "hi", &fault(r#"{"kind":"error_event","after_events":1}"#), |protocol, stream, told| {
        assert_eq!((told.status, told.broken), (200, false));
        assert!(
            told.text.contains("\"error\"") && !told.text.contains("[DONE]") && !told.text.contains("message_stop"),
            "{protocol} {stream}"
        );
    })
    .await;
    each(nothing, "hi", &fault(r#"{"kind":"malformed"}"#), |_, stream, told| {
        let text = told.text.trim_start_matches("data: ").trim();
        assert!(!told.broken && serde_json::from_str::<Value>(text).is_err(), "{stream} {}", told.text);
    })
    .await;
    each(nothing, "hi", &fault(r#"{"kind":"usage","mode":"missing"}"#), |_, _, told| {
        assert!(!told.text.contains("_tokens\":") && !told.text.contains("TokenCount"), "{}", told.text);
    })
    .await;
    for mode in ["", r#"{"kind":"usage","mode":"wrong"}"#] {
        let scenario = if mode.is_empty() { String::new() } else { fault(mode) };
        let body = ask("openai-chat", "four", false, &json!({}));
        let told = tell(&Simulator::default(), post("/chat/completions", &body, &scenario)).await;
        let value: Value = serde_json::from_str(&told.text).expect("JSON");
        assert_eq!(value["usage"]["prompt_tokens"], if mode.is_empty() { 4 } else { 40 });
    }
}

#[tokio::test(start_paused = true)]
async fn silences_and_latencies_take_their_time() {
    let limit = std::time::Duration::from_secs(3_600);
    for fault in [r#"{"kind":"hang"}"#, r#"{"kind":"stall"}"#] {
        for (protocol, whole, streamed) in PATHS {
            for (path, stream) in [(whole, false), (streamed, true)] {
                let request = post(path, &ask(protocol, "hi", stream, &json!({})), &format!(r#"[{{"fault":{fault}}}]"#));
                assert!(tokio::time::timeout(limit, tell(&Simulator::default(), request)).await.is_err(), "{fault} {protocol}");
            }
        }
    }
    let took = async |scenario: &str| {
        let clock = gateway_core::SystemClock;
        let began = gateway_core::Clock::monotonic(&clock);
        let request = post("/chat/completions", &ask("openai-chat", "hi", true, &json!({})), scenario);
        tell(&Simulator::default(), request).await;
        gateway_core::Clock::monotonic(&clock) - began
    };
    assert_eq!(took("").await.as_millis(), 0);
    assert_eq!(took(r#"[{"latency_ms":{"p50":250}}]"#).await.as_millis(), 250);
    assert!(took(r#"[{"fault":{"kind":"drip","bytes":64,"every_ms":10}}]"#).await.as_millis() > 100);
}

#[tokio::test(start_paused = true)]
async fn latencies_follow_their_distribution() {
    let scenario: Scenario = serde_json::from_str(r#"{"rules":[{"latency_ms":{"p50":100,"p95":400}}]}"#).expect("valid");
    let simulator = Simulator::new(scenario);
    let clock = gateway_core::SystemClock;
    let mut all = Vec::new();
    for _ in 0..400 {
        let began = gateway_core::Clock::monotonic(&clock);
        tell(&simulator, post("/chat/completions", &ask("openai-chat", "hi", false, &json!({})), "")).await;
        all.push((gateway_core::Clock::monotonic(&clock) - began).as_millis());
    }
    all.sort_unstable();
    assert!((80..125).contains(&all[200]) && (300..530).contains(&all[380]), "{} {}", all[200], all[380]);
}

#[tokio::test]
async fn rules_match_in_order_and_count_what_they_match() {
    let scenario = r#"{"rules":[
        {"match":{"model":"other*"},"fault":{"kind":"status","status":500}},
        {"match":{"model":"m","protocol":"openai-chat","nth":"2-3"},"fault":{"kind":"status","status":429}},
        {"match":{"stream":true,"nth":"5-"},"fault":{"kind":"status","status":503}}]}"#;
    let simulator = Simulator::new(serde_json::from_str(scenario).expect("valid"));
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(tell(&simulator, post("/chat/completions", &ask("openai-chat", "hi", true, &json!({})), "")).await.status);
    }
    assert_eq!(statuses, [200, 429, 429, 200, 503, 503]);
    let by_header = r#"[{"match":{"nth":1},"fault":{"kind":"status","status":418}}]"#;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(tell(&simulator, post("/chat/completions", &ask("openai-chat", "hi", false, &json!({})), by_header)).await.status);
    }
    assert_eq!(statuses, [418, 200]);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_the_protocols_form() {
    let check = async |path: &str, body: &str, scenario: &str, status: u16, says: &str| {
        let mut request = Request::post(path);
        if !scenario.is_empty() {
            request = request.header(SIMULATE, scenario);
        }
        let told = tell(&Simulator::default(), request.body(Full::new(Bytes::from(body.to_owned()))).expect("constant")).await;
        assert_eq!(told.status, status, "{}", told.text);
        assert!(told.text.contains(says), "{}", told.text);
    };
    check("/v1/chat/completions", "{", "", 400, "not JSON").await;
    check("/v1/chat/completions", "[]", "", 400, "not a JSON object").await;
    check("/v1/chat/completions", r#"{"model":"m"}"#, "", 400, "messages").await;
    check("/v1/messages", r#"{"model":"m","messages":[{}]}"#, "", 400, "\"type\":\"error\"").await;
    check("/v1/models/m:generateContent", "{}", "", 400, "INVALID_ARGUMENT").await;
    check("/v1/nothing", "{}", "", 404, "/v1/nothing").await;
    let good = ask("openai-chat", "hi", false, &json!({})).to_string();
    check("/v1/chat/completions", &good, r#"[{"fault":{"kind":"hangs"}}]"#, 400, "unknown variant `hangs`").await;
    check("/v1/chat/completions", &good, r#"[{"match":{"nth":"0-3"}}]"#, 400, "counted from 1").await;
    check("/v1/chat/completions", &good, r#"[{"fault":{"kind":"cut","after":1}}]"#, 400, "unknown field `after`").await;
    check("/v1/chat/completions", &good, "maybe", 400, "`x-bellwether-simulate` must be a JSON array of rules such as [{").await;
    check("/v1/chat/completions", &good, "maybe", 400, "not `maybe`: expected").await;
    let long = format!("[{}]", vec![r#"{"match":{"model":"m"}}"#; 1_000].join(","));
    check("/v1/chat/completions", &good, &long, 400, "at most 4096 are taken").await;
    check("/v1/chat/completions", &good, &format!("[{}]", vec!["{}"; 33].join(",")), 400, "at most 32 are taken").await;
}
