//! The settings beside the conversation that the protocol has, and the losses of those it has not.

use gateway_core::{
    LossReason, Losses, Target,
    ir::{ChatRequest, Effort, OutputFormat, Raw, Sampling},
};

/// The name of a level. The protocol has none below `low`.
pub(super) fn effort_name(level: Effort) -> &'static str {
    match level {
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
        Effort::Max => "max",
    }
}

/// The name of a level as JSON.
pub(super) fn effort_raw(level: Effort) -> Raw {
    Raw::of(&effort_name(level)).expect("a string is valid JSON")
}

/// Sampling as the target takes it.
pub(super) fn sampling(request: &ChatRequest, target: &Target<'_>, thinks: Thinks, losses: &mut Losses) -> Sampling {
    let asked = request.sampling;
    for (name, is_asked) in [
        ("frequency_penalty", asked.frequency_penalty.is_some_and(|n| n != 0.0)),
        ("presence_penalty", asked.presence_penalty.is_some_and(|n| n != 0.0)),
        ("seed", asked.seed.is_some()),
    ] {
        if is_asked {
            losses.push(name, LossReason::Unsupported);
        }
    }
    let mut made = Sampling { temperature: asked.temperature, top_p: asked.top_p, top_k: asked.top_k, ..Sampling::default() };
    let no_sampling = target.deployment.quirks.no_sampling;
    let native = thinks == Thinks::AsTheCallerSays;
    let mut refuse = |name: &'static str| losses.push(name, LossReason::RefusedByModel);
    if no_sampling || thinks == Thinks::Yes {
        // A thinking model samples at temperature 1, over nearly all of the distribution.
        if made.temperature.take_if(|n| no_sampling || *n != 1.0).is_some() {
            refuse("temperature");
        }
        if made.top_p.take_if(|n| no_sampling || *n < 0.95).is_some() {
            refuse("top_p");
        }
        if made.top_k.take().is_some() {
            refuse("top_k");
        }
    }
    if native {
        return made;
    }
    if made.temperature.is_some() && made.top_p.take().is_some() {
        // Newer models take one of the two; the temperature is the one most callers mean.
        refuse("top_p");
    }
    if made.temperature.is_some_and(|n| n > 1.0) {
        losses.push("temperature", LossReason::Approximated);
        made.temperature = Some(1.0);
    }
    made
}

/// Whether the model thinks, as far as sampling is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinks {
    Yes,
    No,
    /// The caller speaks this protocol and knows its rules.
    AsTheCallerSays,
}

/// Records what the protocol has no place for.
pub(super) fn lose_unsupported(request: &ChatRequest, losses: &mut Losses) {
    if request.choices.is_some_and(|n| n > 1) {
        losses.push("choices", LossReason::Unsupported);
    }
    if request.logprobs.is_some() {
        losses.push("logprobs", LossReason::Unsupported);
    }
    for (name, _) in &request.metadata {
        losses.push(format!("metadata.{name}"), LossReason::Unsupported);
    }
    match &request.output_format {
        OutputFormat::JsonObject => losses.push("output_format", LossReason::Approximated),
        OutputFormat::JsonSchema { description: Some(_), .. } => losses.push("output_format.description", LossReason::Unsupported),
        OutputFormat::Text | OutputFormat::JsonSchema { description: None, .. } => {}
    }
}

/// The stop sequences the protocol accepts: one of white space alone is refused.
pub(super) fn stop<'a>(request: &'a ChatRequest, losses: &mut Losses) -> Vec<&'a str> {
    let mut kept = Vec::with_capacity(request.stop.len());
    for (n, word) in request.stop.iter().enumerate() {
        if word.trim().is_empty() {
            losses.push(format!("stop[{n}]"), LossReason::RefusedByModel);
        } else {
            kept.push(word.as_str());
        }
    }
    kept
}

/// The service tier in the protocol's words.
pub(super) fn service_tier<'a>(request: &'a ChatRequest, native: bool, losses: &mut Losses) -> Option<&'a str> {
    match request.service_tier.as_deref()? {
        tier if native => Some(tier),
        "auto" | "priority" => Some("auto"),
        "default" | "standard" | "standard_only" => Some("standard_only"),
        _ => {
            losses.push("service_tier", LossReason::Unsupported);
            None
        }
    }
}
