use super::*;
use crate::catalog::Catalog;

/// Records of the full catalog, one of each shape.
const SAMPLE: &str = include_str!("../../../data/sample.json");

#[test]
fn the_full_catalog_is_read_as_the_shipped_lines_were_made() {
    let offers = offers(SAMPLE).unwrap();
    assert_eq!(offers.entries.len(), 14);
    for entry in &offers.entries {
        assert_eq!(Catalog::shipped().find(&entry.provider, &entry.model).as_ref(), Some(entry), "{}/{}", entry.provider, entry.model);
    }
    let left_out = [
        ("does not answer in text", 1),
        ("no price for input or output tokens", 1),
        ("price marked as suspect", 1),
        ("without a price", 1),
    ];
    assert_eq!(offers.left_out, BTreeMap::from(left_out));
    assert_eq!(offers.ignored["cache_write_12h"], 6);
    assert_eq!((offers.ignored["file_search_per_thousand"], offers.ignored["time_of_day"]), (1, 1));
    assert!(!offers.ignored.contains_key("input"));
}

#[test]
fn the_shipped_lines_are_read_too() {
    let text = "a/b\t{\"p\":{\"input\":\"1\",\"output\":\"2\"}}\na/c\t@b\n";
    let offers = offers(text).unwrap();
    assert_eq!((offers.entries.len(), offers.left_out["another name of an offer"]), (1, 1));
    assert_eq!(offers.entries[0].price.rates["input"], "1");
}

#[track_caller]
fn check_refused(prices: &str, problem: &str) {
    let text = format!(
        "{{\"schema\":1,\"models\":[\n{{\"provider\":\"a\",\"id\":\"ok\",\"mode\":\"chat\"}},\n{{\"provider\":\"a\",\"id\":\"b\",\"mode\":\"chat\",\"prices\":{prices}}}]}}"
    );
    let error = offers(&text).unwrap_err();
    assert_eq!(error.line, 3);
    assert!(error.problem.contains(problem), "{error}");
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    let rates = r#""currency":"USD","per_million_tokens":{"input":"1","output":"2"}"#;
    check_refused(r#"{"currency":"USD","per_million_tokens":{"input":1,"output":2}}"#, "expected a string");
    check_refused(r#"{"currency":"dollars","per_million_tokens":{"input":"1","output":"2"}}"#, "`dollars` is not a currency");
    check_refused(&format!(r#"{{{rates},"surcharge":"1"}}"#), "unknown field `surcharge`");
    let off_peak = |windows: &str, prices: &str| format!(r#"{{{rates},"off_peak":{{"windows":[{windows}],"prices":{{{prices}}}}}}}"#);
    check_refused(&off_peak(r#"{"hours_utc":"10-12","weekdays":[1]}"#, r#""input":"0.5""#), "`10-12` is not a span");
    check_refused(&off_peak(r#"{"hours_utc":"10:00-12:00","weekdays":[8]}"#, r#""input":"0.5""#), "a weekday is");
    check_refused(&off_peak(r#"{"hours_utc":"00:00-12:00","weekdays":[1]}"#, r#""input":"0.5""#), "crosses midnight");
    check_refused(&off_peak(r#"{"hours_utc":"10:00-00:00","weekdays":[1]}"#, r#""cache_read":"0.5""#), "no peak price");
    check_refused(&format!(r#"{{{rates},"units":{{"web_search_per_thousand":{{"low":"x"}}}}}}"#), "`web_search_per_thousand`");
    let error = |text: &str| offers(text).unwrap_err().to_string();
    assert_eq!(error(r#"{"schema":2,"models":[]}"#), "line 1 of the catalog: its schema is 2; this build reads schema 1");
    assert!(error("{\n\"models\":[]}").starts_with("line 2 of the catalog: not a catalog file: missing field `schema`"));
    assert!(error("rubbish").contains("a tab"));
    assert!(offers("").unwrap().entries.is_empty());
}

#[test]
fn an_offer_in_another_currency_keeps_it() {
    let text = r#"{"schema":1,"models":[{"provider":"a","id":"b","mode":"chat",
        "prices":{"currency":"CNY","per_million_tokens":{"input":"1","output":"2"}}}]}"#;
    let offers = offers(text).unwrap();
    assert_eq!(offers.entries[0].price.currency.map(|currency| currency.to_string()), Some("CNY".to_owned()));
}

#[test]
fn a_window_is_the_complement_of_the_quiet_hours_in_its_own_zone() {
    let offers = offers(SAMPLE).unwrap();
    let flash = offers.entries.iter().find(|entry| &*entry.model == "deepseek-flash").unwrap();
    let windows: Vec<_> = flash.price.overrides.iter().map(|entry| entry.window.as_ref().unwrap()).collect();
    let told: Vec<_> = windows.iter().map(|w| format!("{} {} {}-{}", w.tz, w.days.as_deref().unwrap(), w.from, w.to)).collect();
    assert_eq!(told, ["Asia/Shanghai 1-5 09:00-12:00", "Asia/Shanghai 1-5 14:00-18:00"]);
    assert!(windows.iter().all(|window| window.not_on.as_deref() == Some("cn-holidays")));
    assert_eq!((flash.price.rates["input"].as_str(), flash.price.overrides[0].rates["input"].as_str()), ("0.15", "0.3"));
}
