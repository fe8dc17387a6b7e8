//! Off-peak hours in UTC, turned round into the peak windows of the provider's own zone.

use serde::Deserialize;

use crate::price::Window;

/// The zone in which providers with prices by the hour state them, and how far it is ahead of UTC all the year.
const ZONE: (&str, u16) = ("Asia/Shanghai", 8 * 60);

const DAY: u16 = 24 * 60;

/// The quiet hours of a week.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuietHours {
    hours_utc: Spans,
    weekdays: Vec<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Spans {
    One(String),
    Many(Vec<String>),
}

impl Spans {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::One(span) => (Some(span), &[][..]),
            Self::Many(spans) => (None, spans.as_slice()),
        };
        one.into_iter().chain(many).map(String::as_str)
    }
}

/// Everything that is not quiet, as windows that are closed on the days of `calendar`.
pub(super) fn peak_windows(quiet: &[QuietHours], calendar: Option<&str>) -> Result<Vec<Window>, String> {
    let mut by_day: [Vec<(u16, u16)>; 7] = Default::default();
    for hours in quiet {
        for span in hours.hours_utc.iter() {
            let (from, to) = span_of(span).ok_or_else(|| format!("`{span}` is not a span of hours such as `10:00-00:00`"))?;
            for day in &hours.weekdays {
                let day = usize::from(*day).checked_sub(1).and_then(|day| by_day.get_mut(day));
                day.ok_or("a weekday is a number from 1, Monday, to 7")?.push((from, if to > from { to } else { DAY }));
            }
        }
    }
    // In the order in which they are met, which is that of the week.
    let mut busy: Vec<((u16, u16), Vec<u8>)> = Vec::new();
    for (day, spans) in (1u8..).zip(&mut by_day) {
        spans.sort_unstable();
        let mut at = 0;
        for (from, to) in spans.iter().copied().chain([(DAY, DAY)]) {
            if from > at {
                let window = (at + ZONE.1, from + ZONE.1);
                if window.1 > DAY {
                    return Err("a peak window that crosses midnight in its zone cannot be read".to_owned());
                }
                match busy.iter_mut().find(|(known, _)| *known == window) {
                    Some((_, days)) => days.push(day),
                    None => busy.push((window, vec![day])),
                }
            }
            at = at.max(to);
        }
    }
    let window = |((from, to), days): ((u16, u16), Vec<u8>)| Window {
        tz: ZONE.0.to_owned(),
        days: Some(days_text(&days)),
        from: clock(from),
        to: clock(to),
        not_on: calendar.map(str::to_owned),
    };
    Ok(busy.into_iter().map(window).collect())
}

fn span_of(text: &str) -> Option<(u16, u16)> {
    let minutes = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours <= 24 && minutes < 60).then_some(hours * 60 + minutes).filter(|total| *total <= DAY)
    };
    let (from, to) = text.split_once('-')?;
    Some((minutes(from)?, minutes(to)?))
}

fn clock(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// The days in order, as windows write them.
fn days_text(days: &[u8]) -> String {
    match days {
        [first, .., last] if usize::from(last - first) + 1 == days.len() => format!("{first}-{last}"),
        [only] => format!("{only}-{only}"),
        days => days.iter().map(u8::to_string).collect::<Vec<_>>().join(","),
    }
}
