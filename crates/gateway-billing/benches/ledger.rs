//! `admit`: what a request waits for. `journal`: what a request costs in all, hold and settlement written, in batches.

#[path = "support/stage.rs"]
mod stage;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway_billing::{
    hold::{Billing as _, FinalUsage, ReleaseReason},
    ledger::LedgerOptions,
};
use gateway_core::{Usage, testing::deployment};
use std::sync::Arc;

use stage::{open, request};

fn benches(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, org) = runtime.block_on(open(LedgerOptions::at(folder.path().join("ledger.db"))));
    let at = Arc::new(deployment("model", "house"));
    c.bench_function("admit", |b| {
        b.iter(|| match ledger.try_admit(&request(&ledger, org, &at)) {
            Ok(admission) => admission.release(ReleaseReason::Failed),
            // The writer is behind; what is measured is still an answer from memory.
            Err(_) => std::thread::yield_now(),
        });
    });
    let usage = FinalUsage::Reported(Usage { input_uncached: Some(500), output_text: Some(200), ..Usage::default() });
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(256)).sample_size(20);
    group.bench_function("256 requests held, then settled", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let admitted: Vec<_> = (0..256).filter_map(|_| ledger.try_admit(&request(&ledger, org, &at)).ok()).collect();
                for admission in &admitted {
                    admission.durable().await.expect("a writable disk");
                }
                for admission in admitted {
                    admission.settle(&at, &usage);
                }
                while ledger.journal_reading().in_flight > 0 {
                    tokio::task::yield_now().await;
                }
            });
        });
    });
    group.finish();
}

criterion_group!(ledger, benches);
criterion_main!(ledger);
