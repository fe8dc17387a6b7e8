use std::sync::Arc;

use super::{
    claim::{Claim, Short, ordered, reserve, settle},
    index::{Budget, BudgetBook, Spender, Standing},
    *,
};
use crate::book::{Earmark, Overrun, Wallet, WalletReading};

const HOUR_US: i64 = 4 * QUARTER_US;

fn org() -> OrgId {
    OrgId::from_bytes([1; 16])
}

fn budget(id: i64, scope: Scope, cap: i64, period: Period) -> Budget {
    let spec = Spec { id: BudgetId(id), org: org(), currency: Currency::USD, scope, model: None, provider: None };
    let terms = Terms {
        name: format!("b{id}").into(),
        cap,
        hard: true,
        rule: Rule::of(period).unwrap(),
        alerts: [50, 80, 100].into(),
        generation: 0,
    };
    Budget::new(spec, terms, Standing::Running)
}

fn wallet(posted: i64) -> Wallet {
    let reading = WalletReading { posted: Nano::new(posted), ..WalletReading::default() };
    Wallet::new(1, org(), Currency::USD, reading)
}

fn spender(tag: Option<&str>) -> Spender<'_> {
    Spender { org: org(), key: KeyId::from_bytes([2; 16]), team: None, user: None, tag, currency: Currency::USD }
}

/// Holds `amount` in everything that this spender falls under.
fn hold(book: &BudgetBook, wallet: &Wallet, amount: i64, now_us: i64) -> Result<Box<[claim::Reserved]>, Short> {
    let claims = book.of(&spender(Some("ann"))).into_iter().map(|gauge| Claim { gauge, amount: Nano::new(amount) });
    let mut held = None;
    reserve(&ordered(claims.collect()), wallet, Nano::new(amount), now_us, |reserved| held = Some(reserved))?;
    Ok(held.unwrap())
}

fn spend(reserved: &[claim::Reserved], wallet: &Wallet, held: i64, charge: i64) -> Vec<claim::Counted> {
    let mut seen = Vec::new();
    let money = (Earmark { amount: Nano::new(held), since: 0 }, Nano::new(charge), Overrun::FromBalance);
    settle(reserved, wallet, money, ("house", "m"), |_, counted| seen = counted.to_vec());
    seen
}

fn refused_by(result: Result<Box<[claim::Reserved]>, Short>) -> String {
    match result.unwrap_err() {
        Short::Wallet(_) => "wallet".to_owned(),
        Short::Budget { refusal, .. } => format!("{} left {}", refusal.name, refusal.left.amount.get()),
    }
}

#[test]
fn all_scopes_are_held_together_or_none() {
    let (day, total) = (Period::of(Every::Day), Period::of(Every::Total));
    let mut ended = budget(5, Scope::Org, 1, day.clone());
    ended.standing = Standing::Ended;
    let book = BudgetBook::new([
        budget(1, Scope::Org, 100, day.clone()),
        budget(2, Scope::Key(Whose::One(KeyId::from_bytes([2; 16]))), 60, total),
        budget(3, Scope::Tag(Whose::Each), 80, day.clone()),
        budget(4, Scope::Tag(Whose::One("bob".into())), 1, day.clone()),
        ended,
    ]);
    let wallet = wallet(90);
    let reserved = hold(&book, &wallet, 60, 0).unwrap();
    assert_eq!(reserved.len(), 3);
    assert_eq!(refused_by(hold(&book, &wallet, 31, 0)), "b2 left 0", "the tightest in order of number that has too little");
    // Nothing of the refused one stays anywhere.
    spend(&reserved, &wallet, 60, 20);
    assert_eq!(wallet.reading().available(), Nano::new(70));
    assert_eq!(refused_by(hold(&book, &wallet, 41, 0)), "b2 left 40");
    let reserved = hold(&book, &wallet, 40, 0).unwrap();
    claim::release(&reserved, &wallet, Earmark { amount: Nano::new(40), since: 0 }, || {});
    let left: Vec<_> = book.of(&spender(Some("ann"))).iter().map(|gauge| gauge.reading(0).left().get()).collect();
    assert_eq!(left, [80, 40, 60]);
}

#[test]
fn what_is_held_before_midnight_is_spent_in_the_old_day() {
    let book = BudgetBook::new([budget(1, Scope::Org, 100, Period::of(Every::Day))]);
    let (wallet, midnight) = (wallet(1_000), 24 * HOUR_US);
    let before = hold(&book, &wallet, 90, midnight - 1).unwrap();
    let after = hold(&book, &wallet, 90, midnight).unwrap();
    spend(&before, &wallet, 90, 70);
    let gauge = &before[0].gauge;
    assert_eq!((gauge.reading(midnight - 1).spent, gauge.reading(midnight).spent), (70, 0));
    assert_eq!(gauge.reading(midnight).left(), Nano::new(10));
    spend(&after, &wallet, 90, 95);
    // Five more than was held: it is spent, and the day has nothing left.
    assert_eq!((gauge.reading(midnight).spent, gauge.reading(midnight).left().get()), (95, 5));
    assert_eq!(gauge.reading(midnight).renews_at, Some(2 * midnight));
}

