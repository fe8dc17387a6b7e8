//! Catalog files that an operator brings: the full catalog as JSON, or the compact lines this crate ships.
//!
//! The JSON form is `{"schema": 1, "models": [record, …]}`, one record an offer, prices as decimal strings. `data/build.py`
//! makes the shipped lines from such a file by the same rules as [`offers`]:
//!
//! * only models that answer in text, with an input and an output price that the file does not mark as suspect;
//! * long-context steps come first, then service tiers, then a tier's own steps, so that the most particular one wins;
//! * where audio and the cache are priced but cached audio is not, cached audio costs what audio costs;
//! * off-peak hours are turned round: the off-peak price is the base, and the peak hours are windows.

mod hours;
mod record;

use std::collections::BTreeMap;

use super::{Catalog, CatalogError, Entry, is_alias};
use record::Record;

/// What a catalog file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offers {
    /// The priced offers, in the order of the file.
    pub entries: Vec<Entry>,
    /// Offers that were left out, by reason.
    pub left_out: BTreeMap<&'static str, usize>,
    /// Figures of the offers taken that nothing here is billed by, by name.
    pub ignored: BTreeMap<String, usize>,
}

/// Reads a catalog file of either form.
///
/// # Errors
/// The text is neither, or an offer in it cannot be read; the error says where.
pub fn offers(text: &str) -> Result<Offers, CatalogError> {
    if text.trim_start().starts_with('{') { of_json(text) } else { of_lines(text) }
}

fn of_lines(text: &str) -> Result<Offers, CatalogError> {
    let catalog = Catalog::from_text(text.to_owned())?;
    let entries: Vec<Entry> = catalog.entries().collect();
    let aliases = text.lines().filter(|line| is_alias(line)).count();
    let left_out = if aliases == 0 { BTreeMap::new() } else { BTreeMap::from([("another name of an offer", aliases)]) };
    Ok(Offers { entries, left_out, ignored: BTreeMap::new() })
}

fn of_json(text: &str) -> Result<Offers, CatalogError> {
    let file: record::File<'_> =
        serde_json::from_str(text).map_err(|error| CatalogError { line: error.line(), problem: format!("not a catalog file: {error}") })?;
    if file.schema != 1 {
        return Err(CatalogError { line: 1, problem: format!("its schema is {}; this build reads schema 1", file.schema) });
    }
    let mut offers = Offers::default();
    for raw in file.models {
        let wrong = |problem: String| CatalogError { line: line_of(text, raw.get()), problem };
        let record: Record = serde_json::from_str(raw.get()).map_err(|error| wrong(format!("an offer cannot be read: {error}")))?;
        match record.unusable() {
            Some(reason) => *offers.left_out.entry(reason).or_default() += 1,
            None => {
                let entry = record.entry(&mut offers.ignored).map_err(|problem| wrong(format!("`{}`: {problem}", record.key())))?;
                offers.entries.push(entry);
            }
        }
    }
    Ok(offers)
}

/// The line that a part of the text begins on, counted from 1.
fn line_of(text: &str, part: &str) -> usize {
    let at = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
