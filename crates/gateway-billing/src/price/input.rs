//! Prices as an operator writes them: decimal strings in US dollars per million tokens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    PriceError,
    calendar::Window,
    sku::Sku,
    terms::{Override, Rates, Terms, When},
};
use crate::money::{Currency, Exactness, Nano, Pico, Ppm};

/// The `price = { … }` of a configuration: `{ input = "2", output = "8", input_cache_read = "0.5" }`.
///
/// The short names are US dollars per million tokens; `web_search` is dollars per thousand calls. Any other SKU can be
/// given by its own name, in dollars per million of what it counts. Figures are strings, because a float is not money.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceInput {
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
    /// The terms, in US dollars, and the names of figures that were not whole pico-dollars and have been rounded.
    ///
    /// # Errors
    /// A key that names nothing, or a figure that is not a price.
    pub fn terms(&self) -> Result<(Terms, Vec<String>), PriceError> {
        let mut rounded = Vec::new();
        let mut terms = Terms::flat(Currency::USD, rates(&self.rates, "", &mut rounded)?);
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
    if name == "web_search" {
        return Ok((Sku::WEB_SEARCH, Pico::per_thousand(figure).map_err(bad)?));
    }
    let short = SHORT_NAMES.into_iter().find(|(short, _)| *short == name).map(|(_, sku)| sku);
    let sku = match short {
        Some(sku) => sku,
        None => name.parse().map_err(|_| unknown(name, place))?,
    };
    Ok((sku, Pico::per_million(figure).map_err(bad)?))
}

fn unknown(name: &str, place: &str) -> PriceError {
    let known: Vec<&str> = SHORT_NAMES.iter().map(|(short, _)| *short).chain(["web_search"]).collect();
    PriceError::Malformed(format!("`{place}{name}` is not a price; known are {}, and SKU names", known.join(", ")))
}

fn factor(text: &str, place: &str) -> Result<Ppm, PriceError> {
    text.parse().map_err(|error| PriceError::Figure(format!("{place}factor"), error))
}
