//! Waiting for rows whose admission has ended already.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    error::LedgerError,
    journal::{Journal, row::Held},
};

/// The hold itself being written.
pub(super) struct Committed(pub(super) Arc<Held>);

impl Committed {
    pub(super) async fn wait(&self) -> Result<(), LedgerError> {
        self.0.committed.wait().await
    }
}

/// The end of a hold being written. It is in no hurry until somebody waits for it.
pub(super) struct Ended {
    pub(super) held: Arc<Held>,
    pub(super) journal: Arc<Journal>,
}

impl Ended {
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), LedgerError>> {
        let written = self.held.ended.poll(cx);
        if written.is_pending() {
            self.journal.hurry();
        }
        written
    }

    pub(super) async fn wait(&self) -> Result<(), LedgerError> {
        poll_fn(|cx| self.poll(cx)).await
    }
}
