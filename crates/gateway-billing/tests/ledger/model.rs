//! Random commands against the real ledger and a small model of one account: its credit, two budgets, its plan and its prices.
//!
//! After every step the balance, both budgets and all invariants of the books are as the model says. The seed is printed; the
//! environment's `LEDGER_MODEL_SEED` plays it again, and a failing sequence is shrunk.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gateway_billing::{
    budget::{BudgetId, Every, Period, Scope},
    hold::{Admission, AdmitRequest, Billing as _, FinalUsage, OutputAsk, PinnedPlan, PricedCandidate, Refusal, ReleaseReason},
    ledger::{BudgetChange, Credit, Enforcement, Ledger, LedgerOptions, NewBudget, NewCampaign, NewGrant, NewPlanVersion},
    money::{Nano, Ppm},
    price::{Calendars, Coverage, PriceKey, SELL_BOOK},
    store::Durability,
};
use gateway_core::{Deployment, InputSize, KeyId, Mode, PartialUsage, RequestId, Usage, testing::deployment};
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

use crate::stage::{Frozen, Stage, draft, open};

const SEQUENCES: u32 = 1_000;
const STEPS: usize = 50;
/// Sequences wait for the task that lets credit expire more than they compute.
const THREADS: u32 = 8;

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 1_440 * MINUTE_US;

#[derive(Debug, Clone)]
enum Step {
    Credit(i64),
    /// The same credit with the same idempotency key again.
    CreditAgain,
    Grant,
    Admit {
        limit: u32,
    },
    Progress {
        which: usize,
        bytes: u64,
    },
    Settle {
        which: usize,
        output: u64,
    },
    Release {
        which: usize,
    },
    Drop {
        which: usize,
    },
    /// Minutes; sometimes past the end of an hour, or of a grant.
    Later(i64),
    Price(u64),
    Plan(u32),
    Cap {
        hourly: bool,
        cap: i64,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1i64..5_000_000).prop_map(Step::Credit),
        1 => Just(Step::CreditAgain),
        2 => Just(Step::Grant),
        18 => (1u32..400).prop_map(|limit| Step::Admit { limit }),
        8 => (any::<usize>(), 0u64..2_000).prop_map(|(which, bytes)| Step::Progress { which, bytes }),
        12 => (any::<usize>(), 0u64..900).prop_map(|(which, output)| Step::Settle { which, output }),
        5 => any::<usize>().prop_map(|which| Step::Release { which }),
        5 => any::<usize>().prop_map(|which| Step::Drop { which }),
        3 => (1i64..90).prop_map(Step::Later),
        1 => (1_440i64..2_000).prop_map(Step::Later),
        1 => (1u64..30).prop_map(Step::Price),
        1 => (500_000u32..2_000_000).prop_map(Step::Plan),
        3 => (any::<bool>(), 0i64..9_000_000).prop_map(|(hourly, cap)| Step::Cap { hourly, cap }),
        1 => Just(Step::Restart),
    ]
}

/// One budget: its cap and what its running period has.
#[derive(Debug, Clone, Copy)]
struct ModelBudget {
    id: BudgetId,
    hourly: bool,
    cap: i64,
    period: i64,
    spent: i64,
    held: i64,
}

impl ModelBudget {
    fn left(&self) -> i64 {
        (self.cap - self.spent - self.held).max(0)
    }
}

struct ModelHold {
    admission: Admission,
    amount: i64,
    /// What it is priced at: dollars a million tokens of output, and the plan's factor.
    price: (u64, u32),
    periods: [i64; 2],
    since: i64,
    seen: Option<i64>,
}

impl ModelHold {
    fn terms(&self) -> Terms {
        Terms { amount: self.amount, periods: self.periods, since: self.since }
    }
}

/// What stays of a hold when its admission is gone.
#[derive(Clone, Copy)]
struct Terms {
    amount: i64,
    periods: [i64; 2],
    since: i64,
}

