//! The ledger an embedder opens: accounts, credit, keys, holds.
//!
//! [`Ledger::open`] locks and upgrades the database, resolves what an earlier run left open, and only then answers.
//! Reads go through [`Ledger::reader`]; everything that writes goes through the journal.

mod accounts;
mod batches;
mod budgets;
mod campaigns;
mod credit;
mod expiry;
mod lots;
mod once;
mod open;
mod pending;
mod people;
mod plans;
mod prices;
mod reading;
mod redeem;
mod tokens;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gateway_core::{Clock, KeyRefusal, KeyStore, Principal, Secret, SystemClock};
use sqlx::SqlitePool;

use self::expiry::{Agenda, Sweeping};
pub use self::{
    accounts::{Account, AccountPage, BalanceReading, Grant, NewAccount, PageRequest},
    batches::{CodeBatch, CreatedCodes, NewCodes},
    budgets::{ALERT_LEVELS, BudgetChange, BudgetNow, BudgetPeriodView, BudgetView, Enforcement, NewBudget},
    campaigns::{Campaign, GrantView, NewCampaign, NewGrant, SIGN_UP},
    credit::{Credit, Credited, TransactionView},
    lots::{Class, ExpiringCredit},
    pending::{Asked, Confirmed, PendingCredit},
    people::{Team, User},
    plans::{NewPlanVersion, PlanView, PublishedPlan},
    prices::{HandPublication, PricePage, PriceQuery, PriceView, PublishFailure, Published, PublishedPrices, prices_of_file},
    redeem::{RedeemRefusal, Redemption},
    tokens::{ApiKey, CreatedKey, NewKey},
};
pub(crate) use self::{
    accounts::{find as find_account, new_id, rfc3339},
    people::find_team,
    prices::rows as price_rows,
    reading::read_only,
};
use crate::{
    book::Book,
    budget::BudgetBook,
    codes::Attempts,
    error::LedgerError,
    facts::FactsKey,
    hint::{HintDesk, Offer},
    hold::{ABANDON_ALLOWANCE, Allowances, LearnedSizes},
    journal::{Failpoints, Journal, JournalOptions, JournalReading, NoFailpoints},
    keys::KeyRing,
    money::Nano,
    price::{PlanBook, PriceBook},
    receipt::ReceiptKey,
    recovery::Recovered,
    scan::Scans,
    statement::task::Issuing,
    store::{Store, StoreOptions},
    verify::Report,
};

/// What a new account is given in live money unless the options say otherwise: five dollars.
pub const SIGN_UP_GRANT: Nano = Nano::new(5_000_000_000);

/// For how many days a sign-up grant is valid unless the options say otherwise.
pub const SIGN_UP_DAYS: u32 = 90;

/// How to open a ledger.
#[derive(Clone)]
pub struct LedgerOptions {
    /// The database.
    pub store: StoreOptions,
    /// Limits of the writer.
    pub journal: JournalOptions,
    /// What keys are hashed under; `None` reads or makes `<database>.secret`.
    pub secret: Option<Secret>,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// What a new account with [`Grant::SignUp`] is given in live money; zero is nothing.
    pub sign_up_grant: Nano,
    /// For how many days that is valid; 0 is for ever.
    pub sign_up_days: u32,
    /// Whether bought credit may be given an end.
    pub paid_credit_may_expire: bool,
    /// Live credit above this sum waits for a second administrator; `None`: none does.
    pub confirm_above: Option<Nano>,
    /// What the callers of one key may leave unpaid in a day by hanging up before the first byte; beyond it they pay for the
    /// input.
    pub abandon_allowance: Nano,
    /// Whether a keyed hash of each request is kept, for hints.
    pub request_facts: bool,
    /// What else could serve, as hints ask.
    pub offers: Arc<[Offer]>,
    /// For tests that kill.
    pub failpoints: Arc<dyn Failpoints>,
}

impl LedgerOptions {
    /// A ledger at `path`, on the machine's clock.
    #[must_use]
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self::with_store(StoreOptions::at(path.as_ref()))
    }

    /// A ledger in a database described elsewhere.
    #[must_use]
    pub fn with_store(store: StoreOptions) -> Self {
        Self {
            store,
            journal: JournalOptions::default(),
            secret: None,
            clock: Arc::new(SystemClock),
            sign_up_grant: SIGN_UP_GRANT,
            sign_up_days: SIGN_UP_DAYS,
            paid_credit_may_expire: false,
            confirm_above: None,
            abandon_allowance: ABANDON_ALLOWANCE,
            request_facts: true,
            offers: Arc::default(),
            failpoints: Arc::new(NoFailpoints),
        }
    }
}

