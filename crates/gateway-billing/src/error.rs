//! What can go wrong in the ledger, and what a caller is told of it.
