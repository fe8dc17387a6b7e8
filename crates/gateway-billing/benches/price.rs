//! What pricing costs: a charge with and without its receipt, the rates a hold is made from, and the two look-ups.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gateway_billing::{
    catalog::Catalog,
    money::Ppm,
    price::{
        Calendars, Coverage, PriceBook, PriceKey, PriceVersionId, SELL_BOOK, Sku, TierReach, charge, charge_total, publish, worst_rates,
    },
    usage::Leaves,
};

fn book() -> PriceBook {
    let drafts: Vec<_> = Catalog::shipped().of_provider("openai").map(|entry| entry.draft_for(SELL_BOOK, &entry.model).unwrap()).collect();
    let publication = publish(&drafts, &[], Coverage::Whole, &Calendars::shipped(), 0).unwrap();
    let rows = publication.new.iter().zip(1..).map(|(new, id)| new.row(PriceVersionId(id), 0));
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

/// What a start does with prices: closing those of the shipped providers, reading what is published, comparing both.
fn start(c: &mut Criterion) {
    const PROVIDERS: [&str; 6] = ["openai", "anthropic", "google", "deepseek", "mistral", "openrouter"];
    let (catalog, calendars) = (Catalog::shipped(), Calendars::shipped());
    let drafts = || PROVIDERS.iter().flat_map(|provider| catalog.of_provider(provider)).map(|entry| entry.draft(SELL_BOOK).unwrap());
    let drafts: Vec<_> = drafts().collect();
    let publication = publish(&drafts, &[], Coverage::Whole, &calendars, 0).unwrap();
    let rows: Vec<_> = publication.new.iter().zip(1..).map(|(new, id)| new.row(PriceVersionId(id), 0)).collect();
    println!("{} models in the catalog, {} at the shipped providers", catalog.entries().count(), rows.len());
    c.bench_function("start/catalog_opened_and_asked", |b| b.iter(|| Catalog::shipped().find(black_box("openai"), black_box("gpt-5.4"))));
    c.bench_function("start/prices_published_again", |b| {
        b.iter(|| publish(&drafts, &rows, Coverage::Whole, &calendars, 1).unwrap().is_empty());
    });
    c.bench_function("start/price_book", |b| b.iter(|| PriceBook::new(rows.clone()).len()));
}

criterion_group!(benches, pricing, start);
criterion_main!(benches);
