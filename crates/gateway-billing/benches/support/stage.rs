//! A ledger with one rich account and one price.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use gateway_billing::{
    hold::{AdmitRequest, OutputAsk, PinnedPlan, PricedCandidate},
    ledger::{Credit, Grant, Ledger, LedgerOptions, NewAccount},
    money::Nano,
    price::{Calendars, Coverage, Draft, PriceInput, PriceKey, SELL_BOOK, Source},
};
use gateway_core::{Deployment, InputSize, KeyId, Mode, OrgId, RequestId};

pub(crate) async fn open(options: LedgerOptions) -> (Arc<Ledger>, OrgId) {
    let ledger = Ledger::open(options).await.expect("a fresh folder");
    let rates = [("input", "2"), ("output", "8")].map(|(name, price)| (name.to_owned(), price.to_owned())).into();
    let (terms, _) = PriceInput { rates, ..PriceInput::default() }.terms().expect("two good rates");
    let source = Source { kind: "manual".to_owned(), reference: "bench".to_owned() };
    let draft = Draft { book: SELL_BOOK.into(), model: "model".into(), route: "".into(), terms, source };
    ledger.publish_prices(vec![draft], Coverage::Part, Calendars::default()).await.expect("a good price");
    let account = ledger.create_account(NewAccount { name: "Acme".to_owned(), grant: Grant::None }).await.expect("a new name");
    let credit = Credit {
        account: "Acme".to_owned(),
        mode: Mode::Live,
        amount: Nano::new(1_000_000_000_000_000),
        reason: "bench".to_owned(),
        actor: "bench".to_owned(),
        idempotency_key: None,
        expires_at: None,
    };
    ledger.credit(credit).await.expect("the account exists");
    (ledger, account.id)
}

pub(crate) fn request(ledger: &Ledger, org: OrgId, at: &Arc<Deployment>) -> AdmitRequest {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let received_at = ledger.clock().unix_us();
    let key = PriceKey { book: SELL_BOOK, provider: "house", upstream_model: "x", model: "model" };
    let price = ledger.prices().lookup(key, received_at).expect("a readable price").expect("a published price");
    AdmitRequest {
        id: RequestId::v7(1_795_435_200_000 + NEXT.fetch_add(1, Ordering::Relaxed), [7; 10]),
        org,
        key: KeyId::from_bytes([2; 16]),
        mode: Mode::Live,
        team: None,
        user: None,
        tag: None,
        plan: PinnedPlan::DEFAULT,
        requested_model: "model".into(),
        stream: false,
        received_at,
        candidates: [PricedCandidate { deployment: Arc::clone(at), price, cost: None }].into(),
        input: InputSize { text_bytes: 2_000, items: 2, ..InputSize::default() },
        output: OutputAsk { limit: Some(300), choices: 1 },
        names_tier: false,
        max_total_cost: None,
        facts: None,
    }
}
