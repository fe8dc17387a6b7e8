//! `bellwether what-if`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use gateway_billing::price::PriceList;
use serde_json::{Map, Value, json};

use super::{
    admin_client::AdminClient,
    output::{self, amount, text},
};

#[derive(Debug, Args)]
pub(super) struct WhatIf {
    /// Of this account only, by name or id; all of them if it is left out
    #[arg(long)]
    account: Option<String>,
    /// From this date or time on; the running month if it is left out
    #[arg(long)]
    from: Option<String>,
    /// Up to this date or time; now if it is left out
    #[arg(long)]
    to: Option<String>,
    /// The zone that dates are of, such as Asia/Shanghai
    #[arg(long)]
    tz: Option<String>,
    /// What the first served is priced as the second: gpt-4o=gpt-4o-mini, or gpt-4o=azure/gpt-4o-mini
    #[arg(long, value_name = "MODEL=OTHER")]
    model: Vec<String>,
    /// Each request at the first of these providers that did not fail for it: gpt-4o=azure,openai
    #[arg(long, value_name = "MODEL=PROVIDERS")]
    order: Vec<String>,
    /// Another plan's factor and prices
    #[arg(long)]
    plan: Option<String>,
    /// The prices as they stood then, or `now`
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// A list of prices, as `prices publish` takes it; nothing is published
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// Only what this public model served
    #[arg(long)]
    only_model: Option<String>,
    /// Only with this key: key_…
    #[arg(long)]
    key: Option<String>,
    /// Only with keys of this team, by name or id
    #[arg(long)]
    team: Option<String>,
    /// Only for this end user, as callers name them
    #[arg(long)]
    tag: Option<String>,
    /// Also what providers bill
    #[arg(long)]
    cost: bool,
    /// Of test money
    #[arg(long)]
    test: bool,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

impl WhatIf {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        let answer = admin.post("/admin/v1/what-if", &self.question()?, None).await?;
        if self.json {
            output::json(&answer);
        } else {
            show(&answer, self.cost);
        }
        Ok(ExitCode::SUCCESS)
    }

    fn question(&self) -> Result<Value> {
        let mut body = Map::new();
        let texts = [
            ("account", &self.account),
            ("from", &self.from),
            ("to", &self.to),
            ("tz", &self.tz),
            ("plan", &self.plan),
            ("prices_at", &self.at),
        ];
        let filter = [("model", &self.only_model), ("key", &self.key), ("team", &self.team), ("tag", &self.tag)];
        let given = |(name, value): (&str, &Option<String>)| value.as_ref().map(|value| (name.to_owned(), json!(value)));
        body.extend(texts.into_iter().filter_map(given));
        body.insert("filter".to_owned(), filter.into_iter().filter_map(given).collect());
        body.insert("models".to_owned(), pairs("--model", &self.model, |other| json!(other))?);
        let listed = |providers: &str| providers.split(',').map(str::trim).collect();
        body.insert("order".to_owned(), pairs("--order", &self.order, listed)?);
        if let Some(path) = &self.prices {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let list: PriceList = serde_json::from_str(&text).with_context(|| format!("{} is not a list of prices", path.display()))?;
            body.insert("prices".to_owned(), json!(list));
        }
        body.insert("mode".to_owned(), json!(if self.test { "test" } else { "live" }));
        body.insert("cost".to_owned(), json!(self.cost));
        Ok(body.into())
    }
}

/// `A=B` of each, as an object.
fn pairs(option: &str, given: &[String], value: impl Fn(&str) -> Value) -> Result<Value> {
    let mut object = Map::new();
    for pair in given {
        match pair.split_once('=').filter(|(model, other)| !model.is_empty() && !other.is_empty()) {
            Some((model, other)) => {
                if object.insert(model.to_owned(), value(other)).is_some() {
                    bail!("{option} names `{model}` twice");
                }
            }
            None => bail!("{option} takes MODEL=…, such as gpt-4o=gpt-4o-mini, not `{pair}`"),
        }
    }
    Ok(object.into())
}

