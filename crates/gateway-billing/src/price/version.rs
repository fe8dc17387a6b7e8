//! A published price: immutable, closed, and ready to be asked.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use ring::digest;

use super::{
    PriceError,
    calendar::{Calendars, Hours, Open},
    charge::WorstRates,
    publish::{Draft, Origin},
    seal::seal,
    sku::{Side, Sku},
    terms::{Rates, Terms, TimeBasis},
};
use crate::money::{Currency, Nano, Pico, Ppm};

/// The row id of a price version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PriceVersionId(pub i64);

/// A row of `price_version` as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    /// Row id.
    pub id: PriceVersionId,
    /// `sell:default`, `sell:<plan>`, `cost:<provider>`.
    pub book: Box<str>,
    /// The public model; `*` is any.
    pub model: Box<str>,
    /// `<provider>/<upstream model>`; empty is any.
    pub route: Box<str>,
    /// Microseconds since 1970, included.
    pub effective_from: i64,
    /// Microseconds since 1970, not included; `None` while it stands.
    pub effective_to: Option<i64>,
    /// The canonical terms, byte for byte as published.
    pub body: Box<str>,
    /// Of the body.
    pub sha256: [u8; 32],
    /// Where the price came from: `catalog:openai/gpt-4.1`.
    pub published_by: Box<str>,
    /// Microseconds since 1970.
    pub published_at: i64,
}

impl PriceRow {
    /// Who stated it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin::of(&self.published_by)
    }

    /// Whether it holds at this moment.
    #[must_use]
    pub fn holds_at(&self, at_us: i64) -> bool {
        self.effective_from <= at_us && self.effective_to.is_none_or(|end| at_us < end)
    }
}

/// One version, pinned by a request at admission and used for it whatever is published later.
#[derive(Debug, Clone)]
pub struct PriceVersion {
    /// Row id.
    pub id: PriceVersionId,
    /// The book.
    pub book: Box<str>,
    /// The public model; `*` is any.
    pub model: Box<str>,
    /// `<provider>/<upstream model>`; empty is any.
    pub route: Box<str>,
    /// Of the canonical terms.
    pub sha256: [u8; 32],
    terms: Terms,
    rates: Vec<(Sku, Pico)>,
    rules: Vec<Rule>,
    /// Every token SKU priced anywhere in the version, for the worst case.
    tokens: Vec<TokenSku>,
    /// The worst case of requests that name no tier, by the number of long-context steps in reach; made when first
    /// asked for, and only where no window can change it.
    worst: OnceLock<Vec<(u64, WorstRates)>>,
}

/// A token SKU with what the worst case asks of it at every admission.
#[derive(Debug, Clone)]
pub(super) struct TokenSku {
    pub(super) sku: Sku,
    pub(super) side: Side,
    pub(super) media: bool,
}

/// An override, compiled.
#[derive(Debug, Clone)]
struct Rule {
    over: Option<u64>,
    tier: Option<Box<str>>,
    hours: Option<Hours>,
    rates: Vec<(Sku, Pico)>,
    factor: Option<Ppm>,
}

/// The overrides that apply, one bit each, and those of them that only hold if an unknown day is no holiday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Applying {
    pub(super) rules: u64,
    pub(super) unsure: u64,
}

impl PriceVersion {
    /// A version of a draft that was never published, to see what it would charge.
    ///
    /// # Errors
    /// The draft cannot be published.
    pub fn quoted(draft: &Draft, calendars: &Calendars) -> Result<Arc<Self>, PriceError> {
        let sealed = seal(std::slice::from_ref(draft), calendars).map_err(|mut errors| errors.remove(0).error)?;
        Self::read(&sealed[0].version(0).row(PriceVersionId(0), 0))
    }

    /// Reads a row back. The hash is checked, so a body that was tampered with is not used.
    ///
    /// # Errors
    /// The body is not a price, or not the one the hash was taken of.
    pub fn read(row: &PriceRow) -> Result<Arc<Self>, PriceError> {
        if sha256(&row.body) != row.sha256 {
            return Err(PriceError::HashMismatch(row.id));
        }
        let terms: Terms = serde_json::from_str(&row.body).map_err(|e| PriceError::Malformed(e.to_string()))?;
        Self::compile(row, terms).map(Arc::new)
    }

