//! `[[webhooks]]`: who is told of events.

use gateway_billing::outbox::EVENTS;
use serde::Deserialize;

use super::{Config, secret::SecretSource};

/// One receiver of events.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where they are posted to. It may be a private address.
    pub url: String,
    /// `whsec_` and 24 to 64 bytes in base64: what they are signed with.
    pub secret: SecretSource,
    /// Which kinds; all of them if it is left out.
    #[serde(default)]
    pub events: Vec<String>,
}

pub(super) fn validate(config: &Config) -> Result<(), (String, String)> {
    let mut seen = std::collections::BTreeSet::new();
    for (at, webhook) in config.webhooks.iter().enumerate() {
        let wrong = |key: &str, message: String| Err((format!("webhooks[{at}].{key}"), message));
        // Not repeated: what stands in the path of such an address is often a secret.
        match reqwest::Url::parse(&webhook.url) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
                return wrong("url", "must begin with https:// or http://".to_owned());
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                return wrong("url", "must carry no user and no password; the signature says who sends".to_owned());
            }
            Ok(url) if !seen.insert(url.to_string()) => return wrong("url", "is listed twice; list all of its events once".to_owned()),
            Ok(_) => {}
            Err(error) => return wrong("url", format!("is no address: {error}")),
        }
        if let Some(unknown) = webhook.events.iter().find(|event| !EVENTS.contains(&event.as_str())) {
            return wrong("events", format!("there is no event `{unknown}`; there are {}", EVENTS.join(", ")));
        }
    }
    Ok(())
}
