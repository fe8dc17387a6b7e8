//! The official API descriptions, read from outside the project.
//!
//! `BELLWETHER_SCHEMAS` names their directory. Unset, the tests say so and pass; set, a missing or broken file is a
//! failure. The vendors write them in three dialects, which are brought to JSON Schema 2020-12 here: OpenAPI with the old
//! `nullable`, plain JSON Schema, and Google's discovery format.

use std::{fs, path::PathBuf};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value, json};

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Answer,
    /// One event of a stream.
    Event,
    Error,
}

/// Where a description is wrong, or older than the service.
struct Repair {
    file: &'static str,
    /// The parent must exist.
    pointer: &'static str,
    value: &'static str,
    why: &'static str,
}

const OPENAI: &str = "openai.json";
const ANTHROPIC: &str = "anthropic.messages.schema.json";
const GENAI: &str = "google-genai.schema.json";
const VERTEX: &str = "vertex-generate-content.discovery.json";
const MISTRAL: &str = "mistral.json";

const REPAIRS: [Repair; 4] = [
    Repair {
        file: GENAI,
        pointer: "/schemas/GenerateContentResponse/$defs/GenerateContentResponseUsageMetadata/properties/serviceTier",
        value: r#"{"type": "string"}"#,
        why: "answers state the tier they were served at; the SDK's type does not have it",
    },
    Repair {
        file: VERTEX,
        pointer: "/schemas/GoogleCloudAiplatformV1GenerateContentRequest/properties/serviceTier",
        value: r#"{"type": "string", "enum": ["standard", "flex", "priority"]}"#,
        why: "the Gemini API takes the tier in the body; this is the description of Vertex, which takes it in a header",
    },
    Repair {
        file: VERTEX,
        pointer: "/schemas/GoogleCloudAiplatformV1GenerationConfigThinkingConfig/properties/thinkingLevel",
        value: r#"{"type": "string", "enum": ["minimal", "low", "medium", "high", "xhigh"]}"#,
        why: "the documentation has these words, recorded requests with them were answered, and the list lacks the highest",
    },
    Repair {
        file: MISTRAL,
        pointer: "/components/schemas/ChatCompletionResponse/allOf/1/required",
        value: r#"["id", "object", "model", "usage", "created", "choices"]"#,
        why: "no answer has the member data that it demands",
    },
];

