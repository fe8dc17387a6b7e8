//! Our charges against those of `genai-prices` 0.2.3, an independent calculator in Python, to the last digit.
//!
//! It runs where the package is: in `target/peer-venv`, made by
//! `python3 -m venv target/peer-venv && target/peer-venv/bin/pip install genai-prices==0.2.3`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use gateway_billing::{
    money::Ppm,
    price::{Calendars, Coverage, Draft, PriceInput, PriceVersion, PriceVersionId, SELL_BOOK, Source, charge, publish},
    usage::Leaves,
};
use serde_json::{Value, json};

/// Enough for 3,000 that are priced, beside those that both refuse.
const CASES: usize = 3_100;
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

fn python() -> Option<PathBuf> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("target/peer-venv/bin/python");
    let check = "import importlib.metadata as m; raise SystemExit(m.version('genai-prices') != '0.2.3')";
    let found = Command::new(&python).args(["-c", check]).stderr(Stdio::null()).status();
    found.is_ok_and(|status| status.success()).then_some(python)
}

/// A xorshift generator: the cases must be the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Dollars per million with up to six decimals.
    fn figure(&mut self) -> String {
        let decimals = self.below(7) as usize;
        let unit = 10u64.pow(decimals as u32);
        let whole = self.below(90);
        if decimals == 0 { format!("{whole}") } else { format!("{whole}.{:0decimals$}", self.below(unit)) }
    }

    fn count(&mut self) -> u64 {
        let most = [1, 10, 1_000, 300_000][self.below(4) as usize];
        self.below(most + 1)
    }
}

fn case(random: &mut Random) -> Value {
    let mut prices = json!({ "input": random.figure(), "output": random.figure() });
    let mut price = |name: &str, percent| {
        if random.chance(percent) {
            prices[name] = json!(random.figure());
        }
    };
    for name in ["input_cache_read", "input_cache_write", "input_audio", "output_reasoning", "output_audio"] {
        price(name, 60);
    }
    if prices.get("input_cache_write").is_some() {
        let figure = random.figure();
        if random.chance(60) {
            prices["input_cache_write_1h"] = json!(figure);
        }
    }
    // Cached audio is priced wherever both its parents are, but for a few, which both sides must refuse.
    if prices.get("input_audio").is_some() && prices.get("input_cache_read").is_some() && random.chance(95) {
        prices["input_audio_cache_read"] = json!(random.figure());
    }
    let step = random.chance(50).then(|| {
        let names: Vec<String> = prices.as_object().unwrap().keys().cloned().collect();
        let upper: serde_json::Map<String, Value> =
            names.into_iter().filter_map(|name| random.chance(80).then(|| (name, json!(random.figure())))).collect();
        let over = [0, 1, 1_000, 128_000, 272_000][random.below(5) as usize];
        json!({ "over": over, "prices": upper })
    });
    let step = step.filter(|step| !step["prices"].as_object().unwrap().is_empty());
    let mut usage = serde_json::Map::new();
    for sku in [
        "tok.in",
        "tok.in.cache_read",
        "tok.in.cache_write_5m",
        "tok.in.cache_write_1h",
        "tok.in.audio",
        "tok.in.audio.cache_read",
        "tok.out",
        "tok.out.reasoning",
        "tok.out.audio",
    ] {
        usage.insert(sku.to_owned(), json!(random.count()));
    }
    json!({ "prices": prices, "step": step, "usage": usage })
}

/// The exact sum in pico-dollars, and the charge in nano-dollars; `None` if the price is refused.
fn ours(case: &Value) -> Option<(i128, i128)> {
    let mut price = case["prices"].clone();
    if case["step"].is_object() {
        let mut entry = case["step"]["prices"].clone();
        entry["input_tokens_over"] = case["step"]["over"].clone();
        price["overrides"] = json!([entry]);
    }
    let input: PriceInput = serde_json::from_value(price).unwrap();
    let source = Source { kind: "manual".into(), reference: "peer".into() };
    let draft = Draft { book: SELL_BOOK.into(), model: "m".into(), route: "".into(), terms: input.terms().unwrap().0, source };
    let new = publish(&[draft], &[], Coverage::Whole, &Calendars::shipped(), 0).ok()?.new.remove(0);
    let version = PriceVersion::read(&new.row(PriceVersionId(1), 0)).unwrap();
    let leaves = Leaves::from_stored(&case["usage"].to_string()).unwrap();
    let charge = charge(&version, Ppm::ONE, &leaves, 0).unwrap();
    let sum = charge.lines.iter().map(|line| i128::from(line.quantity) * i128::from(line.price.get())).sum();
    Some((sum, i128::from(charge.total.get())))
}

/// A decimal in dollars as exact pico-dollars.
fn pico(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (kept, rest) = fraction.split_at(fraction.len().min(12));
    assert!(rest.bytes().all(|b| b == b'0'), "{text} is finer than our prices");
    format!("{whole}{kept:0<12}").parse().unwrap()
}

#[test]
fn charges_equal_those_of_genai_prices() {
    let Some(python) = python() else {
        println!("skipped: genai-prices 0.2.3 is not in target/peer-venv");
        return;
    };
    println!("seed {SEED:#x}");
    let mut random = Random(SEED);
    let cases: Vec<Value> = (0..CASES).map(|_| case(&mut random)).collect();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/genai_prices_peer.py");
    let mut peer = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = peer.stdin.take().unwrap();
    let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = peer.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let answers: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    assert_eq!(answers.len(), CASES);
    let mut refused = 0;
    for (case, answer) in cases.iter().zip(answers) {
        match (ours(case), answer) {
            (None, "refused") => refused += 1,
            (Some((sum, charge)), total) if total != "refused" => {
                assert_eq!(sum, pico(total), "{case}");
                assert_eq!(charge, (sum + 999) / 1_000, "{case}");
            }
            (ours, theirs) => panic!("ours {ours:?}, theirs {theirs}: {case}"),
        }
    }
    println!("{} equal, {refused} refused by both", CASES - refused);
    assert!(refused > 0 && CASES - refused >= 3_000, "3,000 priced cases and some that both sides refuse");
}
