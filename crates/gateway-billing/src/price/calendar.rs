//! Public holidays as dated lists, and the daily windows that are judged with them.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::PriceError;

/// The calendars shipped with the crate.
const SHIPPED: &str = include_str!("../../data/calendars.json");

/// The holidays of the years it covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// Years whose list is complete. A date outside them is neither a holiday nor a working day: nobody knows yet.
    pub years: Vec<i16>,
    /// The holidays.
    pub dates: Vec<Date>,
    /// Where the list was published.
    pub source: String,
}

impl Calendar {
    /// The last day it knows of those that follow one another from `today` on; `None` if it does not know today.
    #[must_use]
    pub fn known_until(&self, today: Date) -> Option<Date> {
        let last = (today.year()..).take_while(|year| self.years.contains(year)).last()?;
        Date::new(last, 12, 31).ok()
    }

    fn is_holiday(&self, date: Date) -> Option<bool> {
        self.years.contains(&date.year()).then(|| self.dates.binary_search(&date).is_ok())
    }

    fn sorted(mut self) -> Self {
        self.dates.sort_unstable();
        self.dates.dedup();
        self.years.sort_unstable();
        self
    }
}

/// Calendars by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calendars(BTreeMap<String, Calendar>);

impl Calendars {
    /// The calendars shipped with the crate.
    #[must_use]
    pub fn shipped() -> Self {
        Self::from_json(SHIPPED).unwrap_or_default()
    }

    /// Reads `{"name": {"years": [2026], "dates": ["2026-01-01"], "source": "https://…"}}`.
    ///
    /// # Errors
    /// The text is not of that shape.
    pub fn from_json(text: &str) -> Result<Self, PriceError> {
        let lists: BTreeMap<String, Calendar> = serde_json::from_str(text).map_err(|e| PriceError::Malformed(e.to_string()))?;
        Ok(Self(lists.into_iter().map(|(name, list)| (name, list.sorted())).collect()))
    }

    /// Adds what `more` knows to the calendar of that name: this is how an operator adds next year's holidays. A year that
    /// both know is as `more` has it.
    ///
    /// # Errors
    /// A date of `more` lies in a year that it does not claim to know.
    pub fn extended(self, name: impl Into<String>, more: Calendar) -> Result<Self, PriceError> {
        let name = name.into();
        if let Some(stray) = more.dates.iter().find(|date| !more.years.contains(&date.year())) {
            return Err(PriceError::Calendar(format!("{stray} in `{name}` is in none of the years it lists as complete")));
        }
        let Some(mut known) = self.find(&name).cloned() else { return Ok(self.with(name, more)) };
        known.dates.retain(|date| !more.years.contains(&date.year()));
        known.dates.extend(more.dates);
        known.years.extend(more.years);
        known.years.sort_unstable();
        known.years.dedup();
        known.source = format!("{}; {}", known.source, more.source);
        Ok(self.with(name, known))
    }

    /// Adds a calendar, or replaces the one of that name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, calendar: Calendar) -> Self {
        self.0.insert(name.into(), calendar.sorted());
        self
    }

    /// The calendar of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Calendar> {
        self.0.get(name)
    }
}

/// A daily window, half-open, in its own zone: `{"tz":"Asia/Shanghai","days":"1-5","from":"09:00","to":"12:00","not_on":"cn-holidays"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// An IANA zone; hours, weekdays and holidays are all judged in it.
    pub tz: String,
    /// ISO weekdays, Monday 1: `1-5`, `6,7`, `1-3,5`. All if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<String>,
    /// Start, `HH:MM`.
    pub from: String,
    /// End, `HH:MM`, not included; earlier than the start means on the next day. `24:00` is midnight.
    pub to: String,
    /// A calendar on whose days the window is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_on: Option<String>,
}

/// Whether a window is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    Yes,
    No,
    /// It is unless the day turns out to be a holiday, which the calendar does not know yet.
    UnlessHoliday,
}

/// A window ready to be asked.
#[derive(Debug, Clone)]
pub(super) struct Hours {
    zone: TimeZone,
    /// Bit 0 is Monday.
    days: u8,
    from: u16,
    to: u16,
    calendar: Option<Calendar>,
}

impl Hours {
    pub(super) fn compile(window: &Window, calendars: &Calendars) -> Result<Self, PriceError> {
        let bad = |what: &str| PriceError::Window(format!("{what} in {window:?}"));
        let zone = TimeZone::get(&window.tz).map_err(|_| bad("unknown zone"))?;
        let days = match &window.days {
            Some(list) => parse_days(list).ok_or_else(|| bad("`days` must be like `1-5` or `6,7`, Monday is 1"))?,
            None => 0b0111_1111,
        };
        let time = |text: &str| parse_time(text).ok_or_else(|| bad("times must be `HH:MM`, at most `24:00`"));
        let (from, to) = (time(&window.from)?, time(&window.to)?);
        if from == to || from == 1_440 {
            return Err(bad("an empty window; for the whole day write 00:00 to 24:00"));
        }
        let calendar = match &window.not_on {
            Some(name) => Some(calendars.find(name).cloned().ok_or_else(|| bad("unknown calendar"))?),
            None => None,
        };
        Ok(Self { zone, days, from, to, calendar })
    }

    pub(super) fn at(&self, at: Timestamp) -> Open {
        let local = self.zone.to_datetime(at);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = local.date();
        // A window that wraps midnight belongs to the day it began on.
        let began = if self.from < self.to {
            (self.from <= minute && minute < self.to).then_some(today)
        } else if minute >= self.from {
            Some(today)
        } else if minute < self.to {
            today.yesterday().ok()
        } else {
            None
        };
        let Some(day) = began else { return Open::No };
        if self.days & (1 << day.weekday().to_monday_zero_offset().unsigned_abs()) == 0 {
            return Open::No;
        }
        match self.calendar.as_ref().map(|calendar| calendar.is_holiday(day)) {
            None | Some(Some(false)) => Open::Yes,
            Some(Some(true)) => Open::No,
            Some(None) => Open::UnlessHoliday,
        }
    }
}

fn parse_days(list: &str) -> Option<u8> {
    let day = |text: &str| text.parse::<u8>().ok().filter(|day| (1..=7).contains(day) && text.len() == 1);
    let mut mask = 0;
    for item in list.split(',') {
        let (first, last) = match item.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(item)?, day(item)?),
        };
        if first > last {
            return None;
        }
        mask |= (first..=last).fold(0u8, |mask, day| mask | 1 << (day - 1));
    }
    Some(mask)
}

/// Minutes since midnight.
fn parse_time(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= 1_440).then_some(total)
}
