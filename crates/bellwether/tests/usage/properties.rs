//! Random reports of each dialect: leaves that partition the totals, prices that cannot be gamed by the cache, and figures that
//! do not add up or are no figures at all, read in the caller's favour.
//!
//! What is promised of a price list in which reading the cache costs more than fresh input is only that it is charged as
//! listed: a cached token then costs its own rate, and more of them cost more.

use gateway_billing::{
    price::{PriceVersion, Sku},
    usage::{Leaves, UsageFlags},
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::json;

use crate::{
    answers::{Dialect, Report},
    lists::{charged, settled, version},
};

fn cases(cases: u32) -> ProptestConfig {
    // A file of old failures needs a place beside a library; what was found once is a vector of its own instead.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Anthropic, Dialect::Gemini];

/// What an answer really used, from which a consistent report of any dialect is written.
#[derive(Debug, Clone, Copy)]
struct Truth {
    fresh: u64,
    read: u64,
    written_5m: u64,
    written_1h: u64,
    audio: u64,
    tool: u64,
    text: u64,
    reasoning: u64,
}

fn truth() -> impl Strategy<Value = Truth> {
    let n = || prop_oneof![Just(0u64), 1..50u64, 1..2_000_000u64];
    (n(), n(), n(), n(), n(), n(), n(), n()).prop_map(|(fresh, read, written_5m, written_1h, audio, tool, text, reasoning)| Truth {
        fresh,
        read,
        written_5m,
        written_1h,
        audio,
        tool,
        text,
        reasoning,
    })
}

impl Truth {
    /// What the dialect can tell of it.
    fn in_dialect(self, dialect: Dialect) -> Self {
        match dialect {
            // One kind of write, and no tools; without a split, cached tokens may be sound, so it is one or the other.
            Dialect::Chat => Self {
                written_5m: self.written_5m,
                written_1h: 0,
                tool: 0,
                audio: if self.read + self.written_5m > 0 { 0 } else { self.audio },
                ..self
            },
            Dialect::Anthropic => Self { audio: 0, tool: 0, ..self },
            Dialect::Gemini => Self { written_5m: 0, written_1h: 0, ..self },
        }
    }

    fn report(self, dialect: Dialect) -> String {
        let Self { fresh, read, written_5m, written_1h, audio, tool, text, reasoning } = self;
        let (prompt, output) = (fresh + read + written_5m + written_1h + audio, text + reasoning);
        match dialect {
            Dialect::Chat => json!({"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
                "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written_5m, "audio_tokens": audio},
                "completion_tokens_details": {"reasoning_tokens": reasoning}}),
            Dialect::Anthropic => json!({"input_tokens": fresh, "cache_read_input_tokens": read,
                "cache_creation_input_tokens": written_5m + written_1h,
                "cache_creation": {"ephemeral_5m_input_tokens": written_5m, "ephemeral_1h_input_tokens": written_1h},
                "output_tokens": output, "output_tokens_details": {"thinking_tokens": reasoning}}),
            Dialect::Gemini => json!({"promptTokenCount": prompt, "cachedContentTokenCount": read, "toolUsePromptTokenCount": tool,
                "candidatesTokenCount": text, "thoughtsTokenCount": reasoning, "totalTokenCount": prompt + tool + output,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": fresh + read}, {"modality": "AUDIO", "tokenCount": audio}],
                "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": read}]}),
        }
        .to_string()
    }

    fn leaves(self) -> [(Sku, u64); 8] {
        [
            (Sku::IN, self.fresh),
            (Sku::IN_CACHE_READ, self.read),
            (Sku::IN_CACHE_WRITE_5M, self.written_5m),
            (Sku::IN_CACHE_WRITE_1H, self.written_1h),
            (Sku::IN_AUDIO, self.audio),
            (Sku::IN_TOOL, self.tool),
            (Sku::OUT, self.text),
            (Sku::OUT_REASONING, self.reasoning),
        ]
    }
}

/// Rates in dollars a million, of everything that a list can price; no order among them.
fn list() -> impl Strategy<Value = Vec<u32>> {
    vec(prop_oneof![Just(0u32), 1..400u32, 1..200_000u32], NAMES.len())
}

const NAMES: [&str; 13] = [
    "input",
    "output",
    "input_cache_read",
    "input_cache_write",
    "input_cache_write_1h",
    "input_audio",
    "input_audio_cache_read",
    "input_image",
    "input_video",
    "input_tool",
    "output_reasoning",
    "output_audio",
    "output_image",
];