#[test]
fn a_rolling_window_forgets_a_quarter_when_its_last_moment_is_that_long_ago() {
    let book = BudgetBook::new([budget(1, Scope::Org, 100, Period::rolling(1))]);
    let wallet = wallet(1_000);
    for (at, amount) in [(0, 40), (QUARTER_US, 50)] {
        let reserved = hold(&book, &wallet, amount, at).unwrap();
        spend(&reserved, &wallet, amount, amount);
    }
    let last = QUARTER_US + HOUR_US;
    assert_eq!(refused_by(hold(&book, &wallet, 11, last - 1)), "b1 left 10");
    assert!(hold(&book, &wallet, 50, last).is_ok(), "the first quarter ended an hour ago");
    assert_eq!(refused_by(hold(&book, &wallet, 1, last + QUARTER_US - 1)), "b1 left 0");
    assert!(hold(&book, &wallet, 50, last + QUARTER_US).is_ok());
}

#[test]
fn levels_are_told_once_and_a_first_refusal_too() {
    let book = BudgetBook::new([budget(1, Scope::Org, 100, Period::of(Every::Total))]);
    let wallet = wallet(1_000);
    let mut told = Vec::new();
    for charge in [49, 1, 29, 2, 10] {
        let reserved = hold(&book, &wallet, charge, 0).unwrap();
        told.push(spend(&reserved, &wallet, charge, charge)[0].alert.map(|alert| (alert.percent, alert.told)));
        if charge == 1 {
            // Between two levels somebody is refused, and hears of it once.
            let Err(Short::Budget { gauge, bounds, .. }) = hold(&book, &wallet, 60, 0) else { panic!("fifty are left") };
            let mut figures = Vec::new();
            for _ in 0..2 {
                gauge.tell_refused(bounds.start, |of, told| figures.push((of, told)));
            }
            assert_eq!(figures, [(bounds, 10_050)]);
        }
    }
    assert_eq!(told, [None, Some((50, 50)), None, Some((80, 10_080)), None]);
}

#[test]
fn a_clock_that_steps_back_begins_no_overlapping_period() {
    let book = BudgetBook::new([budget(1, Scope::Org, 100, Period::of(Every::Hour))]);
    let wallet = wallet(1_000);
    let later = hold(&book, &wallet, 10, 2 * HOUR_US).unwrap();
    let earlier = hold(&book, &wallet, 10, HOUR_US + 5).unwrap();
    let again = hold(&book, &wallet, 10, 2 * HOUR_US + 1).unwrap();
    assert_eq!((earlier[0].bounds.start, earlier[0].bounds.end), (HOUR_US, 2 * HOUR_US));
    assert_eq!(later[0].bounds, again[0].bounds);
    assert_eq!(later[0].gauge.reading(2 * HOUR_US + 1).held, 20);
}

#[test]
fn a_soft_budget_tells_and_refuses_nothing() {
    let soft = budget(1, Scope::Org, 100, Period::of(Every::Total));
    let terms = Terms { hard: false, ..Terms::clone(&soft.terms.load()) };
    soft.terms.store(Arc::new(terms));
    let book = BudgetBook::new([soft]);
    let wallet = wallet(1_000);
    let reserved = hold(&book, &wallet, 500, 0).unwrap();
    assert_eq!(spend(&reserved, &wallet, 500, 300)[0].alert.map(|alert| alert.percent), Some(100));
}

#[test]
fn ids_and_scopes_are_read_as_they_are_shown() {
    assert_eq!(BudgetId::parse("bud_12"), Some(BudgetId(12)));
    for wrong in ["12", "bud_", "bud_0", "bud_+1", "bud_01", "bud_-3", "bud_9223372036854775808"] {
        assert_eq!(BudgetId::parse(wrong), None, "{wrong}");
    }
    let team = TeamId::from_bytes([7; 16]);
    for scope in [Scope::Org, Scope::Team(Whose::One(team)), Scope::User(Whose::Each), Scope::Tag(Whose::One("x".into()))] {
        assert_eq!(Scope::parse(scope.kind(), &scope.subject()), Ok(scope));
    }
    for (kind, subject) in [("org", "x"), ("team", "blue"), ("tag", ""), ("galaxy", "")] {
        assert!(Scope::parse(kind, subject).is_err(), "{kind} {subject}");
    }
}
