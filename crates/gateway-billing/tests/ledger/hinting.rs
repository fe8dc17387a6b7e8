//! Requests of known size, and the hints that follow from them.

use std::sync::Arc;

use gateway_billing::{
    api::{ApiRequest, BillingApi, Sight, Viewer},
    facts::RequestFacts,
    hint::{HintAsk, Offer, Place},
    hold::{Admission, AdmitRequest, Billing as _, FinalUsage, OutputAsk, PinnedPlan, PricedCandidate},
    ledger::{Credit, Grant, Ledger, LedgerOptions, NewAccount},
    money::Nano,
    price::{Calendars, Coverage, Draft, PriceInput, SELL_BOOK, ServedAt, Source},
    report::Scope,
};
use gateway_core::{Clock, Deployment, InputSize, KeyId, Mode, OrgId, RequestId, Usage, testing::deployment};
use http::{Method, StatusCode};
use serde_json::Value;

use super::stage::{Frozen, open};

/// Two accounts, "Acme" and "Other", on a clock that the test moves.
pub(crate) struct Hinting {
    _folder: tempfile::TempDir,
    pub(crate) clock: Arc<Frozen>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) orgs: [OrgId; 2],
    next: std::cell::Cell<u64>,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Asked<'a> {
    pub(crate) org: usize,
    pub(crate) key: u8,
    pub(crate) model: &'a str,
    pub(crate) provider: &'a str,
    pub(crate) usage: Usage,
    pub(crate) stream: bool,
    pub(crate) facts: Option<RequestFacts>,
    /// The most that it may cost in all, in billionths.
    pub(crate) most: Option<i64>,
}

impl Asked<'static> {
    /// So many tokens of "model" at "house", not streamed, of which nothing is kept.
    pub(crate) fn of(input: u64, output: u64) -> Self {
        let usage = Usage { input_uncached: Some(input), output_text: Some(output), ..Usage::default() };
        Self { org: 0, key: 1, model: "model", provider: "house", usage, stream: false, facts: None, most: None }
    }
}

/// A price as an operator writes it, in a book.
pub(crate) fn priced_in(book: &str, model: &str, route: &str, price: Value) -> Draft {
    let input: PriceInput = serde_json::from_value(price).unwrap();
    let source = Source { kind: "manual".to_owned(), reference: "test".to_owned() };
    Draft { book: book.into(), model: model.into(), route: route.into(), terms: input.terms().unwrap().0, source }
}

/// The same in the book that callers are charged from.
pub(crate) fn priced(model: &str, route: &str, price: Value) -> Draft {
    priced_in(SELL_BOOK, model, route, price)
}

/// A public model of a class at these providers, the first of which is in use.
pub(crate) fn offer(model: &str, class: Option<&str>, providers: &[&str]) -> Offer {
    let place = |(n, provider): (usize, &&str)| Place {
        provider: (*provider).into(),
        upstream_model: format!("{model}-upstream").into(),
        in_use: n == 0,
        context_window: None,
        output_tokens_max: None,
    };
    Offer { model: model.into(), class: class.map(Into::into), places: providers.iter().enumerate().map(place).collect() }
}

