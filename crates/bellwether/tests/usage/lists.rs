//! Price lists, and the charge for a usage by one.

use std::sync::Arc;

use gateway_billing::{
    money::{Nano, Ppm},
    price::{Calendars, Coverage, Draft, PriceInput, PriceVersion, PriceVersionId, SELL_BOOK, Source, charge_total, publish},
    usage::{Leaves, UsageFlags, leaves_at},
};
use gateway_core::Usage;
use serde_json::Value;

/// A list as somebody writes it.
pub(crate) fn version(price: &Value) -> Arc<PriceVersion> {
    let input: PriceInput = serde_json::from_value(price.clone()).unwrap();
    let source = Source { kind: "manual".into(), reference: "test".into() };
    let draft = Draft { book: SELL_BOOK.into(), model: "m".into(), route: "".into(), terms: input.terms().unwrap().0, source };
    let new = publish(&[draft], &[], Coverage::Whole, &Calendars::shipped(), 0).unwrap().new.remove(0);
    PriceVersion::read(&new.row(PriceVersionId(1), 0)).unwrap()
}

/// What is charged, or `None` where the amount is beyond the ledger's range.
pub(crate) fn charged(version: &PriceVersion, leaves: &Leaves) -> Option<Nano> {
    charge_total(version, Ppm::ONE, leaves, 0).ok().map(|(nano, _)| nano)
}

/// Leaves and flags as a settlement has them.
pub(crate) fn settled(version: &PriceVersion, usage: &Usage) -> (Leaves, UsageFlags) {
    let normalised = leaves_at(usage, version, 0);
    let odd = charge_total(version, Ppm::ONE, &normalised.leaves, 0).map_or(UsageFlags::NONE, |(_, odd)| UsageFlags::of_charge(odd));
    let flags = if normalised.inconsistent { odd.and(UsageFlags::INCONSISTENT) } else { odd };
    (normalised.leaves, flags)
}
