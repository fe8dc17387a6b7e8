//! A statement as CSV: one figure a line, so that it can be added up.

use serde_json::Value;

use super::StatementView;
use crate::{error::LedgerError, report::neutral};

impl StatementView {
    /// `section,name,requests,tokens_in,tokens_out,amount`: opening, movements with their signs, closing; below them what
    /// the usage was made of, which is part of the line `usage` and not a movement of its own.
    ///
    /// # Errors
    /// The stored text is damaged.
    pub fn to_csv(&self) -> Result<Vec<u8>, LedgerError> {
        let body: Value = serde_json::from_str(self.statement.get())
            .map_err(|_| LedgerError::Refused { problem: "a stored statement is damaged".into() })?;
        let unit = body["currency"].as_str().unwrap_or("usd").to_ascii_lowercase();
        let amount = |money: &Value| money[&unit].as_str().unwrap_or("").to_owned();
        let minus = |money: &Value| match amount(money) {
            zero if zero.trim_matches(['0', '.']).is_empty() => zero,
            text => text.strip_prefix('-').map_or_else(|| format!("-{text}"), str::to_owned),
        };
        let mut lines: Vec<[String; 6]> = Vec::new();
        let mut line = |section: &str, name: &str, figures: Option<&Value>, amount: String| {
            let figure = |key: &str| figures.map(|figures| figures[key].to_string()).unwrap_or_default();
            lines.push([
                section.to_owned(),
                neutral(name).into_owned(),
                figure("requests"),
                figure("tokens_in"),
                figure("tokens_out"),
                amount,
            ]);
        };
        let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
        for key in ["number", "account", "month", "tz", "from", "to", "notice"] {
            line(key, body[key].as_str().unwrap_or(""), None, String::new());
        }
        line("opening", "", None, amount(&body["opening"]));
        for (kind, money) in members(&body["credits"]) {
            line("credit", &kind, None, amount(&money));
        }
        line("expired", "", None, minus(&body["expired"]));
        for (kind, money) in members(&body["adjustments"]) {
            line("adjustment", &kind, None, amount(&money));
        }
        let usage = &body["usage"];
        line("usage", "", Some(usage), minus(&usage["paid"]));
        line("closing", "", None, amount(&body["closing"]));
        for group in ["model", "provider", "team", "key"] {
            for (name, figures) in members(&usage[format!("by_{group}")]) {
                line(&format!("charge by {group}"), &name, Some(&figures), amount(&figures["charge"]));
            }
        }
        line("written off", "", None, amount(&usage["written_off"]));
        let mut writer = csv::Writer::from_writer(Vec::new());
        let broken = |error: csv::Error| LedgerError::Refused { problem: error.to_string().into() };
        writer.write_record(["section", "name", "requests", "tokens_in", "tokens_out", &format!("amount_{unit}")]).map_err(broken)?;
        for line in &lines {
            writer.write_record(line).map_err(broken)?;
        }
        writer.into_inner().map_err(|error| LedgerError::Refused { problem: error.to_string().into() })
    }
}
