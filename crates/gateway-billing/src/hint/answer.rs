//! The answer: hints by what they save, and what each rule could look at.

use std::collections::BTreeMap;

use gateway_core::{Mode, OrgId, RequestId};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    ask::HintAsk,
    desk::Totals,
    finding::{About, Confidence, Coverage, Effect, Finding, Findings, confidence},
};
use crate::{
    money::{Currency, Money, Nano},
    scan::Covered,
};

/// Hints for a period. Serialises as the interface shows them.
#[derive(Debug, Clone, Serialize)]
pub struct Hints {
    object: &'static str,
    account: Option<String>,
    from: String,
    to: String,
    tz: String,
    currency: Currency,
    computed_at: String,
    /// Where the time was too short for all of the period: what arrived before this was read.
    covered_until: Option<String>,
    requests: u64,
    /// Requests whose price or usage could not be read, so that no rule saw them.
    unreadable: u64,
    charge: Money,
    data: Vec<Hint>,
    rules: Vec<Looked>,
}

#[derive(Debug, Clone, Serialize)]
struct Hint {
    id: &'static str,
    scope: Subject,
    period: Period,
    effect: &'static str,
    requests: u64,
    current_usd: String,
    alternative_usd: String,
    saving_usd: String,
    #[serde(skip)]
    saving: Nano,
    confidence: &'static str,
    assumptions: Vec<String>,
    details: Map<String, Value>,
    example_request: Option<String>,
    evidence_url: String,
}

#[derive(Debug, Clone, Serialize)]
struct Subject {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Period {
    from: String,
    to: String,
}

/// What a rule could look at.
#[derive(Debug, Clone, Serialize)]
struct Looked {
    id: &'static str,
    state: &'static str,
    requests: u64,
    not_known: u64,
    excluded: BTreeMap<&'static str, u64>,
    capped: bool,
}

impl Hints {
    pub(super) fn of(
        ask: &HintAsk,
        org: Option<OrgId>,
        now_us: i64,
        covered: Covered,
        totals: Totals,
        found: Vec<(&'static str, Findings)>,
    ) -> Self {
        let maker = Maker { ask, org };
        let mut data = Vec::new();
        let mut rules = Vec::with_capacity(found.len());
        for (id, Findings { coverage, found }) in found {
            data.extend(found.into_iter().map(|finding| maker.hint(id, &coverage, finding)));
            rules.push(looked(id, coverage));
        }
        // The same answer in the same order, whatever order the rules' tables had.
        data.sort_by_cached_key(|hint| (std::cmp::Reverse(hint.saving), hint.id, format!("{:?}{:?}", hint.scope, hint.effect)));
        Self {
            object: "hints",
            account: org.filter(|_| ask.shows_cost()).map(|org| org.to_string()),
            from: ask.span.show(ask.span.from_us()),
            to: ask.span.show(ask.span.to_us()),
            tz: ask.span.zone_name().to_owned(),
            currency: Currency::of(ask.mode),
            computed_at: instant(now_us),
            covered_until: match covered {
                Covered::Whole => None,
                Covered::Until(at_us) => Some(instant(at_us)),
            },
            requests: totals.requests,
            unreadable: totals.unreadable,
            charge: Money::new(totals.charge, Currency::of(ask.mode)),
            data,
            rules,
        }
    }
}

struct Maker<'a> {
    ask: &'a HintAsk,
    org: Option<OrgId>,
}

impl Maker<'_> {
    fn hint(&self, id: &'static str, coverage: &Coverage, finding: Finding) -> Hint {
        let span = &self.ask.span;
        let Finding { about: About { model, provider, upstream_model, key }, effect, basis, pair, assumptions, details } = finding;
        let confidence: Confidence = confidence(basis, pair.requests, coverage);
        let text = |text: Option<std::sync::Arc<str>>| text.map(|text| text.to_string());
        Hint {
            id,
            scope: Subject {
                model: text(model),
                provider: text(provider),
                upstream_model: text(upstream_model),
                key: key.map(|key| key.to_string()),
            },
            period: Period { from: span.show(span.from_us()), to: span.show(span.to_us()) },
            effect: Effect::as_str(effect),
            requests: pair.requests,
            current_usd: pair.current.to_string(),
            alternative_usd: pair.alternative.to_string(),
            saving_usd: pair.saving().to_string(),
            saving: pair.saving(),
            confidence: confidence.as_str(),
            assumptions,
            details,
            example_request: pair.example().map(|id| id.to_string()),
            evidence_url: self.evidence(pair.example()),
        }
    }

    /// An account is shown the request that would have saved most, the operator the sums: only callers can see receipts.
    fn evidence(&self, example: Option<RequestId>) -> String {
        let (span, mut query) = (&self.ask.span, form_urlencoded::Serializer::new(String::new()));
        query.append_pair("from", &instant(span.from_us())).append_pair("to", &instant(span.to_us())).append_pair("tz", span.zone_name());
        if self.ask.account().is_some() {
            return match example {
                Some(id) => format!("/v1/billing/requests/{id}"),
                None => format!("/v1/billing/usage?{}", query.append_pair("group_by", "model,provider").finish()),
            };
        }
        if let Some(org) = self.org {
            query.append_pair("account", &org.to_string());
        }
        let mode = if self.ask.mode == Mode::Live { "live" } else { "test" };
        format!("/admin/v1/usage?{}", query.append_pair("mode", mode).append_pair("group_by", "model,provider,key").finish())
    }
}

fn looked(id: &'static str, coverage: Coverage) -> Looked {
    let Coverage { requests, not_known, excluded, capped } = coverage;
    let state = match (requests, not_known) {
        (0, 0) => "nothing_to_look_at",
        (0, _) => "not_known",
        _ => "looked",
    };
    Looked { id, state, requests, not_known, excluded, capped }
}

/// Microseconds since 1970 as RFC 3339.
fn instant(us: i64) -> String {
    Timestamp::from_microsecond(us).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}
