//! Sums by end user. There may be a row for each of them in every quarter of an hour, so they are added up as they are read:
//! SQLite would sort all of them first, which takes four times as long.

use std::collections::HashMap;

use rusqlite::{Connection, Params};

use crate::{
    error::LedgerError,
    money::{MoneyError, Nano},
};

const ROWS: &str = "\
    SELECT wallet, served, tag, requests, tokens_in, tokens_out, charge, written_off \
    FROM rollup_tag WHERE wallet IN (SELECT id FROM wallet WHERE currency = ?1 AND (?2 IS NULL OR org = ?2)) \
      AND quarter >= ?3 AND quarter < ?4";

/// What is kept of a tag's requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TagSums {
    pub(super) requests: i64,
    pub(super) tokens_in: i64,
    pub(super) tokens_out: i64,
    pub(super) charge: Nano,
    pub(super) written_off: Nano,
}

/// One tag's requests at one place; of one wallet where accounts are told apart.
#[derive(Debug)]
pub(super) struct Tagged {
    pub(super) wallet: Option<i64>,
    pub(super) served: i64,
    pub(super) sums: TagSums,
}

/// The sums of a span by tag. `params` are currency, account or none, first quarter, end.
pub(super) fn by_tag(
    connection: &Connection,
    params: impl Params,
    by_account: bool,
) -> Result<HashMap<Box<str>, Vec<Tagged>>, LedgerError> {
    let mut tags: HashMap<Box<str>, Vec<Tagged>> = HashMap::new();
    let mut statement = connection.prepare_cached(ROWS)?;
    let mut rows = statement.query(params)?;
    while let Some(row) = rows.next()? {
        let wallet = if by_account { Some(row.get(0)?) } else { None };
        let served = row.get(1)?;
        let one = TagSums {
            requests: row.get(3)?,
            tokens_in: row.get(4)?,
            tokens_out: row.get(5)?,
            charge: Nano::new(row.get(6)?),
            written_off: Nano::new(row.get(7)?),
        };
        let tag = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        match tags.get_mut(tag) {
            Some(places) => match places.iter_mut().find(|place| (place.wallet, place.served) == (wallet, served)) {
                Some(place) => place.sums.add(one)?,
                None => places.push(Tagged { wallet, served, sums: one }),
            },
            None => {
                tags.insert(tag.into(), vec![Tagged { wallet, served, sums: one }]);
            }
        }
    }
    Ok(tags)
}

impl TagSums {
    fn add(&mut self, other: Self) -> Result<(), MoneyError> {
        let add = |a: i64, b: i64| a.checked_add(b).ok_or(MoneyError::TooLarge);
        *self = Self {
            requests: add(self.requests, other.requests)?,
            tokens_in: add(self.tokens_in, other.tokens_in)?,
            tokens_out: add(self.tokens_out, other.tokens_out)?,
            charge: self.charge.checked_add(other.charge).ok_or(MoneyError::TooLarge)?,
            written_off: self.written_off.checked_add(other.written_off).ok_or(MoneyError::TooLarge)?,
        };
        Ok(())
    }
}
