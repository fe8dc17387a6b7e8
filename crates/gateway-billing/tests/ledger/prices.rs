//! Prices published by hand: all or none, from now or later on, and standing through every start.

use std::{sync::Arc, time::Duration};

use gateway_billing::{
    ledger::{HandPublication, Ledger, PriceQuery, PublishFailure, prices_of_file},
    price::{Calendars, Coverage, Diff, Draft, PriceInput, PriceList, SELL_BOOK, Sealed, ServedAt, Sku, Source, seal},
};

use super::stage::{Frozen, check};

const HOUR_US: i64 = 3_600_000_000;

/// Dollars per million for input and output, at `p/u` under any name.
fn draft(kind: &str, route: &str, input: &str) -> Draft {
    let price: PriceInput = serde_json::from_str(&format!(r#"{{"input":"{input}","output":"8"}}"#)).unwrap();
    let source = Source { kind: kind.to_owned(), reference: "test".to_owned() };
    Draft { book: SELL_BOOK.into(), model: "*".into(), route: route.into(), terms: price.terms().unwrap().0, source }
}

fn sealed(drafts: &[Draft]) -> Vec<Sealed> {
    seal(drafts, &Calendars::shipped()).unwrap()
}

fn by_hand(prices: &[Draft], effective_from: Option<i64>, key: &str) -> HandPublication {
    HandPublication { prices: sealed(prices), effective_from, idempotency_key: key.to_owned() }
}

async fn start(ledger: &Ledger, drafts: &[Draft]) {
    ledger.publish_prices(drafts.to_vec(), Coverage::Whole, Calendars::shipped()).await.unwrap();
}

/// Dollars per million input tokens at `p/u`.
fn input(ledger: &Ledger, at_us: i64) -> Option<i64> {
    let version = ledger.prices().sell("default", ServedAt { provider: "p", upstream_model: "u", model: "any" }, at_us).unwrap()?;
    Some(version.rate_at(&Sku::IN, 0, None, at_us).unwrap().get() / 1_000_000)
}

async fn reopened(ledger: Arc<Ledger>, clock: &Arc<Frozen>, folder: &tempfile::TempDir) -> Arc<Ledger> {
    ledger.stop(Duration::from_secs(1)).await;
    drop(ledger);
    clock.open(folder.path()).await
}

#[tokio::test]
async fn a_price_by_hand_stands_through_starts_until_the_configuration_speaks() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
    let ledger = clock.open(folder.path()).await;
    start(&ledger, &[draft("catalog", "p/u", "2"), draft("catalog", "q/v", "1")]).await;
    clock.skip_us(HOUR_US);
    let published = ledger.publish_prices_by_hand(by_hand(&[draft("manual", "p/u", "3")], None, "a")).await.unwrap();
    assert_eq!((published.0["new"].as_u64(), published.0["ended"].as_u64()), (Some(1), Some(1)));
    assert_eq!((input(&ledger, clock.now_us() - 1), input(&ledger, clock.now_us())), (Some(2), Some(3)));

    // A start with the catalog as it was, with a newer one, and with one that has lost the model.
    let mut ledger = ledger;
    for drafts in [vec![draft("catalog", "p/u", "2")], vec![draft("catalog", "p/u", "9")], vec![draft("catalog", "q/v", "1")]] {
        clock.skip_us(HOUR_US);
        ledger = reopened(ledger, &clock, &folder).await;
        start(&ledger, &drafts).await;
        assert_eq!(input(&ledger, clock.now_us()), Some(3));
    }
    // The configuration states it now, and from then on nobody publishes by hand what the next start would undo.
    clock.skip_us(HOUR_US);
    ledger = reopened(ledger, &clock, &folder).await;
    start(&ledger, &[draft("config", "p/u", "5")]).await;
    assert_eq!((input(&ledger, clock.now_us() - 1), input(&ledger, clock.now_us())), (Some(3), Some(5)));
    let refused = ledger.publish_prices_by_hand(by_hand(&[draft("manual", "p/u", "4")], None, "b")).await.unwrap_err();
    assert!(refused.to_string().contains("the configuration states it; change it there"), "{refused}");
    check(&ledger).await;
}

#[tokio::test]
async fn a_price_published_for_later_begins_then_and_restarts_in_between_change_nothing() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
    let ledger = clock.open(folder.path()).await;
    let catalog = [draft("catalog", "p/u", "2")];
    start(&ledger, &catalog).await;
    let (now, later) = (clock.now_us(), clock.now_us() + 10 * HOUR_US);
    ledger.publish_prices_by_hand(by_hand(&[draft("manual", "p/u", "3")], Some(later), "a")).await.unwrap();
    let all = |ledger: &Ledger| [now, later - 1, later].map(|at| input(ledger, at));
    assert_eq!(all(&ledger), [Some(2), Some(2), Some(3)]);

    let ledger = reopened(ledger, &clock, &folder).await;
    clock.skip_us(HOUR_US);
    start(&ledger, &catalog).await;
    assert_eq!(all(&ledger), [Some(2), Some(2), Some(3)]);
    // What is published never changes, so nothing fits before the scheduled version.
    for at in [None, Some(later - 1), Some(later)] {
        let refused = ledger.publish_prices_by_hand(by_hand(&[draft("manual", "p/u", "4")], at, "b")).await.unwrap_err();
        assert!(refused.to_string().contains("a further one can begin at 2026-11-23T22:00:00.000001Z or later"), "{refused}");
    }
    ledger.publish_prices_by_hand(by_hand(&[draft("manual", "p/u", "4")], Some(later + HOUR_US), "c")).await.unwrap();
    assert_eq!((input(&ledger, later), input(&ledger, later + HOUR_US)), (Some(3), Some(4)));
    let shown = ledger.prices_named(SELL_BOOK, "u", clock.now_us());
    let states: Vec<_> = shown.iter().map(|price| (price.origin, price.state)).collect();
    assert_eq!(states, [("catalog", "standing"), ("hand", "scheduled"), ("hand", "scheduled")]);
    check(&ledger).await;
}

