//! One JSON value as a slice of its document, read on demand.

use std::borrow::Cow;

use gateway_core::{WireError, ir::Raw};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    cursor::{Cursor, Kind},
    fields::Fields,
};

/// One value of a document that [`Json::parse`] has found well-formed. Copying it copies a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Checks a whole document: UTF-8, syntax, nesting depth.
    ///
    /// # Errors
    /// What was expected, and at which byte.
    pub fn parse(document: &'a [u8]) -> Result<Self, WireError> {
        let text = std::str::from_utf8(document).map_err(|e| WireError::new(format!("not valid UTF-8 at byte {}", e.valid_up_to())))?;
        let mut cursor = Cursor::new(document);
        let range = cursor.value()?;
        cursor.end()?;
        Ok(Self(&text[range]))
    }

    pub(super) fn slice(text: &'a str) -> Self {
        Self(text)
    }

    /// The text as it was written.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.0
    }

    /// What it is.
    #[must_use]
    pub fn kind(self) -> Kind {
        Cursor::new(self.0.as_bytes()).kind().unwrap_or(Kind::Null)
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// A string, unescaped; borrowed when nothing was escaped.
    ///
    /// # Errors
    /// It is no string, or holds an escape that is none.
    pub fn str(self) -> Result<Cow<'a, str>, WireError> {
        let inner = self.0.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(|| self.mismatch("a string"))?;
        if inner.bytes().all(|byte| byte != b'\\' && byte >= 0x20) {
            return Ok(Cow::Borrowed(inner));
        }
        self.typed("a string without control characters and with valid escapes").map(Cow::Owned)
    }

    /// A boolean.
    ///
    /// # Errors
    /// It is something else.
    pub fn bool(self) -> Result<bool, WireError> {
        match self.0 {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.mismatch("a boolean")),
        }
    }

    /// An integer from 0 to 4,294,967,295.
    ///
    /// # Errors
    /// It is something else.
    pub fn u32(self) -> Result<u32, WireError> {
        self.typed("an integer from 0 to 4294967295")
    }

    /// An integer that is not negative. A count that a vendor wrote as a float without a fraction (`12.0`) is read too.
    ///
    /// # Errors
    /// It is something else.
    pub fn u64(self) -> Result<u64, WireError> {
        let whole = self.0.strip_suffix(".0").unwrap_or(self.0);
        whole.parse().map_err(|_| self.mismatch("an integer that is not negative"))
    }

    /// An integer.
    ///
    /// # Errors
    /// It is something else.
    pub fn i64(self) -> Result<i64, WireError> {
        self.typed("an integer")
    }

    /// A number.
    ///
    /// # Errors
    /// It is something else.
    pub fn f64(self) -> Result<f64, WireError> {
        self.typed("a number")
    }

    /// An object, split into its fields.
    ///
    /// # Errors
    /// It is something else.
    pub fn fields(self) -> Result<Fields<'a>, WireError> {
        Fields::of(self)
    }

    /// An array, split into its elements.
    ///
    /// # Errors
    /// It is something else.
    pub fn array(self) -> Result<Vec<Json<'a>>, WireError> {
        if self.kind() != Kind::Array {
            return Err(self.mismatch("an array"));
        }
        let mut cursor = Cursor::new(self.0.as_bytes());
        let mut items = Vec::new();
        while cursor.element(items.is_empty())? {
            items.push(Self(&self.0[cursor.value()?]));
        }
        Ok(items)
    }

    /// An array of strings.
    ///
    /// # Errors
    /// It is something else; the error names the element.
    pub fn strings(self) -> Result<Vec<Cow<'a, str>>, WireError> {
        self.array()?.into_iter().enumerate().map(|(n, item)| item.str().within_index(n)).collect()
    }

    /// The value as it was written, owned. Refuses what the scanner lets through and a reader would not: bad escapes
    /// and control characters in strings.
    ///
    /// # Errors
    /// The text is not valid JSON in every detail.
    pub fn raw(self) -> Result<Raw, WireError> {
        RawValue::from_string(self.0.to_owned()).map(Raw::new).map_err(|_| WireError::new("not valid JSON in every detail"))
    }

    /// Anything serde can read.
    ///
    /// # Errors
    /// It is something else; `described` says what was expected.
    pub fn typed<T: DeserializeOwned>(self, described: &str) -> Result<T, WireError> {
        serde_json::from_str(self.0).map_err(|_| self.mismatch(described))
    }

    /// The error of finding this value where `described` was expected.
    #[must_use]
    pub fn mismatch(self, described: &str) -> WireError {
        WireError::new(format!("expected {described}, found {}", self.kind().described()))
    }
}

/// Adds a step to the path of an error, from the inside out.
pub trait Within: Sized {
    /// The error happened inside `key`.
    #[must_use]
    fn within(self, key: &str) -> Self;

    /// The error happened inside element `index`.
    #[must_use]
    fn within_index(self, index: usize) -> Self;
}

impl Within for WireError {
    fn within(mut self, key: &str) -> Self {
        self.path = Some(match self.path {
            None => Cow::Owned(key.to_owned()),
            Some(path) if path.starts_with('[') => Cow::Owned(format!("{key}{path}")),
            Some(path) => Cow::Owned(format!("{key}.{path}")),
        });
        self
    }

    fn within_index(self, index: usize) -> Self {
        self.within(&format!("[{index}]"))
    }
}

impl<T> Within for Result<T, WireError> {
    fn within(self, key: &str) -> Self {
        self.map_err(|error| error.within(key))
    }

    fn within_index(self, index: usize) -> Self {
        self.map_err(|error| error.within_index(index))
    }
}
