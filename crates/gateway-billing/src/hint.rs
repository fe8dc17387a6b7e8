//! Hints: where an account could pay less, each computed from settled requests by the code that charged them.
//!
//! A hint prices the usage of stored requests again: the same tokens at another price, or other tokens at the same price.
//! Where that needs something the books do not hold, such as how many tokens of a prompt were repeated, the hint says what it
//! assumes. All rules are fed by one scan in the order of arrival, keep bounded memory, and say where a bound was met.

mod answer;
mod ask;
mod desk;
mod failed;
mod finding;
mod memory;
mod offers;
mod rule;
mod rules;
mod seen;

pub(crate) use self::desk::HintDesk;
pub use self::{
    answer::Hints,
    ask::HintAsk,
    offers::{Offer, Place},
};
