//! What an answer says of its own price.

use std::{fmt, sync::Arc};

use crate::{
    attempt::{Attempt, AttemptLog},
    deployment::Deployment,
    meter::Used,
};

/// Tells whoever writes an answer what it costs its caller. Without one, as in a gateway that bills nobody, answers are
/// silent about it.
#[derive(Clone, Default)]
pub struct Pricer(Option<(Arc<dyn AttemptLog>, Arc<Deployment>)>);

impl Pricer {
    /// For answers of an attempt.
    #[must_use]
    pub fn of(attempt: &Attempt) -> Self {
        Self::new(Arc::clone(&attempt.log), Arc::clone(&attempt.deployment))
    }

    /// For answers of `deployment`, as `log` prices them.
    #[must_use]
    pub fn new(log: Arc<dyn AttemptLog>, deployment: Arc<Deployment>) -> Self {
        Self(Some((log, deployment)))
    }

    /// Whether anybody charges for the answer, so that what a provider says of cost must not pass for our price.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// The decimal to write into the answer, if it is charged for. See [`AttemptLog::price`].
    #[must_use]
    pub fn price(&self, used: &Used) -> Option<Box<str>> {
        let (log, deployment) = self.0.as_ref()?;
        log.price(deployment, used)
    }
}

impl fmt::Debug for Pricer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((_, deployment)) => write!(f, "Pricer({})", deployment.id),
            None => f.write_str("Pricer(none)"),
        }
    }
}
