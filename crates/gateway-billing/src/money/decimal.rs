//! Decimal text to scaled integers and back, without a float in between.

use std::fmt;

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecimalError {
    /// Not of the form `12`, `12.5` or `-0.000000001`.
    NotADecimal,
    /// More decimals than can be kept, where rounding was not asked for.
    TooFine,
    /// Too large, or negative where that has no meaning.
    OutOfRange,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotADecimal => {
                "expected a plain decimal number such as `12`, `0.5` or `0.0028`, without exponent, sign `+` or separators"
            }
            Self::TooFine => "the number has more decimals than money can hold",
            Self::OutOfRange => "the number is outside the range allowed here",
        })
    }
}

impl std::error::Error for DecimalError {}

/// A decimal times a power of ten, as an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaled {
    /// The integer.
    pub value: i64,
    /// False if digits beyond the scale had to be rounded, half to even.
    pub exact: bool,
}

impl Scaled {
    /// The integer, if nothing was rounded.
    pub(crate) fn exactly(self) -> Result<i64, DecimalError> {
        if self.exact { Ok(self.value) } else { Err(DecimalError::TooFine) }
    }
}

/// Reads `text` × 10^`digits`. Digits beyond are rounded half to even.
///
/// # Errors
/// The text is not a plain decimal or the result does not fit.
pub fn parse_scaled(text: &str, digits: u32) -> Result<Scaled, DecimalError> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let dangling = unsigned.contains('.') && fraction.is_empty();
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || dangling || !plain(whole) || !plain(fraction) {
        return Err(DecimalError::NotADecimal);
    }
    let places = usize::try_from(digits).map_err(|_| DecimalError::OutOfRange)?;
    let (kept, beyond) = fraction.split_at(fraction.len().min(places));
    let mut value = 0i64;
    let padding = std::iter::repeat_n(b'0', places - kept.len());
    for digit in whole.bytes().chain(kept.bytes()).chain(padding) {
        let digit = i64::from(digit - b'0');
        value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or(DecimalError::OutOfRange)?;
    }
    let exact = beyond.bytes().all(|b| b == b'0');
    if rounds_up(beyond, value) {
        value = value.checked_add(1).ok_or(DecimalError::OutOfRange)?;
    }
    Ok(Scaled { value: if negative { -value } else { value }, exact })
}

/// Whether the digits beyond the last one kept push it up, half to even.
fn rounds_up(beyond: &str, kept: i64) -> bool {
    let Some(first) = beyond.bytes().next() else { return false };
    let exactly_half = first == b'5' && beyond[1..].bytes().all(|b| b == b'0');
    if exactly_half { kept % 2 == 1 } else { first >= b'5' }
}

/// `n / d` for `n ≥ 0`, `d > 0`, rounded half to even.
pub(super) fn divide_half_even(n: i128, d: i128) -> i128 {
    let (whole, rest) = (n / d, n % d);
    let up = match (rest * 2).cmp(&d) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => whole % 2,
        std::cmp::Ordering::Greater => 1,
    };
    whole + up
}

/// Writes `value` / 10^`digits` with exactly that many decimals.
pub(super) fn write_scaled(f: &mut fmt::Formatter<'_>, value: i64, digits: u32) -> fmt::Result {
    let unit = 10u64.pow(digits);
    let size = value.unsigned_abs();
    let sign = if value < 0 { "-" } else { "" };
    let width = usize::try_from(digits).map_err(|_| fmt::Error)?;
    write!(f, "{sign}{}.{:0width$}", size / unit, size % unit)
}

/// The same without trailing zeros, and without a point where nothing is left behind it.
pub(super) fn write_trimmed(f: &mut fmt::Formatter<'_>, value: i64, digits: u32) -> fmt::Result {
    let (mut value, mut digits) = (value, digits);
    while digits > 0 && value % 10 == 0 {
        (value, digits) = (value / 10, digits - 1);
    }
    if digits == 0 { write!(f, "{value}") } else { write_scaled(f, value, digits) }
}
