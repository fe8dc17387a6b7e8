//! From configuration to parts: providers, routes, prices, the list of models.
//!
//! Everything here runs once, before the first call, and fails with a sentence for the operator.

mod facts;
mod hints;
mod listing;
mod outline;
mod parts;
mod prices;
mod providers;
mod routes;

pub use facts::CatalogFacts;
pub use hints::offers;
pub use listing::Listing;
pub use outline::Outline;
pub use parts::Parts;
pub use prices::drafts;
pub use providers::{BuiltProviders, ProviderFacts};
pub use routes::{ModelEntry, ModelFacts, RoutePlan};
