use gateway_core::{
    FaultKind,
    ir::{ChatResponse, FinishReason, Media, MediaKind, MediaSource, Part, PartBody, ToolCall},
    stream::Fold,
};
use serde_json::{Value, json};

use super::{super::ids::is_made_up, *};

/// Plays frames; the folded answer, or what went wrong.
fn played(frames: &[Value], memo: &Memo) -> Result<ChatResponse, String> {
    let mut decoder = Decoder::new(memo);
    let mut fold = Fold::new();
    let mut failed = None;
    let mut see = |event: Event<'_>| {
        if let Err(fault) = fold.push(&event) {
            failed.get_or_insert(fault);
        }
    };
    for frame in frames {
        let text = frame.to_string();
        decoder.decode(Frame { name: None, data: text.as_bytes() }, &mut see).map_err(|error| error.to_string())?;
    }
    decoder.finish(&mut see).map_err(|error| error.to_string())?;
    match failed {
        Some(fault) => Err(fault.to_string()),
        None => Ok(fold.finish()),
    }
}

/// One candidate's frames, the last of which stops.
fn parts(frames: &[Value]) -> Vec<Part> {
    let last = frames.len() - 1;
    let frames: Vec<Value> = frames
        .iter()
        .enumerate()
        .map(|(n, parts)| {
            let mut candidate = json!({"content": {"parts": parts, "role": "model"}});
            if n == last {
                candidate["finishReason"] = "STOP".into();
            }
            json!({"candidates": [candidate], "responseId": "r"})
        })
        .collect();
    played(&frames, &Memo::default()).unwrap().choices.remove(0).parts
}

fn sealed(part: Part) -> Part {
    part.sealed(Some(Seal { issuer: GEMINI, bytes: "s".into() }))
}

fn thought(text: &str) -> Part {
    Part::new(PartBody::Reasoning(text.into()))
}

#[test]
fn neighbours_of_one_kind_join_and_a_seal_ends_a_part() {
    let found = parts(&[
        json!([{"text": "h", "thought": true}]),
        json!([{"text": "m", "thought": true}, {"text": "A"}]),
        json!([{"text": ""}, {"text": "B"}]),
        json!([{"text": "", "thoughtSignature": "s"}, {"text": "C"}]),
    ]);
    assert_eq!(found, [thought("hm"), sealed(Part::text("AB")), Part::text("C")]);
}

#[test]
fn a_seal_without_text_stays_on_a_part_of_its_own_kind() {
    let found = parts(&[json!([{"text": "hm", "thought": true}]), json!([{"text": "", "thoughtSignature": "s"}])]);
    assert_eq!(found, [thought("hm"), sealed(Part::text(""))]);
}

