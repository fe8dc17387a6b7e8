//! `bellwether prices show` and `prices list`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::cli::{
    admin_client::{AdminClient, segment},
    output,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// A public name, `provider/model`, or a provider's own name of a model
    model: String,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// The prices that hold at this moment, such as 2027-01-31T00:00:00Z; now if it is left out
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The book, such as sell:default, sell:PLAN or cost:PROVIDER
    #[arg(long, value_name = "BOOK")]
    book: Option<String>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

impl Which {
    fn path(&self, model: Option<&str>) -> String {
        let given = [("model", model), ("at", self.at.as_deref()), ("book", self.book.as_deref())];
        let pairs: Vec<String> = given.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", segment(value?)))).collect();
        if pairs.is_empty() { "/admin/v1/prices".to_owned() } else { format!("/admin/v1/prices?{}", pairs.join("&")) }
    }
}

impl Show {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        let prices = admin.get(&self.which.path(Some(&self.model))).await?;
        if self.which.json {
            output::json(&prices);
            return Ok(ExitCode::SUCCESS);
        }
        for (n, price) in prices["data"].as_array().into_iter().flatten().enumerate() {
            if n > 0 {
                output::line("");
            }
            show(price);
        }
        output::line("\nTokens of kinds that are not listed cost what `input` and `output` cost.");
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        let list = admin.list(&self.which.path(None)).await?;
        if self.which.json {
            output::json(&list);
        } else {
            let columns = ["/version", "/book", "/model", "/route", "/price/input", "/origin", "/effective_from", "/effective_to"];
            let rows = output::rows(&list, |row| columns.map(|at| output::text(row, at)));
            output::table(["VERSION", "BOOK", "MODEL", "ROUTE", "INPUT", "ORIGIN", "FROM", "TO"], &rows);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(price: &Value) {
    let text = |at: &str| output::text(price, at);
    let place = [text("/deployment"), text("/route"), text("/model")].into_iter().find(|place| !place.is_empty()).unwrap_or_default();
    let [version, book, state, origin, by] = ["/version", "/book", "/state", "/origin", "/published_by"].map(text);
    output::line(format_args!("{place}: version {version} in {book}, {state}, {origin} by {by}"));
    let until = Some(text("/effective_to")).filter(|end| !end.is_empty()).map(|end| format!(" to {end}")).unwrap_or_default();
    output::line(format_args!("  holds from {}{until}", text("/effective_from")));
    let problem = text("/problem");
    if !problem.is_empty() {
        output::line(format_args!("  {problem}"));
    }
    let currency = text("/currency");
    for (name, figure) in figures(&price["price"]) {
        let per = if name == "web_search" { "thousand" } else { "million" };
        output::line(format_args!("  {name:<24} {figure} {currency} a {per}"));
    }
    let least = text("/price/min_charge");
    if !least.is_empty() {
        output::line(format_args!("  at least {least} {currency} a request"));
    }
    for entry in price["price"]["overrides"].as_array().into_iter().flatten() {
        let changes: Vec<String> = figures(entry).map(|(name, figure)| format!("{name} {figure}")).collect();
        output::line(format_args!("  when {}: {}", condition(entry), changes.join(", ")));
    }
}

/// The rates of a price or an override; everything else in it has a name of its own. What goes along with `input` or
/// `output` is left out: a closed price repeats them for every kind of token.
fn figures(price: &Value) -> impl Iterator<Item = (&str, &str)> {
    let other = ["min_charge", "overrides", "currency", "time_basis", "input_tokens_over", "service_tier", "window"];
    let rates = price.as_object().into_iter().flatten().filter(move |(name, _)| !other.contains(&name.as_str()));
    let own = rates.filter_map(|(name, figure)| Some((name.as_str(), figure.as_str()?)));
    own.filter(|(name, figure)| {
        let leader = ["input", "output"].into_iter().find(|leader| name.len() > leader.len() && name.starts_with(leader));
        leader.is_none_or(|leader| price[leader].as_str() != Some(*figure))
    })
}

fn condition(entry: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(over) = entry["input_tokens_over"].as_u64() {
        parts.push(format!("the input has more than {over} tokens"));
    }
    if let Some(tier) = entry["service_tier"].as_str() {
        parts.push(format!("served in tier {tier}"));
    }
    if entry["window"].is_object() {
        let text = |at: &str| output::text(entry, &format!("/window/{at}"));
        let days = Some(text("days")).filter(|days| !days.is_empty()).map(|days| format!(" on days {days}")).unwrap_or_default();
        let closed = Some(text("not_on")).filter(|name| !name.is_empty()).map(|name| format!(", not on {name}")).unwrap_or_default();
        parts.push(format!("between {} and {} in {}{days}{closed}", text("from"), text("to"), text("tz")));
    }
    parts.join(" and ")
}
