//! From the kept sums to rows.

use std::collections::{BTreeMap, HashMap};

use gateway_core::{KeyId, OrgId, TeamId, UserId};
use rusqlite::{Connection, Row, params};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{
    ask::{Group, Scope, UsageAsk, cursor},
    span::Step,
    tags::{TagSums, Tagged, by_tag},
};
use crate::{
    error::LedgerError,
    money::{Currency, Money, MoneyError, Nano},
};

/// Sums over a row's requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many.
    pub requests: i64,
    /// Input tokens, cached ones too.
    pub tokens_in: i64,
    /// Output tokens, thoughts too.
    pub tokens_out: i64,
    /// Of the input: read from a cache. Not known by tag.
    pub cache_read: Option<i64>,
    /// Of the input: written to a cache. Not known by tag.
    pub cache_write: Option<i64>,
    /// Of the output: thoughts. Not known by tag.
    pub reasoning: Option<i64>,
    /// What the usage is priced at.
    pub charge: Nano,
    /// Of that: what the operator took on itself.
    pub written_off: Nano,
    /// What providers bill, by currency; not known by tag.
    pub costs: BTreeMap<Currency, Nano>,
}

/// One row of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// What it is about, in the order of `group_by`: the group, its value or none, and its name where it has one.
    pub groups: Vec<(Group, Option<String>, Option<String>)>,
    /// The figures.
    pub sums: Sums,
    currency: Currency,
    with_cost: bool,
}

/// A page of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsagePage {
    object: &'static str,
    from: String,
    to: String,
    tz: String,
    currency: Currency,
    group_by: Vec<&'static str>,
    /// The rows.
    pub data: Vec<UsageRow>,
    /// Whether there are more.
    pub has_more: bool,
    /// What to ask for next.
    pub next: Option<String>,
    #[serde(skip)]
    pub(super) with_cost: bool,
    #[serde(skip)]
    pub(super) groups: Vec<Group>,
}

impl UsagePage {
    /// What the amounts are in.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.currency
    }
}

const BY_KEY: &str = "\
    SELECT CASE WHEN ?5 THEN wallet END, served, CASE WHEN ?6 THEN api_key END, cost_currency, SUM(requests), SUM(tokens_in), \
      SUM(tokens_out), SUM(charge), SUM(written_off), SUM(cache_read), SUM(cache_write), SUM(reasoning), SUM(cost) \
    FROM rollup WHERE wallet IN (SELECT id FROM wallet WHERE currency = ?1 AND (?2 IS NULL OR org = ?2)) \
      AND quarter >= ?3 AND quarter < ?4 GROUP BY 1, 2, 3, 4";

/// Rows by their keys, each the step's place and the values of the groups.
type Table = BTreeMap<Vec<String>, Sums>;

pub(super) fn read(connection: &Connection, ask: &UsageAsk) -> Result<UsagePage, LedgerError> {
    let org = match &ask.scope {
        Scope::Account(org) => Some(*org),
        Scope::Operator(None) => None,
        Scope::Operator(Some(account)) => Some(crate::ledger::find_account(connection, account)?),
    };
    // One snapshot: the rows of a page are of one moment.
    let snapshot = connection.unchecked_transaction()?;
    let names = Names::load(&snapshot, org, ask.has(Group::Key) || ask.has(Group::Team) || ask.has(Group::User))?;
    let mut page = UsagePage {
        object: "usage",
        from: ask.span.show(ask.span.from_us()),
        to: ask.span.show(ask.span.to_us()),
        tz: ask.span.zone_name().to_owned(),
        currency: ask.currency,
        group_by: ask.groups.iter().map(|group| group.as_str()).collect(),
        data: Vec::new(),
        has_more: false,
        next: None,
        with_cost: ask.shows_cost(),
        groups: ask.groups.clone(),
    };
    let mut last = None;
    'steps: for (place, step) in ask.span.steps(ask.division())?.iter().enumerate() {
        let place = format!("{place:04}");
        if ask.after.as_ref().is_some_and(|after| after[0] > place) {
            continue;
        }
        for (key, sums) in table(&snapshot, ask, org, (&place, step), &names)? {
            if ask.after.as_ref().is_some_and(|after| key <= *after) {
                continue;
            }
            if page.data.len() == ask.limit {
                page.has_more = true;
                break 'steps;
            }
            page.data.push(row(ask, &key, sums, &step.label, &names));
            last = Some(key);
        }
    }
    page.next = last.filter(|_| page.has_more).map(|key| cursor(&key));
    Ok(page)
}

