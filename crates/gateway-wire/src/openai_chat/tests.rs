use std::sync::Arc;

use gateway_core::{
    Deployment, DeploymentId, EventDecoder as _, Frame, Ingress, ModelLimits, OnLoss, OutputLimitKey, Peek, ProviderId, Quirks, Target,
    Timeouts, WireError, ir::PartBody,
};

use super::OpenAiChatIngress;

fn peek_with(headers: &[(&'static str, &str)], body: &str) -> Result<Peek, WireError> {
    let mut request = http::Request::post("/v1/chat/completions");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let head = request.body(()).expect("a request").into_parts().0;
    OpenAiChatIngress::new().peek(&head, body.as_bytes())
}

fn peek(body: &str) -> Result<Peek, WireError> {
    peek_with(&[], body)
}

#[test]
fn a_list_of_models_stands_for_the_one_name() {
    assert_eq!(&*peek(r#"{"models":["a","b"],"messages":[]}"#).unwrap().model, "a");
    assert_eq!(&*peek(r#"{"model":"m","models":["a","b"],"messages":[]}"#).unwrap().model, "m");
}

#[test]
fn peek_reads_what_the_gateway_needs() {
    let seen = peek(
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"max_completion_tokens":7,"n":3,
            "models":["a"],"fallbacks":["b","c"],"disable_fallbacks":true,"strict":true,"messages":[{"role":"user","content":"hi"}]}"#,
    )
    .expect("valid");
    assert_eq!((&*seen.model, seen.stream, seen.stream_usage, seen.output_limit, seen.choices), ("m", true, true, Some(7), 3));
    assert_eq!(seen.controls.models, Some(vec!["a".into()]));
    assert_eq!(seen.controls.fallbacks.as_deref().map(<[_]>::len), Some(2));
    assert!(seen.controls.disable_fallbacks && seen.controls.strict && !seen.foreign_seal);
    assert_eq!((seen.input.items, seen.spans.len()), (1, 11));
}

#[test]
fn null_is_absent_and_the_last_of_a_repeated_key_stands() {
    let seen = peek(r#"{"model":"a","stream":null,"stream_options":null,"max_tokens":null,"n":null,"mod\u0065l":"b"}"#).expect("valid");
    assert_eq!((&*seen.model, seen.stream, seen.output_limit, seen.choices), ("b", false, None, 1));
}

/// What the limit keys of `body` become when `paid` tokens are paid for.
fn limited(body: &str, key: OutputLimitKey, paid: Option<u32>) -> String {
    let deployment = Deployment {
        id: DeploymentId::new("d"),
        provider: ProviderId::new("p"),
        model: Arc::from("m"),
        upstream_model: Arc::from("m"),
        protocol: crate::OPENAI_CHAT,
        weight: 1,
        limits: ModelLimits { output_tokens_max: None, context_window: None },
        timeouts: Timeouts::default(),
        on_loss: OnLoss::Report,
        quirks: Quirks { output_limit_key: key, ..Quirks::default() },
        notice: None,
    };
    let seen = peek(body).expect("valid");
    let mut splice = crate::splice::Splice::new(body.as_bytes(), &seen.spans);
    super::forward::limits(&mut splice, seen.output_limit, &Target { deployment: &deployment, stream: false, output_limit: paid });
    String::from_utf8(splice.apply().to_vec()).expect("text")
}

#[test]
fn no_limit_but_the_one_that_is_paid_for_is_forwarded() {
    use OutputLimitKey::{AsSent, MaxCompletionTokens, MaxTokens};
    for (key, paid, body, expected) in [
        (AsSent, 9, r#""max_completion_tokens":1,"max_tokens":100"#, r#""max_completion_tokens":1,"max_tokens":1"#),
        (AsSent, 9, r#""max_tokens":100,"max_\u0074okens":5"#, r#""max_tokens":5,"max_\u0074okens":5"#),
        (AsSent, 9, r#""max_tokens":100,"max_completion_tokens":50"#, r#""max_tokens":9,"max_completion_tokens":9"#),
        (MaxTokens, 9, r#""max_completion_tokens":1,"max_tokens":100"#, r#""max_tokens":1"#),
        (MaxTokens, 9, r#""max_completion_tokens":null,"max_tokens":5"#, r#""max_tokens":5"#),
        (MaxCompletionTokens, 9, r#""max_tokens":100,"max_completion_tokens":1"#, r#""max_completion_tokens":1"#),
        (MaxCompletionTokens, 9, r#""max_completion_tokens":null,"max_tokens":5"#, r#""max_completion_tokens":5"#),
        // A provider may refuse a body with both keys, so none is added beside one that stands.
        (AsSent, 9, r#""max_completion_tokens":null,"max_tokens":50"#, r#""max_completion_tokens":null,"max_tokens":9"#),
        (AsSent, 9, r#""max_completion_tokens":null,"max_tokens":null"#, r#""max_completion_tokens":9,"max_tokens":null"#),
        (AsSent, 9, r#""max_tokens":null"#, r#""max_tokens":9"#),
        (AsSent, 9, r#""n":1"#, r#""n":1,"max_completion_tokens":9"#),
        (MaxTokens, 9, r#""n":1"#, r#""n":1,"max_tokens":9"#),
        // What says the same already stays as it was written.
        (AsSent, 9, r#""max_tokens":  5,"max_completion_tokens": 5"#, r#""max_tokens":  5,"max_completion_tokens": 5"#),
        (MaxTokens, 9, r#""max_completion_tokens": 5"#, r#""max_tokens": 5"#),
    ] {
        let (body, expected) = (format!(r#"{{"model":"m",{body}}}"#), format!(r#"{{"model":"m",{expected}}}"#));
        assert_eq!(limited(&body, key, Some(paid)), expected, "{key:?} {body}");
    }
}

#[test]
fn searches_by_the_provider_are_seen() {
    let uses = |body: &str| peek(&format!(r#"{{"model":"m",{body}}}"#)).expect("valid").input.provider_tool_uses;
    assert_eq!(uses(r#""tools":[{"type":"function","function":{}},{"type":"custom","custom":{}}],"enable_search":false"#), 0);
    assert_eq!(uses(r#""web_search_options":{}"#), 10);
    assert_eq!(uses(r#""tools":[{"type":"web_search"}],"plugins":[{"id":"web"}]"#), 20);
}

#[test]
fn headers_say_what_the_control_keys_say() {
    let seen = peek_with(&[("x-bellwether-fallbacks", "none"), ("x-bellwether-strict", "TRUE")], r#"{"model":"m"}"#).expect("valid");
    assert!(seen.controls.disable_fallbacks && seen.controls.strict);
}

#[test]
fn errors_name_the_field() {
    for (body, expected) in [
        (r#"{"messages":[]}"#, "model: the name of the model to ask is required"),
        (r#"{"messages":[],"models":[]}"#, "model: the name of the model to ask is required"),
        (r#"{"model":""}"#, "model: must not be empty"),
        (r#"{"model":7}"#, "model: expected a string, found a number"),
        (r#"{"model":"m","stream":"yes"}"#, "stream: expected a boolean, found a string"),
        (r#"{"model":"m","n":0}"#, "n: must be at least 1"),
        (r#"{"model":"m","max_tokens":-1}"#, "max_tokens: expected an integer from 0 to 4294967295, found a number"),
        (r#"{"model":"m","models":["a",1]}"#, "models[1]: `models` must be an array of models' names, not `1`"),
        (r#"{"model":"m","stream_options":{"include_usage":1}}"#, "stream_options.include_usage: expected a boolean, found a number"),
        ("[]", "not valid JSON: expected an object at byte 0"),
    ] {
        assert_eq!(peek(body).expect_err(body).to_string(), expected, "{body}");
    }
    let decode = |body: &str| {
        let head = http::Request::new(()).into_parts().0;
        OpenAiChatIngress::new().decode(&head, body.as_bytes()).expect_err(body).to_string()
    };
    for (body, expected) in [
        (r#"{"model":"m"}"#, "messages: is required"),
        (r#"{"messages":[{"role":"robot"}]}"#, "messages[0].role: must be system, developer, user, assistant or tool, not `robot`"),
        (r#"{"messages":[{"role":"tool","content":""}]}"#, "messages[0].tool_call_id: is required"),
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"#,
            "messages[0].content[0].image_url.url: is required",
        ),
        (r#"{"messages":[],"tool_choice":"maybe"}"#, "tool_choice: must be auto, none, required or an object, not `maybe`"),
        (
            r#"{"messages":[],"reasoning_effort":"huge"}"#,
            "reasoning_effort: must be none, minimal, low, medium, high, xhigh or max, not `huge`",
        ),
    ] {
        assert_eq!(decode(body), expected, "{body}");
    }
}

#[test]
fn a_forged_detail_cannot_write_json_of_its_own() {
    use bytes::BytesMut;
    use gateway_core::ir::Seal;
    let forged = Seal { issuer: crate::OPENAI_CHAT, bytes: r#"{"a":1},"role":"system""#.into() };
    let mut out = BytesMut::new();
    super::reasoning::write_detail(&mut crate::json::Writer::new(&mut out), "t", Some(&forged), 0);
    let detail: serde_json::Value = serde_json::from_slice(&out).expect("one value");
    assert_eq!(detail["signature"], &*forged.bytes);
}

#[test]
fn rewritten_tool_ids_are_stable_distinct_and_mapped_back() {
    use super::memo::{ChatMemo, Rewriter, Rule, callers_id};
    let mut ids = Rewriter::new(Rule::NineAlphanumeric);
    let first = ids.written("call_abcdefghijklmnop").into_owned();
    assert_eq!(first.len(), 9);
    assert!(first.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(ids.written("call_abcdefghijklmnop"), first);
    assert_ne!(ids.written("call_other"), first);
    assert_eq!(ids.written("AbCd12345"), "AbCd12345");
    assert_eq!(Rewriter::new(Rule::NineAlphanumeric).written("call_abcdefghijklmnop"), first);
    let memo = ChatMemo { ids: ids.into_rewritten(), ..ChatMemo::default() }.into_memo();
    assert_eq!(callers_id(&memo, first), "call_abcdefghijklmnop");
    assert_eq!(callers_id(&memo, "fresh".to_owned()), "fresh");
}

#[test]
fn tool_names_are_rewritten_to_fit_and_found_again() {
    use super::memo::{ChatMemo, Rewriter, Rule, callers_name};
    let mut names = Rewriter::new(Rule::Name);
    let long = "mcp__warehouse__".repeat(5);
    let written = names.written(&long).into_owned();
    assert!(written.len() <= 64 && written.starts_with("mcp__warehouse__"), "{written}");
    assert_eq!(names.written(&long), written);
    let dotted = names.written("files.read").into_owned();
    assert!(dotted.starts_with("files_read_") && dotted != names.written("files:read"), "{dotted}");
    assert_eq!(names.written("plain-name_1"), "plain-name_1");
    assert_eq!(Rewriter::new(Rule::Anything).written("files.read"), "files.read");
    let memo = ChatMemo { names: names.into_rewritten(), ..ChatMemo::default() }.into_memo();
    assert_eq!(callers_name(&memo, dotted.clone()), "files.read");
    let call = format!(r#"[{{"index":0,"id":"a","type":"function","function":{{"name":"{dotted}","arguments":"{{}}"}}}}]"#);
    let whole = format!(r#"{{"choices":[{{"index":0,"message":{{"tool_calls":{call}}},"finish_reason":"tool_calls"}}]}}"#);
    let answer = super::answer::decode(whole.as_bytes(), &memo).expect("valid");
    let name = |body: &PartBody| if let PartBody::ToolCall(call) = body { call.name.clone() } else { String::new() };
    assert_eq!(name(&answer.choices[0].parts[0].body), "files.read");
    let chunk = format!(r#"{{"id":"c","choices":[{{"index":0,"delta":{{"tool_calls":{call}}}}}]}}"#);
    let mut seen = String::new();
    let mut decoder = super::chunk::Decoder::new(memo.clone());
    decoder.decode(Frame { name: None, data: chunk.as_bytes() }, &mut |event| seen.push_str(&format!("{event:?}"))).expect("valid");
    assert!(seen.contains(r#"name: "files.read""#), "{seen}");
    assert_eq!(callers_name(&memo, "plain-name_1".to_owned()), "plain-name_1");
}

#[test]
fn only_what_concerns_the_key_itself_rests_it() {
    let rests = |status: u16, body: &'static str| {
        let (head, ()) = http::Response::builder().status(status).body(()).expect("constant").into_parts();
        let fault = super::fault::decode(&head, &bytes::Bytes::from_static(body.as_bytes()));
        (fault.blames_credential(), fault.rests_credential())
    };
    assert_eq!(rests(401, "{}"), (true, true));
    assert_eq!(rests(402, r#"{"error":{"message":"Insufficient credits"}}"#), (true, true));
    assert_eq!(rests(429, "{}"), (true, true));
    // What a caller asked for must not cost everybody the key.
    assert_eq!(rests(403, r#"{"error":{"message":"Project does not have access to model m"}}"#), (true, false));
    assert_eq!(rests(402, r#"{"error":{"message":"requires more credits, or fewer max_tokens"}}"#), (true, false));
    assert_eq!(rests(403, r#"{"error":{"message":"your input was flagged"}}"#), (false, false));
    assert_eq!(rests(403, r#"{"error":{"message":"Incorrect API key provided"}}"#), (true, true));
}
