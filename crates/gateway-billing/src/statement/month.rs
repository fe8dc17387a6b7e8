//! Months of a zone, as the bounds of statements.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::{budget::QUARTER_US, error::LedgerError, report::midnight};

/// Zones lie at most 26 hours apart. So far into a statement its month is told, and a statement that begins where one of
/// another zone ended is not taken for one of the month before.
const INTO_US: i64 = 36 * 4 * QUARTER_US;

/// The span of a statement, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Month {
    pub(super) start: i64,
    pub(super) end: i64,
    /// `2026-11`.
    pub(super) name: String,
}

impl Month {
    /// The first month of an account that was made at this moment.
    pub(super) fn first(created_at: i64, zone: &TimeZone) -> Result<Self, LedgerError> {
        let first = date(created_at, zone).first_of_month();
        Self::beginning(midnight(first, zone).ok_or_else(beyond)?, zone)
    }

    /// The month that begins at this moment, which is where the last one ended.
    pub(super) fn beginning(start: i64, zone: &TimeZone) -> Result<Self, LedgerError> {
        let day = date(start.saturating_add(INTO_US), zone);
        let next = day.last_of_month().tomorrow().map_err(|_| beyond())?;
        let end = midnight(next, zone).ok_or_else(beyond)?;
        if start % QUARTER_US != 0 || end % QUARTER_US != 0 {
            return Err(LedgerError::Refused { problem: "a month of the account's zone does not begin with a quarter of an hour".into() });
        }
        Ok(Self { start, end, name: format!("{:04}-{:02}", day.year(), day.month()) })
    }
}

fn date(us: i64, zone: &TimeZone) -> Date {
    Timestamp::from_microsecond(us).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone.clone()).date()
}

fn beyond() -> LedgerError {
    LedgerError::Refused { problem: "a month is beyond the calendar".into() }
}
