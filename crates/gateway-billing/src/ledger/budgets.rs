//! Budgets in the store: making, changing, ending and reading them.

mod load;
mod rows;
mod view;

use std::sync::Arc;

use gateway_core::{KeyId, Mode, OrgId, TeamId, UserId};
use sqlx::Row as _;

pub(super) use self::load::load;
pub use self::view::{BudgetNow, BudgetPeriodView, BudgetView};
use self::{
    rows::{checked_cap, checked_levels, checked_name, end_period, insert, update},
    view::{now, view},
};
use super::{Ledger, accounts::rfc3339};
use crate::{
    budget::{
        BudgetId, Period, Rule, Scope, Spec, Terms,
        index::{Budget, Spender, Standing},
    },
    error::LedgerError,
    journal::Teller,
    money::{Currency, Money, Nano},
};

/// Levels at which somebody is told unless the budget says otherwise, in percent of its cap.
pub const ALERT_LEVELS: [u16; 3] = [50, 80, 100];

/// A hold that was queued before its period ended in memory may have begun the row since, with the end of the old rule: these
/// rows end in the database when they did in memory.
fn cut_again(journal: &Teller, id: BudgetId, ended: Vec<(Box<str>, i64)>, at: i64) {
    if !ended.is_empty() {
        journal.tell(move |scope| ended.iter().try_for_each(|(subject, start)| end_period(scope, id, (subject, *start), at)));
    }
}

/// Whether a budget refuses or only tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enforcement {
    /// What would pass the cap is refused.
    #[default]
    Hard,
    /// Nothing is refused; somebody is told.
    Soft,
}

/// A budget to be made.
#[derive(Debug, Clone)]
pub struct NewBudget {
    /// Of which account, by name or id.
    pub account: String,
    /// Its name, unique in the account.
    pub name: String,
    /// Live or test money.
    pub mode: Mode,
    /// Whose spending.
    pub scope: Scope,
    /// Only answers of this public model.
    pub model: Option<String>,
    /// Only answers from this provider.
    pub provider: Option<String>,
    /// The cap.
    pub cap: Nano,
    /// Refuse, or only tell.
    pub enforcement: Enforcement,
    /// How often it begins anew.
    pub period: Period,
    /// Percents of the cap at which somebody is told; `None` is [`ALERT_LEVELS`].
    pub alerts: Option<Vec<u16>>,
}

/// What of a budget is to be changed; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct BudgetChange {
    /// Its name.
    pub name: Option<String>,
    /// The cap, at once.
    pub cap: Option<Nano>,
    /// Refuse, or only tell; at once.
    pub enforcement: Option<Enforcement>,
    /// How often it begins anew, from the end of the running period on; one that never ends, and a rolling window, end now.
    pub period: Option<Period>,
    /// Levels.
    pub alerts: Option<Vec<u16>>,
}

