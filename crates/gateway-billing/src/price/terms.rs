//! What a price version says, as it is written down, and its closing at publication.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{
    PriceError,
    calendar::{Calendar, Calendars, Window},
    sku::{Dimensions, Sku},
};
use crate::money::{Currency, Pico, Ppm};

/// Rates by SKU.
pub type Rates = BTreeMap<Sku, Pico>;

/// The terms of a price: rates and what changes them. Serialising closed terms gives their canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What the rates are in.
    pub currency: Currency,
    /// Pico-units for one of each SKU.
    pub rates: Rates,
    /// In order; for each SKU the last entry that applies wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
    /// What `input_tokens_over` counts.
    #[serde(default)]
    pub tier_basis: TierBasis,
    /// Which moment windows are judged at.
    #[serde(default)]
    pub time_basis: TimeBasis,
    /// The least that a request with any use costs.
    #[serde(default)]
    pub min_charge_nano: i64,
    /// The calendars that windows name, copied in at publication so that later edits change no past charge.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calendars: BTreeMap<String, Calendar>,
}

/// Rates or a factor under a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// When it applies.
    pub when: When,
    /// Rates that replace those found so far.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: Rates,
    /// Multiplies the rate found so far of every SKU not named in `rates`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor_ppm: Option<Ppm>,
}

/// A condition; every part that is present must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The whole input is longer than this; exactly this many is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens_over: Option<u64>,
    /// The provider served this tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// The moment lies in this window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// What long-context steps count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierBasis {
    /// Every input token, cached ones too.
    #[default]
    InputTokensTotal,
}

/// Which moment time-of-day prices are judged at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeBasis {
    /// When the request arrived.
    #[default]
    RequestStart,
    /// When the answer ended; cost books only.
    ResponseEnd,
}

/// Where a price came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `config`, `catalog` or `manual`.
    pub kind: String,
    /// A page, a file, a key of the catalog.
    pub reference: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.reference)
    }
}

/// The most overrides a version may hold: the set of those that apply fits one word.
const OVERRIDES_MAX: usize = 64;

impl Terms {
    /// Terms with these rates and nothing else.
    #[must_use]
    pub fn flat(currency: Currency, rates: Rates) -> Self {
        Self {
            currency,
            rates,
            overrides: Vec::new(),
            tier_basis: TierBasis::default(),
            time_basis: TimeBasis::default(),
            min_charge_nano: 0,
            calendars: BTreeMap::new(),
        }
    }

    /// The calendars its windows are judged with, as often as they are named.
    pub(super) fn calendar_names(&self) -> impl Iterator<Item = &str> {
        self.overrides.iter().filter_map(|entry| entry.when.window.as_ref()?.not_on.as_deref())
    }

    /// Writes in every rate that a chat answer may need, copies in the calendars, and checks the rest. A SKU without a
    /// rate takes that of its only priced parent; where two parents are priced there is no telling, so it must be
    /// priced itself.
    ///
    /// # Errors
    /// What is missing, ambiguous or out of range.
    pub fn close(mut self, calendars: &Calendars) -> Result<Self, PriceError> {
        for required in [Sku::IN, Sku::OUT] {
            if !self.rates.contains_key(&required) {
                return Err(PriceError::Missing(required));
            }
        }
        if self.overrides.len() > OVERRIDES_MAX {
            return Err(PriceError::TooManyOverrides);
        }
        if self.min_charge_nano < 0 {
            return Err(PriceError::NegativeMinimum);
        }
        for entry in &self.overrides {
            let applies_never = entry.rates.is_empty() && entry.factor_ppm.is_none();
            if applies_never || entry.when == When::default() {
                return Err(PriceError::EmptyOverride);
            }
            if let Some(name) = entry.when.window.as_ref().and_then(|window| window.not_on.as_ref()) {
                let calendar = match self.calendars.get(name) {
                    Some(own) => own,
                    None => calendars.find(name).ok_or_else(|| PriceError::Window(format!("unknown calendar `{name}`")))?,
                };
                let calendar = calendar.clone();
                self.calendars.insert(name.clone(), calendar);
            }
        }
        self.fill()?;
        self.check_ties()?;
        self.check_range()?;
        Ok(self)
    }

    /// The canonical form, of which the version's hash is taken.
    ///
    /// # Errors
    /// Never for terms that can exist; serialisation is fallible by type.
    pub fn canonical(&self) -> Result<String, PriceError> {
        serde_json::to_string(self).map_err(|e| PriceError::Malformed(e.to_string()))
    }

