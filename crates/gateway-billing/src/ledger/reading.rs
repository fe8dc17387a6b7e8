//! Long readings: on threads that may block, on connections that cannot write, and only a few at once.

use std::{path::Path, sync::Arc};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::Ledger;
use crate::{error::LedgerError, store::open_read_only};

/// Most reports read at once. A report is short, and two cores gain nothing by more.
const REPORTS_MAX: usize = 4;

/// Turns at reading.
#[derive(Debug)]
pub(super) struct Readings {
    reports: Arc<Semaphore>,
}

impl Default for Readings {
    fn default() -> Self {
        Self { reports: Arc::new(Semaphore::new(REPORTS_MAX)) }
    }
}

impl Ledger {
    /// Runs a short reading beside the async threads, when it is its turn.
    pub(crate) async fn read<T, F>(&self, reading: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        self.read_in_turn(&self.readings.reports, reading).await
    }

    async fn read_in_turn<T, F>(&self, turns: &Arc<Semaphore>, reading: F) -> Result<T, LedgerError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    {
        let turn = Arc::clone(turns).acquire_owned().await.map_err(|_| LedgerError::Stopped)?;
        read_only(self.path(), move |connection| {
            // The turn ends with the reading, even if nobody waits for it any more.
            let _turn = turn;
            reading(connection)
        })
        .await
    }
}

/// Runs a reading on a thread that may block, on a connection of its own.
pub(crate) async fn read_only<T, F>(path: &Path, reading: F) -> Result<T, LedgerError>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
{
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || reading(&open_read_only(&path)?)).await.map_err(|_| LedgerError::Stopped)?
}
