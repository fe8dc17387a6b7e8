//! Every budget in memory, and which of them a request falls under.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use gateway_core::{KeyId, OrgId, TeamId, UserId};
use parking_lot::RwLock;

use super::{BudgetId, Scope, Spec, Terms, Whose, gauge::Gauge};
use crate::money::Currency;

/// Subjects a budget for each may have in memory before those that spent nothing are dropped.
const IDLE_MAX: usize = 4_096;

/// A budget with its gauges.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) spec: Arc<Spec>,
    pub(crate) terms: Arc<ArcSwap<Terms>>,
    /// One that has ended is kept for the holds of an earlier run that name it, and counts nothing new.
    pub(crate) standing: Standing,
    gauges: Gauges,
}

#[derive(Debug)]
enum Gauges {
    One(Arc<Gauge>),
    Each(RwLock<HashMap<Box<str>, Arc<Gauge>>>),
}

/// Whose request it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spender<'r> {
    pub(crate) org: OrgId,
    pub(crate) key: KeyId,
    pub(crate) team: Option<TeamId>,
    pub(crate) user: Option<UserId>,
    pub(crate) tag: Option<&'r str>,
    pub(crate) currency: Currency,
}

impl Budget {
    pub(crate) fn new(spec: Spec, terms: Terms, standing: Standing) -> Self {
        let (spec, terms) = (Arc::new(spec), Arc::new(ArcSwap::from_pointee(terms)));
        let each =
            matches!(spec.scope, Scope::Team(Whose::Each) | Scope::User(Whose::Each) | Scope::Key(Whose::Each) | Scope::Tag(Whose::Each));
        let gauges = if each { Gauges::Each(RwLock::default()) } else { Gauges::One(Arc::new(Gauge::new(&spec, &terms, ""))) };
        Self { spec, terms, standing, gauges }
    }

    /// The gauge of a subject, made if it is the first time. One budget for all has one gauge, whatever the subject.
    pub(crate) fn gauge(&self, subject: &str) -> Arc<Gauge> {
        let each = match &self.gauges {
            Gauges::One(gauge) => return Arc::clone(gauge),
            Gauges::Each(each) => each,
        };
        if let Some(gauge) = each.read().get(subject) {
            return Arc::clone(gauge);
        }
        let mut each = each.write();
        if each.len() >= IDLE_MAX && each.len().is_power_of_two() {
            // Callers name tags as they like; those that never spent anything need not be remembered. One that a request is
            // looking at right now has another owner.
            each.retain(|_, gauge| Arc::strong_count(gauge) > 1 || !gauge.is_idle());
        }
        let gauge = each.entry(subject.into()).or_insert_with(|| Arc::new(Gauge::new(&self.spec, &self.terms, subject)));
        Arc::clone(gauge)
    }

    /// The one gauge of a budget that is not for each.
    pub(crate) fn only(&self) -> Option<Arc<Gauge>> {
        match &self.gauges {
            Gauges::One(gauge) => Some(Arc::clone(gauge)),
            Gauges::Each(_) => None,
        }
    }

    /// All gauges there are.
    pub(crate) fn gauges(&self) -> Vec<Arc<Gauge>> {
        match &self.gauges {
            Gauges::One(gauge) => vec![Arc::clone(gauge)],
            Gauges::Each(each) => each.read().values().cloned().collect(),
        }
    }

    /// The gauge that counts this spender, if the budget is about them at all.
    pub(crate) fn of(&self, spender: &Spender<'_>) -> Option<Arc<Gauge>> {
        fn pick<T: PartialEq + ToString>(budget: &Budget, whose: &Whose<T>, is: Option<T>) -> Option<Arc<Gauge>> {
            match (whose, is) {
                (Whose::One(one), Some(is)) => (*one == is).then(|| budget.gauge("")),
                (Whose::Each, Some(is)) => Some(budget.gauge(&is.to_string())),
                (_, None) => None,
            }
        }
        if self.spec.currency != spender.currency {
            return None;
        }
        match &self.spec.scope {
            Scope::Org => Some(self.gauge("")),
            Scope::Team(whose) => pick(self, whose, spender.team),
            Scope::User(whose) => pick(self, whose, spender.user),
            Scope::Key(whose) => pick(self, whose, Some(spender.key)),
            Scope::Tag(Whose::One(tag)) => (spender.tag == Some(&**tag)).then(|| self.gauge("")),
            Scope::Tag(Whose::Each) => spender.tag.map(|tag| self.gauge(tag)),
        }
    }
}

