//! Plans in memory: the factor by which an account's prices are multiplied, from when on.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use crate::money::Ppm;

/// The plan of every account that has no other.
pub const DEFAULT_PLAN: &str = "default";

const NAME_CHARS_MAX: usize = 64;

/// The row id of a plan version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanVersionId(pub i64);

/// A row of `plan_version` as the store keeps it. It holds until the next one of its plan begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRow {
    /// Row id.
    pub id: PlanVersionId,
    /// The plan.
    pub plan: Box<str>,
    /// What every charge is multiplied by.
    pub multiplier: Ppm,
    /// Microseconds since 1970, included.
    pub effective_from: i64,
}

/// All published plans: a snapshot that is swapped whole, so a lookup takes no lock.
#[derive(Debug)]
pub struct PlanBook {
    snapshot: ArcSwap<Snapshot>,
}

/// The versions of each plan, in the order in which they take effect.
type Snapshot = HashMap<Box<str>, Vec<PlanRow>>;

impl PlanBook {
    /// A book of these rows.
    #[must_use]
    pub fn new(rows: Vec<PlanRow>) -> Self {
        Self { snapshot: ArcSwap::from_pointee(sorted(rows)) }
    }

    /// Takes in the rows as they stand in the store after a publication.
    pub fn replace(&self, rows: Vec<PlanRow>) {
        self.snapshot.store(Arc::new(sorted(rows)));
    }

    /// The version of a plan that holds at `at_us`; `None` if there is no such plan, or not yet.
    #[must_use]
    pub fn lookup(&self, plan: &str, at_us: i64) -> Option<(PlanVersionId, Ppm)> {
        let snapshot = self.snapshot.load();
        let row = snapshot.get(plan)?.iter().rev().find(|row| row.effective_from <= at_us)?;
        Some((row.id, row.multiplier))
    }

    /// Every version, by plan and then in the order in which they take effect.
    #[must_use]
    pub fn rows(&self) -> Vec<PlanRow> {
        let mut rows: Vec<PlanRow> = self.snapshot.load().values().flatten().cloned().collect();
        rows.sort_unstable_by(|a, b| (&a.plan, a.effective_from).cmp(&(&b.plan, b.effective_from)));
        rows
    }
}

/// Whether a plan can be called so. The name is part of a book's name, `sell:<plan>`.
#[must_use]
pub fn is_plan_name(name: &str) -> bool {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    !name.is_empty() && name.len() <= NAME_CHARS_MAX && !name.contains(odd)
}

fn sorted(rows: Vec<PlanRow>) -> Snapshot {
    let mut plans = Snapshot::new();
    for row in rows {
        plans.entry(row.plan.clone()).or_default().push(row);
    }
    for versions in plans.values_mut() {
        versions.sort_unstable_by_key(|row| row.effective_from);
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, plan: &str, ppm: u32, effective_from: i64) -> PlanRow {
        PlanRow { id: PlanVersionId(id), plan: plan.into(), multiplier: Ppm::new(ppm).unwrap(), effective_from }
    }

    #[test]
    fn the_version_that_holds_is_the_last_one_begun() {
        let book = PlanBook::new(vec![row(3, "pro", 900_000, 2_000), row(1, "default", 1_000_000, 0), row(2, "pro", 1_050_000, 1_000)]);
        let at = |plan, at_us| book.lookup(plan, at_us).map(|(id, factor)| (id.0, factor.get()));
        assert_eq!(at("pro", 999), None);
        assert_eq!(at("pro", 1_000), Some((2, 1_050_000)));
        assert_eq!(at("pro", 1_999), Some((2, 1_050_000)));
        assert_eq!(at("pro", 2_000), Some((3, 900_000)));
        assert_eq!(at("default", 0), Some((1, 1_000_000)));
        assert_eq!(at("no-such", 5_000), None);
        book.replace(vec![row(1, "default", 1_000_000, 0)]);
        assert_eq!(at("pro", 5_000), None);
        assert_eq!(book.rows().len(), 1);
    }

    #[test]
    fn a_plans_name_fits_into_a_books_name() {
        for good in ["default", "pro", "team-a.2026_x", &"x".repeat(64)] {
            assert!(is_plan_name(good), "{good}");
        }
        for bad in ["", "a b", "a:b", "a/b", "é", "a\n", &"x".repeat(65)] {
            assert!(!is_plan_name(bad), "{bad:?}");
        }
    }
}
