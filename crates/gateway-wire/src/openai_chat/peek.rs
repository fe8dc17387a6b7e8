//! The one scan of a request's top level.

use std::borrow::Cow;

use gateway_core::{Operation, Peek, WireError};
use http::request::Parts;

use crate::{
    controls,
    json::{Json, Scan, SizeRules, Within, scan},
};

const RULES: SizeRules = SizeRules {
    item_keys: &["messages", "tools", "functions"],
    media_zones: &["messages"],
    media_keys: &["image_url", "input_audio", "video_url", "file"],
    callers_tools: &["function", "custom"],
    // OpenAI's own, OpenRouter's, xAI's and Alibaba's.
    provider_tools: &["web_search_options", "plugins", "search_parameters", "enable_search"],
};

pub(super) fn peek(head: &Parts, body: &[u8]) -> Result<Peek, WireError> {
    let Scan { spans, input, prompt, sealed } = scan(body, &RULES)?;
    let mut peek = Peek { input, prompt, foreign_seal: sealed, ..Peek::chat("") };
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
            ours if controls::KEYS.contains(&ours) => controls::take_key(&mut peek.controls, ours, value()?)?,
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
    controls::take_headers(&mut peek.controls, &head.headers)?;
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
