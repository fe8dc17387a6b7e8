//! `[[admins]]`: administrators with a name of their own.

use serde::Deserialize;

use super::{Config, secret::SecretSource};

/// The name that whoever holds `BELLWETHER_ADMIN_TOKEN` goes by.
pub const ADMIN: &str = "admin";

const NAME_CHARS_MAX: usize = 32;

/// One administrator. What they do stands in the books under their name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Their name.
    pub name: String,
    /// Their token.
    pub token: SecretSource,
}

/// What is wrong with the list, and with what needs it: the key and a sentence.
pub(super) fn validate(config: &Config) -> Result<(), (String, String)> {
    let mut seen = std::collections::BTreeSet::new();
    for (at, admin) in config.admins.iter().enumerate() {
        let name = admin.name.as_str();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        let wrong = |message: String| Err((format!("admins[{at}].name"), message));
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(plain) {
            return wrong(format!("must have 1 to {NAME_CHARS_MAX} of the characters a-z, 0-9, `-`, `_` and `.`"));
        }
        if name == ADMIN {
            return wrong(format!("`{ADMIN}` is whoever holds BELLWETHER_ADMIN_TOKEN; choose another name"));
        }
        if !seen.insert(name) {
            return wrong(format!("`{name}` is defined twice"));
        }
    }
    if config.billing.confirm_credits_above_usd.is_some() && config.admins.is_empty() {
        let message = format!("a credit that `{ADMIN}` asks for needs another administrator to confirm it; name one under [[admins]]");
        return Err(("billing.confirm_credits_above_usd".to_owned(), message));
    }
    Ok(())
}
