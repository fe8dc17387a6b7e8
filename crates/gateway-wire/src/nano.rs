//! Decimal amounts as whole billionths, with no float in between.

/// Which way what is finer than a billionth goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    Down,
    Up,
}

/// More digits than any amount needs; a longer text is no amount.
const CHARS_MAX: usize = 64;

/// Reads an amount that is not negative, as JSON writes numbers: `12`, `0.05`, `1.4e-05`. `None` if the text is something
/// else or the amount is above what fits.
pub(crate) fn parse(text: &str, round: Round) -> Option<u64> {
    if text.len() > CHARS_MAX {
        return None;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, signed(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    if !is_digits(whole) || fraction.is_some_and(|fraction| !is_digits(fraction)) {
        return None;
    }
    let fraction = fraction.unwrap_or_default();
    // How many digits, counted from the first, stand for billionths or more.
    let kept = i64::try_from(whole.len()).ok()? + exponent + 9;
    let (mut value, mut finer, mut place) = (0u64, false, 0i64);
    for digit in whole.bytes().chain(fraction.bytes()) {
        if place < kept {
            value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        } else {
            finer |= digit != b'0';
        }
        place += 1;
    }
    for _ in place..kept {
        if value == 0 {
            break;
        }
        value = value.checked_mul(10)?;
    }
    if finer && round == Round::Up { value.checked_add(1) } else { Some(value) }
}

fn signed(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let size: i64 = is_digits(digits).then(|| digits.parse::<u16>().ok()).flatten()?.into();
    Some(if negative { -size } else { size })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{Round, parse};

    #[test]
    fn amounts_are_read_to_the_billionth() {
        for (text, down, up) in [
            ("0", 0, 0),
            ("12", 12_000_000_000, 12_000_000_000),
            ("0.05", 50_000_000, 50_000_000),
            ("0.000000001", 1, 1),
            ("0.0000000009", 0, 1),
            ("1.4e-05", 14_000, 14_000),
            ("1.4E-9", 1, 2),
            ("2.5e+1", 25_000_000_000, 25_000_000_000),
            ("1e-300", 0, 1),
            ("0e300", 0, 0),
            ("18.446744073709551615", 18_446_744_073, 18_446_744_074),
            ("18446744073.709551615", u64::MAX, u64::MAX),
        ] {
            assert_eq!((parse(text, Round::Down), parse(text, Round::Up)), (Some(down), Some(up)), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_none() {
        let long = "0".repeat(65);
        for text in [
            "",
            "-1",
            "-0",
            "+1",
            ".5",
            "1.",
            "1.2.3",
            "1e",
            "1e-",
            "1e99999",
            "0x1",
            "1_000",
            "1,5",
            " 1",
            "NaN",
            "1e20",
            "18446744074",
            &long,
        ] {
            assert_eq!(parse(text, Round::Down), None, "{text}");
        }
        assert_eq!(parse("18446744073.7095516151", Round::Up), None, "rounded beyond what fits");
    }
}
