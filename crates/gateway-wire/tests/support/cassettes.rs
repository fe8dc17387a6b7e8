//! Recorded provider traffic, read from outside the project.
//!
//! The recordings are not part of it: `BELLWETHER_CASSETTES` names the directory that holds their `index.json`. Unset,
//! the tests say so and pass; set, a missing or broken file is a failure.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// One recorded exchange.
pub(crate) struct Cassette {
    /// Path below the directory; name it in every assertion.
    pub(crate) file: String,
    /// Who answered, such as `anthropic`.
    pub(crate) provider: String,
    /// Which interface, such as `anthropic.messages`.
    pub(crate) api: String,
    /// What the exchange shows, such as `tool_call_out`.
    pub(crate) features: Vec<String>,
    /// Whether the answer is a stream.
    pub(crate) stream: bool,
    /// Path and query of the request.
    pub(crate) path: String,
    /// The request's body.
    pub(crate) request: Option<Value>,
    /// The answer's status.
    pub(crate) status: u16,
    /// The answer's headers.
    pub(crate) headers: Map<String, Value>,
    /// The answer's body: JSON is printed anew, text is as recorded; binary bodies stay in their base64 text.
    pub(crate) body: Vec<u8>,
}

/// Every cassette of the listed interfaces, or `None`, with a printed line, when there is no directory.
pub(crate) fn load(apis: &[&str]) -> Option<Vec<Cassette>> {
    let Some(root) = directory() else {
        println!("skipped: BELLWETHER_CASSETTES names no directory of recordings");
        return None;
    };
    let index = read(&root.join("index.json"));
    let entries = index["entries"].as_array().expect("index.json lists its entries");
    let wanted = entries.iter().filter(|entry| apis.contains(&text(entry, "api").as_str()));
    let cassettes: Vec<_> = wanted.map(|entry| cassette(&root, entry)).collect();
    assert!(!cassettes.is_empty(), "{} holds no recording of {apis:?}", root.display());
    Some(cassettes)
}

fn cassette(root: &Path, entry: &Value) -> Cassette {
    let file = text(entry, "file");
    let whole = read(&root.join(&file));
    let (request, response) = (&whole["request"], &whole["response"]);
    let body = match (response.get("body_json"), response.get("body_text"), response.get("body_base64")) {
        (Some(json), _, _) => json.to_string(),
        (None, Some(text), _) | (None, None, Some(text)) => text.as_str().expect("a body is text").to_owned(),
        (None, None, None) => String::new(),
    };
    Cassette {
        provider: text(entry, "provider"),
        api: text(entry, "api"),
        features: entry["features"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        stream: whole["stream"].as_bool().unwrap_or(false),
        path: text(request, "path"),
        request: request.get("body_json").cloned(),
        status: response["status"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("an answer has a status"),
        headers: response["headers"].as_object().cloned().unwrap_or_default(),
        body: body.into_bytes(),
        file,
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn read(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[expect(clippy::disallowed_methods, reason = "the one place where this crate's tests read their environment")]
fn directory() -> Option<PathBuf> {
    std::env::var_os("BELLWETHER_CASSETTES").map(PathBuf::from)
}
