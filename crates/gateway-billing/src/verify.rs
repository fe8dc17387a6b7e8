//! Checks that the books are right, on a running ledger or on a file.