fn row(ask: &UsageAsk, key: &[String], sums: Sums, label: &str, names: &Names) -> UsageRow {
    let groups = ask.groups.iter().zip(&key[1..]).map(|(group, value)| {
        let value = match group {
            Group::Day | Group::Hour => Some(label.to_owned()),
            _ => Some(value.clone()).filter(|value| !value.is_empty()),
        };
        let name = value.as_ref().and_then(|value| names.shown.get(value)).cloned();
        (*group, value, name)
    });
    UsageRow { groups: groups.collect(), sums, currency: ask.currency, with_cost: ask.shows_cost() }
}

fn table(
    connection: &Connection,
    ask: &UsageAsk,
    org: Option<OrgId>,
    (place, step): (&String, &Step),
    names: &Names,
) -> Result<Table, LedgerError> {
    let tagged = ask.has(Group::Tag);
    let by_key = !tagged && (ask.has(Group::Key) || ask.has(Group::Team) || ask.has(Group::User));
    let org = org.map(|org| org.as_bytes().to_vec());
    let currency = ask.currency;
    let mut table = Table::new();
    let mut add = |(wallet, served), api_key: Option<[u8; 16]>, tag: Option<&str>, one: &Sums| {
        let key = key_of(ask, place, wallet, served, api_key, tag, names);
        table.entry(key).or_default().add(one)
    };
    let mut all = connection.prepare_cached(BY_KEY)?;
    let account = ask.has(Group::Account);
    let mut rows = all.query(params![currency.as_str(), org, step.first, step.end, account, by_key])?;
    while let Some(row) = rows.next()? {
        let mut sums = Sums::read(row)?;
        if tagged {
            sums = Sums { cache_read: None, cache_write: None, reasoning: None, costs: BTreeMap::new(), ..sums };
        }
        let api_key = if by_key { row.get(2)? } else { None };
        add((row.get(0)?, row.get(1)?), api_key, None, &sums)?;
    }
    if tagged {
        // What a tag has is moved from the row of those that carried none.
        let tags = by_tag(connection, params![currency.as_str(), org, step.first, step.end], account)?;
        for (tag, places) in &tags {
            for Tagged { wallet, served, sums } in places {
                let sums = Sums::of_tag(*sums);
                add((*wallet, *served), None, Some(tag), &sums)?;
                add((*wallet, *served), None, None, &sums.negated())?;
            }
        }
    }
    table.retain(|_, sums| *sums != Sums::default());
    Ok(table)
}

fn key_of(
    ask: &UsageAsk,
    place: &str,
    wallet: Option<i64>,
    served: i64,
    api_key: Option<[u8; 16]>,
    tag: Option<&str>,
    names: &Names,
) -> Vec<String> {
    let mut key = Vec::with_capacity(ask.groups.len() + 1);
    key.push(place.to_owned());
    let owner = api_key.and_then(|id| names.keys.get(&id));
    for group in &ask.groups {
        key.push(match group {
            Group::Day | Group::Hour => String::new(),
            Group::Account => wallet.and_then(|wallet| names.wallets.get(&wallet)).cloned().unwrap_or_default(),
            Group::Model => names.served.get(&served).map(|(model, _)| model.clone()).unwrap_or_default(),
            Group::Provider => names.served.get(&served).map(|(_, provider)| provider.clone()).unwrap_or_default(),
            Group::Team => owner.and_then(|(team, _)| team.clone()).unwrap_or_default(),
            Group::User => owner.and_then(|(_, user)| user.clone()).unwrap_or_default(),
            Group::Key => api_key.map(|id| KeyId::from_bytes(id).to_string()).unwrap_or_default(),
            Group::Tag => tag.unwrap_or("").to_owned(),
        });
    }
    key
}

