//! The report: one table, with the targets beside the figures.

use std::{fmt::Write as _, time::Duration};

use super::scenario::{Outcome, Scenario, Target};

const DIRECT: &str = "direct";
const NGINX: &str = "nginx";
const OURS: &str = "bellwether";

/// The longest a start with an existing database may take.
const COLD_START_MS_MAX: f64 = 100.0;

pub(crate) struct Report {
    machine: String,
    quick: bool,
    rows: String,
    verdicts: Vec<(String, bool)>,
}

impl Report {
    pub(crate) fn new(machine: String, quick: bool) -> Self {
        Self { machine, quick, rows: String::new(), verdicts: Vec::new() }
    }

    pub(crate) fn cold_start(&mut self, new: Duration, existing: Duration) {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let text = format!(
            "cold start, exec to the first 200 on /readyz: {:.0} ms with a new database, {:.0} ms with an existing one (target {COLD_START_MS_MAX:.0})",
            ms(new),
            ms(existing)
        );
        self.verdicts.push((text, ms(existing) <= COLD_START_MS_MAX));
    }

    pub(crate) fn scenario(&mut self, scenario: &Scenario, outcomes: &[(&'static str, Outcome)]) {
        for (name, outcome) in outcomes {
            let load = &outcome.report;
            let ms = |us: u64| format!("{:.2}", us as f64 / 1e3);
            let cpu = outcome.cpu_us().map_or_else(|| "–".to_owned(), |us| format!("{us:.0}"));
            let rss = outcome.rss_kib_max.map_or_else(|| "–".to_owned(), |kib| format!("{:.1}", kib as f64 / 1_024.0));
            let rate = load.requests as f64 / load.seconds;
            // Writing to a String cannot fail.
            let _ = writeln!(
                self.rows,
                "| {} | {name} | {} | {rate:.0} | {} | {} | {} | {} | {cpu} | {rss} |",
                scenario.what,
                load.requests,
                ms(load.p50_us),
                ms(load.p95_us),
                ms(load.p99_us),
                ms(load.first_byte_p50_us),
            );
        }
        let of = |wanted: &str| outcomes.iter().find(|(name, _)| *name == wanted).map(|(_, outcome)| outcome);
        let Some(ours) = of(OURS) else { return };
        let verdict = match scenario.target {
            Target::CpuTimesNginx(most) => ours.cpu_us().zip(of(NGINX).and_then(Outcome::cpu_us)).map(|(ours, nginx)| {
                let ratio = ours / nginx;
                (format!("{}: {ratio:.2} × nginx's CPU an answer (target {most:.1})", scenario.name), ratio <= most)
            }),
            Target::AddedMedianMs(most) => of(DIRECT).map(|direct| {
                let added = (ours.report.p50_us as f64 - direct.report.p50_us as f64) / 1e3;
                (format!("{}: {added:.2} ms added to the median (target {most:.2})", scenario.name), added <= most)
            }),
            Target::RssMib(most) => ours.rss_kib_max.map(|kib| {
                let mib = kib as f64 / 1_024.0;
                (format!("{}: {mib:.0} MiB resident (target {most:.0})", scenario.name), mib <= most)
            }),
            Target::None => None,
        };
        self.verdicts.extend(verdict);
    }

    pub(crate) fn missed(&self) -> Vec<&str> {
        self.verdicts.iter().filter(|(_, met)| !met).map(|(text, _)| text.as_str()).collect()
    }

    /// As Markdown.
    pub(crate) fn render(&self) -> String {
        let mut text = String::from(
            "# Benchmarks\n\n`cargo xtask bench --write` wrote this page: authentication, metering, the durable ledger and metrics on; every answer checked;\nthe median of interleaved rounds. Absolute figures belong to the machine; ratios travel better.\n\n",
        );
        text.push_str(&self.machine);
        text.push_str(".\n\n");
        if self.quick {
            text.push_str("**A quick run of the debug build: these figures show only that everything works.**\n\n");
        }
        for (verdict, met) in &self.verdicts {
            let _ = writeln!(text, "- {} {verdict}", if *met { "met:" } else { "**missed:**" });
        }
        text.push_str("\n| load | through | answers | a second | p50 ms | p95 ms | p99 ms | first byte p50 ms | CPU µs an answer | RSS MiB |\n|---|---|---|---|---|---|---|---|---|---|\n");
        text.push_str(&self.rows);
        text
    }
}
