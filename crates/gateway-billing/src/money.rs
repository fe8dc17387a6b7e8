//! Money as integers: [`Nano`] for every amount, [`Pico`] for every price, and the one rounding rule.
//!
//! Nothing here is a float, and nothing wraps: arithmetic is checked and says so in its result. A charge is rounded
//! once per request and side, upwards, by [`charge_sum`] or [`split_charge`]; no other code in the crate divides money.
#![deny(clippy::float_arithmetic, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod decimal;
mod exchange;
mod factor;
#[cfg(test)]
mod tests;

use std::{fmt, num::NonZeroU64, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};

pub use decimal::{DecimalError, Scaled, parse_scaled};
pub use exchange::Exchange;
pub use factor::Ppm;

/// Why an amount could not be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MoneyError {
    /// The result does not fit the ledger's range of about ±9.22 billion currency units.
    TooLarge,
}

impl fmt::Display for MoneyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the amount is beyond the ledger's range of 9.22 billion currency units")
    }
}

impl std::error::Error for MoneyError {}

/// An amount in billionths of a currency unit. Shown with all nine decimals: `0.017312000`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Nano(i64);

impl Nano {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One currency unit.
    pub const ONE: Self = Self(1_000_000_000);
    /// The largest amount that can be written.
    pub const MAX: Self = Self(i64::MAX);

    /// Takes billionths.
    #[must_use]
    pub const fn new(billionths: i64) -> Self {
        Self(billionths)
    }

    /// The billionths, as the database stores them.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum, unless it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, unless it does not fit.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// The amount with its sign turned, unless it does not fit.
    #[must_use]
    pub const fn checked_neg(self) -> Option<Self> {
        match self.0.checked_neg() {
            Some(turned) => Some(Self(turned)),
            None => None,
        }
    }

    /// The sum of many, unless it does not fit.
    #[must_use]
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether it is exactly zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal::write_scaled(f, self.0, 9)
    }
}

impl fmt::Debug for Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nano({self})")
    }
}

impl FromStr for Nano {
    type Err = DecimalError;

    /// Reads a decimal in currency units. More than nine decimals are refused rather than rounded: this is how people
    /// and programs state amounts of money, and nobody means a part of a billionth.
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        parse_scaled(text, 9)?.exactly().map(Self)
    }
}

/// A price in millionths of a millionth of a currency unit for one token, call, image or second: 0 to 1,000 units.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Pico(i64);

impl Pico {
    /// Free, by decision and not by omission.
    pub const ZERO: Self = Self(0);
    /// The highest price: a thousand currency units for one token.
    pub const MAX: Self = Self(1_000_000_000_000_000);

    /// Takes a price; `None` below zero or above [`Pico::MAX`].
    #[must_use]
    pub const fn new(pico: i64) -> Option<Self> {
        if pico >= 0 && pico <= Self::MAX.0 { Some(Self(pico)) } else { None }
    }

    /// The number, as a price version stores it.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Reads a price per million units, as price lists state it. The flag of the result says whether the figure was a
    /// whole number of pico-units; if not it has been rounded half to even, and the import must report it.
    ///
    /// # Errors
    /// The text is not a plain decimal, or the price is negative or above [`Pico::MAX`].
    pub fn per_million(text: &str) -> Result<(Self, Exactness), DecimalError> {
        Self::scaled(text, 6)
    }

    /// Reads a price per thousand units, as price lists state it for calls.
    ///
    /// # Errors
    /// As for [`Pico::per_million`].
    pub fn per_thousand(text: &str) -> Result<(Self, Exactness), DecimalError> {
        Self::scaled(text, 9)
    }

    /// Reads a price per single unit.
    ///
    /// # Errors
    /// As for [`Pico::per_million`].
    pub fn per_unit(text: &str) -> Result<(Self, Exactness), DecimalError> {
        Self::scaled(text, 12)
    }

    /// This price times `factor`, rounded half to even to a whole pico-unit, so that an effective rate is always an
    /// integer that can be shown; `None` above [`Pico::MAX`].
    #[must_use]
    pub fn times(self, factor: Ppm) -> Option<Self> {
        rescaled(self.0, factor, PER_UNIT).and_then(|(price, _)| Self::new(price))
    }

    /// The price of a million units as a decimal without needless zeros; [`Pico::per_million`] reads it back.
    #[must_use]
    pub fn of_million(self) -> impl fmt::Display {
        fmt::from_fn(move |f| decimal::write_trimmed(f, self.0, 6))
    }

    /// The price of a thousand units, in the same way.
    #[must_use]
    pub fn of_thousand(self) -> impl fmt::Display {
        fmt::from_fn(move |f| decimal::write_trimmed(f, self.0, 9))
    }

    /// The price of one unit, in the same way.
    #[must_use]
    pub fn of_one(self) -> impl fmt::Display {
        fmt::from_fn(move |f| decimal::write_trimmed(f, self.0, 12))
    }

    fn scaled(text: &str, digits: u32) -> Result<(Self, Exactness), DecimalError> {
        let scaled = parse_scaled(text, digits)?;
        let price = Self::new(scaled.value).ok_or(DecimalError::OutOfRange)?;
        Ok((price, if scaled.exact { Exactness::Exact } else { Exactness::Rounded }))
    }
}

impl fmt::Debug for Pico {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pico({})", self.0)
    }
}

