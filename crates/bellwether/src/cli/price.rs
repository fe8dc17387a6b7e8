//! `bellwether price`: what some usage would cost, line by line, with no gateway running.

mod usage;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use gateway_billing::{
    money::{Money, Pico, Ppm},
    price::{Charge, PriceVersion, Sku, charge},
    usage::{Leaves, Normalised},
};
use gateway_core::{Clock, SystemClock};
use serde_json::{Value, json};

use super::{ConfigFile, output};
use crate::{Registry, assembly::Outline, config::Environment, serve};

#[derive(Debug, Args)]
pub(super) struct Price {
    #[command(flatten)]
    config: ConfigFile,
    /// A public name, `provider/model`, or a provider's own name of a model
    model: String,
    /// What was used: {"tok.in": 120, "tok.out": 40}, or the usage object of a provider's answer
    #[arg(long, value_name = "JSON")]
    usage: String,
    /// When the request arrived, such as 2027-01-31T00:00:00Z; now if it is left out
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The service tier that was served
    #[arg(long, value_name = "TIER")]
    tier: Option<String>,
    /// Where it was served, if there is a choice
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// The plan's multiplier, such as 1.05; a whole number above 100 is taken for millionths, such as 1050000
    #[arg(long, value_name = "FACTOR")]
    plan: Option<String>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// A charge with what it was made from.
struct Quote {
    model: String,
    route: String,
    origin: String,
    at: jiff::Timestamp,
    multiplier: Ppm,
    leaves: Leaves,
    version: std::sync::Arc<PriceVersion>,
    charge: Charge,
    notes: Vec<&'static str>,
}

impl Price {
    pub(super) fn run(self, environment: &dyn Environment, registry: &Registry) -> Result<ExitCode> {
        let config = serve::load(&self.config, environment)?;
        let outline = Outline::of(&config, environment, registry)?;
        let quote = self.quote(&outline)?;
        if self.json {
            output::json(&quote.as_json());
        } else {
            quote.show();
        }
        Ok(ExitCode::SUCCESS)
    }

    fn quote(&self, outline: &Outline) -> Result<Quote> {
        let used = usage::read(&self.usage)?;
        let at = match &self.at {
            None => jiff::Timestamp::try_from(SystemClock.wall())?,
            Some(text) => text.parse().with_context(|| format!("--at must be a time such as 2027-01-31T00:00:00Z, not `{text}`"))?,
        };
        let multiplier = self.plan.as_deref().map_or(Ok(Ppm::ONE), multiplier)?;
        let draft = outline.offer(&self.model, self.provider.as_deref())?;
        let version = PriceVersion::quoted(&draft, &outline.calendars).with_context(|| format!("the price of `{}`", self.model))?;
        let Normalised { mut leaves, inconsistent } = used.at(&version, at.as_microsecond());
        let mut notes = Vec::new();
        if let Some(tier) = &self.tier {
            leaves = leaves.in_tier(Some(tier));
            if leaves.service_tier().is_none() {
                bail!("--tier: `{tier}` cannot be the name of a service tier");
            }
        }
        let priced = |tier: &str| {
            version
                .terms()
                .overrides
                .iter()
                .filter_map(|entry| entry.when.service_tier.as_deref())
                .any(|known| known.eq_ignore_ascii_case(tier))
        };
        if leaves.service_tier().is_some_and(|tier| !priced(tier)) {
            notes.push("the price says nothing of this service tier; it is charged as without one");
        }
        let charge = charge(&version, multiplier, &leaves, at.as_microsecond())?;
        if inconsistent {
            notes.push("the parts of this usage do not add up to its totals; the lower reading is charged");
        }
        if charge.flags.unpriced {
            notes.push("something in this usage has no price and is not charged");
        }
        if charge.flags.calendar_unknown {
            notes.push("the holidays of that day are not known; it is charged as a working day");
        }
        let (model, route, origin) = (self.model.clone(), draft.route.to_string(), draft.source.kind.clone());
        Ok(Quote { model, route, origin, at, multiplier, leaves, version, charge, notes })
    }
}

/// Reads a factor, or its millionths: no factor is above 100.
fn multiplier(text: &str) -> Result<Ppm> {
    let millionths = text.parse::<u32>().ok().filter(|number| *number > 100);
    let factor = millionths.map_or_else(|| text.parse().ok(), Ppm::new);
    factor.with_context(|| format!("--plan must be a factor such as 1.05, at most 100, or its millionths such as 1050000; not `{text}`"))
}

impl Quote {
    fn money(&self, amount: gateway_billing::money::Nano) -> Money {
        Money::new(amount, self.version.currency())
    }

    fn as_json(&self) -> Value {
        let line = |line: &gateway_billing::price::Line| {
            json!({
                "sku": line.sku,
                "quantity": line.quantity.to_string(),
                "price_pico": line.price.get().to_string(),
                "amount": self.money(line.amount),
            })
        };
        json!({
            "object": "quote",
            "model": self.model,
            "route": self.route,
            "origin": self.origin,
            "at": self.at.to_string(),
            "service_tier": self.leaves.service_tier(),
            "multiplier_ppm": self.multiplier,
            "usage": self.leaves,
            "sha256": self.version.sha256_hex(),
            "lines": self.charge.lines.iter().map(line).collect::<Vec<_>>(),
            "total": self.money(self.charge.total),
            "notes": self.notes,
        })
    }

