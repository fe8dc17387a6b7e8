//! Signed receipts: what a call cost, in a form that anybody can check with a public key, offline and years later.
//!
//! A receipt is a compact JWS (RFC 7515) signed with Ed25519 (RFC 8037). The key is derived from the server's secret, so
//! there is no further file to keep, and whoever restores a backup signs as before. Signing is deterministic: the same
//! facts give the same receipt, byte for byte.

mod check;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::{
    digest::{SHA256, digest},
    hkdf::{HKDF_SHA256, Salt},
    signature::{Ed25519KeyPair, KeyPair},
};
use serde::Serialize;
use serde_json::json;

pub use check::{InvalidKeys, InvalidReceipt, ReceiptKeys};

/// What the key is derived for; another purpose needs another one.
const PURPOSE: &[u8] = b"receipts ed25519 1";
/// The `typ` of a receipt, so that nothing else ever signed passes for one.
const TYPE: &str = "bellwether-receipt";
const ALGORITHM: &str = "EdDSA";

/// The key that receipts are signed with.
pub struct ReceiptKey {
    pair: Ed25519KeyPair,
    /// Its name: the thumbprint of RFC 7638, so that it follows from the key.
    id: Box<str>,
    public: Box<str>,
}

impl ReceiptKey {
    /// The key that belongs to a server's secret. `None` only if the cryptography library refuses to work.
    pub(crate) fn derive(secret: &[u8]) -> Option<Self> {
        let key = Salt::new(HKDF_SHA256, b"bellwether").extract(secret);
        let mut seed = [0; 32];
        key.expand(&[PURPOSE], HKDF_SHA256).and_then(|material| material.fill(&mut seed)).ok()?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        let public: Box<str> = BASE64.encode(pair.public_key().as_ref()).into();
        let thumb = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#);
        let id = BASE64.encode(digest(&SHA256, thumb.as_bytes())).into();
        Some(Self { pair, id, public })
    }

    /// The key's name, `kid` in receipts and key sets.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public half as a JWK set (RFC 7517).
    #[must_use]
    pub fn public_keys(&self) -> String {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": self.public, "kid": self.id, "use": "sig", "alg": ALGORITHM });
        json!({ "keys": [key] }).to_string()
    }

    /// Signs what can be written as a JSON object.
    ///
    /// # Errors
    /// It cannot.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, serde_json::Error> {
        let header = json!({ "alg": ALGORITHM, "kid": self.id, "typ": TYPE }).to_string();
        let claims = serde_json::to_vec(claims)?;
        let mut text = String::with_capacity(claims.len() * 4 / 3 + 256);
        BASE64.encode_string(header, &mut text);
        text.push('.');
        BASE64.encode_string(claims, &mut text);
        let signature = self.pair.sign(text.as_bytes());
        text.push('.');
        BASE64.encode_string(signature, &mut text);
        Ok(text)
    }
}

impl fmt::Debug for ReceiptKey {
    /// The name only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceiptKey({})", self.id)
    }
}
