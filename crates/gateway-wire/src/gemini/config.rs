//! Sampling, output shape, limits and thinking: what goes into `generationConfig`.

use gateway_core::{
    LossReason, Losses, Target,
    ir::{ChatRequest, Effort, OutputFormat, Reasoning, ReasoningAmount},
};

use super::body::{GenerationConfig, ThinkingConfig};

/// Gemini refuses more.
const STOP_SEQUENCES_MAX: usize = 5;

/// The largest budget that every model with budgets takes.
const THINKING_BUDGET_MAX: u32 = 24_576;

/// Writes everything that Gemini keeps in `generationConfig`.
pub(super) fn encode<'a>(request: &'a ChatRequest, target: &Target<'_>, losses: &mut Losses) -> GenerationConfig<'a> {
    let mut config = sampling(request, target, losses);
    config.candidate_count = request.choices.filter(|&n| n != 1);
    // Thoughts count towards `maxOutputTokens`, as they do in the protocols this limit comes from.
    config.max_output_tokens = target.limit_to_write(request.output_tokens_max, false);
    config.stop_sequences = match request.stop.get(..STOP_SEQUENCES_MAX) {
        Some(first) => {
            for n in STOP_SEQUENCES_MAX..request.stop.len() {
                losses.push(format!("stop[{n}]"), LossReason::Unsupported);
            }
            first
        }
        None => &request.stop,
    };
    output_format(&request.output_format, &mut config, losses);
    if let Some(logprobs) = &request.logprobs {
        config.response_logprobs = Some(true);
        config.logprobs = logprobs.top.filter(|&top| top > 0);
    }
    if let Some(reasoning) = &request.reasoning {
        let mut thinking = thinking(reasoning, target.deployment.quirks.thinking_by_effort, losses);
        leave_room(&mut thinking, config.max_output_tokens, losses);
        config.thinking_config = (thinking != ThinkingConfig::default()).then_some(thinking);
    }
    config
}

fn sampling<'a>(request: &ChatRequest, target: &Target<'_>, losses: &mut Losses) -> GenerationConfig<'a> {
    let sampling = &request.sampling;
    let mut config = GenerationConfig {
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        seed: sampling.seed.map(|seed| seed_of(seed, losses)),
        ..GenerationConfig::default()
    };
    if target.deployment.quirks.no_sampling {
        let refused =
            [("temperature", sampling.temperature.is_some()), ("top_p", sampling.top_p.is_some()), ("top_k", sampling.top_k.is_some())];
        for (path, _) in refused.into_iter().filter(|(_, asked)| *asked) {
            losses.push(path, LossReason::RefusedByModel);
        }
    } else {
        config.temperature = sampling.temperature;
        config.top_p = sampling.top_p;
        config.top_k = sampling.top_k;
    }
    config
}

/// Gemini's seed has 32 bits. A longer one keeps its low bits: equal seeds stay equal, which is all a seed is for.
fn seed_of(seed: i64, losses: &mut Losses) -> i32 {
    i32::try_from(seed).unwrap_or_else(|_| {
        losses.push("seed", LossReason::Approximated);
        let [a, b, c, d, ..] = seed.to_le_bytes();
        i32::from_le_bytes([a, b, c, d])
    })
}

fn output_format<'a>(format: &'a OutputFormat, config: &mut GenerationConfig<'a>, losses: &mut Losses) {
    match format {
        OutputFormat::Text => {}
        OutputFormat::JsonObject => config.response_mime_type = Some("application/json"),
        // The name is only a label and the schema always binds, so neither `name` nor `strict` is missed.
        OutputFormat::JsonSchema { name: _, description, schema, strict: _ } => {
            config.response_mime_type = Some("application/json");
            config.response_json_schema = Some(schema);
            if description.is_some() {
                losses.push("response_format.json_schema.description", LossReason::Unsupported);
            }
        }
    }
}

fn thinking(asked: &Reasoning, by_level: bool, losses: &mut Losses) -> ThinkingConfig {
    let mut config = ThinkingConfig { include_thoughts: asked.visible, ..ThinkingConfig::default() };
    let Some(amount) = asked.amount else { return config };
    if by_level {
        let (level, exact) = level_of(amount);
        config.thinking_level = level;
        if !exact {
            losses.push("reasoning", LossReason::Approximated);
        }
    } else {
        let (budget, exact) = budget_of(amount);
        config.thinking_budget = Some(budget);
        if !exact {
            losses.push("reasoning", LossReason::Approximated);
        }
    }
    config
}

/// Thoughts that may use up the whole limit leave no answer: half of it is kept for one.
fn leave_room(thinking: &mut ThinkingConfig, limit: Option<u32>, losses: &mut Losses) {
    let Some((limit, budget)) = limit.and_then(|limit| i32::try_from(limit).ok()).zip(thinking.thinking_budget) else { return };
    if budget > 0 && budget >= limit {
        thinking.thinking_budget = Some(limit / 2);
        losses.push("reasoning", LossReason::Approximated);
    }
}

/// The level for models that think by level, and whether it is what was asked. `None` leaves it to the model, whose
/// thinking is adaptive anyway. These models cannot stop thinking altogether, so "off" becomes the lowest level.
pub(super) fn level_of(amount: ReasoningAmount) -> (Option<&'static str>, bool) {
    match amount {
        ReasoningAmount::Adaptive => (None, true),
        ReasoningAmount::Effort(effort) | ReasoningAmount::AdaptiveEffort(effort) => match effort {
            Effort::None => (Some("minimal"), false),
            Effort::Minimal => (Some("minimal"), true),
            Effort::Low => (Some("low"), true),
            Effort::Medium => (Some("medium"), true),
            Effort::High => (Some("high"), true),
            Effort::Xhigh => (Some("xhigh"), true),
            Effort::Max => (Some("xhigh"), false),
        },
        ReasoningAmount::Off => (Some("minimal"), false),
        ReasoningAmount::Budget(tokens) => {
            let level = match tokens {
                0..=1_024 => "minimal",
                1_025..=4_096 => "low",
                4_097..=12_288 => "medium",
                12_289..=24_576 => "high",
                24_577.. => "xhigh",
            };
            (Some(level), false)
        }
    }
}

/// The budget for models that think by budget, and whether it is what was asked: −1 lets the model decide, 0 is off.
pub(super) fn budget_of(amount: ReasoningAmount) -> (i32, bool) {
    let capped = |tokens: u32| i32::try_from(tokens.min(THINKING_BUDGET_MAX)).unwrap_or(i32::MAX);
    match amount {
        ReasoningAmount::Adaptive => (-1, true),
        ReasoningAmount::AdaptiveEffort(_) => (-1, false),
        ReasoningAmount::Off | ReasoningAmount::Effort(Effort::None) => (0, true),
        ReasoningAmount::Budget(tokens) => (capped(tokens), tokens <= THINKING_BUDGET_MAX),
        ReasoningAmount::Effort(Effort::Minimal) => (1_024, false),
        ReasoningAmount::Effort(Effort::Low) => (2_048, false),
        ReasoningAmount::Effort(Effort::Medium) => (8_192, false),
        ReasoningAmount::Effort(Effort::High) => (16_384, false),
        ReasoningAmount::Effort(Effort::Xhigh | Effort::Max) => (capped(THINKING_BUDGET_MAX), false),
    }
}
