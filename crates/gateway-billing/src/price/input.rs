//! Prices as an operator writes them: decimal strings in US dollars per million tokens. They are read exactly, and what was
//! published is shown in the same form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    PriceError,
    calendar::Window,
    sku::Sku,
    terms::{Override, Rates, Terms, TimeBasis, When},
};
use crate::money::{Currency, Exactness, Nano, Pico, Ppm};

/// The `price = { … }` of a configuration: `{ input = "2", output = "8", input_cache_read = "0.5" }`.
///
/// The short names are US dollars per million tokens; `web_search` is dollars per thousand calls. Any other SKU can be
/// given by its own name, in dollars per million of what it counts. Figures are strings, because a float is not money.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceInput {
    /// What the figures are in, if not US dollars; only what providers bill can be in anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// Which moment windows are judged at, if not the request's arrival; only what providers bill can have another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_basis: Option<TimeBasis>,
    /// Conditions with rates or a factor of their own, in order; the last that applies wins for each rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<PriceOverrideInput>,
    /// The least a request with any use costs, in dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_charge: Option<String>,
    /// Rates by short name or SKU.
    #[serde(flatten)]
    pub rates: BTreeMap<String, String>,
}

/// One entry of `overrides`: `{ input_tokens_over = 200000, input = "6", output = "22.5" }`,
/// `{ service_tier = "batch", factor = "0.5" }`,
/// `{ window = { tz = "Asia/Shanghai", days = "1-5", from = "09:00", to = "12:00" }, factor = "2" }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceOverrideInput {
    /// The whole input is longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens_over: Option<u64>,
    /// The provider served this tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// The request arrived in this window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Multiplies every rate not given here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<String>,
    /// Rates by short name or SKU.
    #[serde(flatten)]
    pub rates: BTreeMap<String, String>,
}

/// The short name of what is priced per thousand calls.
const WEB_SEARCH: &str = "web_search";

/// The short names and what they stand for.
const SHORT_NAMES: [(&str, Sku); 14] = [
    ("input", Sku::IN),
    ("output", Sku::OUT),
    ("input_cache_read", Sku::IN_CACHE_READ),
    ("input_cache_write", Sku::IN_CACHE_WRITE_5M),
    ("input_cache_write_5m", Sku::IN_CACHE_WRITE_5M),
    ("input_cache_write_1h", Sku::IN_CACHE_WRITE_1H),
    ("input_audio", Sku::IN_AUDIO),
    ("input_audio_cache_read", Sku::IN_AUDIO_CACHE_READ),
    ("input_image", Sku::IN_IMAGE),
    ("input_video", Sku::IN_VIDEO),
    ("input_tool", Sku::IN_TOOL),
    ("output_reasoning", Sku::OUT_REASONING),
    ("output_audio", Sku::OUT_AUDIO),
    ("output_image", Sku::OUT_IMAGE),
];

impl PriceInput {
    /// The terms, and the names of figures that were not whole pico-dollars and have been rounded.
    ///
    /// # Errors
    /// A key that names nothing, or a figure that is not a price.
    pub fn terms(&self) -> Result<(Terms, Vec<String>), PriceError> {
        let mut rounded = Vec::new();
        let mut terms = Terms::flat(self.currency.unwrap_or(Currency::USD), rates(&self.rates, "", &mut rounded)?);
        terms.time_basis = self.time_basis.unwrap_or_default();
        if let Some(text) = &self.min_charge {
            let least: Nano = text.parse().map_err(|e| PriceError::Figure("min_charge".into(), e))?;
            terms.min_charge_nano = least.get();
        }
        for (n, entry) in self.overrides.iter().enumerate() {
            let place = format!("overrides[{n}].");
            let factor_ppm = entry.factor.as_deref().map(|text| factor(text, &place)).transpose()?;
            let when =
                When { input_tokens_over: entry.input_tokens_over, service_tier: entry.service_tier.clone(), window: entry.window.clone() };
            terms.overrides.push(Override { when, rates: rates(&entry.rates, &place, &mut rounded)?, factor_ppm });
        }
        Ok((terms, rounded))
    }

