//! A question for hints: whose, and of which period.

use gateway_core::{KeyId, Mode, OrgId};
use jiff::Timestamp;

use crate::{
    error::LedgerError,
    report::{Scope, Span, shown},
};

/// How far back is looked unless the question says: thirty days.
const DEFAULT_US: i64 = 30 * 86_400_000_000;

/// A question for hints.
#[derive(Debug, Clone)]
pub struct HintAsk {
    pub(super) scope: Scope,
    /// The key that asks; it is told of the models it may use.
    pub(super) asked_with: Option<KeyId>,
    pub(super) mode: Mode,
    pub(super) span: Span,
}

impl HintAsk {
    /// The parameters `from`, `to` and `tz`, decoded. Without `to` the period ends with the running quarter of an hour, without
    /// `from` it has thirty days.
    ///
    /// # Errors
    /// A parameter is unknown, given twice, or cannot be read.
    pub fn parse(scope: Scope, mode: Mode, pairs: &[(String, String)], now_us: i64) -> Result<Self, LedgerError> {
        let (mut from, mut to, mut tz) = (None, None, None);
        for (name, value) in pairs {
            let (param, place) = match name.as_str() {
                "from" => ("from", &mut from),
                "to" => ("to", &mut to),
                "tz" => ("tz", &mut tz),
                other => {
                    return Err(LedgerError::invalid("query", format!("has no parameter `{}`; known are from, to and tz", shown(other))));
                }
            };
            if place.replace(value.as_str()).is_some() {
                return Err(LedgerError::invalid(param, "is given twice"));
            }
        }
        let span = match from {
            Some(from) => Span::of(Some(from), to, tz, now_us)?,
            None => {
                let end = Span::of(Some("1970-01-01T00:00:00Z"), to, tz, now_us)?.to_us();
                let start = Timestamp::from_microsecond((end - DEFAULT_US).max(0)).unwrap_or(Timestamp::UNIX_EPOCH);
                Span::of(Some(&start.to_string()), to, tz, now_us)?
            }
        };
        Ok(Self { scope, asked_with: None, mode, span })
    }

    /// The same, asked with a key of the account: only models that it may use are named as alternatives.
    #[must_use]
    pub fn asked_with(self, key: Option<KeyId>) -> Self {
        Self { asked_with: key, ..self }
    }

    /// The account whose own view it is.
    pub(super) fn account(&self) -> Option<OrgId> {
        match self.scope {
            Scope::Account(org) => Some(org),
            Scope::Operator(_) => None,
        }
    }

    pub(super) fn shows_cost(&self) -> bool {
        matches!(self.scope, Scope::Operator(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23 12:05:00 UTC.
    const NOW: i64 = 1_795_435_500_000_000;

    #[track_caller]
    fn check(query: &str, expected: Result<(&str, &str), &str>) {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let ask = HintAsk::parse(Scope::Account(OrgId::from_bytes([1; 16])), Mode::Live, &pairs, NOW);
        let shown = ask.map(|ask| (ask.span.show(ask.span.from_us()), ask.span.show(ask.span.to_us())));
        match (shown, expected) {
            (Ok((from, to)), Ok(expected)) => assert_eq!((from.as_str(), to.as_str()), expected, "{query}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{query}: {error}"),
            (found, expected) => panic!("{query}: {found:?}, and not {expected:?}"),
        }
    }

    #[test]
    fn thirty_days_up_to_now_are_looked_at() {
        check("", Ok(("2026-10-24T12:15:00+00:00", "2026-11-23T12:15:00+00:00")));
        check("to=2026-11-01&tz=Asia/Shanghai", Ok(("2026-10-02T00:00:00+08:00", "2026-11-01T00:00:00+08:00")));
        check("from=2026-11-01", Ok(("2026-11-01T00:00:00+00:00", "2026-11-23T12:15:00+00:00")));
        check("to=1970-01-02", Ok(("1970-01-01T00:00:00+00:00", "1970-01-02T00:00:00+00:00")));
        check("to=1970-01-02&tz=Asia/Shanghai", Ok(("1970-01-01T08:00:00+08:00", "1970-01-02T00:00:00+08:00")));
        check("from=2026-11-01&to=2026-11-01", Err("`to`"));
        check("tz=Mars/Base", Err("Mars/Base"));
        check("tz=UTC&tz=UTC", Err("twice"));
        check("group_by=model", Err("no parameter `group_by`"));
    }
}
