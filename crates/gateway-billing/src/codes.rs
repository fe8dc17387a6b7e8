//! How a redemption code is written, and how often somebody may try one.
//!
//! A code is 128 random bits as 26 characters without the ones people mix up, and one character that checks the rest: a
//! slip of the hand is told apart from a code that does not exist, and no slip of one character, nor the swap of any two, makes
//! another code. The database keeps only its HMAC-SHA-256 under the server's secret.

mod attempts;

use gateway_core::Secret;
use ring::rand::SecureRandom;

pub(crate) use self::attempts::{Attempts, TooMany};
use crate::error::LedgerError;

/// Digits and capitals without I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DATA_CHARS: usize = 26;
const GROUP: usize = 4;

/// Longest text that is looked at.
const TEXT_CHARS_MAX: usize = 100;

/// A code that is well formed. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Code([u8; DATA_CHARS]);

impl Code {
    /// A fresh one.
    pub(crate) fn make(random: &dyn SecureRandom) -> Result<Self, LedgerError> {
        let mut bytes = [0; 16];
        random.fill(&mut bytes).map_err(|_| LedgerError::Down { problem: "the system's random generator failed".into() })?;
        let bits = u128::from_be_bytes(bytes);
        let mut digits = [0; DATA_CHARS];
        for (n, digit) in digits.iter_mut().rev().enumerate() {
            *digit = (bits >> (5 * n)).to_be_bytes()[15] & 0x1f;
        }
        Ok(Self(digits))
    }

    /// Reads what somebody typed: case, spaces and hyphens make no difference, nor does I for 1 or O for 0. `None`: it is not a
    /// code, or it is mistyped.
    pub(crate) fn read(text: &str) -> Option<Self> {
        if text.len() > TEXT_CHARS_MAX {
            return None;
        }
        let mut digits = Vec::with_capacity(DATA_CHARS + 1);
        for c in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
            let c = match c.to_ascii_uppercase() {
                'I' | 'L' => '1',
                'O' => '0',
                other => other,
            };
            digits.push(u8::try_from(ALPHABET.iter().position(|known| char::from(*known) == c)?).ok()?);
        }
        let (check, data) = digits.split_last()?;
        let data: [u8; DATA_CHARS] = data.try_into().ok()?;
        // 26 characters have room for 130 bits; of the first one only three are used.
        (data[0] < 8 && check_digit(&data) == *check).then_some(Self(data))
    }

    /// As it is shown once: `XXXX-XXXX-XXXX-XXXX-XXXX-XXXX-XXX`.
    pub(crate) fn text(&self) -> Secret {
        let mut text = String::with_capacity(40);
        for (n, digit) in self.0.iter().chain([&check_digit(&self.0)]).enumerate() {
            if n > 0 && n % GROUP == 0 {
                text.push('-');
            }
            text.push(char::from(ALPHABET[usize::from(*digit)]));
        }
        Secret::new(text)
    }

    /// What is hashed. API keys are hashed under the same secret and begin otherwise, so neither passes for the other.
    pub(crate) fn preimage(&self) -> String {
        let digits = self.0.iter().map(|digit| char::from(ALPHABET[usize::from(*digit)]));
        "bellwether code 1:".chars().chain(digits).collect()
    }
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(redacted)")
    }
}

/// Σ digitᵢ · αⁱ in the field of 32 elements, where α has order 31: each place weighs differently, and with 27 places no
/// two of them weigh the same.
fn check_digit(data: &[u8; DATA_CHARS]) -> u8 {
    data.iter().fold(0, |sum, digit| times_alpha(sum ^ digit))
}

/// Multiplies by α, a root of x⁵ + x² + 1.
fn times_alpha(element: u8) -> u8 {
    let shifted = element << 1;
    if shifted & 0x20 == 0 { shifted } else { (shifted ^ 0x25) & 0x1f }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    fn code() -> (Code, String) {
        let code = Code::make(&SystemRandom::new()).unwrap();
        let text = code.text().expose().to_owned();
        (code, text)
    }

    #[test]
    fn what_is_shown_is_read_back_however_it_is_typed() {
        for _ in 0..200 {
            let (code, text) = code();
            assert_eq!(text.len(), 33, "{text}");
            let loose = text.replace('-', " ").to_lowercase().replace('1', "l").replace('0', "o");
            for typed in [text.clone(), text.replace('-', ""), format!("  {loose}\n")] {
                assert_eq!(Code::read(&typed), Some(code.clone()), "{typed}");
            }
        }
    }

    #[test]
    fn no_wrong_character_and_no_swap_goes_unseen() {
        let (_, text) = code();
        let text: Vec<char> = text.replace('-', "").chars().collect();
        let read = |chars: &[char]| Code::read(&chars.iter().collect::<String>());
        for at in 0..text.len() {
            for other in ALPHABET.iter().map(|c| char::from(*c)).filter(|c| *c != text[at]) {
                let mut wrong = text.clone();
                wrong[at] = other;
                assert_eq!(read(&wrong), None, "{at} {other}");
            }
            for with in (at + 1..text.len()).filter(|with| text[*with] != text[at]) {
                let mut swapped = text.clone();
                swapped.swap(at, with);
                assert_eq!(read(&swapped), None, "{at} {with}");
            }
        }
    }

    #[test]
    fn what_is_no_code_is_none() {
        let (_, text) = code();
        for wrong in ["", "-", "0", &text[1..], &format!("{text}0"), "U".repeat(27).as_str(), "ключ", &"0".repeat(10_000)] {
            assert_eq!(Code::read(wrong), None, "{wrong}");
        }
        // All zeros check, and are as good a code as any other.
        assert!(Code::read(&"0".repeat(27)).is_some());
    }

    #[test]
    fn a_code_is_not_shown_by_accident() {
        let (code, text) = code();
        let shown = format!("{code:?}");
        assert!(!shown.contains(&text[..4]), "{shown}");
    }
}
