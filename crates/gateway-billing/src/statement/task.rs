//! The task that issues statements at the turn of the month, and after a downtime whatever is missing.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use gateway_core::Clock;
use tokio::task::AbortHandle;

use super::{
    due::Whose,
    issue::{Issued, issue},
};
use crate::{error::LedgerError, journal::Journal};

/// How long after its end a month is stated: a machine's clock may be set back by a little, and what is posted then must
/// not belong to a month that is stated already.
const GRACE: Duration = Duration::from_secs(300);

/// Longest sleep: the calendar of a machine may jump, zones change, and no timer hears of it.
const NAP_MAX: Duration = Duration::from_secs(300);

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// The task while it runs; dropping this ends it.
#[derive(Debug)]
pub(crate) struct Issuing(AbortHandle);

impl Issuing {
    /// Ends the task.
    pub(crate) fn stop(&self) {
        self.0.abort();
    }
}

impl Drop for Issuing {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What issues statements. It does not keep the journal alive.
pub(crate) struct Clerk {
    pub(crate) journal: Weak<Journal>,
    pub(crate) path: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Clerk {
    /// Begins at once, in a task of its own.
    #[expect(clippy::disallowed_methods, reason = "the task's end is logged below, and its handle ends it with the ledger")]
    pub(crate) fn start(self) -> Issuing {
        let task = tokio::spawn(async move {
            let run = std::panic::AssertUnwindSafe(self.run());
            if futures_util::FutureExt::catch_unwind(run).await.is_err() {
                tracing::error!("the task that issues statements has panicked; none is issued by itself until the next start");
            }
        });
        Issuing(task.abort_handle())
    }

    async fn run(self) {
        loop {
            let nap = match self.round().await {
                Err(LedgerError::Stopped) => return,
                Err(error) => {
                    tracing::warn!(%error, "statements cannot be issued now; it will be tried again");
                    RETRY
                }
                Ok(Issued { count, next_end }) => {
                    if count > 0 {
                        tracing::info!(count, "issued statements");
                    }
                    self.until(next_end)
                }
            };
            tokio::time::sleep(nap).await;
        }
    }

    async fn round(&self) -> Result<Issued, LedgerError> {
        let journal = self.journal.upgrade().ok_or(LedgerError::Stopped)?;
        issue(&journal, &self.path, Whose::All, i64::try_from(GRACE.as_micros()).unwrap_or(0)).await
    }

    fn until(&self, next_end: Option<i64>) -> Duration {
        let Some(next_end) = next_end else { return NAP_MAX };
        let left = next_end.saturating_sub(self.clock.unix_us()).max(0).unsigned_abs();
        (Duration::from_micros(left) + GRACE).clamp(Duration::from_secs(1), NAP_MAX)
    }
}
