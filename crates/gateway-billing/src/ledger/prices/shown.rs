//! The published prices as the admin API shows them.

use serde::Serialize;

use crate::{
    ledger::{Ledger, accounts::rfc3339},
    money::Currency,
    price::{Origin, PriceError, PriceInput, PriceRow, PriceVersion, ServedAt},
};

const PAGE_MAX: u32 = 200;

/// Which prices are asked for.
#[derive(Debug, Clone, Default)]
pub struct PriceQuery {
    /// Only of this book.
    pub book: Option<String>,
    /// Only those that hold at this moment; `None` is now.
    pub at_us: Option<i64>,
    /// At most so many; 0 means 50, and more than 200 means 200.
    pub limit: u32,
    /// After the version with this number.
    pub after: Option<i64>,
}

/// A page of prices, in the order in which they were published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PricePage {
    /// The prices.
    pub data: Vec<PriceView>,
    /// Whether there are more.
    pub has_more: bool,
    /// What to ask for next.
    pub next: Option<String>,
}

/// A price version as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PriceView {
    /// `price_version`.
    pub object: &'static str,
    /// Its row.
    pub version: i64,
    /// The book.
    pub book: Box<str>,
    /// The public model; `*` is any.
    pub model: Box<str>,
    /// `<provider>/<upstream model>`; empty is any.
    pub route: Box<str>,
    /// `scheduled`, `standing` or `ended`, now.
    pub state: &'static str,
    /// From when on, RFC 3339.
    pub effective_from: String,
    /// Until when, RFC 3339; `None` while no successor is known.
    pub effective_to: Option<String>,
    /// `config`, `catalog` or `hand`.
    pub origin: &'static str,
    /// Where the price came from.
    pub published_by: Box<str>,
    /// When, RFC 3339.
    pub published_at: String,
    /// Of the stored terms.
    pub sha256: String,
    /// What the figures are in.
    pub currency: Option<Currency>,
    /// The closed price, as somebody would write it; `None` if it cannot be read.
    pub price: Option<PriceInput>,
    /// Why it cannot be read. Requests are refused then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Ledger {
    /// A page of the published prices.
    #[must_use]
    pub fn price_page(&self, query: &PriceQuery) -> PricePage {
        let now_us = self.clock.unix_us();
        let at_us = query.at_us.unwrap_or(now_us);
        let limit = if query.limit == 0 { 50 } else { query.limit.min(PAGE_MAX) } as usize;
        let wanted = |row: &PriceRow| {
            let book = query.book.as_deref().is_none_or(|book| book == &*row.book);
            book && row.holds_at(at_us) && query.after.is_none_or(|after| row.id.0 > after)
        };
        let rows = self.prices.rows(wanted);
        let has_more = rows.len() > limit;
        let next = rows.get(limit.saturating_sub(1)).filter(|_| has_more).map(|row| row.id.0.to_string());
        PricePage { data: rows.iter().take(limit).map(|row| view(row, now_us)).collect(), has_more, next }
    }

    /// The price in `book` that a call served there at `at_us` would be charged at, and those that are scheduled after it.
    ///
    /// # Errors
    /// The price that should hold cannot be read.
    pub fn prices_at(&self, book: &str, at: ServedAt<'_>, at_us: i64) -> Result<Vec<PriceView>, PriceError> {
        let now_us = self.clock.unix_us();
        let ServedAt { provider, upstream_model, model } = at;
        let key = crate::price::PriceKey { book, provider, upstream_model, model };
        let Some(version) = self.prices.lookup(key, at_us)? else { return Ok(Vec::new()) };
        let place = (&version.book, &version.model, &version.route);
        let later = |row: &PriceRow| (&row.book, &row.model, &row.route) == place && row.effective_from > at_us;
        let rows = self.prices.rows(|row| row.id == version.id || later(row));
        Ok(rows.iter().map(|row| view(row, now_us)).collect())
    }

    /// The prices in `book` of this public model, route or upstream model, whether or not a route leads there: those that
    /// hold at `at_us`, and those that begin later.
    #[must_use]
    pub fn prices_named(&self, book: &str, name: &str, at_us: i64) -> Vec<PriceView> {
        let now_us = self.clock.unix_us();
        let upstream = |row: &PriceRow| row.route.split_once('/').is_some_and(|(_, model)| model == name);
        let named = |row: &PriceRow| &*row.book == book && (&*row.model == name || &*row.route == name || upstream(row));
        let rows = self.prices.rows(|row| named(row) && (row.holds_at(at_us) || row.effective_from > at_us));
        rows.iter().map(|row| view(row, now_us)).collect()
    }
}

fn view(row: &PriceRow, now_us: i64) -> PriceView {
    let read = PriceVersion::read(row);
    let terms = read.as_ref().ok().map(|version| version.terms());
    PriceView {
        object: "price_version",
        version: row.id.0,
        book: row.book.clone(),
        model: row.model.clone(),
        route: row.route.clone(),
        state: if row.effective_from > now_us {
            "scheduled"
        } else if row.holds_at(now_us) {
            "standing"
        } else {
            "ended"
        },
        effective_from: rfc3339(row.effective_from),
        effective_to: row.effective_to.map(rfc3339),
        origin: Origin::of(&row.published_by).as_str(),
        published_by: row.published_by.clone(),
        published_at: rfc3339(row.published_at),
        sha256: row.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        currency: terms.map(|terms| terms.currency),
        price: terms.map(PriceInput::of),
        problem: read.err().map(|error| error.to_string()),
    }
}
