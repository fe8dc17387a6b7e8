//! Splitting a stated total into kinds, where the wire says of a kind only how much of it there is.

/// What is left of a total for the kinds in it. A kind may lie among the fresh tokens or among those whose kind the report
/// does not tell, such as what was read from a cache.
#[derive(Debug)]
pub(crate) struct Tally {
    fresh: u64,
    untold: u64,
}

impl Tally {
    /// So many fresh tokens, and so many of which the kind is not told.
    pub(crate) fn new(fresh: u64, untold: u64) -> Self {
        Self { fresh, untold }
    }

    /// How many of a kind's tokens are fresh. What fits nowhere is among them, so that the buckets exceed the total and
    /// whoever bills sees that the report does not add up.
    pub(crate) fn take(&mut self, kind: u64) -> u64 {
        let fresh = kind.min(self.fresh);
        self.fresh -= fresh;
        let untold = (kind - fresh).min(self.untold);
        self.untold -= untold;
        kind - untold
    }

    /// The fresh tokens that no kind took.
    pub(crate) fn rest(&self) -> u64 {
        self.fresh
    }
}

/// The provider's own totals of input and output, given its total of both and what the output's `kinds` add up to. Where the
/// totals do not agree, those that come back never allow more than any of them, and the buckets do not fit them. A total of
/// nothing beside counts of something was not meant.
pub(crate) fn reconciled(input: Option<u64>, output: Option<u64>, both: Option<u64>, kinds: u64) -> (Option<u64>, Option<u64>) {
    match (input, output, both.filter(|both| *both > 0)) {
        (Some(sent), Some(made), Some(both)) if sent.saturating_add(made) != both => {
            let left = both.saturating_sub(sent);
            // Kinds above their own total do not fit it anyway; else only the larger total shows that something is wrong.
            let output = if kinds > made { left.min(made) } else { left };
            (Some(sent.min(both)), Some(output))
        }
        _ => (input, output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_fresh_first_then_untold_and_what_fits_nowhere_shows() {
        let mut tally = Tally::new(50, 30);
        assert_eq!((tally.take(40), tally.rest()), (40, 10));
        // 10 are fresh and 30 among the untold; 5 more than there are.
        assert_eq!((tally.take(45), tally.rest()), (15, 0));
        assert_eq!(tally.take(7), 7);
    }

    #[test]
    fn totals_that_do_not_add_up_are_fitted_to_the_total_of_both() {
        #[track_caller]
        fn check(input: Option<u64>, output: Option<u64>, both: Option<u64>, expected: (Option<u64>, Option<u64>)) {
            assert_eq!(reconciled(input, output, both, output.unwrap_or(0)), expected);
        }
        check(Some(10), Some(5), Some(15), (Some(10), Some(5)));
        check(Some(10), Some(5), None, (Some(10), Some(5)));
        check(Some(10), Some(5), Some(0), (Some(10), Some(5)));
        check(Some(10), Some(5), Some(12), (Some(10), Some(2)));
        check(Some(10), Some(5), Some(8), (Some(8), Some(0)));
        check(Some(10), Some(5), Some(90), (Some(10), Some(80)));
        check(None, Some(5), Some(90), (None, Some(5)));
        check(Some(u64::MAX), Some(u64::MAX), Some(1), (Some(1), Some(0)));
        assert_eq!(reconciled(Some(10), Some(5), Some(90), 30), (Some(10), Some(5)), "the kinds exceed it already");
    }
}
