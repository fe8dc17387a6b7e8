//! What a command may do inside a group commit: read, write, post, and say what follows the commit.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::oneshot;

use super::chain::{GENESIS, TxnHasher};
use crate::{error::LedgerError, money::Currency};

/// The chart of accounts, as far as it is used yet.
pub(crate) mod code {
    pub(crate) const BANK: i64 = 1200;
    pub(crate) const WALLET_PAID: i64 = 2100;
    pub(crate) const WALLET_PROMO: i64 = 2110;
    pub(crate) const UPSTREAM_PAYABLE: i64 = 2200;
    pub(crate) const USAGE_REVENUE_PAID: i64 = 4100;
    pub(crate) const USAGE_REVENUE_PROMO: i64 = 4110;
    pub(crate) const BREAKAGE: i64 = 4200;
    pub(crate) const UPSTREAM_COST: i64 = 5100;
    pub(crate) const FAILED_ATTEMPT_COST: i64 = 5110;
    pub(crate) const PROMO_EXPENSE: i64 = 5200;
    pub(crate) const OVERRUN_WRITEOFF: i64 = 5400;
}

/// The owner of the operator's own accounts.
pub(crate) const OPERATOR: &[u8] = &[0; 16];

/// Names a ledger account. The owner is the operator, a tenant's id or a provider's name, as its code asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AccountKey {
    pub(crate) code: i64,
    pub(crate) owner: Box<[u8]>,
    pub(crate) currency: Currency,
}

impl AccountKey {
    pub(crate) fn new(code: i64, owner: &[u8], currency: Currency) -> Self {
        Self { code, owner: owner.into(), currency }
    }
}

/// A transaction to be posted; a positive amount is a debit.
pub(crate) struct Entry<'e> {
    pub(crate) kind: &'e str,
    pub(crate) idem: &'e str,
    pub(crate) reason: Option<&'e str>,
    pub(crate) actor: Option<&'e str>,
    pub(crate) postings: Vec<(AccountKey, i64)>,
}

/// A parcel of credit, as the writer draws from it.
#[derive(Debug, Clone)]
pub(super) struct Lot {
    pub(super) id: [u8; 16],
    pub(super) promo: bool,
    pub(super) remaining: i64,
    pub(super) expires_at: i64,
}

impl Lot {
    /// A wallet's lots in the order of use.
    pub(super) fn of_wallet(connection: &Connection, wallet: i64) -> Result<Vec<Self>, LedgerError> {
        let mut statement = connection.prepare_cached(
            "SELECT id, class = 'promo', remaining, expires_at FROM lot WHERE wallet = ?1 AND remaining > 0 \
         ORDER BY class = 'paid', expires_at IS NULL, expires_at, created_at, id",
        )?;
        let lots = statement
            .query_map([wallet], |row| {
                let expires_at = row.get::<_, Option<i64>>(3)?.unwrap_or(i64::MAX);
                Ok(Self { id: row.get(0)?, promo: row.get(1)?, remaining: row.get(2)?, expires_at })
            })?
            .collect::<Result<_, _>>()?;
        Ok(lots)
    }

    /// For money held at `held_at`: what had expired by then comes last, and is there only for requests that began before.
    pub(super) fn in_order_of_use(lots: &mut [Self], held_at: i64) -> impl Iterator<Item = &mut Self> {
        let (usable, expired): (Vec<_>, Vec<_>) = lots.iter_mut().partition(|lot| lot.expires_at > held_at);
        usable.into_iter().chain(expired)
    }
}

/// What the writer remembers between batches. It always equals the database; [`State::forget`] makes it read again.
pub(super) struct State {
    pub(super) boot: i64,
    pub(super) next_txn: i64,
    pub(super) last_hash: [u8; 32],
    pub(super) accounts: HashMap<AccountKey, i64>,
    pub(super) served: HashMap<super::row::Served, i64>,
    pub(super) lots: HashMap<i64, Vec<Lot>>,
    /// Where the latest month ends that is stated. Nothing is posted before it.
    pub(super) stated_until: i64,
}

impl State {
    pub(super) fn load(connection: &Connection, boot: i64) -> Result<Self, LedgerError> {
        let mut state = Self {
            boot,
            next_txn: 1,
            last_hash: GENESIS,
            accounts: HashMap::new(),
            served: HashMap::new(),
            lots: HashMap::new(),
            stated_until: i64::MIN,
        };
        state.forget(connection)?;
        Ok(state)
    }

