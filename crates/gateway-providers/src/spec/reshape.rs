//! Renames and drops top-level keys of a request; every value stays as it was written.

use std::borrow::Cow;

use bytes::Bytes;
use gateway_core::Fault;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

struct Members<'b>(Vec<(Cow<'b, str>, &'b RawValue)>);

impl<'de: 'b, 'b> Deserialize<'de> for Members<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<Key<'de>>()? {
                    members.push((key.0, map.next_value()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect).map(Self)
    }
}

#[derive(Deserialize)]
struct Key<'b>(#[serde(borrow)] Cow<'b, str>);

/// The body with keys renamed and dropped, order kept. Where a renamed key meets one that is already there, the one
/// written under the provider's own name stays.
pub(super) fn reshape(body: &[u8], rename: &[(Box<str>, Box<str>)], drop: &[Box<str>]) -> Result<Bytes, Fault> {
    let members: Members<'_> = serde_json::from_slice(body)
        .map_err(|error| Fault::internal("a request could not be rewritten for the provider").with_source(error))?;
    let mut out = Vec::with_capacity(body.len() + 32);
    for (key, value) in &members.0 {
        if drop.iter().any(|dropped| **dropped == **key) {
            continue;
        }
        let renamed = rename.iter().find(|(ours, _)| **ours == **key).map(|(_, theirs)| &**theirs);
        if renamed.is_some_and(|theirs| members.0.iter().any(|(other, _)| other == theirs)) {
            continue;
        }
        out.push(if out.is_empty() { b'{' } else { b',' });
        let name = serde_json::to_string(renamed.unwrap_or(key))
            .map_err(|error| Fault::internal("a request could not be rewritten for the provider").with_source(error))?;
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_order_stay_and_a_key_of_the_providers_own_name_wins() {
        let check = |body: &str, expect: &str| {
            let rename = [("a".into(), "b".into())];
            let out = reshape(body.as_bytes(), &rename, &["x".into()]).expect("an object");
            assert_eq!(std::str::from_utf8(&out), Ok(expect));
        };
        check(r#"{"z":1.0e2, "a": {"a":1} ,"x":[],"é":"\u00e9"}"#, r#"{"z":1.0e2,"b":{"a":1},"é":"\u00e9"}"#);
        check(r#"{"a":1,"b":2}"#, r#"{"b":2}"#);
        check(r#"{"x":1}"#, "{}");
        check("{}", "{}");
    }
}
