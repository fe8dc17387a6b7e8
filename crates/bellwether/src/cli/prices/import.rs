//! `bellwether prices import`: from a catalog file to a list that somebody can read, edit and publish.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use gateway_billing::{
    catalog::{CatalogError, Entry, Offers, offers},
    ledger::prices_of_file,
    money::{Ppm, parse_scaled},
    price::{Calendars, Diff, ListKind, ListSource, ListedPrice, Markup, PriceList, ReferenceRate, Rounding, SELL_BOOK, seal},
};
use gateway_core::{Clock, SystemClock};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::changes;
use crate::{
    cli::{ConfigFile, admin_client::AdminClient, output},
    config::Environment,
    serve,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// A catalog: the full one as JSON, or lines as this program ships them
    file: PathBuf,
    /// The book: sell:default, sell:PLAN, or cost:PROVIDER, which takes that provider's offers alone
    #[arg(long, value_name = "BOOK", default_value = SELL_BOOK)]
    book: String,
    /// What every rate is multiplied by: 1.1, or 10%
    #[arg(long, value_name = "FACTOR", default_value = "1", allow_hyphen_values = true)]
    markup: String,
    /// What a dollar costs in another currency, such as CNY=7.13: prices in it become prices in dollars
    #[arg(long, value_name = "CURRENCY=RATE")]
    rate: Option<ReferenceRate>,
    /// Only offers whose `provider/model` begins so; repeat for several
    #[arg(long, value_name = "PREFIX")]
    only: Vec<String>,
    /// Where the list is written
    #[arg(long, value_name = "DRAFT")]
    out: PathBuf,
    /// Compare with the prices in this database, read without changing it; without it the running gateway is asked
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

/// A list with what was left out of it, and why.
struct Drafted {
    list: PriceList,
    refused: Vec<String>,
}

impl Import {
    pub(super) async fn run(self, environment: &dyn Environment) -> Result<ExitCode> {
        let config = serve::load(&self.config, environment)?;
        let calendars = config.calendars.iter().try_fold(Calendars::shipped(), |all, (name, more)| all.extended(name, more.clone()));
        let calendars = calendars.context("[calendars]")?;
        let bytes = fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        let text = std::str::from_utf8(&bytes).with_context(|| format!("{} is not text", self.file.display()))?;
        let offers = offers(text).map_err(|error: CatalogError| anyhow::anyhow!("{}: {error}", self.file.display()))?;
        let drafted = self.draft(&offers, &bytes, &calendars)?;
        let list = serde_json::to_string_pretty(&drafted.list)?;
        fs::write(&self.out, list + "\n").with_context(|| format!("cannot write {}", self.out.display()))?;
        let diff = self.compare(&drafted.list, &calendars, environment).await;
        let diff = diff.with_context(|| format!("{} is written, but cannot be compared", self.out.display()))?;
        if self.json {
            let (left_out, ignored) = (&offers.left_out, &offers.ignored);
            output::json(&json!({
                "object": "price_import",
                "out": self.out,
                "prices": drafted.list.prices.len(),
                "left_out": left_out,
                "ignored_figures": ignored,
                "refused": drafted.refused,
                "rounded": drafted.list.rounded,
                "diff": diff,
            }));
        } else {
            self.show(&offers, &drafted, diff.as_ref());
        }
        Ok(ExitCode::SUCCESS)
    }

    fn draft(&self, offers: &Offers, bytes: &[u8], calendars: &Calendars) -> Result<Drafted> {
        let markup = Markup { factor: markup(&self.markup)?, rate: self.rate };
        let provider = self.book.strip_prefix("cost:");
        let wanted = |entry: &&Entry| {
            let key = format!("{}/{}", entry.provider, entry.model);
            let chosen = self.only.is_empty() || self.only.iter().any(|prefix| key.starts_with(prefix.as_str()));
            chosen && provider.is_none_or(|provider| provider == &*entry.provider)
        };
        let (mut prices, mut rounded, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let source = ListSource {
            kind: ListKind::Import,
            reference: self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            sha256: Some(digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()),
        };
        let list = |prices, rounded| PriceList { book: self.book.clone(), source: source.clone(), rounded, prices };
        for entry in offers.entries.iter().filter(wanted) {
            let route = format!("{}/{}", entry.provider, entry.model);
            match usable(route.clone(), entry, markup, |price| list(vec![price], Vec::new()), calendars) {
                Ok((price, figures)) => {
                    prices.push(price);
                    rounded.extend(figures);
                }
                Err(problem) => refused.push(format!("{route}: {problem}")),
            }
        }
        if prices.is_empty() {
            let first = refused.first().map(|problem| format!("; the first that cannot be priced is {problem}")).unwrap_or_default();
            bail!("{} has no offer to import into `{}`{first}", self.file.display(), self.book);
        }
        Ok(Drafted { list: list(prices, rounded), refused })
    }

    /// What publishing the list would change; `None` if there is nothing to compare it with.
    async fn compare(&self, list: &PriceList, calendars: &Calendars, environment: &dyn Environment) -> Result<Option<Value>> {
        match &self.database {
            Some(path) => offline(path, list, calendars).map(Some),
            None if environment.var("BELLWETHER_ADMIN_TOKEN").is_none_or(|token| token.trim().is_empty()) => Ok(None),
            None => {
                AdminClient::from_environment(environment)?.post("/admin/v1/prices/diff", &json!({ "list": list }), None).await.map(Some)
            }
        }
    }

    fn show(&self, offers: &Offers, drafted: &Drafted, diff: Option<&Value>) {
        output::line(format_args!("{} prices for `{}` written to {}", drafted.list.prices.len(), self.book, self.out.display()));
        let counts = |counts: &mut dyn Iterator<Item = (String, usize)>| {
            counts.map(|(what, n)| format!("{n} {what}")).collect::<Vec<_>>().join(", ")
        };
        if !offers.left_out.is_empty() {
            output::line(format_args!(
                "left out of the file: {}",
                counts(&mut offers.left_out.iter().map(|(what, n)| (format!("({what})"), *n)))
            ));
        }
        if !offers.ignored.is_empty() {
            output::line(format_args!(
                "figures that nothing is billed by: {}",
                counts(&mut offers.ignored.iter().map(|(what, n)| (what.clone(), *n)))
            ));
        }
        for problem in &drafted.refused {
            output::line(format_args!("left out: {problem}"));
        }
        if !drafted.list.rounded.is_empty() {
            output::line("\nRounded, because a price is a whole number of millionths of a millionth of a dollar:");
            let row = |rounding: &Rounding| {
                let Rounding { route, figure, written, stored } = rounding.clone();
                [route, figure, written, stored]
            };
            output::table(["MODEL", "FIGURE", "WRITTEN", "STORED"], &drafted.list.rounded.iter().map(row).collect::<Vec<_>>());
        }
        output::line("");
        match diff {
            Some(diff) => changes::print(diff),
            None => {
                output::line("Not compared with anything: set BELLWETHER_ADMIN_TOKEN for the running gateway, or give --database FILE.");
            }
        }
        output::line(format_args!("Nothing is published yet: bellwether prices publish {}", self.out.display()));
    }
}

/// A price of the list, if it could be published; one that cannot would keep all the others from being so.
fn usable(
    route: String,
    entry: &Entry,
    markup: Markup,
    alone: impl Fn(ListedPrice) -> PriceList,
    calendars: &Calendars,
) -> Result<(ListedPrice, Vec<Rounding>), String> {
    let (price, rounded) = ListedPrice::marked_up(route, &entry.price, markup).map_err(|error| error.to_string())?;
    let first = |errors: Vec<gateway_billing::price::PublishError>| {
        errors.into_iter().next().map_or_else(String::new, |error| error.error.to_string())
    };
    let drafts = alone(price.clone()).drafts().map_err(first)?;
    seal(&drafts, calendars).map_err(first)?;
    Ok((price, rounded))
}

fn offline(path: &Path, list: &PriceList, calendars: &Calendars) -> Result<Value> {
    let first = |errors: Vec<gateway_billing::price::PublishError>| {
        anyhow::anyhow!("{}", errors.first().map(ToString::to_string).unwrap_or_default())
    };
    let drafts = list.drafts().map_err(first)?;
    let sealed = seal(&drafts, calendars).map_err(first)?;
    let diff = Diff::of(&sealed, &prices_of_file(path)?, None, SystemClock.unix_us());
    Ok(serde_json::to_value(diff)?)
}

/// `1.1`, or `10%` on top, or `-5%` off.
fn markup(text: &str) -> Result<Ppm> {
    let factor = match text.strip_suffix('%') {
        None => text.parse().ok(),
        Some(percent) => {
            let parsed = parse_scaled(percent, 4).ok().filter(|parsed| parsed.exact);
            let millionths = parsed.and_then(|parsed| i64::from(Ppm::ONE.get()).checked_add(parsed.value));
            millionths.and_then(|millionths| u32::try_from(millionths).ok()).and_then(Ppm::new)
        }
    };
    factor.with_context(|| format!("--markup must be a factor such as 1.1, at most 100, or a percentage such as 10%; not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_markup_is_a_factor_or_a_percentage() {
        for (text, millionths) in
            [("1.1", 1_100_000), ("10%", 1_100_000), ("0.5%", 1_005_000), ("-5%", 950_000), ("0%", 1_000_000), ("2", 2_000_000)]
        {
            assert_eq!(markup(text).expect(text).get(), millionths, "{text}");
        }
        for text in ["", "%", "x", "-101%", "0.00001%", "101", "+5%", "-1"] {
            assert!(markup(text).is_err(), "{text}");
        }
    }
}
