//! Budgets: how much a part of an account may spend in a period.
//!
//! A budget caps a *scope*: the account, a team, a user, a key or an end user's tag, alone or only where a certain model or
//! provider serves. All budgets of a request and its wallet are held together or not at all; what they hold and have spent is
//! in memory and, in the same commit as the hold itself, in the database.

pub(crate) mod claim;
pub(crate) mod gauge;
pub(crate) mod index;
mod period;

use std::fmt;

use gateway_core::{KeyId, OrgId, TeamId, UserId};
use serde::{Serialize, Serializer};

pub use self::period::{Every, Period, PeriodError};
pub(crate) use self::{
    index::BudgetBook,
    period::{Bounds, QUARTER_US, Rule},
};
use crate::money::{Currency, Money, Nano};

/// A budget's number, shown as `bud_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BudgetId(pub i64);

impl BudgetId {
    const PREFIX: &'static str = "bud_";

    /// Reads what [`fmt::Display`] shows.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(Self::PREFIX)?;
        digits.parse().ok().filter(|number| *number > 0 && !digits.starts_with(['+', '0'])).map(Self)
    }
}

impl fmt::Display for BudgetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0)
    }
}

impl Serialize for BudgetId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whose spending a budget caps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The account's.
    Org,
    /// A team's.
    Team(Whose<TeamId>),
    /// A user's, over all their keys.
    User(Whose<UserId>),
    /// A key's.
    Key(Whose<KeyId>),
    /// An end user's, as the caller names them.
    Tag(Whose<Box<str>>),
}

/// One, or each for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose<T> {
    /// This one.
    One(T),
    /// Each of the account's, with the same cap each.
    Each,
}

impl Scope {
    /// The word for it: `org`, `team`, `user`, `key` or `tag`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::Team(_) => "team",
            Self::User(_) => "user",
            Self::Key(_) => "key",
            Self::Tag(_) => "tag",
        }
    }

    /// Which one, as text; `*` is each, and an account's own is empty.
    #[must_use]
    pub fn subject(&self) -> String {
        fn text<T: fmt::Display>(whose: &Whose<T>) -> String {
            match whose {
                Whose::One(id) => id.to_string(),
                Whose::Each => EACH.to_owned(),
            }
        }
        match self {
            Self::Org => String::new(),
            Self::Team(whose) => text(whose),
            Self::User(whose) => text(whose),
            Self::Key(whose) => text(whose),
            Self::Tag(whose) => text(whose),
        }
    }

    /// Reads [`Scope::kind`] and [`Scope::subject`] back; the error says what the second must look like.
    ///
    /// # Errors
    /// There is no such kind, or the subject is not of it.
    pub fn parse(kind: &str, subject: &str) -> Result<Self, String> {
        fn whose<T: std::str::FromStr>(subject: &str, like: &str) -> Result<Whose<T>, String> {
            match subject {
                EACH => Ok(Whose::Each),
                id => id.parse().map(Whose::One).map_err(|_| format!("must be an id such as `{like}`, or `*` for each, not `{id}`")),
            }
        }
        match kind {
            "org" if subject.is_empty() => Ok(Self::Org),
            "org" => Err("must be absent: a budget of the whole account has no id".to_owned()),
            "team" => whose(subject, "team_…").map(Self::Team),
            "user" => whose(subject, "user_…").map(Self::User),
            "key" => whose(subject, "key_…").map(Self::Key),
            "tag" if subject.is_empty() => Err("must be the end user's name, or `*` for each".to_owned()),
            "tag" if subject == EACH => Ok(Self::Tag(Whose::Each)),
            "tag" => Ok(Self::Tag(Whose::One(subject.into()))),
            _ => Err(format!("there is no scope `{kind}`; known are org, team, user, key and tag")),
        }
    }
}

/// Stands for each of a kind.
const EACH: &str = "*";

/// What of a budget never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) id: BudgetId,
    pub(crate) org: OrgId,
    pub(crate) currency: Currency,
    pub(crate) scope: Scope,
    /// Only what this public model serves.
    pub(crate) model: Option<Box<str>>,
    /// Only what this provider serves.
    pub(crate) provider: Option<Box<str>>,
}

impl Spec {
    /// Whether an answer from there counts.
    pub(crate) fn counts(&self, provider: &str, model: &str) -> bool {
        self.provider.as_deref().is_none_or(|only| only == provider) && self.model.as_deref().is_none_or(|only| only == model)
    }

    /// Whether every answer counts, wherever it comes from.
    pub(crate) fn counts_all(&self) -> bool {
        self.model.is_none() && self.provider.is_none()
    }
}

/// What of a budget its owner may change.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) name: Box<str>,
    pub(crate) cap: i64,
    pub(crate) hard: bool,
    pub(crate) rule: Rule,
    /// Percents of the cap at which somebody is told, ascending.
    pub(crate) alerts: Box<[u16]>,
    /// How often a change of rule has ended what ran, since this process started.
    pub(crate) generation: u32,
}

/// Why a budget cannot pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetRefusal {
    /// Which budget.
    pub id: BudgetId,
    /// Its name.
    pub name: Box<str>,
    /// What it caps: `org`, `team`, `user`, `key` or `tag`.
    pub scope: &'static str,
    /// Which one; empty for the account.
    pub subject: Box<str>,
    /// Only this public model's answers count.
    pub model: Option<Box<str>>,
    /// Only this provider's answers count.
    pub provider: Option<Box<str>>,
    /// Its cap.
    pub cap: Money,
    /// What is left of it: cap − spent − held.
    pub left: Money,
    /// What would have to be held.
    pub required: Money,
    /// When it begins anew, in microseconds since 1970; for a rolling window, when something becomes free at the earliest;
    /// `None`: never.
    pub renews_at: Option<i64>,
    /// Running requests hold some of it and may free it.
    pub(crate) held: bool,
}

impl BudgetRefusal {
    /// Whether answers from there count against it.
    #[must_use]
    pub fn counts(&self, provider: &str, model: &str) -> bool {
        self.provider.as_deref().is_none_or(|only| only == provider) && self.model.as_deref().is_none_or(|only| only == model)
    }
}

impl fmt::Display for BudgetRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the budget `{}` of this {}", self.name, if self.scope == "org" { "account" } else { self.scope })?;
        for (what, only) in [("model", &self.model), ("provider", &self.provider)] {
            if let Some(only) = only {
                write!(f, ", for {what} `{only}`")?;
            }
        }
        write!(f, " has {} left of {}, and this request may cost up to {}", self.left, self.cap, self.required)?;
        match self.renews_at.and_then(|at| jiff::Timestamp::from_microsecond(at).ok()) {
            Some(at) => write!(f, "; it renews at {at}"),
            None => f.write_str("; it does not renew"),
        }
    }
}

/// What is left of a cap; never below zero.
fn left(cap: i64, used: i64) -> Nano {
    Nano::new(cap.saturating_sub(used).max(0))
}

#[cfg(test)]
mod tests;
