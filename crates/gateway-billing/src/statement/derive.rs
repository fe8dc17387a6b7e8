//! What a statement says, derived from the books.

use std::collections::{BTreeMap, HashMap};

use gateway_core::{KeyId, OrgId, TeamId};
use rusqlite::{Connection, params};
use serde::Serialize;

use super::number;
use crate::{
    budget::QUARTER_US,
    error::LedgerError,
    ledger::rfc3339,
    money::{Currency, Money, MoneyError, Nano},
};

/// Which statement: a wallet's, of this span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) wallet: i64,
    pub(crate) org: OrgId,
    pub(crate) currency: Currency,
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// `2026-11`.
    pub(crate) month: String,
    pub(crate) tz: String,
}

/// What transactions did to a wallet in a span, usage apart from the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Movements {
    /// By kind of transaction: `credit`, `grant`, `code`.
    credits: BTreeMap<String, i64>,
    adjustments: BTreeMap<String, i64>,
    expired: i64,
    /// What usage took, above zero.
    used: i64,
}

/// The movements of each place, in one pass over the transactions. Places of one wallet do not overlap.
pub(crate) fn movements(connection: &Connection, places: &[Place]) -> Result<Vec<Movements>, LedgerError> {
    let mut all = vec![Movements::default(); places.len()];
    let mut spans: HashMap<(OrgId, Currency), BTreeMap<i64, usize>> = HashMap::new();
    for (n, place) in places.iter().enumerate() {
        spans.entry((place.org, place.currency)).or_default().insert(place.start, n);
    }
    let (first, end) = (places.iter().map(|place| place.start).min(), places.iter().map(|place| place.end).max());
    let mut statement = connection.prepare(
        "SELECT a.owner, a.currency, t.at, t.kind, t.reverses IS NOT NULL, -p.amount FROM txn t CROSS JOIN posting p ON p.txn = t.id \
         JOIN account a ON a.id = p.account WHERE t.at >= ?1 AND t.at < ?2 AND a.code IN (2100, 2110)",
    )?;
    let mut rows = statement.query(params![first.unwrap_or(0), end.unwrap_or(0)])?;
    while let Some(row) = rows.next()? {
        let (owner, currency, at): (Vec<u8>, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let key = <[u8; 16]>::try_from(owner).ok().map(OrgId::from_bytes).zip(Currency::new(&currency));
        let found = key.and_then(|key| spans.get(&key)).and_then(|spans| spans.range(..=at).next_back());
        if let Some((_, n)) = found.filter(|(_, n)| at < places[**n].end) {
            all[*n].add(row.get(3)?, row.get(4)?, row.get(5)?)?;
        }
    }
    Ok(all)
}

impl Movements {
    fn add(&mut self, kind: String, reverses: bool, amount: i64) -> Result<(), MoneyError> {
        let (sum, amount) = match kind.as_str() {
            "usage" => (&mut self.used, amount.checked_neg().ok_or(MoneyError::TooLarge)?),
            "expiry" => (&mut self.expired, amount.checked_neg().ok_or(MoneyError::TooLarge)?),
            _ if reverses || amount < 0 => (self.adjustments.entry(kind).or_default(), amount),
            _ => (self.credits.entry(kind).or_default(), amount),
        };
        *sum = sum.checked_add(amount).ok_or(MoneyError::TooLarge)?;
        Ok(())
    }
}

/// A statement without its number.
#[derive(Debug, Clone)]
pub(crate) struct Derived {
    pub(crate) place: Place,
    pub(crate) opening: i64,
    pub(crate) closing: i64,
    movements: Movements,
    usage: Usage,
}

#[derive(Debug, Clone, Default)]
struct Usage {
    total: Figures,
    by_model: BTreeMap<String, Figures>,
    by_provider: BTreeMap<String, Figures>,
    by_team: BTreeMap<String, Figures>,
    by_key: BTreeMap<String, Figures>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    requests: i64,
    tokens_in: i64,
    tokens_out: i64,
    charge: i64,
    written_off: i64,
}

/// The statement of a place that opens with `opening`.
///
/// # Errors
/// The sums and the transactions do not agree: the books must be looked at before anything is stated of them.
pub(crate) fn derive(connection: &Connection, place: Place, opening: i64, movements: Movements) -> Result<Derived, LedgerError> {
    let usage = usage(connection, &place)?;
    if usage.total.charge.checked_sub(usage.total.written_off) != Some(movements.used) {
        let problem = format!(
            "the statement of account {} for {} cannot be made: its sums of usage and its transactions differ; run `bellwether ledger verify`",
            place.org, place.month
        );
        return Err(LedgerError::Refused { problem: problem.into() });
    }
    let gains = movements.credits.values().chain(movements.adjustments.values());
    let closing = gains.chain([&-movements.expired, &-movements.used]).try_fold(opening, |sum, amount| sum.checked_add(*amount));
    let closing = closing.ok_or(MoneyError::TooLarge)?;
    Ok(Derived { place, opening, closing, movements, usage })
}

fn usage(connection: &Connection, place: &Place) -> Result<Usage, LedgerError> {
    let mut usage = Usage::default();
    let mut statement = connection.prepare_cached(
        "SELECT v.model, v.provider, k.team, r.api_key, SUM(r.requests), SUM(r.tokens_in), SUM(r.tokens_out), SUM(r.charge), \
           SUM(r.written_off) \
         FROM rollup r JOIN served v ON v.id = r.served LEFT JOIN api_key k ON k.id = r.api_key \
         WHERE r.wallet = ?1 AND r.quarter >= ?2 AND r.quarter < ?3 GROUP BY r.served, r.api_key",
    )?;
    let mut rows = statement.query([place.wallet, place.start / QUARTER_US, place.end / QUARTER_US])?;
    while let Some(row) = rows.next()? {
        let team = row.get::<_, Option<[u8; 16]>>(2)?.map_or_else(|| "none".to_owned(), |id| TeamId::from_bytes(id).to_string());
        let one = Figures {
            requests: row.get(4)?,
            tokens_in: row.get(5)?,
            tokens_out: row.get(6)?,
            charge: row.get(7)?,
            written_off: row.get(8)?,
        };
        usage.total.add(&one)?;
        for (table, name) in [
            (&mut usage.by_model, row.get(0)?),
            (&mut usage.by_provider, row.get(1)?),
            (&mut usage.by_team, team),
            (&mut usage.by_key, KeyId::from_bytes(row.get(3)?).to_string()),
        ] {
            table.entry(name).or_default().add(&one)?;
        }
    }
    Ok(usage)
}

impl Figures {
    fn add(&mut self, other: &Self) -> Result<(), MoneyError> {
        let fields = [
            (&mut self.requests, other.requests),
            (&mut self.tokens_in, other.tokens_in),
            (&mut self.tokens_out, other.tokens_out),
            (&mut self.charge, other.charge),
            (&mut self.written_off, other.written_off),
        ];
        for (sum, more) in fields {
            *sum = sum.checked_add(more).ok_or(MoneyError::TooLarge)?;
        }
        Ok(())
    }

    fn show(self, currency: Currency) -> Line {
        let money = |nano| Money::new(Nano::new(nano), currency);
        let Self { requests, tokens_in, tokens_out, charge, written_off } = self;
        Line { requests, tokens_in, tokens_out, charge: money(charge), written_off: money(written_off) }
    }
}

/// The text that is hashed; its members always come in this order.
#[derive(Serialize)]
struct Body<'b> {
    object: &'static str,
    number: String,
    notice: &'static str,
    account: OrgId,
    currency: Currency,
    month: &'b str,
    tz: &'b str,
    from: String,
    to: String,
    opening: Money,
    credits: BTreeMap<&'b str, Money>,
    expired: Money,
    adjustments: BTreeMap<&'b str, Money>,
    usage: UsageBody<'b>,
    closing: Money,
}