    /// After something was rolled back: drops what may have been and is not.
    pub(super) fn forget(&mut self, connection: &Connection) -> Result<(), LedgerError> {
        self.accounts.clear();
        self.served.clear();
        self.lots.clear();
        let last = connection
            .prepare_cached("SELECT id, hash FROM txn ORDER BY id DESC LIMIT 1")?
            .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?)))
            .optional()?;
        (self.next_txn, self.last_hash) = last.map_or((1, GENESIS), |(id, hash)| (id + 1, hash));
        let stated: Option<i64> = connection.prepare_cached("SELECT MAX(end_at) FROM statement")?.query_row([], |row| row.get(0))?;
        self.stated_until = stated.unwrap_or(i64::MIN);
        Ok(())
    }

    /// When something is posted now: a clock that was set back must not post into a month that is stated.
    pub(super) fn posted_at(&self, now_us: i64) -> i64 {
        now_us.max(self.stated_until)
    }

    /// The account's row, made if it is the first time.
    pub(super) fn account(&mut self, connection: &Connection, key: &AccountKey) -> Result<i64, LedgerError> {
        if let Some(id) = self.accounts.get(key) {
            return Ok(*id);
        }
        let currency = key.currency.as_str();
        connection
            .prepare_cached("INSERT INTO account(code, owner, currency) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
            .execute(params![key.code, &key.owner[..], currency])?;
        let id = connection
            .prepare_cached("SELECT id FROM account WHERE code = ?1 AND owner = ?2 AND currency = ?3")?
            .query_row(params![key.code, &key.owner[..], currency], |row| row.get(0))?;
        self.accounts.insert(key.clone(), id);
        Ok(id)
    }

    /// The row of a place of service, made if it is the first time.
    pub(super) fn served(&mut self, connection: &Connection, served: &super::row::Served) -> Result<i64, LedgerError> {
        if let Some(id) = self.served.get(served) {
            return Ok(*id);
        }
        let key = params![&*served.provider, &*served.upstream_model, &*served.model];
        connection
            .prepare_cached("INSERT INTO served(provider, upstream_model, model) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
            .execute(key)?;
        let id = connection
            .prepare_cached("SELECT id FROM served WHERE provider = ?1 AND upstream_model = ?2 AND model = ?3")?
            .query_row(key, |row| row.get(0))?;
        self.served.insert(served.clone(), id);
        Ok(id)
    }

    /// Posts a transaction with settlements; `hash_rest` adds them to its hash.
    pub(super) fn post(
        &mut self,
        connection: &Connection,
        at: i64,
        entry: &Entry<'_>,
        hash_rest: impl FnOnce(&mut TxnHasher),
    ) -> Result<i64, LedgerError> {
        let at = self.posted_at(at);
        check_balanced(&entry.postings)?;
        let id = self.next_txn;
        let texts = [entry.kind, entry.idem, entry.reason.unwrap_or(""), entry.actor.unwrap_or("")];
        let mut hasher = TxnHasher::new(&self.last_hash, id, at, texts, None);
        let mut postings = Vec::with_capacity(entry.postings.len());
        for (key, amount) in entry.postings.iter().filter(|(_, amount)| *amount != 0) {
            let account = self.account(connection, key)?;
            hasher.posting(account, *amount);
            postings.push((account, *amount));
        }
        hash_rest(&mut hasher);
        let hash = hasher.finish();
        connection
            .prepare_cached("INSERT INTO txn(id, at, kind, idem, reason, actor, prev_hash, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
            .execute(params![id, at, entry.kind, entry.idem, entry.reason, entry.actor, &self.last_hash[..], &hash[..]])?;
        let mut insert = connection.prepare_cached("INSERT INTO posting(txn, seq, account, amount) VALUES (?1, ?2, ?3, ?4)")?;
        let mut update = connection.prepare_cached("UPDATE account SET posted = posted + ?2 WHERE id = ?1")?;
        for (seq, (account, amount)) in (0i64..).zip(postings) {
            insert.execute([id, seq, account, amount])?;
            update.execute([account, amount])?;
        }
        self.next_txn = id + 1;
        self.last_hash = hash;
        Ok(id)
    }
}

fn check_balanced(postings: &[(AccountKey, i64)]) -> Result<(), LedgerError> {
    let mut sums: Vec<(Currency, i128)> = Vec::with_capacity(2);
    for (key, amount) in postings {
        match sums.iter_mut().find(|(currency, _)| *currency == key.currency) {
            Some((_, sum)) => *sum += i128::from(*amount),
            None => sums.push((key.currency, i128::from(*amount))),
        }
    }
    match sums.iter().find(|(_, sum)| *sum != 0) {
        None => Ok(()),
        Some((currency, sum)) => {
            Err(LedgerError::Refused { problem: format!("the postings in {currency} are off balance by {sum}").into() })
        }
    }
}

/// The inside of a group commit, as an administrative command sees it.
pub(crate) struct Scope<'s> {
    pub(super) connection: &'s Connection,
    pub(super) state: &'s mut State,
    pub(super) now_us: i64,
    pub(super) after: &'s mut Vec<Box<dyn FnOnce() + Send>>,
}

impl Scope<'_> {
    /// The writer's connection, inside its transaction. Do not begin, commit or roll back.
    pub(crate) fn connection(&self) -> &Connection {
        self.connection
    }

    /// Now, in microseconds since 1970.
    pub(crate) fn now_us(&self) -> i64 {
        self.now_us
    }

    /// Posts a transaction and returns its id. The postings must balance in each currency.
    pub(crate) fn post(&mut self, entry: &Entry<'_>) -> Result<i64, LedgerError> {
        self.state.post(self.connection, self.now_us, entry, |_| {})
    }

    /// A month that ends then is stated: whatever is posted from now on belongs to a later one.
    pub(crate) fn stated(&mut self, end: i64) {
        self.state.stated_until = self.state.stated_until.max(end);
    }

    /// The lots of this wallet have changed.
    pub(crate) fn lots_changed(&mut self, wallet: i64) {
        self.state.lots.remove(&wallet);
    }

    /// Runs `then` once this is committed, before anybody is answered; not at all if it is not.
    pub(crate) fn after_commit(&mut self, then: impl FnOnce() + Send + 'static) {
        self.after.push(Box::new(then));
    }
}

