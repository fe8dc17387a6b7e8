//! Prices: what can be priced, versions that never change, and the charge computed from one.
//!
//! The pieces, in the order in which a price passes through them: a [`PriceInput`] (what an operator writes) or a
//! catalog entry becomes [`Terms`]; [`publish`] closes them, compares hashes and says which rows to write; [`PriceBook`]
//! holds the rows in memory and hands out the [`PriceVersion`] that a request pins; [`charge`] and [`worst_rates`] are
//! pure functions of a version.
#![deny(clippy::float_arithmetic, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod book;
mod calendar;
mod charge;
mod horizon;
mod input;
mod plan;
mod publish;
mod sku;
mod terms;
mod version;

#[cfg(test)]
mod tests;

use std::fmt;

pub use book::{PriceBook, PriceKey, ServedAt};
pub use calendar::{Calendar, Calendars, Window};
pub use charge::{Charge, ChargeFlags, Line, TierReach, UsageBound, WorstRates, charge, charge_total, worst_rates};
pub use horizon::Horizon;
pub use input::{PriceInput, PriceOverrideInput};
pub use plan::{DEFAULT_PLAN, PlanBook, PlanRow, PlanVersionId, is_plan_name};
pub use publish::{Coverage, Draft, NewVersion, Publication, PublishError, publish};
pub use sku::{Side, Sku, UnknownSku};
pub use terms::{Override, Rates, Source, Terms, TierBasis, TimeBasis, When};
pub use version::{PriceRow, PriceVersion, PriceVersionId};

use crate::money::DecimalError;

/// The book that callers are charged from.
pub const SELL_BOOK: &str = "sell:default";

/// Stands for any public model in the `model` of a row.
pub const ANY_MODEL: &str = "*";

/// Why a price cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PriceError {
    /// A rate that every chat model needs is not there.
    Missing(Sku),
    /// Two priced parents could stand in for a SKU.
    TwoParents(Sku, Sku, Sku),
    /// Two rates fit the same leaf equally well.
    Tie(Sku, Sku),
    /// A window that cannot be read, or whose calendar is not known.
    Window(String),
    /// A holiday calendar that contradicts itself.
    Calendar(String),
    /// An override without a condition, a rate or a factor.
    EmptyOverride,
    /// More overrides than a version may hold.
    TooManyOverrides,
    /// The minimum charge is below zero.
    NegativeMinimum,
    /// Factors together lift a rate above the highest price.
    TooDear,
    /// Two drafts for one place.
    Twice,
    /// A sell price judged at the end of the answer, which a hold cannot foresee.
    SellAtResponseEnd,
    /// A figure that is not a price; the first part names its key.
    Figure(String, DecimalError),
    /// Not the JSON of a price.
    Malformed(String),
    /// The stored body is not the one that was published.
    HashMismatch(PriceVersionId),
}

impl fmt::Display for PriceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(sku) => write!(f, "there is no rate for `{sku}`; state one, `0` if it is free"),
            Self::TwoParents(sku, a, b) => write!(f, "`{sku}` could cost what `{a}` costs or what `{b}` costs; state its rate"),
            Self::Tie(a, b) => write!(f, "`{a}` and `{b}` fit some uses equally well; state the rate of both together"),
            Self::Window(what) => write!(f, "a time window cannot be used: {what}"),
            Self::Calendar(what) => write!(f, "a holiday calendar cannot be used: {what}"),
            Self::EmptyOverride => f.write_str("an override needs a condition and a rate or factor"),
            Self::TooManyOverrides => f.write_str("a price can hold at most 64 overrides"),
            Self::NegativeMinimum => f.write_str("the minimum charge must not be below zero"),
            Self::TooDear => f.write_str("the factors together lift a rate above 1,000 currency units for one token"),
            Self::Twice => f.write_str("it is stated more than once"),
            Self::SellAtResponseEnd => f.write_str("a selling price must be judged at `request_start`, where the hold is made"),
            Self::Figure(key, error) => write!(f, "`{key}`: {error}"),
            Self::Malformed(what) => write!(f, "not a price: {what}"),
            Self::HashMismatch(id) => write!(f, "price version {} is not the one that was published: its hash differs", id.0),
        }
    }
}

impl std::error::Error for PriceError {}
