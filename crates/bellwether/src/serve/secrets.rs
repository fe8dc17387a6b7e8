//! The server's secret and the admin token that hangs on it.

use std::{ffi::OsString, path::Path};

use anyhow::{Context, Result};
use gateway_core::Secret;
use ring::hmac;

use crate::config::Environment;

/// `BELLWETHER_SECRET`, if set. Otherwise the ledger reads or makes `<database>.secret`.
pub(super) fn server_secret(environment: &dyn Environment) -> Option<Secret> {
    variable(environment, "BELLWETHER_SECRET")
}

/// `BELLWETHER_ADMIN_TOKEN`, or one derived from the server's secret, so that no second secret is stored.
pub(super) fn admin_token(environment: &dyn Environment, database: &Path) -> Result<Secret> {
    if let Some(token) = variable(environment, "BELLWETHER_ADMIN_TOKEN") {
        return Ok(token);
    }
    let secret = match server_secret(environment) {
        Some(secret) => secret,
        None => {
            let mut path = OsString::from(database);
            path.push(".secret");
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Secret::new(text.trim())
        }
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let tag = hmac::sign(&key, b"bellwether admin token 1");
    let hex: String = tag.as_ref()[..20].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Secret::new(format!("hs_admin_{hex}")))
}

/// Whether the operator chose the token.
pub(super) fn admin_token_is_given(environment: &dyn Environment) -> bool {
    variable(environment, "BELLWETHER_ADMIN_TOKEN").is_some()
}

fn variable(environment: &dyn Environment, name: &str) -> Option<Secret> {
    environment.var(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).map(Secret::new)
}
