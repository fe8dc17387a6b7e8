use http::{HeaderMap, HeaderValue, header::HeaderName};

use super::presented;

/// What is taken from the headers: `<header>=<key>`, or the refusal's code.
fn check(headers: &[(&'static str, &str)], expected: &str) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
    }
    let found = match presented(&map) {
        Ok(key) => format!("{}={}", key.header, key.secret.expose()),
        Err(fault) => fault.code().unwrap_or("no code").to_owned(),
    };
    assert_eq!(found, expected, "{headers:?}");
}

#[test]
fn a_key_is_taken_from_any_of_the_four_headers() {
    check(&[("authorization", "Bearer k")], "authorization=k");
    check(&[("authorization", "bearer   k  ")], "authorization=k");
    check(&[("authorization", "hs_live_k")], "authorization=hs_live_k");
    check(&[("x-api-key", " k\t")], "x-api-key=k");
    check(&[("api-key", "k")], "api-key=k");
    check(&[("x-goog-api-key", "k")], "x-goog-api-key=k");
}

#[test]
fn of_several_headers_one_counts() {
    check(&[("authorization", "Bearer b"), ("x-api-key", "x")], "x-api-key=x");
    check(&[("authorization", "Bearer b"), ("x-api-key", " ")], "authorization=b");
    check(&[("x-api-key", "x"), ("x-api-key", "x")], "x-api-key=x");
    check(&[("x-api-key", "x"), ("x-api-key", "y")], "invalid_api_key");
}

#[test]
fn what_is_no_key_is_refused() {
    check(&[], "missing_api_key");
    check(&[("authorization", "Bearer ")], "missing_api_key");
    check(&[("authorization", "")], "missing_api_key");
    check(&[("authorization", "Basic dXNlcjpwYXNz")], "invalid_api_key");
    check(&[("x-api-key", "\u{e9}\u{ff}")], "x-api-key=\u{e9}\u{ff}");
}
