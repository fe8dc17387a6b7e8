use super::*;
use crate::{
    money::Ppm,
    price::{Calendars, Coverage, PriceVersion, PriceVersionId, SELL_BOOK, Sku, TierReach, charge_total, publish, worst_rates},
    usage::Leaves,
};

const PROVIDERS: [&str; 5] = ["openai", "anthropic", "google", "deepseek", "mistral"];

fn every_entry() -> Vec<Entry> {
    Catalog::shipped().entries().collect()
}

#[test]
fn every_line_can_be_read_and_found() {
    let catalog = Catalog::from_text(SHIPPED.to_owned()).unwrap();
    for line in SHIPPED.lines().step_by(7) {
        let (provider, model) = line.split_once('\t').unwrap().0.split_once('/').unwrap();
        assert!(catalog.find(provider, model).is_some(), "{line}");
    }
    assert!(every_entry().len() >= 2_000);
    for (provider, model) in [("openai", ""), ("openai", "gpt"), ("", ""), ("zzz", "zzz"), ("openai", "gpt-4.1\t"), ("302ai", "0")] {
        assert_eq!(catalog.find(provider, model), None, "{provider}/{model}");
    }
}

#[test]
fn every_price_can_be_published_and_charged() {
    let drafts: Vec<Draft> = every_entry().iter().map(|entry| entry.draft(SELL_BOOK).unwrap()).collect();
    let publication = publish(&drafts, &[], Coverage::Whole, &Calendars::shipped(), 0);
    let publication = publication.unwrap_or_else(|errors| panic!("{} of {}, first: {}", errors.len(), drafts.len(), errors[0]));
    assert_eq!(publication.new.len(), drafts.len());
    let leaves = Leaves::new().with(Sku::IN, 300_001).with(Sku::IN_CACHE_READ, 10).with(Sku::OUT, 5);
    for (n, new) in publication.new.iter().enumerate() {
        let version = PriceVersion::read(&new.row(PriceVersionId(n as i64), 0)).unwrap();
        let charge = charge_total(&version, Ppm::ONE, &leaves, 0).unwrap().0;
        let worst = worst_rates(&version, 300_011, 0, TierReach::Default);
        let bound = crate::price::UsageBound { input_tokens: 300_011, output_tokens: 5, ..Default::default() };
        assert!(charge <= worst.hold(&bound, Ppm::ONE).unwrap(), "{}", new.route);
    }
}

#[test]
fn the_figures_that_are_rounded_are_the_ones_reported() {
    let rounded: Vec<String> = every_entry()
        .into_iter()
        .flat_map(|entry| {
            let key = format!("{}/{}", entry.provider, entry.model);
            entry.terms().unwrap().1.into_iter().map(move |place| format!("{key}\t{place}")).collect::<Vec<_>>()
        })
        .collect();
    let mut rounded: Vec<&str> = rounded.iter().map(String::as_str).collect();
    rounded.sort_unstable();
    let reported: Vec<&str> = include_str!("../../data/rounding.tsv").lines().map(|line| line.rsplit_once('\t').unwrap().0).collect();
    assert_eq!(rounded, reported);
}

#[track_caller]
fn check(model: &str, limits: (u32, u32), rates: &[(Sku, i64)]) {
    let (provider, model) = model.split_once('/').unwrap();
    let entry = Catalog::shipped().find(provider, model).unwrap();
    assert_eq!((entry.limits.context_window, entry.limits.output_tokens_max), (Some(limits.0), Some(limits.1)));
    let terms = entry.terms().unwrap().0.close(&Calendars::shipped()).unwrap();
    for (sku, pico) in rates {
        assert_eq!(terms.rates[sku].get(), *pico, "{model} {sku}");
    }
}

#[test]
fn the_usual_models_are_there() {
    check("openai/gpt-4.1", (1_047_576, 32_768), &[(Sku::IN, 2_000_000), (Sku::IN_CACHE_READ, 500_000), (Sku::OUT, 8_000_000)]);
    check(
        "anthropic/claude-sonnet-4-5",
        (200_000, 64_000),
        &[
            (Sku::IN, 3_000_000),
            (Sku::IN_CACHE_WRITE_5M, 3_750_000),
            (Sku::IN_CACHE_WRITE_1H, 6_000_000),
            (Sku::WEB_SEARCH, 10_000_000_000),
        ],
    );
    check(
        "google/gemini-2.5-flash",
        (1_048_576, 65_536),
        &[(Sku::IN_AUDIO, 1_000_000), (Sku::IN_AUDIO_CACHE_READ, 100_000), (Sku::OUT_REASONING, 2_500_000)],
    );
    check("deepseek/deepseek-v3.2", (163_840, 163_840), &[(Sku::IN, 280_000), (Sku::IN_CACHE_READ, 28_000), (Sku::OUT, 420_000)]);
    let alias = Catalog::shipped().find("deepseek", "deepseek-chat-v3.2").unwrap();
    assert_eq!(&*alias.model, "deepseek-v3.2");
    assert!(alias.retired_by("2026-07-24".parse().unwrap()) && !alias.retired_by("2026-07-23".parse().unwrap()));
}

#[test]
fn a_provider_lists_its_own_models_only() {
    for provider in PROVIDERS {
        let own: Vec<Entry> = Catalog::shipped().of_provider(provider).collect();
        assert!(own.len() >= 10, "{provider}: {}", own.len());
        assert!(own.iter().all(|entry| &*entry.provider == provider));
    }
    assert_eq!(Catalog::shipped().of_provider("open").count(), 0);
}

#[track_caller]
fn check_refused(text: &str, line: usize, problem: &str) {
    let error = Catalog::from_text(text.to_owned()).unwrap_err();
    assert_eq!(error.line, line);
    assert!(error.problem.contains(problem), "{error}");
}

#[test]
fn an_operators_catalog_is_checked_whole() {
    let good = "a/b\t{\"p\":{\"input\":\"1\",\"output\":\"2\"}}\n";
    assert!(Catalog::from_text(good.to_owned()).unwrap().find("a", "b").is_some());
    assert!(Catalog::from_text(String::new()).unwrap().find("a", "b").is_none());
    check_refused("a/b {}", 1, "a tab");
    check_refused("ab\t{}", 1, "no provider");
    check_refused(&format!("{good}a/b\t@b\n"), 2, "must come after");
    check_refused(&format!("{good}a/c\t@d\n"), 2, "not in the catalog");
    check_refused("a/b\t{\"p\":{\"input\":1}}", 1, "expected a string");
    check_refused("a/b\t{\"p\":{},\"q\":1}", 1, "unknown field");
}
