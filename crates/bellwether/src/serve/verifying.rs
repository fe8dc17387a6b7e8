//! The books are checked without anybody asking: when the gateway starts, and every night.

use std::{sync::Arc, time::Duration};

use gateway_billing::ledger::Ledger;
use tokio::task::JoinHandle;

/// When the nightly check begins, in seconds after midnight UTC: few callers anywhere are busy then.
const BEGINS_S: u64 = 3 * 3_600;
const DAY_S: u64 = 86_400;

/// The task; dropping it ends it.
pub(super) struct Verifying(JoinHandle<Option<()>>);

impl Verifying {
    pub(super) fn start(ledger: Arc<Ledger>) -> Self {
        Self(gateway_server::spawn("verify", async move {
            loop {
                check(&ledger).await;
                tokio::time::sleep(until_night(ledger.clock().unix_us().max(0).unsigned_abs() / 1_000_000)).await;
            }
        }))
    }
}

impl Drop for Verifying {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn check(ledger: &Ledger) {
    match ledger.verify().await {
        Ok(report) if report.ok => tracing::info!(checks = report.checks.len(), open_holds = report.open_holds, "the books are right"),
        Ok(report) => {
            for check in report.checks.iter().filter(|check| !check.violations.is_empty()) {
                tracing::error!(check = check.id, violations = ?check.violations, "the books are not right; see `bellwether ledger verify`");
            }
        }
        Err(error) => tracing::error!(%error, "the books could not be checked"),
    }
}

/// From this moment to the next nightly check.
fn until_night(unix_s: u64) -> Duration {
    Duration::from_secs(DAY_S - (unix_s + DAY_S - BEGINS_S) % DAY_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_night_is_never_more_than_a_day_away() {
        let hours = |hour: u64| until_night(20_000 * DAY_S + hour * 3_600).as_secs() / 3_600;
        assert_eq!([hours(0), hours(2), hours(3), hours(4), hours(23)], [3, 1, 24, 23, 4]);
        assert_eq!(until_night(20_000 * DAY_S + BEGINS_S - 1), Duration::from_secs(1));
    }
}
