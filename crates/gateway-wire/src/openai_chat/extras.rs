//! Unknown fields of nested objects, kept under dotted names.

use gateway_core::{WireError, ir::Extras};

use crate::{
    OPENAI_CHAT,
    json::{Fields, Writer},
};

/// Adds what is left of `fields` to `extras`, each name preceded by `prefix` (`function.`).
pub(super) fn nest(extras: &mut Option<Extras>, prefix: &str, fields: Fields<'_>) -> Result<(), WireError> {
    let Some(inner) = fields.extras(OPENAI_CHAT)? else { return Ok(()) };
    let all = extras.get_or_insert_with(|| Extras::new(OPENAI_CHAT));
    all.fields.extend(inner.fields.into_iter().map(|(key, value)| (format!("{prefix}{key}").into_boxed_str(), value)));
    Ok(())
}

/// Writes the extras that are not under any of the `nested` prefixes; false when there are any of another protocol's.
#[must_use]
pub(super) fn write_outer(w: &mut Writer<'_>, extras: Option<&Extras>, nested: &[&str]) -> bool {
    let Some(extras) = extras else { return true };
    if extras.origin != OPENAI_CHAT {
        return extras.unmodelled().next().is_none();
    }
    for (key, value) in &extras.fields {
        if !nested.iter().any(|prefix| key.starts_with(prefix)) {
            w.key(key).raw(value.text());
        }
    }
    true
}

/// Writes the extras under one prefix into the nested object that is open.
pub(super) fn write_nested(w: &mut Writer<'_>, extras: Option<&Extras>, prefix: &str) {
    for (key, value) in extras.iter().filter(|extras| extras.origin == OPENAI_CHAT).flat_map(|extras| &extras.fields) {
        if let Some(key) = key.strip_prefix(prefix) {
            w.key(key).raw(value.text());
        }
    }
}

/// The text of one extra of this protocol.
pub(super) fn get<'e>(extras: Option<&'e Extras>, key: &str) -> Option<&'e str> {
    let fields = &extras.filter(|extras| extras.origin == OPENAI_CHAT)?.fields;
    fields.iter().find(|(name, _)| &**name == key).map(|(_, value)| value.text())
}
