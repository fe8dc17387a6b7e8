//! Random input for what reads strangers' bytes: framers, `Splice`, relays. A few seconds on every run; a failure prints
//! its smallest input.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use gateway_core::{Egress, Framer, KeySpan, Memo, Pricer, RelayCtx, RenderCtx, RequestId, WireError};
use gateway_wire::{
    anthropic::AnthropicEgress,
    gemini::GeminiEgress,
    json::top_level,
    openai_chat::OpenAiChatEgress,
    splice::Splice,
    sse::{Payload, SseCutter, SseFramer},
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

fn cases(cases: u32) -> ProptestConfig {
    // A file of old failures needs a place beside a library; what was found once is a test of its own instead.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Cuts `bytes` into chunks of these sizes, over and over; zero is an empty chunk.
fn chunked<'b>(bytes: &'b [u8], sizes: &[usize]) -> Vec<&'b [u8]> {
    let (mut rest, mut chunks) = (bytes, Vec::new());
    for size in sizes.iter().copied().cycle().take(bytes.len() * 2 + sizes.len()) {
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks.push(rest);
    chunks
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(0..40usize, 1..8)
}

/// Bytes of which many are those that mean something to a framer.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => select(vec!["data: ", "data:", "data", "event: ", ":", "\n", "\r", "\r\n", "\n\n", "\u{feff}", "{}", "id: 7\n"]).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..30),
    ];
    vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// What a reader of frames made of a stream: the frames until it ended or refused.
type Framed = (Vec<(Option<String>, Vec<u8>)>, bool);

fn framed(chunks: &[&[u8]], max: usize) -> Framed {
    let mut framer = SseFramer::with_max(max);
    let mut frames = Vec::new();
    let mut each = |frame: gateway_core::Frame<'_>| {
        frames.push((frame.name.map(str::to_owned), frame.data.to_vec()));
        Ok(())
    };
    let fed = chunks.iter().try_for_each(|chunk| framer.push(chunk, &mut each));
    let sound = fed.and_then(|()| framer.finish(&mut each)).is_ok();
    (frames, sound)
}

fn cut(chunks: &[&[u8]], max: usize) -> (Framed, Vec<u8>) {
    let mut cutter = SseCutter::with_max(max);
    let (mut frames, mut bytes) = (Vec::new(), Vec::new());
    let mut each = |cut: gateway_wire::sse::Cut| {
        bytes.extend_from_slice(&cut.raw);
        if cut.payload != Payload::None {
            frames.push((cut.name().map(str::to_owned), cut.data().to_vec()));
        }
        Ok::<_, WireError>(())
    };
    let fed = chunks.iter().try_for_each(|chunk| cutter.push(&Bytes::copy_from_slice(chunk), &mut each));
    let sound = fed.and_then(|()| cutter.finish()?.map_or(Ok(()), &mut each)).is_ok();
    ((frames, sound), bytes)
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn both_framers_read_the_same_however_the_bytes_are_cut(stream in stream(), sizes in sizes(), max in select(vec![8usize, 64, 1 << 20])) {
        let whole = framed(&[&stream], max);
        let chunks = chunked(&stream, &sizes);
        prop_assert_eq!(&framed(&chunks, max), &whole);
        let (seen, bytes) = cut(&chunks, max);
        prop_assert_eq!(&seen, &whole);
        prop_assert!(stream.starts_with(&bytes), "what is handed out is what came in");
        prop_assert!(!whole.1 || bytes == stream, "and all of it, unless the stream is refused");
    }
}

/// A JSON value as somebody might write it.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        select(vec![
            "null",
            "true",
            "0",
            "-0.0",
            "1.50",
            "1e400",
            "12345678901234567890",
            "\"\"",
            r#""\u0061\"\\\/""#,
            "\"}]\"",
            "\"ü😀\"",
            "[]",
            "{ }"
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,12}".prop_map(|text| serde_json::to_string(&text).expect("text is JSON")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let list = (vec(inner.clone(), 0..4), pad()).prop_map(|(items, pad)| format!("[{pad}{}{pad}]", items.join(&format!("{pad},"))));
        let object = (vec((key(), inner), 0..4), pad()).prop_map(|(members, pad)| {
            let members: Vec<_> = members.iter().map(|(key, value)| format!("{pad}{key}{pad}:{value}")).collect();
            format!("{{{}{pad}}}", members.join(","))
        });
        prop_oneof![list, object]
    })
}

