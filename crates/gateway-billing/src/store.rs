//! The database: opening it, its schema, and reading from it.
