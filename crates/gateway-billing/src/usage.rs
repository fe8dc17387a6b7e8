//! From a provider's usage report to disjoint leaves, each token in exactly one SKU.
//!
//! Codecs have already split what overlaps on the wire; what is promised here is the check that the leaves of a side
//! add up to the side's total (INV-9), and that the reading lower for the caller is taken where they do not.
#![deny(clippy::float_arithmetic, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

#[cfg(test)]
mod tests;

use std::fmt;

use gateway_core::Usage;
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::price::{Side, Sku};

/// How many of each SKU a request used, and the tier it was served in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaves {
    counts: Vec<(Sku, u64)>,
    service_tier: Option<Box<str>>,
}

/// The stored text is not leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidLeaves(String);

impl fmt::Display for InvalidLeaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stored usage cannot be read: {}", self.0)
    }
}

impl std::error::Error for InvalidLeaves {}

/// The key of the tier among the SKUs of the stored form; no SKU can be called so.
const TIER_KEY: &str = "service_tier";

impl Leaves {
    /// Nothing used.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: Vec::new(), service_tier: None }
    }

    /// With `quantity` more of `sku`; saturating.
    #[must_use]
    pub fn with(mut self, sku: Sku, quantity: u64) -> Self {
        self.add(sku, quantity);
        self
    }

    /// Served in this tier. A provider's word of more than 32 characters, or with odd ones, is no tier and is dropped.
    #[must_use]
    pub fn in_tier(mut self, tier: Option<&str>) -> Self {
        let plausible = |tier: &&str| tier.len() <= 32 && tier.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        self.service_tier = tier.filter(plausible).map(Into::into);
        self
    }

    /// Adds `quantity` of `sku`; saturating.
    pub fn add(&mut self, sku: Sku, quantity: u64) {
        match self.counts.binary_search_by(|(known, _)| known.cmp(&sku)) {
            Ok(position) => self.counts[position].1 = self.counts[position].1.saturating_add(quantity),
            Err(position) => self.counts.insert(position, (sku, quantity)),
        }
    }

    /// How many of one SKU.
    #[must_use]
    pub fn count(&self, sku: &Sku) -> u64 {
        self.counts.binary_search_by(|(known, _)| known.cmp(sku)).map_or(0, |position| self.counts[position].1)
    }

    /// Every SKU reported, in the order of receipts; a zero is a report too.
    pub fn iter(&self) -> impl Iterator<Item = (&Sku, u64)> {
        self.counts.iter().map(|(sku, quantity)| (sku, *quantity))
    }

    /// The tier served, if the provider named one.
    #[must_use]
    pub fn service_tier(&self) -> Option<&str> {
        self.service_tier.as_deref()
    }

    /// All input tokens, cached ones too; saturating.
    #[must_use]
    pub fn input_tokens(&self) -> u64 {
        self.side(Side::Input)
    }

    /// All output tokens; saturating.
    #[must_use]
    pub fn output_tokens(&self) -> u64 {
        self.side(Side::Output)
    }

    /// Input and output; saturating.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens().saturating_add(self.output_tokens())
    }

    /// Whether nothing at all was used.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.counts.iter().all(|(_, quantity)| *quantity == 0)
    }

    /// The form kept in the ledger: `{"tok.in":120,"tok.out":40,"service_tier":"batch"}`.
    #[must_use]
    pub fn to_stored(&self) -> String {
        use std::fmt::Write;
        let mut text = String::with_capacity(24 * self.counts.len() + 2);
        for (sku, quantity) in self.iter() {
            let comma = if text.is_empty() { '{' } else { ',' };
            // Writing to a string cannot fail, and neither names nor tiers hold a character that JSON escapes.
            let _ = write!(text, "{comma}\"{sku}\":{quantity}");
        }
        if let Some(tier) = &self.service_tier {
            let comma = if text.is_empty() { '{' } else { ',' };
            let _ = write!(text, "{comma}\"{TIER_KEY}\":\"{tier}\"");
        }
        text.push_str(if text.is_empty() { "{}" } else { "}" });
        text
    }

    /// Reads [`Leaves::to_stored`] back.
    ///
    /// # Errors
    /// The text is not of that form.
    pub fn from_stored(text: &str) -> Result<Self, InvalidLeaves> {
        let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).map_err(|e| InvalidLeaves(e.to_string()))?;
        let mut leaves = Self::new();
        for (key, value) in &map {
            match (key.as_str(), value.as_u64(), value.as_str()) {
                (TIER_KEY, _, Some(tier)) => leaves = leaves.in_tier(Some(tier)),
                (sku, Some(quantity), _) => leaves.add(sku.parse().map_err(|e| InvalidLeaves(format!("{e}")))?, quantity),
                _ => return Err(InvalidLeaves(format!("`{key}` is not a count"))),
            }
        }
        Ok(leaves)
    }

    fn side(&self, side: Side) -> u64 {
        let of_side = self.counts.iter().filter(|(sku, _)| sku.side() == Some(side));
        of_side.fold(0, |sum, (_, quantity)| sum.saturating_add(*quantity))
    }

    /// Takes tokens off a side until it holds `total`, dearest kind first as kinds usually go: fresh and written
    /// input before media, media before what was read from the cache.
    fn cut(&mut self, side: Side, total: u64) {
        let order: &[Sku] = match side {
            Side::Input => &CUT_INPUT,
            Side::Output => &CUT_OUTPUT,
        };
        let mut excess = self.side(side).saturating_sub(total);
        for sku in order {
            if let Ok(position) = self.counts.binary_search_by(|(known, _)| known.cmp(sku)) {
                let count = &mut self.counts[position].1;
                let taken = excess.min(*count);
                *count -= taken;
                excess -= taken;
            }
        }
    }
}

