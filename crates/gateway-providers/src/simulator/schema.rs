//! A JSON value that satisfies a simple schema.

use fastrand::Rng;
use serde_json::{Map, Number, Value};

/// Deeper than this only what is required is made.
const OPTIONAL_DEPTH: u32 = 4;
/// A schema that requires itself for ever ends here.
const DEPTH_MAX: u32 = 16;

const NAMES: [&str; 8] = ["Lisbon", "Oslo", "Kyoto", "Quito", "Nairobi", "Turin", "Bergen", "Tartu"];

/// Makes a value for `schema`: constants, enums, objects, arrays, strings with common formats, numbers within bounds,
/// alternatives and local references. What it does not know it ignores.
pub(super) fn value(schema: &Value, rng: &mut Rng) -> Value {
    make(schema, schema, rng, 0)
}

fn make(root: &Value, schema: &Value, rng: &mut Rng, depth: u32) -> Value {
    let Some(object) = schema.as_object() else { return Value::String("any".to_owned()) };
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(target) = object.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or(Value::Null, |found| make(root, found, rng, depth + 1));
    }
    if let Some(only) = object.get("const") {
        return only.clone();
    }
    if let Some(Value::Array(values)) = object.get("enum") {
        return if values.is_empty() { Value::Null } else { values[rng.usize(..values.len())].clone() };
    }
    if let Some(Value::Array(all)) = object.get("allOf") {
        let mut merged = Map::new();
        for part in all {
            if let Value::Object(fields) = make(root, part, rng, depth + 1) {
                merged.extend(fields);
            }
        }
        if let Value::Object(own) = by_type(root, object, rng, depth) {
            merged.extend(own);
        }
        return Value::Object(merged);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(first) = object.get(key).and_then(Value::as_array).and_then(|all| all.first()) {
            return make(root, first, rng, depth + 1);
        }
    }
    by_type(root, object, rng, depth)
}

fn by_type(root: &Value, schema: &Map<String, Value>, rng: &mut Rng, depth: u32) -> Value {
    let named = match schema.get("type") {
        Some(Value::String(name)) => name.to_lowercase(),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("null").to_lowercase(),
        _ if schema.contains_key("properties") => "object".to_owned(),
        _ if schema.contains_key("items") => "array".to_owned(),
        _ => "string".to_owned(),
    };
    match named.as_str() {
        "object" => fields(root, schema, rng, depth),
        "array" => items(root, schema, rng, depth),
        "integer" => {
            let (low, high) = bounds(schema, 1.0);
            #[expect(clippy::cast_possible_truncation, reason = "a float out of range saturates, which is what a bound means here")]
            let (low, high) = (low.ceil() as i64, high.floor() as i64);
            Value::from(rng.i64(low..=high.max(low)))
        }
        "number" => {
            let (low, high) = bounds(schema, 0.5);
            Number::from_f64(low + (high - low) * 0.25 * f64::from(rng.u8(0..4))).map_or(Value::from(0), Value::Number)
        }
        "boolean" => Value::Bool(rng.bool()),
        "null" => Value::Null,
        _ => string(schema, rng),
    }
}

fn fields(root: &Value, schema: &Map<String, Value>, rng: &mut Rng, depth: u32) -> Value {
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut made = Map::new();
    for (name, property) in properties {
        if depth < OPTIONAL_DEPTH || required.contains(&name.as_str()) {
            made.insert(name.clone(), make(root, property, rng, depth + 1));
        }
    }
    for name in required {
        made.entry(name).or_insert_with(|| Value::String("any".to_owned()));
    }
    Value::Object(made)
}

fn items(root: &Value, schema: &Map<String, Value>, rng: &mut Rng, depth: u32) -> Value {
    let count = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let wanted = if depth < OPTIONAL_DEPTH { 2 } else { 0 };
    let least = count("minItems").unwrap_or(0).min(64);
    let most = count("maxItems").unwrap_or(usize::MAX);
    let any = Value::Object(Map::new());
    let item = schema.get("items").unwrap_or(&any);
    (0..wanted.max(least).min(most)).map(|_| make(root, item, rng, depth + 1)).collect()
}

/// The least and the greatest number allowed; `step` keeps away from an exclusive bound.
fn bounds(schema: &Map<String, Value>, step: f64) -> (f64, f64) {
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let low = number("minimum").or_else(|| number("exclusiveMinimum").map(|n| n + step));
    let high = number("maximum").or_else(|| number("exclusiveMaximum").map(|n| n - step));
    match (low, high) {
        (Some(low), Some(high)) => (low, high.max(low)),
        (Some(low), None) => (low, low + 100.0),
        (None, Some(high)) => (high - 100.0, high),
        (None, None) => (0.0, 100.0),
    }
}

fn string(schema: &Map<String, Value>, rng: &mut Rng) -> Value {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let name = NAMES[rng.usize(..NAMES.len())];
    let mut text = match format {
        "date" => format!("2026-{:02}-{:02}", rng.u8(1..=12), rng.u8(1..=28)),
        "time" => "12:00:00Z".to_owned(),
        "date-time" => format!("2026-{:02}-{:02}T12:00:00Z", rng.u8(1..=12), rng.u8(1..=28)),
        "email" => format!("{}@example.com", name.to_lowercase()),
        "uri" | "url" => format!("https://example.com/{}", name.to_lowercase()),
        "uuid" => format!("00000000-0000-4000-8000-{:012x}", rng.u64(..) >> 16),
        _ => name.to_owned(),
    };
    let length = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let least = length("minLength").unwrap_or(0).min(4_096);
    while text.len() < least {
        text.push('x');
    }
    if let Some(most) = length("maxLength") {
        text.truncate(most);
    }
    Value::String(text)
}
