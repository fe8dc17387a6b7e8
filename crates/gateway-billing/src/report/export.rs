//! Reports as CSV.

use std::borrow::Cow;

use super::{ask::Group, fold::UsagePage};
use crate::{error::LedgerError, money::Currency};

impl UsagePage {
    /// The page as CSV with a line of headings: amounts as decimal figures, in the currency of the page.
    ///
    /// # Errors
    /// None that can be met with; writing is fallible by type.
    pub fn to_csv(&self) -> Result<Vec<u8>, LedgerError> {
        let currencies = self.other_currencies();
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.headings(&currencies)).map_err(broken)?;
        for row in &self.data {
            let mut cells: Vec<Cow<'_, str>> = Vec::new();
            for (group, value, name) in &row.groups {
                cells.push(neutral(value.as_deref().unwrap_or("")));
                if has_name(*group) {
                    cells.push(neutral(name.as_deref().unwrap_or("")));
                }
            }
            let sums = &row.sums;
            let figures =
                [Some(sums.requests), Some(sums.tokens_in), Some(sums.tokens_out), sums.cache_read, sums.cache_write, sums.reasoning];
            cells.extend(figures.map(|figure| figure.map(|n| n.to_string()).unwrap_or_default().into()));
            cells.push(sums.charge.to_string().into());
            cells.push(sums.written_off.to_string().into());
            if self.with_cost {
                let (own, others) = row.cost();
                let known = !sums.costs.is_empty();
                cells.push(if known { own.to_string().into() } else { "".into() });
                cells.push(row.margin().filter(|_| known).map(|margin| margin.to_string()).unwrap_or_default().into());
                for currency in &currencies {
                    cells.push(others.get(currency).map(|cost| cost.amount.to_string()).unwrap_or_default().into());
                }
            }
            writer.write_record(cells.iter().map(|cell| cell.as_bytes())).map_err(broken)?;
        }
        writer.into_inner().map_err(broken)
    }

    fn headings(&self, currencies: &[Currency]) -> Vec<String> {
        let mut headings = Vec::new();
        for group in &self.groups {
            headings.push(group.as_str().to_owned());
            if has_name(*group) {
                headings.push(format!("{}_name", group.as_str()));
            }
        }
        let figures = ["requests", "tokens_in", "tokens_out", "cache_read", "cache_write", "reasoning"];
        headings.extend(figures.map(str::to_owned));
        let unit = self.currency().as_str().to_ascii_lowercase();
        headings.extend(["charge", "written_off"].map(|name| format!("{name}_{unit}")));
        if self.with_cost {
            headings.extend(["cost", "margin"].map(|name| format!("{name}_{unit}")));
            headings.extend(currencies.iter().map(|currency| format!("cost_{}", currency.as_str().to_ascii_lowercase())));
        }
        headings
    }

    fn other_currencies(&self) -> Vec<Currency> {
        let mut currencies: Vec<_> = self.data.iter().flat_map(|row| row.cost().1.into_keys()).collect();
        currencies.sort_unstable();
        currencies.dedup();
        currencies
    }
}

fn has_name(group: Group) -> bool {
    matches!(group, Group::Account | Group::Team | Group::User | Group::Key)
}

/// A text that no spreadsheet takes for a formula: callers choose tags and names, and an accountant opens the file.
pub(crate) fn neutral(text: &str) -> Cow<'_, str> {
    match text.trim_start_matches(' ').bytes().next() {
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n') => format!("'{text}").into(),
        _ => text.into(),
    }
}

fn broken(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Refused { problem: format!("the report cannot be written as CSV: {error}").into() }
}