    fn fill(&mut self) -> Result<(), PriceError> {
        let stated = self.rates.clone();
        // What has been filled in is not a statement: only what was written decides which parents are priced.
        let written: Vec<Rates> = self.overrides.iter().map(|entry| entry.rates.clone()).collect();
        for sku in &Sku::CHAT_TOKENS {
            if stated.contains_key(sku) {
                continue;
            }
            let from = priced_source(sku, &stated)?.ok_or_else(|| PriceError::Missing(sku.clone()))?;
            self.rates.insert(sku.clone(), stated[&from]);
            for (entry, written) in self.overrides.iter_mut().zip(&written) {
                if let Some(rate) = inherited(sku, &from, written)? {
                    entry.rates.insert(sku.clone(), rate);
                }
            }
        }
        Ok(())
    }

    fn check_ties(&self) -> Result<(), PriceError> {
        for rates in std::iter::once(&self.rates).chain(self.overrides.iter().map(|entry| &entry.rates)) {
            let skus: Vec<&Sku> = rates.keys().collect();
            for (n, a) in skus.iter().enumerate() {
                if let Some(b) = skus[n + 1..].iter().find(|b| a.ties_with(b)) {
                    return Err(PriceError::Tie((*a).clone(), (*b).clone()));
                }
            }
        }
        Ok(())
    }

    /// However many factors apply together, no effective rate may leave the range of prices.
    fn check_range(&self) -> Result<(), PriceError> {
        let all = self.rates.values().chain(self.overrides.iter().flat_map(|entry| entry.rates.values()));
        let mut dearest = all.copied().max().unwrap_or(Pico::ZERO);
        for factor in self.overrides.iter().filter_map(|entry| entry.factor_ppm).filter(|factor| *factor > Ppm::ONE) {
            dearest = dearest.times(factor).ok_or(PriceError::TooDear)?;
        }
        Ok(())
    }
}

/// The stated SKU whose rate `sku` takes.
fn priced_source(sku: &Sku, stated: &Rates) -> Result<Option<Sku>, PriceError> {
    if stated.contains_key(sku) {
        return Ok(Some(sku.clone()));
    }
    let Some(Dimensions { side, modality, kind }) = sku.dimensions() else { return Ok(None) };
    let at = |modality, kind| Sku::with(Dimensions { side, modality, kind });
    let source = |parent: Option<Sku>| parent.map_or(Ok(None), |parent| priced_source(&parent, stated));
    match (modality, kind) {
        (None, None) => Ok(None),
        // An hour in the cache is never cheaper than five minutes of it, so the shorter time is its parent.
        (modality, Some("cache_write_1h")) if modality.is_none() || stated_any(stated, at(modality, Some("cache_write_5m"))) => {
            source(at(modality, Some("cache_write_5m")))
        }
        (_, None) | (None, _) => source(at(None, None)),
        (Some(_), Some(_)) => {
            let by_kind = source(at(None, kind))?.filter(|from| from.dimensions().is_some_and(|d| d.kind.is_some()));
            let by_modality = at(modality, None).filter(|parent| stated.contains_key(parent));
            match (by_kind, by_modality) {
                (Some(a), Some(b)) => Err(PriceError::TwoParents(sku.clone(), a, b)),
                (Some(only), None) | (None, Some(only)) => Ok(Some(only)),
                (None, None) => source(at(None, None)),
            }
        }
    }
}

fn stated_any(stated: &Rates, sku: Option<Sku>) -> bool {
    sku.is_some_and(|sku| stated.contains_key(&sku))
}

/// The rate that an override gives to `sku`, which took its base rate from `from`: an override of the parent is an
/// override of the child, one of a more distant ancestor is not.
fn inherited(sku: &Sku, from: &Sku, rates: &Rates) -> Result<Option<Pico>, PriceError> {
    if rates.is_empty() || rates.contains_key(sku) {
        return Ok(None);
    }
    let Some(source) = priced_source(sku, rates)? else { return Ok(None) };
    if source == *from || descends(from, &source) {
        Ok(rates.get(&source).copied())
    } else if descends(&source, from) {
        Ok(None)
    } else {
        Err(PriceError::TwoParents(sku.clone(), from.clone(), source))
    }
}

/// Whether `child` is a finer kind of `ancestor`.
fn descends(ancestor: &Sku, child: &Sku) -> bool {
    let (Some(a), Some(c)) = (ancestor.dimensions(), child.dimensions()) else { return false };
    let kind_fits = a.kind.is_none() || a.kind == c.kind || (a.kind == Some("cache_write_5m") && c.kind == Some("cache_write_1h"));
    a != c && a.side == c.side && (a.modality.is_none() || a.modality == c.modality) && kind_fits
}