impl Ledger {
    /// Makes a budget. It counts from now on.
    ///
    /// # Errors
    /// Something of it cannot be used (the error names the field), the name is taken, or nothing can be written.
    pub async fn create_budget(&self, new: NewBudget) -> Result<BudgetView, LedgerError> {
        let name = checked_name(&new.name)?;
        let rule = Rule::of(new.period).map_err(|error| LedgerError::invalid("period", error.to_string()))?;
        let alerts = checked_levels(new.alerts.as_deref().unwrap_or(&ALERT_LEVELS))?;
        let cap = checked_cap(new.cap)?;
        let terms = Terms { name, cap, hard: new.enforcement == Enforcement::Hard, rule, alerts, generation: 0 };
        let only = |what: &'static str, only: Option<String>| match only.as_deref().map(str::trim) {
            Some("") => Err(LedgerError::invalid(what, "must not be empty; leave it out to count every answer")),
            only => Ok(only.map(Box::<str>::from)),
        };
        let (model, provider) = (only("model", new.model)?, only("provider", new.provider)?);
        let org = self.account(&new.account).await?.id;
        let spec = Spec { id: BudgetId(0), org, currency: Currency::of(new.mode), scope: new.scope, model, provider };
        let budgets = Arc::clone(&self.budgets);
        let id = self
            .journal
            .exec(move |scope| {
                let id = insert(scope, &spec, &terms)?;
                let (spec, terms, budgets) = (Spec { id, ..spec.clone() }, terms.clone(), Arc::clone(&budgets));
                scope.after_commit(move || budgets.insert(Budget::new(spec, terms, Standing::Running)));
                Ok(id)
            })
            .await?;
        self.budget_view(id)
    }

    /// Changes a budget. A lower cap holds for requests at once, even before this returns.
    ///
    /// # Errors
    /// There is no such budget of the account, something cannot be used, or nothing can be written; then nothing is changed.
    pub async fn change_budget(&self, account: OrgId, id: BudgetId, change: BudgetChange) -> Result<BudgetView, LedgerError> {
        // One change after another: each begins with what the one before it left.
        let _turn = self.budget_changes.lock().await;
        let budget = self.find_budget(account, id)?;
        let old = budget.terms.load_full();
        let mut terms = Terms::clone(&old);
        if let Some(name) = &change.name {
            terms.name = checked_name(name)?;
        }
        if let Some(cap) = change.cap {
            terms.cap = checked_cap(cap)?;
        }
        if let Some(enforcement) = change.enforcement {
            terms.hard = enforcement == Enforcement::Hard;
        }
        if let Some(alerts) = &change.alerts {
            terms.alerts = checked_levels(alerts)?;
        }
        let ends_running = match change.period {
            Some(period) => {
                terms.rule = Rule::of(period).map_err(|error| LedgerError::invalid("period", error.to_string()))?;
                // What is endless, and a window, would run on beside periods of another kind; among their own they go on.
                let kind = |rule: &Rule| (rule.window_us().is_some(), rule.bounds(0).end == i64::MAX);
                kind(&old.rule) != kind(&terms.rule)
            }
            None => false,
        };
        terms.generation += u32::from(ends_running);
        // Money out is taken in memory first, money in is written first: a lower cap is the one, a higher one the other.
        let stricter = Terms { cap: terms.cap.min(old.cap), hard: terms.hard || old.hard, ..Terms::clone(&old) };
        self.recap(&budget, stricter);
        let (theirs, written, clock) = (Arc::clone(&budget), terms.clone(), Arc::clone(&self.clock));
        let journal = self.journal.teller();
        let changed = self
            .journal
            .exec(move |scope| {
                update(scope, id, &written, ends_running)?;
                let (budget, terms, clock) = (Arc::clone(&theirs), written.clone(), Arc::clone(&clock));
                let journal = journal.clone();
                scope.after_commit(move || {
                    let now_us = clock.unix_us();
                    budget.terms.store(Arc::new(terms.clone()));
                    let gauges = budget.gauges();
                    if ends_running {
                        let ended = gauges.iter().flat_map(|gauge| {
                            let starts = gauge.cut(now_us, &terms);
                            starts.into_iter().map(|start| (gauge.subject.clone(), start)).collect::<Vec<_>>()
                        });
                        cut_again(&journal, id, ended.collect(), now_us);
                    }
                    gauges.iter().for_each(|gauge| gauge.recap(now_us, &terms));
                });
                Ok(())
            })
            .await;
        if let Err(error) = changed {
            self.recap(&budget, Terms::clone(&old));
            return Err(error);
        }
        self.budget_view(id)
    }

    /// Ends a budget: it counts no more. Its periods stay readable.
    ///
    /// # Errors
    /// There is no such budget of the account, or nothing can be written.
    pub async fn end_budget(&self, account: OrgId, id: BudgetId) -> Result<(), LedgerError> {
        self.find_budget(account, id)?;
        let budgets = Arc::clone(&self.budgets);
        self.journal
            .exec(move |scope| {
                let now_us = scope.now_us();
                // The name becomes free for another.
                scope.connection().execute(
                    "UPDATE budget SET ended_at = COALESCE(ended_at, ?2), name = name || ' (ended ' || id || ')' WHERE id = ?1 AND ended_at IS NULL",
                    [id.0, now_us],
                )?;
                let budgets = Arc::clone(&budgets);
                scope.after_commit(move || budgets.remove(id));
                Ok(())
            })
            .await
    }

    /// One budget of an account.
    ///
    /// # Errors
    /// The account has no such budget.
    pub fn budget(&self, account: OrgId, id: BudgetId) -> Result<BudgetView, LedgerError> {
        self.find_budget(account, id)?;
        self.budget_view(id)
    }

    /// The running budgets of an account in one kind of money, oldest first.
    #[must_use]
    pub fn budgets(&self, account: OrgId, mode: Mode) -> Vec<BudgetView> {
        let now_us = self.clock.unix_us();
        let all = self.budgets.of_org(account);
        all.iter().filter(|budget| budget.spec.currency == Currency::of(mode)).map(|budget| view(budget, now_us)).collect()
    }

    /// The budgets that a key's requests fall under, oldest first; of one for each, what counts for this key. Those for end
    /// users are among them, since any request may name one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn budgets_of_key(&self, account: OrgId, mode: Mode, key: KeyId) -> Result<Vec<BudgetView>, LedgerError> {
        let row = sqlx::query("SELECT team, user FROM api_key WHERE id = ?1").bind(key.as_bytes().to_vec());
        let (mut team, mut user) = (None, None);
        if let Some(row) = row.fetch_optional(self.reader()).await? {
            let id = |column| row.try_get::<Option<Vec<u8>>, _>(column).map(|id| id.and_then(|id| <[u8; 16]>::try_from(id).ok()));
            (team, user) = (id(0)?.map(TeamId::from_bytes), id(1)?.map(UserId::from_bytes));
        }
        let (now_us, currency) = (self.clock.unix_us(), Currency::of(mode));
        let spender = Spender { org: account, key, team, user, tag: None, currency };
        let views = self.budgets.of_org(account).into_iter().filter(|budget| budget.spec.currency == currency).filter_map(|budget| {
            if matches!(budget.spec.scope, Scope::Tag(_)) {
                return Some(view(&budget, now_us));
            }
            let gauge = budget.of(&spender)?;
            Some(BudgetView { current: Some(now(&gauge, &budget.terms.load(), now_us)), ..view(&budget, now_us) })
        });
        Ok(views.collect())
    }

    /// The periods of a budget, newest first, at most `limit`.
    ///
    /// # Errors
    /// The account has no such budget, or the database cannot be read.
    pub async fn budget_periods(&self, account: OrgId, id: BudgetId, limit: u32) -> Result<Vec<BudgetPeriodView>, LedgerError> {
        let currency = self.find_budget(account, id)?.spec.currency;
        let rows = sqlx::query(
            "SELECT subject, start_at, end_at, cap, spent, held, overrun FROM budget_period WHERE budget = ?1 \
             ORDER BY start_at DESC, subject LIMIT ?2",
        )
        .bind(id.0)
        .bind(i64::from(limit.clamp(1, 1_000)))
        .fetch_all(self.reader())
        .await?;
        let money = |nano| Money::new(Nano::new(nano), currency);
        let views = rows.iter().map(|row| {
            let (subject, end): (String, i64) = (row.try_get(0)?, row.try_get(2)?);
            Ok(BudgetPeriodView {
                subject: (!subject.is_empty()).then_some(subject),
                start: rfc3339(row.try_get(1)?),
                end: (end < i64::MAX).then(|| rfc3339(end)),
                limit: money(row.try_get(3)?),
                spent: money(row.try_get(4)?),
                held: money(row.try_get(5)?),
                overrun: money(row.try_get(6)?),
            })
        });
        views.collect::<Result<_, sqlx::Error>>().map_err(LedgerError::from)
    }

    fn find_budget(&self, account: OrgId, id: BudgetId) -> Result<Arc<Budget>, LedgerError> {
        let found = self.budgets.get(id).filter(|budget| budget.spec.org == account && budget.standing == Standing::Running);
        found.ok_or_else(|| LedgerError::not_found("budget", id.to_string()))
    }

    fn budget_view(&self, id: BudgetId) -> Result<BudgetView, LedgerError> {
        let budget = self.budgets.get(id).ok_or_else(|| LedgerError::not_found("budget", id.to_string()))?;
        Ok(view(&budget, self.clock.unix_us()))
    }

    fn recap(&self, budget: &Budget, terms: Terms) {
        let now_us = self.clock.unix_us();
        for gauge in budget.gauges() {
            gauge.recap(now_us, &terms);
        }
        budget.terms.store(Arc::new(terms));
    }
}
