//! The server's secret, under which keys are hashed and from which the keys of receipts and of request facts are derived.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use gateway_core::Secret;
use ring::{hmac, rand::SecureRandom};

use crate::{error::LedgerError, facts::FactsKey, receipt::ReceiptKey};

/// Shortest secret that may be given: 128 bits written in hexadecimal.
const SECRET_CHARS_MIN: usize = 32;

/// What is made of the secret; the secret itself is kept nowhere.
#[derive(Debug)]
pub(crate) struct ServerSecret {
    /// What API keys are hashed under.
    pub(crate) keys: hmac::Key,
    /// What receipts are signed with.
    pub(crate) receipts: ReceiptKey,
    /// What requests are hashed under.
    pub(crate) facts: FactsKey,
}

impl ServerSecret {
    fn of(text: &str, database: &Path) -> Result<Self, LedgerError> {
        let receipts =
            ReceiptKey::derive(text.as_bytes()).ok_or_else(|| unusable(database, &"no key for receipts can be derived from it"))?;
        let keys = hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        Ok(Self { facts: FactsKey::derive(&keys), keys, receipts })
    }
}

/// The given secret, else the one in `<database>.secret`, which is made at the first start with mode 0600.
pub(crate) fn server_secret(given: Option<&Secret>, database: &Path, random: &dyn SecureRandom) -> Result<ServerSecret, LedgerError> {
    if let Some(secret) = given {
        let text = secret.expose().trim();
        if text.len() < SECRET_CHARS_MIN {
            return Err(LedgerError::invalid(
                "BELLWETHER_SECRET",
                format!("has {} characters; it needs at least {SECRET_CHARS_MIN}, for example from `openssl rand -hex 32`", text.len()),
            ));
        }
        return ServerSecret::of(text, database);
    }
    let mut name = database.as_os_str().to_owned();
    name.push(".secret");
    let path = PathBuf::from(name);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => create(&path, random)?,
        Err(error) => return Err(unusable(&path, &error)),
    };
    let text = text.trim();
    if text.len() < SECRET_CHARS_MIN {
        return Err(unusable(&path, &"it is cut; restore it from a backup, or all keys must be made anew"));
    }
    ServerSecret::of(text, &path)
}

fn create(path: &Path, random: &dyn SecureRandom) -> Result<String, LedgerError> {
    let mut bytes = [0u8; 32];
    random.fill(&mut bytes).map_err(|_| unusable(path, &"the system's random generator failed"))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| unusable(path, &error))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| unusable(path, &error))?;
    Ok(text)
}

fn unusable(path: &Path, problem: &dyn std::fmt::Display) -> LedgerError {
    LedgerError::Open {
        path: path.to_owned(),
        problem: format!("the secret that API keys are hashed under cannot be used: {problem}").into(),
        source: None,
    }
}
