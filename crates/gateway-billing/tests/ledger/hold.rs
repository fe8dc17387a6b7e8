//! Calls through the hold layer: what is charged, what is shown, and that nobody spends what is not there.

use std::{pin::Pin, sync::Arc, time::Duration};

use crate::stage::{Stage, check, open, routed};
use gateway_billing::{
    hold::{AdmitRequest, Billing as _, FinalUsage, HoldOptions, OutputAsk, PinnedPlan, PricedCandidate},
    journal::{Failpoint, Failpoints, JournalOptions},
    ledger::LedgerOptions,
    price::{PriceKey, SELL_BOOK},
};
use gateway_core::{
    Deployment, Fault, FaultKind, Mode, PartialUsage, Reply, ReplyBody, Retry, Usage,
    ir::{Delta, Event, PartKind},
    testing::{Act, Beat, ScriptedProvider, read_body},
};
use http_body::Body as _;
use sqlx::Row as _;
use tower::{Service as _, ServiceExt as _};

pub(crate) fn options(wait_ms: u64, strict_settle: bool) -> HoldOptions {
    HoldOptions { admission_wait: Duration::from_millis(wait_ms), strict_settle }
}

pub(crate) fn provider(act: Act) -> Arc<ScriptedProvider> {
    Arc::new(ScriptedProvider::always("house", act))
}

pub(crate) async fn send(stage: &Stage, provider: &Arc<ScriptedProvider>, routed: gateway_core::Routed) -> Result<Reply, Fault> {
    stage.stack(provider, options(0, false)).ready().await?.call(routed).await
}

pub(crate) fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    reply.head.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// Reads `frames` frames of a stream.
pub(crate) async fn read(body: &mut gateway_core::stream::StreamBody, frames: usize) {
    for _ in 0..frames {
        std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.unwrap().unwrap();
    }
}

pub(crate) async fn one(stage: &Stage, query: &'static str) -> i64 {
    stage.settled().await;
    sqlx::query(query).fetch_one(stage.ledger.reader()).await.unwrap().get(0)
}

#[tokio::test]
async fn a_whole_answer_is_charged_to_the_nano_and_says_so() {
    let stage = Stage::new(1_000_000_000).await;
    let provider = provider(Act::text("three words here"));
    let reply = send(&stage, &provider, routed(stage.call("model").output_limit(100), &[("model", "house")])).await.unwrap();
    // 10 × 2,000,000 + 3 × 8,000,000 pico-dollars.
    assert_eq!(header(&reply, "x-bellwether-cost-usd"), "0.000044000");
    assert_eq!(header(&reply, "x-bellwether-credits-remaining"), "0.999956000");
    assert_eq!(header(&reply, "x-bellwether-output-limit"), "");
    stage.check().await;
    assert_eq!(stage.available().await, 999_956_000);
    assert_eq!(one(&stage, "SELECT COUNT(*) FROM attempt").await, 0);
    assert_eq!(one(&stage, "SELECT state FROM hold").await, 1);
    assert_eq!(stage.ledger.journal_reading().charged_nano, 44_000);
}

