//! `bellwether hints`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::{
    admin_client::{AdminClient, segment},
    output,
};

/// Which hints.
#[derive(Debug, clap::Args)]
pub(super) struct Hints {
    /// The account's name or id; without it, of all accounts together
    #[arg(long)]
    account: Option<String>,
    /// The first day, or a time; without it thirty days before the end
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// The day or time after the last; without it now
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The IANA zone that days begin in
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Of requests with test keys
    #[arg(long)]
    test: bool,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

impl Hints {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        let mut path = format!("/admin/v1/hints?mode={}", if self.test { "test" } else { "live" });
        for (name, value) in [("account", &self.account), ("from", &self.from), ("to", &self.to), ("tz", &self.tz)] {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", segment(value)));
            }
        }
        let hints = admin.get(&path).await?;
        if self.json {
            output::json(&hints);
        } else {
            show(&hints);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(hints: &Value) {
    let text = |at| output::text(hints, at);
    output::line(format_args!("{} requests from {} to {}", text("/requests"), text("/from"), text("/to")));
    let rows = output::rows(hints, |hint| {
        [
            output::text(hint, "/id"),
            about(&hint["scope"]),
            output::text(hint, "/effect"),
            output::text(hint, "/current_usd"),
            output::text(hint, "/alternative_usd"),
            output::text(hint, "/saving_usd"),
            output::text(hint, "/confidence"),
            alternative(&hint["details"]),
        ]
    });
    output::table(["HINT", "ABOUT", "EFFECT", "CURRENT", "ALTERNATIVE", "SAVING", "CONFIDENCE", "DETAILS"], &rows);
    for rule in hints["rules"].as_array().into_iter().flatten() {
        if rule["state"] == "not_known" {
            output::line(format_args!("{}: not known, nothing is kept of {} requests", output::text(rule, "/id"), rule["not_known"]));
        }
    }
    if !hints["covered_until"].is_null() {
        output::line(format_args!("the time was too short for all of it; looked at until {}", text("/covered_until")));
    }
}

/// `model=gpt-4.1 key=key_…`, as far as the hint names them.
fn about(scope: &Value) -> String {
    let parts = scope.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or("?")));
    parts.collect::<Vec<_>>().join(" ")
}

/// The details in short: what is no table of its own.
fn alternative(details: &Value) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let parts = details.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={}", plain(value)));
    parts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hint_is_one_line() {
        assert_eq!(about(&json!({ "key": "key_1", "model": "m" })), "key=key_1 model=m");
        assert_eq!(alternative(&json!({ "class": "large", "tokens": 5, "to": { "a": 1 } })), r#"class=large to={"a":1} tokens=5"#);
    }
}
