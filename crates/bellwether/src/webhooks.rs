//! Telling others of events: what the ledger's outbox holds is posted to the configured webhooks.
//!
//! Messages are signed as Standard Webhooks are (`webhook-id`, `webhook-timestamp`, `webhook-signature`). A message counts as
//! taken when the answer's status is 2xx; anything else, a redirect included, is tried again, more and more rarely, for a day.
//! Each webhook has a task of its own, so that one that is down holds up no other. Secrets and paths are never logged.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use gateway_billing::{
    error::LedgerError,
    ledger::Ledger,
    outbox::{Delivery, Next, Receiver},
};
use reqwest::{Client, Url, header::CONTENT_TYPE, redirect::Policy};
use ring::{
    digest::{SHA256, digest},
    hmac,
};
use tokio::task::JoinHandle;

use crate::config::{Config, Environment, SecretSource, WebhookConfig};

/// How often the outbox is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How long after the ledger could not answer it is asked again.
const RETRY: Duration = Duration::from_secs(2);

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(15);

/// Most messages read at once.
const BATCH: u32 = 20;

/// One receiver, ready to be posted to.
#[derive(Debug, Clone)]
pub struct Webhook {
    receiver: Receiver,
    url: Url,
    key: hmac::Key,
    shown: String,
}

/// The configured webhooks with their secrets.
///
/// # Errors
/// A secret's variable is not set, or a secret is none.
pub fn configured(config: &Config, environment: &dyn Environment) -> Result<Vec<Webhook>> {
    let all = config.webhooks.iter().enumerate();
    all.map(|(at, webhook)| Webhook::of(webhook, environment).with_context(|| format!("{}: `webhooks[{at}].secret`", config.place)))
        .collect()
}

impl Webhook {
    fn of(config: &WebhookConfig, environment: &dyn Environment) -> Result<Self> {
        let Some(secret) = config.secret.resolve(environment) else {
            match &config.secret {
                SecretSource::Variable(name) => bail!("the variable {name} is not set"),
                SecretSource::Literal(_) => bail!("it is empty"),
            }
        };
        let bytes = secret.expose().strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let Some(bytes) = bytes.filter(|bytes| (24..=64).contains(&bytes.len())) else {
            bail!("it must be `whsec_` and 24 to 64 bytes in base64, for example whsec_$(openssl rand -base64 24)");
        };
        let url = Url::parse(&config.url).context("the address cannot be read")?;
        // Rows in the outbox name their receiver across restarts, and an address may hold a secret.
        let id = digest(&SHA256, url.as_str().as_bytes()).as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            receiver: Receiver { id, events: config.events.clone() },
            shown: url.origin().ascii_serialization(),
            url,
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
        })
    }

    /// `v1,` and the signature of id, time and body.
    fn signature(&self, id: &str, unix_s: i64, body: &str) -> String {
        let tag = hmac::sign(&self.key, format!("{id}.{unix_s}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }

    /// Posts one message; an error says why it does not count as taken.
    async fn post(&self, http: &Client, delivery: &Delivery, unix_s: i64) -> Result<(), String> {
        let request = http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &delivery.event)
            .header("webhook-timestamp", unix_s)
            .header("webhook-signature", self.signature(&delivery.event, unix_s, &delivery.payload))
            .body(delivery.payload.clone());
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status().as_u16())),
            Err(error) => Err(cause(&error.without_url())),
        }
    }

    async fn deliver(self, http: Client, ledger: Arc<Ledger>) {
        loop {
            let due = match ledger.due_deliveries(&self.receiver.id, BATCH).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::debug!(%error, webhook = self.shown, "the outbox cannot be read");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            for delivery in due {
                let unix_s = ledger.clock().unix_us() / 1_000_000;
                match self.post(&http, &delivery, unix_s).await {
                    // What was taken is not sent again because the ledger was busy: nothing else goes out before it is marked.
                    Ok(()) => persist(|| ledger.delivery_done(delivery.row)).await,
                    Err(problem) => {
                        self.failed(&ledger, &delivery, &problem).await;
                        break;
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn failed(&self, ledger: &Ledger, delivery: &Delivery, problem: &str) {
        let next = persist(|| ledger.delivery_failed(delivery.row, problem)).await;
        let (webhook, event, attempt) = (&self.shown, &delivery.event, delivery.tries + 1);
        match next {
            Next::Retry(pause) => {
                tracing::warn!(webhook, event, attempt, problem, ?pause, "a webhook did not take an event; it will be tried again");
            }
            Next::GivenUp => tracing::error!(webhook, event, attempt, problem, "a webhook did not take an event for a day; given up"),
        }
    }
}

/// Asks the ledger until it can answer.
async fn persist<T, F: Future<Output = Result<T, LedgerError>>>(mut ask: impl FnMut() -> F) -> T {
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(error) => tracing::debug!(%error, "the outbox cannot be written"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The last cause, which says what happened.
fn cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The tasks while they run; dropping this ends them. What was sent and not marked by then is sent again under the same id.
#[derive(Debug)]
pub struct Delivering(Vec<JoinHandle<Option<()>>>);

impl Delivering {
    /// Starts them. Without webhooks too: what happens while nobody is to be told is told to nobody later.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn start(ledger: &Arc<Ledger>, webhooks: Vec<Webhook>) -> Result<Self> {
        let http = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(concat!("bellwether/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot make the HTTP client of the webhooks")?;
        let receivers: Vec<_> = webhooks.iter().map(|webhook| webhook.receiver.clone()).collect();
        let mut tasks = vec![gateway_server::spawn("outbox", distribute(Arc::clone(ledger), receivers))];
        for webhook in webhooks {
            tasks.push(gateway_server::spawn("webhook", webhook.deliver(http.clone(), Arc::clone(ledger))));
        }
        Ok(Self(tasks))
    }

    /// Ends them, and returns when nothing of them is left.
    pub async fn stop(mut self) {
        for task in std::mem::take(&mut self.0) {
            task.abort();
            // An aborted task ends with an error that says so.
            drop(task.await);
        }
    }
}

impl Drop for Delivering {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

async fn distribute(ledger: Arc<Ledger>, receivers: Vec<Receiver>) {
    loop {
        match ledger.distribute_events(&receivers).await {
            Ok(0) => tokio::time::sleep(LOOK).await,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the outbox cannot be distributed");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn webhook(secret: &str) -> Result<Webhook> {
        let text = format!("[[webhooks]]\nurl = \"https://hooks.example/T0/secret-path\"\nsecret = \"{secret}\"\n");
        let environment = BTreeMap::new();
        let config = Config::parse(&text, "test.toml", &environment).expect("a configuration");
        configured(&config, &environment).map(|mut all| all.remove(0))
    }

    #[test]
    fn a_signature_is_the_published_example() {
        // From the specification of Standard Webhooks.
        let webhook = webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signature = webhook.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        for wrong in
            ["env:NOT_SET", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8G", "whsec_not base64 at all, but long enough for it"]
        {
            let error = format!("{:#}", webhook(wrong).unwrap_err());
            assert!(error.starts_with("test.toml: `webhooks[0].secret`: "), "{error}");
            assert!(!error.contains("MfKQ") && !error.contains("not base64"), "{error}");
        }
    }

    #[test]
    fn a_log_line_names_the_host_alone() {
        assert_eq!(webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap().shown, "https://hooks.example");
    }
}
