use std::time::Duration;

use gateway_core::{
    Attempt, AttemptEnd, AttemptLog, Candidate, Deployment, FaultKind, ModelLimits, Origin, PartialUsage, Provider, Retry, Timeouts, Usage,
    ir::Event, testing::*,
};
use proptest::prelude::*;
use tower::ServiceExt;

use super::*;
use crate::policy::HealthPolicy;

/// One provider per candidate, `p0`, `p1` …, each on a rank of its own and playing its acts.
struct Scene {
    router: Router,
    providers: Vec<Arc<ScriptedProvider>>,
    deployments: Vec<Arc<Deployment>>,
    /// The latest call's.
    log: Mutex<Arc<RecordingLog>>,
}

impl Scene {
    fn new(acts: Vec<Vec<Act>>) -> Self {
        Self::with(acts, |_, deployment| deployment)
    }

    fn with(acts: Vec<Vec<Act>>, edit: impl Fn(usize, Deployment) -> Deployment) -> Self {
        let provider = |(n, acts): (usize, Vec<Act>)| Arc::new(ScriptedProvider::new(&format!("p{n}")).first(acts));
        let providers: Vec<_> = acts.into_iter().enumerate().map(provider).collect();
        let deployments = (0..providers.len()).map(|n| Arc::new(edit(n, deployment(&format!("m{n}"), &format!("p{n}"))))).collect();
        let registry = Providers::new(providers.iter().map(|provider| Arc::clone(provider) as Arc<dyn Provider>));
        let router = Router::with_policy(registry, Health::default(), Arc::new(TestClock::new()), RetryPolicy::default(), 7);
        Self { router, providers, deployments, log: Mutex::default() }
    }

    fn admitted(&self, call: TestCall) -> Admitted {
        let candidates = (0..).zip(&self.deployments).map(|(rank, place)| Candidate { rank, deployment: Arc::clone(place) });
        let log = Arc::new(RecordingLog::new());
        *self.log.lock() = Arc::clone(&log);
        Admitted { routed: Routed { call: call.build(), candidates: candidates.collect() }, output_limit: Some(77), log }
    }

    async fn run(&self, call: TestCall) -> Result<Reply, Fault> {
        let result = self.router.clone().oneshot(self.admitted(call)).await;
        self.log().check().expect("each attempt is started once and ended once");
        result
    }

    /// The same where nothing may start at `closed`.
    async fn run_guarded(&self, closed: &'static [&'static str]) -> Result<Reply, Fault> {
        let guard = Arc::new(Guarding { log: RecordingLog::new(), closed });
        let admitted = Admitted { log: Arc::clone(&guard) as Arc<dyn AttemptLog>, ..self.admitted(TestCall::to("m0")) };
        let result = self.router.clone().oneshot(admitted).await;
        guard.log.check().expect("each attempt is started once and ended once");
        result
    }

    fn log(&self) -> Arc<RecordingLog> {
        Arc::clone(&self.log.lock())
    }

    fn counts(&self) -> Vec<usize> {
        self.providers.iter().map(|provider| provider.count()).collect()
    }
}

/// Lets nothing start at some deployments, and lets the others write one token.
struct Guarding {
    log: RecordingLog,
    closed: &'static [&'static str],
}

impl AttemptLog for Guarding {
    fn may_start(&self, attempt: &mut Attempt) -> Result<(), Fault> {
        attempt.output_limit = Some(1);
        if !self.closed.contains(&attempt.deployment.provider.as_str()) {
            return Ok(());
        }
        Err(Fault::new(FaultKind::InsufficientFunds, Origin::Caller, "too dear").with_code("guarded").with_detail("most", 7))
    }

    fn started(&self, attempt: &Attempt) {
        self.log.started(attempt);
    }

    fn ended(&self, ordinal: u32, end: AttemptEnd, seen: &PartialUsage) {
        self.log.ended(ordinal, end, seen);
    }
}