/// What the numbers in the sums stand for.
#[derive(Default)]
struct Names {
    /// Public model and provider.
    served: HashMap<i64, (String, String)>,
    /// Team and user of a key.
    keys: HashMap<[u8; 16], (Option<String>, Option<String>)>,
    /// The account of a wallet.
    wallets: HashMap<i64, String>,
    /// How people call what has an id.
    shown: HashMap<String, String>,
}

impl Names {
    fn load(connection: &Connection, org: Option<OrgId>, with_keys: bool) -> Result<Self, LedgerError> {
        let mut names = Self::default();
        let mut statement = connection.prepare_cached("SELECT id, model, provider FROM served")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            names.served.insert(row.get(0)?, (row.get(1)?, row.get(2)?));
        }
        let org = org.map(|org| org.as_bytes().to_vec());
        let mut statement = connection
            .prepare_cached("SELECT w.id, o.id, o.name FROM wallet w JOIN org o ON o.id = w.org WHERE ?1 IS NULL OR o.id = ?1")?;
        let mut rows = statement.query(params![org])?;
        while let Some(row) = rows.next()? {
            let id = OrgId::from_bytes(row.get(1)?).to_string();
            names.shown.insert(id.clone(), row.get(2)?);
            names.wallets.insert(row.get(0)?, id);
        }
        if with_keys {
            names.load_keys(connection, org.as_deref())?;
        }
        Ok(names)
    }

    fn load_keys(&mut self, connection: &Connection, org: Option<&[u8]>) -> Result<(), LedgerError> {
        let mut statement = connection.prepare_cached(
            "SELECT k.id, k.name, k.team, t.name, k.user, u.name FROM api_key k LEFT JOIN team t ON t.id = k.team \
             LEFT JOIN user u ON u.id = k.user WHERE ?1 IS NULL OR k.org = ?1",
        )?;
        let mut rows = statement.query(params![org])?;
        while let Some(row) = rows.next()? {
            let id: [u8; 16] = row.get(0)?;
            self.shown.insert(KeyId::from_bytes(id).to_string(), row.get(1)?);
            let team = row.get::<_, Option<[u8; 16]>>(2)?.map(|id| TeamId::from_bytes(id).to_string());
            let user = row.get::<_, Option<[u8; 16]>>(4)?.map(|id| UserId::from_bytes(id).to_string());
            for (id, name) in [(&team, 3), (&user, 5)] {
                if let (Some(id), Some(name)) = (id, row.get::<_, Option<String>>(name)?) {
                    self.shown.insert(id.clone(), name);
                }
            }
            self.keys.insert(id, (team, user));
        }
        Ok(())
    }
}

impl Sums {
    fn read(row: &Row<'_>) -> Result<Self, LedgerError> {
        let currency: String = row.get(3)?;
        let currency = Currency::new(&currency)
            .ok_or_else(|| LedgerError::Refused { problem: format!("a sum is in `{currency}`, which is no currency code").into() })?;
        let cost = Nano::new(row.get(12)?);
        let (cache_read, cache_write, reasoning) = (row.get(9)?, row.get(10)?, row.get(11)?);
        let costs = BTreeMap::from([(currency, cost)]);
        Ok(Self {
            requests: row.get(4)?,
            tokens_in: row.get(5)?,
            tokens_out: row.get(6)?,
            cache_read,
            cache_write,
            reasoning,
            charge: Nano::new(row.get(7)?),
            written_off: Nano::new(row.get(8)?),
            costs,
        })
    }