/// Those of an account. What is about one team, user, key or tag is found by it, so that a thousand keys with a budget each
/// cost a request no more than one.
#[derive(Debug, Clone, Default)]
struct OfOrg {
    wide: Vec<Arc<Budget>>,
    by_subject: HashMap<Box<str>, Vec<Arc<Budget>>>,
}

/// Whether a budget counts for new requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Running,
    Ended,
}

impl OfOrg {
    fn add(&mut self, budget: Arc<Budget>) {
        match budget.spec.scope.subject() {
            wide if wide.is_empty() || wide == super::EACH => self.wide.push(budget),
            subject => self.by_subject.entry(subject.into()).or_default().push(budget),
        }
    }
}

/// All budgets.
#[derive(Debug, Default)]
pub(crate) struct BudgetBook {
    orgs: ArcSwap<HashMap<OrgId, Arc<OfOrg>>>,
    all: RwLock<HashMap<BudgetId, Arc<Budget>>>,
}

impl BudgetBook {
    /// Those of a database. Ended ones are there for the holds of an earlier run that still name them.
    pub(crate) fn new(budgets: impl IntoIterator<Item = Budget>) -> Self {
        let (mut all, mut running) = (HashMap::new(), HashMap::<OrgId, OfOrg>::new());
        for budget in budgets {
            let budget = Arc::new(budget);
            all.insert(budget.spec.id, Arc::clone(&budget));
            if budget.standing == Standing::Running {
                running.entry(budget.spec.org).or_default().add(budget);
            }
        }
        let orgs = running.into_iter().map(|(org, budgets)| (org, Arc::new(budgets))).collect();
        Self { orgs: ArcSwap::from_pointee(orgs), all: RwLock::new(all) }
    }

    /// The gauges that a request of this spender is counted by. Most accounts have none, and then nothing is allocated.
    pub(crate) fn of(&self, spender: &Spender<'_>) -> Vec<Arc<Gauge>> {
        let orgs = self.orgs.load();
        let Some(org) = orgs.get(&spender.org) else { return Vec::new() };
        let mut found: Vec<_> = org.wide.iter().filter_map(|budget| budget.of(spender)).collect();
        if !org.by_subject.is_empty() {
            let ids = [Some(spender.key.to_string()), spender.team.map(|team| team.to_string()), spender.user.map(|user| user.to_string())];
            let subjects = ids.iter().flatten().map(String::as_str).chain(spender.tag);
            let about = subjects.filter_map(|subject| org.by_subject.get(subject)).flatten();
            found.extend(about.filter_map(|budget| budget.of(spender)));
            // A tag may be called like an id.
            found.sort_by_key(|gauge| (gauge.spec.id, Arc::as_ptr(gauge)));
            found.dedup_by(|a, b| Arc::ptr_eq(a, b));
        }
        found
    }

    /// The running budgets of an account, oldest first.
    pub(crate) fn of_org(&self, org: OrgId) -> Vec<Arc<Budget>> {
        let orgs = self.orgs.load();
        let Some(of_org) = orgs.get(&org) else { return Vec::new() };
        let mut budgets: Vec<_> = of_org.wide.iter().chain(of_org.by_subject.values().flatten()).cloned().collect();
        budgets.sort_by_key(|budget| budget.spec.id);
        budgets
    }

    pub(crate) fn get(&self, id: BudgetId) -> Option<Arc<Budget>> {
        self.all.read().get(&id).cloned()
    }

    /// Adds a budget whose row is committed.
    pub(crate) fn insert(&self, budget: Budget) {
        let budget = Arc::new(budget);
        let mut all = self.all.write();
        all.insert(budget.spec.id, Arc::clone(&budget));
        self.index(&all, budget.spec.org);
    }

    /// Takes out one that has ended. Requests that hold money in it keep its gauge.
    pub(crate) fn remove(&self, id: BudgetId) {
        let mut all = self.all.write();
        if let Some(budget) = all.remove(&id) {
            self.index(&all, budget.spec.org);
        }
    }

    /// Makes an account's part anew; under the lock of `all`, so that two changes do not overtake each other.
    fn index(&self, all: &HashMap<BudgetId, Arc<Budget>>, org: OrgId) {
        let mut of_org = OfOrg::default();
        for budget in all.values().filter(|budget| budget.spec.org == org && budget.standing == Standing::Running) {
            of_org.add(Arc::clone(budget));
        }
        let mut orgs = HashMap::clone(&self.orgs.load());
        if of_org.wide.is_empty() && of_org.by_subject.is_empty() {
            orgs.remove(&org);
        } else {
            orgs.insert(org, Arc::new(of_org));
        }
        self.orgs.store(Arc::new(orgs));
    }
}