fn priced(rates: &[u32]) -> std::sync::Arc<PriceVersion> {
    let figures = NAMES.iter().zip(rates).map(|(name, rate)| ((*name).to_owned(), json!(format!("{}.{:03}", rate / 1_000, rate % 1_000))));
    version(&figures.collect())
}

/// The report as it is read by one of its paths: they agree, as the vectors show for each.
fn read(dialect: Dialect, usage: String, list: &PriceVersion, path: usize) -> (Leaves, UsageFlags) {
    settled(list, &Report::of(dialect, usage).read()[path % 4].1)
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn the_leaves_of_a_consistent_report_are_what_was_used(truth in truth(), rates in list(), path in 0..4usize) {
        let list = priced(&rates);
        for dialect in DIALECTS {
            let told = truth.in_dialect(dialect);
            let (leaves, flags) = read(dialect, told.report(dialect), &list, path);
            for (sku, n) in told.leaves() {
                prop_assert_eq!(leaves.count(&sku), n, "{:?} {}", dialect, sku);
            }
            let (input, output) = (told.fresh + told.read + told.written_5m + told.written_1h + told.audio + told.tool, told.text + told.reasoning);
            prop_assert_eq!((leaves.input_tokens(), leaves.output_tokens()), (input, output), "{:?}", dialect);
            prop_assert_eq!(flags, UsageFlags::NONE, "{:?}", dialect);
        }
    }

    #[test]
    fn what_is_read_from_the_cache_costs_as_listed(truth in truth(), rates in list(), moved in 0..2_000_000u64) {
        let list = priced(&rates);
        for dialect in DIALECTS {
            let told = Truth { audio: 0, ..truth.in_dialect(dialect) };
            let moved = moved.min(told.fresh);
            let cached = Truth { fresh: told.fresh - moved, read: told.read + moved, ..told };
            let cost = |truth: Truth| charged(&list, &read(dialect, truth.report(dialect), &list, 0).0).unwrap();
            // Never more where reading is not dearer than fresh input; and a list that makes it dearer is kept to.
            if rates[2] <= rates[0] {
                prop_assert!(cost(cached) <= cost(told), "{:?}", dialect);
            } else {
                prop_assert!(cost(cached) >= cost(told), "{:?}", dialect);
            }
        }
    }
}

/// The figures of a chat report, perhaps missing and in no relation to one another.
#[derive(Debug, Clone)]
struct Figures {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    read: Option<u64>,
    written: Option<u64>,
    reasoning: Option<u64>,
}

fn figures() -> impl Strategy<Value = Figures> {
    let n = || prop_oneof![1 => Just(None), 6 => (0..40u64).prop_map(Some), 2 => (0..3_000_000u64).prop_map(Some)];
    (n(), n(), n(), n(), n(), n()).prop_map(|(prompt, completion, total, read, written, reasoning)| Figures {
        prompt,
        completion,
        total,
        read,
        written,
        reasoning,
    })
}

/// What each dialect's totals allow at most, and each kind by itself; `None`: no limit is told.
struct Allowed {
    input: Option<u64>,
    output: Option<u64>,
    both: Option<u64>,
    kinds: Vec<(Sku, u64)>,
    adds_up: bool,
}

