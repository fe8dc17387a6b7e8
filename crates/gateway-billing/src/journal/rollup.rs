//! What a batch adds to the sums that reports are read from.

use std::collections::BTreeMap;

use gateway_core::KeyId;

use super::{
    row::{Draft, Held},
    statements::Statements,
};
use crate::{
    book::Taken,
    budget::QUARTER_US,
    error::LedgerError,
    money::{Currency, MoneyError},
};

/// Whose spending, and where it was served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) wallet: i64,
    pub(super) served: i64,
    pub(super) key: KeyId,
    pub(super) cost_currency: Currency,
}

/// The same by end user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TagPlace<'b> {
    pub(super) wallet: i64,
    pub(super) tag: &'b str,
    pub(super) served: i64,
}

/// Sums of settlements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    pub(super) requests: i64,
    pub(super) tokens_in: i64,
    pub(super) tokens_out: i64,
    pub(super) cache_read: i64,
    pub(super) cache_write: i64,
    pub(super) reasoning: i64,
    pub(super) charge: i64,
    pub(super) written_off: i64,
    pub(super) cost: i64,
}

/// All of a batch.
#[derive(Default)]
pub(super) struct Rollups<'b> {
    places: BTreeMap<Place, Sum>,
    tags: BTreeMap<TagPlace<'b>, Sum>,
}

impl<'b> Rollups<'b> {
    pub(super) fn add(&mut self, held: &'b Held, draft: &Draft, taken: Taken, served: i64) -> Result<(), LedgerError> {
        let tokens = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        let one = Sum {
            requests: 1,
            tokens_in: tokens(draft.tokens_in),
            tokens_out: tokens(draft.tokens_out),
            cache_read: tokens(draft.kinds.cache_read),
            cache_write: tokens(draft.kinds.cache_write),
            reasoning: tokens(draft.kinds.reasoning),
            charge: draft.charge.get(),
            written_off: taken.written_off.get(),
            cost: draft.cost.get(),
        };
        let wallet = held.wallet.id();
        let place = Place { wallet, served, key: held.key, cost_currency: draft.cost_currency };
        self.places.entry(place).or_default().add(&one)?;
        if let Some(tag) = &held.tag {
            self.tags.entry(TagPlace { wallet, tag, served }).or_default().add(&one)?;
        }
        Ok(())
    }

    pub(super) fn write(&self, statements: &mut Statements<'_>, now_us: i64) -> Result<(), LedgerError> {
        let quarter = now_us.div_euclid(QUARTER_US);
        for (place, sum) in &self.places {
            statements.rollup(quarter, place, sum)?;
        }
        for (place, sum) in &self.tags {
            statements.rollup_tag(quarter, place, sum)?;
        }
        Ok(())
    }
}

impl Sum {
    fn add(&mut self, other: &Self) -> Result<(), MoneyError> {
        let fields = [
            (&mut self.requests, other.requests),
            (&mut self.tokens_in, other.tokens_in),
            (&mut self.tokens_out, other.tokens_out),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, other.cache_write),
            (&mut self.reasoning, other.reasoning),
            (&mut self.charge, other.charge),
            (&mut self.written_off, other.written_off),
            (&mut self.cost, other.cost),
        ];
        for (sum, more) in fields {
            *sum = sum.checked_add(more).ok_or(MoneyError::TooLarge)?;
        }
        Ok(())
    }
}
