//! How a price is made from another one: times a factor, and into dollars if it is in another currency.

use std::{fmt, num::NonZeroU64, str::FromStr};

use super::{
    PriceError,
    input::name_of,
    terms::{Rates, Terms},
};
use crate::money::{Currency, Exactness, PER_UNIT, Pico, Ppm, parse_scaled, rescaled};

/// What a list price is turned into the operator's with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Markup {
    /// What every rate is multiplied by.
    pub factor: Ppm,
    /// Prices in this currency become prices in US dollars; those in others stay in theirs.
    pub rate: Option<ReferenceRate>,
}

/// What a US dollar costs, in the operator's judgement: `CNY=7.13`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReferenceRate {
    /// In this currency,
    pub currency: Currency,
    /// so many millionths of it.
    pub per_dollar_millionths: NonZeroU64,
}

/// The text is not a reference rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidRate;

impl fmt::Display for InvalidRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a currency and what a US dollar costs in it, with at most six decimals, such as `CNY=7.13`")
    }
}

impl std::error::Error for InvalidRate {}

impl FromStr for ReferenceRate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (currency, rate) = text.split_once('=').ok_or(InvalidRate)?;
        let currency = Currency::new(currency).filter(|currency| *currency != Currency::USD).ok_or(InvalidRate)?;
        let millionths = parse_scaled(rate, 6).ok().filter(|rate| rate.exact).ok_or(InvalidRate)?.value;
        let per_dollar_millionths = u64::try_from(millionths).ok().and_then(NonZeroU64::new).ok_or(InvalidRate)?;
        Ok(Self { currency, per_dollar_millionths })
    }
}

impl Markup {
    /// The terms with every rate changed, and the names of the rates that were rounded for it: each is rounded once, half to
    /// even. Factors of overrides stay; the minimum charge follows the currency and not the factor.
    ///
    /// # Errors
    /// A rate leaves the range of prices.
    pub fn of(self, mut terms: Terms) -> Result<(Terms, Vec<String>), PriceError> {
        let divisor = self.rate.filter(|rate| rate.currency == terms.currency).map(|rate| rate.per_dollar_millionths);
        if let Some(divisor) = divisor {
            terms.currency = Currency::USD;
            let least = rescaled(terms.min_charge_nano, Ppm::ONE, divisor);
            terms.min_charge_nano = least.ok_or(PriceError::TooDear)?.0;
        }
        let divisor = divisor.unwrap_or(PER_UNIT);
        let mut rounded = Vec::new();
        let mut change = |rates: &mut Rates, place: &str| -> Result<(), PriceError> {
            for (sku, rate) in rates.iter_mut() {
                let (changed, exactness) = rescaled(rate.get(), self.factor, divisor).ok_or(PriceError::TooDear)?;
                if exactness == Exactness::Rounded {
                    rounded.push(format!("{place}{}", name_of(sku)));
                }
                *rate = Pico::new(changed).ok_or(PriceError::TooDear)?;
            }
            Ok(())
        };
        change(&mut terms.rates, "")?;
        for (n, entry) in terms.overrides.iter_mut().enumerate() {
            change(&mut entry.rates, &format!("overrides[{n}]."))?;
        }
        Ok((terms, rounded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::PriceInput;

    fn made(price: &str, factor: &str, rate: Option<&str>) -> Result<(String, Vec<String>), PriceError> {
        let terms = serde_json::from_str::<PriceInput>(price).unwrap().terms().unwrap().0;
        let markup = Markup { factor: factor.parse().unwrap(), rate: rate.map(|rate| rate.parse().unwrap()) };
        let (terms, rounded) = markup.of(terms)?;
        Ok((serde_json::to_string(&PriceInput::of(&terms)).unwrap(), rounded))
    }

    #[test]
    fn a_price_in_another_currency_becomes_one_in_dollars_at_the_reference_rate() {
        let yuan =
            r#"{"currency":"CNY","min_charge":"0.0713","input":"7.13","output":"1","overrides":[{"service_tier":"batch","factor":"0.5"}]}"#;
        let (dollars, rounded) = made(yuan, "1.1", Some("CNY=7.13")).unwrap();
        assert_eq!(
            dollars,
            r#"{"overrides":[{"service_tier":"batch","factor":"0.5"}],"min_charge":"0.010000000","input":"1.1","output":"0.154278"}"#
        );
        assert_eq!(rounded, ["output"], "1.1 / 7.13 is 0.15427770…");
        let (still_yuan, _) = made(yuan, "1", Some("JPY=150")).unwrap();
        assert!(still_yuan.contains(r#""currency":"CNY""#), "{still_yuan}");
        let (dollars, rounded) = made(r#"{"input":"7.13","output":"1"}"#, "1", Some("CNY=7.13")).unwrap();
        assert_eq!((dollars.as_str(), rounded.len()), (r#"{"input":"7.13","output":"1"}"#, 0), "it was in dollars already");
    }

    #[test]
    fn a_rate_beyond_the_range_of_prices_is_refused() {
        assert_eq!(made(r#"{"input":"900000000","output":"1"}"#, "2", None), Err(PriceError::TooDear));
        for text in ["", "CNY", "CNY=", "CNY=0", "CNY=-7", "USD=1", "yuan=7", "CNY=7.1234567", "CNY=x"] {
            assert_eq!(text.parse::<ReferenceRate>(), Err(InvalidRate), "{text}");
        }
    }
}
