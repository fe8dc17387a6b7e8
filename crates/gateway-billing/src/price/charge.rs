//! What a request costs: exactly, once its usage is known, and at most, before it is sent.

use super::{
    sku::{Side, Sku},
    version::PriceVersion,
};
use crate::{
    money::{self, MoneyError, Nano, Pico, Ppm},
    usage::Leaves,
};

/// A charge with its receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// What is owed.
    pub total: Nano,
    /// How it came about; the amounts add up to the total.
    pub lines: Vec<Line>,
    /// What the operator should look at.
    pub flags: ChargeFlags,
}

/// One line of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What was counted.
    pub sku: Sku,
    /// How many.
    pub quantity: u64,
    /// The rate that applied, before the plan's multiplier.
    pub price: Pico,
    /// The line's share of the total.
    pub amount: Nano,
}

/// Oddities met while charging; none of them stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChargeFlags {
    /// Something was used that the version has no rate for (a web search, say); it was not charged.
    pub unpriced: bool,
    /// A window depends on a holiday calendar that does not know the day; it was taken as a working day.
    pub calendar_unknown: bool,
}

/// The charge for `leaves` under a pinned version, with its receipt. `at_us` is the moment the version's windows are
/// judged at, in microseconds since 1970: the request's arrival on every sell book.
///
/// # Errors
/// The amount is beyond the ledger's range.
pub fn charge(version: &PriceVersion, multiplier: Ppm, leaves: &Leaves, at_us: i64) -> Result<Charge, MoneyError> {
    let mut lines = Vec::with_capacity(8);
    let mut sums = Vec::with_capacity(8);
    let flags = each_line(version, leaves, at_us, |sku, quantity, price| {
        sums.push(i128::from(quantity) * i128::from(price.get()));
        lines.push(Line { sku: sku.clone(), quantity, price, amount: Nano::ZERO });
    });
    let (mut total, amounts) = money::split_charge(&sums, multiplier)?;
    for (line, amount) in lines.iter_mut().zip(amounts) {
        line.amount = amount;
    }
    let lifted = at_least_minimum(version, leaves, total);
    if let Some(missing) = lifted.checked_sub(total).filter(|missing| *missing > Nano::ZERO) {
        let price = missing.get().checked_mul(1_000).and_then(Pico::new).unwrap_or(Pico::MAX);
        lines.push(Line { sku: Sku::MINIMUM, quantity: 1, price, amount: missing });
        total = lifted;
    }
    Ok(Charge { total, lines, flags })
}

/// The total of [`charge`] alone, without building the receipt. Recomputing a stored settlement is this call.
///
/// # Errors
/// The amount is beyond the ledger's range.
pub fn charge_total(version: &PriceVersion, multiplier: Ppm, leaves: &Leaves, at_us: i64) -> Result<(Nano, ChargeFlags), MoneyError> {
    let mut sum = Some(0i128);
    let flags = each_line(version, leaves, at_us, |_, quantity, price| {
        sum = sum.and_then(|sum| sum.checked_add(i128::from(quantity) * i128::from(price.get())));
    });
    let total = money::charge_sum(sum.ok_or(MoneyError::TooLarge)?, multiplier)?;
    Ok((at_least_minimum(version, leaves, total), flags))
}

fn each_line(version: &PriceVersion, leaves: &Leaves, at_us: i64, mut line: impl FnMut(&Sku, u64, Pico)) -> ChargeFlags {
    let applying = version.applying(leaves.input_tokens(), leaves.service_tier(), at_us);
    let mut flags = ChargeFlags { unpriced: false, calendar_unknown: applying.unsure != 0 };
    for (sku, quantity) in leaves.iter() {
        match version.rate(sku, applying.rules) {
            Some(price) => line(sku, quantity, price),
            None => flags.unpriced |= quantity > 0,
        }
    }
    let flat = version.rate(&Sku::REQUEST, applying.rules).filter(|_| !leaves.is_zero() && leaves.count(&Sku::REQUEST) == 0);
    if let Some(price) = flat {
        line(&Sku::REQUEST, 1, price);
    }
    flags
}

fn at_least_minimum(version: &PriceVersion, leaves: &Leaves, total: Nano) -> Nano {
    if leaves.is_zero() { total } else { total.max(version.min_charge()) }
}

/// Which service tiers a request may end up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierReach<'t> {
    /// The request names none and the provider decides nothing by itself.
    Default,
    /// The request asks for this one, and may be served at the default instead.
    Asked(&'t str),
    /// Any that has a price.
    Any,
}

/// The dearest rates a request can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorstRates {
    /// An input token of text, however it is cached.
    pub input: Pico,
    /// An input token of any kind, audio, images and video included.
    pub input_media: Pico,
    /// An output token of any kind.
    pub output: Pico,
    /// A web search.
    pub web_search: Pico,
    /// The flat price of a request.
    pub request: Pico,
    /// The least a request costs.
    pub min_charge: Nano,
}

