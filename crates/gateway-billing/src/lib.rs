//! Billing for an AI gateway: integer money, immutable prices, and a double-entry ledger that no crash can unbalance.

// Price side.
pub mod api;
pub mod catalog;
pub mod money;
pub mod price;
pub mod receipt;
pub mod usage;

// Ledger side.
pub mod book;
pub mod budget;
mod codes;
pub mod error;
pub mod facts;
pub mod hint;
pub mod hold;
pub mod journal;
pub mod keys;
pub mod ledger;
pub mod outbox;
pub mod recovery;
pub mod report;
pub mod scan;
pub mod statement;
pub mod store;
pub mod verify;
pub mod what_if;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
