//! What a rule found, and how it is weighed.

use std::{collections::BTreeMap, sync::Arc};

use gateway_core::{KeyId, RequestId};
use serde_json::{Map, Value};

use crate::money::{MoneyError, Nano};

/// A smaller saving over a period is no hint.
const SAVING_MIN: Nano = Nano::new(10_000_000);
/// Nor is one of a smaller part of what it is taken from.
const PARTS: i64 = 100;
/// Fewer requests say little of the next ones.
const MANY: u64 = 100;

/// What a saving would be taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// What the account is charged.
    Charged,
    /// What the provider bills the operator.
    Cost,
    /// What is held while requests run, and given back when they end.
    Held,
    /// No money, but how long callers wait.
    Time,
}

impl Effect {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Charged => "charged",
            Self::Cost => "cost",
            Self::Held => "held",
            Self::Time => "time",
        }
    }
}

/// How much of a hint is stored fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    /// Stored counts and published prices.
    Counted,
    /// The alternative's tokens are estimated.
    Estimated,
}

/// How far a hint can be trusted, by [`confidence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Confidence {
    Low,
    Medium,
    High,
}

impl Confidence {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Two points where the alternative's tokens are stored counts, one where they are estimated; one more for at least a hundred
/// requests; one less where the rule could look at less than nine tenths of what it asks about. Three points are high, two medium.
pub(super) fn confidence(basis: Basis, requests: u64, coverage: &Coverage) -> Confidence {
    let points = match basis {
        Basis::Counted => 2,
        Basis::Estimated => 1,
    };
    match points + u32::from(requests >= MANY) - u32::from(!coverage.is_wide()) {
        3.. => Confidence::High,
        2 => Confidence::Medium,
        _ => Confidence::Low,
    }
}

/// Why a request is left out whose amounts are beyond the ledger's range.
pub(super) const TOO_LARGE: &str = "too_large";

/// Which requests a rule could look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    /// Looked at.
    pub(super) requests: u64,
    /// What the rule needs to know of them is not kept.
    pub(super) not_known: u64,
    /// Left out, by reason.
    pub(super) excluded: BTreeMap<&'static str, u64>,
    /// A bound on memory was met, so that repeats may have been missed.
    pub(super) capped: bool,
}

impl Coverage {
    pub(super) fn exclude(&mut self, reason: &'static str) {
        *self.excluded.entry(reason).or_default() += 1;
    }

    fn is_wide(&self) -> bool {
        let missed = self.not_known.saturating_add(self.excluded.values().sum());
        !self.capped && missed.saturating_mul(9) <= self.requests
    }
}

/// What requests came to, and what they would have come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pair {
    /// How many.
    pub(super) requests: u64,
    pub(super) current: Nano,
    pub(super) alternative: Nano,
    /// The request that saves most, with what it saves.
    best: Option<(Nano, RequestId)>,
}

impl Pair {
    pub(super) fn add(&mut self, id: RequestId, current: Nano, alternative: Nano) -> Result<(), MoneyError> {
        // All of it or nothing: a request that is left out must not be in half of the sums.
        let sums = (sum(self.current, current)?, sum(self.alternative, alternative)?);
        let saved = current.checked_sub(alternative).ok_or(MoneyError::TooLarge)?;
        (self.current, self.alternative) = sums;
        self.requests += 1;
        if self.best.is_none_or(|(most, _)| saved > most) {
            self.best = Some((saved, id));
        }
        Ok(())
    }

    /// Of sums that were made elsewhere.
    pub(super) fn of(requests: u64, current: Nano, alternative: Nano, example: Option<RequestId>) -> Self {
        Self { requests, current, alternative, best: example.map(|id| (Nano::ZERO, id)) }
    }

    /// Negative where the alternative is dearer.
    pub(super) fn saving(&self) -> Nano {
        self.current.checked_sub(self.alternative).unwrap_or(Nano::ZERO)
    }

    pub(super) fn example(&self) -> Option<RequestId> {
        self.best.map(|(_, id)| id)
    }

    /// Whether the saving is worth a word.
    pub(super) fn tells(&self) -> bool {
        let saving = self.saving();
        saving >= SAVING_MIN && saving.get() >= self.current.get() / PARTS
    }
}

pub(super) fn sum(a: Nano, b: Nano) -> Result<Nano, MoneyError> {
    a.checked_add(b).ok_or(MoneyError::TooLarge)
}

/// What a hint is about; what is not named, all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) model: Option<Arc<str>>,
    pub(super) provider: Option<Arc<str>>,
    pub(super) upstream_model: Option<Arc<str>>,
    pub(super) key: Option<KeyId>,
}

/// A saving that a rule found.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) about: About,
    pub(super) effect: Effect,
    pub(super) basis: Basis,
    pub(super) pair: Pair,
    /// What would have to be true.
    pub(super) assumptions: Vec<String>,
    /// What else the rule has to say.
    pub(super) details: Map<String, Value>,
}

/// All that a rule has to say of a period.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    pub(super) coverage: Coverage,
    pub(super) found: Vec<Finding>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(basis: Basis, requests: u64, coverage: &Coverage, expected: Confidence) {
        assert_eq!(confidence(basis, requests, coverage), expected, "{basis:?} of {requests} with {coverage:?}");
    }

    #[test]
    fn confidence_follows_from_what_is_stored_and_how_much_of_it() {
        let wide = Coverage { requests: 90, not_known: 10, ..Coverage::default() };
        let narrow = Coverage { requests: 89, not_known: 10, ..Coverage::default() };
        let capped = Coverage { capped: true, ..wide.clone() };
        check(Basis::Counted, 100, &wide, Confidence::High);
        check(Basis::Counted, 99, &wide, Confidence::Medium);
        check(Basis::Counted, 100, &narrow, Confidence::Medium);
        check(Basis::Counted, 99, &narrow, Confidence::Low);
        check(Basis::Estimated, 100, &wide, Confidence::Medium);
        check(Basis::Estimated, 100, &capped, Confidence::Low);
        check(Basis::Estimated, 99, &narrow, Confidence::Low);
    }

    #[test]
    fn a_cent_and_a_hundredth_are_the_least_that_is_told() {
        let tells = |current, alternative| {
            let pair = Pair { current: Nano::new(current), alternative: Nano::new(alternative), ..Pair::default() };
            pair.tells()
        };
        assert!(tells(10_000_000, 0) && !tells(9_999_999, 0));
        assert!(tells(1_000_000_000, 990_000_000) && !tells(2_000_000_000, 1_990_000_000));
        assert!(!tells(0, 10_000_000));
    }
}
