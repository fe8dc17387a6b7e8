use gateway_core::OrgId;
use proptest::prelude::*;

use super::{ask::cursor, export::neutral, span::Division, *};
use crate::money::Currency;

const NOW: i64 = 1_795_435_200_000_000; // 2026-11-23T12:00:00Z

fn parse(pairs: &[(&str, &str)]) -> Result<UsageAsk, LedgerError> {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    UsageAsk::parse(Scope::Account(OrgId::from_bytes([1; 16])), Currency::USD, &pairs, NOW)
}

/// Labels and lengths in quarters of an hour.
fn steps(from: &str, to: &str, tz: &str, division: Division) -> Vec<(String, i64)> {
    let span = Span::of(Some(from), Some(to), Some(tz), NOW).unwrap();
    span.steps(division).unwrap().into_iter().map(|step| (step.label, step.end - step.first)).collect()
}

#[test]
fn days_have_as_many_quarters_as_the_zone_gives_them() {
    let day = |label: &str, quarters| (label.to_owned(), quarters);
    assert_eq!(
        steps("2026-03-28", "2026-03-31", "Europe/Berlin", Division::Days),
        [day("2026-03-28", 96), day("2026-03-29", 92), day("2026-03-30", 96)]
    );
    assert_eq!(steps("2026-10-25", "2026-10-26", "Europe/Berlin", Division::Days), [day("2026-10-25", 100)]);
    // Half and quarter hours off UTC.
    assert_eq!(steps("2026-11-01", "2026-11-02", "Asia/Kathmandu", Division::Days), [day("2026-11-01", 96)]);
    // Lord Howe moves its clock by half an hour.
    assert_eq!(steps("2026-10-04", "2026-10-05", "Australia/Lord_Howe", Division::Days), [day("2026-10-04", 94)]);
    // A day whose midnight is left out.
    assert_eq!(steps("2026-09-05", "2026-09-07", "America/Santiago", Division::Days), [day("2026-09-05", 96), day("2026-09-06", 92)]);
    assert_eq!(
        steps("2026-11-01T06:15:00Z", "2026-11-02T06:00:00Z", "UTC", Division::Days),
        [day("2026-11-01", 71), day("2026-11-02", 24)]
    );
}

#[test]
fn hours_follow_the_clock_on_the_wall() {
    let hours = steps("2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z", "Europe/Berlin", Division::Hours);
    let labels: Vec<_> = hours.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(
        labels,
        ["2026-10-25T01:00:00+02:00", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"]
    );
    assert!(hours.iter().all(|(_, quarters)| *quarters == 4));
    // In Nepal an hour begins a quarter past that of UTC.
    assert_eq!(
        steps("2026-11-01T00:00:00Z", "2026-11-01T01:00:00Z", "Asia/Kathmandu", Division::Hours).iter().map(|h| h.1).collect::<Vec<_>>(),
        [1, 3]
    );
    let lord_howe = steps("2026-10-03T15:00:00Z", "2026-10-03T16:30:00Z", "Australia/Lord_Howe", Division::Hours);
    assert_eq!(lord_howe.iter().map(|hour| hour.1).collect::<Vec<_>>(), [2, 2, 2], "{lord_howe:?}");
}

proptest! {
    #[test]
    fn steps_cover_a_span_without_gap_or_overlap(
        start in 40_000i64..2_300_000,
        length in 1i64..20_000,
        zone in prop::sample::select(vec!["UTC", "Asia/Shanghai", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"]),
        hours in any::<bool>(),
    ) {
        let at = |quarter: i64| jiff::Timestamp::from_second(quarter * 900).unwrap().to_string();
        let length = if hours { length.min(2_800) } else { length };
        let span = Span::of(Some(&at(start)), Some(&at(start + length)), Some(zone), NOW).unwrap();
        let mut expected = start;
        for step in span.steps(if hours { Division::Hours } else { Division::Days }).unwrap() {
            prop_assert_eq!(step.first, expected);
            prop_assert!(step.end > step.first);
            expected = step.end;
        }
        prop_assert_eq!(expected, start + length);
    }
}

#[test]
fn what_cannot_be_answered_is_refused_by_name() {
    for (pairs, message) in [
        (&[("tz", "Mars/Olympus")][..], "`tz` `Mars/Olympus` is no IANA zone"),
        (&[("from", "yesterday")], "`from` must be a date or a time"),
        (&[("from", "2026-11-01T00:07:00Z")], "full quarter of an hour"),
        (&[("from", "1969-01-01")], "must be a date or a time"),
        (&[("from", "2026-11-02"), ("to", "2026-11-02")], "later than `from`"),
        (&[("group_by", "colour")], "not `colour`"),
        (&[("group_by", "account")], "not `account`"),
        (&[("group_by", "model,model")], "names `model` twice"),
        (&[("group_by", "day,hour")], "not both"),
        (&[("group_by", "tag,key")], "cannot have `tag` together with `key`"),
        (&[("group_by", "team,tag")], "cannot have `tag` together with `team`"),
        (&[("limit", "0")], "1 to 10000"),
        (&[("limit", "10001")], "1 to 10000"),
        (&[("limit", "1"), ("limit", "1")], "given twice"),
        (&[("after", "zz")], "last page's `next`"),
        (&[("after", "5b5d")], "last page's `next`"),
        (&[("form", "csv")], "no parameter `form`"),
    ] {
        let error = parse(pairs).expect_err(&format!("{pairs:?}")).to_string();
        assert!(error.contains(message), "{error}");
    }
    let hours = parse(&[("from", "2026-01-01"), ("group_by", "hour")]).unwrap();
    assert!(hours.span.steps(hours.division()).unwrap_err().to_string().contains("shorten the span"));
}

#[test]
fn a_page_goes_on_where_the_last_one_ended() {
    let key = vec!["0003".to_owned(), "modèle".to_owned()];
    let ask = parse(&[("group_by", "model"), ("after", &cursor(&key))]).unwrap();
    assert_eq!(ask.after.as_deref(), Some(&key[..]));
    let without_escape = parse(&[("from", "2026-11-01T00:00:00 08:00")]).unwrap();
    assert_eq!(without_escape.span.show(without_escape.span.from_us()), "2026-10-31T16:00:00+00:00");
}

#[test]
fn no_cell_is_a_formula() {
    for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1"] {
        assert_eq!(neutral(text), format!("'{text}"));
    }
    for text in ["", "gpt-4.1", "a=b", "key_01"] {
        assert_eq!(neutral(text), text);
    }
}
