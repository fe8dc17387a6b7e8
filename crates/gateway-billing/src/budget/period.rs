//! When a budget begins anew: calendar periods in a zone of their own, and the rolling window.
//!
//! Bounds are computed when a period is first needed, from the zone's rules; nothing runs at midnight, so nothing can run
//! late. Periods are half-open and follow one another without a gap or an overlap, whatever the zone does.

use std::fmt;

use jiff::{
    Timestamp, ToSpan as _, Zoned,
    civil::{Date, Time},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

/// A quarter of an hour, in microseconds: the step of a rolling window, and exact in every zone there is.
pub(crate) const QUARTER_US: i64 = 900_000_000;

/// The longest rolling window: thirty-one days.
const ROLLING_HOURS_MAX: u16 = 31 * 24;

/// How often a budget begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    /// Each hour of the zone's clock.
    Hour,
    /// Each day.
    Day,
    /// Each week.
    Week,
    /// Each month.
    Month,
    /// Never: it is spent once.
    Total,
    /// At no moment: what was spent in the last hours counts, in steps of fifteen minutes.
    Rolling,
}

/// A budget's period as it is written: `{"every":"month","tz":"Asia/Shanghai","month_day":15,"reset_at":"08:00"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// How often.
    pub every: Every,
    /// The hours of a rolling window; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours: Option<u16>,
    /// An IANA zone.
    #[serde(default = "utc", skip_serializing_if = "is_utc")]
    pub tz: String,
    /// The first day of a week, Monday 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub week_start: i8,
    /// The first day of a month; in a month that is too short, its last.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub month_day: i8,
    /// The time of day at which a day, week or month begins, `HH:MM`.
    #[serde(default = "midnight", skip_serializing_if = "is_midnight")]
    pub reset_at: String,
}

fn utc() -> String {
    "UTC".to_owned()
}
fn is_utc(tz: &str) -> bool {
    tz == "UTC"
}
fn one() -> i8 {
    1
}
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_one(n: &i8) -> bool {
    *n == 1
}
fn midnight() -> String {
    "00:00".to_owned()
}
fn is_midnight(at: &str) -> bool {
    at == "00:00"
}

/// A period that cannot be used: which key, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodError {
    /// The key.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl fmt::Display for PeriodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`period.{}` {}", self.key, self.problem)
    }
}

impl std::error::Error for PeriodError {}

impl Period {
    /// One that begins anew `every` so often, in UTC, at the usual moment.
    #[must_use]
    pub fn of(every: Every) -> Self {
        Self { every, hours: None, tz: utc(), week_start: 1, month_day: 1, reset_at: midnight() }
    }

    /// The last `hours` hours.
    #[must_use]
    pub fn rolling(hours: u16) -> Self {
        Self { hours: Some(hours), ..Self::of(Every::Rolling) }
    }

    /// The same in this IANA zone.
    #[must_use]
    pub fn in_zone(self, tz: impl Into<String>) -> Self {
        Self { tz: tz.into(), ..self }
    }
}

/// A half-open span of time, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// A [`Period`] that has been checked.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) written: Period,
    zone: TimeZone,
    reset_at: Time,
}

impl Rule {
    pub(crate) fn of(written: Period) -> Result<Self, PeriodError> {
        let wrong = |key, problem: &str| PeriodError { key, problem: problem.to_owned() };
        match (written.every, written.hours) {
            (Every::Rolling, Some(1..=ROLLING_HOURS_MAX)) => {}
            (Every::Rolling, _) => return Err(wrong("hours", "must be 1 to 744 where `every` is `rolling`")),
            (_, Some(_)) => return Err(wrong("hours", "belongs to `every: rolling` only")),
            (_, None) => {}
        }
        let zone = TimeZone::get(&written.tz)
            .map_err(|_| PeriodError { key: "tz", problem: format!("`{}` is no IANA zone such as `Asia/Shanghai`", written.tz) })?;
        if !(1..=7).contains(&written.week_start) {
            return Err(wrong("week_start", "must be 1 (Monday) to 7 (Sunday)"));
        }
        if !(1..=31).contains(&written.month_day) {
            return Err(wrong("month_day", "must be 1 to 31; 31 is the last day of every month"));
        }
        let reset_at = Time::strptime("%H:%M", &written.reset_at).ok().filter(|_| written.reset_at.len() == 5);
        let reset_at = reset_at.ok_or_else(|| wrong("reset_at", "must be a time such as `08:00`"))?;
        Ok(Self { written, zone, reset_at })
    }

