//! Golden vectors: worked charges and one usage report per dialect, as data in `vectors/`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::sync::Arc;

use gateway_billing::{
    money::{Exchange, Nano, Ppm},
    price::{Calendars, Coverage, Draft, PriceInput, PriceVersion, PriceVersionId, SELL_BOOK, Source, charge, charge_total, publish},
    usage::{Leaves, leaves_of},
};
use serde_json::Value;

fn vectors(file: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn version(price: &Value) -> Arc<PriceVersion> {
    let input: PriceInput = serde_json::from_value(price.clone()).unwrap();
    let source = Source { kind: "manual".into(), reference: "vector".into() };
    let draft = Draft { book: SELL_BOOK.into(), model: "m".into(), route: "".into(), terms: input.terms().unwrap().0, source };
    let new = publish(&[draft], &[], Coverage::Whole, &Calendars::shipped(), 0).unwrap().new.remove(0);
    PriceVersion::read(&new.row(PriceVersionId(1), 0)).unwrap()
}

fn at_us(case: &Value) -> i64 {
    case["at"].as_str().map_or(0, |at| at.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

#[test]
fn worked_charges() {
    for vector in vectors("charges.json") {
        let version = version(&vector["price"]);
        for case in vector["cases"].as_array().unwrap() {
            let leaves = Leaves::from_stored(&case["leaves"].to_string()).unwrap();
            let multiplier = case["multiplier_ppm"].as_u64().map_or(Ppm::ONE, |ppm| Ppm::new(ppm as u32).unwrap());
            let charge = charge(&version, multiplier, &leaves, at_us(case)).unwrap();
            let expected = Nano::new(case["nano"].as_i64().unwrap());
            assert_eq!(charge.total, expected, "{} {}: {case}", vector["id"], vector["title"]);
            assert_eq!(Nano::checked_sum(charge.lines.iter().map(|line| line.amount)), Some(expected));
            assert_eq!(charge_total(&version, multiplier, &leaves, at_us(case)).unwrap().0, expected);
        }
    }
}

#[test]
fn worked_conversions() {
    for vector in vectors("conversions.json") {
        let number = |name: &str| vector[name].as_i64().unwrap();
        let rate = Exchange::new(number("numerator"), number("denominator")).unwrap();
        assert_eq!(rate.credit(number("minor")), Ok(Nano::new(number("nano"))), "{} {}", vector["id"], vector["title"]);
    }
}

#[test]
fn usage_of_each_dialect() {
    for vector in vectors("usage.json") {
        let usage = serde_json::from_value(vector["usage"].clone()).unwrap();
        let normalised = leaves_of(&usage);
        assert_eq!(serde_json::to_value(&normalised.leaves).unwrap(), vector["leaves"], "{}", vector["dialect"]);
        assert_eq!(normalised.inconsistent, vector["inconsistent"], "{}", vector["dialect"]);
    }
}
