//! What pricing costs: a charge with and without its receipt, the rates a hold is made from, and the two look-ups.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gateway_billing::{
    catalog::Catalog,
    money::Ppm,
    price::{
        Calendars, Coverage, PriceBook, PriceKey, PriceRow, PriceVersionId, SELL_BOOK, Sku, TierReach, charge, charge_total, publish,
        worst_rates,
    },
    usage::Leaves,
};

fn book() -> PriceBook {
    let drafts: Vec<_> = Catalog::shipped().of_provider("openai").map(|entry| entry.draft_for(SELL_BOOK, &entry.model).unwrap()).collect();
    let publication = publish(&drafts, &[], Coverage::Whole, &Calendars::shipped(), 0).unwrap();
    let rows = publication.new.into_iter().zip(1..).map(|(new, id)| PriceRow {
        id: PriceVersionId(id),
        book: new.book,
        model: new.model,
        route: new.route,
        effective_from: 0,
        effective_to: None,
        body: new.body,
        sha256: new.sha256,
    });
    PriceBook::new(rows.collect())
}

fn pricing(c: &mut Criterion) {
    let book = book();
    let key = PriceKey { book: SELL_BOOK, provider: "openai", upstream_model: "gpt-5.4", model: "gpt-5.4" };
    let version = book.lookup(key, 1).unwrap().unwrap();
    let leaves = Leaves::new().with(Sku::IN, 3_808).with(Sku::IN_CACHE_READ, 8_192).with(Sku::OUT, 500).with(Sku::OUT_REASONING, 200);
    c.bench_function("charge_total", |b| b.iter(|| charge_total(black_box(&version), Ppm::ONE, black_box(&leaves), 1)));
    c.bench_function("charge", |b| b.iter(|| charge(black_box(&version), Ppm::ONE, black_box(&leaves), 1)));
    c.bench_function("worst_rates", |b| b.iter(|| worst_rates(black_box(&version), 300_000, 1, TierReach::Default)));
    c.bench_function("lookup", |b| b.iter(|| book.lookup(black_box(key), 1)));
    let catalog = Catalog::shipped();
    c.bench_function("catalog_find", |b| b.iter(|| catalog.find(black_box("openai"), black_box("gpt-5.4"))));
}

criterion_group!(benches, pricing);
criterion_main!(benches);