/// The validators for every protocol and kind of body; one of them must be content.
pub(crate) struct Schemas(Vec<(&'static str, Kind, Vec<Validator>)>);

/// All of them, or `None`, with a printed line, when there is no directory.
pub(crate) fn load() -> Option<Schemas> {
    let Some(root) = directory() else {
        println!("skipped: BELLWETHER_SCHEMAS names no directory of API descriptions");
        return None;
    };
    let read = |file: &str| {
        let path = root.join(file);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut whole: Value = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for repair in REPAIRS.iter().filter(|repair| repair.file == file) {
            apply(&mut whole, repair);
        }
        whole
    };
    let openapi = |whole: Value| nullable(json!({ "components": whole["components"] }));
    let (openai, mistral, vertex) = (openapi(read(OPENAI)), openapi(read(MISTRAL)), discovery(read(VERTEX)));
    let (anthropic, genai) = (read(ANTHROPIC), read(GENAI));
    let component = |whole: &Value, name: &str| with_ref(whole, &format!("#/components/schemas/{name}"));
    let named = |whole: &Value, name: &str| whole["schemas"][name].clone();
    let told = json!({"type": "object", "required": ["error"]});
    let ping = json!({"type": "object", "required": ["type"], "properties": {"type": {"const": "ping"}}});
    let (openai_error, anthropic_error) = (component(&openai, "ErrorResponse"), named(&anthropic, "ErrorResponse"));
    let chunk = component(&openai, "CreateChatCompletionStreamResponse");
    let answer = named(&genai, "GenerateContentResponse");
    let all = [
        ("openai-chat", Kind::Request, vec![component(&openai, "CreateChatCompletionRequest")]),
        ("openai-chat", Kind::Answer, vec![component(&openai, "CreateChatCompletionResponse")]),
        ("openai-chat", Kind::Event, vec![chunk, openai_error.clone()]),
        ("openai-chat", Kind::Error, vec![openai_error]),
        ("anthropic-messages", Kind::Request, vec![named(&anthropic, "MessageCreateParams")]),
        ("anthropic-messages", Kind::Answer, vec![named(&anthropic, "Message")]),
        ("anthropic-messages", Kind::Event, vec![named(&anthropic, "RawMessageStreamEvent"), ping, anthropic_error.clone()]),
        ("anthropic-messages", Kind::Error, vec![anthropic_error]),
        ("gemini", Kind::Request, vec![with_ref(&vertex, "#/schemas/GoogleCloudAiplatformV1GenerateContentRequest")]),
        ("gemini", Kind::Answer, vec![answer.clone()]),
        ("gemini", Kind::Event, vec![answer, told]),
        ("mistral", Kind::Request, vec![component(&mistral, "ChatCompletionRequest")]),
        ("mistral", Kind::Answer, vec![component(&mistral, "ChatCompletionResponse")]),
        ("mistral", Kind::Event, vec![component(&mistral, "CompletionChunk")]),
    ];
    let compile = |(name, kind, alternatives): (&'static str, Kind, Vec<Value>)| {
        let made = |schema: Value| jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{name} {kind:?}: {error}"));
        (name, kind, alternatives.into_iter().map(made).collect())
    };
    Some(Schemas(all.into_iter().map(compile).collect()))
}

impl Schemas {
    /// Checks a body; nothing is said where there is no description.
    pub(crate) fn check(&self, schema: &str, kind: Kind, body: &Value) -> Result<(), String> {
        let Some((_, _, found)) = self.0.iter().find(|(name, of, _)| *name == schema && *of == kind) else { return Ok(()) };
        let shown = |error: &ValidationError<'_>| format!("at {:?}: {}", error.instance_path().as_str(), short(&error.to_string()));
        let mut first = None;
        for validator in found {
            let Some(error) = validator.iter_errors(body).next() else { return Ok(()) };
            first.get_or_insert_with(|| deepest(&error, &shown));
        }
        first.map_or(Ok(()), Err)
    }
}

/// Of the alternatives, the one that came furthest tells most.
fn deepest(error: &ValidationError<'_>, shown: &dyn Fn(&ValidationError<'_>) -> String) -> String {
    let context = match error.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => context,
        _ => return shown(error),
    };
    let furthest = context.iter().flatten().max_by_key(|inner| inner.instance_path().as_str().matches('/').count());
    furthest.map_or_else(|| shown(error), |inner| deepest(inner, shown))
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

fn apply(whole: &mut Value, repair: &Repair) {
    let (parent, name) = repair.pointer.rsplit_once('/').expect("a pointer has a parent");
    let parent = whole.pointer_mut(parent).and_then(Value::as_object_mut);
    let parent = parent.unwrap_or_else(|| panic!("{}: {} has moved; it was repaired because {}", repair.file, repair.pointer, repair.why));
    parent.insert(name.to_owned(), serde_json::from_str(repair.value).expect("a repair is JSON"));
}

/// The document with a reference into itself at its root.
fn with_ref(whole: &Value, reference: &str) -> Value {
    let mut schema = whole.clone();
    schema["$ref"] = reference.into();
    schema
}

/// `nullable: true` was dropped from OpenAPI, and is written all the same.
fn nullable(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Map<String, Value> = fields.into_iter().map(|(key, value)| (key, nullable(value))).collect();
            match fields.get("nullable") {
                Some(Value::Bool(true)) => {
                    fields.remove("nullable");
                    json!({"anyOf": [fields, {"type": "null"}]})
                }
                _ => Value::Object(fields),
            }
        }
        Value::Array(items) => items.into_iter().map(nullable).collect(),
        other => other,
    }
}

/// Google's format: references by bare name, `any`, numbers of 64 bits as text or number, and no unknown fields.
fn discovery(value: Value) -> Value {
    let Value::Object(mut fields) = value else {
        return match value {
            Value::Array(items) => items.into_iter().map(discovery).collect(),
            other => other,
        };
    };
    if let Some(name) = fields.get("$ref").and_then(Value::as_str) {
        fields.insert("$ref".to_owned(), format!("#/schemas/{name}").into());
    }
    let is = |key: &str, word: &str| fields.get(key).and_then(Value::as_str) == Some(word);
    let (any, long) = (is("type", "any"), is("format", "int64") || is("format", "uint64"));
    let closed = is("type", "object") && fields.contains_key("properties") && !fields.contains_key("additionalProperties");
    if any {
        fields.remove("type");
    }
    if long {
        fields.insert("type".to_owned(), json!(["string", "integer"]));
    }
    if closed {
        fields.insert("additionalProperties".to_owned(), false.into());
    }
    fields.into_iter().map(|(key, value)| (key, discovery(value))).collect()
}

#[expect(clippy::disallowed_methods, reason = "the one place where this test reads its environment")]
fn directory() -> Option<PathBuf> {
    std::env::var_os("BELLWETHER_SCHEMAS").map(PathBuf::from)
}
