use super::*;

/// Zones that differ in when, how often and by how much their clocks are turned; the last by half an hour.
const ZONES: [&str; 12] = [
    "UTC",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Santiago",
    "Europe/London",
    "Europe/Berlin",
    "Africa/Casablanca",
    "Asia/Shanghai",
    "Asia/Kathmandu",
    "Pacific/Auckland",
    "Australia/Lord_Howe",
];

fn rule(period: Period) -> Rule {
    Rule::of(period).unwrap()
}

fn us(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_microsecond()
}

fn shown(bounds: Bounds) -> (String, String) {
    let show = |us| Timestamp::from_microsecond(us).unwrap().to_string();
    (show(bounds.start), show(bounds.end))
}

#[track_caller]
fn check(period: Period, at: &str, start: &str, end: &str) {
    assert_eq!(shown(rule(period).bounds(us(at))), (start.to_owned(), end.to_owned()));
}

#[test]
fn periods_begin_where_the_zone_says() {
    let berlin = |every| Period::of(every).in_zone("Europe/Berlin");
    // A day of 23 hours, and one of 25.
    check(berlin(Every::Day), "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    check(berlin(Every::Day), "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
    // Half open: the last microsecond of a day, and the first of the next.
    check(Period::of(Every::Day), "2026-12-31T23:59:59.999999Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z");
    check(Period::of(Every::Day), "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z");
    check(Period::of(Every::Week), "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z");
    let sunday = Period { week_start: 7, ..Period::of(Every::Week) };
    check(sunday, "2026-11-23T00:00:00Z", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z");
    check(berlin(Every::Hour), "2026-10-25T00:30:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z");
    let shanghai = Period { reset_at: "08:00".to_owned(), month_day: 15, ..Period::of(Every::Month).in_zone("Asia/Shanghai") };
    check(shanghai.clone(), "2026-11-15T00:00:00Z", "2026-11-15T00:00:00Z", "2026-12-15T00:00:00Z");
    check(shanghai, "2026-11-14T23:59:59Z", "2026-10-15T00:00:00Z", "2026-11-15T00:00:00Z");
    check(Period::rolling(24), "2026-11-23T10:22:00Z", "2026-11-23T10:15:00Z", "2026-11-23T10:30:00Z");
    assert_eq!(rule(Period::rolling(24)).window_us(), Some(86_400_000_000));
}

#[test]
fn short_months_begin_on_their_last_day() {
    for (day, at, start, end) in [
        (31, "2027-02-27T00:00:00Z", "2027-01-31T00:00:00Z", "2027-02-28T00:00:00Z"),
        (31, "2027-02-28T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z"),
        (31, "2027-04-30T12:00:00Z", "2027-04-30T00:00:00Z", "2027-05-31T00:00:00Z"),
        (30, "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-30T00:00:00Z"),
        (29, "2027-02-28T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-29T00:00:00Z"),
        (29, "2028-02-28T23:00:00Z", "2028-01-29T00:00:00Z", "2028-02-29T00:00:00Z"),
    ] {
        check(Period { month_day: day, ..Period::of(Every::Month) }, at, start, end);
    }
}

#[test]
fn a_reset_time_that_the_clock_skips_or_repeats_begins_one_day_only() {
    let at = |reset: &str| Period { reset_at: reset.to_owned(), ..Period::of(Every::Day).in_zone("Europe/Berlin") };
    // 02:30 does not exist on 29 March: the day begins after the skip, at 03:30 summer time.
    check(at("02:30"), "2026-03-29T12:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z");
    // 02:30 comes twice on 25 October: the day begins the first time.
    check(at("02:30"), "2026-10-25T01:15:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z");
}

/// Around every turn of every zone's clock in two years, and every quarter of an hour of the days beside it: each moment
/// lies in its period, the next period begins where this one ends, and every moment of a period has the same bounds.
#[test]
fn periods_partition_time_over_every_turn_of_the_clock() {
    let (from, to) = (us("2026-01-01T00:00:00Z"), us("2028-01-01T00:00:00Z"));
    let mut turns = 0;
    for name in ZONES {
        let zone = TimeZone::get(name).unwrap();
        let first = Timestamp::from_microsecond(from).unwrap();
        let mut around: Vec<i64> =
            zone.following(first).map(|turn| turn.timestamp().as_microsecond()).take_while(|turn| *turn < to).collect();
        turns += around.len();
        around.extend([from, us("2027-02-28T12:00:00Z"), us("2027-12-31T12:00:00Z")]);
        for every in [Every::Hour, Every::Day, Every::Week, Every::Month] {
            for (reset_at, month_day, week_start) in [("00:00", 1, 1), ("02:30", 31, 7), ("23:59", 29, 3), ("01:45", 30, 4)] {
                let period = Period { reset_at: reset_at.to_owned(), month_day, week_start, ..Period::of(every).in_zone(name) };
                partitioned(&rule(period), &around);
            }
        }
    }
    assert!(turns >= 24, "the zone database knows only {turns} turns");
}

fn partitioned(rule: &Rule, around: &[i64]) {
    const DAY_US: i64 = 96 * QUARTER_US;
    for centre in around {
        let mut at = centre - 2 * DAY_US;
        let mut last: Option<Bounds> = None;
        while at < centre + 2 * DAY_US {
            let bounds = rule.bounds(at);
            assert!(bounds.start <= at && at < bounds.end, "{:?} at {at}: {:?}", rule.written, shown(bounds));
            if let Some(last) = last {
                assert!(bounds == last || bounds.start == last.end, "{:?}: {:?} then {:?}", rule.written, shown(last), shown(bounds));
            }
            assert_eq!(rule.bounds(bounds.start), bounds, "{:?}", rule.written);
            assert_eq!(rule.bounds(bounds.end - 1), bounds, "{:?}", rule.written);
            last = Some(bounds);
            at += QUARTER_US;
        }
    }
}

#[test]
fn what_cannot_be_a_period_is_refused_by_its_key() {
    for (json, key) in [
        (r#"{"every":"rolling"}"#, "hours"),
        (r#"{"every":"rolling","hours":745}"#, "hours"),
        (r#"{"every":"day","hours":3}"#, "hours"),
        (r#"{"every":"day","tz":"Mars/Base"}"#, "tz"),
        (r#"{"every":"week","week_start":0}"#, "week_start"),
        (r#"{"every":"month","month_day":32}"#, "month_day"),
        (r#"{"every":"day","reset_at":"24:30"}"#, "reset_at"),
        (r#"{"every":"day","reset_at":"8:00"}"#, "reset_at"),
    ] {
        let error = Rule::of(serde_json::from_str(json).unwrap()).unwrap_err();
        assert_eq!(error.key, key, "{error}");
    }
    assert!(serde_json::from_str::<Period>(r#"{"every":"day","zone":"UTC"}"#).is_err());
    let written = r#"{"every":"month","month_day":15}"#;
    assert_eq!(serde_json::to_string(&serde_json::from_str::<Period>(written).unwrap()).unwrap(), written);
}