impl Figures {
    fn report(&self, dialect: Dialect) -> String {
        let Self { prompt, completion, total, read, written, reasoning } = self;
        match dialect {
            Dialect::Chat => json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total,
                "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
                "completion_tokens_details": {"reasoning_tokens": reasoning}}),
            // The first two writes are the split of the third.
            Dialect::Anthropic => json!({"input_tokens": prompt, "cache_read_input_tokens": read, "cache_creation_input_tokens": total,
                "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 7},
                "output_tokens": completion, "output_tokens_details": {"thinking_tokens": reasoning}}),
            Dialect::Gemini => json!({"promptTokenCount": prompt, "cachedContentTokenCount": read, "toolUsePromptTokenCount": written,
                "candidatesTokenCount": completion, "thoughtsTokenCount": reasoning, "totalTokenCount": total}),
        }
        .to_string()
    }

    fn allowed(&self, dialect: Dialect) -> Allowed {
        let n = |figure: Option<u64>| figure.unwrap_or(0);
        let total = self.total.filter(|n| *n > 0);
        match dialect {
            Dialect::Chat => {
                let inside = n(self.read) + n(self.written);
                let beside = self.prompt.zip(self.completion).is_some_and(|(p, c)| total == Some(p + c + n(self.reasoning)));
                let output = self.completion.map(|c| if beside { c + n(self.reasoning) } else { c });
                let sums = self.prompt.zip(output).zip(total).is_none_or(|((p, c), total)| p + c == total);
                Allowed {
                    input: self.prompt,
                    output,
                    both: total.filter(|_| self.prompt.is_some() && self.completion.is_some()),
                    kinds: vec![
                        (Sku::IN_CACHE_READ, n(self.read)),
                        (Sku::IN_CACHE_WRITE_5M, n(self.written)),
                        (Sku::OUT_REASONING, n(self.reasoning)),
                    ],
                    adds_up: sums && self.prompt.is_none_or(|p| inside <= p) && output.is_none_or(|c| n(self.reasoning) <= c),
                }
            }
            Dialect::Anthropic => {
                let split = self.written.map(|written| written + 7);
                let writes = [self.total, split].into_iter().flatten().min().unwrap_or(7);
                let five = self.written.unwrap_or_else(|| n(self.total).saturating_sub(7));
                Allowed {
                    input: Some(n(self.prompt) + n(self.read) + writes),
                    output: self.completion,
                    both: None,
                    kinds: vec![
                        (Sku::IN, n(self.prompt)),
                        (Sku::IN_CACHE_READ, n(self.read)),
                        (Sku::IN_CACHE_WRITE_5M, five),
                        (Sku::IN_CACHE_WRITE_1H, 7),
                    ],
                    adds_up: self.total.is_none_or(|total| total == five + 7) && self.completion.is_none_or(|c| n(self.reasoning) <= c),
                }
            }
            Dialect::Gemini => {
                let told = self.prompt.is_some() || self.total.is_some();
                let input = n(self.prompt) + n(self.written);
                let output = self.completion.unwrap_or_else(|| n(self.total).saturating_sub(input + n(self.reasoning))) + n(self.reasoning);
                Allowed {
                    input: told.then_some(input),
                    output: told.then_some(output),
                    both: total,
                    kinds: vec![
                        (Sku::IN_CACHE_READ, n(self.read)),
                        (Sku::IN_TOOL, n(self.written)),
                        (Sku::OUT_REASONING, n(self.reasoning)),
                    ],
                    adds_up: !told || n(self.read) <= n(self.prompt) && total.is_none_or(|total| total == input + output),
                }
            }
        }
    }
}

