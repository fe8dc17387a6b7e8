//! Answering: one scan for all rules, and answers kept for a few minutes.

use std::{sync::Arc, time::Duration};

use gateway_core::{KeyId, ModelAllowList, OrgId};
use parking_lot::Mutex;

use super::{
    answer::Hints,
    ask::HintAsk,
    failed::{self, RETRY_WASTE},
    offers::Offer,
    rule,
    rule::Rule,
    seen::Reader,
};
use crate::{
    error::LedgerError,
    keys::models_of,
    ledger::{Ledger, find_account},
    money::{Currency, Nano},
    report::Scope,
    scan::Scan,
};

/// How long an answer is given again: settlements are many, and thirty days of them change little in five minutes.
const KEPT_US: i64 = 5 * 60_000_000;
/// Most answers that are kept.
const KEPT_MAX: usize = 64;

/// For how long attempts that failed are read, of which there are few.
const FAILED_WITHIN: Duration = Duration::from_secs(10);

/// What else could serve, and the latest answers.
#[derive(Debug)]
pub(crate) struct HintDesk {
    offers: Arc<[Offer]>,
    kept: Mutex<Vec<(Asked, i64, Arc<Hints>)>>,
}

/// What makes two questions the same.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    org: Option<OrgId>,
    operator: bool,
    /// What may be named as an alternative.
    offers: Arc<[Offer]>,
    currency: Currency,
    from_us: i64,
    to_us: i64,
    zone: String,
}

impl HintDesk {
    pub(crate) fn new(offers: Arc<[Offer]>) -> Self {
        Self { offers, kept: Mutex::default() }
    }

    fn find(&self, asked: &Asked, now_us: i64) -> Option<Arc<Hints>> {
        let mut kept = self.kept.lock();
        kept.retain(|(_, at, _)| (0..KEPT_US).contains(&(now_us - at)));
        kept.iter().find(|(known, ..)| known == asked).map(|(_, _, hints)| Arc::clone(hints))
    }

    fn keep(&self, asked: Asked, now_us: i64, hints: &Arc<Hints>) {
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push((asked, now_us, Arc::clone(hints)));
    }
}

/// What a scan gathers.
struct Gathered {
    reader: Reader,
    rules: Vec<Box<dyn Rule>>,
    totals: Totals,
}

/// What a scan saw, whatever the rules make of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) requests: u64,
    pub(super) charge: Nano,
    /// Whose price or usage cannot be read, so that no rule saw them.
    pub(super) unreadable: u64,
}

impl Ledger {
    /// The models that may be named to whoever asks with a key, as the list of models names them.
    async fn offers_to(&self, key: Option<KeyId>) -> Result<Arc<[Offer]>, LedgerError> {
        let all = &self.hint_desk().offers;
        let allowed = match key {
            None => ModelAllowList::All,
            Some(key) => self.read(move |connection| Ok(models_of(connection, &key)?)).await?,
        };
        Ok(match allowed {
            ModelAllowList::All => Arc::clone(all),
            only => all.iter().filter(|offer| only.allows(&offer.model)).cloned().collect(),
        })
    }

    /// Where the account could pay less, or the operator.
    ///
    /// # Errors
    /// There is no such account, others are reading as much ([`LedgerError::Occupied`]), or the database cannot be read.
    pub async fn hints(&self, ask: HintAsk) -> Result<Arc<Hints>, LedgerError> {
        let org = match &ask.scope {
            Scope::Account(org) => Some(*org),
            Scope::Operator(None) => None,
            Scope::Operator(Some(account)) => {
                let account = account.clone();
                Some(self.read(move |connection| find_account(connection, &account)).await?)
            }
        };
        let currency = Currency::of(ask.mode);
        let (from_us, to_us) = (ask.span.from_us(), ask.span.to_us());
        let zone = ask.span.zone_name().to_owned();
        let (desk, now_us) = (self.hint_desk(), self.clock().unix_us());
        let offers = self.offers_to(ask.asked_with).await?;
        let asked = Asked { org, operator: ask.shows_cost(), offers: Arc::clone(&offers), currency, from_us, to_us, zone };
        if let Some(known) = desk.find(&asked, now_us) {
            return Ok(known);
        }
        let gathered = Gathered {
            reader: Reader::new(Arc::clone(self.prices()), self.plans(), currency),
            rules: rule::all(&desk.offers, &offers, ask.shows_cost()),
            totals: Totals::default(),
        };
        let scan = Scan { by_operator: ask.shows_cost(), ..Scan::of(currency, org, from_us, to_us) };
        let (gathered, covered) = self
            .scan(scan, gathered, |gathered, settled| {
                // A correction is of a request that was seen already.
                if settled.seq > 0 {
                    return Ok(());
                }
                let Gathered { reader, rules, totals } = gathered;
                totals.requests += 1;
                // At the end of the ledger's range the sum stays there.
                totals.charge = totals.charge.checked_add(settled.charge).unwrap_or(Nano::new(i64::MAX));
                let readable = reader.show(settled, |seen| rules.iter_mut().for_each(|rule| rule::show(&mut **rule, seen)));
                totals.unreadable += u64::from(!readable);
                Ok(())
            })
            .await?;
        let Gathered { rules, totals, .. } = gathered;
        let failing = failed::Asked {
            currency,
            org,
            from_us,
            to_us,
            clock: Arc::clone(self.clock()),
            deadline: self.clock().monotonic() + FAILED_WITHIN,
        };
        let costs = ask.shows_cost();
        let failed = self.read(move |connection| failed::read(connection, &failing, costs)).await?;
        let mut found = Vec::with_capacity(rules.len() + 1);
        found.push((RETRY_WASTE, failed));
        for rule in rules {
            found.push((rule.id(), rule.end()));
        }
        let hints = Arc::new(Hints::of(&ask, org, now_us, covered, totals, found));
        desk.keep(asked, now_us, &hints);
        Ok(hints)
    }
}