fn next(kind: FaultKind) -> Act {
    Act::fails(kind, Retry::NextDeployment)
}

fn again(kind: FaultKind) -> Act {
    Act::fails(kind, Retry::SameDeployment)
}

fn never(kind: FaultKind) -> Act {
    Act::fails(kind, Retry::Never)
}

fn limited(retry_after_s: u64) -> Act {
    let fault = Fault::new(FaultKind::RateLimited, Origin::Provider, "slow down").with_retry(Retry::SameDeployment);
    Act::fault(fault.with_retry_after(Some(Duration::from_secs(retry_after_s))))
}

/// A stream that fails before it has any content.
fn early_error(kind: FaultKind) -> Act {
    let start = Event::Start { id: None, model: None, created: None };
    let fault = Fault::new(kind, Origin::Provider, "in the stream").with_retry(Retry::NextDeployment);
    Act::stream(vec![Beat::Event(start), Beat::Event(Event::Fault(fault))])
}

/// Runs whole and streamed, and compares the attempts made at each provider and how it ended.
async fn check(acts: Vec<Vec<Act>>, expected: &[usize], end: &str) {
    for call in [TestCall::to("m0"), TestCall::to("m0").streamed()] {
        let scene = Scene::new(acts.clone());
        let result = scene.run(call).await;
        let ended = match &result {
            Ok(reply) => reply.head.deployment.as_ref().map_or("nowhere", |place| place.provider.as_str()).to_owned(),
            Err(fault) => fault.kind().as_str().to_owned(),
        };
        assert_eq!((scene.counts().as_slice(), ended.as_str()), (expected, end), "{:?}", scene.log().lines());
    }
}

