//! What happens to the holds of an earlier run, before anything new is admitted.