const CUT_INPUT: [Sku; 9] = [
    Sku::IN_AUDIO,
    Sku::IN_VIDEO,
    Sku::IN_IMAGE,
    Sku::IN_CACHE_WRITE_1H,
    Sku::IN_CACHE_WRITE_5M,
    Sku::IN,
    Sku::IN_TOOL,
    Sku::IN_AUDIO_CACHE_READ,
    Sku::IN_CACHE_READ,
];
const CUT_OUTPUT: [Sku; 4] = [Sku::OUT_AUDIO, Sku::OUT_IMAGE, Sku::OUT, Sku::OUT_REASONING];

impl Serialize for Leaves {
    /// The counts only, as the API shows them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.counts.len()))?;
        for (sku, quantity) in self.iter() {
            map.serialize_entry(sku, &quantity)?;
        }
        map.end()
    }
}

/// Where a settlement's usage came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UsageSource {
    /// The provider's final report.
    Reported,
    /// The provider's early report of the input, and output counted here.
    EarlyCounted,
    /// Counted here.
    Counted,
    /// A checkpoint found after a crash.
    Recovered,
}

impl UsageSource {
    /// The word the API shows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::EarlyCounted => "early+counted",
            Self::Counted => "counted",
            Self::Recovered => "recovered",
        }
    }

    /// The number the ledger stores.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Reported => 0,
            Self::EarlyCounted => 1,
            Self::Counted => 2,
            Self::Recovered => 3,
        }
    }

    /// Reads [`UsageSource::code`] back.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Reported),
            1 => Some(Self::EarlyCounted),
            2 => Some(Self::Counted),
            3 => Some(Self::Recovered),
            _ => None,
        }
    }
}

/// Leaves and whether the report added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalised {
    /// What to charge for.
    pub leaves: Leaves,
    /// The buckets did not add up to the provider's own totals; the lower reading was taken. Flag the settlement
    /// `usage_inconsistent`.
    pub inconsistent: bool,
}

