//! Prices: what can be priced, versions that never change, and the charge computed from one.
//!
//! The pieces, in the order in which a price passes through them: a [`PriceInput`] (what an operator writes) or a
//! catalog entry becomes [`Terms`]; [`seal`] closes them, [`publish`] compares hashes and says which rows to write; [`PriceBook`]
//! holds the rows in memory and hands out the [`PriceVersion`] that a request pins; [`charge`] and [`worst_rates`] are
//! pure functions of a version.
#![deny(clippy::float_arithmetic, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod book;
mod calendar;
mod charge;
mod diff;
mod horizon;
mod input;
mod list;
mod markup;
mod plan;
mod publish;
mod seal;
mod sku;
mod terms;
mod version;

#[cfg(test)]
mod tests;

use std::fmt;

pub use book::{PriceBook, PriceKey, ServedAt};
pub use calendar::{Calendar, Calendars, Window};
pub use charge::{Charge, ChargeFlags, Line, TierReach, UsageBound, WorstRates, charge, charge_total, worst_rates};
pub use diff::{Change, Diff, DiffSummary, FigureChange};
pub use horizon::Horizon;
pub use input::{PriceInput, PriceOverrideInput};
pub use list::{ListKind, ListSource, ListedPrice, PriceList, Rounding};
pub use markup::{InvalidRate, Markup, ReferenceRate};
pub use plan::{DEFAULT_PLAN, PlanBook, PlanRow, PlanVersionId, is_plan_name};
pub use publish::{Coverage, Draft, NewVersion, Origin, Publication, PublishError, Step, publish};
pub(crate) use publish::{by_hand, compare};
pub use seal::{Sealed, seal};
pub use sku::{Side, Sku, UnknownSku};
pub use terms::{Override, Rates, Source, Terms, TierBasis, TimeBasis, When};
pub use version::{PriceRow, PriceVersion, PriceVersionId};

use crate::money::{Currency, DecimalError};

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
    /// A selling price in another currency than the wallets'.
    SellCurrency(Currency),
    /// Not the name of a book.
    Book(String),
    /// A model or route that no call can be looked up by.
    Place,
    /// It should hold from a moment that has passed; the time it is now.
    InThePast(i64),
    /// A later version is published already; the earliest moment that is free.
    Scheduled(i64),
    /// The configuration states the price of this place.
    StatedByConfiguration,
    /// Two versions of one place would hold at once.
    Overlap,
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
            Self::SellCurrency(currency) => {
                write!(f, "a selling price must be in USD, which is what wallets hold; this one is in {currency}")
            }
            Self::Book(name) => write!(f, "`{name}` is not a book; books are `sell:default`, `sell:<plan>` and `cost:<provider>`"),
            Self::Place => f.write_str(
                "it is looked up by nothing: state a model, a route `<provider>/<upstream model>`, or both; `*` is any model on a route",
            ),
            Self::InThePast(now) => write!(f, "it cannot hold from a moment that has passed; it is {} now", instant(*now)),
            Self::Scheduled(earliest) => {
                write!(f, "a version of it is scheduled and never changes; a further one can begin at {} or later", instant(*earliest))
            }
            Self::StatedByConfiguration => f.write_str("the configuration states it; change it there, or take it out there and restart"),
            Self::Overlap => f.write_str("it would hold at the same time as another version; nothing was published"),
            Self::Figure(key, error) => write!(f, "`{key}`: {error}"),
            Self::Malformed(what) => write!(f, "not a price: {what}"),
            Self::HashMismatch(id) => write!(f, "price version {} is not the one that was published: its hash differs", id.0),
        }
    }
}

impl std::error::Error for PriceError {}

/// A moment as people read it.
fn instant(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map(|at| at.to_string()).unwrap_or_default()
}