    fn compile(row: &PriceRow, terms: Terms) -> Result<Self, PriceError> {
        let calendars = terms.calendars.iter().fold(Calendars::default(), |all, (name, one)| all.with(name.clone(), one.clone()));
        let flat = |rates: &Rates| rates.iter().map(|(sku, rate)| (sku.clone(), *rate)).collect();
        let rule = |entry: &super::terms::Override| {
            Ok(Rule {
                over: entry.when.input_tokens_over,
                tier: entry.when.service_tier.as_deref().map(Into::into),
                hours: entry.when.window.as_ref().map(|window| Hours::compile(window, &calendars)).transpose()?,
                rates: flat(&entry.rates),
                factor: entry.factor_ppm,
            })
        };
        let rules = terms.overrides.iter().map(rule).collect::<Result<Vec<_>, PriceError>>()?;
        let (book, model, route) = (row.book.clone(), row.model.clone(), row.route.clone());
        let all = terms.rates.keys().chain(terms.overrides.iter().flat_map(|entry| entry.rates.keys()));
        let mut skus: Vec<&Sku> = all.collect();
        skus.sort_unstable();
        skus.dedup();
        let token = |sku: &Sku| sku.side().map(|side| TokenSku { sku: sku.clone(), side, media: sku.is_media() });
        let tokens = skus.into_iter().filter_map(token).collect();
        Ok(Self {
            id: row.id,
            book,
            model,
            route,
            sha256: row.sha256,
            rates: flat(&terms.rates),
            rules,
            tokens,
            worst: OnceLock::new(),
            terms,
        })
    }

