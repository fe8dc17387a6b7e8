//! How much to hold: the most that the dearest candidate can cost.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use gateway_core::{InputSize, Usage};
use parking_lot::RwLock;

use super::{AdmitRequest, PricedCandidate, reach};
use crate::{
    money::{MoneyError, Nano},
    price::{UsageBound, WorstRates, worst_rates},
    usage::BytesPerToken,
};

/// What a caller without a limit is offered of a model whose maximum is not known.
const OUTPUT_MAX_UNKNOWN: u32 = 32_768;
/// The least output that is ever offered when the caller set no limit.
pub(super) const OUTPUT_MIN: u64 = 1_024;
/// One request without a limit of its own holds at most this part of the free money for its output.
const SHARE: i64 = 16;
/// Template tokens per message or tool.
const TOKENS_PER_ITEM: u64 = 16;
/// The most that vendors count for one image; a page or a clip is counted by its bytes besides.
const TOKENS_PER_MEDIA: u64 = 4_800;
const BYTES_PER_MEDIA_TOKEN: u64 = 100;
/// What one use of a provider's own tool, such as a search, is taken to add to the prompt.
const TOKENS_PER_TOOL_USE: u64 = 8_192;

/// How much output the caller asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputAsk {
    /// The caller's own limit, in tokens per choice.
    pub limit: Option<u32>,
    /// How many choices; at least 1.
    pub choices: u32,
}

/// What a request needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// To be held.
    pub(super) amount: Nano,
    /// Most output tokens per choice that it pays for.
    pub(super) output_limit: u32,
}

/// What one candidate alone would need.
#[derive(Debug, Clone, Copy)]
pub(super) struct CandidateSize {
    /// To be held for it.
    pub(super) amount: Nano,
    /// Input tokens that are held for, media among them.
    pub(super) input_tokens: u64,
    /// Most output tokens per choice.
    pub(super) output_limit: u32,
}

impl Size {
    /// The size of a request for a wallet with `available` money.
    pub(super) fn of(request: &AdmitRequest, available: Nano, sizes: &LearnedSizes) -> Result<Self, MoneyError> {
        let (choices, plan) = (u64::from(request.output.choices), request.plan.multiplier);
        let priced: Vec<_> = request.candidates.iter().map(|candidate| Bounded::of(request, candidate, sizes)).collect();
        let limit = match request.output.limit {
            Some(limit) => u64::from(limit),
            None => {
                let share = Nano::new(available.get() / SHARE);
                let bought = priced.iter().map(|bounded| bounded.rates.output_tokens_for(share, &UsageBound::default(), plan) / choices);
                let most =
                    priced.iter().map(|bounded| u64::from(bounded.output_max.unwrap_or(OUTPUT_MAX_UNKNOWN))).max().unwrap_or(OUTPUT_MIN);
                bought.min().unwrap_or(0).max(OUTPUT_MIN).min(most)
            }
        };
        let mut amount = Nano::ZERO;
        for bounded in &priced {
            amount = amount.max(bounded.most(limit, request)?);
        }
        // What the caller's own limit keeps the call from costing need not be held.
        let amount = request.max_total_cost.map_or(amount, |max| amount.min(max));
        Ok(Self { amount, output_limit: u32::try_from(limit).unwrap_or(u32::MAX) })
    }

    /// The most that an answer of one of these candidates can cost; `None` when there is none of them.
    pub(super) fn among(
        self,
        request: &AdmitRequest,
        sizes: &LearnedSizes,
        these: impl Fn(&PricedCandidate) -> bool,
    ) -> Result<Option<Nano>, MoneyError> {
        let mut most = None;
        for candidate in request.candidates.iter().filter(|candidate| these(candidate)) {
            let amount = Bounded::of(request, candidate, sizes).most(u64::from(self.output_limit), request)?;
            // A limit of the caller's own bounds what the whole hold is.
            most = most.max(Some(amount.min(self.amount)));
        }
        Ok(most)
    }

    /// The most that an answer of this candidate can come to, within the hold.
    pub(super) fn of_candidate(
        self,
        request: &AdmitRequest,
        candidate: &PricedCandidate,
        sizes: &LearnedSizes,
    ) -> Result<CandidateSize, MoneyError> {
        let bounded = Bounded::of(request, candidate, sizes);
        Ok(CandidateSize {
            amount: bounded.most(u64::from(self.output_limit), request)?.min(self.amount),
            input_tokens: bounded.input.input_tokens.saturating_add(bounded.input.media_tokens),
            output_limit: bounded.output_max.map_or(self.output_limit, |most| most.min(self.output_limit)),
        })
    }

    /// Most output tokens per choice that `available` pays for, whichever candidate serves.
    pub(super) fn affordable(self, request: &AdmitRequest, available: Nano, sizes: &LearnedSizes) -> u64 {
        let of = |candidate| {
            let bounded = Bounded::of(request, candidate, sizes);
            bounded.rates.output_tokens_for(available, &bounded.input, request.plan.multiplier) / u64::from(request.output.choices)
        };
        request.candidates.iter().map(of).min().unwrap_or(0).min(u64::from(self.output_limit))
    }
}

