//! The one scan of a request's top level.

use std::borrow::Cow;

use gateway_core::{Controls, Operation, Peek, WireError};
use http::request::Parts;

use crate::json::{Json, Scan, SizeRules, Within, scan};

const RULES: SizeRules = SizeRules {
    item_keys: &["messages", "tools", "functions"],
    media_zones: &["messages"],
    media_keys: &["image_url", "input_audio", "video_url", "file"],
};

/// Keys that are addressed to the gateway and never go upstream.
pub(super) const CONTROL_KEYS: [&str; 4] = ["models", "fallbacks", "disable_fallbacks", "strict"];

pub(super) fn peek(head: &Parts, body: &[u8]) -> Result<Peek, WireError> {
    let Scan { spans, input, sealed } = scan(body, &RULES)?;
    let mut peek = Peek { input, foreign_seal: sealed, ..Peek::chat("") };
    let (mut model, mut newer_limit, mut older_limit) = (None, None, None);
    for span in &spans {
        let quoted = body.get(span.key.start - 1..span.key.end + 1).unwrap_or_default();
        let key = Json::parse(quoted)?.str()?;
        // Only the keys that matter here are looked at; the scan has already checked the rest.
        let value = || Json::parse(body.get(span.value.clone()).unwrap_or_default());
        match &*key {
            "model" => model = Some(value()?.str().within("model")?),
            "stream" => peek.stream = or_null(value()?, Json::bool).within("stream")?.unwrap_or(false),
            "stream_options" => peek.stream_usage = or_null(value()?, include_usage).within("stream_options")?.unwrap_or(false),
            "max_completion_tokens" => newer_limit = or_null(value()?, Json::u32).within("max_completion_tokens")?,
            "max_tokens" => older_limit = or_null(value()?, Json::u32).within("max_tokens")?,
            "n" => peek.choices = or_null(value()?, choices).within("n")?.unwrap_or(1),
            "models" => peek.controls.models = or_null(value()?, names).within("models")?,
            "fallbacks" => peek.controls.fallbacks = or_null(value()?, names).within("fallbacks")?,
            "disable_fallbacks" => {
                peek.controls.disable_fallbacks = or_null(value()?, Json::bool).within("disable_fallbacks")?.unwrap_or(false);
            }
            "strict" => peek.controls.strict = or_null(value()?, Json::bool).within("strict")?.unwrap_or(false),
            _ => continue, // nothing is lost: the body itself goes on
        }
    }
    // A caller who lists models may leave the one name out: the first of the list is asked first anyway.
    let listed = || peek.controls.models.as_ref().and_then(|models| models.first()).map(|first| Cow::Owned(first.to_string()));
    let model = model.or_else(listed).ok_or_else(|| WireError::at("model", "the name of the model to ask is required"))?;
    if model.is_empty() {
        return Err(WireError::at("model", "must not be empty"));
    }
    peek.model = Box::from(&*model);
    peek.output_limit = newer_limit.or(older_limit);
    peek.operation = Operation::Chat;
    headers(head, &mut peek.controls);
    peek.spans = spans;
    Ok(peek)
}

fn or_null<'a, T>(value: Json<'a>, read: impl FnOnce(Json<'a>) -> Result<T, WireError>) -> Result<Option<T>, WireError> {
    if value.is_null() { Ok(None) } else { read(value).map(Some) }
}

fn include_usage(options: Json<'_>) -> Result<bool, WireError> {
    Ok(options.fields()?.take_bool("include_usage")?.unwrap_or(false))
}

fn choices(value: Json<'_>) -> Result<u32, WireError> {
    match value.u32()? {
        0 => Err(WireError::new("must be at least 1")),
        n => Ok(n),
    }
}

fn names(list: Json<'_>) -> Result<Vec<Box<str>>, WireError> {
    let names: Vec<Cow<'_, str>> = list.strings()?;
    Ok(names.into_iter().map(|name| Box::from(&*name)).collect())
}

/// The gateway's own headers say the same as the control keys, for callers that cannot change the body.
fn headers(head: &Parts, controls: &mut Controls) {
    let says = |name: &str, word: &str| head.headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(word.as_bytes()));
    controls.disable_fallbacks |= says("x-bellwether-fallbacks", "none");
    controls.strict |= says("x-bellwether-strict", "true");
}
