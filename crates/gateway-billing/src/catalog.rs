//! Prices and limits of well-known models, embedded in the crate.
//!
//! The catalog is a text of sorted lines that is searched as it is: a start costs nothing and a look-up parses one
//! line. `data/build.py` makes it; an operator's own file of the same form can take its place, and [`offers`] reads both
//! this form and the full catalog it is made from.

mod import;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

use gateway_core::ModelLimits;
use jiff::civil::Date;
use serde::Deserialize;

pub use import::{Offers, offers};

use crate::price::{ANY_MODEL, Draft, PriceError, PriceInput, Source, Terms};

const SHIPPED: &str = include_str!("../data/catalog.tsv");

/// The kind of source that versions made from the catalog name.
const KIND: &str = "catalog";

/// A catalog of model offers, by provider and upstream model.
#[derive(Debug, Clone)]
pub struct Catalog {
    text: Cow<'static, str>,
}

/// One model at one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The provider.
    pub provider: Box<str>,
    /// The name the provider knows the model by.
    pub model: Box<str>,
    /// The name people know it by.
    pub name: Option<Box<str>>,
    /// What it holds and writes at most.
    pub limits: ModelLimits,
    /// When the provider retires it, or did.
    pub retires_on: Option<Date>,
    /// Its price as an operator would write it.
    pub price: PriceInput,
}

/// A catalog text that cannot be used; the line is counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogError {
    /// The line.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the catalog: {}", self.line, self.problem)
    }
}

impl std::error::Error for CatalogError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    n: Option<Box<str>>,
    c: Option<u32>,
    o: Option<u32>,
    d: Option<Date>,
    p: PriceInput,
}

impl Catalog {
    /// The catalog shipped with the crate.
    #[must_use]
    pub fn shipped() -> Self {
        Self { text: Cow::Borrowed(SHIPPED) }
    }

    /// A catalog of the operator's. Every line is checked, so that a look-up cannot fail later.
    ///
    /// # Errors
    /// The first line that cannot be read, is out of order or repeated, or points nowhere.
    pub fn from_text(text: String) -> Result<Self, CatalogError> {
        let catalog = Self { text: Cow::Owned(text) };
        let mut before = "";
        for (n, line) in catalog.text.lines().enumerate() {
            let wrong = |problem: String| CatalogError { line: n + 1, problem };
            let (key, value) = line.split_once('\t').ok_or_else(|| wrong("expected `provider/model`, a tab, and its data".into()))?;
            let (provider, _) = key.split_once('/').ok_or_else(|| wrong(format!("`{key}` names no provider")))?;
            if key <= before {
                return Err(wrong(format!("`{key}` must come after `{before}`: lines are sorted by their bytes")));
            }
            before = key;
            match value.strip_prefix('@') {
                Some(target) if catalog.line(provider, target).is_none_or(|(_, value)| value.starts_with('@')) => {
                    return Err(wrong(format!("`{key}` stands for `{target}`, which is not in the catalog")));
                }
                Some(_) => {}
                None => drop(serde_json::from_str::<Line>(value).map_err(|e| wrong(e.to_string()))?),
            }
        }
        Ok(catalog)
    }

    /// The offer of a provider under an upstream model name or an alias of it.
    #[must_use]
    pub fn find(&self, provider: &str, model: &str) -> Option<Entry> {
        let (key, value) = self.line(provider, model)?;
        match value.strip_prefix('@') {
            Some(target) => self.line(provider, target).and_then(|(key, value)| read(key, value)),
            None => read(key, value),
        }
    }

