//! A question about usage: which account, which span, in which groups.

use std::fmt::Write as _;

use gateway_core::OrgId;

use super::span::{Division, Span, shown};
use crate::{error::LedgerError, money::Currency};

const LIMIT_DEFAULT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;

/// What rows are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// A day of the zone.
    Day,
    /// An hour of the zone's clock.
    Hour,
    /// The account; operators only.
    Account,
    /// The public model that served.
    Model,
    /// Who served.
    Provider,
    /// The team of the key.
    Team,
    /// The user of the key.
    User,
    /// The key.
    Key,
    /// The caller's own name for the person behind the request.
    Tag,
}

impl Group {
    const ALL: [Self; 9] =
        [Self::Day, Self::Hour, Self::Account, Self::Model, Self::Provider, Self::Team, Self::User, Self::Key, Self::Tag];

    /// Its name in queries and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Account => "account",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Team => "team",
            Self::User => "user",
            Self::Key => "key",
            Self::Tag => "tag",
        }
    }

    fn of(name: &str) -> Option<Self> {
        if name == "upstream" {
            return Some(Self::Provider);
        }
        Self::ALL.into_iter().find(|group| group.as_str() == name)
    }
}

/// Whose usage, and how much of it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// An account's own view.
    Account(OrgId),
    /// The operator's view of one account, by name or id, or of all: with what providers bill.
    Operator(Option<String>),
}

/// A question about usage.
#[derive(Debug, Clone)]
pub struct UsageAsk {
    pub(super) scope: Scope,
    pub(super) currency: Currency,
    pub(super) span: Span,
    pub(super) groups: Vec<Group>,
    pub(super) limit: usize,
    pub(super) after: Option<Vec<String>>,
}

/// The parameters as they come.
#[derive(Default)]
struct Raw<'q> {
    from: Option<&'q str>,
    to: Option<&'q str>,
    tz: Option<&'q str>,
    group_by: Option<&'q str>,
    limit: Option<&'q str>,
    after: Option<&'q str>,
}

impl UsageAsk {
    /// The parameters `from`, `to`, `tz`, `group_by`, `limit` and `after`, decoded.
    ///
    /// # Errors
    /// A parameter is unknown, given twice, or cannot be read; or the sums cannot answer the combination.
    pub fn parse(scope: Scope, currency: Currency, pairs: &[(String, String)], now_us: i64) -> Result<Self, LedgerError> {
        let mut raw = Raw::default();
        for (name, value) in pairs {
            let (param, place) = match name.as_str() {
                "from" => ("from", &mut raw.from),
                "to" => ("to", &mut raw.to),
                "tz" => ("tz", &mut raw.tz),
                "group_by" => ("group_by", &mut raw.group_by),
                "limit" => ("limit", &mut raw.limit),
                "after" => ("after", &mut raw.after),
                other => {
                    let problem = format!("has no parameter `{}`; known are from, to, tz, group_by, format, limit and after", shown(other));
                    return Err(LedgerError::invalid("query", problem));
                }
            };
            if place.replace(value.as_str()).is_some() {
                return Err(LedgerError::invalid(param, "is given twice"));
            }
        }
        let span = Span::of(raw.from, raw.to, raw.tz, now_us)?;
        let groups = groups(raw.group_by.unwrap_or("model"), &scope)?;
        let limit = match raw.limit {
            None => LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                .ok_or_else(|| LedgerError::invalid("limit", format!("must be a whole number from 1 to {LIMIT_MAX}")))?,
        };
        let after = raw.after.map(|text| read_cursor(text, &groups)).transpose()?;
        Ok(Self { scope, currency, span, groups, limit, after })
    }

    /// Whether what providers bill is shown.
    #[must_use]
    pub fn shows_cost(&self) -> bool {
        matches!(self.scope, Scope::Operator(_))
    }

    pub(super) fn has(&self, group: Group) -> bool {
        self.groups.contains(&group)
    }

    pub(super) fn division(&self) -> Division {
        if self.has(Group::Hour) {
            Division::Hours
        } else if self.has(Group::Day) {
            Division::Days
        } else {
            Division::Whole
        }
    }
}

fn groups(text: &str, scope: &Scope) -> Result<Vec<Group>, LedgerError> {
    let mut groups = Vec::new();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let group = Group::of(name).filter(|group| *group != Group::Account || matches!(scope, Scope::Operator(_))).ok_or_else(|| {
            let known = "model, provider (or upstream), team, user, key, tag, day and hour";
            LedgerError::invalid("group_by", format!("knows {known}, not `{}`", shown(name)))
        })?;
        if groups.contains(&group) {
            return Err(LedgerError::invalid("group_by", format!("names `{}` twice", group.as_str())));
        }
        groups.push(group);
    }
    let has = |group| groups.contains(&group);
    if has(Group::Day) && has(Group::Hour) {
        return Err(LedgerError::invalid("group_by", "takes `day` or `hour`, not both: an hour's row names its day"));
    }
    if let Some(other) = [Group::Team, Group::User, Group::Key].into_iter().find(|group| has(Group::Tag) && has(*group)) {
        let problem = format!(
            "cannot have `tag` together with `{}`: sums by tag are kept by model, provider and time only; ask for the two one after \
             the other",
            other.as_str()
        );
        return Err(LedgerError::invalid("group_by", problem));
    }
    // Time first, so that pages follow the clock; the rest as asked.
    groups.sort_by_key(|group| !matches!(group, Group::Day | Group::Hour));
    Ok(groups)
}

/// A row's key as the `next` of a page: the hex of its JSON, so that it passes through a query as it is.
pub(super) fn cursor(key: &[String]) -> String {
    let json = serde_json::to_string(key).unwrap_or_default();
    json.bytes().fold(String::with_capacity(json.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read_cursor(text: &str, groups: &[Group]) -> Result<Vec<String>, LedgerError> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
    bytes
        .and_then(|bytes| serde_json::from_slice::<Vec<String>>(&bytes).ok())
        .filter(|key| key.len() == groups.len() + 1)
        .ok_or_else(|| LedgerError::invalid("after", "must be what the last page's `next` said, with the same `group_by`"))
}
