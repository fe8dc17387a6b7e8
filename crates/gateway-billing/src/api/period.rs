//! Periods of a report, all in UTC: `today`, `month`, `all`, or a month such as `2026-11`.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::error::ApiError;

const KNOWN: &str = "`period` may be `today`, `month`, `all` or a month such as `2026-11`";

/// A half-open span of time and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) name: String,
    /// `None` is the beginning.
    pub(super) from: Option<Timestamp>,
    pub(super) to: Timestamp,
}

impl Period {
    /// The period a query asks for; without one, the running month.
    pub(super) fn of_query(query: Option<&str>, now: Timestamp) -> Result<Self, ApiError> {
        let mut asked = None;
        for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("period", _)) if asked.is_some() => return Err(bad("`period` is given twice")),
                Some(("period", value)) => asked = Some(value),
                _ => return Err(ApiError::unknown_parameter(pair, KNOWN)),
            }
        }
        let today = now.to_zoned(TimeZone::UTC).date();
        match asked.unwrap_or("month") {
            "today" => today.tomorrow().ok().and_then(|end| Self::between(today.to_string(), today, end)),
            "month" => Self::month(today.first_of_month()),
            // A microsecond past the present, so that a request of this very moment is in it.
            "all" => now.as_microsecond().checked_add(1).and_then(|us| Timestamp::from_microsecond(us).ok()).map(|to| Self {
                name: "all".to_owned(),
                from: None,
                to,
            }),
            month => parse_month(month).and_then(Self::month),
        }
        .ok_or_else(|| bad(KNOWN))
    }

    fn month(first: Date) -> Option<Self> {
        let end = first.last_of_month().tomorrow().ok()?;
        Self::between(format!("{:04}-{:02}", first.year(), first.month()), first, end)
    }

    fn between(name: String, first: Date, end: Date) -> Option<Self> {
        let midnight = |date: Date| date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        Some(Self { name, from: Some(midnight(first)?), to: midnight(end)? })
    }
}

fn parse_month(text: &str) -> Option<Date> {
    let (year, month) = text.split_once('-')?;
    let digits = |part: &str, n: usize| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(year, 4) || !digits(month, 2) {
        return None;
    }
    // Identifiers carry their time, and none is older than 1970.
    let year: i16 = year.parse().ok().filter(|year| (1970..=9000).contains(year))?;
    Date::new(year, month.parse().ok()?, 1).ok()
}

fn bad(message: &str) -> ApiError {
    ApiError::Parameter("period".to_owned(), message.to_owned())
}
