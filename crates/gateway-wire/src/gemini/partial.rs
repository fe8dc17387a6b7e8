//! Arguments of a function call that are streamed in pieces, each for one JSON path.

use gateway_core::WireError;
use serde_json::{Map, Value};

use super::schema::PartialArg;

/// A list longer than this is no argument list but an attempt to make us allocate.
const INDEX_MAX: usize = 10_000;
const DEPTH_MAX: usize = 64;

/// The arguments so far.
#[derive(Default)]
pub(super) struct Partial(Map<String, Value>);

impl Partial {
    /// Adds a piece. Text for a path that holds text is appended; anything else replaces what was there.
    ///
    /// # Errors
    /// The path is none, or lies inside a value that is no container.
    pub(super) fn add(&mut self, piece: &PartialArg<'_>) -> Result<(), WireError> {
        let path = piece.json_path.as_ref().map_or("$", |text| &text.0);
        let steps = steps(path).ok_or_else(|| refused(path))?;
        let Some((Step::Key(first), rest)) = steps.split_first() else { return Err(refused(path)) };
        let mut place = self.0.entry(first.clone()).or_insert(Value::Null);
        for step in rest {
            place = step.enter(place).ok_or_else(|| refused(path))?;
        }
        if let Some(text) = &piece.string_value {
            match place {
                Value::String(so_far) => so_far.push_str(&text.0),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    *place = Value::String(text.0.clone().into_owned());
                }
            }
        } else if let Some(number) = piece.number_value {
            *place = serde_json::from_str(number.get()).map_err(|_| refused(path))?;
        } else if let Some(flag) = piece.bool_value {
            *place = Value::Bool(flag);
        } else if piece.null_value.is_some() {
            *place = Value::Null;
        }
        Ok(())
    }

    /// The arguments as JSON text.
    pub(super) fn text(self) -> String {
        Value::Object(self.0).to_string()
    }
}

enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn enter<'v>(&self, value: &'v mut Value) -> Option<&'v mut Value> {
        match self {
            Self::Key(key) => {
                if value.is_null() {
                    *value = Value::Object(Map::new());
                }
                Some(value.as_object_mut()?.entry(key.clone()).or_insert(Value::Null))
            }
            Self::Index(index) => {
                if value.is_null() {
                    *value = Value::Array(Vec::new());
                }
                let list = value.as_array_mut()?;
                while list.len() <= *index {
                    list.push(Value::Null);
                }
                list.get_mut(*index)
            }
        }
    }
}

/// The steps of `$.a['b'][0]`; `None` when it is no such path.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() == DEPTH_MAX {
            return None;
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (key, more) = after.split_at(end);
            if key.is_empty() {
                return None;
            }
            steps.push(Step::Key(key.to_owned()));
            rest = more;
        } else {
            let after = rest.strip_prefix('[')?;
            let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'));
            if let Some(quote) = quote {
                let (key, more) = after[1..].split_once(quote)?;
                steps.push(Step::Key(key.to_owned()));
                rest = more.strip_prefix(']')?;
            } else {
                let (number, more) = after.split_once(']')?;
                steps.push(Step::Index(number.parse().ok().filter(|n| *n <= INDEX_MAX)?));
                rest = more;
            }
        }
    }
    Some(steps)
}

fn refused(path: &str) -> WireError {
    WireError::new(format!("a streamed argument has the path `{path}`, which leads nowhere"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &serde_json::Value, expected: Option<&str>) {
        let text = pieces.to_string();
        let pieces: Vec<PartialArg<'_>> = serde_json::from_str(&text).unwrap();
        let mut partial = Partial::default();
        let added: Result<Vec<()>, _> = pieces.iter().map(|piece| partial.add(piece)).collect();
        match expected {
            Some(expected) => {
                added.unwrap();
                assert_eq!(partial.text(), expected, "{text}");
            }
            None => assert!(added.is_err(), "{text}"),
        }
    }

    #[test]
    fn pieces_build_an_object() {
        check(
            &serde_json::json!([
                {"jsonPath": "$.city", "stringValue": "Par", "willContinue": true},
                {"jsonPath": "$.city", "stringValue": "is"},
                {"jsonPath": "$.days", "numberValue": 3},
                {"jsonPath": "$.flags[1]", "boolValue": true},
                {"jsonPath": "$['a.b'].c", "nullValue": "NULL_VALUE"},
            ]),
            Some(r#"{"a.b":{"c":null},"city":"Paris","days":3,"flags":[null,true]}"#),
        );
        check(&serde_json::json!([]), Some("{}"));
    }

    #[test]
    fn paths_that_lead_nowhere_are_refused() {
        for path in ["", "$", "city", "$.", "$.a..b", "$.a[", "$.a[x]", "$[0]", "$.a[99999999]", "$.a['b"] {
            check(&serde_json::json!([{"jsonPath": path, "stringValue": "x"}]), None);
        }
        check(&serde_json::json!([{"jsonPath": "$.a", "stringValue": "x"}, {"jsonPath": "$.a.b", "stringValue": "y"}]), None);
        check(&serde_json::json!([{"jsonPath": format!("${}", ".a".repeat(100)), "stringValue": "x"}]), None);
    }
}
