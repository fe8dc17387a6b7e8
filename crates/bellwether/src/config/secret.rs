//! `env:NAME` or the text itself.

use std::fmt;

use gateway_core::Secret;
use serde::{Deserialize, Deserializer};

use super::Environment;

/// Where a secret comes from. `Debug` shows a variable's name and never a literal.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The environment variable of this name, read at start.
    Variable(String),
    /// Written in the file.
    Literal(Secret),
}

impl SecretSource {
    /// The secret, trimmed of white space; `None` when the variable is not set or empty.
    #[must_use]
    pub fn resolve(&self, environment: &dyn Environment) -> Option<Secret> {
        match self {
            Self::Variable(name) => {
                let value = environment.var(name)?;
                let value = value.trim();
                (!value.is_empty()).then(|| Secret::new(value))
            }
            Self::Literal(secret) => Some(secret.clone()),
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::Literal(secret) => secret.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let text = text.trim();
        match text.strip_prefix("env:") {
            Some(name) if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
                Ok(Self::Variable(name.to_owned()))
            }
            Some(_) => Err(serde::de::Error::custom("after `env:` must stand the name of an environment variable")),
            None if text.is_empty() => Err(serde::de::Error::custom("a secret must not be empty; leave the key out instead")),
            None => Ok(Self::Literal(Secret::new(text))),
        }
    }
}
