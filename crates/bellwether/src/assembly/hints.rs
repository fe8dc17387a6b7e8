//! What else could serve, for hints.

use std::{collections::BTreeSet, sync::Arc};

use gateway_billing::hint::{Offer, Place};
use gateway_core::Deployment;

use super::Outline;
use crate::config::Config;

/// The named models with their places, and the classes that the configuration puts them in. Names that nobody configured
/// (`provider/model`) have one place each and stand in for nothing.
#[must_use]
pub fn offers(outline: &Outline, config: &Config) -> Arc<[Offer]> {
    let named: BTreeSet<_> = outline.plan.entries.iter().filter(|entry| !entry.implied).map(|entry| &*entry.deployment.model).collect();
    let models = outline.plan.table.models().iter().filter(|model| named.contains(&*model.name));
    let offer = |model: &gateway_routing::Model| {
        let configured = config.models.iter().find(|configured| *configured.name == *model.name);
        Offer {
            model: Arc::clone(&model.name),
            class: configured.and_then(|configured| configured.class.as_deref()).map(Into::into),
            places: model.deployments.iter().map(|deployment| place(deployment)).collect(),
        }
    };
    models.map(offer).collect()
}

fn place(deployment: &Deployment) -> Place {
    Place {
        provider: deployment.provider.as_str().into(),
        upstream_model: Arc::clone(&deployment.upstream_model),
        in_use: deployment.weight > 0,
        context_window: deployment.limits.context_window,
        output_tokens_max: deployment.limits.output_tokens_max,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Registry;

    #[test]
    fn classes_and_places_are_the_configurations() {
        let text = r#"
            [providers.house]
            protocol = "openai-chat"
            base_url = "http://127.0.0.1:9/v1"
            api_key = "k-0123456789"
            [[models]]
            name = "big"
            class = "large"
            deployments = [
                { provider = "house", model = "b", context_window = 1000, output_tokens_max = 100 },
                { provider = "openai", model = "gpt-4.1", weight = 0 },
            ]
            [[models]]
            name = "small"
            deployments = [{ provider = "house", model = "s" }]
        "#;
        let environment = BTreeMap::new();
        let config = Config::parse(text, "test", &environment).expect("a configuration");
        let outline = Outline::of(&config, &environment, &Registry::builtin().expect("sound")).expect("an outline");
        let offers = offers(&outline, &config);
        let find = |name: &str| offers.iter().find(|offer| &*offer.model == name);
        let big = find("big").expect("configured");
        assert_eq!(big.class.as_deref(), Some("large"));
        let house = Place {
            provider: "house".into(),
            upstream_model: "b".into(),
            in_use: true,
            context_window: Some(1_000),
            output_tokens_max: Some(100),
        };
        assert_eq!((&big.places[0], big.places[1].in_use), (&house, false));
        assert_eq!(find("small").map(|offer| (offer.class.as_deref(), offer.places.len())), Some((None, 1)));
        assert!(find("gpt-4.1").is_some_and(|shipped| shipped.class.is_none()));
        assert!(find("openai/gpt-4.1").is_none());
    }
}
