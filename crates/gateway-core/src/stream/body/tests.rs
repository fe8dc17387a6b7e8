use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use super::*;
use crate::usage::Usage;

/// One step of a scripted pump.
enum Step {
    Send(&'static str, Vec<Signal>),
    Silence(Duration),
    /// Not ready once, and wakes nobody: a connection that needs a turn before it hands over its next chunk.
    Turn,
    End(&'static str),
    /// Ends with content of its own.
    Last(&'static str, Vec<Signal>),
    Fail(FaultKind),
}

struct Script {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pump for Script {
    fn poll_pump(&mut self, cx: &mut Context<'_>, out: &mut VecDeque<Bytes>, emit: &mut dyn FnMut(Signal)) -> Poll<Pumped> {
        match self.steps.pop_front() {
            Some(Step::Send(text, signals)) => {
                out.push_back(Bytes::from_static(text.as_bytes()));
                signals.into_iter().for_each(emit);
                Poll::Ready(Pumped::More)
            }
            Some(Step::Silence(length)) => {
                let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(length)));
                if sleep.as_mut().poll(cx).is_ready() {
                    self.sleep = None;
                    return self.poll_pump(cx, out, emit);
                }
                self.steps.push_front(Step::Silence(length));
                Poll::Pending
            }
            Some(Step::Turn) => Poll::Pending,
            Some(Step::End(text)) => {
                out.push_back(Bytes::from_static(text.as_bytes()));
                Poll::Ready(Pumped::End)
            }
            Some(Step::Last(text, signals)) => {
                out.push_back(Bytes::from_static(text.as_bytes()));
                signals.into_iter().for_each(emit);
                Poll::Ready(Pumped::End)
            }
            Some(Step::Fail(kind)) => Poll::Ready(Pumped::Failed(Fault::new(kind, Origin::Provider, "scripted"))),
            None => Poll::Pending,
        }
    }

    fn interrupt(&mut self, fault: &Fault, out: &mut VecDeque<Bytes>) {
        out.push_back(Bytes::from(format!("!{}", fault.kind().as_str())));
    }

    fn keep_alive(&self) -> Bytes {
        Bytes::from_static(b":")
    }
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Delivery for Seen {
    fn delivered(&mut self, meter: &Meter) {
        let bytes = meter.read(|reading| reading.delivered_bytes);
        self.0.lock().expect("no test panics with it").push(format!("delivered {bytes}"));
    }

    fn ended(&mut self, end: StreamEnd, meter: &Meter) {
        let bytes = meter.read(|reading| reading.delivered_bytes);
        self.0.lock().expect("no test panics with it").push(format!("{end:?} {bytes}"));
    }
}

fn content(bytes: usize) -> Vec<Signal> {
    vec![Signal::Content { bytes }, Signal::Commit]
}

fn body(steps: Vec<Step>) -> (StreamBody, Seen) {
    let start = now();
    let limits = StreamLimits {
        first_chunk: start + Duration::from_secs(30),
        between_chunks: Duration::from_secs(60),
        deadline: start + Duration::from_secs(600),
        keep_alive: Duration::from_secs(15),
    };
    (StreamBody::new(Box::new(Script { steps: steps.into(), sleep: None }), Meter::new(), limits), Seen::default())
}

async fn next(body: &mut StreamBody) -> Option<String> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    let data = frame.expect("infallible").into_data().expect("a stream body has no trailers");
    Some(String::from_utf8(data.to_vec()).expect("scripts are text"))
}

async fn rest(body: &mut StreamBody) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(frame) = next(body).await {
        all.push(frame);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_fault_before_the_commit_is_an_error_and_nothing_goes_out() {
    let (mut body, _) = body(vec![Step::Send("role", vec![]), Step::Fail(FaultKind::Overloaded)]);
    let fault = body.commit().await.expect_err("it failed first");
    assert_eq!(fault.kind(), FaultKind::Overloaded);
    assert!(fault.work_began(), "the provider had answered with a stream");
}

#[tokio::test(start_paused = true)]
async fn a_fault_after_the_commit_is_the_protocols_own_error_event() {
    let (mut body, seen) = body(vec![Step::Send("a", content(1)), Step::Fail(FaultKind::UpstreamError)]);
    body.commit().await.expect("committed");
    body.watch(Box::new(seen.clone()));
    assert_eq!(rest(&mut body).await, ["a", "!upstream_error"]);
    assert_eq!(*seen.0.lock().unwrap(), ["delivered 1", "Failed(UpstreamError) 1", "delivered 1"]);
}

#[tokio::test(start_paused = true)]
async fn what_one_read_brought_goes_out_together() {
    let send = |text| Step::Send(text, content(1));
    let (mut body, seen) = body(vec![
        send("a"),
        send("b"),
        Step::Turn,
        send("c"),
        Step::Turn,
        send("d"),
        Step::Silence(Duration::from_millis(1)),
        send("e"),
        Step::Fail(FaultKind::UpstreamError),
    ]);
    body.commit().await.expect("committed");
    body.watch(Box::new(seen.clone()));
    // The first goes at once; then what comes without a pause; what was read before a fault is delivered before it.
    assert_eq!(rest(&mut body).await, ["a", "bcd", "e", "!upstream_error"]);
    assert_eq!(*seen.0.lock().unwrap(), ["delivered 1", "delivered 4", "delivered 5", "Failed(UpstreamError) 5", "delivered 5"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_a_limit_and_large_chunks_are_not_copied() {
    const LARGE: &str = match str::from_utf8(&[b'x'; BATCH_BYTES]) {
        Ok(text) => text,
        Err(_) => unreachable!(),
    };
    let send = |text| Step::Send(text, content(1));
    let small = (0..BATCH_READS_MAX + 1).map(|_| send("s"));
    let steps = [send("a"), send("b"), send(LARGE), send(LARGE)].into_iter().chain(small).chain([Step::End("$")]);
    let (mut body, _) = body(steps.collect());
    body.commit().await.expect("committed");
    let lengths: Vec<usize> = rest(&mut body).await.iter().map(String::len).collect();
    assert_eq!(lengths, [1, 1, BATCH_BYTES, BATCH_BYTES, BATCH_READS_MAX as usize, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_taken_is_not_delivered() {
    let (mut body, seen) = body(vec![Step::Send("aa", content(2)), Step::Send("bbb", content(3)), Step::End("$")]);
    body.commit().await.expect("committed");
    body.watch(Box::new(seen.clone()));
    assert_eq!(next(&mut body).await.as_deref(), Some("aa"));
    drop(body);
    assert_eq!(*seen.0.lock().unwrap(), ["delivered 2", "Dropped 2"]);
}

#[tokio::test(start_paused = true)]
async fn content_counts_as_delivered_while_the_end_waits_behind_it() {
    let send = |text, bytes| Step::Send(text, content(bytes));
    let steps = || vec![send("a", 1), send("bb", 2), Step::Send("usage", vec![])];
    for last in [Step::End("$"), Step::Fail(FaultKind::UpstreamError)] {
        let (mut body, seen) = body(steps().into_iter().chain([last]).collect());
        body.commit().await.expect("committed");
        body.watch(Box::new(seen.clone()));
        assert_eq!(next(&mut body).await.as_deref(), Some("a"));
        assert_eq!(next(&mut body).await.as_deref(), Some("bbusage"));
        drop(body);
        assert_eq!(*seen.0.lock().unwrap(), ["delivered 1", "delivered 3", "Dropped 3"]);
    }
}

#[tokio::test(start_paused = true)]
async fn content_that_the_end_brings_is_not_delivered_with_what_stood_before_it() {
    let send = |text, bytes| Step::Send(text, content(bytes));
    let (mut body, seen) = body(vec![send("a", 1), send("bb", 2), Step::Last("ccc$", content(3))]);
    body.commit().await.expect("committed");
    body.watch(Box::new(seen.clone()));
    assert_eq!(next(&mut body).await.as_deref(), Some("a"));
    assert_eq!(next(&mut body).await.as_deref(), Some("bb"));
    drop(body);
    assert_eq!(*seen.0.lock().unwrap(), ["delivered 1", "delivered 3", "Dropped 3"]);
}

#[tokio::test(start_paused = true)]
async fn the_end_is_told_once_and_before_the_last_bytes() {
    let (mut body, seen) = body(vec![Step::Send("a", content(1)), Step::End("$")]);
    body.commit().await.expect("committed");
    body.watch(Box::new(seen.clone()));
    assert_eq!(rest(&mut body).await, ["a", "$"]);
    drop(body);
    assert_eq!(*seen.0.lock().unwrap(), ["delivered 1", "Complete 1", "delivered 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_provider_is_given_up_at_the_first_byte_limit() {
    let (mut body, _) = body(vec![]);
    let start = now();
    assert_eq!(body.commit().await.expect_err("silent").kind(), FaultKind::Timeout);
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn silence_between_chunks_is_limited_before_and_after_the_commit() {
    for signals in [vec![], content(1)] {
        let (mut body, _) = body(vec![Step::Silence(Duration::from_secs(20)), Step::Send("a", signals)]);
        let start = now();
        let frames = match body.commit().await {
            Ok(()) => rest(&mut body).await,
            Err(fault) => vec![fault.kind().as_str().to_owned()],
        };
        assert_eq!(start.elapsed().as_secs(), 80, "{frames:?}");
        assert!(frames.last().is_some_and(|last| last.ends_with("timeout")), "{frames:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_silence_is_bridged_only_after_the_commit() {
    let (mut body, _) = body(vec![
        Step::Silence(Duration::from_secs(29)),
        Step::Send("a", content(1)),
        Step::Silence(Duration::from_secs(40)),
        Step::Send("b", content(1)),
        Step::End("$"),
    ]);
    body.commit().await.expect("committed");
    assert_eq!(rest(&mut body).await, ["a", ":", ":", "b", "$"]);
}

#[tokio::test(start_paused = true)]
async fn the_total_limit_ends_a_dripping_stream() {
    let drip = (0..40).flat_map(|_| [Step::Send("a", content(1)), Step::Silence(Duration::from_secs(20))]).collect();
    let (mut body, _) = body(drip);
    let start = now();
    body.commit().await.expect("committed");
    assert_eq!(rest(&mut body).await.last().map(String::as_str), Some("!timeout"));
    assert_eq!(start.elapsed().as_secs(), 600);
}

#[tokio::test(start_paused = true)]
async fn the_total_limit_ends_a_stream_that_never_pauses() {
    let (mut body, _) = body(["a", "b", "c"].map(|text| Step::Send(text, content(1))).into());
    assert_eq!(next(&mut body).await.as_deref(), Some("a"));
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(rest(&mut body).await, ["b", "!timeout"]);
}

#[tokio::test(start_paused = true)]
async fn cumulative_usage_overwrites() {
    let report = |n| Signal::Usage { usage: Usage { output_text: Some(n), ..Usage::default() }, is_final: n == 2 };
    let (mut body, _) = body(vec![Step::Send("a", vec![Signal::Commit, report(1)]), Step::Send("b", vec![report(2)]), Step::End("$")]);
    let meter = body.meter.clone();
    body.commit().await.expect("committed");
    assert!(!meter.read(|reading| reading.usage_final));
    rest(&mut body).await;
    assert_eq!(meter.read(|reading| (reading.usage.output_text, reading.usage_final)), (Some(2), true));
}
