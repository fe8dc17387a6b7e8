//! A ledger with a price and an account, and the smallest router that can stand behind the hold layer.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gateway_billing::{
    hold::{HoldLayer, HoldOptions},
    ledger::{Credit, Grant, Ledger, LedgerOptions, NewAccount},
    money::Nano,
    price::{Calendars, Coverage, Draft, PriceInput, SELL_BOOK, Source},
};
use gateway_core::{
    Admitted, Attempt, AttemptEnd, Candidate, Clock, Deployment, Fault, Mode, OrgId, PartialUsage, Principal, Provider, Reply, Routed,
    testing::{ScriptedProvider, TestCall, TestClock, deployment},
};
use tower::{Layer as _, Service};

/// `input` and `output` in dollars per million tokens.
pub(crate) fn draft(model: &str, input: &str, output: &str) -> Draft {
    let rates = [("input", input), ("output", output)].map(|(name, price)| (name.to_owned(), price.to_owned())).into();
    let (terms, _) = PriceInput { rates, ..PriceInput::default() }.terms().unwrap();
    Draft {
        book: SELL_BOOK.into(),
        model: model.into(),
        route: "".into(),
        terms,
        source: Source { kind: "manual".to_owned(), reference: "test".to_owned() },
    }
}

pub(crate) struct Stage {
    _folder: tempfile::TempDir,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) org: OrgId,
}

impl Stage {
    /// An account "Acme" without grant but with this much live credit; `model` costs $2 and $8 per million tokens.
    pub(crate) async fn new(nano: i64) -> Self {
        Self::with(nano, |options| options).await
    }

    pub(crate) async fn with(nano: i64, change: impl FnOnce(LedgerOptions) -> LedgerOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        Self::made(folder, &path, nano, change).await
    }

    /// In a folder of the caller's.
    pub(crate) async fn at(path: &std::path::Path, nano: i64) -> Self {
        Self::made(tempfile::tempdir().unwrap(), path, nano, |options| options).await
    }

    async fn made(
        folder: tempfile::TempDir,
        path: &std::path::Path,
        nano: i64,
        change: impl FnOnce(LedgerOptions) -> LedgerOptions,
    ) -> Self {
        Self::prepared(folder, open(path, change).await, nano).await
    }

    /// On a fresh ledger.
    pub(crate) async fn prepared(folder: tempfile::TempDir, ledger: Arc<Ledger>, nano: i64) -> Self {
        ledger
            .publish_prices(vec![draft("model", "2", "8"), draft("dear", "20", "80")], Coverage::Part, Calendars::default())
            .await
            .unwrap();
        let account = ledger.create_account(NewAccount { name: "Acme".to_owned(), grant: Grant::None }).await.unwrap();
        let stage = Self { _folder: folder, ledger, org: account.id };
        if nano > 0 {
            stage.credit(nano).await;
        }
        stage
    }

    /// On a ledger that is open already.
    pub(crate) fn on(folder: tempfile::TempDir, ledger: Arc<Ledger>, org: OrgId) -> Self {
        Self { _folder: folder, ledger, org }
    }

    pub(crate) async fn credit(&self, nano: i64) {
        self.credit_in(Mode::Live, nano).await;
    }

    pub(crate) async fn credit_in(&self, mode: Mode, nano: i64) {
        let credit = Credit {
            account: "Acme".to_owned(),
            mode,
            amount: Nano::new(nano),
            reason: "test".to_owned(),
            actor: "test".to_owned(),
            idempotency_key: None,
            expires_at: None,
        };
        self.ledger.credit(credit).await.unwrap();
    }

    pub(crate) fn call(&self, model: &str) -> TestCall {
        self.call_in(Mode::Live, model)
    }

    pub(crate) fn call_in(&self, mode: Mode, model: &str) -> TestCall {
        let key = gateway_core::KeyId::from_bytes([2; 16]);
        let principal = Principal::new(self.org, key, mode);
        TestCall::to(model).principal(principal)
    }

    /// The hold layer over a router that tries the deployments in order.
    pub(crate) fn stack(
        &self,
        provider: &Arc<ScriptedProvider>,
        options: HoldOptions,
    ) -> impl Service<Routed, Response = Reply, Error = Fault, Future: Send> + Clone + Send + 'static + use<> {
        let clock = Arc::clone(self.ledger.clock());
        HoldLayer::new(Arc::clone(&self.ledger) as _, clock, options).layer(InOrder(Arc::clone(provider)))
    }

    /// Waits until everything queued so far is written.
    pub(crate) async fn settled(&self) {
        self.ledger.flush().await;
        while self.ledger.journal_reading().in_flight > 0 || self.ledger.journal_reading().queue_depth > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn available(&self) -> i64 {
        self.ledger.balance("Acme", Mode::Live).await.unwrap().available.amount.get()
    }

    /// Every promise holds, and memory equals the database.
    pub(crate) async fn check(&self) {
        self.settled().await;
        check(&self.ledger).await;
    }
}

