//! The list of models, in the shape that the caller's SDK expects.

use std::{borrow::Cow, sync::Arc};

use gateway_core::{Fault, FaultKind, Origin, Principal};
use http::{Uri, request::Parts};
use serde_json::{Map, Value, json};

use crate::address;

/// One public model.
#[derive(Debug, Clone, Default)]
pub struct ModelInfo {
    /// The name callers use. It may contain `/`.
    pub id: Box<str>,
    /// Unix time in seconds.
    pub created: u64,
    /// Who makes it.
    pub owned_by: Box<str>,
    /// A name for people; the id, if empty.
    pub display_name: Box<str>,
    /// A sentence for people.
    pub description: Option<Box<str>>,
    /// Most tokens of prompt and answer together.
    pub context_window: Option<u32>,
    /// Most tokens of an answer.
    pub output_tokens_max: Option<u32>,
    /// What may be sent: `text`, `image`, `file`.
    pub input_modalities: Vec<Box<str>>,
    /// USD per token as decimal strings, by the names other gateways use: `prompt`, `completion`, `input_cache_read`,
    /// `input_cache_write`.
    pub pricing: Vec<(&'static str, String)>,
    /// Further members of the OpenAI-shaped object, such as `tier`.
    pub extra: Map<String, Value>,
}

/// Knows the public models.
pub trait ModelCatalog: Send + Sync {
    /// All of them, in the order to show.
    fn list(&self) -> Arc<[ModelInfo]>;

    /// One of them; a catalog with wildcards finds more than it lists.
    fn find(&self, id: &str) -> Option<ModelInfo> {
        self.list().iter().find(|model| *model.id == *id).cloned()
    }
}

/// How the caller's SDK reads the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    OpenAi,
    Anthropic,
}

impl Shape {
    fn of(head: &Parts) -> Self {
        if head.headers.contains_key("anthropic-version") { Self::Anthropic } else { Self::OpenAi }
    }
}

/// Answers `GET /v1/models`.
pub(crate) fn list(catalog: &dyn ModelCatalog, principal: &Principal, head: &Parts) -> Result<Value, Fault> {
    let all = catalog.list();
    let allowed: Vec<&ModelInfo> = all.iter().filter(|model| principal.models.allows(&model.id)).collect();
    match Shape::of(head) {
        Shape::OpenAi => Ok(json!({"object": "list", "data": allowed.into_iter().map(openai).collect::<Vec<_>>()})),
        Shape::Anthropic => page(&allowed, &head.uri),
    }
}

/// Answers `GET /v1/models/{id}`; `escaped` is the id as it stands in the path.
pub(crate) fn one(catalog: &dyn ModelCatalog, principal: &Principal, head: &Parts, escaped: &str) -> Result<Value, Fault> {
    let id = address::segment(escaped);
    let model = id.as_deref().filter(|id| principal.models.allows(id)).and_then(|id| catalog.find(id)).ok_or_else(|| {
        Fault::new(
            FaultKind::NotFound,
            Origin::Caller,
            format!("there is no model `{}` for this key; GET /v1/models lists what there is", shown(id.as_deref().unwrap_or(escaped))),
        )
        .with_code("model_not_found")
        .with_param("model")
    })?;
    Ok(match Shape::of(head) {
        Shape::OpenAi => openai(&model),
        Shape::Anthropic => anthropic(&model),
    })
}

/// Long names are cut: the message is for people.
fn shown(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(100) {
        Some((at, _)) => format!("{}…", &name[..at]).into(),
        None => name.into(),
    }
}

fn openai(model: &ModelInfo) -> Value {
    let mut object = Map::new();
    object.insert("id".into(), json!(model.id));
    object.insert("object".into(), json!("model"));
    object.insert("created".into(), json!(model.created));
    object.insert("owned_by".into(), json!(model.owned_by));
    object.insert("name".into(), json!(display_name(model)));
    if let Some(text) = &model.description {
        object.insert("description".into(), json!(text));
    }
    if let Some(tokens) = model.context_window {
        object.insert("context_length".into(), json!(tokens));
    }
    object.insert("architecture".into(), json!({"input_modalities": model.input_modalities, "output_modalities": ["text"]}));
    object.insert(
        "top_provider".into(),
        json!({"context_length": model.context_window, "max_completion_tokens": model.output_tokens_max, "is_moderated": false}),
    );
    if !model.pricing.is_empty() {
        let prices: Map<String, Value> = model.pricing.iter().map(|(name, price)| ((*name).to_owned(), json!(price))).collect();
        object.insert("pricing".into(), Value::Object(prices));
    }
    object.extend(model.extra.iter().map(|(name, value)| (name.clone(), value.clone())));
    Value::Object(object)
}

fn anthropic(model: &ModelInfo) -> Value {
    let mut object = json!({
        "type": "model",
        "id": model.id,
        "display_name": display_name(model),
        "created_at": rfc3339(model.created),
    });
    if let Some(tokens) = model.context_window {
        object["max_input_tokens"] = json!(tokens);
    }
    if let Some(tokens) = model.output_tokens_max {
        object["max_tokens"] = json!(tokens);
    }
    object
}

fn display_name(model: &ModelInfo) -> &str {
    if model.display_name.is_empty() { &model.id } else { &model.display_name }
}

/// One page of the Anthropic-shaped list, by `limit`, `after_id` and `before_id`.
fn page(models: &[&ModelInfo], uri: &Uri) -> Result<Value, Fault> {
    let mut limit = 20usize;
    let (mut from, mut to) = (0, models.len());
    let mut backwards = false;
    for (name, value) in address::query(uri) {
        match &*name {
            "limit" => {
                limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=1_000).contains(limit))
                    .ok_or_else(|| Fault::invalid("`limit` must be a whole number from 1 to 1000").with_param("limit"))?;
            }
            "after_id" => from = position(models, &value, "after_id")? + 1,
            "before_id" => {
                to = position(models, &value, "before_id")?;
                backwards = true;
            }
            _ => {}
        }
    }
    let window = models.get(from..to).unwrap_or_default();
    let (shown, has_more) = match (window.len() > limit, backwards) {
        (false, _) => (window, false),
        (true, false) => (&window[..limit], true),
        (true, true) => (&window[window.len() - limit..], true),
    };
    Ok(json!({
        "data": shown.iter().map(|model| anthropic(model)).collect::<Vec<_>>(),
        "has_more": has_more,
        "first_id": shown.first().map(|model| &model.id),
        "last_id": shown.last().map(|model| &model.id),
    }))
}

fn position(models: &[&ModelInfo], id: &str, param: &'static str) -> Result<usize, Fault> {
    models
        .iter()
        .position(|model| *model.id == *id)
        .ok_or_else(|| Fault::invalid(format!("`{param}` names no model of this list")).with_param(param))
}

fn rfc3339(unix: u64) -> Option<String> {
    let second = i64::try_from(unix).ok()?;
    jiff::Timestamp::from_second(second).ok().map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn timestamps_are_calendar_dates() {
        assert_eq!(rfc3339(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(rfc3339(951_782_400).as_deref(), Some("2000-02-29T00:00:00Z"));
        assert_eq!(rfc3339(1_795_435_199).as_deref(), Some("2026-11-23T11:59:59Z"));
        assert_eq!(rfc3339(u64::MAX), None);
    }
}
