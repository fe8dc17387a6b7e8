//! Attempts that failed: what they cost, and how long callers waited for them. They are not in settlements, so they are read
//! by themselves, a page in each snapshot.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use gateway_core::{Clock, OrgId, RequestId};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Map, json};
use tokio::time::Instant;

use super::finding::{About, Basis, Coverage, Effect, Finding, Findings, Pair, TOO_LARGE, sum};
use crate::{
    error::LedgerError,
    money::{Currency, MoneyError, Nano},
    scan::key_at,
};

/// Its name in the interface.
pub(super) const RETRY_WASTE: &str = "retry_waste";

/// How many attempts are walked over in one snapshot, other accounts' included.
const PAGE: i64 = 20_000;
/// Fewer failures of a place in a period are no hint, unless they cost enough.
const ATTEMPTS_MIN: u64 = 10;

const PAGE_END: &str = "SELECT hold FROM attempt WHERE hold > ?1 AND hold < ?2 ORDER BY hold LIMIT 1 OFFSET ?3";

const ROWS: &str = "\
    SELECT a.provider, a.upstream_model, a.outcome, a.cost, COALESCE(a.cost_currency, w.currency), a.started_at, a.ended_at, a.hold \
    FROM attempt a CROSS JOIN hold h ON h.id = a.hold JOIN wallet w ON w.id = h.wallet \
    WHERE a.hold >= ?1 AND a.hold < ?2 AND a.outcome NOT IN ('served', 'abandoned') AND w.currency = ?3 AND (?4 IS NULL OR w.org = ?4)";

/// Which attempts, and until when they are read.
pub(super) struct Asked {
    pub(super) currency: Currency,
    pub(super) org: Option<OrgId>,
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) deadline: Instant,
}

#[derive(Default)]
struct Place {
    attempts: u64,
    causes: BTreeMap<String, (u64, Nano)>,
    cost: Nano,
    other_costs: BTreeMap<String, Nano>,
    waited_us: i64,
    /// The attempt that cost most, and of those the one that took longest.
    worst: Option<(Nano, i64, RequestId)>,
}

/// What failed in a period, by place. `costs`: what providers bill is shown.
pub(super) fn read(connection: &Connection, asked: &Asked, costs: bool) -> Result<Findings, LedgerError> {
    let mut places: HashMap<(String, String), Place> = HashMap::new();
    let mut coverage = Coverage::default();
    let (mut first, end) = (key_at(asked.from_us), key_at(asked.to_us));
    let mut page_end = connection.prepare_cached(PAGE_END)?;
    let mut rows = connection.prepare_cached(ROWS)?;
    let org = asked.org.as_ref().map(|org| &org.as_bytes()[..]);
    while first < end {
        if asked.clock.monotonic() >= asked.deadline {
            coverage.capped = true;
            break;
        }
        let next: [u8; 16] = page_end.query_row(params![&first[..], &end[..], PAGE], |row| row.get(0)).optional()?.unwrap_or(end);
        let mut found = rows.query(params![&first[..], &next[..], asked.currency.as_str(), org])?;
        while let Some(row) = found.next()? {
            let place = places.entry((row.get(0)?, row.get(1)?)).or_default();
            let cost = Nano::new(row.get::<_, Option<i64>>(3)?.unwrap_or(0));
            let (currency, started, ended): (String, i64, Option<i64>) = (row.get(4)?, row.get(5)?, row.get(6)?);
            let cause: Option<String> = row.get(2)?;
            let took_us = ended.map_or(0, |ended| ended.saturating_sub(started));
            match place.add(asked.currency, cause, (cost, currency), took_us, row.get(7)?) {
                Ok(()) => coverage.requests += 1,
                Err(MoneyError::TooLarge) => coverage.exclude(TOO_LARGE),
            }
        }
        first = next;
    }
    let found = places.into_iter().filter_map(|(at, place)| place.finding(at, costs));
    Ok(Findings { found: found.collect(), coverage })
}

impl Place {
    fn add(
        &mut self,
        wallet: Currency,
        cause: Option<String>,
        (cost, currency): (Nano, String),
        took_us: i64,
        id: [u8; 16],
    ) -> Result<(), MoneyError> {
        let own = if currency == wallet.as_str() { cost } else { Nano::ZERO };
        // What one cause comes to is never above the sum of all, so that a refusal here leaves nothing half done.
        let all = sum(self.cost, own)?;
        if own != cost {
            let other = self.other_costs.entry(currency).or_default();
            *other = sum(*other, cost)?;
        }
        self.cost = all;
        let cause = self.causes.entry(cause.unwrap_or_else(|| "unknown".to_owned())).or_default();
        *cause = (cause.0 + 1, sum(cause.1, own)?);
        self.attempts += 1;
        self.waited_us = self.waited_us.saturating_add(took_us.max(0));
        let worst = (own, took_us, RequestId::from_bytes(id));
        self.worst = self.worst.max(Some(worst));
        Ok(())
    }

    fn finding(self, (provider, upstream_model): (String, String), costs: bool) -> Option<Finding> {
        let example = self.worst.map(|(_, _, id)| id);
        let billed = Pair::of(self.attempts, self.cost, Nano::ZERO, example);
        let tells = costs && billed.tells();
        if !tells && self.attempts < ATTEMPTS_MIN {
            return None;
        }
        let causes = self.causes.into_iter().map(|(cause, (attempts, cost))| {
            let figures =
                if costs { json!({ "attempts": attempts, "cost_usd": cost.to_string() }) } else { json!({ "attempts": attempts }) };
            (cause, figures)
        });
        let mut details = Map::from_iter([
            ("attempts".to_owned(), json!(self.attempts)),
            ("waited_s".to_owned(), json!(self.waited_us / 1_000_000)),
            ("causes".to_owned(), json!(causes.collect::<BTreeMap<_, _>>())),
        ]);
        if costs && !self.other_costs.is_empty() {
            let others: BTreeMap<_, _> = self.other_costs.into_iter().map(|(currency, cost)| (currency, cost.to_string())).collect();
            details.insert("cost_in_other_currencies".to_owned(), json!(others));
        }
        let assumption = if tells {
            "the provider bills what was booked for these attempts, and would not have been asked"
        } else {
            "nothing is saved on the bill: failed attempts are not charged; `waited_s` is how long callers waited for them in all"
        };
        Some(Finding {
            about: About { provider: Some(provider.into()), upstream_model: Some(upstream_model.into()), ..About::default() },
            effect: if tells { Effect::Cost } else { Effect::Time },
            basis: Basis::Counted,
            pair: if tells { billed } else { Pair::of(self.attempts, Nano::ZERO, Nano::ZERO, example) },
            assumptions: vec![assumption.to_owned()],
            details,
        })
    }
}