pub(crate) async fn check(ledger: &Ledger) {
    let report = ledger.verify().await.unwrap();
    assert!(report.ok, "{report:#?}");
    assert_eq!(report.earlier_boot_holds, 0);
}

pub(crate) async fn open(folder: &std::path::Path, change: impl FnOnce(LedgerOptions) -> LedgerOptions) -> Arc<Ledger> {
    // Test calls arrive at the hour that `TestClock::new` starts at; the prices must have been published before it.
    let clock = TestClock::at(TestClock::new().wall() - std::time::Duration::from_secs(3_600));
    let options = LedgerOptions { clock: Arc::new(clock), ..LedgerOptions::at(folder.join("ledger.db")) };
    Ledger::open(change(options)).await.unwrap()
}

/// A clock whose calendar stands still until a test moves it, so that a moment can be named to the microsecond.
#[derive(Debug)]
pub(crate) struct Frozen {
    now_us: AtomicI64,
    timers: TestClock,
}

impl Frozen {
    /// 2026-11-23 12:00:00 UTC.
    pub(crate) fn new() -> Arc<Self> {
        let timers = TestClock::new();
        Arc::new(Self { now_us: AtomicI64::new(1_795_435_200_000_000), timers })
    }

    pub(crate) fn now_us(&self) -> i64 {
        self.now_us.load(Ordering::SeqCst)
    }

    pub(crate) fn skip_us(&self, by: i64) {
        self.now_us.fetch_add(by, Ordering::SeqCst);
    }

    /// A ledger in this folder on this clock.
    pub(crate) async fn open(self: &Arc<Self>, folder: &std::path::Path) -> Arc<Ledger> {
        let clock = Arc::clone(self) as Arc<dyn Clock>;
        open(folder, |options| LedgerOptions { clock, ..options }).await
    }
}

impl Clock for Frozen {
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.now_us().unsigned_abs())
    }

    fn monotonic(&self) -> tokio::time::Instant {
        self.timers.monotonic()
    }
}

/// The call with these deployments, each `(model, provider)`, in order of rank.
pub(crate) fn routed(call: TestCall, deployments: &[(&str, &str)]) -> Routed {
    let candidates =
        (0u32..).zip(deployments).map(|(rank, (model, provider))| Candidate { rank, deployment: Arc::new(deployment(model, provider)) });
    Routed { call: call.build(), candidates: candidates.collect() }
}

/// Tries each candidate once, in order, all at one provider.
#[derive(Clone)]
pub(crate) struct InOrder(pub(crate) Arc<ScriptedProvider>);

impl Service<Admitted> for InOrder {
    type Response = Reply;
    type Error = Fault;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Fault>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, admitted: Admitted) -> Self::Future {
        let provider = Arc::clone(&self.0);
        Box::pin(async move {
            let mut last = Fault::internal("no candidate");
            for (ordinal, candidate) in (1u32..).zip(admitted.routed.candidates.iter()) {
                match try_one(&provider, &admitted, &candidate.deployment, ordinal).await {
                    Ok(reply) => return Ok(reply),
                    Err(fault) => last = fault,
                }
            }
            Err(last)
        })
    }
}

async fn try_one(provider: &ScriptedProvider, admitted: &Admitted, deployment: &Arc<Deployment>, ordinal: u32) -> Result<Reply, Fault> {
    let call = Arc::clone(&admitted.routed.call);
    let deadline = call.ctx().deadline;
    let attempt = Attempt {
        call,
        deployment: Arc::clone(deployment),
        ordinal,
        deadline,
        output_limit: admitted.output_limit,
        log: Arc::clone(&admitted.log),
    };
    admitted.log.started(&attempt);
    let mut guard = Abandoned { admitted, ordinal, armed: true };
    let mut result = provider.attempt(attempt).await;
    if let Ok(reply) = &mut result
        && let Err(fault) = reply.commit().await
    {
        result = Err(fault);
    }
    guard.armed = false;
    let end = result.as_ref().map_or_else(AttemptEnd::failed, |_| AttemptEnd::Served);
    admitted.log.ended(ordinal, end, &PartialUsage::default());
    result
}

struct Abandoned<'a> {
    admitted: &'a Admitted,
    ordinal: u32,
    armed: bool,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.admitted.log.ended(self.ordinal, AttemptEnd::Abandoned, &PartialUsage::default());
        }
    }
}
