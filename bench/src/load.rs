//! The load generator: closed loops, open loops, and a report.

mod connection;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use connection::{Connection, Target, Timing};

/// What to send.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Where to, such as `http://127.0.0.1:8080`
    #[arg(long)]
    target: String,
    /// The key sent as `Authorization: Bearer`
    #[arg(long, default_value = "none")]
    key: String,
    /// The model, which decides how the upstream behaves
    #[arg(long, default_value = "bench-plain")]
    model: String,
    /// Ask for streams
    #[arg(long)]
    stream: bool,
    /// Connections of a closed loop
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Requests a second of an open loop; the loop is closed without it
    #[arg(long)]
    rate: Option<f64>,
    /// How long to send
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How many requests to send at most
    #[arg(long)]
    requests: Option<u64>,
}

/// What came of it. Times are in microseconds, from the moment a request was due.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    requests: u64,
    seconds: f64,
    p50_us: u64,
    p95_us: u64,
    p99_us: u64,
    first_byte_p50_us: u64,
}

struct Run {
    options: Options,
    target: Target,
    sent: AtomicU64,
    base: u64,
    until: Instant,
    timings: Mutex<Vec<Timing>>,
}

impl Run {
    /// The number of the next request, or `None` when enough were sent.
    fn next(&self) -> Option<u64> {
        let nth = self.sent.fetch_add(1, Ordering::Relaxed);
        let enough = self.options.requests.is_some_and(|most| nth >= most) || now() >= self.until;
        (!enough).then_some(self.base + nth)
    }

    async fn exchange(&self, connection: &mut Connection, number: u64, due: Instant) -> Result<()> {
        let timing = connection.exchange(&self.target, &self.options.model, self.options.stream, number, due).await?;
        self.timings.lock().unwrap_or_else(PoisonError::into_inner).push(timing);
        Ok(())
    }
}

pub(crate) async fn run(options: Options) -> Result<Report> {
    let target = Target::parse(&options.target, &options.key)?;
    let mut connections = Vec::new();
    for n in 0..if options.rate.is_some() { 0 } else { options.connections } {
        connections.push(Connection::open(&target).await.with_context(|| format!("connection {n}"))?);
    }
    let started = now();
    let until = started + Duration::from_secs_f64(options.seconds);
    let base = fastrand::u64(0..1_000_000_000);
    let run = Arc::new(Run { target, sent: AtomicU64::new(0), base, until, timings: Mutex::default(), options });
    match run.options.rate {
        Some(rate) if rate > 0.0 => open_loop(&run, rate, started).await?,
        Some(rate) => bail!("--rate {rate} is not a rate"),
        None => closed_loop(&run, connections).await?,
    }
    let seconds = started.elapsed().as_secs_f64();
    let timings = std::mem::take(&mut *run.timings.lock().unwrap_or_else(PoisonError::into_inner));
    if timings.is_empty() {
        bail!("no request was sent");
    }
    let sorted = |of: fn(&Timing) -> Duration| {
        let mut all: Vec<u64> = timings.iter().map(|timing| u64::try_from(of(timing).as_micros()).unwrap_or(u64::MAX)).collect();
        all.sort_unstable();
        all
    };
    let (whole, first) = (sorted(|timing| timing.whole), sorted(|timing| timing.first_byte));
    Ok(Report {
        requests: whole.len() as u64,
        seconds,
        p50_us: percentile(&whole, 50),
        p95_us: percentile(&whole, 95),
        p99_us: percentile(&whole, 99),
        first_byte_p50_us: percentile(&first, 50),
    })
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// Every connection sends its next request when it has the last answer. All connections stand before the first request.
async fn closed_loop(run: &Arc<Run>, connections: Vec<Connection>) -> Result<()> {
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let run = Arc::clone(run);
        tasks.spawn(async move {
            while let Some(number) = run.next() {
                run.exchange(&mut connection, number, now()).await?;
            }
            Ok(())
        });
    }
    all(tasks).await
}

/// Requests leave on schedule whether or not earlier ones are answered; lateness counts as latency.
async fn open_loop(run: &Arc<Run>, rate: f64, started: Instant) -> Result<()> {
    let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
    let mut tasks = JoinSet::new();
    for nth in 0u32.. {
        let due = started + Duration::from_secs_f64(f64::from(nth) / rate);
        sleep_until(due).await;
        let Some(number) = run.next() else { break };
        let (run, idle) = (Arc::clone(run), Arc::clone(&idle));
        tasks.spawn(async move {
            let waiting = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match waiting {
                Some(connection) => connection,
                None => Connection::open(&run.target).await?,
            };
            run.exchange(&mut connection, number, due).await?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(())
        });
        while let Some(done) = tasks.try_join_next() {
            done??;
        }
    }
    all(tasks).await
}

async fn all(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a load generator measures real time")]
fn now() -> Instant {
    Instant::now()
}
