//! Credit that is given and credit that ends, through the public surface, with the books checked after each story.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use gateway_billing::{
    error::LedgerError,
    hold::{Admission, AdmitRequest, Billing as _, FinalUsage, OutputAsk, PinnedPlan, PricedCandidate, Refusal, ReleaseReason},
    journal::{Failpoint, Failpoints},
    ledger::{
        Asked, Class, Confirmed, CreatedCodes, Credit, Grant, Ledger, LedgerOptions, NewAccount, NewCampaign, NewCodes, NewGrant,
        RedeemRefusal, Redemption,
    },
    money::Nano,
    price::{Calendars, Coverage, PriceKey, SELL_BOOK},
};
use gateway_core::{
    Clock as _, Deployment, InputSize, KeyId, Mode, OrgId, RequestId, Usage,
    testing::{TestClock, deployment},
};

use crate::stage::{check, draft};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3_600);
const KEY: KeyId = KeyId::from_bytes([2; 16]);

pub(crate) struct Scene {
    folder: tempfile::TempDir,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) ledger: Arc<Ledger>,
}

async fn open(folder: &Path, clock: &Arc<TestClock>, change: impl FnOnce(LedgerOptions) -> LedgerOptions) -> Arc<Ledger> {
    let options = LedgerOptions { clock: Arc::clone(clock) as _, ..LedgerOptions::at(folder.join("ledger.db")) };
    Ledger::open(change(options)).await.unwrap()
}

pub(crate) async fn scene(change: impl FnOnce(LedgerOptions) -> LedgerOptions) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(TestClock::new());
    let ledger = open(folder.path(), &clock, change).await;
    ledger.publish_prices(vec![draft("model", "2", "8")], Coverage::Part, Calendars::default()).await.unwrap();
    Scene { folder, clock, ledger }
}

impl Scene {
    pub(crate) async fn account(&self, name: &str) -> OrgId {
        self.ledger.create_account(NewAccount { name: name.to_owned(), grant: Grant::None }).await.unwrap().id
    }

    async fn reopen(self) -> Self {
        let Self { folder, clock, ledger } = self;
        ledger.stop(Duration::from_secs(1)).await;
        drop(ledger);
        let ledger = open(folder.path(), &clock, |options| options).await;
        Self { folder, clock, ledger }
    }

    fn in_days(&self, days: u32) -> SystemTime {
        self.clock.wall() + DAY * days
    }

