//! What routing and the ledger count, in the form that `/metrics` shows.

use std::sync::Arc;

use gateway_billing::{journal::COMMIT_BUCKETS_US, ledger::Ledger};
use gateway_routing::Providers;
use gateway_server::{Family, FamilyKind, Sample, Snapshot, Value};

/// `bellwether_attempts_total{provider,outcome}`.
pub(super) fn attempts(providers: Providers) -> Arc<dyn Snapshot> {
    Arc::new(move |out: &mut Vec<Family>| {
        let samples = providers.attempts().into_iter().map(|count| Sample {
            labels: vec![("provider", count.provider.as_str().into()), ("outcome", count.outcome.into())],
            value: number(count.count),
        });
        out.push(Family {
            name: "bellwether_attempts_total".into(),
            help: "Attempts at providers, by outcome.".into(),
            kind: FamilyKind::Counter,
            samples: samples.collect(),
        });
    })
}

/// Holds, commits, queue and charges.
pub(super) fn ledger(ledger: Arc<Ledger>) -> Arc<dyn Snapshot> {
    Arc::new(move |out: &mut Vec<Family>| {
        let reading = ledger.journal_reading();
        let mut one = |name: &'static str, help: &'static str, kind, value| {
            out.push(Family { name: name.into(), help: help.into(), kind, samples: vec![Sample { labels: Vec::new(), value }] });
        };
        one("bellwether_holds_open", "Holds not yet settled or released.", FamilyKind::Gauge, number(reading.in_flight as u64));
        one(
            "bellwether_ledger_queue_depth",
            "Commands waiting for the ledger's writer.",
            FamilyKind::Gauge,
            number(reading.queue_depth as u64),
        );
        if let Some(right) = ledger.verdict() {
            let help = "1: the last check found every promise of the books kept; 0: it did not.";
            one("bellwether_ledger_verified", help, FamilyKind::Gauge, number(u64::from(right)));
        }
        one(
            "bellwether_charged_usd_total",
            "Dollars charged to live wallets since the start; test money is not counted.",
            FamilyKind::Counter,
            Value::Number(reading.charged_nano as f64 / 1e9),
        );
        let mut below = 0;
        let buckets = COMMIT_BUCKETS_US.iter().zip(reading.commit_buckets).map(|(bound, count)| {
            below += count;
            (*bound as f64 / 1e6, below)
        });
        let value = Value::Histogram { buckets: buckets.collect(), sum: reading.commit_us as f64 / 1e6, count: reading.commits };
        one("bellwether_ledger_commit_seconds", "Group commits of the ledger, fsync included.", FamilyKind::Histogram, value);
    })
}

fn number(count: u64) -> Value {
    Value::Number(count as f64)
}
