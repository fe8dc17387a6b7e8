//! What one budget, or one subject of a budget for each, holds and has spent.

use std::{collections::VecDeque, sync::Arc};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{Bounds, BudgetRefusal, QUARTER_US, Spec, Terms, left};
use crate::money::{Money, Nano};

/// One subject's spending under one budget.
#[derive(Debug)]
pub(crate) struct Gauge {
    pub(crate) spec: Arc<Spec>,
    pub(crate) terms: Arc<ArcSwap<Terms>>,
    /// The tag or id where the budget is for each; else empty.
    pub(crate) subject: Box<str>,
    pub(super) periods: Mutex<Periods>,
}

/// The periods that still matter, oldest first: the running one, those of a rolling window, and those with open holds.
#[derive(Debug, Default)]
pub(super) struct Periods(VecDeque<Count>);

/// One period's row, in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) bounds: Bounds,
    pub(crate) cap: i64,
    pub(crate) hard: bool,
    pub(crate) spent: i64,
    pub(crate) held: i64,
    /// The highest percent that somebody was told of.
    pub(crate) alerted: u16,
    /// Somebody was told that it has refused.
    pub(crate) refused: bool,
    /// That of the terms by which it was begun.
    pub(crate) generation: u32,
}

/// Added to the percent in the stored figure of a period of which somebody was told that it has refused. Above every percent.
const REFUSED: u16 = 10_000;

impl Count {
    /// What was told of it, in one figure that only grows.
    pub(crate) fn told(&self) -> u16 {
        self.alerted + if self.refused { REFUSED } else { 0 }
    }

    /// The percent and the refusal in [`Count::told`].
    pub(crate) fn of_told(told: u16) -> (u16, bool) {
        (told % REFUSED, told >= REFUSED)
    }
}

/// A reading of what counts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GaugeReading {
    pub(crate) cap: i64,
    pub(crate) hard: bool,
    pub(crate) spent: i64,
    pub(crate) held: i64,
    /// Of the running period; the quarter of an hour of a rolling window.
    pub(crate) bounds: Bounds,
    pub(crate) renews_at: Option<i64>,
}

impl GaugeReading {
    pub(crate) fn left(&self) -> Nano {
        left(self.cap, self.spent.saturating_add(self.held))
    }
}

impl Gauge {
    pub(super) fn new(spec: &Arc<Spec>, terms: &Arc<ArcSwap<Terms>>, subject: &str) -> Self {
        Self { spec: Arc::clone(spec), terms: Arc::clone(terms), subject: subject.into(), periods: Mutex::default() }
    }

    /// What counts at this moment.
    pub(crate) fn reading(&self, now_us: i64) -> GaugeReading {
        self.periods.lock().reading(&self.terms.load(), now_us)
    }

    /// A row as the database has it.
    pub(crate) fn restore(&self, count: Count) {
        let mut periods = self.periods.lock();
        let place = periods.0.partition_point(|known| known.bounds.start < count.bounds.start);
        periods.0.insert(place, count);
    }

    /// The count of the period that began then.
    pub(crate) fn begun(&self, start: i64) -> Option<Count> {
        self.periods.lock().begun(start).copied()
    }

    /// Whether nothing was ever counted here that still matters.
    pub(super) fn is_idle(&self) -> bool {
        self.periods.lock().0.iter().all(|count| count.spent == 0 && count.held == 0)
    }

    /// Somebody is told that the period that began then has refused, unless it was told before. `queue` gets its bounds and
    /// the figure to store, runs under the lock and must only queue the row.
    pub(crate) fn tell_refused(&self, start: i64, queue: impl FnOnce(Bounds, u16)) {
        let mut periods = self.periods.lock();
        if let Some(count) = periods.begun(start).filter(|count| !count.refused) {
            count.refused = true;
            queue(count.bounds, count.told());
        }
    }

    /// Sets the cap of what is running. `alerted` is set so that levels passed already are not told again.
    pub(crate) fn recap(&self, now_us: i64, terms: &Terms) {
        let mut periods = self.periods.lock();
        for count in periods.0.iter_mut().filter(|count| count.bounds.end > now_us || terms.rule.window_us().is_some()) {
            (count.cap, count.hard) = (terms.cap, terms.hard);
            (count.alerted, count.refused) = (level(terms, count.spent), false);
        }
    }

    /// Ends what runs and was begun by terms before these, which are in force; returns the starts of what was ended. What these
    /// terms have begun meanwhile stays.
    pub(crate) fn cut(&self, now_us: i64, new: &Terms) -> Vec<i64> {
        let mut periods = self.periods.lock();
        let running = |count: &&mut Count| count.generation != new.generation && count.bounds.end > now_us && count.bounds.start < now_us;
        let ended = periods.0.iter_mut().filter(running).map(|count| {
            count.bounds.end = now_us;
            count.bounds.start
        });
        ended.collect()
    }

