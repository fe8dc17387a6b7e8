//! The fast path of requests: the caller's own bytes, edited at the top level only.

use gateway_core::{Call, Encoded, LossReason, Losses, Operation, Target};

use super::request::{self, Purpose};
use crate::{controls, json::Json, splice::Splice};

/// Edits the request's bytes, or `None` when something below the top level must change.
pub(super) fn forward(call: &Call, target: &Target<'_>, losses: &mut Losses) -> Option<Encoded> {
    let peek = call.peek();
    let counts = call.operation() == Operation::CountTokens;
    let body = call.body();
    let mut splice = Splice::new(body, &peek.spans);
    let limit = target.limit_to_write(peek.output_limit, true);
    if peek.foreign_seal || needs_rewriting(&splice, target, peek.output_limit, limit) {
        // A count must not carry what an answer needs, and only this method knows that it is one.
        return if counts { recount(call, target, losses) } else { None };
    }
    splice.set_str("model", &target.deployment.upstream_model);
    for key in controls::KEYS {
        splice.remove(key);
    }
    if target.deployment.quirks.no_sampling {
        for key in ["temperature", "top_p", "top_k"] {
            drop_key(&mut splice, key, LossReason::RefusedByModel, losses);
        }
    }
    let accepted = &target.deployment.quirks.accepted_keys;
    if !accepted.is_empty() {
        let refused: Vec<_> = splice.keys().filter(|key| !accepted.iter().any(|known| **known == **key)).collect();
        for key in refused.into_iter().filter(|key| !controls::KEYS.contains(&&**key) && key != "model") {
            losses.push(key.to_string(), LossReason::Unsupported);
            splice.remove(key);
        }
    }
    if !counts {
        if limit != peek.output_limit
            && let Some(limit) = limit
        {
            splice.set("max_tokens", limit.to_string());
        }
        if target.stream != peek.stream {
            splice.set("stream", if target.stream { "true" } else { "false" });
        }
    }
    Some(Encoded::body(splice.apply()))
}

fn drop_key(splice: &mut Splice<'_>, key: &'static str, reason: LossReason, losses: &mut Losses) {
    if splice.value(key).is_some_and(|value| value != b"null") {
        losses.push(key, reason);
    }
    splice.remove(key);
}

/// Whether a nested value must change: a thinking budget that the model does not take or the limit does not hold, or a
/// schema that needs a forced tool.
fn needs_rewriting(splice: &Splice<'_>, target: &Target<'_>, asked: Option<u32>, limit: Option<u32>) -> bool {
    let quirks = &target.deployment.quirks;
    let fields = |key| splice.value(key).and_then(|value| Json::parse(value).and_then(Json::fields).ok());
    let budget = fields("thinking").and_then(|thinking| thinking.peek("budget_tokens"));
    let too_large = |budget: u32| limit != asked && limit.is_some_and(|limit| budget >= limit);
    let budget_must_change = budget.is_some_and(|budget| quirks.thinking_by_effort || budget.u32().is_ok_and(too_large));
    let wants_schema = || fields("output_config").is_some_and(|config| config.has("format")) || splice.has("output_format");
    budget_must_change || (quirks.schema_by_forced_tool && wants_schema())
}

fn recount(call: &Call, target: &Target<'_>, losses: &mut Losses) -> Option<Encoded> {
    let canonical = call.canonical().ok()?;
    request::encode(canonical, target, Purpose::Count, losses).ok()
}
