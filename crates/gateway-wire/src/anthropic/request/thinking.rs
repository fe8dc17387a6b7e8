//! How much the model may think: levels, budgets and the room the answer needs beside them.

use gateway_core::{
    LossReason, Losses, Target,
    ir::{ChatRequest, Effort, Reasoning, ReasoningAmount},
};

/// The smallest budget the protocol accepts.
const BUDGET_MIN: u32 = 1_024;

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thinking {
    pub(super) mode: Option<Mode>,
    pub(super) effort: Option<Effort>,
    /// Whether the text of the thoughts is wanted; `None` leaves it to the provider.
    pub(super) visible: Option<bool>,
    /// The output limit, thoughts included.
    pub(super) tokens_max: u32,
}

/// The `thinking` object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Enabled { budget: u32 },
    Adaptive,
    Disabled,
}

impl Thinking {
    /// Whether the model will think, which rules out some other parameters.
    pub(super) fn is_on(&self) -> bool {
        matches!(self.mode, Some(Mode::Enabled { .. } | Mode::Adaptive))
    }
}

/// What the plan depends on besides the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) target: &'a Target<'a>,
    pub(super) native: bool,
    /// A tool must be called, which the protocol refuses together with thinking.
    pub(super) tool_is_forced: bool,
    /// See [`super::turns::Conversation::calls_without_thought`].
    pub(super) calls_without_thought: bool,
}

pub(super) fn plan(request: &ChatRequest, setting: Setting<'_>, losses: &mut Losses) -> Thinking {
    let Setting { target, native, tool_is_forced, calls_without_thought } = setting;
    let tokens_max = target.limit_to_write(request.output_tokens_max, true).unwrap_or(BUDGET_MIN);
    let asked = request.reasoning.unwrap_or(Reasoning { amount: None, visible: None });
    let by_effort = target.deployment.quirks.thinking_by_effort;
    let (mode, effort) = asked
        .amount
        .map_or((None, None), |amount| if native { of_native(amount, by_effort, losses) } else { convert(amount, by_effort, losses) });
    let mut made = Thinking { mode, effort, visible: asked.visible, tokens_max };
    if !native {
        if tool_is_forced && made.is_on() {
            losses.push("reasoning", LossReason::RefusedByModel);
            made.mode = by_effort.then_some(Mode::Disabled);
            made.effort = None;
        }
        // Models thinking by budget always show their thoughts, and refuse to be told how.
        if !by_effort && made.visible.take() == Some(false) && made.is_on() {
            losses.push("reasoning.visible", LossReason::Unsupported);
        }
        made.visible = made.visible.filter(|_| made.is_on());
    }
    if calls_without_thought && matches!(made.mode, Some(Mode::Enabled { .. })) {
        losses.push("reasoning", LossReason::RefusedByModel);
        (made.mode, made.visible) = (None, None);
    }
    if let Some(Mode::Enabled { budget }) = made.mode {
        fit(&mut made, budget, request.output_tokens_max, setting, losses);
    }
    made
}

/// As asked, unless the model no longer takes budgets.
fn of_native(amount: ReasoningAmount, by_effort: bool, losses: &mut Losses) -> (Option<Mode>, Option<Effort>) {
    match amount {
        ReasoningAmount::Effort(level) => (None, Some(level)),
        ReasoningAmount::Budget(budget) if by_effort => {
            losses.push("thinking.budget_tokens", LossReason::Approximated);
            (Some(Mode::Adaptive), Some(effort_for(budget)))
        }
        ReasoningAmount::Budget(budget) => (Some(Mode::Enabled { budget }), None),
        ReasoningAmount::Adaptive => (Some(Mode::Adaptive), None),
        ReasoningAmount::AdaptiveEffort(level) => (Some(Mode::Adaptive), Some(level)),
        ReasoningAmount::Off => (Some(Mode::Disabled), None),
    }
}

fn convert(amount: ReasoningAmount, by_effort: bool, losses: &mut Losses) -> (Option<Mode>, Option<Effort>) {
    let off = by_effort.then_some(Mode::Disabled);
    match (amount, by_effort) {
        (ReasoningAmount::Off | ReasoningAmount::Effort(Effort::None) | ReasoningAmount::Budget(0), _) => (off, None),
        (ReasoningAmount::AdaptiveEffort(Effort::None), _) => (off, None),
        (ReasoningAmount::Adaptive, true) => (Some(Mode::Adaptive), None),
        (ReasoningAmount::Effort(level) | ReasoningAmount::AdaptiveEffort(level), true) => {
            if level == Effort::Minimal {
                losses.push("reasoning.effort", LossReason::Approximated);
            }
            (Some(Mode::Adaptive), Some(level.max(Effort::Low)))
        }
        (ReasoningAmount::Budget(budget), true) => {
            losses.push("reasoning.budget", LossReason::Approximated);
            (Some(Mode::Adaptive), Some(effort_for(budget)))
        }
        (ReasoningAmount::Adaptive, false) => {
            losses.push("reasoning.effort", LossReason::Approximated);
            (Some(Mode::Enabled { budget: budget_for(Effort::Medium) }), None)
        }
        (ReasoningAmount::Effort(level) | ReasoningAmount::AdaptiveEffort(level), false) => {
            losses.push("reasoning.effort", LossReason::Approximated);
            (Some(Mode::Enabled { budget: budget_for(level) }), None)
        }
        (ReasoningAmount::Budget(budget), false) => {
            if budget < BUDGET_MIN {
                losses.push("reasoning.budget", LossReason::Approximated);
            }
            (Some(Mode::Enabled { budget: budget.max(BUDGET_MIN) }), None)
        }
    }
}

/// The budget must leave room below the output limit, and the limit may not rise above what is paid for.
fn fit(made: &mut Thinking, budget: u32, asked: Option<u32>, setting: Setting<'_>, losses: &mut Losses) {
    if budget < made.tokens_max {
        return;
    }
    if setting.native && asked == Some(made.tokens_max) {
        // The caller's own numbers; the provider says what is wrong with them.
        return;
    }
    let Setting { target, native, .. } = setting;
    let ceiling = target.output_limit.unwrap_or(u32::MAX).min(target.deployment.limits.output_tokens_max.unwrap_or(u32::MAX));
    if !native {
        made.tokens_max = budget.saturating_add(made.tokens_max).min(ceiling).max(made.tokens_max);
        if budget < made.tokens_max {
            return;
        }
    }
    if made.tokens_max <= BUDGET_MIN {
        losses.push("reasoning", LossReason::RefusedByModel);
        made.mode = None;
        made.visible = None;
        return;
    }
    losses.push("reasoning.budget", LossReason::Approximated);
    // Half for the thoughts, half for the answer, as far as the smallest budget allows.
    made.mode = Some(Mode::Enabled { budget: (made.tokens_max / 2).max(BUDGET_MIN) });
}

fn budget_for(level: Effort) -> u32 {
    match level {
        Effort::None | Effort::Minimal => 1_024,
        Effort::Low => 2_048,
        Effort::Medium => 8_192,
        Effort::High => 16_384,
        Effort::Xhigh => 32_768,
        // Most models write at most 64,000; the rest is for the answer.
        Effort::Max => 49_152,
    }
}

/// The level whose budget is nearest from above. Not every model knows `xhigh`, so it is never chosen.
fn effort_for(budget: u32) -> Effort {
    match budget {
        0..=2_048 => Effort::Low,
        2_049..=8_192 => Effort::Medium,
        8_193..=32_768 => Effort::High,
        _ => Effort::Max,
    }
}
