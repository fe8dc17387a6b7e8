//! Prices through the public surface: steps, windows, versions over time, and properties of charges.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::sync::Arc;

use gateway_billing::{
    money::{Nano, Ppm},
    price::{
        Calendars, Coverage, Draft, Origin, PriceBook, PriceError, PriceInput, PriceKey, PriceRow, PriceVersion, PriceVersionId,
        Publication, SELL_BOOK, ServedAt, Sku, Source, TierReach, UsageBound, charge, charge_total, publish, worst_rates,
    },
    usage::{Leaves, leaves_of},
};
use gateway_core::Usage;
use proptest::prelude::*;

fn draft(model: &str, route: &str, price: &str) -> Draft {
    let input: PriceInput = serde_json::from_str(price).unwrap();
    let source = Source { kind: "config".into(), reference: "test".into() };
    Draft { book: SELL_BOOK.into(), model: model.into(), route: route.into(), terms: input.terms().unwrap().0, source }
}

fn version(price: &str) -> Arc<PriceVersion> {
    let rows = apply(&[], &plan(&[draft("m", "p/u", price)], &[], 0));
    PriceVersion::read(&rows[0]).unwrap()
}

fn plan(drafts: &[Draft], rows: &[PriceRow], now_us: i64) -> Publication {
    publish(drafts, rows, Coverage::Whole, &Calendars::shipped(), now_us).unwrap()
}

/// The same price from somebody else.
fn by(kind: &str, draft: Draft) -> Draft {
    Draft { source: Source { kind: kind.into(), reference: "test".into() }, ..draft }
}

/// What a store does with a publication.
fn apply(rows: &[PriceRow], publication: &Publication) -> Vec<PriceRow> {
    let mut rows = rows.to_vec();
    for (id, at) in &publication.ended {
        let row = rows.iter_mut().find(|row| row.id == *id).unwrap();
        assert_eq!(row.effective_to.replace(*at), None, "an end is set once");
    }
    for new in &publication.new {
        rows.push(new.row(PriceVersionId(rows.len() as i64 + 1), 0));
    }
    rows
}

