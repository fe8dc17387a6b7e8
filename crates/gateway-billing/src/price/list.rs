//! A list of prices in a file: what an import drafts, what an operator may edit, and what is published by hand.

use serde::{Deserialize, Serialize};

use super::{
    ANY_MODEL, PriceError,
    input::{PriceInput, usual_place},
    markup::Markup,
    publish::{Draft, PublishError},
    terms::{Source, Terms},
};
use crate::money::DecimalError;

/// Prices of one book that are to hold together, all of them or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceList {
    /// The book.
    pub book: String,
    /// Where they come from.
    pub source: ListSource,
    /// The figures that were rounded when the list was made, for whoever reads it; the prices are as rounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rounded: Vec<Rounding>,
    /// The prices.
    pub prices: Vec<ListedPrice>,
}

/// Where a list comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSource {
    /// How it came about.
    pub kind: ListKind,
    /// A file, a page, a contract.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Of the file it was made from, as hexadecimal text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// How a list came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListKind {
    /// Made from a catalog.
    Import,
    /// Written by somebody.
    Manual,
    /// As if the catalog had stated them: from the next start on they follow the catalog again.
    Catalog,
}

/// One price of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedPrice {
    /// The public model; `*` is any.
    #[serde(default = "any_model")]
    pub model: String,
    /// `<provider>/<upstream model>`; empty is any.
    #[serde(default)]
    pub route: String,
    /// The price.
    pub price: PriceInput,
}

fn any_model() -> String {
    ANY_MODEL.to_owned()
}

/// A figure that was not a whole number of pico-units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rounding {
    /// `<provider>/<upstream model>`.
    pub route: String,
    /// Which figure: `input`, `overrides[0].output`.
    pub figure: String,
    /// As it was written, before any markup.
    pub written: String,
    /// What it was rounded to, the markup included.
    pub stored: String,
}

/// The longest reference that is kept with a version.
const REFERENCE_CHARS_MAX: usize = 200;

impl PriceList {
    /// The drafts to publish.
    ///
    /// # Errors
    /// Every price that cannot be read.
    pub fn drafts(&self) -> Result<Vec<Draft>, Vec<PublishError>> {
        let source = self.source.source();
        let (mut drafts, mut errors) = (Vec::with_capacity(self.prices.len()), Vec::new());
        for listed in &self.prices {
            let (model, route): (Box<str>, Box<str>) = (listed.model.as_str().into(), listed.route.as_str().into());
            match listed.exact_terms() {
                Ok(terms) => drafts.push(Draft { book: self.book.as_str().into(), model, route, terms, source: source.clone() }),
                Err(error) => errors.push(PublishError { model, route, error }),
            }
        }
        if errors.is_empty() { Ok(drafts) } else { Err(errors) }
    }
}

impl ListSource {
    fn source(&self) -> Source {
        let kind = match self.kind {
            ListKind::Import => "import",
            ListKind::Manual => "manual",
            ListKind::Catalog => "catalog",
        };
        let mut reference: String = self.reference.chars().filter(|c| !c.is_control()).take(REFERENCE_CHARS_MAX).collect();
        if let Some(hash) = &self.sha256 {
            reference.push('@');
            reference.extend(hash.chars().filter(char::is_ascii_hexdigit).take(16));
        }
        Source { kind: kind.to_owned(), reference }
    }
}

impl ListedPrice {
    /// The price of an offer at its provider with this markup, under any public name; and what had to be rounded for it.
    ///
    /// # Errors
    /// The offer's price is none, or too high with the markup.
    pub fn marked_up(route: String, price: &PriceInput, markup: Markup) -> Result<(Self, Vec<Rounding>), PriceError> {
        let (terms, on_reading) = price.terms()?;
        let (terms, more) = markup.of(terms)?;
        let mut rounded: Vec<String> = on_reading.iter().map(|place| usual_place(place)).chain(more).collect();
        let stored = PriceInput::of(&terms);
        rounded.sort_unstable();
        rounded.dedup();
        let as_written = |figure: String| {
            let (written, kept) = (price.figure(&figure), stored.figure(&figure));
            let text = |figure: Option<&str>| figure.unwrap_or_default().to_owned();
            Rounding { route: route.clone(), written: text(written), stored: text(kept), figure }
        };
        let rounded = rounded.into_iter().map(as_written).collect();
        Ok((Self { model: any_model(), price: stored, route }, rounded))
    }

    /// A list says what is published: a figure in it that would have to be rounded is refused.
    fn exact_terms(&self) -> Result<Terms, PriceError> {
        let (terms, rounded) = self.price.terms()?;
        match rounded.into_iter().next() {
            None => Ok(terms),
            Some(figure) => Err(PriceError::Figure(figure, DecimalError::TooFine)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(json: &str) -> PriceInput {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_markup_is_exact_or_says_what_it_rounded() {
        let input = price(
            r#"{"input":"0.18000000000000002","output":"2.000001","web_search":"10","call.request":"5",
                "overrides":[{"input_tokens_over":1000,"input":"0.000001"},{"service_tier":"batch","factor":"0.5"}]}"#,
        );
        let (plain, rounded) = ListedPrice::marked_up("p/u".into(), &input, Markup::default()).unwrap();
        let told = |rounded: &[Rounding]| rounded.iter().map(|r| format!("{} {} -> {}", r.figure, r.written, r.stored)).collect::<Vec<_>>();
        assert_eq!(told(&rounded), ["input 0.18000000000000002 -> 0.18"]);
        assert_eq!((plain.price.rates["input"].as_str(), plain.price.rates["web_search"].as_str()), ("0.18", "10"));
        assert_eq!(plain.price.overrides[1].factor.as_deref(), Some("0.5"));

        let markup = Markup { factor: "1.25".parse().unwrap(), rate: None };
        let (raised, rounded) = ListedPrice::marked_up("p/u".into(), &input, markup).unwrap();
        assert_eq!(raised.price.rates["input"], "0.225");
        assert_eq!(raised.price.rates["web_search"], "12.5");
        assert_eq!(
            told(&rounded),
            ["input 0.18000000000000002 -> 0.225", "output 2.000001 -> 2.500001", "overrides[0].input 0.000001 -> 0.000001"]
        );
    }

    #[test]
    fn a_list_is_published_as_it_is_written() {
        let list = |figure: &str| -> PriceList {
            let json = format!(
                r#"{{"book":"sell:default","source":{{"kind":"import","ref":"catalog.json","sha256":"0123456789abcdef0123"}},
                    "prices":[{{"route":"p/u","price":{{"input":"{figure}","output":"8"}}}}]}}"#
            );
            serde_json::from_str(&json).unwrap()
        };
        let drafts = list("2").drafts().unwrap();
        assert_eq!((&*drafts[0].model, &*drafts[0].route), ("*", "p/u"));
        assert_eq!(drafts[0].source.to_string(), "import:catalog.json@0123456789abcdef");
        let errors = list("0.0000001").drafts().unwrap_err();
        assert_eq!(errors[0].to_string(), "the price of model `*` at p/u: `input`: the number has more decimals than money can hold");
        let unknown = r#"{"book":"sell:default","source":{"kind":"config","ref":"x"},"prices":[]}"#;
        assert!(serde_json::from_str::<PriceList>(unknown).is_err(), "nobody may claim to be the configuration");
    }
}