/// An open ledger.
pub struct Ledger {
    store: Store,
    journal: Arc<Journal>,
    book: Arc<Book>,
    budgets: Arc<BudgetBook>,
    budget_changes: tokio::sync::Mutex<()>,
    keys: Arc<KeyRing>,
    receipts: ReceiptKey,
    facts: Option<FactsKey>,
    prices: Arc<PriceBook>,
    plans: Arc<PlanBook>,
    sizes: Arc<LearnedSizes>,
    allowances: Arc<Allowances>,
    readings: reading::Readings,
    scans: Scans,
    hints: HintDesk,
    clock: Arc<dyn Clock>,
    agenda: Arc<Agenda>,
    sweeping: Sweeping,
    issuing: Issuing,
    attempts: Attempts,
    paid_credit_may_expire: bool,
    confirm_above: Option<Nano>,
    recovered: Recovered,
    verdict: AtomicU8,
}

/// Values of the verdict; anything else is none.
const RIGHT: u8 = 1;
const WRONG: u8 = 2;

impl Ledger {
    /// Opens the ledger and resolves what an earlier run left open.
    ///
    /// # Errors
    /// The database cannot be used; the error says why and what to do.
    pub async fn open(options: LedgerOptions) -> Result<Arc<Self>, LedgerError> {
        open::open(options).await.map(Arc::new)
    }

    /// What recovery found at start.
    #[must_use]
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Connections for reading.
    #[must_use]
    pub fn reader(&self) -> &SqlitePool {
        self.store.reader()
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// The wallets in memory.
    #[must_use]
    pub fn book(&self) -> &Arc<Book> {
        &self.book
    }

    /// Where time comes from.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// A reading of the writer, for metrics and health.
    #[must_use]
    pub fn journal_reading(&self) -> JournalReading {
        self.journal.reading()
    }

    /// The published prices, in memory.
    #[must_use]
    pub fn prices(&self) -> &Arc<PriceBook> {
        &self.prices
    }

    /// The published plans, in memory.
    #[must_use]
    pub fn plans(&self) -> &Arc<PlanBook> {
        &self.plans
    }

    pub(crate) fn budget_book(&self) -> &Arc<BudgetBook> {
        &self.budgets
    }

    pub(crate) fn allowances(&self) -> &Arc<Allowances> {
        &self.allowances
    }

    /// What receipts are signed with.
    #[must_use]
    pub fn receipt_key(&self) -> &ReceiptKey {
        &self.receipts
    }

    pub(crate) fn hint_desk(&self) -> &HintDesk {
        &self.hints
    }

    pub(crate) fn scans(&self) -> &Scans {
        &self.scans
    }

    /// What requests are hashed under; `None`: no hash of them is kept.
    pub(crate) fn facts_key(&self) -> Option<&FactsKey> {
        self.facts.as_ref()
    }

    pub(crate) fn sizes(&self) -> &Arc<LearnedSizes> {
        &self.sizes
    }

    pub(crate) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Returns when what has happened so far is written, or cannot be written now: for whoever reads it back right after.
    pub async fn flush(&self) {
        if let Err(error) = self.journal.exec(|_| Ok(())).await {
            tracing::debug!(%error, "what is queued could not be written before a reading");
        }
    }

    /// Stops: admits nobody, waits up to `grace` for requests in flight to end, writes what is queued, checkpoints.
    /// Whatever is still open then is settled at its last checkpoint by the next start.
    pub async fn stop(&self, grace: Duration) {
        if tokio::time::timeout(grace, self.journal.drain()).await.is_err() {
            tracing::warn!("requests were still running when the ledger stopped; the next start settles them at their last checkpoint");
        }
        self.sweeping.stop();
        self.issuing.stop();
        self.store.reader().close().await;
        let journal = Arc::clone(&self.journal);
        // Joining the writer's thread blocks for as long as its last commit takes.
        if tokio::task::spawn_blocking(move || journal.close()).await.is_err() {
            tracing::error!("the ledger's writer could not be stopped");
        }
    }

    /// Checks the books on one consistent snapshot, beside the running traffic.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn verify(&self) -> Result<Report, LedgerError> {
        let path = self.store.path().to_owned();
        let report = tokio::task::spawn_blocking(move || crate::verify::verify_file(&path)).await.map_err(|_| LedgerError::Stopped)??;
        self.verdict.store(if report.ok { RIGHT } else { WRONG }, Ordering::Relaxed);
        Ok(report)
    }

    /// What the last [`Ledger::verify`] found: whether every promise is kept; `None` before the first.
    #[must_use]
    pub fn verdict(&self) -> Option<bool> {
        match self.verdict.load(Ordering::Relaxed) {
            RIGHT => Some(true),
            WRONG => Some(false),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("path", &self.store.path()).field("journal", &self.journal.reading()).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyStore for Ledger {
    async fn authenticate(&self, presented: &Secret) -> Result<Arc<Principal>, KeyRefusal> {
        self.keys.authenticate(presented).await
    }
}