    /// Promotional credit that is valid for so many days.
    pub(crate) async fn gift(&self, account: &str, nano: i64, days: u32) {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let name = format!("gift-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        self.campaign(NewCampaign { valid_days: Some(days), ..campaign(&name, nano) }).await;
        self.ledger.grant(grant(&name, account, None)).await.unwrap();
    }

    async fn campaign(&self, new: NewCampaign) {
        assert!(matches!(self.ledger.ask_campaign(new, "admin").await.unwrap(), Asked::Done(_)));
    }

    async fn codes(&self, new: NewCodes) -> Vec<String> {
        match self.ledger.ask_codes(new).await.unwrap() {
            Asked::Done(CreatedCodes { codes, .. }) => codes,
            Asked::Pending(pending) => panic!("{pending:?}"),
        }
    }

    async fn redeem(&self, org: OrgId, code: &str) -> Result<Redemption, RedeemRefusal> {
        // Each account asks with a key of its own.
        let mut key = *org.as_bytes();
        key[0] ^= 0xff;
        self.ledger.redeem(org, Mode::Live, KeyId::from_bytes(key), code).await
    }

    async fn available(&self, account: &str) -> i64 {
        self.ledger.balance(account, Mode::Live).await.unwrap().available.amount.get()
    }

    /// Waits until the account has so much; what expires does so a moment after its date.
    #[track_caller]
    pub(crate) fn becomes(&self, account: &'static str, nano: i64) -> impl Future<Output = ()> {
        let ledger = Arc::clone(&self.ledger);
        let caller = std::panic::Location::caller();
        async move {
            for _ in 0..2_000 {
                let balance = ledger.balance(account, Mode::Live).await.unwrap();
                if balance.available.amount.get() == nano {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{caller}: never {nano}: {:?}", ledger.balance(account, Mode::Live).await.unwrap());
        }
    }

    /// Holds exactly `tokens` times 8,000 nano-dollars.
    pub(crate) fn hold(&self, org: OrgId, tokens: u32) -> Result<Admission, Refusal> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let at = Arc::new(deployment("model", "house"));
        let received_at = self.clock.unix_us();
        let key = PriceKey { book: SELL_BOOK, provider: "house", upstream_model: "x", model: "model" };
        let price = self.ledger.prices().lookup(key, received_at).unwrap().unwrap();
        self.ledger.try_admit(&AdmitRequest {
            id: RequestId::v7(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed), [5; 10]),
            org,
            key: KEY,
            mode: Mode::Live,
            team: None,
            user: None,
            tag: None,
            plan: PinnedPlan::DEFAULT,
            requested_model: "model".into(),
            stream: false,
            received_at,
            candidates: [PricedCandidate { deployment: at, price, cost: None }].into(),
            input: InputSize::default(),
            output: OutputAsk { limit: Some(tokens), choices: 1 },
            names_tier: false,
            max_total_cost: None,
            facts: None,
        })
    }

    async fn count(&self, sql: &'static str) -> i64 {
        self.ledger.flush().await;
        let connection = rusqlite::Connection::open(self.folder.path().join("ledger.db")).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Waits until so much has left the books by reaching its date.
    async fn has_expired(&self, nano: i64) {
        for _ in 0..2_000 {
            if self.count("SELECT COALESCE(SUM(amount), 0) FROM lot_expiry").await == nano {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {nano}, but {}", self.count("SELECT COALESCE(SUM(amount), 0) FROM lot_expiry").await);
    }

    pub(crate) async fn check(&self) {
        self.ledger.flush().await;
        check(&self.ledger).await;
    }
}

pub(crate) fn settle(admission: Admission, tokens: u64) {
    let at: Arc<Deployment> = Arc::new(deployment("model", "house"));
    admission.settle(&at, &FinalUsage::Reported(Usage { input_uncached: Some(0), output_text: Some(tokens), ..Usage::default() }));
}

fn campaign(name: &str, nano: i64) -> NewCampaign {
    NewCampaign { name: name.to_owned(), amount: Nano::new(nano), valid_days: None, grants_max: None, starts_at: None, ends_at: None }
}

fn grant(campaign: &str, account: &str, subject: Option<&str>) -> NewGrant {
    NewGrant { campaign: campaign.to_owned(), account: account.to_owned(), subject: subject.map(str::to_owned), actor: "admin".to_owned() }
}

fn codes(batch: &str, count: u32, nano: i64) -> NewCodes {
    NewCodes {
        batch: batch.to_owned(),
        count,
        amount: Nano::new(nano),
        class: Class::Promo,
        uses: 1,
        expires_at: None,
        valid_days: None,
        actor: "admin".to_owned(),
    }
}

pub(crate) fn bought(account: &str, nano: i64) -> Credit {
    Credit {
        account: account.to_owned(),
        mode: Mode::Live,
        amount: Nano::new(nano),
        reason: "bank transfer".to_owned(),
        actor: "admin".to_owned(),
        idempotency_key: None,
        expires_at: None,
    }
}

#[tokio::test]
async fn credit_ends_at_its_date_and_goes_back_where_it_came_from() {
    let scene = scene(|options| options).await;
    scene.account("Acme").await;
    scene.gift("Acme", 700, 3).await;
    scene.gift("Acme", 40, 1).await;
    scene.ledger.credit(bought("Acme", 5)).await.unwrap();
    let balance = scene.ledger.balance("Acme", Mode::Live).await.unwrap();
    let expiring: Vec<_> = balance.expiring.iter().map(|one| (one.amount.amount.get(), one.class)).collect();
    assert_eq!(expiring, [(40, "promo"), (700, "promo")]);
    assert_eq!(balance.expiring[0].expires_at[..10], *"2026-11-24");
    scene.clock.skip(DAY);
    scene.becomes("Acme", 705).await;
    scene.check().await;
    scene.clock.skip(DAY * 5);
    scene.becomes("Acme", 5).await;
    scene.has_expired(740).await;
    assert_eq!(scene.ledger.balance("Acme", Mode::Live).await.unwrap().expiring, []);
    assert_eq!(scene.count("SELECT posted FROM account WHERE code = 5200 AND currency = 'USD'").await, 0);
    assert_eq!(scene.count("SELECT COUNT(*) FROM outbox WHERE kind = 'credit.expired'").await, 2);
    scene.check().await;
}

#[tokio::test]
async fn what_running_requests_hold_is_left_to_them() {
    let scene = scene(|options| options).await;
    let acme = scene.account("Acme").await;
    scene.gift("Acme", 80_000, 1).await;
    let running = scene.hold(acme, 6).unwrap();
    assert_eq!(running.amount().get(), 48_000);
    scene.clock.skip(DAY);
    scene.becomes("Acme", 0).await;
    scene.has_expired(32_000).await;
    scene.check().await;
    // It spends a third of what it holds; nobody else gets the rest.
    settle(running, 2);
    assert!(scene.hold(acme, 1).is_err(), "expired credit must not fund a new hold");
    scene.becomes("Acme", 0).await;
    scene.has_expired(64_000).await;
    assert_eq!(scene.count("SELECT remaining FROM lot WHERE source LIKE 'campaign:%'").await, 0);
    scene.check().await;
}

#[tokio::test]
async fn money_that_comes_later_is_spent_before_what_has_expired() {
    let scene = scene(|options| options).await;
    let acme = scene.account("Acme").await;
    scene.gift("Acme", 48_000, 1).await;
    let old = scene.hold(acme, 6).unwrap();
    scene.clock.skip(DAY);
    scene.becomes("Acme", 0).await;
    // A moment for the sweep to see that everything is held.
    tokio::time::sleep(Duration::from_millis(700)).await;
    scene.ledger.credit(bought("Acme", 80_000)).await.unwrap();
    let new = scene.hold(acme, 10).unwrap();
    settle(new, 10);
    scene.ledger.flush().await;
    assert_eq!(scene.count("SELECT remaining FROM lot WHERE source = 'manual'").await, 0, "the new request was paid from the new credit");
    old.release(ReleaseReason::Failed);
    scene.becomes("Acme", 0).await;
    scene.has_expired(48_000).await;
    scene.check().await;
}

#[tokio::test]
async fn a_start_long_after_the_date_finds_nothing_left_to_hold() {
    let scene = scene(|options| options).await;
    let acme = scene.account("Acme").await;
    scene.gift("Acme", 80_000, 1).await;
    scene.gift("Acme", 16_000, 90).await;
    scene.ledger.stop(Duration::from_secs(1)).await;
    scene.clock.skip(DAY * 30);
    let scene = scene.reopen().await;
    assert_eq!(scene.available("Acme").await, 16_000, "the sweep comes before the first admission");
    assert!(scene.hold(acme, 3).is_err());
    scene.hold(acme, 2).unwrap().release(ReleaseReason::Failed);
    scene.check().await;
    let scene = scene.reopen().await;
    assert_eq!(scene.count("SELECT COUNT(*) FROM lot_expiry").await, 1, "a second start finds nothing more");
    scene.check().await;
}

/// Fails the writes that it is told to.
#[derive(Default)]
struct Disk(Mutex<bool>);

impl Failpoints for Disk {
    fn reached(&self, place: Failpoint) -> std::io::Result<()> {
        if place == Failpoint::BeforeCommit && *self.0.lock().unwrap() {
            return Err(std::io::Error::other("no space left on device"));
        }
        Ok(())
    }
}

#[tokio::test]
async fn an_expiry_that_cannot_be_written_gives_back_and_comes_again() {
    let disk = Arc::new(Disk::default());
    let failpoints = Arc::clone(&disk);
    let scene = scene(|options| LedgerOptions { failpoints, ..options }).await;
    scene.account("Acme").await;
    scene.gift("Acme", 90, 1).await;
    scene.ledger.credit(bought("Acme", 10)).await.unwrap();
    *disk.0.lock().unwrap() = true;
    scene.clock.skip(DAY);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(scene.available("Acme").await, 100, "nothing was written, so nothing is gone");
    *disk.0.lock().unwrap() = false;
    scene.becomes("Acme", 10).await;
    scene.check().await;
}

#[tokio::test]
async fn bought_credit_ends_only_where_the_operator_allows_it() {
    let strict = scene(|options| options).await;
    strict.account("Acme").await;
    let ends = |scene: &Scene, days| Credit { expires_at: Some(scene.in_days(days)), ..bought("Acme", 30) };
    assert!(matches!(strict.ledger.credit(ends(&strict, 1)).await, Err(LedgerError::Invalid { param: "expires_at", .. })));
    let paid = NewCodes { class: Class::Paid, valid_days: Some(1), ..codes("sold", 1, 30) };
    assert!(matches!(strict.ledger.ask_codes(paid).await, Err(LedgerError::Invalid { param: "valid_days", .. })));
    let scene = scene(|options| LedgerOptions { paid_credit_may_expire: true, ..options }).await;
    scene.account("Acme").await;
    scene.ledger.credit(ends(&scene, 1)).await.unwrap();
    assert!(matches!(scene.ledger.credit(ends(&scene, 0)).await, Err(LedgerError::Invalid { param: "expires_at", .. })));
    scene.clock.skip(DAY);
    scene.has_expired(30).await;
    assert_eq!((scene.available("Acme").await, scene.count("SELECT posted FROM account WHERE code = 4200").await), (0, -30));
    scene.check().await;
}

#[tokio::test]
async fn a_sign_up_grant_is_one_for_each_identity() {
    let scene = scene(|options| options).await;
    let new = |name: &str| NewAccount { name: name.to_owned(), grant: Grant::SignUp };
    scene.ledger.create_account_for(new("first"), "Ann@example.com").await.unwrap();
    scene.ledger.create_account_for(new("second"), " ann@EXAMPLE.com ").await.unwrap();
    scene.ledger.create_account(new("third")).await.unwrap();
    let balance = scene.ledger.balance("first", Mode::Live).await.unwrap();
    assert_eq!((balance.available.amount.get(), balance.expiring.len()), (5_000_000_000, 1));
    assert_eq!(balance.expiring[0].expires_at[..10], *"2027-02-21", "ninety days");
    assert_eq!((scene.available("second").await, scene.available("third").await), (0, 5_000_000_000));
    scene.check().await;
    scene.clock.skip(DAY * 91);
    scene.becomes("first", 0).await;
    scene.becomes("third", 0).await;
    assert!(matches!(scene.ledger.create_account_for(new("x"), "  ").await, Err(LedgerError::Invalid { param: "subject", .. })));
    scene.check().await;
}

#[tokio::test]
async fn the_sign_up_campaign_follows_the_options() {
    let scene = scene(|options| LedgerOptions { sign_up_days: 0, ..options }).await;
    let new = |name: &str| NewAccount { name: name.to_owned(), grant: Grant::SignUp };
    scene.ledger.create_account(new("first")).await.unwrap();
    assert_eq!(scene.ledger.balance("first", Mode::Live).await.unwrap().expiring, []);
    scene.ledger.stop(Duration::from_secs(1)).await;
    let Scene { folder, clock, ledger } = scene;
    drop(ledger);
    let ledger = open(folder.path(), &clock, |options| LedgerOptions { sign_up_grant: Nano::new(7), ..options }).await;
    ledger.create_account(new("second")).await.unwrap();
    assert_eq!(ledger.balance("second", Mode::Live).await.unwrap().promo.amount.get(), 7);
    ledger.stop(Duration::from_secs(1)).await;
    drop(ledger);
    let ledger = open(folder.path(), &clock, |options| LedgerOptions { sign_up_grant: Nano::ZERO, ..options }).await;
    ledger.create_account(new("third")).await.unwrap();
    assert_eq!(ledger.balance("third", Mode::Live).await.unwrap().promo.amount.get(), 0);
    let campaigns = ledger.campaigns().await.unwrap();
    assert_eq!((campaigns.len(), campaigns[0].name.as_str(), campaigns[0].state, campaigns[0].grants_made), (1, "signup", "ended", 2));
    assert!(matches!(ledger.ask_campaign(campaign("signup", 1), "admin").await, Err(LedgerError::Invalid { param: "name", .. })));
    check(&ledger).await;
}

#[tokio::test]
async fn grants_from_before_there_were_campaigns_are_entered() {
    let scene = scene(|options| options).await;
    let new = |name: &str| NewAccount { name: name.to_owned(), grant: Grant::SignUp };
    for name in ["first", "second"] {
        scene.ledger.create_account(new(name)).await.unwrap();
    }
    scene.ledger.stop(Duration::from_secs(1)).await;
    // As an earlier release left it.
    let path = scene.folder.path().join("ledger.db");
    let before = "DROP TRIGGER grant_log_stays; DELETE FROM grant_log; DELETE FROM campaign; UPDATE lot SET expires_at = NULL; \
                  CREATE TRIGGER grant_log_stays BEFORE DELETE ON grant_log BEGIN SELECT RAISE(ABORT, 'grants are never deleted'); END";
    rusqlite::Connection::open(path).unwrap().execute_batch(before).unwrap();
    let scene = scene.reopen().await;
    let campaigns = scene.ledger.campaigns().await.unwrap();
    assert_eq!((campaigns.len(), campaigns[0].grants_made), (1, 2));
    assert!(scene.ledger.grant(grant("signup", "first", None)).await.unwrap().repeated);
    assert_eq!(
        (scene.available("first").await, scene.ledger.balance("first", Mode::Live).await.unwrap().expiring),
        (5_000_000_000, vec![])
    );
    scene.check().await;
}

#[tokio::test]
async fn a_campaign_gives_once_within_its_time_and_number() {
    let scene = scene(|options| options).await;
    for name in ["a", "b", "c"] {
        scene.account(name).await;
    }
    scene.campaign(NewCampaign { grants_max: Some(2), ends_at: Some(scene.in_days(10)), ..campaign("spring", 50) }).await;
    let first = scene.ledger.grant(grant("spring", "a", Some("Ann"))).await.unwrap();
    let again = scene.ledger.grant(grant("spring", "a", Some("ann "))).await.unwrap();
    assert_eq!((first.repeated, again.repeated, &first.granted_at), (false, true, &again.granted_at));
    let to_account = scene.ledger.grant(grant("spring", "a", None)).await.unwrap();
    assert!(to_account.repeated, "without a subject any grant of the account counts");
    let conflict = |result: Result<_, LedgerError>, words: &str| match result {
        Err(LedgerError::Conflict { problem }) => assert!(problem.contains(words), "{problem}"),
        other => panic!("{words}: {other:?}"),
    };
    conflict(scene.ledger.grant(grant("spring", "b", Some("ANN"))).await, "in another account");
    scene.ledger.grant(grant("spring", "b", None)).await.unwrap();
    conflict(scene.ledger.grant(grant("spring", "c", None)).await, "all of its 2 grants");
    scene.campaign(NewCampaign { starts_at: Some(scene.in_days(1)), ends_at: Some(scene.in_days(2)), ..campaign("later", 5) }).await;
    conflict(scene.ledger.grant(grant("later", "c", None)).await, "begins at 2026-11-24");
    scene.clock.skip(DAY);
    scene.ledger.grant(grant("later", "c", None)).await.unwrap();
    scene.clock.skip(DAY);
    conflict(scene.ledger.grant(grant("later", "b", None)).await, "has ended");
    conflict(scene.ledger.ask_campaign(campaign("later", 5), "admin").await.map(|_| ()).and(Ok(first)), "once for ever");
    assert!(matches!(scene.ledger.grant(grant("none", "a", None)).await, Err(LedgerError::NotFound { what: "campaign", .. })));
    for wrong in [
        campaign("Upper", 5),
        campaign("", 5),
        campaign("zero", 0),
        NewCampaign { valid_days: Some(0), ..campaign("days", 5) },
        NewCampaign { grants_max: Some(0), ..campaign("max", 5) },
        NewCampaign { ends_at: Some(scene.clock.wall()), ..campaign("past", 5) },
    ] {
        assert!(matches!(scene.ledger.ask_campaign(wrong.clone(), "admin").await, Err(LedgerError::Invalid { .. })), "{wrong:?}");
    }
    assert_eq!((scene.available("a").await, scene.available("b").await, scene.available("c").await), (50, 50, 5));
    scene.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_grants_of_one_subject_at_once_are_one() {
    let scene = scene(|options| options).await;
    scene.campaign(campaign("spring", 50)).await;
    for n in 0..50 {
        scene.account(&format!("account-{n}")).await;
    }
    let same = (0..50).map(|_| scene.ledger.grant(grant("spring", "account-0", Some("ann"))));
    let same = futures_util::future::join_all(same).await;
    assert_eq!(same.iter().filter(|view| !view.as_ref().unwrap().repeated).count(), 1);
    let others = (0..50).map(|n| {
        let (ledger, name) = (Arc::clone(&scene.ledger), format!("account-{n}"));
        async move { ledger.grant(grant("spring", &name, Some("bob"))).await }
    });
    let others = futures_util::future::join_all(others).await;
    assert_eq!(others.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(scene.count("SELECT grants_made FROM campaign WHERE name = 'spring'").await, 2);
    scene.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_with_seven_uses_is_used_seven_times() {
    let scene = scene(|options| options).await;
    let mut accounts = Vec::new();
    for n in 0..100 {
        accounts.push(scene.account(&format!("account-{n}")).await);
    }
    let code = scene.codes(NewCodes { uses: 7, ..codes("launch", 1, 9_000) }).await.remove(0);
    let all = accounts.iter().map(|org| scene.redeem(*org, &code));
    let all = futures_util::future::join_all(all).await;
    let redeemed: Vec<_> = all.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(redeemed.len(), 7);
    assert!(redeemed.iter().all(|one| !one.already_redeemed && one.balance.available.amount.get() == 9_000));
    assert!(all.iter().all(|result| !matches!(result, Err(other) if !matches!(other, RedeemRefusal::Unusable))));
    let mut rich = 0;
    for org in &accounts {
        rich += i64::from(scene.available(&org.to_string()).await == 9_000);
    }
    assert_eq!((rich, scene.count("SELECT uses_left FROM code").await), (7, 0));
    scene.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_redeems_a_code_once_however_often_it_asks() {
    let scene = scene(|options| options).await;
    let acme = scene.account("Acme").await;
    let code = scene.codes(NewCodes { uses: 50, valid_days: Some(30), ..codes("launch", 1, 9_000) }).await.remove(0);
    // Ten at once is what one key may try.
    let all = futures_util::future::join_all((0..10).map(|_| scene.redeem(acme, &code))).await;
    let first: Vec<_> = all.iter().map(|result| result.as_ref().unwrap()).filter(|one| !one.already_redeemed).collect();
    assert_eq!(first.len(), 1);
    let again = scene.redeem(acme, &code.to_lowercase().replace('-', " ")).await.unwrap();
    assert!(again.already_redeemed);
    assert_eq!((again.amount, &again.expires_at, &again.redeemed_at), (first[0].amount, &first[0].expires_at, &first[0].redeemed_at));
    assert_eq!(scene.available("Acme").await, 9_000);
    scene.check().await;
}

#[tokio::test]
async fn codes_that_give_nothing_look_alike_to_strangers() {
    let scene = scene(|options| options).await;
    let (acme, other) = (scene.account("Acme").await, scene.account("Other").await);
    let used = scene.codes(codes("used", 1, 10)).await.remove(0);
    let expired = scene.codes(NewCodes { expires_at: Some(scene.in_days(1)), ..codes("expired", 1, 10) }).await.remove(0);
    let revoked = scene.codes(NewCodes { uses: 5, ..codes("revoked", 2, 10) }).await;
    for code in [&used, &revoked[0]] {
        scene.redeem(acme, code).await.unwrap();
    }
    scene.clock.skip(DAY);
    assert_eq!(scene.ledger.revoke_codes("revoked").await.unwrap().state, "revoked");
    assert_eq!(scene.ledger.revoke_codes("revoked").await.unwrap().redeemed, 1);
    assert!(matches!(scene.ledger.revoke_codes("none").await, Err(LedgerError::NotFound { .. })));
    for code in [&used, &expired, &revoked[0], &revoked[1]] {
        assert!(matches!(scene.redeem(other, code).await, Err(RedeemRefusal::Unusable)), "{code}");
    }
    // Whoever redeemed one learns that, and gets nothing more.
    for code in [&used, &revoked[0]] {
        assert!(scene.redeem(acme, code).await.unwrap().already_redeemed);
    }
    assert!(matches!(scene.redeem(acme, "not a code").await, Err(RedeemRefusal::Mistyped)));
    let test = scene.ledger.redeem(acme, Mode::Test, KEY, &used).await;
    assert!(matches!(test, Err(RedeemRefusal::TestKey)));
    assert_eq!((scene.available("Acme").await, scene.available("Other").await), (20, 0));
    let batches = scene.ledger.code_batches().await.unwrap();
    let states: Vec<_> = batches.iter().map(|one| (one.state, one.count, one.uses, one.redeemed, one.redeemable)).collect();
    assert_eq!(states, [("used_up", 1, 1, 1, 0), ("expired", 1, 1, 0, 0), ("revoked", 2, 10, 1, 0)]);
    scene.check().await;
}

#[tokio::test]
async fn whoever_guesses_is_stopped_and_no_code_is_stored() {
    let scene = scene(|options| options).await;
    let acme = scene.account("Acme").await;
    let real = scene.codes(codes("real", 1, 10)).await.remove(0);
    // Codes of another server are well formed and unknown here.
    let elsewhere = self::scene(|options| options).await;
    let guesses = elsewhere.codes(codes("elsewhere", 11, 10)).await;
    assert_eq!(guesses.iter().collect::<BTreeSet<_>>().len(), 11);
    for guess in &guesses[..10] {
        assert!(matches!(scene.redeem(acme, guess).await, Err(RedeemRefusal::Unusable)));
    }
    match scene.redeem(acme, &real).await {
        Err(RedeemRefusal::TooMany { retry_after }) => assert!(retry_after > Duration::from_secs(3_500), "{retry_after:?}"),
        other => panic!("{other:?}"),
    }
    scene.clock.skip(Duration::from_secs(3_601));
    assert_eq!(scene.redeem(acme, &real).await.unwrap().amount.amount.get(), 10);
    let folder = scene.folder.path().to_owned();
    scene.ledger.stop(Duration::from_secs(1)).await;
    let text = String::from_utf8_lossy(&std::fs::read(folder.join("ledger.db")).unwrap()).into_owned();
    assert!(!text.contains(&real) && !text.contains(&real.replace('-', "")), "a code is stored as its hash alone");
}

#[tokio::test]
async fn a_large_credit_waits_for_another_person() {
    let scene = scene(|options| LedgerOptions { confirm_above: Some(Nano::new(100)), ..options }).await;
    scene.account("Acme").await;
    let credit = |nano, key: &str| Credit { idempotency_key: Some(key.to_owned()), actor: "ann".to_owned(), ..bought("Acme", nano) };
    let ask = async |nano, key: &str| scene.ledger.ask_credit(credit(nano, key)).await;
    assert!(matches!(ask(100, "k1").await.unwrap(), Asked::Done(_)));
    let Asked::Pending(pending) = ask(101, "k2").await.unwrap() else { panic!("101 is above 100") };
    assert_eq!(ask(101, "k2").await.unwrap(), Asked::Pending(pending.clone()));
    assert!(matches!(ask(102, "k2").await, Err(LedgerError::Conflict { .. })));
    assert!(matches!(scene.ledger.credit(credit(101, "k2")).await, Err(LedgerError::Conflict { .. })));
    let test = Credit { mode: Mode::Test, ..credit(1_000, "k3") };
    assert!(matches!(scene.ledger.ask_credit(test).await.unwrap(), Asked::Done(_)), "test money needs nobody");
    assert_eq!(scene.available("Acme").await, 100);
    assert!(matches!(scene.ledger.confirm_pending(&pending.id, "ann").await, Err(LedgerError::Conflict { .. })));
    assert!(matches!(scene.ledger.confirm_pending("pend_0", "bob").await, Err(LedgerError::NotFound { .. })));
    assert_eq!(scene.ledger.pending_credits().await.unwrap(), [(*pending).clone()]);
    let scene = scene.reopen().await;
    let both = futures_util::future::join_all(["bob", "eve"].map(|who| scene.ledger.confirm_pending(&pending.id, who))).await;
    assert_eq!(both.iter().filter(|result| result.is_ok()).count(), 1);
    let Ok(Confirmed::Credit(credited)) = &both[0] else { panic!("{both:?}") };
    assert_eq!(credited.0["balance"]["available"]["nano"], "201");
    // The first request, repeated, now gets the answer that it would have got at once.
    assert_eq!(scene.ledger.ask_credit(credit(101, "k2")).await.unwrap(), Asked::Done(credited.clone()));
    assert_eq!(scene.available("Acme").await, 201);
    let actor = "SELECT COUNT(*) FROM txn WHERE actor = 'ann, confirmed by bob' AND kind = 'credit'";
    assert_eq!(scene.count(actor).await, 1);
    assert_eq!(scene.count("SELECT COUNT(*) FROM outbox WHERE kind = 'credit.pending'").await, 1);
    scene.check().await;
}

#[tokio::test]
async fn what_is_refused_never_happens() {
    let scene = scene(|options| LedgerOptions { confirm_above: Some(Nano::new(100)), ..options }).await;
    scene.account("Acme").await;
    let credit = || Credit { idempotency_key: Some("k".to_owned()), actor: "ann".to_owned(), ..bought("Acme", 500) };
    let Asked::Pending(pending) = scene.ledger.ask_credit(credit()).await.unwrap() else { panic!("500 is above 100") };
    let refused = scene.ledger.refuse_pending(&pending.id, "ann").await.unwrap();
    assert_eq!((refused.state, refused.ended_by.as_deref()), ("refused", Some("ann")));
    for result in [
        scene.ledger.confirm_pending(&pending.id, "bob").await.map(|_| ()),
        scene.ledger.refuse_pending(&pending.id, "bob").await.map(|_| ()),
    ] {
        assert!(matches!(result, Err(LedgerError::Conflict { .. })), "{result:?}");
    }
    assert!(matches!(scene.ledger.ask_credit(credit()).await, Err(LedgerError::Conflict { .. })));
    assert_eq!((scene.ledger.pending_credits().await.unwrap().len(), scene.available("Acme").await), (0, 0));
    scene.check().await;
}

#[tokio::test]
async fn campaigns_and_batches_wait_by_what_they_come_to() {
    let scene = scene(|options| LedgerOptions { confirm_above: Some(Nano::new(100)), ..options }).await;
    let acme = scene.account("Acme").await;
    let ask = async |new| scene.ledger.ask_campaign(new, "ann").await;
    let small = NewCampaign { grants_max: Some(10), ..campaign("small", 10) };
    assert!(matches!(ask(small).await.unwrap(), Asked::Done(_)));
    let Asked::Pending(open) = ask(campaign("open", 1)).await.unwrap() else { panic!("it has no limit") };
    assert_eq!((open.what, open.name.as_deref(), open.amount), ("campaign", Some("open"), None));
    assert!(matches!(ask(campaign("open", 1)).await, Err(LedgerError::Conflict { .. })), "the same name waits already");
    assert!(matches!(scene.ledger.grant(grant("open", "Acme", None)).await, Err(LedgerError::NotFound { .. })));
    assert!(matches!(scene.ledger.confirm_pending(&open.id, "bob").await.unwrap(), Confirmed::Campaign(_)));
    scene.ledger.grant(grant("open", "Acme", None)).await.unwrap();

    let new = NewCodes { actor: "ann".to_owned(), uses: 3, ..codes("big", 4, 10) };
    let Asked::Pending(big) = scene.ledger.ask_codes(new).await.unwrap() else { panic!("120 is above 100") };
    assert_eq!(big.amount.map(|amount| amount.amount.get()), Some(120));
    let Confirmed::Codes(made) = scene.ledger.confirm_pending(&big.id, "bob").await.unwrap() else { panic!("codes were asked for") };
    assert_eq!((made.codes.len(), made.record.created_by.as_str()), (4, "ann, confirmed by bob"));
    scene.redeem(acme, &made.codes[0]).await.unwrap();
    assert_eq!(scene.available("Acme").await, 11);
    scene.check().await;
}

#[tokio::test]
async fn books_that_give_twice_are_found() {
    let scene = scene(|options| options).await;
    let acme = scene.account("Acme").await;
    scene.gift("Acme", 50, 1).await;
    let code = scene.codes(NewCodes { uses: 9, ..codes("launch", 1, 10) }).await.remove(0);
    scene.redeem(acme, &code).await.unwrap();
    scene.clock.skip(DAY);
    scene.has_expired(50).await;
    scene.ledger.stop(Duration::from_secs(1)).await;
    let path = scene.folder.path().join("ledger.db");
    let violated = |sql: &str| {
        let copy = tempfile::tempdir().unwrap();
        let copied = copy.path().join("ledger.db");
        std::fs::copy(&path, &copied).unwrap();
        let thief = rusqlite::Connection::open(&copied).unwrap();
        thief.execute_batch(sql).unwrap();
        drop(thief);
        let report = gateway_billing::verify::verify_file(&copied).unwrap();
        report.checks.into_iter().filter(|check| !check.violations.is_empty()).map(|check| check.id).collect::<Vec<_>>()
    };
    assert_eq!(violated("SELECT 1"), Vec::<&str>::new());
    assert_eq!(violated("UPDATE campaign SET grants_made = 0 WHERE name LIKE 'gift%'"), ["INV-15"]);
    assert_eq!(violated("UPDATE campaign SET amount = 51 WHERE name LIKE 'gift%'"), ["INV-15"]);
    assert_eq!(violated("UPDATE code SET uses_left = 9"), ["INV-15"]);
    assert_eq!(violated("DELETE FROM code_use"), ["INV-15"]);
    assert_eq!(violated("DROP TRIGGER grant_log_stays; DELETE FROM grant_log"), ["INV-15"]);
    assert_eq!(violated("DROP TRIGGER lot_expiry_keeps; UPDATE lot_expiry SET amount = amount - 1"), ["INV-18"]);
    assert_eq!(violated("DROP TRIGGER lot_expiry_stays; DELETE FROM lot_expiry"), ["INV-18"]);
    assert_eq!(violated("UPDATE lot SET remaining = 50 WHERE source LIKE 'campaign:%'"), ["INV-11", "INV-18"]);
}
