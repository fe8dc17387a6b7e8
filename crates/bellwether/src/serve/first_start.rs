//! The first start: an account, a test key, and what to paste.

use anyhow::Result;
use gateway_billing::ledger::{Grant, Ledger, NewAccount, NewKey, PageRequest};
use gateway_core::{Mode, Secret};

use super::secrets;
use crate::config::Environment;

/// What is shown once.
pub struct FirstStart {
    admin_token: Option<Secret>,
    test_key: Secret,
}

impl FirstStart {
    /// Makes the account `default` and a test key when the ledger has no account yet.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub(super) async fn prepare(ledger: &Ledger, environment: &dyn Environment, admin_token: &Secret) -> Result<Option<Self>> {
        let page = ledger.accounts(PageRequest { limit: 1, after: None }).await?;
        if !page.data.is_empty() {
            return Ok(None);
        }
        let account = ledger.create_account(NewAccount { name: "default".to_owned(), grant: Grant::SignUp }).await?;
        let key = NewKey {
            account: account.name,
            mode: Mode::Test,
            user: None,
            team: None,
            name: "first start".to_owned(),
            models: None,
            expires_at: None,
        };
        let test_key = Secret::new(ledger.create_key(key).await?.key);
        let admin_token = (!secrets::admin_token_is_given(environment)).then(|| admin_token.clone());
        Ok(Some(Self { admin_token, test_key }))
    }

    /// Prints it.
    pub(super) fn show(&self, url: &str) {
        let key = self.test_key.expose();
        println!("\nThe ledger is new. These are shown once:\n");
        if let Some(token) = &self.admin_token {
            println!("  admin token  {}", token.expose());
        }
        println!("  test key     {key}  (account `default`, simulated provider, test money)\n");
        println!("Try it:\n");
        println!("  curl {url}/v1/chat/completions -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\");
        println!("    -d '{{\"model\": \"gpt-4.1\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n");
    }
}
