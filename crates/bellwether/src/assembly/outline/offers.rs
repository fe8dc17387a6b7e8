//! From a name to the price it stands for: a public name, `provider/model`, or a provider's own name of a model.

use anyhow::{Result, bail};
use gateway_billing::price::{ANY_MODEL, Draft, SELL_BOOK};
use gateway_core::Deployment;

use super::Outline;

/// How many choices an error lists.
const CHOICES_SHOWN: usize = 12;

impl Outline {
    /// The price that `name` is sold at by this configuration; of a model that it does not name, the catalog's.
    ///
    /// # Errors
    /// Nothing is called so, it has no price, or several are called so at different prices; the error lists them.
    pub fn offer(&self, name: &str, provider: Option<&str>) -> Result<Draft> {
        let mut offers = self.public(name)?;
        if offers.is_empty() {
            offers = self.of_catalog(name);
        }
        if offers.is_empty() {
            bail!(
                "there is no model `{name}`: it is no public name (`bellwether models` lists them), no `provider/model` and no provider's name of one"
            );
        }
        let known = choices(&offers);
        if let Some(provider) = provider {
            offers.retain(|offer| provider_of(offer) == provider);
        }
        let Some(first) = offers.first() else {
            bail!("`{name}` has no price at `{}`; it has at {known}", provider.unwrap_or_default());
        };
        if offers.iter().any(|offer| offer.terms != first.terms) {
            bail!("`{name}` is sold at several prices; choose one with --provider, or name it as `provider/model`: {}", choices(&offers));
        }
        Ok(offers.remove(0))
    }

    /// The prices of a public name or alias, one a deployment.
    fn public(&self, name: &str) -> Result<Vec<Draft>> {
        let Some(model) = self.plan.table.model(name) else { return Ok(Vec::new()) };
        let offers: Vec<Draft> = model.deployments.iter().filter_map(|deployment| self.draft_of(deployment).cloned()).collect();
        if offers.is_empty() {
            bail!("the model `{name}` has no price and is not sold; give it a `price` in the configuration");
        }
        Ok(offers)
    }

    fn draft_of(&self, deployment: &Deployment) -> Option<&Draft> {
        let route = format!("{}/{}", deployment.provider, deployment.upstream_model);
        let at = |model: &str| self.drafts.iter().find(|draft| &*draft.model == model && *draft.route == *route);
        at(&deployment.model).or_else(|| at(ANY_MODEL))
    }

    /// The catalog's prices of `provider/model`, else of every model that some provider calls so.
    fn of_catalog(&self, name: &str) -> Vec<Draft> {
        let qualified = name.split_once('/').and_then(|(provider, model)| self.catalog.find(provider, model));
        let found = match qualified {
            Some(entry) => vec![entry],
            None => self.catalog.of_model(name).collect(),
        };
        found.iter().filter_map(|entry| entry.draft(SELL_BOOK).ok()).collect()
    }
}

fn provider_of(offer: &Draft) -> &str {
    offer.route.split_once('/').map_or("", |(provider, _)| provider)
}

fn choices(offers: &[Draft]) -> String {
    let mut routes: Vec<&str> = offers.iter().map(|offer| &*offer.route).collect();
    routes.sort_unstable();
    routes.dedup();
    let shown = routes.iter().take(CHOICES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match routes.len().saturating_sub(CHOICES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