impl Serialize for Pico {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for Pico {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pico = i64::deserialize(deserializer)?;
        Self::new(pico).ok_or_else(|| de::Error::custom("a price must lie between 0 and 1,000,000,000,000,000 pico-units"))
    }
}

/// Whether a figure was taken as it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exactness {
    /// As it stood.
    Exact,
    /// Rounded half to even.
    Rounded,
}

/// Millionths in one.
pub(crate) const PER_UNIT: NonZeroU64 = match NonZeroU64::new(1_000_000) {
    Some(million) => million,
    None => NonZeroU64::MIN,
};

/// `value × factor / divisor`, both in millionths, rounded half to even; and whether that was a whole number. `None` if it
/// does not fit.
pub(crate) fn rescaled(value: i64, factor: Ppm, divisor: NonZeroU64) -> Option<(i64, Exactness)> {
    let (product, unit) = (i128::from(value) * i128::from(factor.get()), i128::from(divisor.get()));
    let exactness = if product % unit == 0 { Exactness::Exact } else { Exactness::Rounded };
    Some((i64::try_from(decimal::divide_half_even(product, unit)).ok()?, exactness))
}

/// Pico-units × millionths in one nano-unit.
const PER_NANO: i128 = 1_000_000_000;

/// The one rounding rule: `ceil(sum × multiplier / 10⁹)`, where `sum` is Σ quantity × price in pico-units.
///
/// Upwards, so that use is never free; monotone, so that a charge for less never exceeds a charge for more.
///
/// # Errors
/// The amount is beyond the ledger's range.
pub fn charge_sum(sum: i128, multiplier: Ppm) -> Result<Nano, MoneyError> {
    nano_of_scaled(sum.checked_mul(i128::from(multiplier.get())).ok_or(MoneyError::TooLarge)?)
}

/// The amount of Σ quantity × price × multiplier, in pico × ppm, rounded up once.
///
/// # Errors
/// The amount is beyond the ledger's range.
pub(crate) fn nano_of_scaled(scaled: i128) -> Result<Nano, MoneyError> {
    let up = i128::from(scaled.rem_euclid(PER_NANO) != 0);
    i64::try_from(scaled.div_euclid(PER_NANO) + up).map(Nano).map_err(|_| MoneyError::TooLarge)
}

/// As [`charge_sum`], and how much of the total each line carries: largest remainder first, then the earlier line, so
/// that the lines always add up to the total. `lines` holds quantity × price of each, none below zero.
///
/// # Errors
/// The amount is beyond the ledger's range.
pub fn split_charge(lines: &[i128], multiplier: Ppm) -> Result<(Nano, Vec<Nano>), MoneyError> {
    let sum = lines.iter().try_fold(0i128, |sum, line| sum.checked_add(*line)).ok_or(MoneyError::TooLarge)?;
    let total = charge_sum(sum, multiplier)?;
    let mut shares = Vec::with_capacity(lines.len());
    let mut remainders = Vec::with_capacity(lines.len());
    let mut missing = total.0;
    for (position, line) in lines.iter().enumerate() {
        let scaled = line.checked_mul(i128::from(multiplier.get())).ok_or(MoneyError::TooLarge)?;
        let share = i64::try_from(scaled.div_euclid(PER_NANO)).map_err(|_| MoneyError::TooLarge)?;
        missing -= share;
        shares.push(Nano(share));
        remainders.push((std::cmp::Reverse(scaled.rem_euclid(PER_NANO)), position));
    }
    remainders.sort_unstable();
    // The remainders are each below one nano-unit and what is missing is their sum, rounded up, so no line gets two.
    for (_, position) in remainders {
        if missing == 0 {
            break;
        }
        shares[position].0 += 1;
        missing -= 1;
    }
    Ok((total, shares))
}

/// An ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// US dollars: live money.
    pub const USD: Self = Self(*b"USD");
    /// The code ISO 4217 reserves for testing: what test keys spend.
    pub const XTS: Self = Self(*b"XTS");

    /// Takes three capital letters.
    #[must_use]
    pub fn new(code: &str) -> Option<Self> {
        let code: [u8; 3] = code.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Self(code))
    }

    /// What a caller in this mode spends.
    #[must_use]
    pub const fn of(mode: gateway_core::Mode) -> Self {
        match mode {
            gateway_core::Mode::Live => Self::USD,
            gateway_core::Mode::Test => Self::XTS,
        }
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::new(&code).ok_or_else(|| de::Error::custom("a currency is three capital letters, such as `USD`"))
    }
}

/// An amount and what it is of, in the shape the API shows: `{"usd":"4.982688000","nano":"4982688000"}`. Both are
/// strings, because JavaScript loses integers above 2⁵³.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    /// How much.
    pub amount: Nano,
    /// Of what.
    pub currency: Currency,
}

impl Money {
    /// `amount` of `currency`.
    #[must_use]
    pub const fn new(amount: Nano, currency: Currency) -> Self {
        Self { amount, currency }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        let code = self.currency.0.map(|letter| letter.to_ascii_lowercase());
        map.serialize_entry(std::str::from_utf8(&code).unwrap_or("xxx"), &format_args!("{}", self.amount))?;
        map.serialize_entry("nano", &format_args!("{}", self.amount.0))?;
        map.end()
    }
}
