//! How a key is written: `hs_live_` or `hs_test_`, 30 random characters (178 bits), 6 that check the rest.

use gateway_core::{KeyRefusal, Mode, Secret};
use ring::rand::SecureRandom;

use crate::error::LedgerError;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_CHARS: usize = 30;
const CHECK_CHARS: usize = 6;

const fn prefix(mode: Mode) -> &'static str {
    match mode {
        Mode::Live => "hs_live_",
        Mode::Test => "hs_test_",
    }
}

/// Makes a new key.
pub(crate) fn make(mode: Mode, random: &dyn SecureRandom) -> Result<Secret, LedgerError> {
    let mut key = String::with_capacity(44);
    key.push_str(prefix(mode));
    let wanted = key.len() + RANDOM_CHARS;
    while key.len() < wanted {
        let mut bytes = [0; 32];
        random.fill(&mut bytes).map_err(|_| LedgerError::Down { problem: "the system's random generator failed".into() })?;
        // 248 is the largest multiple of 62 in a byte; what lies above would make some characters likelier.
        for byte in bytes.into_iter().filter(|byte| *byte < 248).take(wanted - key.len()) {
            key.push(char::from(ALPHABET[usize::from(byte % 62)]));
        }
    }
    let check = check_chars(key.as_bytes());
    key.extend(check.map(char::from));
    Ok(Secret::new(key))
}

/// Whether the text is shaped like one of our keys.
pub(super) fn check(text: &str) -> Result<(), KeyRefusal> {
    let ours = [Mode::Live, Mode::Test].into_iter().find_map(|mode| text.strip_prefix(prefix(mode)));
    let Some(rest) = ours else {
        let foreign = ["sk-", "sk_", "AIza", "gsk_", "xai-", "pk-", "Bearer "].iter().any(|other| text.starts_with(other));
        return Err(if foreign { KeyRefusal::Foreign } else { KeyRefusal::Malformed });
    };
    if rest.len() != RANDOM_CHARS + CHECK_CHARS || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(KeyRefusal::Mistyped);
    }
    let (body, given) = text.as_bytes().split_at(text.len() - CHECK_CHARS);
    if given == check_chars(body) { Ok(()) } else { Err(KeyRefusal::Mistyped) }
}

fn check_chars(body: &[u8]) -> [u8; CHECK_CHARS] {
    let mut rest = crc32fast::hash(body);
    let mut chars = [0; CHECK_CHARS];
    for place in chars.iter_mut().rev() {
        *place = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    chars
}