#[derive(Serialize)]
struct UsageBody<'b> {
    #[serde(flatten)]
    total: Line,
    paid: Money,
    by_model: BTreeMap<&'b str, Line>,
    by_provider: BTreeMap<&'b str, Line>,
    by_team: BTreeMap<&'b str, Line>,
    by_key: BTreeMap<&'b str, Line>,
}

#[derive(Serialize)]
struct Line {
    requests: i64,
    tokens_in: i64,
    tokens_out: i64,
    charge: Money,
    written_off: Money,
}

const NOTICE: &str = "This statement of credit and usage is not a tax invoice.";

impl Derived {
    /// The body under this number.
    pub(crate) fn body(&self, no: i64) -> Result<String, LedgerError> {
        let currency = self.place.currency;
        let money = |nano: i64| Money::new(Nano::new(nano), currency);
        let amounts = |kinds: &BTreeMap<String, i64>| kinds.iter().map(|(kind, amount)| (kind.clone(), money(*amount))).collect();
        let (credits, adjustments): (BTreeMap<String, Money>, BTreeMap<String, Money>) =
            (amounts(&self.movements.credits), amounts(&self.movements.adjustments));
        fn lines(table: &BTreeMap<String, Figures>, currency: Currency) -> BTreeMap<&str, Line> {
            table.iter().map(|(name, figures)| (name.as_str(), figures.show(currency))).collect()
        }
        let body = Body {
            object: "statement",
            number: number(no),
            notice: NOTICE,
            account: self.place.org,
            currency,
            month: &self.place.month,
            tz: &self.place.tz,
            from: rfc3339(self.place.start),
            to: rfc3339(self.place.end),
            opening: money(self.opening),
            credits: credits.iter().map(|(kind, amount)| (kind.as_str(), *amount)).collect(),
            expired: money(self.movements.expired),
            adjustments: adjustments.iter().map(|(kind, amount)| (kind.as_str(), *amount)).collect(),
            usage: UsageBody {
                total: self.usage.total.show(currency),
                paid: money(self.movements.used),
                by_model: lines(&self.usage.by_model, currency),
                by_provider: lines(&self.usage.by_provider, currency),
                by_team: lines(&self.usage.by_team, currency),
                by_key: lines(&self.usage.by_key, currency),
            },
            closing: money(self.closing),
        };
        serde_json::to_string(&body).map_err(|error| LedgerError::Refused { problem: error.to_string().into() })
    }
}