    /// Every offer of a provider, in order of name, aliases left out.
    pub fn of_provider<'c>(&'c self, provider: &str) -> impl Iterator<Item = Entry> + use<'c> {
        let prefix = format!("{provider}/");
        let rest = &self.text[self.lower_bound(|line| *line < *prefix)..];
        let own = rest.lines().take_while(move |line| line.starts_with(&prefix));
        own.filter_map(|line| line.split_once('\t'))
            .filter(|(_, value)| !value.starts_with('@'))
            .filter_map(|(key, value)| read(key, value))
    }

    /// Every offer of an upstream model or an alias of that name, whoever makes it.
    pub fn of_model<'c>(&'c self, model: &str) -> impl Iterator<Item = Entry> + use<'c> {
        let model = model.to_owned();
        let keys = self.text.lines().filter_map(|line| line.split_once('\t')?.0.split_once('/'));
        keys.filter(move |(_, name)| *name == model).filter_map(move |(provider, name)| self.find(provider, name))
    }

    /// Every offer, in order of provider and name, aliases left out.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let offers = self.text.lines().filter(|line| !is_alias(line));
        offers.filter_map(|line| line.split_once('\t')).filter_map(|(key, value)| read(key, value))
    }

    /// How many lines it has, aliases included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.lines().count()
    }

    /// Whether it has no lines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn line(&self, provider: &str, model: &str) -> Option<(&str, &str)> {
        let wanted = || provider.bytes().chain([b'/']).chain(model.bytes());
        let start = self.lower_bound(|line| line.split('\t').next().unwrap_or("").bytes().lt(wanted()));
        let (key, value) = self.text[start..].lines().next()?.split_once('\t')?;
        key.bytes().eq(wanted()).then_some((key, value))
    }

    /// The offset of the first line that is not `before` what is looked for.
    fn lower_bound(&self, before: impl Fn(&str) -> bool) -> usize {
        let (mut low, mut high) = (0, self.text.len());
        while low < high {
            let middle = low + (high - low) / 2;
            // A newline is one byte in UTF-8, so cutting beside it never splits a character.
            let bytes = self.text.as_bytes();
            let start = bytes[low..middle].iter().rposition(|b| *b == b'\n').map_or(low, |at| low + at + 1);
            let end = bytes[start..high].iter().position(|b| *b == b'\n').map_or(high, |at| start + at + 1);
            if before(self.text[start..end].trim_end_matches('\n')) { low = end } else { high = start }
        }
        low
    }
}

impl Default for Catalog {
    fn default() -> Self {
        Self::shipped()
    }
}

/// Whether a line is another name for an offer.
fn is_alias(line: &str) -> bool {
    line.split_once('\t').is_some_and(|(_, value)| value.starts_with('@'))
}

fn read(key: &str, value: &str) -> Option<Entry> {
    let (provider, model) = key.split_once('/')?;
    let line: Line = serde_json::from_str(value).ok()?;
    let limits = ModelLimits { output_tokens_max: line.o, context_window: line.c };
    Some(Entry { provider: provider.into(), model: model.into(), name: line.n, limits, retires_on: line.d, price: line.p })
}

impl Entry {
    /// The price as terms, and the names of the figures that had to be rounded to whole pico-dollars.
    ///
    /// # Errors
    /// The entry's price is not one.
    pub fn terms(&self) -> Result<(Terms, Vec<String>), PriceError> {
        self.price.terms()
    }

    /// The price as a draft for any public name of this offer: what makes models reached by wildcard priced.
    ///
    /// # Errors
    /// The entry's price is not one.
    pub fn draft(&self, book: &str) -> Result<Draft, PriceError> {
        self.draft_for(book, ANY_MODEL)
    }

    /// The price as a draft for one public name of this offer.
    ///
    /// # Errors
    /// The entry's price is not one.
    pub fn draft_for(&self, book: &str, model: &str) -> Result<Draft, PriceError> {
        let route = format!("{}/{}", self.provider, self.model);
        let source = Source { kind: KIND.into(), reference: route.clone() };
        Ok(Draft { book: book.into(), model: model.into(), route: route.into(), terms: self.terms()?.0, source })
    }

    /// Whether the provider has retired it by this day.
    #[must_use]
    pub fn retired_by(&self, day: Date) -> bool {
        self.retires_on.is_some_and(|retires_on| retires_on <= day)
    }
}
