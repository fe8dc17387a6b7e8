//! One offer of the full catalog, as its file writes it.

use std::{borrow::Cow, collections::BTreeMap};

use gateway_core::ModelLimits;
use jiff::civil::Date;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::hours::{QuietHours, peak_windows};
use crate::{
    catalog::Entry,
    money::{Currency, parse_scaled},
    price::{PriceInput, PriceOverrideInput},
};

/// The file as a whole; what stands beside the models is for people.
#[derive(Deserialize)]
pub(super) struct File<'f> {
    pub(super) schema: u64,
    #[serde(borrow)]
    pub(super) models: Vec<&'f RawValue>,
}

/// An offer; facts that no bill depends on are passed over.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    provider: String,
    id: String,
    name: Option<String>,
    mode: String,
    context_window: Option<u32>,
    max_input_tokens: Option<u32>,
    max_output_tokens: Option<u32>,
    deprecation_date: Option<Date>,
    #[serde(default, deserialize_with = "flag")]
    price_suspect: bool,
    prices: Option<Prices>,
}

/// Prices are money: a kind of price that this build does not know is refused, not passed over.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    currency: String,
    per_million_tokens: Figures,
    #[serde(default)]
    tiers: Vec<Tier>,
    #[serde(default)]
    service_tiers: BTreeMap<String, ServiceTier>,
    #[serde(default)]
    units: BTreeMap<String, Unit>,
    off_peak: Option<OffPeak>,
    #[serde(default, rename = "history")]
    _history: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    multipliers: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(default)]
    image_sizes: Vec<serde::de::IgnoredAny>,
    #[serde(default)]
    time_of_day: Option<serde::de::IgnoredAny>,
}

type Figures = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
struct Tier {
    above_input_tokens: u64,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Debug, Deserialize)]
struct ServiceTier {
    #[serde(default)]
    tiers: Vec<Tier>,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OffPeak {
    windows: Vec<QuietHours>,
    prices: Figures,
}

/// A price of something else than tokens: one figure, or one for each size.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Unit {
    One(String),
    BySize(Figures),
}

/// `true`, or the reason in words.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(!matches!(value, serde_json::Value::Null | serde_json::Value::Bool(false)))
}

/// The file's names of rates and ours.
const RATES: [(&str, &str); 12] = [
    ("input", "input"),
    ("output", "output"),
    ("cache_read", "input_cache_read"),
    ("cache_write", "input_cache_write"),
    ("cache_write_1h", "input_cache_write_1h"),
    ("output_reasoning", "output_reasoning"),
    ("input_audio", "input_audio"),
    ("cache_read_audio", "input_audio_cache_read"),
    ("input_image", "input_image"),
    ("input_video", "input_video"),
    ("output_audio", "output_audio"),
    ("output_image", "output_image"),
];

/// Modes that answer in text, which is what is billed here.
const MODES: [&str; 3] = ["chat", "responses", "completion"];

/// Whose hours are closed on which public holidays. Of resellers that is not known.
const HOLIDAYS: [(&str, &str); 1] = [("deepseek", "cn-holidays")];

const WEB_SEARCH: &str = "web_search_per_thousand";
const REQUESTS: &str = "per_thousand_requests";

impl Record {
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.provider, self.id)
    }

    /// Why the offer is not taken, if it is not.
    pub(super) fn unusable(&self) -> Option<&'static str> {
        let Some(prices) = &self.prices else { return Some("without a price") };
        let priced = ["input", "output"].into_iter().all(|name| prices.per_million_tokens.contains_key(name));
        if !MODES.contains(&self.mode.as_str()) {
            Some("does not answer in text")
        } else if self.price_suspect {
            Some("price marked as suspect")
        } else if !priced {
            Some("no price for input or output tokens")
        } else if self.key().contains(['\t', '\n']) {
            Some("name cannot be used")
        } else {
            None
        }
    }

    /// The offer, once it is usable; `ignored` counts the figures that nothing is billed by.
    pub(super) fn entry(&self, ignored: &mut BTreeMap<String, usize>) -> Result<Entry, String> {
        let prices = self.prices.as_ref().ok_or("it has no price")?;
        let limits = ModelLimits {
            output_tokens_max: self.max_output_tokens,
            context_window: self.context_window.filter(|n| *n > 0).or(self.max_input_tokens),
        };
        prices.note_ignored(ignored);
        Ok(Entry {
            provider: self.provider.as_str().into(),
            model: self.id.as_str().into(),
            name: self.name.as_deref().map(Into::into),
            limits,
            retires_on: self.deprecation_date,
            price: prices.price(&self.provider)?,
        })
    }
}

