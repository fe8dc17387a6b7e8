use bytes::BytesMut;
use gateway_core::InputSize;
use proptest::prelude::*;

use super::*;
use crate::OPENAI_CHAT;

const RULES: SizeRules = SizeRules {
    item_keys: &["messages", "tools"],
    media_zones: &["messages"],
    media_keys: &["image_url", "source", "file"],
    callers_tools: &["function", "bash_"],
    provider_tools: &["plugins"],
};

fn keys(body: &str) -> Vec<(&str, &str)> {
    let spans = top_level(body.as_bytes()).expect("well-formed");
    assert_eq!(spans, scan(body.as_bytes(), &RULES).expect("well-formed").spans);
    spans.into_iter().map(|span| (&body[span.key], &body[span.value])).collect()
}

#[test]
fn spans_are_exact_and_keep_repetitions() {
    assert_eq!(keys("{}"), []);
    assert_eq!(keys(" { } "), []);
    assert_eq!(keys(r#"{"a":1,"a" : [ {} , "]" ] ,"b\"":-1.5e+3}"#), [("a", "1"), ("a", r#"[ {} , "]" ]"#), (r#"b\""#, "-1.5e+3")]);
    assert_eq!(keys(r#"{"a":"\\","b":"\"","c":null}"#), [("a", r#""\\""#), ("b", r#""\"""#), ("c", "null")]);
}

#[test]
fn malformed_documents_are_refused_with_the_place() {
    for (body, message) in [
        ("", "not valid JSON: expected an object, but it ends after 0 bytes"),
        ("[]", "not valid JSON: expected an object at byte 0"),
        ("{", "not valid JSON: expected a string, but it ends after 1 bytes"),
        ("{\"a\"}", "not valid JSON: expected `:` after a key at byte 4"),
        ("{\"a\":1,}", "not valid JSON: expected a string at byte 7"),
        ("{\"a\":1 \"b\":2}", "not valid JSON: expected `,` or `}` at byte 7"),
        ("{\"a\":tru}", "not valid JSON: expected `true`, `false` or `null` at byte 5"),
        ("{\"a\":01}", "the JSON number at byte 5 is malformed"),
        ("{\"a\":-}", "the JSON number at byte 5 is malformed"),
        ("{\"a\":\"x\\\"}", "the JSON string that begins at byte 5 has no end"),
        ("{\"a\":\"x\\", "the JSON string that begins at byte 5 has no end"),
        ("{\"a\":1}{}", "not valid JSON: expected the end of the document at byte 7"),
        ("{\"a\":[1}]", "not valid JSON: expected `,` or `]` at byte 7"),
        ("{a:1}", "not valid JSON: expected a string at byte 1"),
    ] {
        let error = top_level(body.as_bytes()).expect_err(body);
        assert_eq!(error.message, message, "{body}");
        assert!(scan(body.as_bytes(), &RULES).is_err(), "{body}");
    }
    assert!(top_level(b"{\"a\":\"\xff\"}").is_err());
    assert!(scan(b"{\"a\":\"\xc3\"}", &RULES).is_err());
}

#[test]
fn nesting_is_limited_everywhere() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let deepest = nested(127);
    assert!(scan(deepest.as_bytes(), &RULES).is_ok());
    for levels in [200, 100_000] {
        let body = nested(levels);
        assert!(scan(body.as_bytes(), &RULES).is_err());
        assert!(top_level(body.as_bytes()).is_err());
        assert!(Json::parse(body.as_bytes()).is_err());
    }
}

fn input(body: &str) -> InputSize {
    scan(body.as_bytes(), &RULES).expect("well-formed").input
}

#[test]
fn the_prompt_is_sized_without_its_media() {
    let base64 = "QUJD".repeat(1_000);
    let plain = input(r#"{"messages":[{"role":"user","content":"hello"}],"tools":[{},{}]}"#);
    assert_eq!(plain, InputSize { text_bytes: 4 + 4 + 7 + 5, prompt_bytes: 4 + 5, items: 3, ..InputSize::default() });

    for body in [
        format!(r#"{{"messages":[{{"content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{base64}"}}}}]}}]}}"#),
        format!(r#"{{"messages":[{{"content":[{{"type":"image_url","image_url":"data:image/png;base64,{base64}"}}]}}]}}"#),
        format!(r#"{{"messages":[{{"content":[{{"type":"image","source":{{"type":"base64","data":"{base64}"}}}}]}}]}}"#),
    ] {
        let size = input(&body);
        assert_eq!((size.media, size.media_bytes, size.items), (1, 3_000, 1), "{body:.80}");
        assert!(size.text_bytes < 100, "{}", size.text_bytes);
    }
}

#[test]
fn what_is_no_prompt_is_bounded_but_not_counted() {
    let prompt = r#""messages":[{"role":"user","content":"hello"}]"#;
    let besides = r#""metadata":{"note":"as long as one likes"},"stop":["end"],"max_tokens":400,"stream":true"#;
    let (alone, all) = (input(&format!("{{{prompt}}}")), input(&format!("{{{besides},{prompt},{besides}}}")));
    assert_eq!(alone.prompt_bytes, 4 + 5);
    assert_eq!(all.prompt_bytes, alone.prompt_bytes);
    assert!(all.text_bytes > alone.text_bytes + 60, "{}", all.text_bytes);
}

#[test]
fn the_prompt_stands_in_the_order_in_which_models_read_it() {
    let body = r#"{"messages":[{"content":"last"}],"stop":["no"],"tools":[{"name":"first"}],"system":"second","model":"m"}"#;
    let rules = SizeRules { item_keys: &["messages", "tools"], media_zones: &["messages", "system"], ..RULES };
    let prompt = scan(body.as_bytes(), &rules).expect("well-formed").prompt;
    let parts: Vec<_> = prompt.into_iter().map(|range| &body[range]).collect();
    assert_eq!(parts, [r#"[{"name":"first"}]"#, r#""second""#, r#"[{"content":"last"}]"#]);
    assert_eq!(scan(br#"{"model":"m"}"#, &rules).expect("well-formed").prompt, []);
}

#[test]
fn text_cannot_hide_as_media() {
    let text = "some words ".repeat(100);
    for body in [
        // A text document stands where base64 usually does.
        format!(r#"{{"messages":[{{"content":[{{"type":"document","source":{{"type":"text","data":"{text}"}}}}]}}]}}"#),
        // Sealed reasoning is input too.
        format!(r#"{{"messages":[{{"content":[{{"type":"redacted_thinking","data":"{}"}}]}}]}}"#, "QUJD".repeat(300)),
        // A schema may have a property of that name.
        format!(r#"{{"tools":[{{"image_url":{{"description":"{text}"}}}}]}}"#),
        format!(r#"{{"messages":[{{"content":"data:text/plain;base64,{}"}}]}}"#, "QUJD".repeat(300)),
    ] {
        assert!(input(&body).text_bytes > 1_000, "{body:.80}");
        assert_eq!(input(&body).media_bytes, 0, "{body:.80}");
    }
}

#[test]
fn an_escaped_key_is_sized_as_what_it_means() {
    let plain = r#"{"messages":[{"content":[{"source":{"type":"url","url":"https://a.example/b.pdf"}}]}]}"#;
    let data = format!(r#"{{"messages":[{{"content":[{{"source":{{"type":"base64","data":"{}"}}}}]}}]}}"#, "QUJD".repeat(300));
    for (body, escaped) in [
        (plain, [("messages", r"mess\u0061ges"), ("source", r"sour\u0063e")]),
        (&*data, [("source", r"\u0073ource"), ("data", r"d\u0061t\u0061")]),
    ] {
        for (key, written) in escaped {
            let (meant, found) = (input(body), input(&body.replace(&format!("\"{key}\""), &format!("\"{written}\""))));
            assert_eq!((found.media, found.media_bytes, found.items), (meant.media, meant.media_bytes, meant.items), "{written}");
            assert_eq!((found.media, found.prompt_bytes), (1, meant.prompt_bytes), "{written}");
        }
    }
    // What is no escape means nothing, and stays what it is.
    assert_eq!(input(r#"{"messages":[{"sour\x63e":{}}]}"#).media, 0);
}

#[test]
fn tools_that_the_provider_runs_are_seen_with_how_often_they_may_be_used() {
    for (body, uses) in [
        (r#""tools":[{"name":"mine","input_schema":{"type":"object","properties":{"type":{"type":"string"}}}}]"#, 0),
        (r#""tools":[{"type":"function","function":{"name":"f"}},{"type":"bash_20250124","name":"bash"},{"type":null}]"#, 0),
        (r#""messages":[{"type":"web_search_20250305","max_uses":3}],"metadata":{"type":"x"}"#, 0),
        (r#""plugins":[],"plugins":null,"plugins": false"#, 0),
        (r#""tools":[{"type":"web_search_20250305","name":"web_search","max_uses":3}]"#, 3),
        (r#""tools":[{"max_uses":3,"type":"web_search_20250305"},{"name":"mine","max_uses":9}]"#, 3),
        (r#""tools":[{"type":"web_search_20250305"},{"type":"code_execution_20250825"}]"#, 20),
        (r#""t\u006fols":[{"ty\u0070e":"web\u005fsearch_20250305","max\u005fuses":4}]"#, 4),
        (r#""tools":[{"type":"web_search_20250305","max_uses":0}]"#, 1),
        (r#""tools":[{"type":"web_search_20250305","max_uses":4000000000}]"#, 50),
        (r#""tools":[{"type":"web_search_20250305","max_uses":2e1}]"#, 10),
        (r#""plugins":[{"id":"web"}]"#, 10),
        (r#""plugins":{}"#, 10),
    ] {
        assert_eq!(input(&format!("{{{body}}}")).provider_tool_uses, uses, "{body}");
    }
}

#[test]
fn envelopes_are_spotted() {
    let sealed = |body: &str| scan(body.as_bytes(), &RULES).expect("well-formed").sealed;
    assert!(sealed(r#"{"a":[{"format":"bw1/gemini"}]}"#));
    assert!(sealed(r#"{"a":"bw1.gemini.QUJD"}"#));
    assert!(!sealed(r#"{"a":"my bw1/router","b":"bw1"}"#));
}

#[test]
fn values_are_read_with_errors_that_name_the_field() {
    let document = Json::parse(br#"{"s":"a\nb","n":12.0,"f":-1.5,"b":true,"z":null,"l":["x",1],"s":"last"}"#).expect("well-formed");
    let mut fields = document.fields().expect("object");
    assert_eq!(fields.take_u64("n").expect("count"), Some(12));
    assert_eq!(fields.take_bool("z").expect("null is absent"), None);
    assert_eq!(fields.take_strings("l").expect_err("mixed").to_string(), "l[1]: expected a string, found a number");
    assert_eq!(fields.take_bool("f").expect_err("number").to_string(), "f: expected a boolean, found a number");
    assert_eq!(fields.need_str("gone").expect_err("missing").to_string(), "gone: is required");
    assert_eq!(fields.take_str("s").expect("string").as_deref(), Some("last"));
    assert_eq!(fields.rest().map(|(key, _)| key).collect::<Vec<_>>(), ["b"]);
    assert_eq!(fields.extras(OPENAI_CHAT).expect("valid").expect("one").fields[0].1.text(), "true");
}

#[test]
fn a_string_with_a_control_character_or_bad_escape_is_no_string() {
    for text in ["\"a\nb\"", r#""\x""#, r#""\ud800""#] {
        let value = Json::parse(text.as_bytes()).expect("boundaries are clear");
        assert!(value.str().is_err(), "{text}");
        assert!(text == r#""\ud800""# || value.raw().is_err(), "{text}");
    }
}

#[test]
fn numbers_are_written_as_json() {
    let mut out = BytesMut::new();
    let mut w = Writer::new(&mut out);
    w.begin_array();
    w.u64(0);
    w.u64(u64::MAX);
    w.i64(i64::MIN);
    w.f64(0.7);
    w.f64(f64::NAN);
    w.begin_object();
    w.end_object();
    w.null();
    w.end_array();
    assert_eq!(out, "[0,18446744073709551615,-9223372036854775808,0.7,null,{},null]");
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1e9..1e9f64).prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((".{0,8}", inner), 0..6).prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn scanner_agrees_with_a_full_parser(value in any_json(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.expect("json");
        let json = Json::parse(text.as_bytes()).expect("valid");
        prop_assert_eq!(json.text(), &text);
        if let serde_json::Value::Object(map) = &value {
            prop_assert_eq!(top_level(text.as_bytes()).expect("valid"), scan(text.as_bytes(), &RULES).expect("valid").spans);
            let fields = json.fields().expect("object");
            prop_assert_eq!(fields.rest().count(), map.len());
            for (key, raw) in fields.rest() {
                prop_assert_eq!(&raw.typed::<serde_json::Value>("json").expect("valid"), &map[key]);
            }
        }
    }

    #[test]
    fn garbage_never_panics_and_never_passes_a_parser_that_accepts_less(bytes in prop::collection::vec(prop::sample::select(&b"{}[]\",:\\0123.eE+-truefalsnu \n\x00\xff"[..]), 0..40)) {
        let ours = Json::parse(&bytes).is_ok();
        if serde_json::from_slice::<serde_json::Value>(&bytes).is_ok() {
            prop_assert!(ours);
        }
        let _ = scan(&bytes, &RULES);
    }

    #[test]
    fn written_strings_read_back(text in ".*") {
        let mut out = BytesMut::new();
        write_str(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("valid"), text);
    }
}
