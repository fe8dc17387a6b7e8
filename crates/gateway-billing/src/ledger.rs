//! The ledger an embedder opens: accounts, credit, keys, holds.
