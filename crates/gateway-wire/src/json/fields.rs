//! One object whose known fields are taken one by one; what is left becomes extras.

use std::borrow::Cow;

use gateway_core::{
    Protocol, WireError,
    ir::{Extras, Raw},
};

use super::{
    cursor::{Cursor, Kind},
    value::{Json, Within},
};

/// The fields of one object, in order. Taking a field removes every repetition of it and yields the last, which is what
/// JSON parsers keep. A `null` counts as absent for every `take_` method but [`Fields::take`].
#[derive(Debug, Clone)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Fields<'a> {
    pub(super) fn of(object: Json<'a>) -> Result<Self, WireError> {
        if object.kind() != Kind::Object {
            return Err(object.mismatch("an object"));
        }
        let text = object.text();
        let mut cursor = Cursor::new(text.as_bytes());
        let mut fields = Vec::with_capacity(8);
        while let Some(key) = cursor.key(fields.is_empty())? {
            let quoted = Json::slice(&text[key.start - 1..key.end + 1]);
            fields.push((quoted.str()?, Json::slice(&text[cursor.value()?])));
        }
        Ok(Self(fields))
    }

    /// Whether a field is there and not null, without taking it.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.peek(key).is_some()
    }

    /// A field's value, without taking it; `None` when absent or null.
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<Json<'a>> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value).filter(|value| !value.is_null())
    }

    /// Takes a field, `null` included.
    pub fn take(&mut self, key: &str) -> Option<Json<'a>> {
        let mut last = None;
        self.0.retain(|(name, value)| {
            let found = name == key;
            if found {
                last = Some(*value);
            }
            !found
        });
        last
    }

    /// Takes a field; `null` counts as absent.
    pub fn take_value(&mut self, key: &str) -> Option<Json<'a>> {
        self.take(key).filter(|value| !value.is_null())
    }

    /// Takes a field and reads it with `read`; the error names the field.
    ///
    /// # Errors
    /// What `read` says.
    pub fn take_with<T>(&mut self, key: &str, read: impl FnOnce(Json<'a>) -> Result<T, WireError>) -> Result<Option<T>, WireError> {
        self.take_value(key).map(read).transpose().within(key)
    }

    /// Takes a field that must be there and reads it with `read`.
    ///
    /// # Errors
    /// It is missing, or what `read` says.
    pub fn need_with<T>(&mut self, key: &str, read: impl FnOnce(Json<'a>) -> Result<T, WireError>) -> Result<T, WireError> {
        self.take_with(key, read)?.ok_or_else(|| WireError::at(key.to_owned(), "is required"))
    }

    /// Takes a string.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_str(&mut self, key: &str) -> Result<Option<Cow<'a, str>>, WireError> {
        self.take_with(key, Json::str)
    }

    /// Takes a string, owned.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_string(&mut self, key: &str) -> Result<Option<String>, WireError> {
        Ok(self.take_str(key)?.map(Cow::into_owned))
    }

    /// Takes a string that must be there.
    ///
    /// # Errors
    /// It is missing or something else.
    pub fn need_str(&mut self, key: &str) -> Result<Cow<'a, str>, WireError> {
        self.need_with(key, Json::str)
    }

    /// Takes a boolean.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_bool(&mut self, key: &str) -> Result<Option<bool>, WireError> {
        self.take_with(key, Json::bool)
    }

    /// Takes a count.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_u32(&mut self, key: &str) -> Result<Option<u32>, WireError> {
        self.take_with(key, Json::u32)
    }

    /// Takes a large count.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_u64(&mut self, key: &str) -> Result<Option<u64>, WireError> {
        self.take_with(key, Json::u64)
    }

    /// Takes a count out of a report on an answer. What is no count was not said: an odd figure in a report must not cost
    /// the caller the answer it reports on.
    pub fn take_count(&mut self, key: &str) -> Option<u64> {
        self.take_value(key).and_then(|value| value.u64().ok())
    }

    /// Takes a part of a report on an answer; what is no object was not said.
    pub fn take_counts(&mut self, key: &str) -> Option<Fields<'a>> {
        self.take_value(key).and_then(|value| value.fields().ok())
    }

    /// Takes an integer.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_i64(&mut self, key: &str) -> Result<Option<i64>, WireError> {
        self.take_with(key, Json::i64)
    }

    /// Takes a number.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_f64(&mut self, key: &str) -> Result<Option<f64>, WireError> {
        self.take_with(key, Json::f64)
    }

    /// Takes an object.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_fields(&mut self, key: &str) -> Result<Option<Fields<'a>>, WireError> {
        self.take_with(key, Json::fields)
    }

    /// Takes an array.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_array(&mut self, key: &str) -> Result<Option<Vec<Json<'a>>>, WireError> {
        self.take_with(key, Json::array)
    }

    /// Takes an array of strings.
    ///
    /// # Errors
    /// It is something else.
    pub fn take_strings(&mut self, key: &str) -> Result<Option<Vec<Cow<'a, str>>>, WireError> {
        self.take_with(key, Json::strings)
    }

    /// Takes a value as it was written.
    ///
    /// # Errors
    /// It is not valid JSON in every detail.
    pub fn take_raw(&mut self, key: &str) -> Result<Option<Raw>, WireError> {
        self.take_with(key, Json::raw)
    }

    /// What is left, in order.
    pub fn rest(&self) -> impl Iterator<Item = (&str, Json<'a>)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), *value))
    }

    /// What is left, `null` included, as extras of `origin`; `None` when nothing is.
    ///
    /// # Errors
    /// A value is not valid JSON in every detail.
    pub fn extras(self, origin: Protocol) -> Result<Option<Extras>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let fields = self.0.into_iter().map(|(key, value)| Ok((Box::from(key.as_ref()), value.raw().within(&key)?)));
        Ok(Some(Extras { fields: fields.collect::<Result<_, WireError>>()?, ..Extras::new(origin) }))
    }
}