/// The same kinds with tokens taken off each side in an order of the test's choosing, down to as many as `leaves` has.
fn otherwise(bucketed: &[(Sku, u64)], leaves: &Leaves, order: &[usize]) -> Leaves {
    let mut counts: Vec<(Sku, u64)> = bucketed.to_vec();
    for (is_input, total) in [(true, leaves.input_tokens()), (false, leaves.output_tokens())] {
        let here = |sku: &Sku| sku.to_string().starts_with("tok.in") == is_input;
        let mut excess = counts.iter().filter(|(sku, _)| here(sku)).map(|(_, n)| n).sum::<u64>().saturating_sub(total);
        for at in order {
            if let Some((sku, n)) = counts.get_mut(*at)
                && here(sku)
            {
                let taken = excess.min(*n);
                *n -= taken;
                excess -= taken;
            }
        }
    }
    counts.into_iter().fold(Leaves::new(), |leaves, (sku, n)| leaves.with(sku, n))
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn figures_that_do_not_add_up_are_flagged_and_read_in_the_callers_favour(
        figures in figures(), rates in list(), path in 0..4usize, order in Just((0..16usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let list = priced(&rates);
        for dialect in DIALECTS {
            let usage = Report::of(dialect, figures.report(dialect)).read().swap_remove(path).1;
            let (leaves, flags) = settled(&list, &usage);
            let allowed = figures.allowed(dialect);
            prop_assert_eq!(flags.has(UsageFlags::INCONSISTENT), !allowed.adds_up, "{:?} {:?}", dialect, usage);
            prop_assert!(allowed.input.is_none_or(|most| leaves.input_tokens() <= most), "{:?} {:?}", dialect, leaves);
            prop_assert!(allowed.output.is_none_or(|most| leaves.output_tokens() <= most), "{:?} {:?}", dialect, leaves);
            prop_assert!(allowed.both.is_none_or(|most| leaves.total_tokens() <= most), "{:?} {:?}", dialect, leaves);
            for (sku, most) in allowed.kinds {
                prop_assert!(leaves.count(&sku) <= most, "{:?} {} {:?}", dialect, sku, leaves);
            }
            // No other way to come to as many tokens of the kinds reported costs less.
            let bucketed: Vec<_> = settled_buckets(&usage);
            let (ours, theirs) = (charged(&list, &leaves).unwrap(), charged(&list, &otherwise(&bucketed, &leaves, &order)).unwrap());
            prop_assert!(ours <= theirs, "{:?} {:?}: {} or {}", dialect, leaves, ours, theirs);
        }
    }

    #[test]
    fn what_is_no_count_is_not_charged_and_costs_nobody_the_answer(
        odd in vec(select(&ODD[..]), 12), rates in list(),
    ) {
        let list = priced(&rates);
        for dialect in DIALECTS {
            for (path, usage) in Report::of(dialect, nonsense(dialect, &odd)).read() {
                let (leaves, _) = settled(&list, &usage);
                let most: u64 = odd.iter().map(|text| readable(text)).fold(0, u64::saturating_add);
                prop_assert!(leaves.total_tokens() <= most.saturating_mul(2), "{:?} {} {:?}", dialect, path, leaves);
                prop_assert!(charged(&list, &leaves).is_none_or(|nano| !nano.is_negative()));
            }
        }
    }
}

/// The buckets of a usage as kinds, whether or not they fit the totals.
fn settled_buckets(usage: &gateway_core::Usage) -> Vec<(Sku, u64)> {
    let open = gateway_core::Usage { reported_input: None, reported_output: None, ..usage.clone() };
    gateway_billing::usage::leaves_of(&open).leaves.iter().map(|(sku, n)| (sku.clone(), n)).collect()
}

/// What may stand where a count belongs.
const ODD: [&str; 20] = [
    "0",
    "5",
    "12.0",
    "12.5",
    "-1",
    "-0",
    "\"12\"",
    "\"x\"",
    "null",
    "true",
    "[]",
    "{}",
    "[5]",
    "1e3",
    "1e400",
    "9007199254740993",
    "18446744073709551615",
    "18446744073709551616",
    "\"\"",
    "-9223372036854775808",
];

/// The most that anything may be read as.
fn readable(text: &str) -> u64 {
    match text.trim_matches('"') {
        "5" | "[5]" => 5,
        "12.0" | "12" => 12,
        "9007199254740993" => 9_007_199_254_740_993,
        "18446744073709551615" => u64::MAX,
        _ => 0,
    }
}

fn nonsense(dialect: Dialect, odd: &[&str]) -> String {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = odd else { unreachable!("twelve were made") };
    match dialect {
        Dialect::Chat => format!(
            r#"{{"prompt_tokens":{a},"completion_tokens":{b},"total_tokens":{c},"prompt_tokens_details":{{"cached_tokens":{d},"cache_write_tokens":{e},"audio_tokens":{f},"image_tokens":{g}}},"completion_tokens_details":{{"reasoning_tokens":{h},"audio_tokens":{i}}},"prompt_cache_hit_tokens":{j},"prompt_cache_miss_tokens":{k},"cost":{l}}}"#
        ),
        Dialect::Anthropic => format!(
            r#"{{"input_tokens":{a},"output_tokens":{b},"cache_creation_input_tokens":{c},"cache_read_input_tokens":{d},"cache_creation":{{"ephemeral_5m_input_tokens":{e},"ephemeral_1h_input_tokens":{f}}},"output_tokens_details":{{"thinking_tokens":{g}}},"server_tool_use":{h},"service_tier":{i},"iterations":{j},"inference_geo":{k},"cost":{l}}}"#
        ),
        Dialect::Gemini => format!(
            r#"{{"promptTokenCount":{a},"candidatesTokenCount":{b},"totalTokenCount":{c},"cachedContentTokenCount":{d},"thoughtsTokenCount":{e},"toolUsePromptTokenCount":{f},"promptTokensDetails":[{{"modality":"AUDIO","tokenCount":{g}}},{{"modality":{h}}},{i}],"candidatesTokensDetails":{j},"serviceTier":{k},"cacheTokensDetails":[{{"modality":"AUDIO","tokenCount":{l}}}]}}"#
        ),
    }
}

#[test]
fn a_usage_that_is_no_object_is_none() {
    let list = priced(&[1_000; NAMES.len()]);
    for dialect in DIALECTS {
        for odd in ODD {
            for (path, usage) in Report::of(dialect, odd.to_owned()).read() {
                assert!(settled(&list, &usage).0.is_zero(), "{dialect:?} {odd} {path}");
            }
        }
    }
}
