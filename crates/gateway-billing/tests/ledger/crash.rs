//! A child process serves calls and is killed, at named places and at odd moments; what its callers saw must be in the
//! books after the next start.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::stage::{Stage, check, open, routed};
use gateway_billing::{
    hold::HoldOptions,
    journal::{Failpoint, Failpoints},
    ledger::LedgerOptions,
};
use gateway_core::testing::{Act, ScriptedProvider, read_body};
use rusqlite::Connection;
use tower::{Service as _, ServiceExt as _};

const CHILD: &str = "LEDGER_CRASH_CHILD";

/// Kills the process when a place is reached for the nth time.
struct Kill {
    place: &'static str,
    left: AtomicUsize,
}

impl Failpoints for Kill {
    fn reached(&self, place: Failpoint) -> std::io::Result<()> {
        if format!("{place:?}") == self.place && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            std::process::abort();
        }
        Ok(())
    }
}

const PLACES: [&str; 6] = ["SettleTaken", "BeforeCommit", "AfterCommit", "Recovering", "Checkpointing", "none"];

/// Runs only when [`CHILD`] says so: `<place> <nth> <folder>`.
#[test]
#[expect(clippy::disallowed_methods, reason = "the child of this test is told by its environment that it is one")]
fn child() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let place = PLACES.into_iter().find(|place| order.starts_with(place)).unwrap();
    let rest = order.strip_prefix(place).unwrap().trim_start();
    let (nth, folder) = rest.split_once(' ').unwrap();
    let kill = Arc::new(Kill { place, left: AtomicUsize::new(nth.parse().unwrap()) });
    tokio::runtime::Runtime::new().unwrap().block_on(serve(Path::new(folder), kill));
}

#[expect(clippy::disallowed_methods, reason = "the tasks are joined below")]
async fn serve(folder: &Path, kill: Arc<Kill>) {
    let ledger = open(folder, |options| LedgerOptions { failpoints: kill, ..options }).await;
    let org = ledger.account("Acme").await.unwrap().id;
    let stage = Arc::new(Stage::on(tempfile::tempdir().unwrap(), ledger, org));
    let provider = Arc::new(ScriptedProvider::always("house", Act::text("one two three four").after(Duration::from_millis(3))));
    let pauses = Arc::new(tokio::sync::Barrier::new(8));
    let workers = (0..8u8).map(|worker| {
        let (stage, provider, pauses) = (Arc::clone(&stage), Arc::clone(&provider), Arc::clone(&pauses));
        tokio::task::spawn(async move {
            for n in 0u64.. {
                let mut random = [worker; 10];
                random[..4].copy_from_slice(&std::process::id().to_be_bytes());
                let id = gateway_core::RequestId::v7(1_795_435_200_000 + n, random);
                let call = stage.call("model").id(id).output_limit(50);
                let call = if n % 2 == 0 { call.streamed() } else { call };
                let options = HoldOptions { admission_wait: Duration::ZERO, strict_settle: worker % 2 == 0 };
                let mut stack = stage.stack(&provider, options);
                let reply = stack.ready().await.unwrap().call(routed(call, &[("model", "house")])).await.unwrap();
                say("seen", id);
                if n % 6 == 0 {
                    continue;
                }
                read_body(reply).await;
                say(if worker % 2 == 0 { "settled" } else { "seen" }, id);
                // A pause of all of them now and then lets the writer become idle and checkpoint.
                if n % 40 == 39 {
                    pauses.wait().await;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        })
    });
    futures_util::future::join_all(workers.collect::<Vec<_>>()).await;
}

fn say(what: &str, id: gateway_core::RequestId) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {id}").and_then(|()| out.flush()).unwrap();
}

/// The longest that a child may take to reach the place where it dies.
const PLACE_REACHED: Duration = Duration::from_secs(20);

/// Runs a child until it dies, or kills it after so long; returns what its callers saw.
fn run_child(folder: &Path, place: &str, nth: usize, kill_after: Option<Duration>) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture"])
        .env(CHILD, format!("{place} {nth} {}", folder.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || out.lines().map_while(Result::ok).collect::<Vec<_>>());
    let mut left = kill_after.unwrap_or(PLACE_REACHED);
    let mut died = false;
    while !died && !left.is_zero() {
        let nap = left.min(Duration::from_millis(10));
        std::thread::sleep(nap);
        left -= nap;
        died = child.try_wait().unwrap().is_some();
    }
    assert_eq!(died, kill_after.is_none(), "{place} must have killed the child, and nothing else");
    let _ = child.kill();
    child.wait().unwrap();
    reader.join().unwrap().into_iter().filter(|line| line.contains(" req_")).collect()
}

fn open_holds(folder: &Path) -> i64 {
    let connection = Connection::open(folder.join("ledger.db")).unwrap();
    connection.query_row("SELECT COUNT(*) FROM hold WHERE state = 0", [], |row| row.get(0)).unwrap()
}

fn compare(folder: &Path, lines: &[String]) {
    let connection = Connection::open(folder.join("ledger.db")).unwrap();
    for line in lines {
        // The harness may print its own words before the first line.
        let (what, id) = line.rsplit_once(' ').unwrap();
        let id: gateway_core::RequestId = id.parse().unwrap();
        let (state, amount, charge): (i64, i64, Option<i64>) = connection
            .query_row(
                "SELECT h.state, h.amount, s.charge FROM hold h LEFT JOIN settlement s ON s.hold = h.id WHERE h.id = ?1",
                [&id.as_bytes()[..]],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_ne!(state, 0, "{line}");
        assert!(charge.unwrap_or(0) <= amount, "{line}");
        if what.ends_with("settled") {
            assert_eq!((state, charge), (1, Some(52_000)), "{line}");
        }
    }
}

#[test]
fn whatever_a_caller_saw_is_in_the_books_after_a_kill() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let stage = Stage::at(folder.path(), 1_000_000_000_000).await;
        stage.ledger.stop(Duration::from_secs(1)).await;
    });
    let odd = [40, 130, 310].map(|ms| ("none", 1, Some(Duration::from_millis(700 + ms))));
    let named = [("SettleTaken", 9), ("BeforeCommit", 12), ("AfterCommit", 12), ("Recovering", 1), ("Checkpointing", 1)];
    let named = named.map(|(place, nth)| (place, nth, None));
    let mut seen = 0;
    for (place, nth, after) in named.into_iter().chain(odd) {
        if place == "Recovering" {
            // There must be something to recover, so this kill is not cleaned up after. With a settlement in hand its hold
            // is open in the database, unless both were in one batch.
            for nth in 9..19 {
                seen += run_child(folder.path(), "SettleTaken", nth, None).len();
                if open_holds(folder.path()) > 0 {
                    break;
                }
            }
        }
        let lines = run_child(folder.path(), place, nth, after);
        seen += lines.len();
        runtime.block_on(async {
            let ledger = open(folder.path(), |options| options).await;
            check(&ledger).await;
            ledger.stop(Duration::from_secs(1)).await;
        });
        compare(folder.path(), &lines);
    }
    assert!(seen > 100, "the children served only {seen} calls");
}