/// An administrative command with its answer.
pub(crate) trait Job: Send {
    /// Runs it; its value is kept for [`Job::finish`].
    fn run(&mut self, scope: &mut Scope<'_>) -> Result<(), LedgerError>;

    /// Answers.
    fn finish(self: Box<Self>, result: Result<(), LedgerError>);
}

struct Answering<T, F> {
    run: F,
    value: Option<T>,
    answer: oneshot::Sender<Result<T, LedgerError>>,
}

/// Boxes a closure as a command.
pub(super) fn job<T, F>(run: F, answer: oneshot::Sender<Result<T, LedgerError>>) -> Box<dyn Job>
where
    T: Send + 'static,
    F: FnMut(&mut Scope<'_>) -> Result<T, LedgerError> + Send + 'static,
{
    Box::new(Answering { run, value: None, answer })
}

impl<T, F> Job for Answering<T, F>
where
    T: Send,
    F: FnMut(&mut Scope<'_>) -> Result<T, LedgerError> + Send,
{
    fn run(&mut self, scope: &mut Scope<'_>) -> Result<(), LedgerError> {
        self.value = Some((self.run)(scope)?);
        Ok(())
    }

    fn finish(self: Box<Self>, result: Result<(), LedgerError>) {
        let answer = match (result, self.value) {
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => Err(LedgerError::Stopped),
            (Err(error), _) => Err(error),
        };
        // Whoever asked may be gone; what was committed stays.
        let _ = self.answer.send(answer);
    }
}

struct Untold<F>(F);

/// Boxes a closure that nobody waits for as a command.
pub(super) fn untold<F>(run: F) -> Box<dyn Job>
where
    F: FnMut(&mut Scope<'_>) -> Result<(), LedgerError> + Send + 'static,
{
    Box::new(Untold(run))
}

impl<F> Job for Untold<F>
where
    F: FnMut(&mut Scope<'_>) -> Result<(), LedgerError> + Send,
{
    fn run(&mut self, scope: &mut Scope<'_>) -> Result<(), LedgerError> {
        (self.0)(scope)
    }

    fn finish(self: Box<Self>, result: Result<(), LedgerError>) {
        if let Err(error) = result {
            tracing::warn!(%error, "a notice could not be written to the ledger");
        }
    }
}