fn pad() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,2}"
}

/// A key as it is written, quotes included; some are one key in two spellings.
fn key() -> impl Strategy<Value = String> {
    select(vec![r#""model""#, r#""mod\u0065l""#, r#""a""#, r#""b""#, r#""k\"ey""#, r#""\u00fc""#, "\"ü\"", r#""""#]).prop_map(str::to_owned)
}

/// One member of an object with the white space around it.
type Member = (String, String, String, String);

fn members() -> impl Strategy<Value = Vec<Member>> {
    vec((pad(), key(), pad(), json()), 0..7)
}

fn written(members: &[Member], pad: &str) -> String {
    let members: Vec<_> = members.iter().map(|(before, key, between, value)| format!("{before}{key}{between}:{value}{pad}")).collect();
    format!("{pad}{{{}}}{pad}", members.join(","))
}

fn unquoted(key: &str) -> String {
    serde_json::from_str(key).expect("keys are JSON")
}

/// The members of an object by an independent reader: keys unescaped, values as written, in order, repetitions included.
struct Read(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Read;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((key, value.get().to_owned()));
                }
                Ok(Read(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Set(String),
    Remove,
    Rename(String),
}

/// Edits of different keys, at most one of them a new name that nothing else is about.
fn edits() -> impl Strategy<Value = Vec<(String, Edit)>> {
    let edit = prop_oneof![json().prop_map(Edit::Set), Just(Edit::Remove)];
    let rename = prop_oneof![Just(None), select(vec!["renamed", "b"]).prop_map(|to| Some(Edit::Rename(to.to_owned())))];
    (vec((select(vec!["model", "a", "ü", "new"]), edit), 0..4), rename).prop_map(|(edits, rename)| {
        let mut distinct: Vec<(String, Edit)> = Vec::new();
        for (key, edit) in edits {
            if distinct.iter().all(|(known, _)| *known != key) {
                distinct.push((key.to_owned(), edit));
            }
        }
        distinct.extend(rename.map(|rename| ("k\"ey".to_owned(), rename)));
        distinct
    })
}

/// What the edits mean, member by member.
fn expected(members: &[Member], edits: &[(String, Edit)]) -> Vec<(String, String)> {
    let present = |key: &str| members.iter().any(|(_, written, ..)| unquoted(written) == key);
    let replaced = edits.iter().find_map(|(from, edit)| match edit {
        Edit::Rename(to) if present(from) => Some(to.clone()),
        _ => None,
    });
    let kept = members.iter().filter_map(|(_, written, _, value)| {
        let key = unquoted(written);
        if replaced.as_deref() == Some(&key) {
            return None;
        }
        match edits.iter().find(|(edited, _)| *edited == key).map(|(_, edit)| edit) {
            None => Some((key, value.clone())),
            Some(Edit::Set(json)) => Some((key, json.clone())),
            Some(Edit::Remove) => None,
            Some(Edit::Rename(to)) => Some((to.clone(), value.clone())),
        }
    });
    let added = edits.iter().filter_map(|(key, edit)| match edit {
        Edit::Set(json) if !present(key) => Some((key.clone(), json.clone())),
        _ => None,
    });
    kept.chain(added).collect()
}

fn apply<'a>(splice: &mut Splice<'a>, edits: &'a [(String, Edit)]) {
    for (key, edit) in edits {
        match edit {
            Edit::Set(json) => splice.set(key.as_str(), json.as_str()),
            Edit::Remove => splice.remove(key.as_str()),
            Edit::Rename(to) => splice.rename(key.as_str(), to.as_str()),
        }
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn a_splice_edits_what_it_is_told_and_leaves_every_other_value_as_written(members in members(), edits in edits(), pad in pad()) {
        let body = written(&members, &pad);
        let spans = top_level(body.as_bytes()).expect("valid JSON");
        let mut splice = Splice::new(body.as_bytes(), &spans);
        apply(&mut splice, &edits);
        let out = splice.apply();
        let Read(found) = serde_json::from_slice(&out).expect("still valid JSON");
        prop_assert_eq!(found, expected(&members, &edits), "{:?}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn a_new_value_moves_no_other_byte(members in members(), value in json(), pad in pad()) {
        let body = written(&members, &pad);
        let spans = top_level(body.as_bytes()).expect("valid JSON");
        let mut splice = Splice::new(body.as_bytes(), &spans);
        let edited: Vec<Member> = members.iter().cloned().map(|(before, key, between, old)| {
            let value = if unquoted(&key) == "model" { value.clone() } else { old };
            (before, key, between, value)
        }).collect();
        if splice.has("model") {
            splice.set("model", value.as_str());
        }
        prop_assert_eq!(String::from_utf8_lossy(&splice.apply()).into_owned(), written(&edited, &pad));
    }

    #[test]
    fn damaged_json_is_refused_or_read_and_never_a_panic(members in members(), pad in pad(), damage in damage(), edits in edits()) {
        let body = damaged(written(&members, &pad).into_bytes(), &damage);
        if let Ok(spans) = top_level(&body) {
            let mut splice = Splice::new(&body, &spans);
            apply(&mut splice, &edits);
            prop_assert!(top_level(&splice.apply()).is_ok(), "{:?}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn places_that_are_not_of_the_body_are_never_a_panic(pieces in vec(select(vec!["model", "a", "k\"ey", "\\u0061", "\"", "{", "}", "ü"]), 0..6), places in vec((0..3usize, 0..9usize, 0..30usize, 0..30usize), 0..5), edits in edits()) {
        let body = pieces.concat();
        let spans: Vec<_> = places.into_iter().map(|(key, length, from, to)| KeySpan { key: key..key + length, value: from..to }).collect();
        let mut splice = Splice::new(body.as_bytes(), &spans);
        apply(&mut splice, &edits);
        let _anything_but_a_panic = splice.apply();
    }
}

/// Where to hurt a text, and with what: a byte replaced, put in or taken out.
type Damage = Vec<(prop::sample::Index, u8, u8)>;

fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![select(&b"{}[]\",:\\ue0-.\n\r"[..]), any::<u8>()];
    vec((any::<prop::sample::Index>(), 0..3u8, byte), 0..6)
}

fn damaged(mut bytes: Vec<u8>, damage: &Damage) -> Vec<u8> {
    for (place, kind, byte) in damage {
        let at = place.index(bytes.len() + 1);
        match kind {
            0 => bytes.insert(at, *byte),
            1 if at < bytes.len() => bytes[at] = *byte,
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => {}
        }
    }
    bytes
}

const STREAMS: [(&dyn Egress, &[&[u8]]); 3] = [
    (
        &OpenAiChatEgress::new(),
        &[
            include_bytes!("../fixtures/openai-chat/text/stream.sse"),
            include_bytes!("../fixtures/openai-chat/parallel-tools/stream.sse"),
            include_bytes!("../fixtures/openai-chat/reasoning-details/stream.sse"),
        ],
    ),
    (
        &AnthropicEgress::new(),
        &[
            include_bytes!("../fixtures/anthropic-messages/text/stream.sse"),
            include_bytes!("../fixtures/anthropic-messages/parallel-tools/stream.sse"),
        ],
    ),
    (
        &GeminiEgress::new(),
        &[
            include_bytes!("../fixtures/gemini/text/stream.sse"),
            include_bytes!("../fixtures/gemini/parallel-tools/stream.sse"),
            include_bytes!("../fixtures/gemini/grounded/stream.sse"),
        ],
    ),
];

/// What a relay sends of a stream, and whether it found it sound.
fn relayed(egress: &dyn Egress, chunks: &[&[u8]]) -> (Vec<u8>, bool) {
    let render = RenderCtx {
        request_id: RequestId::from_bytes([7; 16]),
        model: Arc::from("public"),
        created: 1,
        stream_usage: true,
        price: Pricer::default(),
    };
    let mut relay = egress.relay(&RelayCtx { render, memo: Memo::default() });
    let mut out = VecDeque::new();
    let fed = chunks.iter().try_for_each(|chunk| relay.push(Bytes::copy_from_slice(chunk), &mut out, &mut |_signal| {}));
    let sound = fed.and_then(|()| relay.finish(&mut out, &mut |_signal| {})).is_ok();
    (out.iter().flatten().copied().collect(), sound)
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn a_relay_makes_the_same_of_a_damaged_stream_however_it_is_cut(which in 0..3usize, one in any::<prop::sample::Index>(), damage in damage(), sizes in sizes()) {
        let (egress, streams) = STREAMS[which];
        let stream = damaged(streams[one.index(streams.len())].to_vec(), &damage);
        prop_assert_eq!(relayed(egress, &chunked(&stream, &sizes)), relayed(egress, &[&stream]));
    }
}