struct Bounded {
    rates: WorstRates,
    input: UsageBound,
    output_max: Option<u32>,
}

impl Bounded {
    fn of(request: &AdmitRequest, candidate: &PricedCandidate, sizes: &LearnedSizes) -> Self {
        let input = input_bound(&request.input, sizes.of(&candidate.deployment.upstream_model));
        let total = input.input_tokens.saturating_add(input.media_tokens);
        let rates = worst_rates(&candidate.price, total, request.received_at, reach(request));
        Self { rates, input, output_max: candidate.deployment.limits.output_tokens_max }
    }

    /// The most that an answer of at most `limit` output tokens a choice can cost.
    fn most(&self, limit: u64, request: &AdmitRequest) -> Result<Nano, MoneyError> {
        // Only a known maximum ends an answer before the limit that is written for it.
        let most = self.output_max.map_or(limit, |most| limit.min(u64::from(most)));
        let output_tokens = most.saturating_mul(u64::from(request.output.choices));
        self.rates.hold(&UsageBound { output_tokens, ..self.input }, request.plan.multiplier)
    }
}

pub(super) fn input_bound(input: &InputSize, rate: BytesPerToken) -> UsageBound {
    let items = u64::from(input.items) * TOKENS_PER_ITEM;
    let media = u64::from(input.media) * TOKENS_PER_MEDIA;
    let tool_uses = u64::from(input.provider_tool_uses);
    UsageBound {
        input_tokens: rate.bound(input.text_bytes).saturating_add(items + tool_uses * TOKENS_PER_TOOL_USE),
        web_searches: tool_uses,
        media_tokens: media.saturating_add(input.media_bytes / BYTES_PER_MEDIA_TOKEN),
        ..UsageBound::default()
    }
}

/// The most input tokens a prompt can honestly come to: a byte-level vocabulary yields no more tokens than bytes. `None`
/// with media, whose size no byte count bounds, and where the provider added to the prompt or was free to.
pub(super) fn hard_bound(input: &InputSize, used: &Usage) -> Option<u64> {
    const ANY_TEMPLATE: u64 = 1_024;
    let adds = |count: Option<u64>| count.is_some_and(|count| count > 0);
    let added = input.provider_tool_uses > 0 || adds(used.web_searches) || adds(used.input_tool);
    (input.media == 0 && !added)
        .then(|| input.text_bytes.saturating_add(u64::from(input.items) * 4 * TOKENS_PER_ITEM).saturating_add(ANY_TEMPLATE))
}

/// What to charge for input that nobody reported: the low side, in the caller's favour.
pub(super) fn input_estimate(input: &InputSize) -> u64 {
    BytesPerToken::USUAL.count(input.prompt_bytes)
}

/// Bytes of prompt per token, learned per upstream model from what providers report.
#[derive(Debug, Default)]
pub struct LearnedSizes {
    models: RwLock<HashMap<Arc<str>, Arc<Learned>>>,
}

/// Mean and mean deviation in thousandths of a byte, and how many observations; packed so that an update is one swap.
#[derive(Debug, Default)]
struct Learned(AtomicU64);

/// Observations before the cautious start is left.
const ENOUGH: u64 = 64;
/// The weight of one observation is a thirty-second.
const WEIGHT: u64 = 32;
/// How far below the mean the bound stays, in mean deviations.
const DEVIATIONS: u64 = 4;
/// Prompts shorter than this say more of the template than of the text.
const BYTES_MIN: u64 = 512;

impl LearnedSizes {
    /// How many tokens a prompt will likely come to, and whether that was learned from this model. `None` where a part of it
    /// is not text, or the provider may add to it: of those no count of bytes tells.
    pub(super) fn expected(&self, model: &str, input: &InputSize) -> Option<(u64, bool)> {
        if input.media > 0 || input.provider_tool_uses > 0 {
            return None;
        }
        match self.models.read().get(model).and_then(|learned| learned.mean()) {
            Some(rate) => Some((rate.count(input.prompt_bytes), true)),
            None => Some((input_estimate(input), false)),
        }
    }

    fn of(&self, model: &str) -> BytesPerToken {
        self.models.read().get(model).map_or(BytesPerToken::CAUTIOUS, |learned| learned.bound())
    }

    /// Notes what a provider counted for a prompt. Only the prompt's own bytes say anything of its tokens: of the rest of
    /// a body a caller may send as much as it likes. Bounds take in the rest, on the safe side.
    pub(super) fn note(&self, model: &Arc<str>, input: &InputSize, tokens: u64) {
        if input.media > 0 || input.provider_tool_uses > 0 || input.prompt_bytes < BYTES_MIN || tokens == 0 {
            return;
        }
        let milli = (input.prompt_bytes.saturating_mul(1_000) / tokens).min(16_000);
        if let Some(learned) = self.models.read().get(model) {
            learned.note(milli);
            return;
        }
        self.models.write().entry(Arc::clone(model)).or_default().note(milli);
    }
}