#[tokio::test]
async fn a_settlement_that_nobody_waits_for_goes_along_with_the_next_hold() {
    let stage = Stage::new(1_000_000_000).await;
    let provider = provider(Act::text("three words here"));
    let call = || routed(stage.call("model").output_limit(100), &[("model", "house")]);
    let commits = || stage.ledger.journal_reading().commits;
    let before = commits();
    for _ in 0..20 {
        send(&stage, &provider, call()).await.unwrap();
    }
    stage.settled().await;
    // A hold's commit each, and the flush; more only where this machine paused for longer than the writer's patience.
    assert!((20..30).contains(&(commits() - before)), "{} commits", commits() - before);

    // Alone it is written all the same, soon, and no reader has to ask for it.
    send(&stage, &provider, call()).await.unwrap();
    while stage.ledger.journal_reading().in_flight > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stage.check().await;

    // Where the caller is promised a written settlement, it does not wait for others.
    let strict = async {
        for _ in 0..10 {
            stage.stack(&provider, options(0, true)).ready().await.unwrap().call(call()).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_millis(400), strict)
        .await
        .expect("ten calls that each waited for company would take half a second");
    stage.check().await;
}

#[tokio::test]
async fn the_output_is_bounded_by_the_wallet_when_the_caller_is_silent() {
    for (nano, limit) in [(1_000_000_000_000, "4096"), (200_000_000, "1562"), (20_000_000, "1024")] {
        let stage = Stage::new(nano).await;
        let provider = provider(Act::text("ok"));
        let reply = send(&stage, &provider, routed(stage.call("model"), &[("model", "house")])).await.unwrap();
        assert_eq!(header(&reply, "x-bellwether-output-limit"), limit, "with {nano}");
        assert_eq!(provider.seen()[0].output_limit, limit.parse().ok());
        stage.check().await;
    }
}

#[tokio::test]
async fn an_empty_wallet_is_told_what_it_could_afford() {
    let stage = Stage::new(2_000_000).await;
    let provider = provider(Act::text("ok"));
    let fault = send(&stage, &provider, routed(stage.call("model").output_limit(1_000), &[("model", "house")])).await.err().unwrap();
    assert_eq!((fault.kind(), fault.code()), (FaultKind::InsufficientFunds, Some("insufficient_credits")));
    assert_eq!(fault.tried().map(|tried| tried.attempts), Some(0), "nobody was asked");
    let detail = |name| fault.details().iter().find(|(known, _)| *known == name).unwrap().1.clone();
    assert_eq!(detail("available_usd"), "0.002000000");
    let affordable = u32::try_from(detail("affordable_max_tokens").as_u64().unwrap()).unwrap();
    assert!((1..1_000).contains(&affordable), "{fault:?}");
    assert_eq!(provider.count(), 0);
    // What is offered is really affordable, and one more is not.
    let fault = send(&stage, &provider, routed(stage.call("model").output_limit(affordable + 1), &[("model", "house")])).await.err();
    assert_eq!(fault.unwrap().kind(), FaultKind::InsufficientFunds);
    send(&stage, &provider, routed(stage.call("model").output_limit(affordable), &[("model", "house")])).await.unwrap();
    stage.check().await;
}

#[tokio::test]
async fn what_has_no_price_is_refused_before_any_call() {
    let stage = Stage::new(1_000_000_000).await;
    let provider = provider(Act::text("ok"));
    for deployments in [&[("unknown", "house")][..], &[("unknown", "house"), ("model", "house")]] {
        let fault = send(&stage, &provider, routed(stage.call("unknown"), deployments)).await.err().unwrap();
        assert_eq!((fault.kind(), fault.status().as_u16(), fault.code()), (FaultKind::ModelNotPriced, 400, Some("model_not_priced")));
    }
    assert_eq!(provider.count(), 0);
    // An unpriced fallback is left out, not served for free.
    let provider = Arc::new(ScriptedProvider::new("house").first([Act::fails(FaultKind::Overloaded, Retry::NextDeployment)]));
    let fault = send(&stage, &provider, routed(stage.call("model"), &[("model", "house"), ("unknown", "house")])).await.err().unwrap();
    assert_eq!((fault.kind(), provider.count()), (FaultKind::Overloaded, 1));
    stage.check().await;
    assert_eq!(stage.available().await, 1_000_000_000);
}

#[tokio::test]
async fn the_fallback_that_served_is_charged_and_the_failure_is_the_operators() {
    let stage = Stage::new(1_000_000_000).await;
    let failed = Fault::new(FaultKind::UpstreamError, gateway_core::Origin::Provider, "scripted").after_work_began();
    let provider = Arc::new(ScriptedProvider::always("house", Act::text("a b")).first([Act::fault(failed)]));
    let prompt = "x".repeat(4_000);
    let call = stage.call("dear").input(&prompt).output_limit(10);
    let reply = send(&stage, &provider, routed(call, &[("dear", "house"), ("model", "house")])).await.unwrap();
    assert_eq!(header(&reply, "x-bellwether-cost-usd"), "0.000036000");
    stage.check().await;
    assert_eq!(one(&stage, "SELECT COUNT(*) FROM attempt").await, 2);
    assert_eq!(one(&stage, "SELECT cost FROM attempt WHERE n = 1 AND outcome = 'upstream_error'").await, 1_000 * 20_000);
    assert_eq!(one(&stage, "SELECT posted FROM account WHERE code = 5110").await, 1_000 * 20_000);
    assert_eq!(one(&stage, "SELECT attempt FROM settlement").await, 2);
}

#[tokio::test]
async fn nothing_delivered_costs_nothing() {
    let stage = Stage::new(1_000_000_000).await;
    let provider = provider(Act::fails(FaultKind::Timeout, Retry::Never));
    assert!(send(&stage, &provider, routed(stage.call("model"), &[("model", "house")])).await.is_err());
    // The caller leaves while the provider thinks.
    let hanging = Arc::new(ScriptedProvider::always("house", Act::hang()));
    let stack = send(&stage, &hanging, routed(stage.call("model"), &[("model", "house")]));
    assert!(tokio::time::timeout(Duration::from_millis(50), stack).await.is_err());
    // The caller leaves before the first frame of a stream.
    let streaming = Arc::new(ScriptedProvider::new("house"));
    drop(send(&stage, &streaming, routed(stage.call("model").streamed(), &[("model", "house")])).await.unwrap());
    stage.check().await;
    assert_eq!(stage.available().await, 1_000_000_000);
    assert_eq!(one(&stage, "SELECT COUNT(*) FROM hold WHERE state = 2").await, 3);
    assert_eq!(one(&stage, "SELECT COUNT(*) FROM settlement").await, 0);
}

#[tokio::test]
async fn an_empty_report_does_not_make_an_answer_free() {
    let usage = || Usage { service_tier: Some("default".into()), ..Usage::default() };
    let call = |stage: &Stage| stage.call("model").input(&"y".repeat(4_000)).output_limit(100);
    let answer = gateway_core::ir::ChatResponse { usage: Some(usage()), ..gateway_core::testing::answer(&"x".repeat(40)) };
    for streamed in [false, true] {
        let stage = Stage::new(1_000_000_000).await;
        let provider = provider(Act::answer(answer.clone()));
        let call = if streamed { call(&stage).streamed() } else { call(&stage) };
        read_body(send(&stage, &provider, routed(call, &[("model", "house")])).await.unwrap()).await;
        stage.check().await;
        assert_eq!(stage.available().await, 1_000_000_000 - (1_000 * 2_000 + 10 * 8_000), "{streamed}");
        assert_eq!(one(&stage, "SELECT usage_source FROM settlement").await, 2);
    }
}

#[tokio::test]
async fn an_answer_that_nobody_took_is_the_operators_cost() {
    let early = Beat::Event(Event::Usage { usage: Usage { input_uncached: Some(600), ..Usage::default() }, is_final: false });
    let last = Usage { input_uncached: Some(600), output_text: Some(300), ..Usage::default() };
    let last = Beat::Event(Event::Usage { usage: last, is_final: true });
    let start = Beat::Event(Event::PartStart { choice: 0, part: 0, kind: PartKind::Text });
    let text = Beat::Event(Event::Delta { choice: 0, part: 0, delta: Delta::Text("x".repeat(400).into()) });
    let content = || [start.clone(), text.clone(), Beat::Hang];
    for (before, cost) in [
        // By the prompt and what was produced; by what was reported early; by the provider's last word.
        (vec![], 1_000 * 2_000 + 100 * 8_000),
        (vec![early], 600 * 2_000 + 100 * 8_000),
        (vec![last], 600 * 2_000 + 300 * 8_000),
    ] {
        let stage = Stage::new(1_000_000_000).await;
        let provider = provider(Act::stream(before.into_iter().chain(content()).collect()));
        let call = stage.call("model").input(&"y".repeat(4_000)).streamed();
        drop(send(&stage, &provider, routed(call, &[("model", "house")])).await.unwrap());
        stage.check().await;
        assert_eq!(stage.available().await, 1_000_000_000);
        assert_eq!(one(&stage, "SELECT COUNT(*) FROM settlement").await, 0);
        assert_eq!(one(&stage, "SELECT COUNT(*) FROM attempt WHERE outcome = 'abandoned'").await, 1);
        assert_eq!(one(&stage, "SELECT posted FROM account WHERE code = 5110").await, cost);
    }
}

#[tokio::test]
async fn a_stream_is_charged_at_its_end_or_for_what_was_delivered() {
    for strict in [false, true] {
        let stage = Stage::new(1_000_000_000).await;
        let provider = provider(Act::text("one two three four"));
        let mut stack = stage.stack(&provider, options(0, strict));
        let reply = stack.ready().await.unwrap().call(routed(stage.call("model").streamed(), &[("model", "house")])).await.unwrap();
        assert_eq!(header(&reply, "x-bellwether-cost-usd"), "");
        assert!(!header(&reply, "x-bellwether-credits-remaining").is_empty());
        read_body(reply).await;
        if strict {
            // The last bytes were held back until the settlement was written: no waiting here.
            let charge: i64 = sqlx::query("SELECT charge FROM settlement").fetch_one(stage.ledger.reader()).await.unwrap().get(0);
            assert_eq!(charge, 52_000);
        }
        stage.check().await;
        assert_eq!(stage.available().await, 1_000_000_000 - 52_000);
    }
}

#[tokio::test]
async fn a_caller_who_leaves_pays_for_the_input_and_what_came() {
    let stage = Stage::new(1_000_000_000).await;
    let text = "x".repeat(400);
    let mut beats = vec![Beat::Event(Event::Start { id: None, model: None, created: None })];
    let early = Usage { input_uncached: Some(1_000), ..Usage::default() };
    beats.push(Beat::Event(Event::Usage { usage: early, is_final: false }));
    beats.push(Beat::Event(Event::PartStart { choice: 0, part: 0, kind: PartKind::Text }));
    beats.push(Beat::Event(Event::Delta { choice: 0, part: 0, delta: Delta::Text(text.into()) }));
    beats.push(Beat::Hang);
    let provider = provider(Act::stream(beats));
    let call = stage.call("model").input(&"y".repeat(4_000)).streamed();
    let reply = send(&stage, &provider, routed(call, &[("model", "house")])).await.unwrap();
    let ReplyBody::Stream(mut body) = reply.body else { panic!("a stream was asked for") };
    tokio::time::timeout(Duration::from_millis(100), read(&mut body, 100)).await.unwrap_err();
    drop(body);
    stage.check().await;
    // 1,000 × 2,000,000 + 100 × 8,000,000 pico-dollars.
    assert_eq!(stage.available().await, 1_000_000_000 - 2_800_000);
    assert_eq!(one(&stage, "SELECT usage_source FROM settlement").await, 1);
    assert_eq!(provider.cancelled(), 1);
}

#[tokio::test]
async fn a_charge_above_the_hold_takes_what_is_there_and_the_operator_bears_the_rest() {
    let stage = Stage::new(100_000).await;
    let usage = Usage { input_uncached: Some(10), output_text: Some(1_000), ..Usage::default() };
    let response = gateway_core::ir::ChatResponse { usage: Some(usage), ..gateway_core::testing::answer("lies") };
    let provider = provider(Act::answer(response));
    let reply = send(&stage, &provider, routed(stage.call("model").output_limit(1), &[("model", "house")])).await.unwrap();
    assert_eq!(header(&reply, "x-bellwether-cost-usd"), "0.000100000");
    stage.check().await;
    assert_eq!(stage.available().await, 0);
    assert_eq!(one(&stage, "SELECT posted FROM account WHERE code = 5400").await, 8_020_000 - 100_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the tasks are joined below")]
async fn money_for_exactly_n_serves_exactly_n() {
    let stage = Arc::new(Stage::new(1).await);
    // What one such request holds, found by asking for it.
    let provider = provider(Act::text("a b c"));
    let probe = send(&stage, &provider, routed(stage.call("model").output_limit(100), &[("model", "house")])).await.err().unwrap();
    let required = probe.details().iter().find(|(name, _)| *name == "required_usd").unwrap().1.as_str().unwrap().to_owned();
    let hold: i64 = required.parse::<gateway_billing::money::Nano>().unwrap().get();
    stage.credit(137 * hold - 1).await;
    let opening = stage.available().await;
    // Nobody is answered until everybody has been admitted or refused.
    let gate = Arc::new(ScriptedProvider::always("house", Act::text("a b c").after(Duration::from_secs(2))));
    let calls = (0..1_000).map(|_| {
        let (stage, gate) = (Arc::clone(&stage), Arc::clone(&gate));
        tokio::task::spawn(async move {
            send(&stage, &gate, routed(stage.call("model").output_limit(100), &[("model", "house")]))
                .await
                .map(|_| ())
                .map_err(|fault| fault.kind())
        })
    });
    let outcomes = futures_util::future::join_all(calls.collect::<Vec<_>>()).await;
    let served = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Ok(())))).count();
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Err(FaultKind::InsufficientFunds)))).count();
    assert_eq!((served, refused, gate.count()), (137, 863, 137));
    stage.check().await;
    assert_eq!(stage.available().await, opening - 137 * 44_000);
}

