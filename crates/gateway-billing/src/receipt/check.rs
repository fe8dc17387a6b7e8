//! Checking a receipt: nothing but a key set is needed, no server and no database.

use std::fmt;

use base64::Engine;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ALGORITHM, BASE64, TYPE};

/// Far above any receipt; what is longer is not read.
const CHARS_MAX: usize = 64 * 1_024;

/// Public keys that receipts are checked against.
#[derive(Debug, Clone)]
pub struct ReceiptKeys(Vec<PublicKey>);

#[derive(Debug, Clone)]
struct PublicKey {
    id: String,
    bytes: [u8; 32],
}

/// A text is not a set of keys that receipts can be checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidKeys(String);

impl fmt::Display for InvalidKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a usable key set: {}; get it from /.well-known/bellwether-receipts.json of the gateway", self.0)
    }
}

impl std::error::Error for InvalidKeys {}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidReceipt {
    /// It is no receipt at all; the text says what is wrong.
    Malformed(&'static str),
    /// No key of the set has the name that it gives.
    UnknownKey {
        /// The name, shortened.
        id: String,
    },
    /// It was not signed with the key, or has been changed since.
    Forged,
}

impl fmt::Display for InvalidReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "not a receipt: {what}"),
            Self::UnknownKey { id } => write!(f, "signed with a key that is not in the key set: `{id}`"),
            Self::Forged => f.write_str("the signature does not fit: the receipt was changed, or somebody else made it"),
        }
    }
}

impl std::error::Error for InvalidReceipt {}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

impl ReceiptKeys {
    /// Reads a JWK set (RFC 7517). Keys of other kinds are passed over.
    ///
    /// # Errors
    /// It is none, or holds no Ed25519 key.
    pub fn parse(text: &str) -> Result<Self, InvalidKeys> {
        let set: KeySet = serde_json::from_str(text).map_err(|error| InvalidKeys(error.to_string()))?;
        let keys: Vec<PublicKey> = set.keys.iter().filter_map(public_key).collect();
        if keys.is_empty() { Err(InvalidKeys("it holds no Ed25519 key with a `kid`".to_owned())) } else { Ok(Self(keys)) }
    }

    /// Checks a receipt and returns what it states. White space around it is ignored; any other change makes it invalid.
    ///
    /// # Errors
    /// The receipt proves nothing, and why.
    pub fn verify(&self, receipt: &str) -> Result<Value, InvalidReceipt> {
        let receipt = receipt.trim_ascii();
        if receipt.len() > CHARS_MAX {
            return Err(InvalidReceipt::Malformed("it is too long"));
        }
        let (signed, signature) = receipt.rsplit_once('.').ok_or(InvalidReceipt::Malformed("it has not three parts"))?;
        let (header, claims) = signed
            .split_once('.')
            .filter(|(_, claims)| !claims.contains('.'))
            .ok_or(InvalidReceipt::Malformed("it has not three parts"))?;
        let header: Header =
            serde_json::from_slice(&decoded(header)?).map_err(|_| InvalidReceipt::Malformed("its header cannot be read"))?;
        if header.alg != ALGORITHM || header.typ != TYPE {
            return Err(InvalidReceipt::Malformed("its header is not that of a receipt"));
        }
        let signature = decoded(signature)?;
        let Some(key) = self.0.iter().find(|key| key.id == header.kid) else {
            return Err(InvalidReceipt::UnknownKey { id: header.kid.chars().filter(char::is_ascii_graphic).take(64).collect() });
        };
        UnparsedPublicKey::new(&ED25519, key.bytes).verify(signed.as_bytes(), &signature).map_err(|_| InvalidReceipt::Forged)?;
        // What is signed was written by the gateway, so this cannot fail for a receipt of its own.
        serde_json::from_slice(&decoded(claims)?).map_err(|_| InvalidReceipt::Malformed("what it states cannot be read"))
    }
}

fn public_key(key: &Map<String, Value>) -> Option<PublicKey> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    if text("kty") != Some("OKP") || text("crv") != Some("Ed25519") {
        return None;
    }
    let bytes = BASE64.decode(text("x")?).ok()?.try_into().ok()?;
    Some(PublicKey { id: text("kid")?.to_owned(), bytes })
}

/// Strict: one text for one value, so that no change goes unseen.
fn decoded(part: &str) -> Result<Vec<u8>, InvalidReceipt> {
    BASE64.decode(part).map_err(|_| InvalidReceipt::Malformed("it is not base64url"))
}
