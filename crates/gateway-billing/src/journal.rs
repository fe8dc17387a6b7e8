//! The one writer: every money command passes through its queue and is committed in batches.