#[tokio::test]
async fn waiting_for_freed_money_uses_nearly_all_of_it() {
    let stage = Arc::new(Stage::new(1_000_000).await);
    let provider = provider(Act::text("a b c"));
    // Each holds far more than it uses, so without waiting only one could run at a time.
    let calls = (0..20).map(|_| {
        let stage = Arc::clone(&stage);
        let mut stack = stage.stack(&provider, options(5_000, false));
        async move { stack.ready().await.unwrap().call(routed(stage.call("model").output_limit(80), &[("model", "house")])).await.is_ok() }
    });
    let served = futures_util::future::join_all(calls).await.into_iter().filter(|served| *served).count();
    // 20 × 44,000 of 1,000,000, and the last one must still find its hold of about 700,000.
    assert!(served >= 6, "{served}");
    stage.check().await;
}

#[tokio::test]
async fn a_full_house_is_busy_and_recovers() {
    let stage = Stage::with(1_000_000_000, |options| LedgerOptions {
        journal: JournalOptions { in_flight_max: 1, ..JournalOptions::default() },
        ..options
    })
    .await;
    let streaming = provider(Act::text("a b c"));
    let first = send(&stage, &streaming, routed(stage.call("model").streamed(), &[("model", "house")])).await.unwrap();
    let fault = send(&stage, &streaming, routed(stage.call("model"), &[("model", "house")])).await.err().unwrap();
    assert_eq!((fault.code(), fault.status().as_u16()), (Some("ledger_busy"), 503));
    drop(first);
    stage.settled().await;
    send(&stage, &streaming, routed(stage.call("model"), &[("model", "house")])).await.unwrap();
    stage.check().await;
}

