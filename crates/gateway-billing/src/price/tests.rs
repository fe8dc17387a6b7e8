//! Helpers shared by the tests of prices, and the tests that need what is not public.

use std::sync::Arc;

use super::*;
use crate::{
    money::{Nano, Ppm},
    usage::Leaves,
};

/// A version published now from what an operator would write.
pub(crate) fn version_of(input: &str) -> Result<Arc<PriceVersion>, PriceError> {
    let input: PriceInput = serde_json::from_str(input).unwrap();
    publish_terms(input.terms()?.0)
}

fn publish_terms(terms: Terms) -> Result<Arc<PriceVersion>, PriceError> {
    let source = Source { kind: "manual".into(), reference: "test".into() };
    let draft = Draft { book: SELL_BOOK.into(), model: "m".into(), route: "p/u".into(), terms, source };
    let publication = publish(&[draft], &[], Coverage::Whole, &Calendars::shipped(), 0).map_err(|errors| errors[0].error.clone())?;
    PriceVersion::read(&publication.new[0].row(PriceVersionId(1), 0))
}

/// Microseconds of an instant such as `2026-11-23T01:00:00Z`.
fn us(instant: &str) -> i64 {
    instant.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

fn leaves(text: &str) -> Leaves {
    Leaves::from_stored(text).unwrap()
}

#[track_caller]
fn check_refused(input: &str, message: &str) {
    let error = version_of(input).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn a_price_is_closed_at_publication() {
    let version = version_of(r#"{"input":"2","output":"8","input_cache_read":"0.5"}"#).unwrap();
    let rates = &version.terms().rates;
    for sku in &Sku::CHAT_TOKENS {
        assert!(rates.contains_key(sku), "{sku}");
    }
    assert_eq!(rates[&Sku::IN_CACHE_WRITE_1H].get(), 2_000_000);
    assert_eq!(rates[&Sku::IN_AUDIO_CACHE_READ].get(), 500_000, "only one parent is priced");
    assert_eq!(rates[&Sku::OUT_REASONING].get(), 8_000_000);
}

#[test]
fn an_hour_in_the_cache_costs_at_least_what_five_minutes_cost() {
    let version = version_of(r#"{"input":"3","output":"15","input_cache_write":"3.75"}"#).unwrap();
    assert_eq!(version.terms().rates[&Sku::IN_CACHE_WRITE_1H].get(), 3_750_000);
}

#[test]
fn what_cannot_be_priced_without_doubt_is_refused() {
    check_refused(r#"{"output":"8"}"#, "no rate for `tok.in`");
    check_refused(r#"{"input":"8"}"#, "no rate for `tok.out`");
    check_refused(r#"{"input":"2","output":"8","input_audio":"3","input_cache_read":"0.5"}"#, "`tok.in.audio.cache_read` could cost");
    check_refused(
        r#"{"input":"2","output":"8","input_cache_read":"0.5","overrides":[{"service_tier":"flex","input_audio":"3"}]}"#,
        "`tok.in.audio.cache_read` could cost",
    );
    check_refused(r#"{"input":"2","output":"8","inptu_cache":"1"}"#, "`inptu_cache` is not a price");
    check_refused(r#"{"input":"2","output":"8","tok.in":"1"}"#, "a second time");
    check_refused(r#"{"input":"two","output":"8"}"#, "`input`: expected a plain decimal");
    check_refused(r#"{"input":"-2","output":"8"}"#, "outside the range");
    check_refused(r#"{"input":"2","output":"8","overrides":[{"input":"1"}]}"#, "needs a condition");
    check_refused(r#"{"input":"2","output":"8","overrides":[{"service_tier":"x"}]}"#, "needs a condition and a rate");
    check_refused(r#"{"input":"2","output":"8","overrides":[{"service_tier":"x","factor":"101"}]}"#, "overrides[0].factor");
    check_refused(r#"{"input":"2","output":"8","min_charge":"-1"}"#, "below zero");
    check_refused(r#"{"input":"2","output":"8","img.out{size=1}":"1","img.out{quality=hd}":"1"}"#, "fit some uses equally well");
    let window = |window: &str| format!(r#"{{"input":"2","output":"8","overrides":[{{"window":{window},"factor":"2"}}]}}"#);
    check_refused(&window(r#"{"tz":"Mars/Olympus","from":"01:00","to":"02:00"}"#), "unknown zone");
    check_refused(&window(r#"{"tz":"UTC","from":"01:00","to":"01:00"}"#), "empty window");
    check_refused(&window(r#"{"tz":"UTC","from":"1:00","to":"02:00"}"#), "HH:MM");
    check_refused(&window(r#"{"tz":"UTC","from":"01:00","to":"24:01"}"#), "HH:MM");
    check_refused(&window(r#"{"tz":"UTC","days":"0-3","from":"01:00","to":"02:00"}"#), "Monday is 1");
    check_refused(&window(r#"{"tz":"UTC","days":"5-1","from":"01:00","to":"02:00"}"#), "Monday is 1");
    check_refused(&window(r#"{"tz":"UTC","from":"01:00","to":"02:00","not_on":"no-such"}"#), "unknown calendar");
}

const DEEPSEEK: &str = r#"{"input":"0.15","output":"0.6","input_cache_read":"0.003","overrides":[
    {"window":{"tz":"Asia/Shanghai","days":"1-5","from":"09:00","to":"12:00","not_on":"cn-holidays"},"factor":"2"},
    {"window":{"tz":"Asia/Shanghai","days":"1-5","from":"14:00","to":"18:00","not_on":"cn-holidays"},"factor":"2"}]}"#;

#[track_caller]
fn check_charge(version: &PriceVersion, usage: &str, at: &str, nano: i64) -> ChargeFlags {
    let (leaves, at_us) = (leaves(usage), us(at));
    let charge = charge(version, Ppm::ONE, &leaves, at_us).unwrap();
    assert_eq!(charge.total, Nano::new(nano), "{usage} at {at}: {:?}", charge.lines);
    assert_eq!(Nano::checked_sum(charge.lines.iter().map(|line| line.amount)), Some(charge.total));
    assert_eq!(charge_total(version, Ppm::ONE, &leaves, at_us), Ok((charge.total, charge.flags)));
    charge.flags
}

#[test]
fn peak_hours_are_judged_in_their_own_zone_with_its_weekdays_and_holidays() {
    let version = version_of(DEEPSEEK).unwrap();
    let usage = r#"{"tok.in.cache_read":7,"tok.out":3}"#;
    let (off, peak) = (1_821, 3_642);
    for (at, nano) in [
        ("2026-11-23T00:59:59.999999Z", off),
        ("2026-11-23T01:00:00Z", peak), // Monday 09:00 in Shanghai
        ("2026-11-23T03:59:59.999999Z", peak),
        ("2026-11-23T04:00:00Z", off),
        ("2026-11-23T06:00:00Z", peak),
        ("2026-11-23T10:00:00Z", off),
        ("2026-11-21T01:00:00Z", off), // Saturday
        ("2026-11-22T01:00:00Z", off),
        ("2026-10-07T01:00:00Z", off), // the last day of the autumn holiday, a Wednesday
        ("2026-10-08T01:00:00Z", peak),
        ("2026-02-23T01:00:00Z", off), // a Monday of the spring festival
    ] {
        assert_eq!(check_charge(&version, usage, at, nano), ChargeFlags::default(), "{at}");
    }
}

#[test]
fn a_day_the_calendar_does_not_know_is_flagged_and_held_at_the_dearer_rate() {
    let version = version_of(DEEPSEEK).unwrap();
    let flags = check_charge(&version, r#"{"tok.out":1}"#, "2027-01-01T01:00:00Z", 1_200);
    assert!(flags.calendar_unknown);
    let worst = worst_rates(&version, 100, us("2027-01-01T01:00:00Z"), TierReach::Default);
    assert_eq!(worst.output.get(), 1_200_000);
    let quiet = worst_rates(&version, 100, us("2027-01-01T05:00:00Z"), TierReach::Default);
    assert_eq!(quiet.output.get(), 600_000);
    let discount = DEEPSEEK.replace("\"factor\":\"2\"", "\"factor\":\"0.5\"");
    let worst = worst_rates(&version_of(&discount).unwrap(), 100, us("2027-01-01T01:00:00Z"), TierReach::Default);
    assert_eq!(worst.output.get(), 600_000, "a discount that may not apply is not counted on");
}

#[test]
fn the_end_of_a_calendar_is_announced_sixty_days_ahead() {
    let day = |text: &str| text.parse::<jiff::civil::Date>().unwrap();
    let calendar = |years: &[i16], dates: &[&str]| Calendar {
        years: years.to_vec(),
        dates: dates.iter().map(|date| day(date)).collect(),
        source: "gazette".to_owned(),
    };
    let draft = |model: &str, json: &str| {
        let terms = serde_json::from_str::<PriceInput>(json).unwrap().terms().unwrap().0;
        let source = Source { kind: "config".into(), reference: "test".into() };
        Draft { book: SELL_BOOK.into(), model: model.into(), route: "".into(), terms, source }
    };
    let drafts = [draft("a", DEEPSEEK), draft("b", DEEPSEEK), draft("c", r#"{"input":"1","output":"2"}"#)];
    let of_2026 = Calendars::default().with("cn-holidays", calendar(&[2026], &["2026-10-01"]));
    let near = |calendars: &Calendars, today: &str| {
        let near = Horizon::near(&drafts, calendars, day(today));
        near.iter()
            .map(|h| (h.calendar.clone(), h.until.map(|date| date.to_string()), h.prices, h.days_left(day(today))))
            .collect::<Vec<_>>()
    };
    let end = |days| vec![("cn-holidays".to_owned(), Some("2026-12-31".to_owned()), 2, Some(days))];
    assert_eq!(near(&of_2026, "2026-11-01"), end(60));
    assert_eq!(near(&of_2026, "2026-10-31"), []);
    assert_eq!(near(&of_2026, "2026-12-31"), end(0));
    assert_eq!(near(&of_2026, "2027-01-01"), [("cn-holidays".to_owned(), None, 2, None)]);
    assert_eq!(Horizon::near(&drafts[2..], &of_2026, day("2027-01-01")), []);

    // The operator adds the next year, and with it the days are judged.
    let extended = of_2026.clone().extended("cn-holidays", calendar(&[2027], &["2027-01-01"])).unwrap();
    assert_eq!(near(&extended, "2026-12-31"), []);
    assert_eq!(extended.find("cn-holidays").unwrap().dates, [day("2026-10-01"), day("2027-01-01")]);
    let mended = extended.extended("cn-holidays", calendar(&[2027], &["2027-01-02"])).unwrap();
    assert_eq!(mended.find("cn-holidays").unwrap().dates, [day("2026-10-01"), day("2027-01-02")]);
    assert_eq!(mended.find("cn-holidays").unwrap().years, [2026, 2027]);
    assert!(of_2026.extended("cn-holidays", calendar(&[2027], &["2028-01-01"])).is_err());
}

#[test]
fn an_override_of_the_parent_reaches_what_took_its_rate_from_it() {
    let version = version_of(
        r#"{"input":"2","output":"8","input_cache_read":"0.5","overrides":[
            {"input_tokens_over":1000,"input":"4","output":"16"},{"service_tier":"flex","factor":"0.5"}]}"#,
    )
    .unwrap();
    let rate = |sku: &Sku, size, tier| version.rate_at(sku, size, tier, 0).unwrap().get();
    for (sku, low, high) in [
        (&Sku::IN, 2_000_000, 4_000_000),
        (&Sku::IN_CACHE_READ, 500_000, 500_000),
        (&Sku::IN_CACHE_WRITE_1H, 2_000_000, 4_000_000),
        (&Sku::IN_AUDIO, 2_000_000, 4_000_000),
        (&Sku::IN_AUDIO_CACHE_READ, 500_000, 500_000),
        (&Sku::OUT_REASONING, 8_000_000, 16_000_000),
    ] {
        assert_eq!((rate(sku, 1_000, None), rate(sku, 1_001, None)), (low, high), "{sku}");
        assert_eq!(rate(sku, 1_001, Some("FLEX")), high / 2, "{sku}");
    }
}

#[test]
fn the_remembered_worst_case_is_the_one_that_a_search_finds() {
    let version = version_of(
        r#"{"input":"1","output":"9","overrides":[{"input_tokens_over":256000,"input":"2","output":"1"},
            {"input_tokens_over":128000,"input":"4"},{"service_tier":"priority","factor":"3"}]}"#,
    )
    .unwrap();
    for size in [0, 1, 128_000, 128_001, 128_002, 256_000, 256_001, 1_000_000, u64::MAX] {
        let found = charge::search_worst(&version, size, 0, TierReach::Default);
        assert_eq!(worst_rates(&version, size, 0, TierReach::Default), found, "{size}");
        assert_eq!(found.input.get(), if size > 128_000 { 4_000_000 } else { 1_000_000 }, "{size}");
        assert_eq!(worst_rates(&version, size, 0, TierReach::Any).output.get(), 27_000_000);
    }
}
