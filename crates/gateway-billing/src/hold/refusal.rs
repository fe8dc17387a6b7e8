//! Why no money was held, and what a caller is told of it.

use std::time::Duration;

use gateway_core::{Fault, FaultKind, Origin};

use super::guard;
use crate::{budget::BudgetRefusal, error::LedgerError, money::Money};

/// Why no money was held.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Refusal {
    /// The wallet cannot pay for it.
    InsufficientFunds {
        /// What is free.
        available: Money,
        /// What would have to be held.
        required: Money,
        /// Most output tokens per choice that the free money would pay for.
        affordable_max_tokens: u64,
    },
    /// A budget cannot pay for it.
    Budget(Box<BudgetRefusal>),
    /// Every candidate could cost more than the caller's own limit on the call.
    MaxTotalCost {
        /// What the least dear of them needs.
        required: Money,
        /// The limit.
        max: Money,
        /// Most output tokens per choice that fit the limit.
        affordable_max_tokens: u64,
    },
    /// No candidate has a price.
    NotPriced {
        /// The model.
        model: Box<str>,
    },
    /// The account has no such wallet.
    NoWallet,
    /// The ledger cannot take it now.
    Ledger(LedgerError),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InsufficientFunds { available, required, affordable_max_tokens } => {
                let advice = if affordable_max_tokens == 0 {
                    "top up, or send a shorter prompt".to_owned()
                } else {
                    format!("top up, or ask for at most {affordable_max_tokens} output tokens")
                };
                let message = format!("this request may cost up to {required} and {available} are available; {advice}");
                Self::new(FaultKind::InsufficientFunds, Origin::Caller, message)
                    .with_code("insufficient_credits")
                    .with_detail("available_usd", available.amount.to_string())
                    .with_detail("required_usd", required.amount.to_string())
                    .with_detail("affordable_max_tokens", affordable_max_tokens)
            }
            Refusal::Budget(refusal) => over_budget(&refusal),
            Refusal::MaxTotalCost { required, max, affordable_max_tokens } => guard::refusal(required, max, affordable_max_tokens),
            Refusal::NotPriced { model } => Self::new(
                FaultKind::ModelNotPriced,
                Origin::Gateway,
                format!("the model `{model}` has no price, so it is not sold; the operator must set one"),
            )
            .with_code("model_not_priced")
            .with_param("model"),
            Refusal::NoWallet => Self::internal("the account of this key has no wallet"),
            Refusal::Ledger(error) => {
                let retry_after = matches!(error, LedgerError::Busy | LedgerError::Down { .. }).then_some(Duration::from_secs(1));
                Self::from(error).with_retry_after(retry_after)
            }
        }
    }
}

fn over_budget(refusal: &BudgetRefusal) -> Fault {
    let fault = Fault::new(FaultKind::InsufficientFunds, Origin::Caller, refusal.to_string())
        .with_code("budget_exceeded")
        .with_detail("budget", refusal.id.to_string())
        .with_detail("scope", refusal.scope)
        .with_detail("limit_usd", refusal.cap.amount.to_string())
        .with_detail("available_usd", refusal.left.amount.to_string())
        .with_detail("required_usd", refusal.required.amount.to_string());
    let fault = match (&*refusal.subject, refusal.scope) {
        ("", _) | (_, "org") => fault,
        (subject, _) => fault.with_detail("subject", subject),
    };
    match refusal.renews_at.and_then(|at| jiff::Timestamp::from_microsecond(at).ok()) {
        Some(at) => fault.with_detail("reset_at", at.to_string()),
        None => fault,
    }
}
