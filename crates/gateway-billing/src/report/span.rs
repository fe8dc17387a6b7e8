//! A span of time in a zone, and the days or hours in it.
//!
//! Sums are kept by quarter of an hour. Every zone in use today is off UTC by whole quarters, so days and hours of any of
//! them are sums of whole quarters: a day in Nepal, an hour in South Australia, a day of 23 or 25 hours.

use jiff::{Timestamp, Zoned, civil::Date, tz::TimeZone};

use crate::{budget::QUARTER_US, error::LedgerError};

/// Most days or hours in one report.
const STEPS_MAX: usize = 800;

/// A half-open span of whole quarters of an hour.
#[derive(Debug, Clone)]
pub struct Span {
    from_us: i64,
    to_us: i64,
    zone: TimeZone,
    zone_name: String,
}

/// One day or hour of a span, or all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The first quarter of an hour since 1970.
    pub(super) first: i64,
    /// The one after the last.
    pub(super) end: i64,
    /// `2026-11-01`, or `2026-11-01T00:00:00+08:00`; nothing where the span is not divided.
    pub(super) label: String,
}

/// How a span is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Division {
    Whole,
    Days,
    Hours,
}

impl Span {
    /// A span as a query gives it: each end a date (midnight in the zone) or a time. Without `from` it begins with the
    /// running month, without `to` it ends with the running quarter of an hour.
    ///
    /// # Errors
    /// A name that is no zone, an end that is neither date nor time or lies within a quarter of an hour, or no time between.
    pub fn of(from: Option<&str>, to: Option<&str>, tz: Option<&str>, now_us: i64) -> Result<Self, LedgerError> {
        let zone_name = tz.unwrap_or("UTC").to_owned();
        let zone = TimeZone::get(&zone_name)
            .map_err(|_| LedgerError::invalid("tz", format!("`{}` is no IANA zone such as `Asia/Shanghai`", shown(&zone_name))))?;
        let now = timestamp(now_us);
        let from_us = match from {
            Some(text) => instant("from", text, &zone)?,
            None => midnight(now.to_zoned(zone.clone()).date().first_of_month(), &zone).unwrap_or(0),
        };
        let to_us = match to {
            Some(text) => instant("to", text, &zone)?,
            None => (now_us.div_euclid(QUARTER_US) + 1) * QUARTER_US,
        };
        if from_us >= to_us {
            return Err(LedgerError::invalid("to", "must be later than `from`"));
        }
        Ok(Self { from_us, to_us, zone, zone_name })
    }

    /// Its first moment, in microseconds since 1970.
    #[must_use]
    pub fn from_us(&self) -> i64 {
        self.from_us
    }

    /// The moment after its last.
    #[must_use]
    pub fn to_us(&self) -> i64 {
        self.to_us
    }

    /// The zone's name.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        &self.zone_name
    }

    /// A moment as the zone writes it.
    pub(crate) fn show(&self, us: i64) -> String {
        let zoned = timestamp(us).to_zoned(self.zone.clone());
        zoned.timestamp().display_with_offset(zoned.offset()).to_string()
    }

    /// The span in order, divided; the first and last part may be shorter than the others.
    pub(super) fn steps(&self, division: Division) -> Result<Vec<Step>, LedgerError> {
        let mut steps = Vec::new();
        let mut at = self.from_us;
        while at < self.to_us {
            if steps.len() == STEPS_MAX {
                return Err(LedgerError::invalid("group_by", format!("asks for more than {STEPS_MAX} days or hours; shorten the span")));
            }
            let local = timestamp(at).to_zoned(self.zone.clone());
            let (next, label) = match division {
                Division::Whole => (self.to_us, String::new()),
                Division::Days => (next_day(&local).unwrap_or(self.to_us), local.date().to_string()),
                Division::Hours => (self.next_hour(&local), self.show(at)),
            };
            let end = next.max(at + QUARTER_US).min(self.to_us);
            steps.push(Step { first: at / QUARTER_US, end: end / QUARTER_US, label });
            at = end;
        }
        Ok(steps)
    }

    /// Where the clock on the wall next shows a full hour, or is set.
    fn next_hour(&self, local: &Zoned) -> i64 {
        let mut at = local.timestamp().as_microsecond();
        let offset = local.offset();
        loop {
            at += QUARTER_US;
            let local = timestamp(at).to_zoned(self.zone.clone());
            if local.minute() == 0 || local.offset() != offset {
                return at;
            }
        }
    }
}

fn next_day(local: &Zoned) -> Option<i64> {
    midnight(local.date().tomorrow().ok()?, local.time_zone())
}

/// The first moment of a day: where midnight is left out, the moment after the gap.
pub(crate) fn midnight(date: Date, zone: &TimeZone) -> Option<i64> {
    date.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp().as_microsecond())
}

fn instant(param: &'static str, text: &str, zone: &TimeZone) -> Result<i64, LedgerError> {
    // A plus that was not escaped in a query arrives as a space.
    let text = text.replace(' ', "+");
    let us = match (text.parse::<Date>(), text.parse::<Timestamp>()) {
        (_, Ok(at)) => Some(at.as_microsecond()),
        (Ok(date), Err(_)) if text.len() == "2026-11-01".len() => midnight(date, zone),
        _ => None,
    };
    let us = us.filter(|us| *us >= 0).ok_or_else(|| {
        LedgerError::invalid(param, format!("must be a date or a time such as 2026-11-01 or 2026-11-01T08:00:00Z, not `{}`", shown(&text)))
    })?;
    if us % QUARTER_US != 0 {
        return Err(LedgerError::invalid(param, "must be a full quarter of an hour: sums are kept by :00, :15, :30 and :45"));
    }
    Ok(us)
}

fn timestamp(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A caller's text, short and plain enough to be repeated to them.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_control() { '?' } else { c }).collect()
}
