//! Who may administer: the holder of the gateway's admin token, and the administrators with a name of their own.

use std::sync::Arc;

use anyhow::{Result, bail};
use gateway_core::Secret;
use gateway_server::AdminCheck;
use ring::hmac;

use crate::config::{ADMIN, Config, Environment, SecretSource};

/// Shortest token: as many characters as 80 bits in base32 have.
const TOKEN_CHARS_MIN: usize = 16;

/// The named administrators with their tokens.
///
/// # Errors
/// A token's variable is not set, a token is too short to be one, or two administrators have the same.
pub fn named(config: &Config, environment: &dyn Environment) -> Result<Vec<(Arc<str>, Secret)>> {
    let mut named: Vec<(Arc<str>, Secret)> = Vec::with_capacity(config.admins.len());
    for (at, admin) in config.admins.iter().enumerate() {
        let key = format!("{}: `admins[{at}].token`", config.place);
        let Some(token) = admin.token.resolve(environment) else {
            match &admin.token {
                SecretSource::Variable(name) => bail!("{key}: the variable {name} is not set"),
                SecretSource::Literal(_) => bail!("{key}: is empty"),
            }
        };
        if token.expose().len() < TOKEN_CHARS_MIN {
            bail!("{key}: needs at least {TOKEN_CHARS_MIN} characters, for example from `openssl rand -hex 20`");
        }
        if let Some((other, _)) = named.iter().find(|(_, other)| *other == token) {
            bail!("{key}: `{other}` has the same token; who did something could not be told");
        }
        named.push((admin.name.as_str().into(), token));
    }
    Ok(named)
}

/// Tells whose token it is: the gateway's own, or one of the named ones.
///
/// # Errors
/// A named administrator has the gateway's token.
pub fn check(admin_token: &Secret, named: Vec<(Arc<str>, Secret)>) -> Result<AdminCheck> {
    if let Some((name, _)) = named.iter().find(|(_, token)| token == admin_token) {
        bail!("the administrator `{name}` has the token of BELLWETHER_ADMIN_TOKEN; give each their own");
    }
    let all = std::iter::once((ADMIN.into(), admin_token.clone())).chain(named);
    // Keyed hashes are compared, so that neither the length nor the place of a difference shows in the time it takes.
    let all: Vec<_> = all
        .map(|(name, token): (Arc<str>, Secret)| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes());
            let expected = hmac::sign(&key, token.expose().as_bytes());
            (name, key, expected)
        })
        .collect();
    Ok(Arc::new(move |presented: &Secret| {
        // All of them, whoever it was.
        let mut found = None;
        for (name, key, expected) in &all {
            if hmac::verify(key, presented.expose().as_bytes(), expected.as_ref()).is_ok() {
                found = Some(Arc::clone(name));
            }
        }
        found
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ANN: &str = "[[admins]]\nname = \"ann\"\ntoken = \"env:ANN_TOKEN\"\n";

    fn resolve(text: &str, variables: &[(&str, &str)]) -> Result<Vec<(Arc<str>, Secret)>> {
        let environment: BTreeMap<String, String> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        named(&Config::parse(text, "test.toml", &BTreeMap::new()).expect("a configuration"), &environment)
    }

    #[track_caller]
    fn refused(text: &str, variables: &[(&str, &str)], expected: &str) {
        let error = resolve(text, variables).expect_err(expected).to_string();
        assert!(error.contains(expected) && !error.contains("token-of"), "{error}");
    }

    #[test]
    fn each_token_names_its_holder() {
        let check = check(&Secret::new("the gateway's own"), resolve(ANN, &[("ANN_TOKEN", "token-of-ann-12345")]).unwrap()).unwrap();
        let who = |token: &str| check(&Secret::new(token)).map(|name| name.to_string());
        assert_eq!(who("the gateway's own").as_deref(), Some("admin"));
        assert_eq!(who("token-of-ann-12345").as_deref(), Some("ann"));
        for wrong in ["", "token-of-ann-1234", "token-of-ann-123456", "ann", "admin"] {
            assert_eq!(who(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_that_is_none_is_refused() {
        refused(ANN, &[], "`admins[0].token`: the variable ANN_TOKEN is not set");
        refused(ANN, &[("ANN_TOKEN", "token-of")], "at least 16 characters");
        let both = format!("{ANN}{}", ANN.replace("\"ann\"", "\"bob\""));
        refused(&both, &[("ANN_TOKEN", "token-of-ann-12345")], "`ann` has the same token");
        let named = resolve(ANN, &[("ANN_TOKEN", "token-of-ann-12345")]).unwrap();
        assert!(check(&Secret::new("token-of-ann-12345"), named).is_err());
    }
}