    /// What identifies a period of it to somebody outside.
    pub(crate) fn facts(&self, bounds: &Bounds) -> serde_json::Value {
        let instant = |us| jiff::Timestamp::from_microsecond(us).map(|at| at.to_string()).ok();
        let subject = if self.subject.is_empty() { self.spec.scope.subject() } else { self.subject.to_string() };
        serde_json::json!({
            "budget": self.spec.id,
            "name": &*self.terms.load().name,
            "scope": self.spec.scope.kind(),
            "subject": (!subject.is_empty()).then_some(subject),
            "model": self.spec.model.as_deref(),
            "provider": self.spec.provider.as_deref(),
            "period": { "start": instant(bounds.start), "end": instant(bounds.end).filter(|_| bounds.end < i64::MAX) },
        })
    }

    pub(crate) fn refusal(&self, reading: &GaugeReading, required: Nano) -> BudgetRefusal {
        let money = |amount| Money::new(amount, self.spec.currency);
        let subject = if self.subject.is_empty() { self.spec.scope.subject().into() } else { self.subject.clone() };
        BudgetRefusal {
            id: self.spec.id,
            name: self.terms.load().name.clone(),
            scope: self.spec.scope.kind(),
            subject,
            model: self.spec.model.clone(),
            provider: self.spec.provider.clone(),
            cap: money(Nano::new(reading.cap)),
            left: money(reading.left()),
            required: money(required),
            renews_at: reading.renews_at,
            held: reading.held > 0,
        }
    }
}

impl Periods {
    /// The running period's count, begun if this is its first moment. Others that no longer matter are dropped.
    pub(super) fn current(&mut self, terms: &Terms, now_us: i64) -> &mut Count {
        let running = self.0.iter().rposition(|count| count.bounds.start <= now_us && now_us < count.bounds.end);
        let place = match running {
            Some(place) => place,
            None => {
                self.forget(terms, now_us);
                let mut bounds = terms.rule.bounds(now_us);
                // After a change of rule the new period begins where the old one ended; after a step of the clock backwards
                // an old period must not swallow a newer one.
                if let Some(last) = self.0.iter().rev().find(|count| count.bounds.end <= now_us) {
                    bounds.start = bounds.start.max(last.bounds.end);
                }
                if let Some(next) = self.0.iter().find(|count| count.bounds.start > now_us) {
                    bounds.end = bounds.end.min(next.bounds.start);
                }
                let place = self.0.partition_point(|count| count.bounds.start < bounds.start);
                let Terms { cap, hard, generation, .. } = *terms;
                self.0.insert(place, Count { bounds, cap, hard, spent: 0, held: 0, alerted: 0, refused: false, generation });
                place
            }
        };
        &mut self.0[place]
    }

    /// The count of the period that began then.
    pub(super) fn begun(&mut self, start: i64) -> Option<&mut Count> {
        self.0.iter_mut().rev().find(|count| count.bounds.start == start)
    }

    fn forget(&mut self, terms: &Terms, now_us: i64) {
        let matters_until = now_us.saturating_sub(terms.rule.window_us().unwrap_or(0));
        let last = self.0.len().saturating_sub(1);
        let mut place = 0;
        self.0.retain(|count| {
            place += 1;
            // The last one tells where the next period may begin.
            count.held > 0 || count.bounds.end > matters_until || place > last
        });
    }

    pub(super) fn reading(&self, terms: &Terms, now_us: i64) -> GaugeReading {
        let running = self.0.iter().rfind(|count| count.bounds.start <= now_us && now_us < count.bounds.end);
        let Some(window_us) = terms.rule.window_us() else {
            return match running {
                Some(count) => GaugeReading {
                    cap: count.cap,
                    hard: count.hard,
                    spent: count.spent,
                    held: count.held,
                    bounds: count.bounds,
                    renews_at: (count.bounds.end < i64::MAX).then_some(count.bounds.end),
                },
                None => {
                    let bounds = terms.rule.bounds(now_us);
                    let renews_at = (bounds.end < i64::MAX).then_some(bounds.end);
                    GaugeReading { cap: terms.cap, hard: terms.hard, spent: 0, held: 0, bounds, renews_at }
                }
            };
        };
        // A quarter counts until its end is the window's length ago. One that begins after this moment counts too: a request is
        // judged at its arrival, and others that arrived later may have been judged before it. What is longer than a quarter
        // is of an earlier rule.
        let matters = now_us.saturating_sub(window_us);
        let counting = || {
            let quarters = self.0.iter().filter(|count| count.bounds.end - count.bounds.start <= QUARTER_US);
            quarters.filter(move |count| count.bounds.end > matters && count.bounds.start <= now_us.saturating_add(window_us))
        };
        let sum = |of: fn(&Count) -> i64| counting().fold(0i64, |sum, count| sum.saturating_add(of(count)));
        let oldest = counting().find(|count| count.spent > 0);
        GaugeReading {
            cap: terms.cap,
            hard: terms.hard,
            spent: sum(|count| count.spent),
            held: sum(|count| count.held),
            bounds: terms.rule.bounds(now_us),
            renews_at: oldest.map(|count| count.bounds.end.saturating_add(window_us)),
        }
    }
}

/// The highest level of the terms that this spending has reached.
pub(crate) fn level(terms: &Terms, spent: i64) -> u16 {
    // Where nothing is spent there is nothing to tell, even of a cap of zero.
    let reached = |percent: &&u16| spent > 0 && i128::from(spent) * 100 >= i128::from(terms.cap) * i128::from(**percent);
    terms.alerts.iter().rev().find(reached).copied().unwrap_or(0)
}
