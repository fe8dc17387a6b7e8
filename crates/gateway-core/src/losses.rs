//! What a target could not express. Nothing is dropped without an entry here.

use std::borrow::Cow;

use serde::Serialize;

/// Why something was not carried as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossReason {
    /// The target protocol has no place for it; it was left out.
    Unsupported,
    /// The target protocol has a place, but this model or deployment refuses it.
    RefusedByModel,
    /// It was carried in a coarser or different form.
    Approximated,
    /// It belongs to another provider (a signature, an opaque part) and must not be sent here.
    Foreign,
    /// The value was not of the shape the protocol asks for, so it could not be carried.
    Malformed,
}

impl LossReason {
    /// The word used in headers and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::RefusedByModel => "refused_by_model",
            Self::Approximated => "approximated",
            Self::Foreign => "foreign",
            Self::Malformed => "malformed",
        }
    }
}

/// One thing not carried: where it stood in the source (`messages[2].content[0].title`) and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Path in the source's own terms; brackets hold array indexes.
    pub path: Cow<'static, str>,
    /// Why.
    pub reason: LossReason,
}

/// The losses of one translation, in the order met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Losses(Vec<Loss>);

impl Losses {
    /// None so far.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Records one.
    pub fn push(&mut self, path: impl Into<Cow<'static, str>>, reason: LossReason) {
        self.0.push(Loss { path: path.into(), reason });
    }

    /// Whether everything was carried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order recorded.
    pub fn iter(&self) -> std::slice::Iter<'_, Loss> {
        self.0.iter()
    }

    /// Appends another translation's losses.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// `path;reason`, comma-separated, at most 1 KiB and then `more=N`; characters a header cannot hold become `?`.
    #[must_use]
    pub fn to_header(&self) -> String {
        const MAX_BYTES: usize = 1_024;
        let mut text = String::new();
        for (n, loss) in self.0.iter().enumerate() {
            let room_for_rest = ", more=4294967295".len();
            let item = format!("{};{}", loss.path, loss.reason.as_str());
            if text.len() + 2 + item.len() + room_for_rest > MAX_BYTES {
                text.push_str(if n == 0 { "" } else { ", " });
                text.push_str(&format!("more={}", self.0.len() - n));
                break;
            }
            if n > 0 {
                text.push_str(", ");
            }
            text.extend(item.chars().map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '?' }));
        }
        text
    }
}

impl<'a> IntoIterator for &'a Losses {
    type Item = &'a Loss;
    type IntoIter = std::slice::Iter<'a, Loss>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_stays_within_a_kibibyte_and_counts_the_rest() {
        let mut losses = Losses::new();
        for n in 0..100 {
            losses.push(format!("messages[{n}].content[0].title"), LossReason::Unsupported);
        }
        let header = losses.to_header();
        assert!(header.len() <= 1_024, "{}", header.len());
        let shown = header.matches(";unsupported").count();
        assert!(header.ends_with(&format!(", more={}", 100 - shown)), "{header}");
    }

    #[test]
    fn a_hostile_path_cannot_forge_a_header() {
        let mut losses = Losses::new();
        losses.push("a\r\nset-cookie: x,b", LossReason::Malformed);
        assert_eq!(losses.to_header(), "a??set-cookie:?x?b;malformed");
    }
}