/// The most a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageBound {
    /// Text input tokens.
    pub input_tokens: u64,
    /// Input tokens of media.
    pub media_tokens: u64,
    /// Output tokens, over all choices.
    pub output_tokens: u64,
    /// Web searches.
    pub web_searches: u64,
}

/// The dearest rates that a request of at most `input_tokens_max` input tokens (media included), arriving at `at_us`,
/// can be charged at: every reachable long-context step and tier, windows at its arrival, and the dearer reading of a
/// day that the calendar does not know.
#[must_use]
pub fn worst_rates(version: &PriceVersion, input_tokens_max: u64, at_us: i64, reach: TierReach<'_>) -> WorstRates {
    if reach == TierReach::Default
        && let Some(steps) = version.worst_by_step(|size| search_worst(version, size, at_us, TierReach::Default))
        && let Some((_, worst)) = steps.iter().rev().find(|(size, _)| *size <= input_tokens_max)
    {
        return *worst;
    }
    search_worst(version, input_tokens_max, at_us, reach)
}

pub(super) fn search_worst(version: &PriceVersion, input_tokens_max: u64, at_us: i64, reach: TierReach<'_>) -> WorstRates {
    let mut worst = WorstRates {
        input: Pico::ZERO,
        input_media: Pico::ZERO,
        output: Pico::ZERO,
        web_search: Pico::ZERO,
        request: Pico::ZERO,
        min_charge: version.min_charge(),
    };
    let hours = version.hours_at(at_us);
    let tiers = version.tiers().filter(|tier| match reach {
        TierReach::Default => false,
        TierReach::Asked(asked) => tier.eq_ignore_ascii_case(asked),
        TierReach::Any => true,
    });
    for tier in std::iter::once(None).chain(tiers.map(Some)) {
        for size in version.sizes_to_try(input_tokens_max) {
            let applying = version.among(hours, size, tier);
            worst.raise(version, applying.rules);
            if applying.unsure != 0 {
                worst.raise(version, applying.rules & !applying.unsure);
            }
        }
    }
    worst
}

impl WorstRates {
    fn raise(&mut self, version: &PriceVersion, rules: u64) {
        let rate = |sku: &Sku| version.rate(sku, rules).unwrap_or(Pico::ZERO);
        for token in version.tokens() {
            let rate = rate(&token.sku);
            match token.side {
                Side::Output => self.output = self.output.max(rate),
                Side::Input => {
                    self.input_media = self.input_media.max(rate);
                    if !token.media {
                        self.input = self.input.max(rate);
                    }
                }
            }
        }
        self.web_search = self.web_search.max(rate(&Sku::WEB_SEARCH));
        self.request = self.request.max(rate(&Sku::REQUEST));
    }

    /// What must be held for a request that uses at most this.
    ///
    /// # Errors
    /// The amount is beyond the ledger's range.
    pub fn hold(&self, bound: &UsageBound, multiplier: Ppm) -> Result<Nano, MoneyError> {
        let sum = self.sum(bound).ok_or(MoneyError::TooLarge)?;
        Ok(money::charge_sum(sum, multiplier)?.max(self.min_charge))
    }

    /// The most output tokens that `money` pays for beside the rest of `bound`, whose own output is ignored. Zero if
    /// not even the rest is paid for.
    #[must_use]
    pub fn output_tokens_for(&self, money: Nano, bound: &UsageBound, multiplier: Ppm) -> u64 {
        let rest = self.sum(&UsageBound { output_tokens: 0, ..*bound });
        let Some(rest) = rest.filter(|_| money >= self.min_charge && !money.is_negative()) else { return 0 };
        let multiplier = i128::from(multiplier.get());
        if multiplier == 0 {
            return u64::MAX;
        }
        // ceil(sum × m / 10⁹) ≤ money exactly when sum ≤ floor(money × 10⁹ / m).
        let affordable = i128::from(money.get()) * 1_000_000_000 / multiplier;
        match (affordable - rest, i128::from(self.output.get())) {
            (left, _) if left < 0 => 0,
            (_, 0) => u64::MAX,
            (left, each) => u64::try_from(left / each).unwrap_or(u64::MAX),
        }
    }

    fn sum(&self, bound: &UsageBound) -> Option<i128> {
        let parts = [
            (bound.input_tokens, self.input),
            (bound.media_tokens, self.input_media),
            (bound.output_tokens, self.output),
            (bound.web_searches, self.web_search),
            (1, self.request),
        ];
        parts.into_iter().try_fold(0i128, |sum, (quantity, rate)| sum.checked_add(i128::from(quantity) * i128::from(rate.get())))
    }
}
