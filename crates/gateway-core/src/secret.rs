//! A credential that cannot be printed by accident.

use std::{fmt, sync::Arc};

/// A credential. `Debug` shows nothing of it, and there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps the text as it is.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The credential itself. Hand it to a header or a hash, never to a log line.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters after `…`, for telling keys apart; a short credential shows none.
    #[must_use]
    pub fn suffix(&self) -> String {
        let shown = if self.0.len() >= 16 { self.0.char_indices().rev().nth(3).map_or("", |(at, _)| &self.0[at..]) } else { "" };
        format!("…{shown}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn neither_debug_nor_the_suffix_of_a_short_one_shows_it() {
        let long = Secret::new("sk-0123456789abcdef");
        assert_eq!(format!("{long:?}"), "Secret(redacted)");
        assert_eq!(long.suffix(), "…cdef");
        assert_eq!(Secret::new("short").suffix(), "…");
    }
}
