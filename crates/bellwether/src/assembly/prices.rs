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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gateway_billing::price::Sku;

    use crate::{Registry, assembly::Outline, config::Config};

    /// Dollars per million input tokens of the model `m`, and whose price that is; `None` when it has none.
    fn sold(upstream: &str, deployment: &str, model: &str) -> Result<Option<(i64, String)>, String> {
        let text =
            format!("[[models]]\nname = \"m\"\n{model}\ndeployments = [{{ provider = \"openai\", model = \"{upstream}\"{deployment} }}]\n");
        let environment = BTreeMap::new();
        let config = Config::parse(&text, "test", &environment).map_err(|error| error.to_string())?;
        let outline = Outline::of(&config, &environment, &Registry::builtin().unwrap()).map_err(|error| format!("{error:#}"))?;
        let route = format!("openai/{upstream}");
        let mut here = outline.drafts.iter().filter(|draft| *draft.route == *route);
        let draft = here.clone().find(|draft| &*draft.model == "m").or_else(|| here.next());
        Ok(draft.map(|draft| (draft.terms.rates[&Sku::IN].get() / 1_000_000, draft.source.kind.clone())))
    }

    #[test]
    fn the_nearest_price_is_the_one_a_deployment_is_sold_at() {
        let own = r#", price = { input = "3", output = "8" }"#;
        let models = r#"price = { input = "4", output = "8" }"#;
        let bad = r#", price = { input = "x", output = "8" }"#;
        assert_eq!(sold("gpt-4.1", own, models), Ok(Some((3, "config".to_owned()))));
        assert_eq!(sold("gpt-4.1", "", models), Ok(Some((4, "config".to_owned()))));
        assert_eq!(sold("gpt-4.1", "", ""), Ok(Some((2, "catalog".to_owned()))));
        assert_eq!(sold("no-such-model", "", ""), Ok(None), "refused, never free");
        assert!(sold("gpt-4.1", bad, models).is_err(), "a broken price is not replaced by another");
    }
}