/// A parcel of credit: what is left of it, and when it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ModelLot {
    promo: bool,
    expires_at: Option<i64>,
    left: i64,
}

/// Everything the ledger should say.
struct Model {
    lots: Vec<ModelLot>,
    open: Vec<ModelHold>,
    budgets: [ModelBudget; 2],
    output: u64,
    plan: u32,
    credits: Vec<i64>,
    published: u32,
    grants: u32,
}

impl Model {
    fn posted(&self) -> i64 {
        self.lots.iter().map(|lot| lot.left).sum()
    }

    fn available(&self) -> i64 {
        self.posted() - self.open.iter().map(|hold| hold.amount).sum::<i64>()
    }

    /// Promotional credit first, then what expires first, then the oldest; what had expired before the call began comes last.
    fn draw(&mut self, mut amount: i64, since: i64) {
        let expired = |lot: &ModelLot| lot.expires_at.is_some_and(|at| at <= since);
        self.lots.sort_by_key(|lot| (expired(lot), !lot.promo, lot.expires_at.is_none(), lot.expires_at));
        for lot in &mut self.lots {
            let taken = lot.left.min(amount);
            lot.left -= taken;
            amount -= taken;
        }
        assert_eq!(amount, 0, "the model spends what is not there");
    }

    /// Of what is expired there stays at most what calls hold that began before; the rest goes if it is free.
    fn expire(&mut self, now_us: i64) {
        self.lots.sort_by_key(|lot| lot.expires_at);
        let mut kept = 0;
        for n in 0..self.lots.len() {
            let Some(at) = self.lots[n].expires_at.filter(|at| *at <= now_us) else { continue };
            let held: i64 = self.open.iter().filter(|hold| hold.since < at).map(|hold| hold.amount).sum();
            let keeps = self.lots[n].left.min((held - kept).max(0));
            kept += keeps;
            let gone = (self.lots[n].left - keeps).min(self.available().max(0));
            self.lots[n].left -= gone;
        }
        self.lots.retain(|lot| lot.left > 0);
    }

    fn turn(&mut self, now_us: i64) {
        let hour = now_us.div_euclid(60 * MINUTE_US);
        for budget in self.budgets.iter_mut().filter(|budget| budget.hourly && budget.period != hour) {
            (budget.period, budget.spent, budget.held) = (hour, 0, 0);
        }
    }

    /// Ends a hold that is no longer among the open ones: from its own part, then from what is free, in the periods it arrived in.
    fn end(&mut self, Terms { amount, periods, since }: Terms, charge: i64) {
        let extra = (charge - amount).max(0).min(self.available() - charge.min(amount));
        let paid = charge.min(amount) + extra;
        self.draw(paid, since);
        self.count(amount, periods, paid);
    }

    fn count(&mut self, amount: i64, periods: [i64; 2], paid: i64) {
        for (budget, period) in self.budgets.iter_mut().zip(periods) {
            if budget.period == period {
                budget.held -= amount;
                budget.spent += paid;
            }
        }
    }
}

/// $2 per million tokens of input, ten of them, and this much of output.
fn charge_at((output_usd, plan): (u64, u32), output: u64) -> i64 {
    let pico = i128::from(20_000_000 + output_usd * 1_000_000 * output) * i128::from(plan);
    i64::try_from((pico + 999_999_999) / 1_000_000_000).unwrap()
}

/// The same at $8 on the default plan.
pub(crate) fn price(output: u64) -> i64 {
    charge_at((8, 1_000_000), output)
}

pub(crate) fn usage(output: Option<u64>) -> Usage {
    Usage { input_uncached: Some(10), output_text: output, ..Usage::default() }
}