#[tokio::test]
async fn a_publication_is_whole_closed_and_never_in_the_past() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
    let ledger = clock.open(folder.path()).await;
    start(&ledger, &[draft("catalog", "p/u", "2"), draft("config", "q/v", "1")]).await;
    clock.skip_us(HOUR_US);
    let past = ledger.publish_prices_by_hand(by_hand(&[draft("manual", "p/u", "3")], Some(clock.now_us() - 1), "a")).await.unwrap_err();
    assert!(past.to_string().contains("a moment that has passed; it is 2026-11-23T13:00:00Z now"), "{past}");
    let one_bad = [draft("manual", "p/u", "3"), draft("manual", "r/w", "3"), draft("manual", "q/v", "3")];
    let refused = ledger.publish_prices_by_hand(by_hand(&one_bad, None, "b")).await.unwrap_err();
    assert!(matches!(&refused, PublishFailure::Prices(errors) if errors.len() == 1), "{refused}");
    assert_eq!((input(&ledger, clock.now_us()), ledger.prices().len()), (Some(2), 2), "none of them was published");

    // The same price again is nothing; published over the catalog's it is kept from following that.
    let same = [draft("manual", "p/u", "2")];
    let step = |ledger: &Ledger| {
        let summary = ledger.compare_prices(&sealed(&same), None).summary;
        (summary.new, summary.changed, summary.pinned, summary.unchanged, summary.refused)
    };
    assert_eq!(step(&ledger), (0, 0, 1, 0, 0));
    let first = ledger.publish_prices_by_hand(by_hand(&same, None, "c")).await.unwrap();
    assert_eq!(step(&ledger), (0, 0, 0, 1, 0));
    assert_eq!(ledger.publish_prices_by_hand(by_hand(&same, None, "c")).await.unwrap(), first, "a repeat answers the same");
    let other = ledger.publish_prices_by_hand(by_hand(&[draft("manual", "p/u", "7")], None, "c")).await.unwrap_err();
    assert!(other.to_string().contains("Idempotency-Key"), "{other}");
    clock.skip_us(HOUR_US);
    start(&ledger, &[draft("catalog", "p/u", "6"), draft("config", "q/v", "1")]).await;
    assert_eq!(input(&ledger, clock.now_us()), Some(2));
    // Given back, it follows the catalog again.
    let back = [draft("catalog", "p/u", "2")];
    assert_eq!(ledger.compare_prices(&sealed(&back), None).summary.unpinned, 1);
    ledger.publish_prices_by_hand(by_hand(&back, None, "d")).await.unwrap();
    clock.skip_us(HOUR_US);
    start(&ledger, &[draft("catalog", "p/u", "6"), draft("config", "q/v", "1")]).await;
    assert_eq!(input(&ledger, clock.now_us()), Some(6));
    ledger.publish_prices_by_hand(by_hand(&[draft("manual", "p/u", "5")], Some(clock.now_us() + 1), "e")).await.unwrap();
    clock.skip_us(1);

    let page = ledger.price_page(&PriceQuery { limit: 1, ..PriceQuery::default() });
    assert!(page.has_more && page.data.len() == 1);
    let after = page.next.unwrap().parse().ok();
    let rest = ledger.price_page(&PriceQuery { after, ..PriceQuery::default() });
    assert_eq!((rest.has_more, rest.data.len(), &*rest.data[0].published_by), (false, 1, "manual:test"));
    check(&ledger).await;
}

#[tokio::test]
async fn a_diff_names_what_differs_and_the_file_alone_gives_the_same_one() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Frozen::new());
    let ledger = clock.open(folder.path()).await;
    start(&ledger, &[draft("catalog", "p/u", "2"), draft("config", "q/v", "1")]).await;
    clock.skip_us(1);
    let list: PriceList = serde_json::from_str(
        r#"{"book":"sell:default","source":{"kind":"manual","ref":"contract 7"},"prices":[
            {"route":"p/u","price":{"input":"2.5","output":"8","input_cache_read":"0.25","overrides":[{"service_tier":"batch","factor":"0.5"}]}},
            {"route":"q/v","price":{"input":"1","output":"8"}},
            {"model":"m","route":"r/w","price":{"input":"1","output":"2"}}]}"#,
    )
    .unwrap();
    let prices = sealed(&list.drafts().unwrap());
    let diff = ledger.compare_prices(&prices, None);
    let summary = diff.summary;
    assert_eq!((summary.new, summary.changed, summary.pinned, summary.unchanged, summary.refused), (1, 1, 0, 0, 1));
    let figures: Vec<_> = diff.changes[0].figures.iter().map(|f| format!("{} {:?} {:?}", f.figure, f.before, f.after)).collect();
    let cached = |figure| format!("{figure} Some(\"2\") Some(\"0.25\")");
    assert_eq!(figures, ["input Some(\"2\") Some(\"2.5\")".to_owned(), cached("input_audio_cache_read"), cached("input_cache_read")]);
    assert_eq!((diff.changes[0].change, diff.changes[0].besides.as_slice()), ("changed", &["overrides"][..]));
    assert!(diff.changes[1].problem.as_ref().unwrap().contains("the configuration states it"));
    ledger.flush().await;
    let offline = Diff::of(&prices, &prices_of_file(ledger.path()).unwrap(), None, clock.now_us());
    assert_eq!(offline, diff);
}
