//! Whom a caller says it is calling for.

use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use crate::peek::Peek;

const HEADER: HeaderName = HeaderName::from_static("x-bellwether-user");

/// Longer names are cut: they are for telling people apart, not for data.
const CHARS_MAX: usize = 200;

#[derive(Deserialize)]
struct Metadata {
    user_id: Option<Box<str>>,
}

pub(super) fn of(headers: &HeaderMap, body: &[u8], peek: &Peek) -> Option<Box<str>> {
    let header = headers.get(HEADER).and_then(|value| value.to_str().ok()).and_then(plain);
    header.or_else(|| ["user", "safety_identifier"].into_iter().find_map(|key| text(value(body, peek, key)?))).or_else(|| {
        let metadata: Metadata = serde_json::from_slice(value(body, peek, "metadata")?).ok()?;
        plain(&metadata.user_id?)
    })
}

fn value<'b>(body: &'b [u8], peek: &Peek, key: &str) -> Option<&'b [u8]> {
    body.get(peek.span(body, key)?.value.clone())
}

fn text(value: &[u8]) -> Option<Box<str>> {
    plain(&serde_json::from_slice::<String>(value).ok()?)
}

fn plain(name: &str) -> Option<Box<str>> {
    let name = name.trim();
    let end = name.char_indices().nth(CHARS_MAX).map_or(name.len(), |(at, _)| at);
    (!name.is_empty() && !name.chars().any(char::is_control)).then(|| name[..end].into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::peek::KeySpan;

    #[track_caller]
    fn check(header: Option<&str>, fields: &[(&str, Value)], expected: Option<&str>) {
        let headers = header.map(|name| (HEADER, HeaderValue::from_str(name).unwrap())).into_iter().collect();
        let (mut body, mut peek) = (String::from("{"), Peek::chat("m"));
        for (key, value) in fields {
            let comma = if body.len() > 1 { "," } else { "" };
            body += &format!("{comma}\"{key}\":");
            let (start, key_end) = (body.len(), body.len() - 2);
            body += &value.to_string();
            peek.spans.push(KeySpan { key: key_end - key.len()..key_end, value: start..body.len() });
        }
        body.push('}');
        assert_eq!(of(&headers, body.as_bytes(), &peek).as_deref(), expected, "{header:?} {body}");
    }

    #[test]
    fn the_nearest_name_counts_and_odd_ones_are_none() {
        check(None, &[], None);
        check(None, &[("user", json!("ann"))], Some("ann"));
        check(Some("bob"), &[("user", json!("ann"))], Some("bob"));
        check(Some("  "), &[("user", json!("ann"))], Some("ann"));
        check(None, &[("safety_identifier", json!("h-1"))], Some("h-1"));
        check(None, &[("metadata", json!({"user_id": "u_9", "other": [1]}))], Some("u_9"));
        check(None, &[("user", json!(7)), ("metadata", json!({"user_id": "u_9"}))], Some("u_9"));
        check(None, &[("metadata", json!("text"))], None);
        check(None, &[("user", json!("a\nb"))], None);
        let long = "ä".repeat(300);
        check(None, &[("user", json!(long))], Some(&"ä".repeat(200)));
    }
}