    /// How far back what was spent still counts, for a rolling window.
    pub(crate) fn window_us(&self) -> Option<i64> {
        self.written.hours.map(|hours| i64::from(hours) * 4 * QUARTER_US)
    }

    /// The period that `at_us` lies in; for a rolling window, its quarter of an hour.
    pub(crate) fn bounds(&self, at_us: i64) -> Bounds {
        let at = Timestamp::from_microsecond(at_us).unwrap_or(Timestamp::UNIX_EPOCH);
        let local = at.to_zoned(self.zone.clone());
        match self.written.every {
            Every::Total => Bounds { start: 0, end: i64::MAX },
            Every::Rolling => {
                let start = at_us.div_euclid(QUARTER_US) * QUARTER_US;
                Bounds { start, end: start + QUARTER_US }
            }
            Every::Hour => self.hour(&local),
            Every::Day | Every::Week | Every::Month => self.days(&local),
        }
    }

    /// Whole hours of the zone's clock. Where the clock is turned in the middle of one, each part is a period.
    fn hour(&self, local: &Zoned) -> Bounds {
        const HOUR_US: i64 = 4 * QUARTER_US;
        let at = local.timestamp();
        let offset_us = i64::from(local.offset().seconds()) * 1_000_000;
        let start = (at.as_microsecond() + offset_us).div_euclid(HOUR_US) * HOUR_US - offset_us;
        // `preceding` looks strictly before, and a turn at this very moment is the start.
        let just_after = at.checked_add(1.nanosecond()).unwrap_or(at);
        let turned = self.zone.preceding(just_after).next().map(|turn| turn.timestamp().as_microsecond());
        let turns = self.zone.following(at).next().map(|turn| turn.timestamp().as_microsecond());
        Bounds {
            start: turned.map_or(start, |turned| start.max(turned)),
            end: turns.map_or(start + HOUR_US, |turns| turns.min(start + HOUR_US)),
        }
    }

    fn days(&self, local: &Zoned) -> Bounds {
        let at = local.timestamp();
        let mut first = self.first_day(local.date());
        if self.begin(first) > at {
            first = self.first_day(first.yesterday().unwrap_or(first));
        }
        let next = self.next_first(first);
        // The first day of a month that is longer than the last may lie before today and begin later all the same.
        let (first, next) = if self.begin(next) <= at { (next, self.next_first(next)) } else { (first, next) };
        Bounds { start: self.begin(first).as_microsecond(), end: self.begin(next).as_microsecond() }
    }

    /// The moment at which a day begins for this budget. A time that the clock skips is taken after the skip, one that it
    /// shows twice the first time.
    fn begin(&self, date: Date) -> Timestamp {
        let zoned = date.to_datetime(self.reset_at).to_zoned(self.zone.clone());
        zoned.map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp())
    }

    /// The first day of the period that `date` lies in.
    fn first_day(&self, date: Date) -> Date {
        match self.written.every {
            Every::Week => {
                let since = (date.weekday().to_monday_one_offset() - self.written.week_start).rem_euclid(7);
                date.checked_sub(i64::from(since).days()).unwrap_or(date)
            }
            Every::Month => {
                let this = self.in_month(date);
                if this <= date { this } else { self.in_month(date.first_of_month().yesterday().unwrap_or(date)) }
            }
            Every::Hour | Every::Day | Every::Total | Every::Rolling => date,
        }
    }

    fn next_first(&self, first: Date) -> Date {
        let next = match self.written.every {
            Every::Week => first.checked_add(7.days()),
            Every::Month => first.last_of_month().tomorrow().map(|next| self.in_month(next)),
            Every::Hour | Every::Day | Every::Total | Every::Rolling => first.tomorrow(),
        };
        next.unwrap_or(first)
    }

    /// The day of `date`'s month on which a period begins.
    fn in_month(&self, date: Date) -> Date {
        let day = self.written.month_day.min(date.days_in_month());
        Date::new(date.year(), date.month(), day).unwrap_or(date)
    }
}

#[cfg(test)]
mod tests;
