//! Waiting for rows whose admission has ended already.

use std::sync::Arc;

use crate::{error::LedgerError, journal::row::Held};

/// The hold itself being written.
pub(super) struct Committed(pub(super) Arc<Held>);

impl Committed {
    pub(super) async fn wait(&self) -> Result<(), LedgerError> {
        self.0.committed.wait().await
    }
}

/// The end of a hold being written.
pub(super) struct Ended(pub(super) Arc<Held>);

impl Ended {
    pub(super) fn poll(&self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), LedgerError>> {
        self.0.ended.poll(cx)
    }

    pub(super) async fn wait(&self) -> Result<(), LedgerError> {
        self.0.ended.wait().await
    }
}
