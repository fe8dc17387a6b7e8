//! The ledger from outside: accounts, calls, random commands, kills.
#![expect(clippy::unwrap_used, reason = "in a test a failed unwrap is the finding")]

mod accounts;
mod budgets;
mod costs;
mod crash;
mod expiry;
mod facts;
mod grants;
mod guard;
mod hint_doubts;
mod hinting;
mod hints;
mod hold;
mod model;
mod plans;
mod policies;
mod prices;
mod reports;
mod retries;
mod scan;
mod spending;
mod stage;
mod statements;
mod what_if;