impl Prices {
    fn price(&self, provider: &str) -> Result<PriceInput, String> {
        let mut base = self.per_million_tokens.clone();
        let derive = base.contains_key("cache_read") && !base.contains_key("cache_read_audio");
        let mut overrides = steps(&self.tiers, derive, None);
        for (tier, its) in &self.service_tiers {
            let found = rates(&its.figures, derive);
            if !found.is_empty() {
                overrides.push(PriceOverrideInput { service_tier: Some(tier.clone()), rates: found, ..PriceOverrideInput::default() });
            }
            overrides.extend(steps(&its.tiers, derive, Some(tier)));
        }
        if let Some(off_peak) = &self.off_peak {
            let dearer =
                |name: &String| base.get(name).map(|figure| (name.clone(), figure.clone())).ok_or(format!("`{name}` has no peak price"));
            let peak: Figures = off_peak.prices.keys().map(dearer).collect::<Result<_, _>>()?;
            base.extend(off_peak.prices.clone());
            let calendar = HOLIDAYS.iter().find(|(known, _)| *known == provider).map(|(_, calendar)| *calendar);
            for window in peak_windows(&off_peak.windows, calendar)? {
                overrides.push(PriceOverrideInput { window: Some(window), rates: rates(&peak, false), ..PriceOverrideInput::default() });
            }
        }
        let currency = Currency::new(&self.currency).ok_or_else(|| format!("`{}` is not a currency such as USD", self.currency))?;
        let currency = Some(currency).filter(|currency| *currency != Currency::USD);
        let mut price = PriceInput { currency, rates: rates(&base, derive), overrides, ..PriceInput::default() };
        if let Some(search) = self.units.get(WEB_SEARCH).map(Unit::lowest).transpose()? {
            price.rates.insert("web_search".to_owned(), plain(search).into_owned());
        }
        if let Some(Unit::One(figure)) = self.units.get(REQUESTS) {
            price.rates.insert("call.request".to_owned(), thousandfold(figure));
        }
        Ok(price)
    }

    fn note_ignored(&self, ignored: &mut BTreeMap<String, usize>) {
        let mut note = |name: &str| *ignored.entry(name.to_owned()).or_default() += 1;
        let known = |name: &&String| RATES.iter().any(|(theirs, _)| theirs == name);
        let of_tiers = |tiers: &'_ [Tier]| tiers.iter().flat_map(|tier| tier.figures.keys().cloned()).collect::<Vec<_>>();
        let in_tiers = self.service_tiers.values().flat_map(|its| its.figures.keys().cloned().chain(of_tiers(&its.tiers)));
        let all: Vec<String> = self.per_million_tokens.keys().cloned().chain(of_tiers(&self.tiers)).chain(in_tiers).collect();
        all.iter().filter(|name| !known(name)).for_each(|name| note(name));
        self.units.keys().filter(|name| !matches!(name.as_str(), WEB_SEARCH | REQUESTS)).for_each(|name| note(name));
        self.multipliers.keys().for_each(|name| note(name));
        if !self.image_sizes.is_empty() {
            note("image_sizes");
        }
        if self.time_of_day.is_some() {
            note("time_of_day");
        }
    }
}

impl Unit {
    /// Answers do not report the size of a search's context: the lowest figure is the reading that favours callers.
    fn lowest(&self) -> Result<&str, String> {
        match self {
            Self::One(figure) => Ok(figure),
            Self::BySize(figures) => {
                let mut sized = Vec::with_capacity(figures.len());
                for figure in figures.values() {
                    sized.push((parse_scaled(figure, 12).map_err(|error| format!("`{WEB_SEARCH}`: {error}"))?.value, figure));
                }
                sized.into_iter().min().map(|(_, figure)| figure.as_str()).ok_or(format!("`{WEB_SEARCH}` is empty"))
            }
        }
    }
}

fn steps(tiers: &[Tier], derive: bool, service_tier: Option<&String>) -> Vec<PriceOverrideInput> {
    let mut sorted: Vec<&Tier> = tiers.iter().collect();
    sorted.sort_by_key(|tier| tier.above_input_tokens);
    let step = |tier: &Tier| PriceOverrideInput {
        input_tokens_over: Some(tier.above_input_tokens),
        service_tier: service_tier.cloned(),
        rates: rates(&tier.figures, derive),
        ..PriceOverrideInput::default()
    };
    sorted.into_iter().map(step).filter(|step| !step.rates.is_empty()).collect()
}

/// The figures under our names. A reasoning price equal to the output price is left out, so that reasoning follows the
/// output price into every tier.
fn rates(figures: &Figures, derive_cached_audio: bool) -> BTreeMap<String, String> {
    let ours = |(theirs, ours): (&str, &str)| figures.get(theirs).map(|figure| (ours.to_owned(), plain(figure).into_owned()));
    let mut rates: BTreeMap<String, String> = RATES.into_iter().filter_map(ours).collect();
    if rates.contains_key("output_reasoning") && rates.get("output_reasoning") == rates.get("output") {
        rates.remove("output_reasoning");
    }
    if derive_cached_audio && let Some(audio) = rates.get("input_audio").cloned() {
        rates.entry("input_audio_cache_read".to_owned()).or_insert(audio);
    }
    rates
}

/// A decimal without trailing zeros.
fn plain(figure: &str) -> Cow<'_, str> {
    if figure.contains('.') { Cow::Borrowed(figure.trim_end_matches('0').trim_end_matches('.')) } else { Cow::Borrowed(figure) }
}

/// A decimal times a thousand: the price of a thousand as the price of a million.
fn thousandfold(figure: &str) -> String {
    let (whole, fraction) = figure.split_once('.').unwrap_or((figure, ""));
    let (kept, rest) = fraction.split_at(fraction.len().min(3));
    let digits = format!("{whole}{kept:0<3}");
    let digits = digits.trim_start_matches('0');
    plain(&format!("{}.{rest}", if digits.is_empty() { "0" } else { digits })).into_owned()
}
