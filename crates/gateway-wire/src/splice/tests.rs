use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::json::top_level;

fn check(body: &str, edit: impl FnOnce(&mut Splice<'_>), expected: &str) {
    let spans = top_level(body.as_bytes()).expect("well-formed");
    let mut splice = Splice::new(body.as_bytes(), &spans);
    edit(&mut splice);
    let out = splice.apply();
    assert_eq!(std::str::from_utf8(&out).expect("text"), expected);
    top_level(&out).expect("still well-formed");
}

#[test]
fn nothing_else_moves() {
    let body = "\t{ \"b\" : 1.50 ,\r\n \"model\":\"x\",\"a\": [1,  2] , \"e\":1e2}\n";
    check(body, |_| {}, body);
    check(body, |s| s.set_str("model", "y\"z"), "\t{ \"b\" : 1.50 ,\r\n \"model\":\"y\\\"z\",\"a\": [1,  2] , \"e\":1e2}\n");
}

#[test]
fn removing_leaves_no_stray_comma() {
    check(r#"{"a":1}"#, |s| s.remove("a"), "{}");
    check(r#"{ "a":1 }"#, |s| s.remove("a"), "{  }");
    check(r#"{"a":1,"b":2,"c":3}"#, |s| s.remove("a"), r#"{"b":2,"c":3}"#);
    check(r#"{"a":1,"b":2,"c":3}"#, |s| s.remove("b"), r#"{"a":1,"c":3}"#);
    check(r#"{"a":1,"b":2,"c":3}"#, |s| s.remove("c"), r#"{"a":1,"b":2}"#);
    for removed in [["a", "b"], ["b", "c"], ["a", "c"], ["c", "b"]] {
        let left = ["a", "b", "c"].into_iter().find(|key| !removed.contains(key)).expect("one");
        let n = 1 + left.bytes().next().expect("one byte") - b'a';
        check(r#"{"a":1,"b":2,"c":3}"#, |s| removed.into_iter().for_each(|key| s.remove(key)), &format!(r#"{{"{left}":{n}}}"#));
    }
    check(r#"{"a":1,"b":2}"#, |s| ["a", "b"].into_iter().for_each(|key| s.remove(key)), "{}");
}

#[test]
fn every_occurrence_is_edited_however_it_is_escaped() {
    let body = r#"{"model":"a","x":0,"mod\u0065l":"b","model":"c"}"#;
    check(body, |s| s.set("model", "1"), r#"{"model":1,"x":0,"mod\u0065l":1,"model":1}"#);
    check(body, |s| s.remove("model"), r#"{"x":0}"#);
    check(body, |s| s.rename("model", "m"), r#"{"m":"a","x":0,"m":"b","m":"c"}"#);
}

#[test]
fn a_new_name_replaces_what_had_it() {
    check(r#"{"max_tokens":1,"max_completion_tokens":2}"#, |s| s.rename("max_completion_tokens", "max_tokens"), r#"{"max_tokens":2}"#);
    check(r#"{"a":1}"#, |s| s.rename("b", "a"), r#"{"a":1}"#);
    check(r#"{"a":1}"#, |s| s.rename("a", "a"), r#"{"a":1}"#);
}

#[test]
fn new_keys_go_to_the_end() {
    check("{}", |s| s.set("a", "1"), r#"{"a":1}"#);
    check(" {\n} ", |s| s.set("a", "1"), " {\"a\":1\n} ");
    check(r#"{"b":1 }"#, |s| s.set("a", "1"), r#"{"b":1,"a":1 }"#);
    check(r#"{"b":1 }"#, |s| s.remove("b"), "{ }");
    let replace_all = |s: &mut Splice<'_>| {
        s.remove("b");
        s.set("a", "1");
        s.set("c", "2");
    };
    check(r#"{"b":1}"#, replace_all, r#"{"a":1,"c":2}"#);
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "model", "k\"ey", "ü"]).prop_map(str::to_owned)
}

#[derive(Debug, Clone)]
enum Op {
    Set(String, i32),
    SetText(String, String),
    Remove(String),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (key(), any::<i32>()).prop_map(|(key, n)| Op::Set(key, n)),
        (key(), ".{0,6}").prop_map(|(key, text)| Op::SetText(key, text)),
        key().prop_map(Op::Remove),
    ]
}

fn written(members: &[(String, i32)], pad: &str) -> String {
    let member = |(key, n): &(String, i32)| format!("{pad}{}{pad}:{pad}{n}{pad}", Value::from(key.as_str()));
    format!("{pad}{{{pad}{}}}{pad}", members.iter().map(member).collect::<Vec<_>>().join(","))
}

proptest! {
    #[test]
    fn edits_mean_what_they_mean_on_a_map(members in prop::collection::vec((key(), any::<i32>()), 0..6), ops in prop::collection::vec(op(), 0..5), pad in "[ \n]{0,2}") {
        let body = written(&members, &pad);
        let mut map: Map<String, Value> = serde_json::from_str(&body).expect("valid");
        let spans = top_level(body.as_bytes()).expect("valid");
        let mut splice = Splice::new(body.as_bytes(), &spans);
        for op in &ops {
            match op {
                Op::Set(key, n) => { splice.set(key.as_str(), n.to_string()); map.insert(key.clone(), (*n).into()); }
                Op::SetText(key, text) => { splice.set_str(key.as_str(), text); map.insert(key.clone(), text.as_str().into()); }
                Op::Remove(key) => { splice.remove(key.as_str()); map.remove(key); }
            }
        }
        let out = splice.apply();
        prop_assert_eq!(serde_json::from_slice::<Map<String, Value>>(&out).expect("valid JSON"), map, "{:?}", out);
        if ops.is_empty() {
            prop_assert_eq!(&out[..], body.as_bytes());
        }
    }

    #[test]
    fn a_rename_means_what_it_means_on_a_map(members in prop::collection::vec((key(), any::<i32>()), 0..6), from in key(), to in key(), pad in "[ \n]{0,2}") {
        let body = written(&members, &pad);
        let mut map: Map<String, Value> = serde_json::from_str(&body).expect("valid");
        let spans = top_level(body.as_bytes()).expect("valid");
        let mut splice = Splice::new(body.as_bytes(), &spans);
        splice.rename(from.as_str(), to.as_str());
        if from != to && let Some(value) = map.remove(&from) {
            map.insert(to.clone(), value);
        }
        prop_assert_eq!(serde_json::from_slice::<Map<String, Value>>(&splice.apply()).expect("valid JSON"), map);
    }
}
