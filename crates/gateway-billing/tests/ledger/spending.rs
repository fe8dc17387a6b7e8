//! Requests of known size at known moments, settled through the ledger's own door.

use std::sync::Arc;

use bytes::Bytes;
use gateway_billing::{
    api::{ApiRequest, BillingApi, Sight, Viewer},
    hold::{AdmitRequest, Billing as _, FinalUsage, OutputAsk},
    ledger::{Credit, Grant, Ledger, NewAccount, NewKey},
    money::Nano,
    price::{Calendars, Coverage},
};
use gateway_core::{
    AttemptEnd, Fault, InputSize, KeyId, Mode, OrgId, PartialUsage, RequestId, Usage,
    testing::{TestCall, attempt, deployment},
};
use http::{Method, Response};
use serde_json::Value;

use super::stage::{Frozen, draft};

/// An account "Acme" with a thousand dollars and two keys, on a clock that the test moves.
pub(crate) struct Spending {
    folder: tempfile::TempDir,
    pub(crate) clock: Arc<Frozen>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) org: OrgId,
    pub(crate) keys: [KeyId; 2],
    next: std::cell::Cell<u64>,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Spent<'s> {
    pub(crate) key: usize,
    pub(crate) model: &'s str,
    pub(crate) provider: &'s str,
    pub(crate) tag: Option<&'s str>,
    pub(crate) usage: Usage,
    /// The providers that were tried before it, and failed.
    pub(crate) failed: &'s [&'s str],
}

impl Spent<'static> {
    /// So many tokens of "model" at "house".
    pub(crate) fn of(input: u64, output: u64) -> Self {
        let usage = Usage { input_uncached: Some(input), output_text: Some(output), ..Usage::default() };
        Self { key: 0, model: "model", provider: "house", tag: None, usage, failed: &[] }
    }
}

impl Spending {
    pub(crate) async fn new() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
        let ledger = clock.open(folder.path()).await;
        let drafts = vec![draft("model", "2", "8"), draft("dear", "20", "80")];
        ledger.publish_prices(drafts, Coverage::Part, Calendars::default()).await.unwrap();
        let account = ledger.create_account(NewAccount { name: "Acme".to_owned(), grant: Grant::None }).await.unwrap();
        let team = ledger.create_team("Acme", "research").await.unwrap();
        let user = ledger.create_user("Acme", "ada", Some("research")).await.unwrap();
        assert_eq!(user.team, Some(team.id));
        let mut keys = Vec::new();
        for (name, user) in [("first", Some("ada".to_owned())), ("=second()", None)] {
            let new = NewKey {
                account: "Acme".to_owned(),
                mode: Mode::Live,
                user,
                team: None,
                name: name.to_owned(),
                models: None,
                expires_at: None,
            };
            keys.push(ledger.create_key(new).await.unwrap().record.id);
        }
        let keys = [keys[0], keys[1]];
        let spending = Self { folder, clock, ledger, org: account.id, keys, next: std::cell::Cell::new(1) };
        spending.credit(1_000_000_000_000).await;
        spending
    }

    /// The ledger's file, for a test that damages it.
    pub(crate) fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("ledger.db")).unwrap()
    }

    /// The same ledger, stopped now and opened again so much later.
    pub(crate) async fn restarted_after(self, later_us: i64) -> Self {
        self.ledger.stop(std::time::Duration::from_secs(1)).await;
        let Self { folder, clock, ledger, org, keys, next } = self;
        drop(ledger);
        clock.skip_us(later_us);
        let ledger = clock.open(folder.path()).await;
        Self { folder, clock, ledger, org, keys, next }
    }

    pub(crate) async fn credit(&self, nano: i64) {
        let credit = Credit {
            account: "Acme".to_owned(),
            mode: Mode::Live,
            amount: Nano::new(nano),
            reason: "test".to_owned(),
            actor: "test".to_owned(),
            idempotency_key: None,
            expires_at: None,
        };
        self.ledger.credit(credit).await.unwrap();
    }

    /// Settles one request now, priced as the gateway prices, and says what it was charged.
    pub(crate) async fn spend(&self, spent: &Spent<'_>) -> i64 {
        let served = Arc::new(deployment(spent.model, spent.provider));
        let now = self.clock.now_us();
        let tariff = self.ledger.tariff(self.org, Mode::Live, now);
        let n = self.next.replace(self.next.get() + 1);
        let mut random = [0; 10];
        random[2..].copy_from_slice(&n.to_be_bytes());
        let request = AdmitRequest {
            id: RequestId::v7(now.unsigned_abs() / 1_000, random),
            org: self.org,
            key: self.keys[spent.key],
            mode: Mode::Live,
            team: None,
            user: None,
            tag: spent.tag.map(Into::into),
            plan: tariff.plan,
            requested_model: spent.model.into(),
            stream: false,
            received_at: now,
            candidates: [tariff.price(&served, now).unwrap().unwrap()].into(),
            input: InputSize { text_bytes: 2_000_000, ..InputSize::default() },
            output: OutputAsk { limit: Some(4_000), choices: 1 },
            names_tier: false,
            max_total_cost: None,
            facts: None,
        };
        let admission = self.ledger.try_admit(&request).unwrap();
        admission.durable().await.unwrap();
        self.log_attempts(&*admission.log(), spent, &served);
        let receipt = admission.settle(&served, &FinalUsage::Reported(spent.usage.clone()));
        // The clock stands still, so the settlement is posted at this very moment.
        self.ledger.flush().await;
        receipt.paid.get()
    }

    fn log_attempts(&self, log: &dyn gateway_core::AttemptLog, spent: &Spent<'_>, served: &Arc<gateway_core::Deployment>) {
        if spent.failed.is_empty() {
            return;
        }
        let call = TestCall::to(spent.model).build();
        let refused = Fault::internal("it failed");
        for (n, provider) in (1..).zip(spent.failed) {
            log.started(&attempt(&call, &Arc::new(deployment(spent.model, provider)), n));
            log.ended(n, AttemptEnd::failed(&refused), &PartialUsage::default());
        }
        let n = u32::try_from(spent.failed.len()).unwrap() + 1;
        log.started(&attempt(&call, served, n));
        log.ended(n, AttemptEnd::Served, &PartialUsage::default());
    }

    pub(crate) async fn ask(&self, sight: Sight, path: &str) -> Response<Bytes> {
        self.send(sight, &Method::GET, path, b"").await
    }

    pub(crate) async fn send(&self, sight: Sight, method: &Method, path: &str, body: &[u8]) -> Response<Bytes> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let viewer = Viewer { org: self.org, key: None, mode: Mode::Live, sight };
        BillingApi::new(Arc::clone(&self.ledger)).handle(&viewer, ApiRequest { method, path, query, body }).await
    }

    pub(crate) async fn read(&self, path: &str) -> Value {
        let response = self.ask(Sight::Account, path).await;
        assert_eq!(response.status(), 200, "{:?}", response.body());
        serde_json::from_slice(response.body()).unwrap()
    }
}

/// The nano of a `Money`.
pub(crate) fn nano(money: &Value) -> i64 {
    money["nano"].as_str().unwrap().parse().unwrap()
}
