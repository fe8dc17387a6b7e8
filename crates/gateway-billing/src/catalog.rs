//! The price catalog shipped with the crate.