    /// What the rates are in.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.terms.currency
    }

    /// The terms as published.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Which moment to charge at.
    #[must_use]
    pub fn time_basis(&self) -> TimeBasis {
        self.terms.time_basis
    }

    /// The moment to charge a request at that arrived and ended then, all in microseconds since 1970.
    pub(crate) fn judged_at(&self, arrived_us: i64, ended_us: i64) -> i64 {
        match self.time_basis() {
            TimeBasis::RequestStart => arrived_us,
            TimeBasis::ResponseEnd => ended_us,
        }
    }

    /// The least that a request with any use costs.
    #[must_use]
    pub fn min_charge(&self) -> Nano {
        Nano::new(self.terms.min_charge_nano)
    }

    /// The hash as hexadecimal text.
    #[must_use]
    pub fn sha256_hex(&self) -> String {
        use std::fmt::Write;
        self.sha256.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Which overrides apply to a request of this size and tier at this moment.
    pub(super) fn applying(&self, input_tokens: u64, tier: Option<&str>, at_us: i64) -> Applying {
        let hours = self.hours_at(at_us);
        self.among(hours, input_tokens, tier)
    }

    /// Which windows are open; overrides without one count as open.
    pub(super) fn hours_at(&self, at_us: i64) -> Applying {
        let at = Timestamp::from_microsecond(at_us).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut applying = Applying { rules: 0, unsure: 0 };
        for (n, rule) in self.rules.iter().enumerate() {
            let open = rule.hours.as_ref().map_or(Open::Yes, |hours| hours.at(at));
            if open != Open::No {
                applying.rules |= 1 << n;
            }
            if open == Open::UnlessHoliday {
                applying.unsure |= 1 << n;
            }
        }
        applying
    }

    /// Of the overrides whose window is open, those whose size and tier fit too.
    pub(super) fn among(&self, hours: Applying, input_tokens: u64, tier: Option<&str>) -> Applying {
        let mut fitting = 0u64;
        for (n, rule) in self.rules.iter().enumerate() {
            let size_fits = rule.over.is_none_or(|over| input_tokens > over);
            let tier_fits = rule.tier.as_deref().is_none_or(|name| tier.is_some_and(|tier| tier.eq_ignore_ascii_case(name)));
            if size_fits && tier_fits {
                fitting |= 1 << n;
            }
        }
        Applying { rules: hours.rules & fitting, unsure: hours.unsure & fitting }
    }

    /// The rate of a SKU under these overrides: the last one that says something of it wins.
    pub(super) fn rate(&self, sku: &Sku, rules: u64) -> Option<Pico> {
        let mut rate = most_specific(&self.rates, sku);
        for (_, rule) in self.rules.iter().enumerate().filter(|(n, _)| rules >> n & 1 == 1) {
            match (most_specific(&rule.rates, sku), rule.factor) {
                (Some(stated), _) => rate = Some(stated),
                // The range was checked at publication for all factors together.
                (None, Some(factor)) => rate = rate.map(|rate| rate.times(factor).unwrap_or(Pico::MAX)),
                (None, None) => {}
            }
        }
        rate
    }

    /// The rate of a SKU for a request of this size and tier at this moment.
    #[must_use]
    pub fn rate_at(&self, sku: &Sku, input_tokens: u64, tier: Option<&str>, at_us: i64) -> Option<Pico> {
        self.rate(sku, self.applying(input_tokens, tier, at_us).rules)
    }

    /// Of these moments, those at which other windows are open than at any before: what is used is priced at the same rates at
    /// all others.
    pub(crate) fn unlike_hours(&self, moments: impl Iterator<Item = i64>) -> Vec<i64> {
        let mut known: Vec<(u64, i64)> = Vec::new();
        for at_us in moments {
            let open = self.hours_at(at_us).rules;
            if !known.iter().any(|(other, _)| *other == open) {
                known.push((open, at_us));
            }
        }
        known.into_iter().map(|(_, at_us)| at_us).collect()
    }

    /// Every token SKU that the version prices anywhere.
    pub(super) fn tokens(&self) -> &[TokenSku] {
        &self.tokens
    }

    /// The worst case at each step from `make`, which is given a size; `None` where a window may change it.
    pub(super) fn worst_by_step(&self, make: impl Fn(u64) -> WorstRates) -> Option<&[(u64, WorstRates)]> {
        if self.rules.iter().any(|rule| rule.hours.is_some()) {
            return None;
        }
        Some(self.worst.get_or_init(|| {
            let mut sizes: Vec<u64> = self.sizes_to_try(u64::MAX).collect();
            sizes.sort_unstable();
            sizes.dedup();
            sizes.into_iter().map(|size| (size, make(size))).collect()
        }))
    }

    /// The sizes just above each long-context step below `input_tokens_max`, and zero.
    pub(super) fn sizes_to_try(&self, input_tokens_max: u64) -> impl Iterator<Item = u64> {
        let steps = self.rules.iter().filter_map(|rule| rule.over).filter(move |over| *over < input_tokens_max);
        std::iter::once(0).chain(steps.map(|over| over + 1))
    }

    /// Every tier that has a price of its own.
    pub(super) fn tiers(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| rule.tier.as_deref())
    }
}

/// Whether every window can be compiled, which a row read back takes for granted.
pub(super) fn check_windows(terms: &Terms) -> Result<(), PriceError> {
    let calendars = terms.calendars.iter().fold(Calendars::default(), |all, (name, one)| all.with(name.clone(), one.clone()));
    let windows = terms.overrides.iter().filter_map(|entry| entry.when.window.as_ref());
    windows.map(|window| Hours::compile(window, &calendars)).try_for_each(|hours| hours.map(drop))
}

/// The hash of a body.
pub(super) fn sha256(body: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, body.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

fn most_specific(rates: &[(Sku, Pico)], leaf: &Sku) -> Option<Pico> {
    if let Ok(position) = rates.binary_search_by(|(sku, _)| sku.cmp(leaf)) {
        return Some(rates[position].1);
    }
    let fitting = rates.iter().filter(|(sku, _)| sku.prices(leaf));
    fitting.max_by_key(|(sku, _)| sku.specificity()).map(|(_, rate)| *rate)
}
