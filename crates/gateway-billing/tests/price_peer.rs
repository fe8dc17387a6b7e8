//! Our charges against those of independent calculators in Python: `genai-prices` 0.2.3, to the last digit, and `litellm`
//! 1.106.2, which computes in floats, to a millionth of a nano-dollar.
//!
//! Each runs where its package is, in an environment that `cargo xtask peers` makes below `target`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{
    io::Write,
    path::{Path, PathBuf},
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

/// A calculator, its version, and the environment it is in.
struct Peer {
    package: &'static str,
    version: &'static str,
    folder: &'static str,
    script: &'static str,
}

const GENAI_PRICES: Peer = Peer { package: "genai-prices", version: "0.2.3", folder: "peer-venv", script: "genai_prices_peer.py" };
const LITELLM: Peer = Peer { package: "litellm", version: "1.106.2", folder: "peer-venv-litellm", script: "litellm_peer.py" };

impl Peer {
    /// Its interpreter; `None` if it is not installed.
    fn python(&self) -> Option<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = root.join("target").join(self.folder).join("bin/python");
        let check = format!("import importlib.metadata as m; raise SystemExit(m.version('{}') != '{}')", self.package, self.version);
        let found = Command::new(&python).args(["-c", &check]).stderr(Stdio::null()).status();
        if found.is_ok_and(|status| status.success()) {
            return Some(python);
        }
        println!("skipped: {} {} is not in target/{}", self.package, self.version, self.folder);
        None
    }

    /// One answer a case.
    fn ask(&self, python: &Path, cases: &[Value]) -> Vec<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer").join(self.script);
        let mut peer = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = peer.stdin.take().unwrap();
        let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
        let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let output = peer.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let answers: Vec<String> = std::str::from_utf8(&output.stdout).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(answers.len(), cases.len());
        answers
    }
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
    let Some(python) = GENAI_PRICES.python() else { return };
    println!("seed {SEED:#x}");
    let mut random = Random(SEED);
    let cases: Vec<Value> = (0..CASES).map(|_| case(&mut random)).collect();
    // What the comparison is about must be among what is compared.
    let with = |what: &str| cases.iter().filter(|case| case["prices"].get(what).is_some() && case["step"].is_object()).count();
    for what in ["input_cache_read", "input_cache_write_1h", "input_audio", "output_reasoning", "output_audio"] {
        assert!(with(what) > 100, "{what}");
    }
    let mut refused = 0;
    for (case, answer) in cases.iter().zip(GENAI_PRICES.ask(&python, &cases)) {
        match (ours(case), answer.as_str()) {
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

/// What a float keeps of a sum below a dollar: a millionth of a nano-dollar, in atto-dollars.
const FLOAT_NOISE: i128 = 1_000;

/// A case that `litellm` can express: one step in thousands, no cached audio, an hour in the cache priced where five
/// minutes are, totals below a dollar.
fn case_for_litellm(random: &mut Random) -> Value {
    let figure = |random: &mut Random| format!("0.{:04}", random.below(10_000));
    let mut prices = json!({ "input": figure(random), "output": figure(random) });
    for (name, percent) in
        [("input_cache_read", 60), ("input_cache_write", 60), ("input_audio", 60), ("output_reasoning", 60), ("output_audio", 60)]
    {
        if random.chance(percent) {
            prices[name] = json!(figure(random));
        }
    }
    if prices.get("input_cache_write").is_some() {
        prices["input_cache_write_1h"] = json!(figure(random));
    }
    if prices.get("input_audio").is_some() && prices.get("input_cache_read").is_some() {
        prices["input_audio_cache_read"] = json!("0");
    }
    let step = random.chance(50).then(|| {
        let over = [128_000, 200_000, 272_000][random.below(3) as usize];
        let mut upper = json!({ "input": figure(random), "output": figure(random) });
        for name in ["input_cache_read", "input_cache_write", "input_cache_write_1h"] {
            if prices.get(name).is_some() && random.chance(80) {
                upper[name] = json!(figure(random));
            }
        }
        json!({ "over": over, "prices": upper })
    });
    let fresh = match &step {
        // On either side of the step, and just beside it.
        Some(step) => [0, 1_000, step["over"].as_u64().unwrap() - 4_000, 280_000][random.below(4) as usize] + random.below(8_000),
        None => random.below(3_000),
    };
    let mut usage = json!({ "tok.in": fresh, "tok.out": random.below(3_000) });
    // What has no price is nothing to the peer, and costs what its parent costs to us.
    for (sku, price) in [
        ("tok.in.cache_read", "input_cache_read"),
        ("tok.in.cache_write_5m", "input_cache_write"),
        ("tok.in.cache_write_1h", "input_cache_write_1h"),
        ("tok.in.audio", "input"),
        ("tok.out.reasoning", "output"),
        ("tok.out.audio", "output"),
    ] {
        let priced = prices.get(price).is_some();
        usage[sku] = json!(if priced { random.below(2) * random.below(3_000) } else { 0 });
    }
    json!({ "prices": prices, "step": step, "usage": usage })
}

#[test]
fn charges_agree_with_those_of_litellm() {
    let Some(python) = LITELLM.python() else { return };
    println!("seed {SEED:#x}");
    let mut random = Random(SEED);
    let cases: Vec<Value> = (0..3_000).map(|_| case_for_litellm(&mut random)).collect();
    let (mut worst, mut stepped) = (0, 0);
    for (case, answer) in cases.iter().zip(LITELLM.ask(&python, &cases)) {
        let (sum, _) = ours(case).unwrap_or_else(|| panic!("refused: {case}"));
        let apart = (sum * 1_000_000 - atto(&answer)).abs();
        assert!(apart <= FLOAT_NOISE, "ours {sum} pico-dollars, theirs {answer}: {case}");
        worst = worst.max(apart);
        stepped += usize::from(case["step"].is_object());
    }
    println!(
        "{} agree, {stepped} of them with a step; the worst differs by {worst} atto-dollars (a nano-dollar has 1,000,000,000)",
        cases.len()
    );
}

/// A decimal in dollars as atto-dollars; what a float has beyond is cut off.
fn atto(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{:0<18}", &fraction[..fraction.len().min(18)]).parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}
