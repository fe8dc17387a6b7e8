//! What goes wrong and how slowly: rules from configuration or from a request header.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use super::question::Question;

/// What the simulated provider does besides answering.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// Decides every answer and every latency.
    pub seed: u64,
    /// First match wins; none is a normal answer at once.
    pub rules: Vec<Rule>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self { seed: 1, rules: Vec::new() }
    }
}

/// One rule of a scenario.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Which requests it is for; everything when empty.
    #[serde(rename = "match")]
    pub matching: Match,
    /// How long the first byte takes.
    pub latency_ms: Option<Latency>,
    /// What goes wrong.
    pub fault: Option<SimulatedFault>,
}

/// Which requests a rule is for. What is not set matches anything.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The upstream model; a trailing `*` matches any rest.
    pub model: Option<Box<str>>,
    /// The protocol by name.
    pub protocol: Option<Box<str>>,
    /// Whether a stream is asked for.
    pub stream: Option<bool>,
    /// Which of the requests that match otherwise, counted from 1: `"2"`, `"1-3"`, `"4-"`.
    pub nth: Option<Nth>,
}

impl Match {
    /// Whether everything but `nth` fits.
    pub(super) fn fits(&self, question: &Question) -> bool {
        let model = self.model.as_deref().is_none_or(|model| match model.strip_suffix('*') {
            Some(prefix) => question.model.starts_with(prefix),
            None => question.model == model,
        });
        model
            && self.protocol.as_deref().is_none_or(|protocol| question.face.protocol().as_str() == protocol)
            && self.stream.is_none_or(|stream| question.stream == stream)
    }
}

/// A range of request numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nth {
    first: u64,
    last: u64,
}

impl Nth {
    /// Whether request number `n` is in the range.
    #[must_use]
    pub fn contains(self, n: u64) -> bool {
        (self.first..=self.last).contains(&n)
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, last) = match text.split_once('-') {
            Some((first, "")) => (first.trim().parse().ok()?, u64::MAX),
            Some((first, last)) => (first.trim().parse().ok()?, last.trim().parse().ok()?),
            None => {
                let only = text.trim().parse().ok()?;
                (only, only)
            }
        };
        (1 <= first && first <= last).then_some(Self { first, last })
    }
}

impl<'de> Deserialize<'de> for Nth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Nth;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a range counted from 1, such as \"2\", \"1-3\" or \"4-\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Nth, E> {
                Nth::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Nth, E> {
                if n == 0 { Err(E::invalid_value(de::Unexpected::Unsigned(n), &self)) } else { Ok(Nth { first: n, last: n }) }
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Nth, E> {
                u64::try_from(n).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self)).and_then(|n| self.visit_u64(n))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// A distribution of latencies: log-normal through both points.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Half of the requests are faster.
    pub p50: f64,
    /// One in twenty is slower; `p50` when left out, which makes every request take the same time.
    pub p95: Option<f64>,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum SimulatedFault {
    /// An error answer.
    Status {
        /// The status.
        status: u16,
        /// Sent as `Retry-After`, in the protocol's own way.
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// No head ever comes.
    Hang,
    /// The answer stops and the connection stays open.
    Stall {
        /// Events sent before it; half of the bytes of a whole answer.
        #[serde(default = "one")]
        after_events: usize,
    },
    /// The connection breaks.
    Cut {
        /// Events sent before it; half of the bytes of a whole answer.
        #[serde(default = "one")]
        after_events: usize,
        /// The server resets the connection instead of closing it.
        #[serde(default)]
        reset: bool,
    },
    /// The protocol's own error event inside a 200; an error object in a whole answer.
    ErrorEvent {
        /// Events sent before it.
        #[serde(default)]
        after_events: usize,
    },
    /// Bytes that are not what the protocol says.
    Malformed {
        /// Events sent before them.
        #[serde(default)]
        after_events: usize,
    },
    /// Usage that is not what it should be.
    Usage {
        /// How.
        mode: UsageMode,
    },
    /// The body comes in small pieces.
    Drip {
        /// Bytes a piece.
        bytes: usize,
        /// Between two pieces.
        every_ms: u64,
    },
}

fn one() -> usize {
    1
}

/// How usage is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageMode {
    /// As counted.
    #[default]
    #[serde(skip)]
    Right,
    /// Not at all.
    Missing,
    /// Ten times what was counted.
    Wrong,
}

/// Most bytes and most rules in a header: each scenario sent so is remembered for its counts.
const HEADER_BYTES_MAX: usize = 4 * 1_024;
const HEADER_RULES_MAX: usize = 32;

/// The rules in the value of the header `x-bellwether-simulate`.
pub(super) fn parse_header(text: &str) -> Result<Vec<Rule>, String> {
    if text.len() > HEADER_BYTES_MAX {
        return Err(format!("`x-bellwether-simulate` has {} bytes; at most {HEADER_BYTES_MAX} are taken", text.len()));
    }
    let rules: Vec<Rule> = parse(text)?;
    if rules.len() > HEADER_RULES_MAX {
        return Err(format!("`x-bellwether-simulate` has {} rules; at most {HEADER_RULES_MAX} are taken", rules.len()));
    }
    Ok(rules)
}

fn parse(text: &str) -> Result<Vec<Rule>, String> {
    serde_json::from_str(text).map_err(|error| {
        let shown: String = text.chars().take(100).flat_map(char::escape_debug).collect();
        format!(
            "`x-bellwether-simulate` must be a JSON array of rules such as [{{\"fault\":{{\"kind\":\"hang\"}}}}], not `{shown}`: {error}"
        )
    })
}
