//! One scan of a request's top level.

use gateway_core::{Operation, Peek, WireError};
use http::request;

use crate::{
    controls,
    json::{Json, SizeRules, Within, scan},
};

const SIZE_RULES: SizeRules = SizeRules {
    item_keys: &["messages", "tools"],
    media_zones: &["messages", "system"],
    media_keys: &["source"],
    callers_tools: &["custom", "bash_", "text_editor_", "computer_", "memory_"],
    provider_tools: &["mcp_servers"],
};

/// Reads what routing and billing need, and where every top-level key stands.
pub(super) fn peek(head: &request::Parts, body: &[u8]) -> Result<Peek, WireError> {
    let scanned = scan(body, &SIZE_RULES)?;
    let operation = if head.uri.path().trim_end_matches('/').ends_with("/count_tokens") { Operation::CountTokens } else { Operation::Chat };
    let mut peek = Peek::chat("");
    peek.operation = operation;
    peek.input = scanned.input;
    peek.prompt = scanned.prompt;
    peek.foreign_seal = scanned.sealed;
    peek.stream_usage = true;
    let mut model = None;
    for span in &scanned.spans {
        let value = Json::parse(&body[span.value.clone()])?;
        let key = Json::parse(&body[span.key.start - 1..span.key.end + 1])?.str()?;
        // A repeated key means its last value, as it does to every JSON parser.
        match &*key {
            ours if controls::KEYS.contains(&ours) => controls::take_key(&mut peek.controls, ours, value)?,
            _absent if value.is_null() => {}
            "model" => model = Some(value.str().within("model")?.into()),
            "stream" => peek.stream = value.bool().within("stream")?,
            "max_tokens" => peek.output_limit = Some(value.u32().within("max_tokens")?),
            _forwarded_as_it_is => {}
        }
    }
    controls::take_headers(&mut peek.controls, &head.headers)?;
    peek.model = match (model, peek.controls.models.as_ref().and_then(|models| models.first())) {
        (Some(model), _) => model,
        (None, Some(first)) => first.clone(),
        (None, None) => return Err(WireError::at("model", "the name of the model to ask is required")),
    };
    peek.spans = scanned.spans;
    Ok(peek)
}
