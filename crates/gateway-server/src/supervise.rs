//! The one place that starts tasks: a task that panics says so in the log instead of dying unseen.

use std::{any::Any, future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use tokio::task::JoinHandle;

/// Starts `task`; a panic in it is logged under `name` and ends only that task. The handle yields `None` after a panic.
#[expect(clippy::disallowed_methods, reason = "this is the supervised spawn that the rule asks for")]
pub fn spawn<F>(name: &'static str, task: F) -> JoinHandle<Option<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    tokio::spawn(
        AssertUnwindSafe(task).catch_unwind().map(move |ended| {
            ended.inspect_err(|panic| tracing::error!(task = name, panic = panic_text(&**panic), "a task panicked")).ok()
        }),
    )
}

/// What a panic said, if it said it in words.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&'static str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn a_panic_ends_its_own_task_only() {
        let quiet = super::spawn("test", async { assert!(std::hint::black_box(false), "on purpose") });
        assert!(quiet.await.expect("the wrapper does not panic").is_none());
        assert_eq!(super::spawn("test", async { 7 }).await.expect("no panic"), Some(7));
    }
}
