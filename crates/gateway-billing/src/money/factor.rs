//! Factors in millionths: plans, markups, and overrides of prices.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::decimal::{DecimalError, parse_scaled, write_trimmed};

/// A factor in millionths: 1,000,000 is "unchanged". At most 100. Shown as a decimal without needless zeros: `1.05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ppm(pub(super) u32);

impl Ppm {
    /// Unchanged.
    pub const ONE: Self = Self(1_000_000);
    /// A hundredfold, the largest factor.
    pub const MAX: Self = Self(100_000_000);

    /// Takes millionths; `None` above [`Ppm::MAX`].
    #[must_use]
    pub const fn new(millionths: u32) -> Option<Self> {
        if millionths <= Self::MAX.0 { Some(Self(millionths)) } else { None }
    }

    /// The millionths.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for Ppm {
    type Err = DecimalError;

    /// Reads a decimal of at most six decimals: `1.05`, `0.5`.
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let millionths = parse_scaled(text, 6)?.exactly()?;
        u32::try_from(millionths).ok().and_then(Self::new).ok_or(DecimalError::OutOfRange)
    }
}

impl fmt::Display for Ppm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_trimmed(f, i64::from(self.0), 6)
    }
}

impl Serialize for Ppm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Ppm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millionths = u32::deserialize(deserializer)?;
        Self::new(millionths).ok_or_else(|| de::Error::custom("a factor must not exceed 100,000,000 millionths"))
    }
}

impl Default for Ppm {
    fn default() -> Self {
        Self::ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_reads_back_as_it_is_shown() {
        for (text, millionths, shown) in
            [("1.05", 1_050_000, "1.05"), ("1", 1_000_000, "1"), ("0.500", 500_000, "0.5"), ("100", 100_000_000, "100"), ("0", 0, "0")]
        {
            let factor: Ppm = text.parse().unwrap();
            assert_eq!((factor.get(), factor.to_string()), (millionths, shown.to_owned()), "{text}");
        }
        for (text, error) in [
            ("1.0000001", DecimalError::TooFine),
            ("100.000001", DecimalError::OutOfRange),
            ("-1", DecimalError::OutOfRange),
            ("5%", DecimalError::NotADecimal),
        ] {
            assert_eq!(text.parse::<Ppm>(), Err(error), "{text}");
        }
    }
}