    fn of_tag(sums: TagSums) -> Self {
        let TagSums { requests, tokens_in, tokens_out, charge, written_off } = sums;
        Self { requests, tokens_in, tokens_out, charge, written_off, ..Self::default() }
    }

    fn negated(&self) -> Self {
        let minus = |amount: Nano| Nano::new(-amount.get());
        Self {
            requests: -self.requests,
            tokens_in: -self.tokens_in,
            tokens_out: -self.tokens_out,
            charge: minus(self.charge),
            written_off: minus(self.written_off),
            ..Self::default()
        }
    }

    fn add(&mut self, other: &Self) -> Result<(), MoneyError> {
        let fields =
            [(&mut self.requests, other.requests), (&mut self.tokens_in, other.tokens_in), (&mut self.tokens_out, other.tokens_out)];
        for (sum, more) in fields {
            *sum = sum.checked_add(more).ok_or(MoneyError::TooLarge)?;
        }
        let kinds =
            [(&mut self.cache_read, other.cache_read), (&mut self.cache_write, other.cache_write), (&mut self.reasoning, other.reasoning)];
        for (sum, more) in kinds {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).checked_add(more).ok_or(MoneyError::TooLarge)?);
            }
        }
        self.charge = self.charge.checked_add(other.charge).ok_or(MoneyError::TooLarge)?;
        self.written_off = self.written_off.checked_add(other.written_off).ok_or(MoneyError::TooLarge)?;
        for (currency, cost) in &other.costs {
            let sum = self.costs.entry(*currency).or_insert(Nano::ZERO);
            *sum = sum.checked_add(*cost).ok_or(MoneyError::TooLarge)?;
        }
        Ok(())
    }
}

impl UsageRow {
    /// What providers bill in the currency that callers pay in, and in others.
    pub(super) fn cost(&self) -> (Nano, BTreeMap<Currency, Money>) {
        let own = self.sums.costs.get(&self.currency).copied().unwrap_or(Nano::ZERO);
        let others = self.sums.costs.iter().filter(|(currency, cost)| **currency != self.currency && !cost.is_zero());
        (own, others.map(|(currency, cost)| (*currency, Money::new(*cost, *currency))).collect())
    }

    /// What is left of what was paid: never more than an estimate where something is billed in another currency.
    pub(super) fn margin(&self) -> Option<Nano> {
        let paid = self.sums.charge.checked_sub(self.sums.written_off)?;
        paid.checked_sub(self.cost().0)
    }
}

impl Serialize for UsageRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (group, value, name) in &self.groups {
            map.serialize_entry(group.as_str(), value)?;
            if let Some(name) = name {
                map.serialize_entry(&format_args!("{}_name", group.as_str()), name)?;
            }
        }
        let money = |amount| Money::new(amount, self.currency);
        let sums = &self.sums;
        map.serialize_entry("requests", &sums.requests)?;
        map.serialize_entry("tokens_in", &sums.tokens_in)?;
        map.serialize_entry("tokens_out", &sums.tokens_out)?;
        for (name, tokens) in [("cache_read", sums.cache_read), ("cache_write", sums.cache_write), ("reasoning", sums.reasoning)] {
            if let Some(tokens) = tokens {
                map.serialize_entry(name, &tokens)?;
            }
        }
        map.serialize_entry("charge", &money(sums.charge))?;
        map.serialize_entry("written_off", &money(sums.written_off))?;
        if self.with_cost && !sums.costs.is_empty() {
            let (own, others) = self.cost();
            map.serialize_entry("cost", &money(own))?;
            map.serialize_entry("margin", &self.margin().map(money))?;
            if !others.is_empty() {
                map.serialize_entry("cost_in_other_currencies", &others)?;
            }
        }
        map.end()
    }
}
