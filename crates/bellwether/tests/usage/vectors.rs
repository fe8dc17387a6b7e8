//! Worked reports: leaves, flags and charge of each, as data in `vectors/`. The charges are sums worked out by hand, which
//! stand beside them and are added up once more here, by other code than the gateway's.

use gateway_billing::money::Nano;
use serde_json::Value;

use crate::{
    answers::{Dialect, Report},
    lists::{charged, settled, version},
};

fn check(dialect: Dialect, vectors: &str) {
    let vectors: Vec<Value> = serde_json::from_str(vectors).unwrap();
    for vector in &vectors {
        let title = vector["title"].as_str().unwrap();
        let nano = vector["nano"].as_i64().unwrap();
        assert_eq!(sum_of(vector["sum"].as_str().unwrap()), nano, "{title}: the vector's own sum");
        let report = Report {
            dialect,
            usage: vector["usage"].to_string(),
            frames: vector["frames"].as_array().into_iter().flatten().map(Value::to_string).collect(),
            tier: vector["service_tier"].as_str().map(str::to_owned),
            in_groq: vector["within"] == "x_groq",
        };
        let version = version(&vector["price"]);
        for (path, usage) in report.read() {
            let (leaves, flags) = settled(&version, &usage);
            // A stream may take back with a zero what a whole answer never mentions.
            let used: Value = leaves.iter().filter(|(_, n)| *n > 0).map(|(sku, n)| (sku.to_string(), Value::from(n))).collect();
            assert_eq!(used, vector["leaves"], "{title}: {path}");
            assert_eq!(serde_json::to_value(flags.names().collect::<Vec<_>>()).unwrap(), vector["flags"], "{title}: {path}");
            assert_eq!(charged(&version, &leaves), Some(Nano::new(nano)), "{title}: {path}");
        }
    }
}

/// `2 × 3 + 4 × 5; × 1/2` in millionths of millionths of a dollar, as billionths, rounded up.
fn sum_of(text: &str) -> i64 {
    let (sum, factor) = text.split_once("; × ").unwrap_or((text, "1/1"));
    let number = |text: &str| text.trim().parse::<i128>().unwrap();
    let product = |term: &str| term.split('×').map(number).product::<i128>();
    let sum: i128 = sum.split('+').map(product).sum();
    let (above, below) = factor.split_once('/').unwrap();
    let (above, below) = (sum * number(above), 1_000 * number(below));
    i64::try_from((above + below - 1) / below).unwrap()
}

#[test]
fn openai_chat_and_its_imitators() {
    check(Dialect::Chat, include_str!("vectors/openai-chat.json"));
}

#[test]
fn anthropic_messages() {
    check(Dialect::Anthropic, include_str!("vectors/anthropic-messages.json"));
}

#[test]
fn gemini() {
    check(Dialect::Gemini, include_str!("vectors/gemini.json"));
}
