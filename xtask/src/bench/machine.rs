//! What a process uses, and what the machine is.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::gateway::now;

/// How often memory and threads are looked at.
const EVERY: Duration = Duration::from_millis(20);

/// What a process used between two moments.
pub(crate) struct Used {
    pub(crate) cpu: Duration,
    pub(crate) rss_kib_max: u64,
}

/// Watches a process from the side.
pub(crate) struct Watch {
    pid: u32,
    before: HashMap<String, u64>,
    stop: Arc<AtomicBool>,
    side: JoinHandle<(HashMap<String, u64>, u64)>,
}

impl Watch {
    pub(crate) fn start(pid: u32) -> Result<Self> {
        let before = threads(pid)?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let side = std::thread::spawn(move || {
            let (mut last, mut rss_max) = (HashMap::new(), 0);
            while !asked.load(Ordering::Relaxed) {
                // A thread that ends takes its count with it, so the last reading of each is kept.
                last.extend(threads(pid).unwrap_or_default());
                rss_max = rss_max.max(rss_kib(pid).unwrap_or_default());
                sleep(EVERY);
            }
            (last, rss_max)
        });
        Ok(Self { pid, before, stop, side })
    }

    pub(crate) fn stop(self) -> Result<Used> {
        self.stop.store(true, Ordering::Relaxed);
        let (mut after, rss_kib_max) = self.side.join().map_err(|_panic| anyhow::anyhow!("the watching thread panicked"))?;
        after.extend(threads(self.pid)?);
        let used = after.iter().map(|(thread, time)| time - self.before.get(thread).copied().unwrap_or(0).min(*time)).sum();
        Ok(Used { cpu: Duration::from_nanos(used), rss_kib_max })
    }
}

/// Nanoseconds on a core, by thread: `/proc/PID/schedstat` itself counts the main thread only.
fn threads(pid: u32) -> Result<HashMap<String, u64>> {
    let mut times = HashMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))? {
        let path = entry?.path();
        // A thread may end while the list is read.
        let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
        let time = text.split_whitespace().next().and_then(|word| word.parse().ok()).context("schedstat holds no number")?;
        times.insert(path.display().to_string(), time);
    }
    Ok(times)
}

fn rss_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

/// The processor, the cores used, and how long the disk takes to make a page durable.
pub(crate) fn describe(folder: &Path, pinned: bool) -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut text = format!("{model}, {cores} cores");
    text.push_str(if pinned { "; the subject pinned to core 0, upstream and load to core 1" } else { "; nothing pinned" });
    write!(text, "; fsync of 4 KiB {:.2} ms (median of 50)", fsync(folder)?.as_secs_f64() * 1e3)?;
    Ok(text)
}

fn fsync(folder: &Path) -> Result<Duration> {
    let path = folder.join("fsync");
    let mut file = fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..50 {
        file.write_all(&[7; 4_096])?;
        let started = now();
        file.sync_data()?;
        times.push(started.elapsed());
    }
    fs::remove_file(path)?;
    times.sort();
    Ok(times[times.len() / 2])
}
