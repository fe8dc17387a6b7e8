//! Word of a budget that refused somebody, once a period.

use rusqlite::params;
use serde_json::json;

use crate::{
    budget::{BudgetRefusal, gauge::Gauge},
    journal::Journal,
};

/// Queues it. Nobody waits: whoever was refused is answered at once, and word that cannot be written is logged.
pub(super) fn refused(journal: &Journal, gauge: &Gauge, start: i64, refusal: &BudgetRefusal) {
    gauge.tell_refused(start, |bounds, told| {
        let mut body = gauge.facts(&bounds);
        body["limit"] = json!(refusal.cap);
        body["left"] = json!(refusal.left);
        body["required"] = json!(refusal.required);
        let (spec, subject) = (std::sync::Arc::clone(&gauge.spec), gauge.subject.clone());
        journal.tell(move |scope| {
            let now_us = scope.now_us();
            // A cap below the first request has refused before anything was held, so the row may not be there yet.
            scope
                .connection()
                .prepare_cached(
                    "INSERT INTO budget_period(budget, subject, start_at, end_at, cap, hard, alerted) \
                     SELECT ?1, ?2, ?3, ?4, cap, hard, ?5 FROM budget WHERE id = ?1 \
                     ON CONFLICT(budget, subject, start_at) DO UPDATE SET alerted = MAX(alerted, excluded.alerted)",
                )?
                .execute(params![spec.id.0, &*subject, bounds.start, bounds.end, told])?;
            crate::outbox::queue(scope.connection(), now_us, "budget.exceeded", &spec.org, &body)
        });
    });
}
