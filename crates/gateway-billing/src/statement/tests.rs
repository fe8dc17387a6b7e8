use jiff::{Timestamp, tz::TimeZone};

use super::{month::Month, *};

fn us(at: &str) -> i64 {
    at.parse::<Timestamp>().unwrap().as_microsecond()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

#[test]
fn months_follow_the_zone() {
    let first = Month::first(us("2026-11-23T12:00:00Z"), &zone("Asia/Shanghai")).unwrap();
    assert_eq!(first, Month { start: us("2026-10-31T16:00:00Z"), end: us("2026-11-30T16:00:00Z"), name: "2026-11".into() });
    // Made in the last hours of the month there, and in the next one here.
    assert_eq!(Month::first(us("2026-12-01T03:00:00Z"), &zone("America/Los_Angeles")).unwrap().name, "2026-11");
    let march = Month::first(us("2026-03-02T00:00:00Z"), &zone("Europe/Berlin")).unwrap();
    assert_eq!((march.end - march.start) / 3_600_000_000, 31 * 24 - 1, "an hour is left out in March");
}

#[test]
fn a_change_of_zone_makes_no_gap_no_overlap_and_no_second_statement_of_a_month() {
    let zones = ["UTC", "Asia/Shanghai", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu", "America/New_York"];
    for before in zones {
        for after in zones {
            let november = Month::first(us("2026-11-15T00:00:00Z"), &zone(before)).unwrap();
            let december = Month::beginning(november.end, &zone(after)).unwrap();
            let january = Month::beginning(december.end, &zone(after)).unwrap();
            assert_eq!((december.start, january.start), (november.end, december.end));
            assert_eq!((&*november.name, &*december.name, &*january.name), ("2026-11", "2026-12", "2027-01"), "{before} to {after}");
            let days = (december.end - december.start) / 86_400_000_000;
            assert!((29..=32).contains(&days), "{before} to {after}: {days}");
        }
    }
}

#[test]
fn a_statement_has_one_name() {
    assert_eq!((number(1), number(1_234_567)), ("ST-000001".to_owned(), "ST-1234567".to_owned()));
    assert_eq!((no_of("ST-000001"), no_of("ST-1234567")), (Some(1), Some(1_234_567)));
    for other in ["", "ST-", "ST-1", "ST-0000001", "ST-000000", "ST--00001", "ST-+00001", "st-000001", "000001", "ST-99999999999999999999"]
    {
        assert_eq!(no_of(other), None, "{other}");
    }
}
