//! The speed that the ledger promises, measured and compared with the promise; a figure that misses it ends the run with 1.
//!
//! `cargo bench -p gateway-billing --bench gates`. Every commit is synced to the disk (`synchronous = FULL`).

#[path = "support/stage.rs"]
mod stage;

use std::{
    process::ExitCode,
    sync::{Arc, Barrier},
    time::Duration,
};

use gateway_billing::{
    hold::{Billing as _, FinalUsage, Refusal, ReleaseReason},
    journal::JournalOptions,
    ledger::{Ledger, LedgerOptions},
};
use gateway_core::{Clock as _, PartialUsage, SystemClock, Usage, testing::deployment};
use stage::{open, request};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const THREADS: usize = 8;
const ADMISSIONS: usize = 20_000;
const ADMIT_P99_MAX: Duration = Duration::from_micros(20);
/// What else a thread does for the same call; the whole of it costs more (docs/benchmarks.md).
const REST_OF_A_CALL: Duration = Duration::from_micros(50);

const PAIRS: usize = 60_000;
const PAIRS_A_SECOND_MIN: f64 = 5_000.0;
/// As many as a node has slots for at once would be held together; this is a busy hour's usual crowd.
const CROWD: usize = 1_000;

const OPEN_HOLDS: usize = 100_000;
const RECOVERY_MAX: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let runtime = Runtime::new().expect("a runtime");
    let met = [admit(&runtime), pairs(&runtime), recovery(&runtime)];
    if met.iter().all(|met| *met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "this is a report")]
fn told(what: &str, figure: &str, promise: &str, met: bool) -> bool {
    println!("{}: {what}: {figure} (promised: {promise})", if met { "met" } else { "MISSED" });
    met
}

/// What a caller waits for in memory, while as many others as there are threads do the same in the same account, one call after
/// another without a pause.
fn admit(runtime: &Runtime) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, org) = runtime.block_on(open(in_folder(&folder)));
    let (at, start) = (Arc::new(deployment("model", "house")), Barrier::new(THREADS));
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let run = || {
            let mut took = Vec::with_capacity(ADMISSIONS);
            start.wait();
            while took.len() < ADMISSIONS {
                let request = request(&ledger, org, &at);
                let began = SystemClock.monotonic();
                let admitted = ledger.try_admit(&request);
                let elapsed = began.elapsed();
                match admitted {
                    Ok(admission) => {
                        took.push(elapsed);
                        let rest = SystemClock.monotonic();
                        while rest.elapsed() < REST_OF_A_CALL {
                            std::hint::spin_loop();
                        }
                        admission.release(ReleaseReason::Failed);
                    }
                    // The writer is behind. A gateway sends such a caller away; here it is asked again.
                    Err(Refusal::Ledger(_)) => std::thread::sleep(Duration::from_millis(1)),
                    Err(other) => panic!("{other:?}"),
                }
            }
            took
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    runtime.block_on(ledger.stop(Duration::from_secs(30)));
    took.sort_unstable();
    let at = |per_mille: usize| took[(took.len() - 1) * per_mille / 1_000];
    let figure = format!("p50 {:?}, p99 {:?}, p99.9 {:?} of {} at {THREADS} threads", at(500), at(990), at(999), took.len());
    told("admit", &figure, &format!("p99 below {ADMIT_P99_MAX:?}"), at(990) < ADMIT_P99_MAX)
}

/// Requests held and settled, each hold written before its settlement, until all of it is on the disk.
fn pairs(runtime: &Runtime) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, org) = runtime.block_on(open(in_folder(&folder)));
    let at = Arc::new(deployment("model", "house"));
    let usage = FinalUsage::Reported(Usage { input_uncached: Some(500), output_text: Some(200), ..Usage::default() });
    let began = SystemClock.monotonic();
    runtime.block_on(async {
        let crowd = (0..CROWD).map(|_| {
            let (ledger, at, usage) = (&ledger, &at, &usage);
            async move {
                for _ in 0..PAIRS / CROWD {
                    let admission = ledger.try_admit(&request(ledger, org, at)).expect("room for the crowd");
                    admission.durable().await.expect("a writable disk");
                    admission.settle(at, usage);
                }
            }
        });
        futures_util::future::join_all(crowd).await;
        ledger.flush().await;
    });
    let a_second = PAIRS as f64 / began.elapsed().as_secs_f64();
    runtime.block_on(ledger.stop(Duration::from_secs(30)));
    let figure = format!("{a_second:.0} a second, {CROWD} at once");
    told("hold and settle", &figure, &format!("at least {PAIRS_A_SECOND_MIN:.0}"), a_second >= PAIRS_A_SECOND_MIN)
}

fn in_folder(folder: &TempDir) -> LedgerOptions {
    LedgerOptions::at(folder.path().join("ledger.db"))
}

/// A start that finds holds of a killed process, half of them with a checkpoint.
fn recovery(runtime: &Runtime) -> bool {
    let (before, after) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let journal = JournalOptions { in_flight_max: 2 * OPEN_HOLDS, queue_max: 2 * OPEN_HOLDS };
    let (ledger, org) = runtime.block_on(open(LedgerOptions { journal, ..in_folder(&before) }));
    let at = Arc::new(deployment("model", "house"));
    let open: Vec<_> = (0..OPEN_HOLDS).map(|_| ledger.try_admit(&request(&ledger, org, &at)).expect("room for all")).collect();
    let usage = Usage { input_uncached: Some(500), ..Usage::default() };
    for admission in open.iter().step_by(2) {
        admission.progress(&at, PartialUsage { usage: usage.clone(), content_bytes: 400 });
    }
    runtime.block_on(ledger.flush());
    // What is on the disk now is what a kill would leave.
    for file in std::fs::read_dir(before.path()).expect("a readable folder").map(|file| file.expect("a readable folder")) {
        // The index of the log is made anew, and the lock is its owner's.
        if !["-shm", ".lock"].iter().any(|end| file.file_name().to_string_lossy().ends_with(end)) {
            std::fs::copy(file.path(), after.path().join(file.file_name())).expect("room on the disk");
        }
    }
    let began = SystemClock.monotonic();
    let found = runtime.block_on(Ledger::open(in_folder(&after))).expect("the database of a process that was killed");
    let took = began.elapsed();
    let report = runtime.block_on(found.verify()).expect("a readable database");
    assert!(report.ok && report.open_holds == 0 && found.recovered().settled == OPEN_HOLDS / 2, "{report:#?}");
    runtime.block_on(found.stop(Duration::from_secs(30)));
    drop(open);
    told("recovery", &format!("{OPEN_HOLDS} open holds in {took:.2?}"), &format!("below {RECOVERY_MAX:?}"), took < RECOVERY_MAX)
}