/// The leaves of a provider's report.
#[must_use]
pub fn leaves_of(usage: &Usage) -> Normalised {
    let buckets = [
        (Sku::IN, usage.input_uncached),
        (Sku::IN_CACHE_READ, usage.input_cache_read),
        (Sku::IN_CACHE_WRITE_5M, usage.input_cache_write_5m),
        (Sku::IN_CACHE_WRITE_1H, usage.input_cache_write_1h),
        (Sku::IN_TOOL, usage.input_tool),
        (Sku::IN_AUDIO, usage.input_audio),
        (Sku::IN_AUDIO_CACHE_READ, usage.input_audio_cache_read),
        (Sku::IN_IMAGE, usage.input_image),
        (Sku::IN_VIDEO, usage.input_video),
        (Sku::OUT, usage.output_text),
        (Sku::OUT_REASONING, usage.output_reasoning),
        (Sku::OUT_AUDIO, usage.output_audio),
        (Sku::OUT_IMAGE, usage.output_image),
        (Sku::WEB_SEARCH, usage.web_searches),
    ];
    let reported = buckets.into_iter().filter_map(|(sku, quantity)| quantity.map(|quantity| (sku, quantity)));
    // The list is in SKU order, so the leaves are born sorted.
    let mut leaves = Leaves { counts: reported.collect(), service_tier: None }.in_tier(usage.service_tier.as_deref());
    let mut inconsistent = false;
    for (side, total) in [(Side::Input, usage.reported_input), (Side::Output, usage.reported_output)] {
        let Some(total) = total else { continue };
        if leaves.side(side) != total {
            inconsistent = true;
            // Fewer in the buckets than in the total: the buckets are the lower reading and stay.
            leaves.cut(side, total);
        }
    }
    Normalised { leaves, inconsistent }
}

/// Bytes of text per token, in thousandths: 4,000 is the usual four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BytesPerToken(u32);

impl BytesPerToken {
    /// What most models come to on mixed text; used to count what was delivered, where a low count is the safe side.
    pub const USUAL: Self = Self(4_000);
    /// A cautious start for bounding a prompt, where a high count is the safe side.
    pub const CAUTIOUS: Self = Self(2_000);

    /// Takes thousandths of a byte; at least one byte a token, because no vocabulary has finer ones.
    #[must_use]
    pub const fn from_milli(milli: u32) -> Self {
        if milli < 1_000 { Self(1_000) } else { Self(milli) }
    }

    /// The thousandths.
    #[must_use]
    pub const fn milli(self) -> u32 {
        self.0
    }

    /// Tokens in this many bytes, rounded down: for charging.
    #[must_use]
    pub fn count(self, bytes: u64) -> u64 {
        bytes.saturating_mul(1_000) / u64::from(self.0)
    }

    /// Tokens in this many bytes, rounded up: for bounding.
    #[must_use]
    pub fn bound(self, bytes: u64) -> u64 {
        bytes.saturating_mul(1_000).div_ceil(u64::from(self.0))
    }
}

/// The usage of an answer that ended without a final report: the input as reported early, else `input_estimate`; the
/// output as counted from the bytes delivered. An early report of output is not used, because it counts what was
/// written and not what reached the caller.
#[must_use]
pub fn counted(early: &Usage, input_estimate: u64, delivered_bytes: u64, rate: BytesPerToken) -> (Normalised, UsageSource) {
    let output = Some(rate.count(delivered_bytes));
    let usage = Usage {
        output_text: output,
        output_reasoning: None,
        output_audio: None,
        output_image: None,
        reported_output: None,
        ..early.clone()
    };
    if early.input_tokens() > 0 || early.reported_input.is_some() {
        return (leaves_of(&usage), UsageSource::EarlyCounted);
    }
    let usage = Usage { input_uncached: Some(input_estimate), reported_input: None, ..usage };
    (leaves_of(&usage), UsageSource::Counted)
}
