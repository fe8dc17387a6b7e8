//! The list of models, in the shape that the caller's SDK expects.

use std::{borrow::Cow, sync::Arc};

use gateway_core::{Fault, FaultKind, Origin, Principal};
use http::request::Parts;
use serde_json::{Map, Value, json};

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
        Shape::Anthropic => page(&allowed, head.uri.query().unwrap_or("")),
    }
}

/// Answers `GET /v1/models/{id}`; `escaped` is the id as it stands in the path.
pub(crate) fn one(catalog: &dyn ModelCatalog, principal: &Principal, head: &Parts, escaped: &str) -> Result<Value, Fault> {
    let id = unescape(escaped);
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
fn page(models: &[&ModelInfo], query: &str) -> Result<Value, Fault> {
    let mut limit = 20usize;
    let (mut from, mut to) = (0, models.len());
    let mut backwards = false;
    for pair in query.split('&') {
        let (name, escaped) = pair.split_once('=').unwrap_or((pair, ""));
        let value = unescape(escaped).unwrap_or_default();
        match name {
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

/// Undoes URL escapes; `None` if they are broken or do not spell text.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

/// Unix seconds as a UTC timestamp, by Howard Hinnant's days-to-civil arithmetic.
fn rfc3339(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::{rfc3339, unescape};

    #[test]
    fn timestamps_are_calendar_dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_435_199), "2026-11-23T11:59:59Z");
    }

    #[test]
    fn escapes_are_undone_or_refused() {
        assert_eq!(unescape("openai%2Fgpt-4.1").as_deref(), Some("openai/gpt-4.1"));
        assert_eq!(unescape("a%2").as_deref(), None);
        assert_eq!(unescape("a%+1").as_deref(), None);
        assert_eq!(unescape("%ff").as_deref(), None);
    }
}
