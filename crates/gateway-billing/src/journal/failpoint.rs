//! Named places where a test may kill the process or fail a write. In production nobody is there.

/// A place in the writer's or the recovery's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failpoint {
    /// A batch with a settlement has been taken from the queue and not begun.
    SettleTaken,
    /// A batch is applied and not committed.
    BeforeCommit,
    /// A batch was rolled back, and where the chain of transactions ends is about to be read again.
    ReadingBack,
    /// A batch is committed and nobody has been told.
    AfterCommit,
    /// Recovery has resolved some holds and not all.
    Recovering,
    /// A checkpoint is about to move pages into the database file.
    Checkpointing,
}

/// Watches the places. Given to the ledger when it is opened.
pub trait Failpoints: Send + Sync {
    /// The place is reached.
    ///
    /// # Errors
    /// An error here is treated as if the disk had reported it.
    fn reached(&self, place: Failpoint) -> std::io::Result<()>;
}

/// Nobody is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFailpoints;

impl Failpoints for NoFailpoints {
    fn reached(&self, _place: Failpoint) -> std::io::Result<()> {
        Ok(())
    }
}