#[tokio::test]
async fn what_may_not_start_is_passed_over_and_said_if_nothing_serves() {
    let fails = || vec![next(FaultKind::UpstreamError)];
    let scene = Scene::new(vec![fails(), vec![], vec![]]);
    let reply = scene.run_guarded(&["p1"]).await.expect("the last one serves");
    assert_eq!((reply.head.attempts, scene.counts()), (2, vec![1, 0, 1]));
    assert_eq!(scene.providers[2].seen()[0].output_limit, Some(1), "it was made smaller");

    let scene = Scene::new(vec![fails(), vec![]]);
    let fault = scene.run_guarded(&["p1"]).await.err().expect("nothing is left");
    assert_eq!((fault.kind(), scene.counts()), (FaultKind::UpstreamError, vec![1, 0]));
    let details: Vec<_> = fault.details().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let attempts = r#"attempts=["p0/m0-upstream: upstream_error"]"#;
    assert_eq!(details, [attempts, r#"stopped_by="guarded""#, r#"detail="too dear""#, "most=7"]);

    let fault = scene.run_guarded(&["p0", "p1"]).await.err().expect("nothing may start");
    assert_eq!((fault.code(), fault.tried().map(|tried| tried.attempts)), (Some("guarded"), Some(0)));
    assert_eq!(scene.counts(), vec![1, 0]);
}

#[tokio::test(start_paused = true)]
async fn faults_decide_what_is_tried_next() {
    use FaultKind::*;
    let ok = || Act::text("fine");
    check(vec![vec![ok()]], &[1], "p0").await;
    check(vec![vec![next(Unavailable)], vec![ok()]], &[1, 1], "p1").await;
    check(vec![vec![again(Overloaded), ok()], vec![ok()]], &[2, 0], "p0").await;
    check(vec![vec![again(Overloaded), again(Overloaded)], vec![ok()]], &[2, 1], "p1").await;
    check(vec![vec![never(InvalidRequest)], vec![ok()]], &[1, 0], "invalid_request").await;
    check(vec![vec![next(Unavailable)], vec![never(ContentFiltered)], vec![ok()]], &[1, 1, 0], "content_filtered").await;
    check(vec![vec![next(CallerGone)], vec![ok()]], &[1, 0], "caller_gone").await;
    check(vec![vec![next(Unavailable)], vec![next(BadUpstream)]], &[1, 1], "bad_upstream").await;
    check(vec![vec![again(UpstreamError); 9]; 5], &[2, 2, 2, 0, 0], "upstream_error").await;
    check(vec![vec![limited(5), ok()], vec![ok()]], &[2, 0], "p0").await;
    check(vec![vec![limited(6), ok()], vec![ok()]], &[1, 1], "p1").await;
    check(vec![vec![limited(6), ok()]], &[1], "rate_limited").await;
    check(vec![vec![early_error(Overloaded)], vec![ok()]], &[1, 1], "p1").await;
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_too_long_goes_only_to_larger_windows() {
    let windows = [Some(100), Some(100), None, Some(50), Some(200), Some(400)];
    let too_long = || vec![never(FaultKind::ContextLength)];
    let acts = vec![too_long(), too_long(), too_long(), too_long(), too_long(), vec![Act::text("fits")]];
    let scene =
        Scene::with(acts, |n, place| Deployment { limits: ModelLimits { output_tokens_max: None, context_window: windows[n] }, ..place });
    scene.run(TestCall::to("m0")).await.expect("the last one is large enough");
    assert_eq!(scene.counts(), [1, 0, 0, 0, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_the_story_and_the_reply_what_it_took() {
    let usage = Usage { input_uncached: Some(9), ..Usage::default() };
    let start = Event::Start { id: None, model: None, created: None };
    let fault = Fault::new(FaultKind::Overloaded, Origin::Provider, "busy").with_retry(Retry::NextDeployment);
    let half = Act::stream(vec![
        Beat::Event(start),
        Beat::Event(Event::Usage { usage: usage.clone(), is_final: false }),
        Beat::Wait(Duration::from_secs(2)),
        Beat::Event(Event::Fault(fault)),
    ]);
    let scene =
        Scene::new(vec![vec![limited(3).after(Duration::from_secs(1)), half], vec![Act::text("fine").after(Duration::from_secs(4))]]);
    let mut reply = scene.run(TestCall::to("m0").streamed()).await.expect("the second one serves");
    assert_eq!(
        scene.log().lines(),
        [
            "1 > m0@p0/m0-upstream",
            "1 failed rate_limited - nothing",
            "2 > m0@p0/m0-upstream",
            "2 failed overloaded - work",
            "3 > m1@p1/m1-upstream",
            "3 served"
        ]
    );
    let entries = scene.log().entries();
    let LogEntry::Ended { seen, .. } = &entries[3] else { panic!("the fourth entry is an end") };
    assert_eq!(seen, &PartialUsage { usage, content_bytes: 0 });
    assert_eq!(reply.head.attempts, 3);
    // 1 s, a pause of 3 s and up to 250 ms of jitter, 2 s, 4 s.
    assert!((10_000..10_250).contains(&reply.head.upstream_wait.as_millis()), "{:?}", reply.head.upstream_wait);
    assert_eq!(scene.providers[1].seen()[0].output_limit, Some(77));
    reply.commit().await.expect("it is past the commit point");
    let counts: Vec<_> = scene.router.providers().attempts().into_iter().filter(|count| count.count > 0).collect();
    let shown: Vec<_> = counts.iter().map(|count| format!("{} {} {}", count.provider, count.outcome, count.count)).collect();
    assert_eq!(shown, ["p0 overloaded 1", "p0 rate_limited 1", "p1 served 1"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_fault_lists_every_attempt() {
    let scene = Scene::new(vec![vec![next(FaultKind::Unavailable)], vec![again(FaultKind::Overloaded), next(FaultKind::RateLimited)]]);
    let fault = scene.run(TestCall::to("m0")).await.map(drop).expect_err("all fail");
    assert_eq!(fault.kind(), FaultKind::RateLimited);
    let (name, attempts) = &fault.details()[0];
    let shown = attempts.as_array().expect("it is a list").iter().map(|line| line.as_str().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(*name, "attempts");
    assert_eq!(shown, ["p0/m0-upstream: unavailable", "p1/m1-upstream: overloaded", "p1/m1-upstream: rate_limited"]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_tells_how_far_its_call_came() {
    let told = |fault: &Fault| {
        let tried = fault.tried().expect("routing knows");
        let last = tried.last.as_ref().map_or("nowhere", |place| place.provider.as_str()).to_owned();
        (tried.attempts, last, tried.upstream_wait.as_secs())
    };
    let slow = |act: Act| act.after(Duration::from_secs(2));
    let acts = vec![vec![slow(next(FaultKind::Unavailable))], vec![slow(never(FaultKind::ContentFiltered))], vec![]];
    let fault = Scene::new(acts).run(TestCall::to("m0")).await.map(drop).expect_err("all fail");
    assert_eq!(told(&fault), (2, "p1".to_owned(), 4));

    let hangs = Scene::new(vec![vec![Act::hang()], vec![]]);
    let fault = hangs.run(TestCall::to("m0").within(Duration::from_secs(20))).await.map(drop).expect_err("it hangs");
    assert_eq!(told(&fault), (1, "p0".to_owned(), 20));

    let down = Scene::new(vec![vec![next(FaultKind::Unavailable); 3]]);
    for expected in [(1, "p0"), (1, "p0"), (1, "p0"), (0, "nowhere")] {
        let fault = down.run(TestCall::to("m0")).await.map(drop).expect_err("it is down, then it rests");
        assert_eq!(told(&fault), (expected.0, expected.1.to_owned(), 0), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_calls_deadline_ends_everything() {
    let scene = Scene::new(vec![vec![Act::hang()], vec![Act::text("too late")]]);
    let start = TestClock::new().monotonic();
    let fault = scene.run(TestCall::to("m0").within(Duration::from_secs(20))).await.map(drop).expect_err("it hangs");
    assert_eq!((fault.kind(), start.elapsed().as_secs()), (FaultKind::Timeout, 20));
    assert_eq!(scene.log().lines(), ["1 > m0@p0/m0-upstream", "1 abandoned"]);
    assert_eq!((scene.counts(), scene.providers[0].in_flight()), (vec![1, 0], 0));
}

#[tokio::test(start_paused = true)]
async fn a_deployments_shorter_total_leaves_time_for_the_next() {
    let short = Timeouts { total: Duration::from_secs(5), ..Timeouts::default() };
    let scene = Scene::with(vec![vec![Act::hang()], vec![Act::text("in time")]], |n, place| Deployment {
        timeouts: if n == 0 { short } else { Timeouts::default() },
        ..place
    });
    let reply = scene.run(TestCall::to("m0")).await.expect("the second one serves");
    assert_eq!((reply.head.attempts, reply.head.upstream_wait.as_secs()), (2, 5));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_sent_when_there_is_no_time_for_it() {
    let total = |seconds| Timeouts { total: Duration::from_secs(seconds), ..Timeouts::default() };
    let slow = || vec![next(FaultKind::Unavailable).after(Duration::from_secs(4))];
    let scene =
        Scene::with(vec![slow(), slow(), vec![Act::text("in time")]], |n, place| Deployment { timeouts: total([600, 3, 600][n]), ..place });
    scene.run(TestCall::to("m0")).await.expect("the third one has the time");
    assert_eq!(scene.counts(), [1, 0, 1]);
    let scene = Scene::new(vec![slow(), slow(), slow()]);
    let fault = scene.run(TestCall::to("m0").within(Duration::from_secs(8))).await.map(drop).expect_err("no time is left");
    // What went wrong says more than that time ran out.
    assert_eq!((scene.counts(), fault.kind()), (vec![1, 1, 0], FaultKind::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn no_pause_runs_past_the_deadline() {
    let scene = Scene::new(vec![vec![limited(4); 3], vec![Act::text("at once")]]);
    let reply = scene.run(TestCall::to("m0").within(Duration::from_secs(3))).await.expect("the second one serves");
    assert_eq!((scene.counts(), reply.head.upstream_wait), (vec![1, 1], Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_stops_the_provider_and_the_log_knows() {
    let slow = Act::stream(vec![Beat::Hang]);
    for (act, call) in [(Act::hang(), TestCall::to("m0")), (slow, TestCall::to("m0").streamed()), (limited(5), TestCall::to("m0"))] {
        let scene = Scene::new(vec![vec![act]]);
        let gone = tokio::time::timeout(Duration::from_secs(1), scene.run(call)).await;
        assert!(gone.is_err());
        assert_eq!(scene.log().check(), Ok(()), "{:?}", scene.log().lines());
        assert_eq!(scene.providers[0].in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_provider_closes_its_attempt() {
    let scene = Scene::new(vec![vec![Act::panic()]]);
    let admitted = scene.admitted(TestCall::to("m0"));
    let router = scene.router.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { router.oneshot(admitted).await.map(drop) });
    assert!(tasks.join_next().await.expect("one task").is_err_and(|error| error.is_panic()));
    assert_eq!(scene.log().lines(), ["1 > m0@p0/m0-upstream", "1 abandoned"]);
    assert_eq!(scene.providers[0].in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_resting_deployment_is_not_asked_until_one_probe_finds_it_well() {
    let scene = Scene::new(vec![vec![next(FaultKind::Unavailable); 3], vec![]]);
    for _ in 0..10 {
        scene.run(TestCall::to("m0")).await.expect("the second one serves");
    }
    assert_eq!(scene.counts(), [3, 10]);
    assert_eq!(scene.router.health().snapshot().len(), 1);
    tokio::time::advance(HealthPolicy::default().rest_first).await;
    scene.run(TestCall::to("m0")).await.expect("the probe serves");
    assert_eq!(scene.counts(), [4, 10]);
    assert_eq!(scene.router.health().snapshot(), []);
}

#[tokio::test(start_paused = true)]
async fn test_calls_neither_see_nor_change_health() {
    let scene = Scene::new(vec![vec![next(FaultKind::Unavailable); 5]]);
    for _ in 0..5 {
        scene.run(TestCall::to("m0").test_mode()).await.map(drop).expect_err("it fails");
    }
    assert_eq!((scene.counts(), scene.router.health().snapshot()), (vec![5], vec![]));
    scene.run(TestCall::to("m0")).await.expect("live calls are not touched");
}

#[tokio::test(start_paused = true)]
async fn when_all_rest_a_call_waits_a_little_or_learns_when_to_come_back() {
    let scene = Scene::new(vec![vec![next(FaultKind::Unavailable); 3]]);
    for _ in 0..3 {
        scene.run(TestCall::to("m0")).await.map(drop).expect_err("it fails");
    }
    let fault = scene.run(TestCall::to("m0")).await.map(drop).expect_err("it rests for ten seconds");
    assert_eq!(
        (fault.kind(), fault.code(), fault.retry_after()),
        (FaultKind::NoDeployment, Some("no_deployment"), Some(Duration::from_secs(10)))
    );
    tokio::time::advance(Duration::from_secs(6)).await;
    let waited = scene.run(TestCall::to("m0")).await.expect("it wakes in four seconds");
    assert_eq!(waited.head.upstream_wait.as_secs(), 4);
    assert_eq!(scene.counts(), [4]);
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_the_end_of_anothers_probe() {
    let scene = Scene::new(vec![vec![next(FaultKind::Unavailable); 3]]);
    for _ in 0..3 {
        scene.run(TestCall::to("m0")).await.map(drop).expect_err("it fails");
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    scene.providers[0].then(Act::text("well again").after(Duration::from_secs(2)));
    let calls = (0..5).map(|_| scene.router.clone().oneshot(scene.admitted(TestCall::to("m0"))));
    let replies = futures_util::future::join_all(calls).await;
    assert!(replies.iter().all(Result::is_ok));
    assert_eq!((scene.providers[0].count(), scene.providers[0].in_flight_most()), (8, 1));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_the_caller_shortened_does_not_rest_the_deployment() {
    let scene = Scene::new(vec![vec![next(FaultKind::Timeout).after(Duration::from_secs(1)); 5]]);
    for _ in 0..5 {
        scene.run(TestCall::to("m0")).await.map(drop).expect_err("it is cut off");
    }
    assert_eq!(scene.router.health().snapshot(), []);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_was_taken_away_is_passed_over() {
    let scene = Scene::new(vec![vec![], vec![]]);
    scene.router.providers().swap([Arc::clone(&scene.providers[1]) as Arc<dyn Provider>]);
    scene.run(TestCall::to("m0")).await.expect("the second one serves");
    scene.router.providers().swap([]);
    let fault = scene.run(TestCall::to("m0")).await.map(drop).expect_err("nobody is left");
    assert_eq!(fault.kind(), FaultKind::NoDeployment);
}

#[tokio::test(start_paused = true)]
async fn nothing_reaches_the_caller_of_a_stream_that_failed_before_its_content() {
    let scene = Scene::new(vec![vec![early_error(FaultKind::UpstreamError)], vec![Act::text("clean")]]);
    let reply = scene.run(TestCall::to("m0").streamed()).await.expect("the second one serves");
    let text = read_body(reply).await;
    let text = std::str::from_utf8(&text).expect("it is text");
    assert_eq!(text.matches("\"start\"").count(), 1, "{text}");
    assert!(text.contains("clean") && !text.contains("fault"), "{text}");
}

#[derive(Debug, Clone)]
enum Random {
    Act(u8, u16),
    Leave(u16),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Any script, any moment of leaving: the log balances, nothing stays in flight, and the limits hold.
    #[test]
    fn every_attempt_is_recorded_once(
        script in prop::collection::vec(prop::collection::vec((0u8..9, 0u16..4_000).prop_map(|(act, ms)| Random::Act(act, ms)), 0..4), 1..5),
        leave in prop_oneof![Just(None), (0u16..20_000).prop_map(|ms| Some(Random::Leave(ms)))],
        streamed: bool,
        test: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let play = |random: &Random| {
                let Random::Act(act, ms) = random else { return Act::text("fine") };
                let act = match act {
                    0 => Act::text("fine"),
                    1 => next(FaultKind::Unavailable),
                    2 => again(FaultKind::Overloaded),
                    3 => limited(2),
                    4 => limited(9),
                    5 => Act::hang(),
                    6 => early_error(FaultKind::UpstreamError),
                    7 => never(FaultKind::ContextLength),
                    _ => Act::stream(vec![Beat::Hang]),
                };
                act.after(Duration::from_millis(u64::from(*ms)))
            };
            let scene = Scene::new(script.iter().map(|acts| acts.iter().map(play).collect()).collect());
            let mut call = TestCall::to("m0").within(Duration::from_secs(60));
            if streamed { call = call.streamed(); }
            if test { call = call.test_mode(); }
            let patience = match leave { Some(Random::Leave(ms)) => Duration::from_millis(u64::from(ms)), _ => Duration::from_secs(3_600) };
            let result = tokio::time::timeout(patience, scene.run(call)).await;
            let attempts: usize = scene.counts().iter().sum();
            assert!(attempts <= 6 && scene.counts().iter().all(|count| *count <= 2));
            if let Ok(Ok(reply)) = &result {
                assert_eq!(usize::try_from(reply.head.attempts).expect("few"), attempts);
            }
            drop(result);
            assert_eq!(scene.log().check(), Ok(()));
            let served = scene.log().entries().iter().filter(|entry| matches!(entry, LogEntry::Ended { end: AttemptEnd::Served, .. })).count();
            assert!(served <= 1);
            assert!(scene.providers.iter().all(|provider| provider.in_flight() == 0));
        });
    }
}