fn show(answer: &Value, with_cost: bool) {
    let at = |pointer| text(answer, pointer);
    output::line(format_args!(
        "{} to {} ({}): {} requests by arrival, {} of them priced otherwise",
        at("/from"),
        at("/to"),
        at("/tz"),
        at("/requests"),
        at("/repriced")
    ));
    let place = |row: &Value, model: &str, provider: &str| match (text(row, model), text(row, provider)) {
        (model, _) if model.is_empty() => "not priced".to_owned(),
        (model, provider) if provider.is_empty() => model,
        (model, provider) => format!("{model} at {provider}"),
    };
    let figures = |row: &Value| {
        [text(row, "/requests"), amount(&row["current"]["charge"]), amount(&row["alternative"]["charge"]), amount(&row["difference"])]
    };
    let line = |from: String, to: String, row: &Value| {
        let [requests, current, other, difference] = figures(row);
        [from, to, requests, current, other, difference]
    };
    let by_model = answer["by_model"].as_array().into_iter().flatten();
    let mut rows: Vec<_> = by_model
        .map(|row| line(place(row, "/model", "/provider"), place(row, "/alternative_model", "/alternative_provider"), row))
        .collect();
    rows.push(line("all".to_owned(), String::new(), answer));
    output::table(["SERVED", "INSTEAD", "REQUESTS", "CHARGED", "WOULD BE", "DIFFERENCE"], &rows);
    if with_cost {
        output::line(format_args!("providers bill {}; they would {}", costs(&answer["current"]), costs(&answer["alternative"])));
    }
    notes(answer);
}

/// What a side costs, in each currency.
fn costs(side: &Value) -> String {
    let others = side["cost_in_other_currencies"].as_object().into_iter().flatten().map(|(_, cost)| amount(cost));
    std::iter::once(amount(&side["cost"])).chain(others).collect::<Vec<_>>().join(" and ")
}

fn notes(answer: &Value) {
    match answer["exact"].as_bool() {
        Some(true) => output::line("priced again as they were, they come to exactly what was charged"),
        Some(false) => output::line("priced again as they were, they DO NOT come to what was charged; run `bellwether ledger verify`"),
        None => {}
    }
    for reason in answer["unpriced"]["reasons"].as_array().into_iter().flatten() {
        output::line(format_args!("not priced otherwise: {} requests: {}", text(reason, "/requests"), text(reason, "/message")));
    }
    if let Some(message) = answer["stopped"]["message"].as_str() {
        output::line(format_args!("INCOMPLETE: {message}"));
    }
    for assumption in answer["assumptions"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::line(format_args!("- {assumption}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(arguments: &[&str]) -> Result<Value> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            what_if: WhatIf,
        }
        let line = <Line as clap::Parser>::try_parse_from(std::iter::once(&"what-if").chain(arguments)).expect("a command line");
        line.what_if.question()
    }

    #[test]
    fn a_command_line_is_a_question() {
        let asked = question(&[
            "--account",
            "Acme",
            "--model",
            "a=b",
            "--model",
            "c=p/d=e",
            "--order",
            "a=x, y",
            "--at",
            "now",
            "--team",
            "research",
            "--test",
        ]);
        let expected = json!({
            "account": "Acme", "mode": "test", "cost": false, "prices_at": "now", "filter": { "team": "research" },
            "models": { "a": "b", "c": "p/d=e" }, "order": { "a": ["x", "y"] },
        });
        assert_eq!(asked.expect("a question"), expected);
        for (arguments, message) in [
            (["--model", "a"], "--model takes MODEL=…"),
            (["--order", "=x"], "--order takes MODEL=…"),
            (["--prices", "no-such-file"], "cannot read no-such-file"),
        ] {
            let error = question(&arguments).expect_err("it is wrong").to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(question(&["--model", "a=b", "--model", "a=c"]).expect_err("twice").to_string().contains("names `a` twice"));
    }
}
