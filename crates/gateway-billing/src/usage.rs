//! From a provider's usage report to disjoint leaves, each token in exactly one SKU.
//!
//! Codecs have already split what overlaps on the wire; what is promised here is the check that the leaves of a side
//! add up to the side's total (INV-9), and that the reading lower for the caller is taken where they do not.
#![deny(clippy::float_arithmetic, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod leaves;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use gateway_core::Usage;

pub(crate) use leaves::TokenKinds;
pub use leaves::{InvalidLeaves, Leaves};

use crate::price::{ChargeFlags, PriceVersion, Side, Sku};

/// Where a settlement's usage came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UsageSource {
    /// The provider's final report.
    Reported,
    /// The provider's early report of the input, and output counted here.
    EarlyAndCounted,
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
            Self::EarlyAndCounted => "early+counted",
            Self::Counted => "counted",
            Self::Recovered => "recovered",
        }
    }

    /// The number the ledger stores.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Reported => 0,
            Self::EarlyAndCounted => 1,
            Self::Counted => 2,
            Self::Recovered => 3,
        }
    }

    /// Reads [`UsageSource::code`] back.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => Some(Self::Reported),
            1 => Some(Self::EarlyAndCounted),
            2 => Some(Self::Counted),
            3 => Some(Self::Recovered),
            _ => None,
        }
    }
}

/// What an operator should look at in a settlement, one bit each, as the ledger stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct UsageFlags(u32);

impl UsageFlags {
    /// Nothing odd.
    pub const NONE: Self = Self(0);
    /// The buckets did not add up to the provider's totals; the lower reading was charged.
    pub const INCONSISTENT: Self = Self(1);
    /// Something was used that has no price; it was not charged.
    pub const UNPRICED: Self = Self(2);
    /// A time window depends on a holiday calendar that does not know the day.
    pub const CALENDAR_UNKNOWN: Self = Self(4);
    /// The provider reported more input than the request could hold; the bound was charged.
    pub const OVER_BOUND: Self = Self(8);
    /// The stream ended without the provider's own count.
    pub const NO_FINAL_USAGE: Self = Self(16);
    /// The caller left before anything was delivered, once too often that day; the input was charged.
    pub const ABANDONED: Self = Self(32);

    const NAMES: [(Self, &'static str); 6] = [
        (Self::INCONSISTENT, "usage_inconsistent"),
        (Self::UNPRICED, "unpriced_use"),
        (Self::CALENDAR_UNKNOWN, "calendar_unknown"),
        (Self::OVER_BOUND, "over_bound"),
        (Self::NO_FINAL_USAGE, "no_final_usage"),
        (Self::ABANDONED, "abandoned"),
    ];

    /// The flags that a charge raised.
    #[must_use]
    pub fn of_charge(flags: ChargeFlags) -> Self {
        let unpriced = if flags.unpriced { Self::UNPRICED } else { Self::NONE };
        let calendar = if flags.calendar_unknown { Self::CALENDAR_UNKNOWN } else { Self::NONE };
        unpriced.and(calendar)
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every flag of `other` is raised.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As the ledger stores them.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Reads them back; bits of a later version stay.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The words the API shows.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
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

/// The leaves of a provider's report, to be charged by `version` at `at_us`. Where the buckets exceed the provider's total,
/// tokens are taken off at the dearest rates first: no other way to come to the total costs the caller less.
#[must_use]
pub fn leaves_at(usage: &Usage, version: &PriceVersion, at_us: i64) -> Normalised {
    normalised(usage, |leaves, side, total| {
        let input_tokens = if side == Side::Input { total } else { leaves.input_tokens() };
        let rate = |sku: &Sku| version.rate_at(sku, input_tokens, leaves.service_tier(), at_us);
        let mut order = Leaves::usual_order(side);
        order.sort_by_cached_key(|sku| Reverse(rate(sku)));
        order
    })
}

/// The same where no price is at hand: tokens are taken off by what is usually dearest.
#[must_use]
pub fn leaves_of(usage: &Usage) -> Normalised {
    normalised(usage, |_, side, _| Leaves::usual_order(side))
}

fn normalised(usage: &Usage, order: impl Fn(&Leaves, Side, u64) -> Vec<Sku>) -> Normalised {
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
        }
        // Fewer in the buckets than in the total: the buckets are the lower reading and stay.
        if leaves.side(side) > total {
            let order = order(&leaves, side, total);
            leaves.cut(side, total, &order);
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
pub fn counted(early: &Usage, input_estimate: u64, delivered_bytes: u64, rate: BytesPerToken) -> (Usage, UsageSource) {
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
        return (usage, UsageSource::EarlyAndCounted);
    }
    (Usage { input_uncached: Some(input_estimate), reported_input: None, ..usage }, UsageSource::Counted)
}
