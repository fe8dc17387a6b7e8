//! `cargo xtask bench`: what the gateway costs, measured against nginx as a plain proxy and against no proxy at all.
//!
//! What is measured runs on core 0, the mock provider and the load on core 1. Authentication, metering, the durable
//! ledger and metrics are on: a figure with them off is not a figure of ours. Every answer is checked.

mod machine;
mod nginx;
mod scenario;
mod table;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    gateway::{Gateway, Running},
    shell,
};
use machine::Watch;
use scenario::{Outcome, SCENARIOS, Scenario};

/// The core of what is measured, and that of everything else.
const CORES: [u32; 2] = [0, 1];

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// A short run of the debug build, to see that everything works; its figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Use the programs that are built already
    #[arg(long)]
    built: bool,
    /// Write the table to docs/benchmarks.md
    #[arg(long)]
    write: bool,
    /// Fail when a figure misses its target
    #[arg(long)]
    gate: bool,
    /// Rounds per scenario; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only scenarios whose name contains this
    #[arg(long)]
    only: Option<String>,
}

/// What stands between the load and the mock provider.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    url: String,
    /// Where streams go, if somewhere else.
    stream_url: String,
    key: String,
    /// The process whose CPU time and memory count; the mock itself has none of interest.
    pid: Option<u32>,
}

pub(crate) fn bench(options: &Options) -> Result<()> {
    let folder = shell::root().join("target/bench-run");
    // A database left over from an earlier run would make a "new" one old.
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let programs = Programs::build(options)?;
    let cores = shell::works("taskset", &["--version"]) && std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2);
    let core = |n: usize| cores.then_some(CORES[n]);
    let (_upstream, upstream_address) = upstream(&programs.bench, core(1))?;

    let config = scenario::config(&upstream_address);
    let home = folder.join("gateway");
    let gateway = Gateway::start(&programs.bellwether, &home, &config, core(0))?;
    let cold_new = gateway.ready_after;
    gateway.stop()?;
    let mut cold_existing = Vec::new();
    for _ in 1..options.rounds.max(1) {
        let again = Gateway::start(&programs.bellwether, &home, &config, core(0))?;
        cold_existing.push(again.ready_after);
        again.stop()?;
    }
    let gateway = Gateway::start(&programs.bellwether, &home, &config, core(0))?;
    cold_existing.push(gateway.ready_after);
    cold_existing.sort();
    let key = gateway.key("bench", Some("1000000"))?;

    let nginx = nginx::start(&folder.join("nginx"), &upstream_address, core(0))?;
    let mut subjects = vec![Subject::plain("direct", format!("http://{upstream_address}"), None)];
    match &nginx {
        Some(nginx) => {
            let plain = Subject::plain("nginx", nginx.url.clone(), Some(nginx.pid()));
            subjects.push(Subject { stream_url: nginx.stream_url.clone(), ..plain });
        }
        None => eprintln!("nginx is not installed: the ratios to it are left out"),
    }
    subjects.push(Subject { key, ..Subject::plain("bellwether", gateway.url(), Some(gateway.running.pid())) });

    let mut report = table::Report::new(machine::describe(&folder, cores)?, options.quick);
    report.cold_start(cold_new, cold_existing[cold_existing.len() / 2]);
    for scenario in SCENARIOS.iter().filter(|scenario| options.only.as_ref().is_none_or(|only| scenario.name.contains(only))) {
        let outcomes = measure(scenario, &subjects, &programs.bench, options, core(1))
            .with_context(|| format!("scenario `{}` has no figures. The gateway said last:\n{}", scenario.name, gateway.log_tail()))?;
        report.scenario(scenario, &outcomes);
    }
    gateway.stop()?;
    let text = report.render();
    println!("{text}");
    if options.write {
        if options.quick {
            bail!("--quick measures nothing worth writing down; leave one of --quick and --write out");
        }
        fs::write(shell::root().join("docs/benchmarks.md"), &text)?;
    }
    let missed = report.missed();
    if options.gate && !missed.is_empty() {
        bail!("targets missed: {}", missed.join("; "));
    }
    Ok(())
}

impl Subject {
    fn plain(name: &'static str, url: String, pid: Option<u32>) -> Self {
        Self { name, stream_url: url.clone(), url, key: "none".to_owned(), pid }
    }
}

struct Programs {
    bellwether: PathBuf,
    bench: PathBuf,
}

impl Programs {
    fn build(options: &Options) -> Result<Self> {
        let mut arguments = vec!["build", "--locked", "-p", "bellwether", "-p", "bench"];
        if !options.quick {
            arguments.push("--release");
        }
        if !options.built {
            shell::cargo(&arguments)?;
        }
        let folder = shell::target().join(if options.quick { "debug" } else { "release" });
        Ok(Self { bellwether: folder.join("bellwether"), bench: folder.join("bench") })
    }
}

/// The mock provider and its address.
fn upstream(program: &Path, core: Option<u32>) -> Result<(Running, String)> {
    let mut command = shell::pinned(program, core);
    command.arg("upstream").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running::start(command)?;
    let output = running.0.stdout.take().context("the mock provider has no output")?;
    let mut address = String::new();
    BufReader::new(output).read_line(&mut address)?;
    Ok((running, address.trim().to_owned()))
}

/// Rounds are interleaved, so that a disturbance of the machine meets everybody; the median round counts.
fn measure(
    scenario: &Scenario,
    subjects: &[Subject],
    program: &Path,
    options: &Options,
    core: Option<u32>,
) -> Result<Vec<(&'static str, Outcome)>> {
    let mut rounds: Vec<Vec<Outcome>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds.max(1) {
        for (subject, outcomes) in subjects.iter().zip(&mut rounds) {
            eprintln!("{} · {} · round {}", scenario.name, subject.name, round + 1);
            // Connections, caches and the learned sizes of things should be as they are after a minute, not a second.
            load(&scenario.warm_up(options.quick), subject, program, core)?;
            outcomes.push(load(&scenario.sized(options.quick), subject, program, core).with_context(|| subject.name)?);
        }
    }
    Ok(subjects.iter().zip(rounds).map(|(subject, outcomes)| (subject.name, scenario::median(outcomes))).collect())
}

fn load(arguments: &[String], subject: &Subject, program: &Path, core: Option<u32>) -> Result<Outcome> {
    let streams = arguments.iter().any(|argument| argument == "--stream");
    let url = if streams { &subject.stream_url } else { &subject.url };
    let mut command = shell::pinned(program, core);
    command.arg("load").args(["--target", url, "--key", &subject.key]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let watch = subject.pid.map(Watch::start).transpose()?;
    let output = command.spawn()?.wait_with_output()?;
    // What an answer leaves behind, such as its settlement, belongs to its cost.
    std::thread::sleep(Duration::from_millis(150));
    let used = watch.map(Watch::stop).transpose()?;
    if !output.status.success() {
        bail!("the load failed, see above");
    }
    let report = serde_json::from_slice(&output.stdout).context("the load's report is not JSON")?;
    Ok(Outcome { report, cpu: used.as_ref().map(|used| used.cpu), rss_kib_max: used.map(|used| used.rss_kib_max) })
}
