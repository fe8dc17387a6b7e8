//! One scan of a request's top level.

use gateway_core::{Controls, Operation, Peek, WireError};
use http::request;

use crate::json::{Json, SizeRules, Within, scan};

const SIZE_RULES: SizeRules =
    SizeRules { item_keys: &["messages", "tools"], media_zones: &["messages", "system"], media_keys: &["source"] };

/// Reads what routing and billing need, and where every top-level key stands.
pub(super) fn peek(head: &request::Parts, body: &[u8]) -> Result<Peek, WireError> {
    let scanned = scan(body, &SIZE_RULES)?;
    let operation = if head.uri.path().trim_end_matches('/').ends_with("/count_tokens") { Operation::CountTokens } else { Operation::Chat };
    let mut peek = Peek::chat("");
    peek.operation = operation;
    peek.input = scanned.input;
    peek.foreign_seal = scanned.sealed;
    peek.stream_usage = true;
    peek.controls = Controls {
        disable_fallbacks: header_is(head, "x-bellwether-fallbacks", "none"),
        strict: header_is(head, "x-bellwether-strict", "true"),
        ..Controls::default()
    };
    let mut model = None;
    for span in &scanned.spans {
        let value = Json::parse(&body[span.value.clone()])?;
        let key = Json::parse(&body[span.key.start - 1..span.key.end + 1])?.str()?;
        if value.is_null() {
            continue;
        }
        // A repeated key means its last value, as it does to every JSON parser.
        match &*key {
            "model" => model = Some(value.str().within("model")?.into()),
            "stream" => peek.stream = value.bool().within("stream")?,
            "max_tokens" => peek.output_limit = Some(value.u32().within("max_tokens")?),
            "models" => peek.controls.models = Some(names(value).within("models")?),
            "fallbacks" => peek.controls.fallbacks = Some(names(value).within("fallbacks")?),
            "disable_fallbacks" => peek.controls.disable_fallbacks |= value.bool().within("disable_fallbacks")?,
            "strict" => peek.controls.strict |= value.bool().within("strict")?,
            _forwarded_as_it_is => {}
        }
    }
    peek.model = match (model, peek.controls.models.as_ref().and_then(|models| models.first())) {
        (Some(model), _) => model,
        (None, Some(first)) => first.clone(),
        (None, None) => return Err(WireError::at("model", "the name of the model to ask is required")),
    };
    peek.spans = scanned.spans;
    Ok(peek)
}

fn names(value: Json<'_>) -> Result<Vec<Box<str>>, WireError> {
    Ok(value.strings()?.into_iter().map(|name| name.as_ref().into()).collect())
}

fn header_is(head: &request::Parts, name: &str, expected: &str) -> bool {
    head.headers.get(name).is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(expected.as_bytes()))
}
