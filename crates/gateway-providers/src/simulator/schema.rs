//! A JSON value that satisfies a simple schema.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Map, Number, Value};

/// Deeper than this only what is required is made.
const OPTIONAL_DEPTH: u32 = 4;
/// A schema that requires itself for ever ends here.
const DEPTH_MAX: u32 = 16;

const NAMES: [&str; 8] = ["Lisbon", "Oslo", "Kyoto", "Quito", "Nairobi", "Turin", "Bergen", "Tartu"];

/// Most values in one answer, whatever its schema multiplies: it comes from the caller, and making it cannot be interrupted.
const VALUES_MAX: usize = 4_096;

/// Makes a value for `schema`: constants, enums, objects, arrays, strings with common formats, numbers within bounds,
/// alternatives and local references. What it does not know it ignores; of a schema that asks for too much, the rest is
/// `null` or left out.
pub(super) fn value(schema: &Value, rng: &mut Rng) -> Value {
    Maker { root: schema, rng, left: VALUES_MAX }.make(schema, 0)
}

struct Maker<'s, 'r> {
    root: &'s Value,
    rng: &'r mut Rng,
    /// Values that may still be made.
    left: usize,
}

impl<'s> Maker<'s, '_> {
    fn make(&mut self, schema: &'s Value, depth: u32) -> Value {
        if depth > DEPTH_MAX || !self.afford(1) {
            return Value::Null;
        }
        let Some(object) = schema.as_object() else { return Value::String("any".to_owned()) };
        if let Some(target) = object.get("$ref").and_then(Value::as_str) {
            let found = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(Value::Null, |found| self.make(found, depth + 1));
        }
        if let Some(only) = object.get("const") {
            return self.copy(only);
        }
        if let Some(Value::Array(values)) = object.get("enum") {
            if values.is_empty() {
                return Value::Null;
            }
            let chosen = self.rng.usize(..values.len());
            return self.copy(&values[chosen]);
        }
        if let Some(Value::Array(all)) = object.get("allOf") {
            return self.all_of(object, all, depth);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(first) = object.get(key).and_then(Value::as_array).and_then(|all| all.first()) {
                return self.make(first, depth + 1);
            }
        }
        self.by_type(object, depth)
    }

    /// Whether so much may still be made.
    fn afford(&mut self, values: usize) -> bool {
        let left = self.left.checked_sub(values);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    fn copy(&mut self, value: &Value) -> Value {
        if self.afford(weight(value, self.left)) { value.clone() } else { Value::Null }
    }

    fn all_of(&mut self, object: &'s Map<String, Value>, all: &'s [Value], depth: u32) -> Value {
        let mut merged = Map::new();
        for part in all.iter().take(self.left) {
            if let Value::Object(fields) = self.make(part, depth + 1) {
                merged.extend(fields);
            }
        }
        if let Value::Object(own) = self.by_type(object, depth) {
            merged.extend(own);
        }
        Value::Object(merged)
    }

    fn by_type(&mut self, schema: &'s Map<String, Value>, depth: u32) -> Value {
        let named = match schema.get("type") {
            Some(Value::String(name)) => name.to_lowercase(),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("null").to_lowercase()
            }
            _ if schema.contains_key("properties") => "object".to_owned(),
            _ if schema.contains_key("items") => "array".to_owned(),
            _ => "string".to_owned(),
        };
        match named.as_str() {
            "object" => self.fields(schema, depth),
            "array" => self.items(schema, depth),
            "integer" => {
                let (low, high) = bounds(schema, 1.0);
                #[expect(clippy::cast_possible_truncation, reason = "a float out of range saturates, which is what a bound means here")]
                let (low, high) = (low.ceil() as i64, high.floor() as i64);
                Value::from(self.rng.i64(low..=high.max(low)))
            }
            "number" => {
                let (low, high) = bounds(schema, 0.5);
                Number::from_f64(low + (high - low) * 0.25 * f64::from(self.rng.u8(0..4))).map_or(Value::from(0), Value::Number)
            }
            "boolean" => Value::Bool(self.rng.bool()),
            "null" => Value::Null,
            _ => self.string(schema),
        }
    }

    fn fields(&mut self, schema: &'s Map<String, Value>, depth: u32) -> Value {
        let names = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let required: BTreeSet<&str> = names.take(VALUES_MAX).collect();
        let mut made = Map::new();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if self.left == 0 {
                break;
            }
            if depth < OPTIONAL_DEPTH || required.contains(name.as_str()) {
                made.insert(name.clone(), self.make(property, depth + 1));
            }
        }
        for name in required {
            if !made.contains_key(name) && self.afford(1) {
                made.insert(name.to_owned(), Value::String("any".to_owned()));
            }
        }
        Value::Object(made)
    }

    fn items(&mut self, schema: &'s Map<String, Value>, depth: u32) -> Value {
        let count = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let wanted = if depth < OPTIONAL_DEPTH { 2 } else { 0 };
        let least = count("minItems").unwrap_or(0).min(64);
        let most = count("maxItems").unwrap_or(usize::MAX);
        let anything = Map::new();
        let made = (0..wanted.max(least).min(most)).map_while(|_| {
            (self.left > 0).then(|| match schema.get("items") {
                Some(item) => self.make(item, depth + 1),
                None => self.string(&anything),
            })
        });
        made.collect()
    }

    fn string(&mut self, schema: &Map<String, Value>) -> Value {
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        let name = NAMES[self.rng.usize(..NAMES.len())];
        let mut text = match format {
            "date" => format!("2026-{:02}-{:02}", self.rng.u8(1..=12), self.rng.u8(1..=28)),
            "time" => "12:00:00Z".to_owned(),
            "date-time" => format!("2026-{:02}-{:02}T12:00:00Z", self.rng.u8(1..=12), self.rng.u8(1..=28)),
            "email" => format!("{}@example.com", name.to_lowercase()),
            "uri" | "url" => format!("https://example.com/{}", name.to_lowercase()),
            "uuid" => format!("00000000-0000-4000-8000-{:012x}", self.rng.u64(..) >> 16),
            _ => name.to_owned(),
        };
        let length = |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let least = length("minLength").unwrap_or(0).min(4_096);
        if least > text.len() && self.afford(least / BYTES_A_VALUE) {
            text.push_str(&"x".repeat(least - text.len()));
        }
        if let Some(most) = length("maxLength") {
            text.truncate(most);
        }
        Value::String(text)
    }
}

/// Text counts as a value for every so many bytes.
const BYTES_A_VALUE: usize = 64;

/// How many values a copy makes; beyond `most` it is not counted further.
fn weight(value: &Value, most: usize) -> usize {
    let inner = |values: &mut dyn Iterator<Item = &Value>| {
        let mut sum = 1;
        while sum <= most
            && let Some(value) = values.next()
        {
            sum += weight(value, most - sum.min(most));
        }
        sum
    };
    match value {
        Value::Array(values) => inner(&mut values.iter()),
        Value::Object(fields) => inner(&mut fields.values()) + fields.keys().map(String::len).sum::<usize>() / BYTES_A_VALUE,
        Value::String(text) => 1 + text.len() / BYTES_A_VALUE,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
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