#[tokio::test]
async fn test_money_never_takes_the_last_places() {
    let stage = Stage::with(1_000_000_000, |options| LedgerOptions {
        journal: JournalOptions { in_flight_max: 4, ..JournalOptions::default() },
        ..options
    })
    .await;
    let streaming = provider(Act::text("a b c"));
    let test = || routed(stage.call_in(Mode::Test, "model").streamed(), &[("model", "house")]);
    let live = || routed(stage.call("model").streamed(), &[("model", "house")]);
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(send(&stage, &streaming, test()).await.unwrap());
    }
    assert_eq!(send(&stage, &streaming, test()).await.err().unwrap().code(), Some("ledger_busy"));
    for _ in 0..2 {
        open.push(send(&stage, &streaming, live()).await.unwrap());
    }
    assert_eq!(send(&stage, &streaming, live()).await.err().unwrap().code(), Some("ledger_busy"));
    drop(open);
    stage.check().await;
}

/// Fails at these places while it is set.
struct FullDisk {
    set: std::sync::atomic::AtomicBool,
    places: &'static [Failpoint],
}

impl FullDisk {
    fn at(places: &'static [Failpoint]) -> Arc<Self> {
        Arc::new(Self { set: false.into(), places })
    }

    fn set(&self, set: bool) {
        self.set.store(set, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Failpoints for FullDisk {
    fn reached(&self, place: Failpoint) -> std::io::Result<()> {
        if self.places.contains(&place) && self.set.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_stops_service_and_nothing_is_lost() {
    full_disk(&[Failpoint::BeforeCommit]).await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_read_either_leaves_the_chain_whole() {
    full_disk(&[Failpoint::BeforeCommit, Failpoint::ReadingBack]).await;
}

async fn full_disk(places: &'static [Failpoint]) {
    let disk = FullDisk::at(places);
    let failpoints = Arc::clone(&disk);
    let stage = Stage::with(1_000_000_000, |options| LedgerOptions { failpoints, ..options }).await;
    // What is served first makes the accounts, so that no constraint stops a writer that posts to the wrong place.
    let provider = provider(Act::text("one two three four"));
    send(&stage, &provider, routed(stage.call("model"), &[("model", "house")])).await.unwrap();
    stage.settled().await;
    // A stream is running when the disk fills up.
    let running = send(&stage, &provider, routed(stage.call("model").streamed(), &[("model", "house")])).await.unwrap();
    disk.set(true);
    read_body(running).await;
    let fault = send(&stage, &provider, routed(stage.call("model"), &[("model", "house")])).await.err().unwrap();
    assert_eq!((fault.kind(), fault.status().as_u16()), (FaultKind::LedgerDown, 503));
    // While it lasts, refusals come from memory and reach no provider.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = provider.count();
    assert!(send(&stage, &provider, routed(stage.call("model"), &[("model", "house")])).await.is_err());
    assert_eq!(provider.count(), before);
    disk.set(false);
    while stage.ledger.journal_reading().down {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reply = send(&stage, &provider, routed(stage.call("model"), &[("model", "house")])).await.unwrap();
    assert_eq!(header(&reply, "x-bellwether-cost-usd"), "0.000052000");
    stage.check().await;
    // The stream that ended while the disk was full was charged too.
    assert_eq!(stage.available().await, 1_000_000_000 - 3 * 52_000);
}

#[tokio::test]
async fn counting_tokens_is_free() {
    let stage = Stage::new(0).await;
    let provider = provider(Act::text("ok"));
    let call = stage.call("unknown").with("operation", "count_tokens");
    let reply = send(&stage, &provider, routed(call, &[("unknown", "house")])).await.unwrap();
    assert_eq!(header(&reply, "x-bellwether-cost-usd"), "");
    assert_eq!(one(&stage, "SELECT COUNT(*) FROM hold").await, 0);
}

/// A streamed call to `model`, made by hand.
fn by_hand(stage: &Stage, deployment: &Arc<Deployment>, n: u8) -> AdmitRequest {
    let key = PriceKey { book: SELL_BOOK, provider: "house", upstream_model: "x", model: "model" };
    let now = stage.ledger.clock().unix_us();
    let price = stage.ledger.prices().lookup(key, now).unwrap().unwrap();
    AdmitRequest {
        id: gateway_core::RequestId::v7(1, [n; 10]),
        org: stage.org,
        key: gateway_core::KeyId::from_bytes([2; 16]),
        mode: gateway_core::Mode::Live,
        team: None,
        user: None,
        tag: None,
        plan: PinnedPlan::DEFAULT,
        requested_model: "model".into(),
        stream: true,
        received_at: now,
        candidates: [PricedCandidate { deployment: Arc::clone(deployment), price, cost: None }].into(),
        input: gateway_core::InputSize::default(),
        output: OutputAsk { limit: Some(4_000), choices: 1 },
        names_tier: false,
        max_total_cost: None,
        facts: None,
    }
}

#[tokio::test]
async fn only_what_was_paid_for_teaches_how_large_prompts_are() {
    let stage = Stage::new(1_000_000_000).await;
    stage.credit_in(Mode::Test, 1_000_000_000).await;
    let deployment = Arc::new(gateway_core::testing::deployment("model", "house"));
    let input = gateway_core::InputSize { text_bytes: 8_000, prompt_bytes: 8_000, ..gateway_core::InputSize::default() };
    let admit = |mode, n| {
        let request = AdmitRequest { mode, input, ..by_hand(&stage, &deployment, n) };
        stage.ledger.try_admit(&request).unwrap()
    };
    let held = || admit(Mode::Live, 0).amount().get();
    let usage = FinalUsage::Reported(Usage { input_uncached: Some(2_000), ..Usage::default() });
    let cautious = held();
    for (mode, first) in [(Mode::Test, 1), (Mode::Live, 101)] {
        for n in first..first + 64 {
            admit(mode, n).settle(&deployment, &usage);
        }
        match mode {
            Mode::Test => assert_eq!(held(), cautious, "test money costs nothing, so it may say anything"),
            Mode::Live => assert!(held() < cautious, "{cautious}"),
        }
    }
}

#[tokio::test]
async fn a_limit_is_held_for_in_full_where_no_maximum_is_known() {
    let stage = Stage::new(2_000_000_000).await;
    let mut deployment = gateway_core::testing::deployment("model", "house");
    let held = |deployment: &Deployment, limit, n| {
        let output = OutputAsk { limit, choices: 1 };
        let request = AdmitRequest { output, ..by_hand(&stage, &Arc::new(deployment.clone()), n) };
        let admission = stage.ledger.try_admit(&request).unwrap();
        (admission.amount().get(), admission.output_limit())
    };
    // At $8 per million tokens; the house's models end at 4,096.
    assert_eq!(held(&deployment, Some(128_000), 1), (4_096 * 8_000, 128_000));
    deployment.limits.output_tokens_max = None;
    assert_eq!(held(&deployment, Some(128_000), 2), (128_000 * 8_000, 128_000));
    // Without a limit of the caller's own, one is written that is paid for.
    let (amount, limit) = held(&deployment, None, 3);
    assert_eq!(amount, i64::from(limit) * 8_000);
    assert!(limit <= 32_768, "{limit}");
}

#[tokio::test]
async fn what_the_providers_own_tools_find_is_held_for_and_charged() {
    let stage = Stage::new(1_000_000_000).await;
    let deployment = Arc::new(gateway_core::testing::deployment("model", "house"));
    let reported = FinalUsage::Reported(Usage { input_uncached: Some(60_000), output_text: Some(10), ..Usage::default() });
    let settled = |uses, n| {
        let input = gateway_core::InputSize { text_bytes: 40, items: 1, provider_tool_uses: uses, ..Default::default() };
        let admission = stage.ledger.try_admit(&AdmitRequest { input, ..by_hand(&stage, &deployment, n) }).unwrap();
        (admission.amount().get(), admission.settle(&deployment, &reported).paid.get())
    };
    // Without such tools, no honest count is above what was sent.
    let (plain, cut) = settled(0, 1);
    assert_eq!(cut, (40 + 64 + 1_024) * 2_000 + 10 * 8_000);
    let (held, paid) = settled(20, 2);
    assert_eq!((held - plain, paid), (20 * 8_192 * 2_000, 60_000 * 2_000 + 10 * 8_000));
    assert!(held >= paid);
    stage.check().await;
}

fn seen(content_bytes: u64) -> PartialUsage {
    PartialUsage { usage: Usage { input_uncached: Some(10), ..Usage::default() }, content_bytes }
}

#[tokio::test]
async fn a_dropped_admission_settles_what_was_seen() {
    let stage = Stage::new(1_000_000_000).await;
    let deployment = Arc::new(gateway_core::testing::deployment("model", "house"));
    let admit = |n| stage.ledger.try_admit(&by_hand(&stage, &deployment, n)).unwrap();
    let admission = admit(1);
    admission.durable().await.unwrap();
    assert!(admission.progress(&deployment, seen(40)));
    drop(admission);
    drop(admit(2));
    stage.check().await;
    assert_eq!(stage.available().await, 1_000_000_000 - (20_000 + 80_000));
    // A request id is held once: the second row breaks a constraint and is refused alone.
    let twice = [admit(1), admit(3)];
    assert!(twice[0].durable().await.is_err());
    twice[1].durable().await.unwrap();
    drop(twice);
    stage.check().await;
    assert_eq!(stage.available().await, 1_000_000_000 - (20_000 + 80_000));
}

#[tokio::test]
async fn a_checkpoint_in_the_queue_gives_way_to_a_newer_one() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::at(folder.path(), 1_000_000_000).await;
    let deployment = Arc::new(gateway_core::testing::deployment("model", "house"));
    let admission = stage.ledger.try_admit(&by_hand(&stage, &deployment, 1)).unwrap();
    admission.durable().await.unwrap();
    for bytes in [0, 2_048, 4_096] {
        assert!(admission.progress(&deployment, seen(bytes)));
    }
    stage.ledger.flush().await;
    assert!(admission.progress(&deployment, seen(6_144)));
    assert!(admission.progress(&deployment, seen(8_000)));
    stage.ledger.flush().await;
    // As a kill would leave it: open, with what was last written.
    std::mem::forget(admission);
    stage.ledger.stop(Duration::ZERO).await;
    drop(stage);
    let ledger = open(folder.path(), |options| options).await;
    check(&ledger).await;
    let balance = ledger.balance("Acme", gateway_core::Mode::Live).await.unwrap();
    assert_eq!(balance.available.amount.get(), 1_000_000_000 - (20_000 + 2_000 * 8_000));
}