impl Learned {
    fn note(&self, milli: u64) {
        // A lost race loses one observation of many.
        let (mean, deviation, count) = self.read();
        let (mean, deviation) = if count == 0 {
            (milli, milli / 4)
        } else {
            let off = milli.abs_diff(mean);
            ((mean * (WEIGHT - 1) + milli) / WEIGHT, (deviation * (WEIGHT - 1) + off) / WEIGHT)
        };
        let count = (count + 1).min(ENOUGH);
        self.0.store(mean << 32 | deviation << 8 | count, Ordering::Relaxed);
    }

    fn bound(&self) -> BytesPerToken {
        let (mean, deviation, count) = self.read();
        if count < ENOUGH {
            return BytesPerToken::CAUTIOUS;
        }
        let low = mean.saturating_sub(DEVIATIONS * deviation).min(4_000);
        BytesPerToken::from_milli(u32::try_from(low).unwrap_or(1_000))
    }

    /// What prompts come to on average, once enough were seen.
    fn mean(&self) -> Option<BytesPerToken> {
        let (mean, _, count) = self.read();
        (count >= ENOUGH).then(|| BytesPerToken::from_milli(u32::try_from(mean).unwrap_or(u32::MAX)))
    }

    fn read(&self) -> (u64, u64, u64) {
        let packed = self.0.load(Ordering::Relaxed);
        (packed >> 32, packed >> 8 & 0xff_ffff, packed & 0xff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_cautious_until_enough_was_seen_and_stays_below_the_mean() {
        let sizes = LearnedSizes::default();
        let model: Arc<str> = "m".into();
        // What is not prompt teaches nothing: a megabyte of metadata would make every later bound too low.
        let input = InputSize { text_bytes: 1_000_000, prompt_bytes: 4_200, ..InputSize::default() };
        for _ in 0..63 {
            sizes.note(&model, &input, 1_000);
            assert_eq!(sizes.of("m"), BytesPerToken::CAUTIOUS);
        }
        for _ in 0..200 {
            sizes.note(&model, &input, 1_000);
        }
        assert!((3_900..=4_000).contains(&sizes.of("m").milli()), "{:?}", sizes.of("m"));
        // 4.2 bytes a token were seen; nothing is known of the other model.
        assert_eq!((sizes.expected("m", &input), sizes.expected("other", &input)), (Some((1_000, true)), Some((1_050, false))));
        assert_eq!(sizes.expected("m", &InputSize { media: 1, ..input }), None);
        // A stretch of dense prompts widens the margin at once.
        for _ in 0..8 {
            sizes.note(&model, &input, 4_200);
        }
        assert!(sizes.of("m").milli() < 2_000, "{:?}", sizes.of("m"));
    }

    #[test]
    fn what_the_provider_adds_is_held_for_and_not_cut() {
        let plain = InputSize { text_bytes: 40, items: 2, ..InputSize::default() };
        let searching = InputSize { provider_tool_uses: 20, ..plain };
        let (less, more) = (input_bound(&plain, BytesPerToken::CAUTIOUS), input_bound(&searching, BytesPerToken::CAUTIOUS));
        assert_eq!((less.web_searches, more.web_searches), (0, 20));
        assert_eq!(more.input_tokens - less.input_tokens, 20 * 8_192);
        let unused = Usage { web_searches: Some(0), input_tool: Some(0), ..Usage::default() };
        assert_eq!(hard_bound(&plain, &unused), Some(40 + 2 * 64 + 1_024));
        assert_eq!(hard_bound(&searching, &unused), None);
        for used in [Usage { web_searches: Some(1), ..Usage::default() }, Usage { input_tool: Some(1), ..Usage::default() }] {
            assert_eq!(hard_bound(&plain, &used), None);
        }
    }

    #[test]
    fn what_nobody_reported_is_charged_by_the_prompt_alone() {
        let input = InputSize { text_bytes: 9_000, prompt_bytes: 403, items: 7, ..InputSize::default() };
        assert_eq!(input_estimate(&input), 100);
    }

    #[test]
    fn short_prompts_and_media_teach_nothing() {
        let sizes = LearnedSizes::default();
        let model: Arc<str> = "m".into();
        for _ in 0..100 {
            let prompt = |prompt_bytes| InputSize { text_bytes: 9_000, prompt_bytes, ..InputSize::default() };
            sizes.note(&model, &prompt(10), 100);
            sizes.note(&model, &InputSize { media: 1, ..prompt(9_000) }, 100);
            sizes.note(&model, &prompt(9_000), 0);
        }
        assert_eq!(sizes.of("m"), BytesPerToken::CAUTIOUS);
    }
}
