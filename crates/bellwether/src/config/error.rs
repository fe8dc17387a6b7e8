//! Errors of configuration, written for whoever has to mend the file.

use std::{fmt, io, path::PathBuf, sync::Arc};

/// Configuration that cannot be used.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// A key is unknown, or a value is not of its kind.
    Syntax {
        /// `file:line:column`, or the environment variable.
        place: String,
        /// What is wrong, with the nearest known name if there is one.
        message: String,
    },
    /// Each value is well formed, but one makes no sense.
    Wrong {
        /// The file or variable.
        place: String,
        /// The key, dotted.
        key: String,
        /// What is wrong and what is possible.
        message: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Syntax { place, message } => write!(f, "{place}: {message}"),
            Self::Wrong { place, key, message } => write!(f, "{place}: `{key}`: {message}"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(&**source),
            Self::Syntax { .. } | Self::Wrong { .. } => None,
        }
    }
}

/// Turns the parser's error into one with file, line and suggestion.
pub(super) fn in_file(name: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let place = error.span().map_or_else(
        || name.to_owned(),
        |span| {
            let before = text.get(..span.start).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
            format!("{name}:{line}:{column}")
        },
    );
    ConfigError::Syntax { place, message: with_suggestion(error.message()) }
}

/// Adds the nearest expected name to the parser's "unknown field" or "unknown variant".
pub(super) fn with_suggestion(message: &str) -> String {
    let message = without_value(message.trim());
    let Some((_, rest)) = message.split_once("unknown field `").or_else(|| message.split_once("unknown variant `")) else {
        return message;
    };
    let Some((unknown, expected)) = rest.split_once('`') else { return message };
    let known = expected.split('`').skip(1).step_by(2);
    let nearest = known.map(|name| (strsim::damerau_levenshtein(unknown, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + unknown.len() / 3 => format!("{message}; did you mean `{name}`?"),
        Some(_) | None => message,
    }
}

/// A text of the wrong type is not repeated: where a list was expected it may be a key. The place is named anyway.
fn without_value(message: &str) -> String {
    let quoted = message.split_once("string \"").and_then(|(before, rest)| Some((before, rest.rsplit_once("\", expected")?.1)));
    match quoted {
        Some((before, after)) => format!("{before}a string, expected{after}"),
        None => message.to_owned(),
    }
}