fn us(instant: &str) -> i64 {
    instant.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

#[test]
fn two_prices_for_one_place_are_refused() {
    let twice = [draft("m", "p/u", FLAT), draft("m", "p/u", DEARER)];
    let errors = publish(&twice, &[], Coverage::Whole, &Calendars::shipped(), 0).unwrap_err();
    assert_eq!(errors[0].to_string(), "the price of model `m` at p/u: it is stated more than once");
}

const FLAT: &str = r#"{"input":"2","output":"8"}"#;
const DEARER: &str = r#"{"input":"3","output":"8"}"#;

#[test]
fn an_unchanged_price_publishes_nothing_and_a_changed_one_takes_over_at_once() {
    let rows = apply(&[], &plan(&[draft("m", "p/u", FLAT)], &[], 1_000));
    assert!(plan(&[draft("m", "p/u", r#"{"output":"8.0","input":"2.00"}"#)], &rows, 2_000).is_empty());
    let rows = apply(&rows, &plan(&[draft("m", "p/u", DEARER)], &rows, 2_000));
    assert_eq!((rows[0].effective_to, rows[1].effective_from, rows[1].effective_to), (Some(2_000), 2_000, None));
    // A second change in the same microsecond, and a clock that steps back, still follow the one before.
    let rows = apply(&rows, &plan(&[draft("m", "p/u", FLAT)], &rows, 2_000));
    let rows = apply(&rows, &plan(&[draft("m", "p/u", DEARER)], &rows, 500));
    for pair in rows.windows(2) {
        assert!(pair[0].effective_from < pair[0].effective_to.unwrap() && pair[0].effective_to.unwrap() <= pair[1].effective_from);
    }
    let rows = apply(&rows, &plan(&[draft("other", "p/u", FLAT)], &rows, 9_000));
    assert!(rows[3].effective_to.is_some(), "a price no longer wanted ends");
}

/// Versions of one place never overlap, and each holds for a while.
#[track_caller]
fn check_rows(rows: &[PriceRow]) {
    for row in rows {
        assert!(row.effective_to.is_none_or(|end| end > row.effective_from), "{row:?}");
        for other in rows
            .iter()
            .filter(|other| other.id > row.id && (&other.book, &other.model, &other.route) == (&row.book, &row.model, &row.route))
        {
            assert!(row.effective_to.is_some_and(|end| end <= other.effective_from), "{row:?} and {other:?}");
        }
    }
}

#[test]
fn a_start_leaves_what_was_published_by_hand_unless_the_configuration_speaks() {
    let at_start = |draft: Draft, rows: &[PriceRow], now_us| {
        let rows = apply(rows, &plan(&[draft], rows, now_us));
        check_rows(&rows);
        rows
    };
    let origin = |rows: &[PriceRow]| rows.iter().find(|row| row.effective_to.is_none()).unwrap().origin();
    let catalog = |price: &str| by("catalog", draft("m", "p/u", price));
    let rows = at_start(catalog(FLAT), &[], 1_000);
    let by_hand = publish(&[by("manual", draft("m", "p/u", DEARER))], &rows, Coverage::Part, &Calendars::shipped(), 2_000).unwrap();
    let rows = apply(&rows, &by_hand);

    // The same catalog, a newer one, and one that no longer has the model.
    for (n, drafts) in [vec![catalog(FLAT)], vec![catalog(r#"{"input":"9","output":"9"}"#)], vec![by("catalog", draft("n", "q/v", FLAT))]]
        .iter()
        .enumerate()
    {
        let rows = apply(&rows, &plan(drafts, &rows, 3_000));
        let standing = rows.iter().find(|row| &*row.model == "m" && row.effective_to.is_none()).unwrap();
        assert_eq!((standing.origin(), standing.effective_from), (Origin::Hand, 2_000), "{n}");
    }
    // The configuration states the price: it holds from this start on, even if it is the same one.
    let config = by("config", draft("m", "p/u", DEARER));
    let rows = at_start(config.clone(), &rows, 4_000);
    assert_eq!((origin(&rows), rows.len()), (Origin::Config, 3));
    assert!(plan(&[config], &rows, 5_000).is_empty(), "and the next start changes nothing");
    // It states it no longer: the catalog is followed again.
    let rows = at_start(catalog(DEARER), &rows, 6_000);
    assert_eq!(origin(&rows), Origin::Catalog);
}

#[test]
fn a_start_before_a_scheduled_price_ends_nothing_of_it() {
    let mut rows = apply(&[], &plan(&[by("catalog", draft("m", "p/u", FLAT))], &[], 1_000));
    rows[0].effective_to = Some(9_000);
    let scheduled = by("import", draft("m", "p/u", DEARER));
    let hand = publish(&[scheduled], &rows, Coverage::Part, &Calendars::shipped(), 9_000).unwrap();
    let rows = apply(&rows, &hand);
    assert!(plan(&[by("catalog", draft("m", "p/u", r#"{"input":"9","output":"9"}"#))], &rows, 2_000).is_empty());
    // What has been fixed until then cannot be changed any more, so the configuration's price begins right after.
    let late = apply(&rows, &plan(&[by("config", draft("m", "p/u", r#"{"input":"9","output":"9"}"#))], &rows, 2_000));
    check_rows(&late);
    assert_eq!((late[1].effective_to, late[2].effective_from), (Some(9_001), 9_001));
}

#[track_caller]
fn check_not_published(draft: Draft, message: &str) {
    let errors = publish(&[draft], &[], Coverage::Part, &Calendars::shipped(), 0).unwrap_err();
    assert!(errors[0].to_string().contains(message), "{}", errors[0]);
}

#[test]
fn what_could_never_be_charged_or_held_is_not_published() {
    let cny = r#"{"currency":"CNY","input":"2","output":"8"}"#;
    let in_book = |book: &str, price: &str| Draft { book: book.into(), ..draft("m", "p/u", price) };
    for book in ["sell:default", "sell:pro"] {
        check_not_published(in_book(book, cny), "a selling price must be in USD, which is what wallets hold; this one is in CNY");
        check_not_published(
            in_book(book, r#"{"time_basis":"response_end","input":"2","output":"8"}"#),
            "must be judged at `request_start`",
        );
    }
    let cost = publish(&[in_book("cost:p", cny)], &[], Coverage::Part, &Calendars::shipped(), 0).unwrap();
    assert_eq!(cost.new[0].currency.as_str(), "CNY");
    let book = PriceBook::new(apply(&[], &cost));
    let version = book.cost(ServedAt { provider: "p", upstream_model: "u", model: "m" }, 0).unwrap().unwrap();
    assert_eq!(version.currency().as_str(), "CNY");
    for book in ["", "sell", "sell:", "sell:a b", "cost:", "cost:a/b", "catalog:x", "default"] {
        check_not_published(in_book(book, FLAT), "is not a book");
    }
    for (model, route) in [("", "p/u"), ("*", ""), ("m", "p"), ("m", "p/"), ("m", "/u"), ("m\n", "")] {
        check_not_published(draft(model, route, FLAT), "looked up by nothing");
    }
}

#[test]
fn a_request_keeps_the_version_it_was_admitted_with() {
    let rows = apply(&[], &plan(&[draft("m", "p/u", FLAT)], &[], 1_000));
    let book = PriceBook::new(rows.clone());
    let key = PriceKey { book: SELL_BOOK, provider: "p", upstream_model: "u", model: "m" };
    assert!(book.lookup(key, 999).unwrap().is_none(), "not before it takes effect");
    let pinned = book.lookup(key, 1_500).unwrap().unwrap();
    book.replace(apply(&rows, &plan(&[draft("m", "p/u", DEARER)], &rows, 2_000)));
    let now = book.lookup(key, 2_000).unwrap().unwrap();
    let leaves = Leaves::new().with(Sku::IN, 1_000);
    let total = |version: &PriceVersion| charge_total(version, Ppm::ONE, &leaves, 2_000).unwrap().0;
    assert_eq!((total(&pinned), total(&now)), (Nano::new(2_000_000), Nano::new(3_000_000)));
    assert_eq!(book.version(pinned.id).unwrap().unwrap().sha256, pinned.sha256);
}

#[test]
fn the_most_particular_price_is_found() {
    let drafts = [draft("m", "p/a/b", FLAT), draft("m", "", DEARER), draft("*", "q/x", r#"{"input":"7","output":"7"}"#)];
    let book = PriceBook::new(apply(&[], &plan(&drafts, &[], 0)));
    let input = |provider, upstream_model, model| {
        let key = PriceKey { book: SELL_BOOK, provider, upstream_model, model };
        book.lookup(key, 0).unwrap().map(|version| version.rate_at(&Sku::IN, 0, None, 0).unwrap().get() / 1_000_000)
    };
    assert_eq!(input("p", "a/b", "m"), Some(2));
    assert_eq!(input("q", "x", "m"), Some(3), "the model's price before that of the route");
    assert_eq!(input("q", "x", "other"), Some(7));
    assert_eq!(input("q", "y", "other"), None, "never a free call");
}

#[test]
fn a_plans_own_book_comes_before_the_default_and_costs_have_a_book_for_each_provider() {
    let in_book = |book: &str, draft: Draft| Draft { book: book.into(), ..draft };
    let drafts = [
        draft("m", "p/u", FLAT),
        draft("*", "q/v", DEARER),
        in_book("sell:pro", draft("m", "", r#"{"input":"1","output":"1"}"#)),
        in_book("cost:p", draft("*", "p/u", r#"{"input":"0.5","output":"1"}"#)),
    ];
    let mut rows = apply(&[], &plan(&drafts, &[], 0));
    let book = PriceBook::new(rows.clone());
    let at = |provider, upstream_model, model| ServedAt { provider, upstream_model, model };
    let input = |found: Result<Option<Arc<PriceVersion>>, PriceError>| {
        found.unwrap().map(|version| (version.book.to_string(), version.rate_at(&Sku::IN, 0, None, 0).unwrap().get()))
    };
    let found = |book: &str, rate| Some((book.to_owned(), rate));
    assert_eq!(input(book.sell("pro", at("p", "u", "m"), 0)), found("sell:pro", 1_000_000), "its own, though less particular");
    assert_eq!(input(book.sell("pro", at("q", "v", "other"), 0)), found("sell:default", 3_000_000), "what it does not price itself");
    assert_eq!(input(book.sell("default", at("p", "u", "m"), 0)), found("sell:default", 2_000_000));
    assert_eq!(input(book.sell("no-such-plan", at("p", "u", "m"), 0)), found("sell:default", 2_000_000));
    assert_eq!(input(book.sell("pro", at("q", "w", "other"), 0)), None, "never a free call");
    assert_eq!(input(book.cost(at("p", "u", "m"), 0)), found("cost:p", 500_000));
    assert_eq!(input(book.cost(at("q", "v", "m"), 0)), None);

    // A plan's price that cannot be read is not replaced by the default one: that would be a guess.
    rows[2].body = rows[2].body.replace("1000000", "2000000").into();
    let book = PriceBook::new(rows);
    assert!(book.sell("pro", at("p", "u", "m"), 0).is_err() && book.sell("default", at("p", "u", "m"), 0).is_ok());
}

#[test]
fn a_body_that_was_changed_is_not_used() {
    let mut rows = apply(&[], &plan(&[draft("m", "p/u", FLAT)], &[], 0));
    rows[0].body = rows[0].body.replace("2000000", "1000000").into();
    let book = PriceBook::new(rows);
    let key = PriceKey { book: SELL_BOOK, provider: "p", upstream_model: "u", model: "m" };
    assert!(book.lookup(key, 0).unwrap_err().to_string().contains("its hash differs"));
}

#[test]
fn each_step_begins_above_its_number() {
    let version = version(
        r#"{"input":"1","output":"0","overrides":[{"input_tokens_over":128000,"input":"2"},{"input_tokens_over":256000,"input":"4"}]}"#,
    );
    for (tokens, rate) in [(128_000, 1), (128_001, 2), (256_000, 2), (256_001, 4)] {
        for leaves in [Leaves::new().with(Sku::IN, tokens), Leaves::new().with(Sku::IN_CACHE_READ, tokens - 1).with(Sku::IN, 1)] {
            let total = charge_total(&version, Ppm::ONE, &leaves, 0).unwrap().0;
            assert_eq!(total, Nano::new((tokens * rate * 1_000) as i64), "{tokens}");
        }
    }
}

#[test]
fn windows_follow_their_zone_through_clock_changes_and_midnight() {
    let price = |window: &str| version(&format!(r#"{{"input":"1","output":"1","overrides":[{{"window":{window},"input":"2"}}]}}"#));
    let open = |version: &PriceVersion, at: &str| version.rate_at(&Sku::IN, 0, None, us(at)).unwrap().get() == 2_000_000;
    let berlin = price(r#"{"tz":"Europe/Berlin","from":"09:00","to":"12:00"}"#);
    assert!(!open(&berlin, "2026-10-24T06:59:59Z") && open(&berlin, "2026-10-24T07:00:00Z"), "summer time");
    assert!(!open(&berlin, "2026-10-26T07:59:59Z") && open(&berlin, "2026-10-26T08:00:00Z"), "winter time");
    // Friday night belongs to Friday, also after midnight; Saturday's own night does not exist.
    let night = price(r#"{"tz":"UTC","days":"5","from":"22:00","to":"06:00"}"#);
    for (at, expected) in [
        ("2026-11-20T21:59:59Z", false),
        ("2026-11-20T22:00:00Z", true),
        ("2026-11-21T05:59:59Z", true),
        ("2026-11-21T06:00:00Z", false),
        ("2026-11-21T22:00:00Z", false),
        ("2026-11-20T05:00:00Z", false),
    ] {
        assert_eq!(open(&night, at), expected, "{at}");
    }
    let whole = price(r#"{"tz":"Asia/Kathmandu","days":"6,7","from":"00:00","to":"24:00"}"#);
    assert!(!open(&whole, "2026-11-20T18:14:59Z") && open(&whole, "2026-11-20T18:15:00Z") && !open(&whole, "2026-11-22T18:15:00Z"));
}

#[test]
fn a_window_across_a_holiday_belongs_to_the_day_it_began_on() {
    let night = version(
        r#"{"input":"1","output":"1","overrides":[
            {"window":{"tz":"Asia/Shanghai","from":"22:00","to":"06:00","not_on":"cn-holidays"},"input":"2"}]}"#,
    );
    for (at, open) in [
        ("2026-09-30T13:59:59Z", false), // 21:59:59 on the last working day
        ("2026-09-30T14:00:00Z", true),
        ("2026-09-30T16:00:00Z", true), // midnight: the holiday begins, the window goes on
        ("2026-09-30T21:59:59Z", true),
        ("2026-09-30T22:00:00Z", false), // 06:00
        ("2026-10-01T14:00:00Z", false), // on a holiday it does not open
        ("2026-10-07T21:59:59Z", false), // nor go on into the working day after it
        ("2026-10-08T14:00:00Z", true),
    ] {
        assert_eq!(night.rate_at(&Sku::IN, 0, None, us(at)).unwrap().get() == 2_000_000, open, "{at}");
    }
}

#[test]
fn a_minimum_lifts_small_charges_and_leaves_nothing_free_of_use() {
    let version = version(r#"{"input":"2","output":"8","min_charge":"0.00001","call.request":"1000000","web_search":"10"}"#);
    let total = |leaves: Leaves| {
        let charge = charge(&version, Ppm::ONE, &leaves, 0).unwrap();
        assert_eq!(Nano::checked_sum(charge.lines.iter().map(|line| line.amount)), Some(charge.total));
        charge.total.get()
    };
    assert_eq!(total(Leaves::new().with(Sku::IN, 0)), 0);
    assert_eq!(total(Leaves::new().with(Sku::IN, 1)), 1_000_002_000, "a flat dollar for each request");
    assert_eq!(total(Leaves::new().with(Sku::WEB_SEARCH, 1)), 1_010_000_000);
}

#[test]
fn a_use_without_a_price_is_flagged() {
    let charge = charge(&version(FLAT), Ppm::ONE, &Leaves::new().with(Sku::WEB_SEARCH, 1).with(Sku::IN, 1), 0).unwrap();
    assert!(charge.flags.unpriced);
    assert_eq!(charge.total, Nano::new(2_000));
}

const FULL: &str = r#"{"input":"2.5","output":"15","input_cache_read":"0.25","input_cache_write":"3.125","overrides":[
    {"input_tokens_over":1000,"input":"5","output":"22.5","input_cache_read":"0.5"},
    {"service_tier":"priority","factor":"1.75"},{"service_tier":"batch","factor":"0.5"},
    {"window":{"tz":"Asia/Shanghai","days":"1-5","from":"09:00","to":"12:00","not_on":"cn-holidays"},"factor":"2"}]}"#;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_hold_covers_every_charge_within_its_bound(
        fresh in 0u64..1_500, read in 0u64..1_500, write in 0u64..1_500, hour in 0u64..1_500, out in 0u64..2_000, think in 0u64..2_000,
        tier in prop_oneof![Just(None), Just(Some("batch")), Just(Some("priority"))],
        at in 1_760_000_000_000_000i64..1_900_000_000_000_000, ppm in 1u32..3_000_000, slack in 0u64..500,
    ) {
        let version = version(FULL);
        let leaves = Leaves::new().with(Sku::IN, fresh).with(Sku::IN_CACHE_READ, read).with(Sku::IN_CACHE_WRITE_5M, write)
            .with(Sku::IN_CACHE_WRITE_1H, hour).with(Sku::OUT, out).with(Sku::OUT_REASONING, think).in_tier(tier);
        let multiplier = Ppm::new(ppm).unwrap();
        let input = leaves.input_tokens() + slack;
        let worst = worst_rates(&version, input, at, TierReach::Any);
        let bound = UsageBound { input_tokens: input, output_tokens: out + think, ..UsageBound::default() };
        let hold = worst.hold(&bound, multiplier).unwrap();
        prop_assert!(charge_total(&version, multiplier, &leaves, at).unwrap().0 <= hold);
        // What is affordable is exactly what still fits.
        let most = worst.output_tokens_for(hold, &bound, multiplier);
        prop_assert!(most >= bound.output_tokens);
        let held_for = |output_tokens| worst.hold(&UsageBound { output_tokens, ..bound }, multiplier).unwrap();
        prop_assert!(held_for(most) <= hold && held_for(most + 1) > hold);
    }

    #[test]
    fn more_cached_input_never_costs_more(total in 0u64..5_000, a in 0u64..5_000, b in 0u64..5_000) {
        let version = version(FULL);
        let (few, many) = (a.min(b).min(total), a.max(b).min(total));
        let cost = |cached: u64| {
            let usage = Usage { input_uncached: Some(total - cached), input_cache_read: Some(cached), reported_input: Some(total), ..Usage::default() };
            charge_total(&version, Ppm::ONE, &leaves_of(&usage).leaves, 0).unwrap().0
        };
        prop_assert!(cost(many) <= cost(few));
    }

    #[test]
    fn an_inconsistent_report_never_costs_more_than_its_buckets(fresh in 0u64..9_000, read in 0u64..9_000, out in 0u64..9_000, stated in 0u64..20_000) {
        let version = version(FULL);
        let usage = Usage { input_uncached: Some(fresh), input_cache_read: Some(read), output_text: Some(out), ..Usage::default() };
        let with_total = Usage { reported_input: Some(stated), ..usage.clone() };
        let cost = |usage: &Usage| charge_total(&version, Ppm::ONE, &leaves_of(usage).leaves, 0).unwrap().0;
        prop_assert!(cost(&with_total) <= cost(&usage));
    }
}