impl Hinting {
    pub(crate) async fn new(drafts: Vec<Draft>, offers: Vec<Offer>) -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
        let time = Arc::clone(&clock) as Arc<dyn Clock>;
        let ledger = open(folder.path(), |options| LedgerOptions { clock: time, offers: offers.into(), ..options }).await;
        ledger.publish_prices(drafts, Coverage::Part, Calendars::default()).await.unwrap();
        let mut orgs = Vec::new();
        for name in ["Acme", "Other"] {
            orgs.push(ledger.create_account(NewAccount { name: name.to_owned(), grant: Grant::None }).await.unwrap().id);
            let credit = Credit {
                account: name.to_owned(),
                mode: Mode::Live,
                amount: Nano::new(1_000_000_000_000_000),
                reason: "test".to_owned(),
                actor: "test".to_owned(),
                idempotency_key: None,
                expires_at: None,
            };
            ledger.credit(credit).await.unwrap();
        }
        Self { _folder: folder, clock, ledger, orgs: [orgs[0], orgs[1]], next: std::cell::Cell::new(1) }
    }

    pub(crate) fn minutes(&self, minutes: i64) {
        self.clock.skip_us(minutes * 60_000_000);
    }

    pub(crate) fn request(&self, asked: &Asked<'_>) -> AdmitRequest {
        let deployment = Arc::new(deployment(asked.model, asked.provider));
        let now = self.clock.now_us();
        let at = ServedAt { provider: asked.provider, upstream_model: &deployment.upstream_model, model: asked.model };
        let price = self.ledger.prices().sell("default", at, now).unwrap().unwrap();
        let cost = self.ledger.prices().cost(at, now).unwrap();
        let n = self.next.replace(self.next.get() + 1);
        let mut random = [0; 10];
        random[2..].copy_from_slice(&n.to_be_bytes());
        AdmitRequest {
            id: RequestId::v7(now.unsigned_abs() / 1_000, random),
            org: self.orgs[asked.org],
            key: KeyId::from_bytes([asked.key; 16]),
            mode: Mode::Live,
            team: None,
            user: None,
            tag: None,
            plan: PinnedPlan::DEFAULT,
            requested_model: asked.model.into(),
            stream: asked.stream,
            received_at: now,
            candidates: [PricedCandidate { deployment, price, cost }].into(),
            input: InputSize { text_bytes: 4_000_000, ..InputSize::default() },
            output: OutputAsk { limit: Some(4_000), choices: 1 },
            names_tier: false,
            max_total_cost: asked.most.map(Nano::new),
            facts: asked.facts.clone(),
        }
    }

    /// Settles one request now, and says what it was charged.
    pub(crate) async fn ask(&self, asked: &Asked<'_>) -> i64 {
        let (admission, deployment) = self.admit(asked).await;
        self.settle(admission, &deployment, &FinalUsage::Reported(asked.usage.clone())).await
    }

    /// Begins one request now.
    pub(crate) async fn admit(&self, asked: &Asked<'_>) -> (Admission, Arc<Deployment>) {
        let request = self.request(asked);
        let admission = self.ledger.try_admit(&request).unwrap();
        admission.durable().await.unwrap();
        (admission, Arc::clone(&request.candidates[0].deployment))
    }

    /// Ends it now, and says what was paid for it.
    pub(crate) async fn settle(&self, admission: Admission, served: &Arc<Deployment>, usage: &FinalUsage) -> i64 {
        let receipt = admission.settle(served, usage);
        self.ledger.flush().await;
        receipt.paid.get()
    }

    /// The first account's own view, or a refusal.
    pub(crate) async fn answer(&self, org: usize, query: &str) -> (StatusCode, Value) {
        self.answer_with(org, None, query).await
    }

    /// The same, asked with a key.
    pub(crate) async fn answer_with(&self, org: usize, key: Option<KeyId>, query: &str) -> (StatusCode, Value) {
        let viewer = Viewer { org: self.orgs[org], key, mode: Mode::Live, sight: Sight::Account };
        let request = ApiRequest { method: &Method::GET, path: "/v1/billing/hints", query: Some(query), body: b"" };
        let response = BillingApi::new(Arc::clone(&self.ledger)).handle(&viewer, request).await;
        (response.status(), serde_json::from_slice(response.body()).unwrap())
    }

    /// An account's own hints of the last thirty days.
    pub(crate) async fn hints(&self, org: usize) -> Value {
        let (status, body) = self.answer(org, "").await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The operator's, of one account or all.
    pub(crate) async fn operators(&self, account: Option<&str>) -> Value {
        let scope = Scope::Operator(account.map(str::to_owned));
        let ask = HintAsk::parse(scope, Mode::Live, &[], self.clock.now_us()).unwrap();
        serde_json::to_value(&*self.ledger.hints(ask).await.unwrap()).unwrap()
    }
}

/// The hints of a rule.
pub(crate) fn of<'v>(hints: &'v Value, id: &str) -> Vec<&'v Value> {
    hints["data"].as_array().unwrap().iter().filter(|hint| hint["id"] == id).collect()
}

/// Its one hint.
#[track_caller]
pub(crate) fn the<'v>(hints: &'v Value, id: &str) -> &'v Value {
    let found = of(hints, id);
    assert_eq!(found.len(), 1, "{id}: {hints:#}");
    found[0]
}

/// What a rule could look at.
pub(crate) fn rule<'v>(hints: &'v Value, id: &str) -> &'v Value {
    hints["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == id).unwrap()
}

/// An amount of a hint, in billionths.
#[track_caller]
pub(crate) fn nano(hint: &Value, amount: &str) -> i64 {
    hint[amount].as_str().unwrap().parse::<Nano>().unwrap().get()
}

/// `(current, alternative, saving)` of a hint, in billionths.
#[track_caller]
pub(crate) fn money(hint: &Value) -> (i64, i64, i64) {
    let (current, alternative, saving) = (nano(hint, "current_usd"), nano(hint, "alternative_usd"), nano(hint, "saving_usd"));
    assert_eq!(current - alternative, saving, "{hint}");
    (current, alternative, saving)
}
