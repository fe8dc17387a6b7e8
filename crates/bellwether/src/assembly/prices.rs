//! Prices: the operator's where there is one, else the catalog's, else none, and then the model is not sold.

use std::collections::HashSet;

use anyhow::{Context, Result};
use gateway_billing::{
    catalog::Catalog,
    price::{ANY_MODEL, Draft, SELL_BOOK, Source},
};

use super::routes::ModelEntry;

/// The price of every place in the route table that has one.
///
/// # Errors
/// A price in the configuration is not one; the error names the model.
pub fn drafts(entries: &[ModelEntry], catalog: &Catalog) -> Result<Vec<Draft>> {
    let mut drafts = Vec::with_capacity(entries.len());
    let mut placed = HashSet::new();
    for entry in entries {
        let deployment = &entry.deployment;
        let route: Box<str> = format!("{}/{}", deployment.provider, deployment.upstream_model).into();
        let draft = match &entry.price {
            Some(price) => {
                let place = || format!("the price of model `{}` at {}", deployment.model, deployment.provider);
                let (terms, rounded) = price.terms().with_context(place)?;
                if !rounded.is_empty() {
                    tracing::warn!(model = %deployment.model, figures = ?rounded, "prices finer than a pico-dollar were rounded");
                }
                let source = Source { kind: "config".to_owned(), reference: deployment.id.to_string() };
                Some(Draft { book: SELL_BOOK.into(), model: (&*deployment.model).into(), route, terms, source })
            }
            // The catalog prices a place whatever the public name, so one row serves every name that leads there.
            None => catalog.find(&entry.catalog_id, &deployment.upstream_model).and_then(|found| {
                let draft = found.draft(SELL_BOOK).ok()?;
                Some(Draft { model: ANY_MODEL.into(), route, ..draft })
            }),
        };
        if let Some(draft) = draft
            && placed.insert((draft.model.clone(), draft.route.clone()))
        {
            drafts.push(draft);
        }
    }
    Ok(drafts)
}
