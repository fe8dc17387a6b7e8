//! Prompts written to a provider's cache more dearly than what was read from it saved.

use std::{collections::HashMap, sync::Arc};

use gateway_core::KeyId;
use serde_json::{Map, json};

use crate::{
    hint::{
        finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair, sum},
        rule::Rule,
        rules::{group, written_off},
        seen::Seen,
    },
    money::{MoneyError, Nano},
    price::Sku,
    usage::Leaves,
};

/// Prices what went through a cache as if it had not. Keys are looked at each by itself: what one writes another seldom reads.
#[derive(Default)]
pub(in crate::hint) struct CacheWriteWaste {
    sums: HashMap<(KeyId, Arc<str>), Used>,
    coverage: Coverage,
}

#[derive(Default)]
struct Used {
    pair: Pair,
    tokens_5m: u64,
    tokens_1h: u64,
    tokens_read: u64,
    premium_5m: Nano,
    premium_1h: Nano,
}

impl Rule for CacheWriteWaste {
    fn id(&self) -> &'static str {
        "cache_write_waste"
    }

    fn coverage(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), MoneyError> {
        if written_off(seen, &mut self.coverage) {
            return Ok(());
        }
        self.coverage.requests += 1;
        let leaves = seen.leaves;
        let (short, long) = (leaves.count(&Sku::IN_CACHE_WRITE_5M), leaves.count(&Sku::IN_CACHE_WRITE_1H));
        let read = leaves.count(&Sku::IN_CACHE_READ).saturating_add(leaves.count(&Sku::IN_AUDIO_CACHE_READ));
        if short == 0 && long == 0 && read == 0 {
            return Ok(());
        }
        let key = (seen.settled.key, Arc::clone(&seen.settled.served.model));
        let Some(used) = group(&mut self.sums, key, &mut self.coverage.capped) else { return Ok(()) };
        let without_5m = leaves.moved(&Sku::IN_CACHE_WRITE_5M, &Sku::IN, short);
        let without_1h = leaves.moved(&Sku::IN_CACHE_WRITE_1H, &Sku::IN, long);
        let fresh = without_5m.moved(&Sku::IN_CACHE_WRITE_1H, &Sku::IN, long).moved(&Sku::IN_CACHE_READ, &Sku::IN, read).moved(
            &Sku::IN_AUDIO_CACHE_READ,
            &Sku::IN_AUDIO,
            read,
        );
        let charge = seen.settled.charge;
        let premium = |without: Nano| charge.checked_sub(without).ok_or(MoneyError::TooLarge);
        let grown = |sum_so_far: Nano, tokens: u64, without: &Leaves| match tokens {
            0 => Ok(sum_so_far),
            _ => sum(sum_so_far, premium(seen.priced(seen.price, without)?)?),
        };
        let premiums = (grown(used.premium_5m, short, &without_5m)?, grown(used.premium_1h, long, &without_1h)?);
        used.pair.add(seen.settled.id, charge, seen.priced(seen.price, &fresh)?)?;
        (used.premium_5m, used.premium_1h) = premiums;
        used.tokens_5m = used.tokens_5m.saturating_add(short);
        used.tokens_1h = used.tokens_1h.saturating_add(long);
        used.tokens_read = used.tokens_read.saturating_add(read);
        Ok(())
    }

    fn end(self: Box<Self>) -> Findings {
        let wasted = self.sums.into_iter().filter(|(_, used)| used.pair.tells());
        let found = wasted.map(|((key, model), used)| Finding {
            about: About { model: Some(model), key: Some(key), ..About::default() },
            effect: Effect::Charged,
            basis: Basis::Counted,
            pair: used.pair,
            assumptions: vec![
                "nothing would have been written to the provider's cache or read from it, and the prompts would have been the same"
                    .to_owned(),
            ],
            details: Map::from_iter([
                ("tokens_read".to_owned(), json!(used.tokens_read)),
                (
                    "writes".to_owned(),
                    json!({
                        "5m": { "tokens": used.tokens_5m, "premium_usd": used.premium_5m.to_string() },
                        "1h": { "tokens": used.tokens_1h, "premium_usd": used.premium_1h.to_string() },
                    }),
                ),
            ]),
        });
        Findings { found: found.collect(), coverage: self.coverage }
    }
}