    fn show(&self) {
        output::line(format_args!("{} at {}, price from the {}, {}", self.model, self.route, self.origin, self.at));
        let line = |line: &gateway_billing::price::Line| {
            [line.sku.to_string(), line.quantity.to_string(), rate(&line.sku, line.price), line.amount.to_string()]
        };
        let mut rows: Vec<_> = self.charge.lines.iter().map(line).collect();
        if self.multiplier != Ppm::ONE {
            rows.push(["plan".to_owned(), String::new(), format!("× {}", self.multiplier), "included".to_owned()]);
        }
        rows.push(["total".to_owned(), String::new(), String::new(), self.charge.total.to_string()]);
        output::table(["SKU", "QUANTITY", "RATE", self.version.currency().as_str()], &rows);
        for note in &self.notes {
            eprintln!("note: {note}");
        }
    }
}

fn rate(sku: &Sku, price: Pico) -> String {
    if sku.side().is_some() { format!("{} a million", price.of_million()) } else { format!("{} each", price.of_one()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;

    const OWN: &str = r#"
        [providers.house]
        protocol = "openai-chat"
        base_url = "http://127.0.0.1:1/v1"
        api_key = "k"
        [[models]]
        name = "ours"
        aliases = ["mine"]
        deployments = [{ provider = "house", model = "u" }, { provider = "openai", model = "gpt-4.1" }]
        price = { input = "2", output = "8", overrides = [{ service_tier = "batch", factor = "0.5" }] }
        [[models]]
        name = "unpriced"
        deployments = [{ provider = "house", model = "nobody-knows" }]
    "#;

    fn quote(model: &str, change: impl FnOnce(&mut Price)) -> Result<Quote> {
        let environment = BTreeMap::new();
        let config = Config::parse(OWN, "test", &environment).expect("a configuration");
        let outline = Outline::of(&config, &environment, &Registry::builtin().expect("sound")).expect("an outline");
        let mut price = Price {
            config: ConfigFile::default(),
            model: model.to_owned(),
            usage: r#"{"tok.in":3808,"tok.in.cache_read":8192,"tok.out":700}"#.to_owned(),
            at: None,
            tier: None,
            provider: None,
            plan: None,
            json: false,
        };
        change(&mut price);
        price.quote(&outline)
    }

    #[track_caller]
    fn check(model: &str, change: impl FnOnce(&mut Price), total: &str, origin: &str) {
        let quote = quote(model, change).unwrap_or_else(|error| panic!("{model}: {error:#}"));
        assert_eq!((quote.charge.total.to_string().as_str(), quote.origin.as_str()), (total, origin), "{model}");
    }

    #[test]
    fn every_name_of_a_model_leads_to_its_price() {
        check("gpt-4.1", |_| {}, "0.017312000", "catalog");
        check("openai/gpt-4.1", |price| price.plan = Some("1.05".to_owned()), "0.018177600", "catalog");
        check("openai/gpt-4.1", |price| price.plan = Some("1050000".to_owned()), "0.018177600", "catalog");
        check("mine", |_| {}, "0.029600000", "config");
        check("ours", |price| price.tier = Some("batch".to_owned()), "0.014800000", "config");
        check("claude-sonnet-4.5", |price| price.provider = Some("anthropic".to_owned()), "0.024381600", "catalog");
        // Known to the catalog alone.
        check("302ai/MiniMax-M2", |price| price.usage = r#"{"tok.in":1000000}"#.to_owned(), "0.330000000", "catalog");
    }

    #[track_caller]
    fn check_refused(model: &str, change: impl FnOnce(&mut Price), message: &str) {
        let error = quote(model, change).err().unwrap_or_else(|| panic!("{model} must be refused"));
        assert!(format!("{error:#}").contains(message), "{error:#}");
    }

    #[test]
    fn a_name_that_tells_too_little_is_refused_with_the_choices() {
        check_refused("no-such-model", |_| {}, "there is no model `no-such-model`");
        check_refused("unpriced", |_| {}, "has no price and is not sold");
        check_refused("MiniMax-M2", |_| {}, "302ai/MiniMax-M2, ");
        check_refused("ours", |price| price.provider = Some("acme".to_owned()), "it has at house/u, openai/gpt-4.1");
        for plan in ["x", "-1", "100000001", "1.0000001", "101.5"] {
            check_refused("ours", |price| price.plan = Some(plan.to_owned()), "--plan must be a factor");
        }
        check_refused("ours", |price| price.at = Some("yesterday".to_owned()), "--at must be a time");
        check_refused("ours", |price| price.tier = Some("a b".to_owned()), "cannot be the name of a service tier");
    }

    #[test]
    fn the_moment_and_the_tier_decide_the_rate() {
        let flash = |at: &'static str| {
            move |price: &mut Price| {
                price.usage = r#"{"tok.in.cache_read":7,"tok.out":3}"#.to_owned();
                price.at = Some(at.to_owned());
            }
        };
        check("deepseek/deepseek-flash", flash("2026-11-23T12:00:00Z"), "0.000001821", "catalog");
        check("deepseek/deepseek-flash", flash("2026-11-23T02:00:00Z"), "0.000003642", "catalog");
        let odd = quote("ours", |price| price.tier = Some("no-such-tier".to_owned())).expect("it is charged");
        assert_eq!((odd.charge.total.to_string().as_str(), odd.notes.len()), ("0.029600000", 1));
    }
}