pub(crate) fn request(stage: &Stage, at: &Arc<Deployment>, limit: u32) -> AdmitRequest {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let received_at = stage.ledger.clock().unix_us();
    let key = PriceKey { book: SELL_BOOK, provider: "house", upstream_model: "x", model: "model" };
    let price = stage.ledger.prices().lookup(key, received_at).unwrap().unwrap();
    AdmitRequest {
        id: RequestId::v7(NEXT.fetch_add(1, Ordering::Relaxed), [0; 10]),
        org: stage.org,
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
        input: InputSize::default(),
        output: OutputAsk { limit: Some(limit), choices: 1 },
        names_tier: false,
        max_total_cost: None,
        facts: None,
    }
}

struct Play {
    folder: tempfile::TempDir,
    clock: Arc<Frozen>,
    /// `None` only while it is being started anew: one database has one owner.
    stage: Option<Stage>,
    at: Arc<Deployment>,
    model: Model,
}

impl Play {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Frozen::new();
        let stage = Stage::prepared(tempfile::tempdir().unwrap(), Self::open(&folder, &clock).await, 3_000_000).await;
        let campaign = NewCampaign {
            name: "day".to_owned(),
            amount: Nano::new(700_000),
            valid_days: Some(1),
            grants_max: None,
            starts_at: None,
            ends_at: None,
        };
        stage.ledger.ask_campaign(campaign, "test").await.unwrap();
        let mut budgets = Vec::new();
        for (hourly, cap) in [(false, 9_000_000), (true, 4_000_000)] {
            let new = NewBudget {
                account: "Acme".to_owned(),
                name: format!("hourly {hourly}"),
                mode: Mode::Live,
                scope: Scope::Org,
                model: None,
                provider: None,
                cap: Nano::new(cap),
                enforcement: Enforcement::Hard,
                period: Period::of(if hourly { Every::Hour } else { Every::Total }),
                alerts: None,
            };
            let id = stage.ledger.create_budget(new).await.unwrap().id;
            let period = if hourly { clock.now_us().div_euclid(60 * MINUTE_US) } else { 0 };
            budgets.push(ModelBudget { id, hourly, cap, period, spent: 0, held: 0 });
        }
        let model = Model {
            lots: vec![ModelLot { promo: false, expires_at: None, left: 3_000_000 }],
            open: Vec::new(),
            budgets: [budgets[0], budgets[1]],
            output: 8,
            plan: 1_000_000,
            credits: Vec::new(),
            published: 0,
            grants: 0,
        };
        Self { folder, clock, stage: Some(stage), at: Arc::new(deployment("model", "house")), model }
    }

    async fn open(folder: &tempfile::TempDir, clock: &Arc<Frozen>) -> Arc<Ledger> {
        let clock = Arc::clone(clock) as _;
        open(folder.path(), |mut options| {
            // What a power cut does is not tried here.
            options.store.durability = Durability::Normal;
            LedgerOptions { clock, ..options }
        })
        .await
    }

    fn stage(&self) -> &Stage {
        self.stage.as_ref().unwrap()
    }

    async fn step(&mut self, step: Step) {
        // Each step is a moment of its own, so that versions published in two of them do not begin together.
        self.clock.skip_us(1_000);
        self.model.turn(self.clock.now_us());
        match step {
            Step::Credit(nano) => self.credit(nano).await,
            Step::CreditAgain => self.credit_again().await,
            Step::Grant => self.grant().await,
            Step::Admit { limit } => self.admit(limit),
            Step::Later(minutes) => self.clock.skip_us(minutes * MINUTE_US),
            Step::Price(usd) => {
                let draft = draft("model", "2", &usd.to_string());
                self.stage().ledger.publish_prices(vec![draft], Coverage::Part, Calendars::default()).await.unwrap();
                self.model.output = usd;
            }
            Step::Plan(ppm) => self.plan(ppm).await,
            Step::Cap { hourly, cap } => {
                let change = BudgetChange { cap: Some(Nano::new(cap)), ..BudgetChange::default() };
                let id = self.model.budgets[usize::from(hourly)].id;
                self.stage().ledger.change_budget(self.stage().org, id, change).await.unwrap();
                self.model.budgets[usize::from(hourly)].cap = cap;
            }
            Step::Restart => self.restart().await,
            Step::Progress { .. } | Step::Settle { .. } | Step::Release { .. } | Step::Drop { .. } => self.on_hold(&step),
        }
        let now_us = self.clock.now_us();
        self.model.turn(now_us);
        self.model.expire(now_us);
    }

    fn on_hold(&mut self, step: &Step) {
        let model = &mut self.model;
        if model.open.is_empty() {
            return;
        }
        let take = |model: &mut Model, which: usize| model.open.swap_remove(which % model.open.len());
        match *step {
            Step::Progress { which, bytes } => {
                let which = which % model.open.len();
                let hold = &mut model.open[which];
                hold.admission.progress(&self.at, PartialUsage { usage: usage(None), content_bytes: bytes });
                hold.seen = Some(charge_at(hold.price, bytes / 4));
            }
            Step::Settle { which, output } => {
                let hold = take(model, which);
                let (ended, price) = (hold.terms(), hold.price);
                hold.admission.settle(&self.at, &FinalUsage::Reported(usage(Some(output))));
                model.end(ended, charge_at(price, output));
            }
            Step::Release { which } => {
                let hold = take(model, which);
                model.count(hold.amount, hold.periods, 0);
                hold.admission.release(ReleaseReason::Failed);
            }
            Step::Drop { which } => {
                let hold = take(model, which);
                let ended = hold.terms();
                let charge = hold.seen.unwrap_or(0);
                drop(hold.admission);
                model.end(ended, charge);
            }
            _ => unreachable!("these are all that end or note a hold"),
        }
    }

    async fn credit(&mut self, nano: i64) {
        self.credit_with(nano, self.model.credits.len()).await;
        self.model.credits.push(nano);
        self.model.lots.push(ModelLot { promo: false, expires_at: None, left: nano });
    }

    async fn credit_again(&mut self) {
        if let Some(nano) = self.model.credits.last().copied() {
            self.credit_with(nano, self.model.credits.len() - 1).await;
        }
    }

    async fn credit_with(&self, nano: i64, number: usize) {
        let credit = Credit {
            account: "Acme".to_owned(),
            mode: Mode::Live,
            amount: Nano::new(nano),
            reason: "test".to_owned(),
            actor: "test".to_owned(),
            idempotency_key: Some(format!("credit {number}")),
            expires_at: None,
        };
        self.stage().ledger.credit(credit).await.unwrap();
    }

    async fn grant(&mut self) {
        self.model.grants += 1;
        let grant = NewGrant {
            campaign: "day".to_owned(),
            account: "Acme".to_owned(),
            subject: Some(format!("subject {}", self.model.grants)),
            actor: "test".to_owned(),
        };
        self.stage().ledger.grant(grant).await.unwrap();
        self.model.lots.push(ModelLot { promo: true, expires_at: Some(self.clock.now_us() + DAY_US), left: 700_000 });
    }

    async fn plan(&mut self, ppm: u32) {
        self.model.published += 1;
        let new = NewPlanVersion {
            plan: "varying".to_owned(),
            multiplier: Ppm::new(ppm).unwrap(),
            effective_from: None,
            idempotency_key: format!("plan {}", self.model.published),
        };
        self.stage().ledger.publish_plan(new).await.unwrap();
        self.stage().ledger.put_on_plan("Acme", "varying").await.unwrap();
        self.model.plan = ppm;
    }

    fn admit(&mut self, limit: u32) {
        let tariff = self.stage().ledger.tariff(self.stage().org, Mode::Live, self.clock.now_us());
        assert_eq!(tariff.plan.multiplier.get(), self.model.plan);
        let request = AdmitRequest { plan: tariff.plan, ..request(self.stage(), &self.at, limit) };
        let admitted = self.stage().ledger.try_admit(&request);
        let model = &mut self.model;
        match admitted {
            Ok(admission) => {
                let amount = admission.amount().get();
                assert!(amount <= model.available(), "{amount} were held of {}", model.available());
                for budget in &mut model.budgets {
                    assert!(amount <= budget.left(), "{amount} were held of {budget:?}");
                    budget.held += amount;
                }
                let periods = model.budgets.map(|budget| budget.period);
                let (price, since) = ((model.output, model.plan), request.received_at);
                model.open.push(ModelHold { admission, amount, price, periods, since, seen: None });
            }
            Err(Refusal::InsufficientFunds { required, available, .. }) => {
                assert_eq!(available.amount.get(), model.available());
                assert!(required.amount.get() > model.available());
            }
            Err(Refusal::Budget(refusal)) => {
                let budget = model.budgets.iter().find(|budget| budget.id == refusal.id).unwrap();
                assert_eq!(refusal.left.amount.get(), budget.left(), "{refusal:?} {budget:?}");
                assert!(refusal.required.amount.get() > budget.left());
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    fn release_all(&mut self) {
        while let Some(hold) = self.model.open.pop() {
            self.model.count(hold.amount, hold.periods, 0);
            hold.admission.release(ReleaseReason::Failed);
        }
    }

    /// Ends what is open and starts anew on the same database.
    async fn restart(&mut self) {
        self.release_all();
        self.model.expire(self.clock.now_us());
        self.stage().ledger.stop(Duration::from_secs(5)).await;
        let org = self.stage().org;
        self.stage = None;
        let ledger = Self::open(&self.folder, &self.clock).await;
        self.stage = Some(Stage::on(tempfile::tempdir().unwrap(), ledger, org));
    }

    async fn agrees(&self) {
        let now = || self.stage().ledger.book().wallet(self.stage().org, gateway_billing::money::Currency::USD).unwrap().reading();
        // Credit expires in a task of its own, a moment after its date.
        for patience in (0..3_000).rev() {
            if now().available().get() == self.model.available().max(0) {
                break;
            }
            assert!(patience > 0, "{:?} are there, the model has {}", now(), self.model.available());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for budget in &self.model.budgets {
            let current = self.stage().ledger.budget(self.stage().org, budget.id).unwrap().current.unwrap();
            let (spent, held) = (current.spent.amount.get(), current.held.amount.get());
            assert_eq!((spent, held, current.left.amount.get()), (budget.spent, budget.held, budget.left()), "{budget:?}");
        }
        self.stage().ledger.flush().await;
        let report = self.stage().ledger.verify().await.unwrap();
        assert!(report.ok, "{report:#?}");
        assert_eq!(report.open_holds, self.model.open.len() as u64);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a failing seed is played again by saying it from outside")]
fn any_sequence_keeps_the_books() {
    let seed = std::env::var("LEDGER_MODEL_SEED").ok().map_or_else(|| RandomState::new().hash_one(0), |seed| seed.parse().unwrap());
    println!("LEDGER_MODEL_SEED={seed}");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&seed.to_be_bytes());
                bytes[8..12].copy_from_slice(&thread.to_be_bytes());
                let config = ProptestConfig {
                    cases: SEQUENCES / THREADS,
                    failure_persistence: None,
                    max_shrink_iters: 64,
                    ..ProptestConfig::default()
                };
                let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
                let sequences = proptest::collection::vec(step(), STEPS);
                let outcome = runner.run(&sequences, |steps| {
                    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        runtime.block_on(async {
                            let mut play = Play::new().await;
                            for step in steps {
                                play.step(step).await;
                                play.agrees().await;
                            }
                            play.restart().await;
                            play.agrees().await;
                        });
                    }));
                    played.map_err(|_| TestCaseError::fail("see above"))
                });
                assert!(outcome.is_ok(), "LEDGER_MODEL_SEED={seed}, thread {thread}: {}", outcome.unwrap_err());
            });
        }
    });
}
