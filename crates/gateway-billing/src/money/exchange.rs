//! From a payment provider's money to credit: exact fractions, rounded once and in favour of the house.

use super::{MoneyError, Nano};

/// How much credit one minor unit (a cent, a fen) buys, as a fraction of billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    numerator: i64,
    denominator: i64,
}

impl Exchange {
    /// `numerator / denominator` billionths of credit for one minor unit; both above zero.
    #[must_use]
    pub const fn new(numerator: i64, denominator: i64) -> Option<Self> {
        if numerator > 0 && denominator > 0 { Some(Self { numerator, denominator }) } else { None }
    }

    /// The credit that so many minor units buy, rounded down.
    ///
    /// # Errors
    /// The credit is beyond the ledger's range.
    pub fn credit(self, minor: i64) -> Result<Nano, MoneyError> {
        // Two 64-bit numbers always fit into their product.
        let product = i128::from(minor) * i128::from(self.numerator);
        let whole = product.div_euclid(i128::from(self.denominator));
        i64::try_from(whole).map(Nano::new).map_err(|_| MoneyError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_rounded_down_and_never_wraps() {
        let third = Exchange::new(1, 3).unwrap();
        assert_eq!([0, 1, 2, 3, 4, -1].map(|minor| third.credit(minor).unwrap().get()), [0, 0, 0, 1, 1, -1]);
        assert_eq!(Exchange::new(i64::MAX, 1).unwrap().credit(2), Err(MoneyError::TooLarge));
        assert_eq!(Exchange::new(i64::MAX, i64::MAX).unwrap().credit(i64::MAX), Ok(Nano::MAX));
        assert!(Exchange::new(0, 1).is_none() && Exchange::new(1, 0).is_none() && Exchange::new(-1, 1).is_none());
    }
}
