//! What the catalog knows of models, for routes.

use gateway_billing::catalog::Catalog;
use gateway_core::ModelLimits;
use jiff::civil::Date;

use super::routes::ModelFacts;

/// The catalog on a day: models retired by then are not offered.
pub struct CatalogFacts<'a> {
    /// The catalog.
    pub catalog: &'a Catalog,
    /// The day.
    pub today: Date,
}

impl ModelFacts for CatalogFacts<'_> {
    fn limits(&self, provider: &str, upstream_model: &str) -> ModelLimits {
        self.catalog.find(provider, upstream_model).map(|entry| entry.limits).unwrap_or_default()
    }

    fn models(&self, provider: &str) -> Vec<Box<str>> {
        self.catalog.of_provider(provider).filter(|entry| !entry.retired_by(self.today)).map(|entry| entry.model).collect()
    }
}
