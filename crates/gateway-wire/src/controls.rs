//! What callers tell the gateway itself, in every protocol alike: keys of the body, which never go upstream, and headers
//! that say the same for callers who cannot change the body.
//!
//! A value that cannot be read is refused, never taken for its absence: who misspells `strict` would otherwise lose what
//! they asked to keep.

use gateway_core::{Controls, WireError};
use http::{HeaderMap, HeaderValue};

use crate::{
    json::{Json, Kind, Within},
    nano::{self, Round},
};

/// Keys that are addressed to the gateway.
pub(crate) const KEYS: [&str; 5] = ["models", "fallbacks", "disable_fallbacks", "strict", "max_total_cost"];

const FALLBACKS_HEADER: &str = "x-bellwether-fallbacks";
const STRICT_HEADER: &str = "x-bellwether-strict";
const MAX_TOTAL_COST_HEADER: &str = "x-bellwether-max-total-cost";
const RECEIPT_HEADER: &str = "x-bellwether-receipt";

const AMOUNT: &str = "an amount in USD that is not negative, such as 0.05";

/// Most characters of a wrong value that are repeated to its sender.
const SHOWN_CHARS_MAX: usize = 100;

/// Takes one key of the body, of those in [`KEYS`]. `null` is absence, and a repeated key means its last value.
pub(crate) fn take_key(controls: &mut Controls, key: &str, value: Json<'_>) -> Result<(), WireError> {
    match key {
        "models" => controls.models = names(key, value)?,
        "fallbacks" => controls.fallbacks = names(key, value)?,
        "disable_fallbacks" => controls.disable_fallbacks = switch(key, value)?,
        "strict" => controls.strict = switch(key, value)?,
        "max_total_cost" => controls.max_total_cost = amount(key, value)?,
        other => return Err(WireError::at(other.to_owned(), "is not a key of the gateway's")),
    }
    Ok(())
}

/// Adds what the headers say to what the body said.
pub(crate) fn take_headers(controls: &mut Controls, headers: &HeaderMap) -> Result<(), WireError> {
    for value in headers.get_all(FALLBACKS_HEADER) {
        match word(value).as_str() {
            "none" => controls.disable_fallbacks = true,
            _ => return Err(unreadable(FALLBACKS_HEADER, "`none`", &String::from_utf8_lossy(value.as_bytes()))),
        }
    }
    controls.strict |= is_on(headers, STRICT_HEADER)?;
    for value in headers.get_all(MAX_TOTAL_COST_HEADER) {
        let text = String::from_utf8_lossy(value.as_bytes().trim_ascii());
        let most = nano::parse(&text, Round::Down).ok_or_else(|| unreadable(MAX_TOTAL_COST_HEADER, AMOUNT, &text))?;
        controls.max_total_cost = Some(controls.max_total_cost.map_or(most, |standing| standing.min(most)));
    }
    controls.receipt |= is_on(headers, RECEIPT_HEADER)?;
    Ok(())
}

/// Whether a header that is a switch stands on `true`, be it only once.
fn is_on(headers: &HeaderMap, name: &'static str) -> Result<bool, WireError> {
    let mut on = false;
    for value in headers.get_all(name) {
        match word(value).as_str() {
            "true" => on = true,
            "false" => {}
            _ => return Err(unreadable(name, "`true` or `false`", &String::from_utf8_lossy(value.as_bytes()))),
        }
    }
    Ok(on)
}

fn word(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes().trim_ascii()).to_ascii_lowercase()
}

fn switch(key: &str, value: Json<'_>) -> Result<bool, WireError> {
    if value.is_null() {
        return Ok(false);
    }
    value.bool().map_err(|_| unreadable(key, "`true` or `false`", value.text()))
}

/// An amount as it stands in the request, so that no float comes between; what is finer than a billionth is cut off.
fn amount(key: &str, value: Json<'_>) -> Result<Option<u64>, WireError> {
    let read = match value.kind() {
        Kind::Null => return Ok(None),
        Kind::Number => nano::parse(value.text(), Round::Down),
        Kind::String => nano::parse(&value.str()?, Round::Down),
        Kind::Object | Kind::Array | Kind::Bool => None,
    };
    read.map(Some).ok_or_else(|| unreadable(key, AMOUNT, value.text()))
}

fn names(key: &str, value: Json<'_>) -> Result<Option<Vec<Box<str>>>, WireError> {
    const ACCEPTED: &str = "an array of models' names";
    match value.kind() {
        Kind::Null => return Ok(None),
        Kind::Array => {}
        _ => return Err(unreadable(key, ACCEPTED, value.text())),
    }
    let named = value.array()?.into_iter().enumerate().map(|(n, item)| match item.str() {
        Ok(name) => Ok(Box::from(&*name)),
        Err(_) => Err(WireError::new(unreadable(key, ACCEPTED, item.text()).message).within_index(n).within(key)),
    });
    named.collect::<Result<_, _>>().map(Some)
}

fn unreadable(name: &str, accepted: &str, found: &str) -> WireError {
    let mut shown: String = found.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if found.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    WireError::at(name.to_owned(), format!("`{name}` must be {accepted}, not `{shown}`"))
}

#[cfg(test)]
mod tests {
    use gateway_core::{Ingress, Peek, WireError};
    use http::Request;

    use crate::{anthropic::AnthropicIngress, openai_chat::OpenAiChatIngress};

