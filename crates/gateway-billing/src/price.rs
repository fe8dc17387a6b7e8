//! Immutable price versions, the books they stand in, and the charge for a usage.