    /// What somebody would have written for these terms. The calendars that windows name are not in it.
    #[must_use]
    pub fn of(terms: &Terms) -> Self {
        let overrides = terms.overrides.iter().map(|entry| PriceOverrideInput {
            input_tokens_over: entry.when.input_tokens_over,
            service_tier: entry.when.service_tier.clone(),
            window: entry.when.window.clone(),
            factor: entry.factor_ppm.map(|factor| factor.to_string()),
            rates: figures(&entry.rates),
        });
        Self {
            currency: Some(terms.currency).filter(|currency| *currency != Currency::USD),
            time_basis: Some(terms.time_basis).filter(|basis| *basis != TimeBasis::default()),
            overrides: overrides.collect(),
            min_charge: Some(Nano::new(terms.min_charge_nano)).filter(|least| !least.is_zero()).map(|least| least.to_string()),
            rates: figures(&terms.rates),
        }
    }

    /// One figure as it is written, by its place: `input`, `overrides[0].output`. Any name of its SKU finds it.
    pub(super) fn figure(&self, place: &str) -> Option<&str> {
        let (rates, name) = match split_place(place) {
            (Some(n), name) => (&self.overrides.get(n)?.rates, name),
            (None, name) => (&self.rates, name),
        };
        let wanted = sku_of(name)?;
        rates.iter().find(|(name, _)| sku_of(name).is_some_and(|sku| sku == wanted)).map(|(_, figure)| figure.as_str())
    }
}

/// The override that a figure stands in, if any, and its name.
fn split_place(place: &str) -> (Option<usize>, &str) {
    let of_override = place.strip_prefix("overrides[").and_then(|rest| rest.split_once("]."));
    match of_override.and_then(|(n, name)| Some((n.parse().ok()?, name))) {
        Some((n, name)) => (Some(n), name),
        None => (None, place),
    }
}

/// A place with the usual name of its SKU.
pub(super) fn usual_place(place: &str) -> String {
    match split_place(place) {
        (Some(n), name) => format!("overrides[{n}].{}", sku_of(name).map_or_else(|| name.to_owned(), |sku| name_of(&sku))),
        (None, name) => sku_of(name).map_or_else(|| name.to_owned(), |sku| name_of(&sku)),
    }
}

fn sku_of(name: &str) -> Option<Sku> {
    let short = SHORT_NAMES.into_iter().find(|(short, _)| *short == name).map(|(_, sku)| sku);
    match short {
        Some(sku) => Some(sku),
        None if name == WEB_SEARCH => Some(Sku::WEB_SEARCH),
        None => name.parse().ok(),
    }
}

/// The name that people write for a SKU.
pub(super) fn name_of(sku: &Sku) -> String {
    match SHORT_NAMES.iter().find(|(_, known)| known == sku) {
        Some((short, _)) => (*short).to_owned(),
        None if *sku == Sku::WEB_SEARCH => WEB_SEARCH.to_owned(),
        None => sku.to_string(),
    }
}

/// Rates under the names that people write.
fn figures(rates: &Rates) -> BTreeMap<String, String> {
    let figure =
        |sku: &Sku, rate: Pico| if *sku == Sku::WEB_SEARCH { rate.of_thousand().to_string() } else { rate.of_million().to_string() };
    rates.iter().map(|(sku, rate)| (name_of(sku), figure(sku, *rate))).collect()
}

fn rates(figures: &BTreeMap<String, String>, place: &str, rounded: &mut Vec<String>) -> Result<Rates, PriceError> {
    let mut rates = Rates::new();
    for (name, figure) in figures {
        let (sku, price) = rate(name, figure, place)?;
        if price.1 == Exactness::Rounded {
            rounded.push(format!("{place}{name}"));
        }
        if rates.insert(sku.clone(), price.0).is_some() {
            return Err(PriceError::Malformed(format!("`{place}{name}` states the rate of `{sku}` a second time")));
        }
    }
    Ok(rates)
}

fn rate(name: &str, figure: &str, place: &str) -> Result<(Sku, (Pico, Exactness)), PriceError> {
    let bad = |error| PriceError::Figure(format!("{place}{name}"), error);
    if name == WEB_SEARCH {
        return Ok((Sku::WEB_SEARCH, Pico::per_thousand(figure).map_err(bad)?));
    }
    let sku = sku_of(name).ok_or_else(|| unknown(name, place))?;
    Ok((sku, Pico::per_million(figure).map_err(bad)?))
}

fn unknown(name: &str, place: &str) -> PriceError {
    let known: Vec<&str> = SHORT_NAMES.iter().map(|(short, _)| *short).chain([WEB_SEARCH]).collect();
    PriceError::Malformed(format!("`{place}{name}` is not a price; known are {}, and SKU names", known.join(", ")))
}

fn factor(text: &str, place: &str) -> Result<Ppm, PriceError> {
    text.parse().map_err(|error| PriceError::Figure(format!("{place}factor"), error))
}
