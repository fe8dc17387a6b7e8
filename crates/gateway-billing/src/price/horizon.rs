//! Until when the calendars reach on which prices depend, so that somebody can be told before they end.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{
    calendar::{Calendar, Calendars},
    publish::Draft,
};

/// How far ahead the end of a calendar is worth a word.
const AHEAD_DAYS: i64 = 60;

/// A calendar that ends soon, or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Horizon {
    /// The calendar.
    pub calendar: String,
    /// The last day it knows of those that follow one another from today on; `None` if it does not know today.
    pub until: Option<Date>,
    /// How many prices depend on it.
    pub prices: usize,
}

impl Horizon {
    /// The calendars that `drafts` depend on and that end within 60 days of `today`, or have ended.
    #[must_use]
    pub fn near(drafts: &[Draft], calendars: &Calendars, today: Date) -> Vec<Self> {
        let mut used: BTreeMap<&str, (usize, Option<&Calendar>)> = BTreeMap::new();
        for draft in drafts {
            let mut names: Vec<&str> = draft.terms.calendar_names().collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let calendar = draft.terms.calendars.get(name).or_else(|| calendars.find(name));
                used.entry(name).or_insert((0, calendar)).0 += 1;
            }
        }
        let horizons = used.into_iter().map(|(name, (prices, calendar))| Self {
            calendar: name.to_owned(),
            until: calendar.and_then(|calendar| calendar.known_until(today)),
            prices,
        });
        horizons.filter(|horizon| horizon.days_left(today).is_none_or(|days| days <= AHEAD_DAYS)).collect()
    }

    /// Days from `today` to the last one that is known; `None` if the calendar does not know today.
    #[must_use]
    pub fn days_left(&self, today: Date) -> Option<i64> {
        self.until.map(|until| until.duration_since(today).as_hours() / 24)
    }
}
