//! The envelope in which a vendor's sealed bytes travel through a caller who speaks another protocol.
//!
//! A seal must come back to the protocol that made it and reach nobody else. Where a protocol has one text field for its
//! own seals, a foreign one goes in as a *token*, `bw1.<protocol>.<base64url>`; where it has typed details with a
//! `format`, the format says [`tag`], `bw1/<protocol>`, and the bytes stand beside it as they are.
//!
//! ```
//! use gateway_core::ir::Seal;
//! use gateway_wire::{GEMINI, seal};
//!
//! let made = Seal { issuer: GEMINI, bytes: "CiQ=".into() };
//! let token = seal::token(&made);
//! assert_eq!(token, "bw1.gemini.Q2lRPQ");
//! assert_eq!(seal::open(&token), Some(made));
//! assert_eq!(seal::open("EqQBCkYIA"), None); // a vendor's own signature
//! ```

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gateway_core::{Protocol, ir::Seal};

use crate::{ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT};

/// The issuer of an envelope that names a protocol unknown here, or is damaged. It equals no codec's protocol, so such a
/// seal is returned to nobody and ends as a recorded loss.
pub const UNKNOWN_ISSUER: Protocol = Protocol::new("unknown-issuer");

/// Stands in the place of a signature beside reasoning that nobody signed: a caller who must return one then returns
/// nothing that another vendor could take for its own.
pub const UNSIGNED: &str = "bw1.unsigned.";

const TOKEN: &str = "bw1.";
const TAG: &str = "bw1/";

/// A seal as one text.
#[must_use]
pub fn token(seal: &Seal) -> String {
    let mut text = format!("{TOKEN}{}.", seal.issuer);
    URL_SAFE_NO_PAD.encode_string(seal.bytes.as_bytes(), &mut text);
    text
}

/// Reads a token; `None` when the text is no envelope, hence the protocol's own.
#[must_use]
pub fn open(text: &str) -> Option<Seal> {
    let rest = text.strip_prefix(TOKEN)?;
    let read = rest.split_once('.').and_then(|(name, data)| {
        let bytes = URL_SAFE_NO_PAD.decode(data).ok()?;
        Some(Seal { issuer: issuer(name), bytes: String::from_utf8(bytes).ok()?.into_boxed_str() })
    });
    Some(read.unwrap_or_else(|| Seal { issuer: UNKNOWN_ISSUER, bytes: text.into() }))
}

/// The `format` of a detail that holds a seal of `issuer`.
#[must_use]
pub fn tag(issuer: Protocol) -> String {
    format!("{TAG}{issuer}")
}

/// The issuer that a `format` names; `None` when it is not ours.
#[must_use]
pub fn tagged_issuer(format: &str) -> Option<Protocol> {
    format.strip_prefix(TAG).map(issuer)
}

/// Reads a field in which `protocol` keeps the signature of a thought; `None` when nobody signed it.
#[must_use]
pub fn signature(protocol: Protocol, text: &str) -> Option<Seal> {
    (text != UNSIGNED).then(|| read_by(protocol, text))
}

/// The seal as `protocol` may write it: its own bytes for its own seal, else a token.
#[must_use]
pub fn shown_by(protocol: Protocol, seal: &Seal) -> String {
    if seal.issuer == protocol { seal.bytes.to_string() } else { token(seal) }
}

/// Reads a field in which `protocol` keeps its seals: an envelope's issuer if it is one, else `protocol` itself.
#[must_use]
pub fn read_by(protocol: Protocol, text: &str) -> Seal {
    open(text).unwrap_or_else(|| Seal { issuer: protocol, bytes: text.into() })
}

fn issuer(name: &str) -> Protocol {
    [OPENAI_CHAT, ANTHROPIC_MESSAGES, GEMINI].into_iter().find(|known| known.as_str() == name).unwrap_or(UNKNOWN_ISSUER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seal_survives_its_envelope() {
        for issuer in [OPENAI_CHAT, ANTHROPIC_MESSAGES, GEMINI] {
            for bytes in ["", "a", "sig.with.dots/+==", "ünï"] {
                let seal = Seal { issuer, bytes: bytes.into() };
                assert_eq!(open(&token(&seal)), Some(seal.clone()));
                assert_eq!(read_by(OPENAI_CHAT, &shown_by(OPENAI_CHAT, &seal)), seal);
            }
            assert_eq!(tagged_issuer(&tag(issuer)), Some(issuer));
        }
    }

    #[test]
    fn damaged_or_unknown_envelopes_belong_to_nobody() {
        for text in ["bw1.", "bw1.gemini", "bw1.gemini.!!", "bw1.house-rpc.QQ", "bw1.gemini._w"] {
            assert_eq!(open(text).map(|seal| seal.issuer), Some(UNKNOWN_ISSUER), "{text}");
        }
        assert_eq!(tagged_issuer("bw1/house-rpc"), Some(UNKNOWN_ISSUER));
        assert_eq!(open(UNSIGNED).map(|seal| seal.issuer), Some(UNKNOWN_ISSUER), "where it is no signature");
        assert_eq!(tagged_issuer("anthropic-claude-v1"), None);
    }
}