    /// The same request to every codec of the callers' side; they must agree.
    fn peek(headers: &[(&str, &[u8])], keys: &str) -> Result<Peek, String> {
        let codecs: [&dyn Ingress; 2] = [&OpenAiChatIngress::new(), &AnthropicIngress::new()];
        let mut answers = codecs.into_iter().map(|codec| {
            let mut request = Request::post("/");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let head = request.body(()).expect("constant").into_parts().0;
            let body = format!(r#"{{"model":"m","messages":[]{keys}}}"#);
            codec.peek(&head, body.as_bytes()).map_err(|error: WireError| {
                let fault = error.into_caller_fault();
                assert_eq!(fault.status(), 400);
                format!("{}: {}", fault.param().expect("a field"), fault.message())
            })
        });
        let (first, second) = (answers.next().expect("two"), answers.next().expect("two"));
        let told = |answer: &Result<Peek, String>| answer.clone().map(|peek| peek.controls);
        assert_eq!(told(&first), told(&second), "{headers:?} {keys}");
        first
    }

    #[test]
    fn a_header_that_cannot_be_read_is_refused() {
        for (name, value, accepted) in [
            ("x-bellwether-strict", "maybe", "`true` or `false`"),
            ("x-bellwether-strict", "", "`true` or `false`"),
            ("x-bellwether-strict", "1", "`true` or `false`"),
            ("x-bellwether-receipt", "yes", "`true` or `false`"),
            ("x-bellwether-fallbacks", "off", "`none`"),
            ("x-bellwether-fallbacks", "gpt-4.1", "`none`"),
        ] {
            let refused = peek(&[(name, value.as_bytes())], "").expect_err(value);
            assert_eq!(refused, format!("{name}: `{name}` must be {accepted}, not `{value}`"));
        }
        let twice: [(&str, &[u8]); 2] = [("x-bellwether-strict", b"true"), ("x-bellwether-strict", b"\xff")];
        assert_eq!(
            peek(&twice, "").expect_err("not text"),
            "x-bellwether-strict: `x-bellwether-strict` must be `true` or `false`, not `\u{fffd}`"
        );
    }

    #[test]
    fn a_key_that_cannot_be_read_is_refused() {
        for (keys, refused) in [
            (r#","strict":"maybe""#, r#"strict: `strict` must be `true` or `false`, not `\"maybe\"`"#),
            (r#","disable_fallbacks":1"#, "disable_fallbacks: `disable_fallbacks` must be `true` or `false`, not `1`"),
            (r#","fallbacks":"none""#, r#"fallbacks: `fallbacks` must be an array of models' names, not `\"none\"`"#),
            (r#","models":["a",{}]"#, "models[1]: `models` must be an array of models' names, not `{}`"),
        ] {
            assert_eq!(peek(&[], keys).expect_err(keys), refused);
        }
        let long = format!(r#","strict":"{}""#, "x".repeat(5_000));
        assert!(peek(&[], &long).expect_err("too long to be true").len() < 200);
    }

    #[test]
    fn the_smaller_of_both_limits_on_the_cost_stands() {
        let most = |header: &str, keys: &str| {
            let headers: [(&str, &[u8]); 1] = [("x-bellwether-max-total-cost", header.as_bytes())];
            peek(if header.is_empty() { &[] } else { &headers }, keys).map(|peek| peek.controls.max_total_cost)
        };
        for (header, keys, nano) in [
            ("", "", None),
            ("", r#","max_total_cost":null"#, None),
            ("", r#","max_total_cost":0.05"#, Some(50_000_000)),
            ("", r#","max_total_cost":"0.05""#, Some(50_000_000)),
            ("", r#","max_total_cost":5e-2"#, Some(50_000_000)),
            ("", r#","max_total_cost":0.0000000019"#, Some(1)),
            ("", r#","max_total_cost":1,"max_total_cost":2"#, Some(2_000_000_000)),
            (" 0.07 ", "", Some(70_000_000)),
            ("0.07", r#","max_total_cost":0.05"#, Some(50_000_000)),
            ("0.03", r#","max_total_cost":0.05"#, Some(30_000_000)),
        ] {
            assert_eq!(most(header, keys), Ok(nano), "{header} {keys}");
        }
        for keys in [r#""free""#, r#""""#, "-1", r#""-0.1""#, "true", "[1]", "1e30", r#""1,5""#] {
            let refused = most("", &format!(r#","max_total_cost":{keys}"#)).expect_err(keys);
            assert!(refused.starts_with("max_total_cost: `max_total_cost` must be an amount in USD"), "{refused}");
        }
        let refused = most("a cent", "").expect_err("no amount");
        assert!(refused.ends_with("such as 0.05, not `a cent`"), "{refused}");
    }

    #[test]
    fn either_the_header_or_the_key_switches_on() {
        let controls = |headers: &[(&str, &[u8])], keys: &str| {
            let controls = peek(headers, keys).expect("readable").controls;
            (controls.strict, controls.disable_fallbacks)
        };
        let on: [(&str, &[u8]); 2] = [("x-bellwether-strict", b"TRUE"), ("x-bellwether-fallbacks", b" None ")];
        assert_eq!(controls(&on, r#","strict":false,"disable_fallbacks":null"#), (true, true));
        assert_eq!(controls(&[("x-bellwether-strict", b"false")], r#","strict":true"#), (true, false));
        let receipt = |value: &[u8]| peek(&[("x-bellwether-receipt", value)], "").expect("readable").controls.receipt;
        assert!(receipt(b"true") && !receipt(b"false"));
        assert_eq!(controls(&[], r#","strict":true,"strict":null,"disable_fallbacks":true"#), (false, true));
    }
}
