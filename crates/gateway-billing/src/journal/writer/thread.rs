//! How the writer's thread is scheduled.

/// Lets a thread that runs finish what it is doing when this one is woken. A hold wakes the writer in the middle of the
/// request that made it; where both share a core, a writer that takes over at once delays the call to the provider, and
/// commits one row where a moment later there would be many.
#[cfg(target_os = "linux")]
pub(super) fn give_way() {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
    };

    // On that crate's scale from 0 to 99 this is niceness 0: no worse than others once it runs.
    const NEITHER_NICE_NOR_NASTY: u8 = 47;
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    let set = NEITHER_NICE_NOR_NASTY
        .try_into()
        .map(|niceness| set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(niceness), policy));
    tracing::debug!(?set, "scheduled the ledger's writer as a batch thread");
}

#[cfg(not(target_os = "linux"))]
pub(super) fn give_way() {}
