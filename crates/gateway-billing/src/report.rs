//! What was used and what it came to, from the sums that the writer keeps by quarter of an hour.
//!
//! A report reads no settlement: its work grows with the hours it spans and with the models and keys in use, and not with
//! the number of requests. A request belongs to the quarter of an hour in which it was posted, which is also the moment
//! that statements go by.

mod ask;
mod export;
mod fold;
mod span;
mod tags;
#[cfg(test)]
mod tests;

pub use self::{
    ask::{Group, Scope, UsageAsk},
    fold::{Sums, UsagePage, UsageRow},
    span::Span,
};
pub(crate) use self::{
    export::neutral,
    span::{midnight, shown},
};
use crate::{error::LedgerError, ledger::Ledger};

impl Ledger {
    /// What was used, in the groups that were asked for, a page at a time.
    ///
    /// # Errors
    /// The question cannot be answered from the sums there are, there is no such account, or the database cannot be read.
    pub async fn usage(&self, ask: UsageAsk) -> Result<UsagePage, LedgerError> {
        self.flush().await;
        self.read(move |connection| fold::read(connection, &ask)).await
    }
}