#[test]
fn calls_without_ids_get_some() {
    let call = |name: &str| json!({"functionCall": {"name": name, "args": {"x": 1}}});
    let found = parts(&[json!([call("f"), call("f")]), json!([{"functionCall": {"id": "own", "name": "g"}, "thoughtSignature": "s"}])]);
    let calls: Vec<&ToolCall> =
        found.iter().map(|part| if let PartBody::ToolCall(call) = &part.body { call } else { panic!("{part:?}") }).collect();
    assert!(is_made_up(&calls[0].id) && is_made_up(&calls[1].id) && calls[0].id != calls[1].id);
    assert_eq!((&*calls[2].id, &*calls[2].arguments), ("own", "{}"));
    assert_eq!(calls[0].arguments, r#"{"x":1}"#);
    assert!(found[2].seal.is_some());
    // The same answer later in the conversation must not repeat an id.
    let frame = json!({"candidates": [{"content": {"parts": [call("f")]}, "finishReason": "STOP"}], "responseId": "r"});
    let later = played(&[frame], &Memo::new(Sent { calls: 2 })).unwrap();
    let PartBody::ToolCall(again) = &later.choices[0].parts[0].body else { panic!("a call") };
    assert_ne!(again.id, calls[0].id);
    assert_eq!(later.choices[0].finish.reason, FinishReason::ToolCalls);
}

#[test]
fn streamed_arguments_are_put_together() {
    let piece = |text: &str| json!({"jsonPath": "$.city", "stringValue": text, "willContinue": true});
    let found = parts(&[
        json!([{"functionCall": {"id": "c", "name": "f", "willContinue": true}, "thoughtSignature": "s"}]),
        json!([{"functionCall": {"partialArgs": [piece("Par")], "willContinue": true}}]),
        json!([{"functionCall": {"partialArgs": [piece("is")], "willContinue": true}}]),
        json!([{"functionCall": {}}]),
        json!([{"text": "done"}]),
    ]);
    let call = ToolCall { id: "c".into(), name: "f".into(), arguments: r#"{"city":"Paris"}"#.into(), kind: ToolKind::Function };
    assert_eq!(found, [sealed(Part::new(PartBody::ToolCall(call))), Part::text("done")]);
}

#[test]
fn parts_we_do_not_model_are_kept_whole() {
    let code = json!({"executableCode": {"code": "1"}, "thoughtSignature": "s"});
    let picture = json!({"inlineData": {"mimeType": "image/png", "data": "AA"}, "partMetadata": {"k": 1}});
    let found = parts(&[json!([code.clone(), picture, {"text": "t"}])]);
    let PartBody::Opaque { origin: GEMINI, raw } = &found[0].body else { panic!("{:?}", found[0]) };
    assert_eq!(serde_json::from_str::<Value>(raw.text()).unwrap(), code);
    let media = Media {
        kind: MediaKind::Image,
        media_type: Some("image/png".into()),
        source: MediaSource::Inline { base64: "AA".into() },
        detail: None,
        title: None,
        context: None,
        citations: None,
    };
    assert_eq!(found[1].body, PartBody::Media(media));
    assert_eq!(&*found[1].extras.as_ref().unwrap().fields[0].0, "partMetadata");
}

#[test]
fn sources_that_are_restated_are_cited_once() {
    let grounding = |end: u64| {
        json!({"groundingChunks": [{"web": {"uri": "u"}}], "webSearchQueries": ["a", "b"],
        "groundingSupports": [{"segment": {"endIndex": end, "text": "x"}, "groundingChunkIndices": [0]}]})
    };
    let text = |text: &str| json!({"parts": [{"text": text}]});
    let frames = [
        json!({"candidates": [{"content": text("gr"), "groundingMetadata": {}}]}),
        json!({"candidates": [{"content": text("\u{fc}n"), "groundingMetadata": grounding(5)}], "usageMetadata": {"promptTokenCount": 1}}),
        json!({"candidates": [{"finishReason": "STOP", "groundingMetadata": grounding(5)}], "usageMetadata": {"promptTokenCount": 1}}),
    ];
    let answer = played(&frames, &Memo::default()).unwrap();
    let PartBody::Text { text, citations } = &answer.choices[0].parts[0].body else { panic!("text") };
    assert_eq!((text.as_str(), citations.len()), ("grün", 1));
    assert_eq!((citations[0].start, citations[0].end), (Some(0), Some(4)));
    assert_eq!(answer.usage.unwrap().web_searches, Some(2));
    // After the text has ended, an empty one carries them.
    let late = [
        json!({"candidates": [{"content": {"parts": [{"text": "a"}, {"functionCall": {"name": "f"}}]}}]}),
        json!({"candidates": [{"finishReason": "STOP", "groundingMetadata": grounding(1)}]}),
    ];
    let answer = played(&late, &Memo::default()).unwrap();
    assert!(matches!(&answer.choices[0].parts[2].body, PartBody::Text { text, citations } if text.is_empty() && citations.len() == 1));
}

#[test]
fn candidates_may_interleave() {
    let frame = |index: u32, text: &str, reason: Option<&str>| json!({"candidates": [{"index": index, "content": {"parts": [{"text": text}]}, "finishReason": reason}]});
    let frames = [frame(0, "a", None), frame(1, "x", None), frame(0, "b", Some("STOP")), frame(1, "y", Some("MAX_TOKENS"))];
    let answer = played(&frames, &Memo::default()).unwrap();
    assert_eq!(answer.choices[0].parts, [Part::text("ab")]);
    assert_eq!(answer.choices[1].parts, [Part::text("xy")]);
    assert_eq!(answer.choices[1].finish.reason, FinishReason::Length);
}

#[test]
fn a_cut_an_error_and_a_refusal_are_never_a_clean_end() {
    let text = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}]});
    let table = [
        (vec![], "without a finishReason"),
        (vec![text.clone()], "without a finishReason"),
        (vec![text.clone(), json!([{"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}])], FaultKind::Overloaded.as_str()),
        (vec![json!({"promptFeedback": {"blockReason": "SAFETY"}})], FaultKind::ContentFiltered.as_str()),
        (vec![json!({"candidates": "x"})], "not a Gemini answer"),
        (vec![json!({"candidates": [{"content": {"parts": [1]}}]})], "object"),
    ];
    for (frames, expected) in table {
        let error = played(&frames, &Memo::default()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
