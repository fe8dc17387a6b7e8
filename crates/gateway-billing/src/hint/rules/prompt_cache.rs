//! Prompts that begin as others did a moment before, and were paid for in full.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, json};

use crate::{
    facts::{PREFIX_BYTES, RequestFacts},
    hint::{
        finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair, sum},
        memory::Memory,
        rule::Rule,
        rules::{group, written_off},
        seen::Seen,
    },
    money::{MoneyError, Nano},
    price::Sku,
};

/// How long a provider is taken to keep what nobody reads: five minutes, the shortest that any of them promises.
const KEPT_US: i64 = 5 * 60_000_000;
/// Shorter beginnings are cached by no provider.
const TOKENS_MIN: u64 = 1_024;

/// Prices repeated beginnings of prompts as read from a cache, and what would have had to be written for it.
pub(in crate::hint) struct PromptCache {
    places: HashMap<Served, usize>,
    /// Beginnings by place and hash.
    written: Memory<Written>,
    sums: HashMap<usize, Repeats>,
    coverage: Coverage,
}

/// A beginning that a cache could have.
struct Written {
    /// When the answer ended that wrote it: until then nobody can count on it.
    ended_us: i64,
    /// What writing it would have cost, until that is counted.
    premium: Nano,
}

/// Model, provider, upstream model: each place has a cache of its own.
type Served = (Arc<str>, Arc<str>, Arc<str>);

#[derive(Default)]
struct Repeats {
    pair: Pair,
    input_tokens: u64,
    tokens: u64,
    requests: u64,
}

impl Default for PromptCache {
    fn default() -> Self {
        Self { places: HashMap::new(), written: Memory::lasting(KEPT_US), sums: HashMap::new(), coverage: Coverage::default() }
    }
}

impl Rule for PromptCache {
    fn id(&self) -> &'static str {
        "prompt_cache"
    }

    fn coverage(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError> {
        if written_off(seen, &mut self.coverage) {
            return Ok(());
        }
        let Some(facts) = seen.facts else {
            self.coverage.not_known += 1;
            return Ok(());
        };
        if facts.prompt_bytes == 0 {
            self.coverage.exclude("not_measured");
            return Ok(());
        }
        self.coverage.requests += 1;
        let levels = beginnings(seen, facts);
        if levels.is_empty() {
            return Ok(());
        }
        let served = seen.settled.served;
        let next = self.places.len();
        let place = *self
            .places
            .entry((Arc::clone(&served.model), Arc::clone(&served.provider), Arc::clone(&served.upstream_model)))
            .or_insert(next);
        let now_us = seen.settled.arrived_us;
        let Some(repeats) = group(&mut self.sums, place, &mut self.coverage.capped) else { return Ok(()) };
        let known =
            levels.iter().rposition(|(hash, _)| self.written.get((place, *hash), now_us).is_some_and(|written| written.ended_us <= now_us));
        let mut alternative = seen.settled.charge;
        if let Some(level) = known {
            let (hash, tokens) = levels[level];
            let read = tokens.min(seen.leaves.count(&Sku::IN));
            alternative = seen.priced(seen.price, &seen.leaves.moved(&Sku::IN, &Sku::IN_CACHE_READ, read))?;
            if let Some(written) = self.written.get((place, hash), now_us) {
                alternative = sum(alternative, std::mem::take(&mut written.premium))?;
            }
            repeats.tokens = repeats.tokens.saturating_add(read);
            repeats.requests += u64::from(read > 0);
        }
        for (n, (hash, tokens)) in levels.iter().enumerate() {
            let at = (place, *hash);
            if self.written.get(at, now_us).is_some() {
                if known.is_some_and(|level| n <= level) {
                    self.written.touch(at, now_us);
                }
                continue;
            }
            let written = seen.leaves.moved(&Sku::IN, &Sku::IN_CACHE_WRITE_5M, *tokens);
            let premium = seen.priced(seen.price, &written)?.checked_sub(seen.settled.charge).ok_or(MoneyError::TooLarge)?;
            let written = Written { ended_us: seen.settled.ended_us, premium: premium.max(Nano::ZERO) };
            self.coverage.capped |= !self.written.put(at, now_us, written);
        }
        repeats.input_tokens = repeats.input_tokens.saturating_add(seen.leaves.input_tokens());
        repeats.pair.add(seen.settled.id, seen.settled.charge, alternative)
    }

    fn end(self: Box<Self>) -> Findings {
        let Self { places, mut sums, coverage, .. } = *self;
        let repeating = places.into_iter().filter_map(|(served, place)| Some((served, sums.remove(&place)?)));
        let found = repeating.filter(|(_, repeats)| repeats.pair.tells()).map(|((model, provider, upstream_model), repeats)| Finding {
            about: About { model: Some(model), provider: Some(provider), upstream_model: Some(upstream_model), key: None },
            effect: Effect::Charged,
            basis: Basis::Estimated,
            pair: repeats.pair,
            assumptions: vec![
                "tokens of a prompt are spread over it as its bytes are".to_owned(),
                "the provider keeps a beginning of 1,024 tokens or more for five minutes after its last use, and the calls mark it where \
                 the provider wants that"
                    .to_owned(),
                "each beginning is written once, at the price of writing for five minutes, before it is first read again".to_owned(),
            ],
            details: Map::from_iter([
                ("input_tokens".to_owned(), json!(repeats.input_tokens)),
                ("tokens_repeated".to_owned(), json!(repeats.tokens)),
                ("requests_repeated".to_owned(), json!(repeats.requests)),
            ]),
        });
        Findings { found: found.collect(), coverage }
    }
}

/// The beginnings of a prompt that a provider may cache, shortest first: the hash, and how many of its tokens are neither read
/// from a cache nor written to one already.
fn beginnings(seen: &Seen<'_>, facts: &RequestFacts) -> Vec<(u64, u64)> {
    let leaves = seen.leaves;
    // What the provider's own tools added is not in the prompt that was sent.
    let tokens = leaves.input_tokens().saturating_sub(leaves.count(&Sku::IN_TOOL));
    let kinds = leaves.kinds();
    let cached = kinds.cache_read.saturating_add(kinds.cache_write);
    let sized = facts.prefixes.iter().zip(PREFIX_BYTES).map(|(hash, bytes)| {
        let share = u128::from(tokens) * u128::from(bytes) / u128::from(facts.prompt_bytes.max(1));
        (*hash, u64::try_from(share).unwrap_or(u64::MAX))
    });
    sized.filter(|(_, tokens)| *tokens >= TOKENS_MIN).map(|(hash, tokens)| (hash, tokens.saturating_sub(cached))).collect()
}
