//! `bellwether key …`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::{
    admin_client::{AdminClient, segment},
    output,
};

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Create a key; it is shown once
    Create {
        /// The account's name or id
        #[arg(long)]
        account: String,
        /// A test key: it reaches only the simulated provider and spends test money
        #[arg(long)]
        test: bool,
        /// The user it is for, by name or id
        #[arg(long)]
        user: Option<String>,
        /// The team it is for, by name or id; the user's unless another is named
        #[arg(long)]
        team: Option<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        name: String,
        /// A public model it may use; repeat for several, a trailing * matches any rest; none means all
        #[arg(long = "model", value_name = "MODEL")]
        models: Vec<String>,
        /// When it stops working, such as 2027-01-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// List keys, without the keys themselves
    List {
        /// Only this account's
        #[arg(long)]
        account: Option<String>,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key at once
    Revoke {
        /// The key's id: key_…
        id: String,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
}

impl Key {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        match self {
            Self::Create { account, test, user, team, name, models, expires_at, json } => {
                let mode = if test { "test" } else { "live" };
                let mut body = json!({ "account": account, "mode": mode, "name": name, "user": user, "team": team });
                if !models.is_empty() {
                    body["models"] = json!(models);
                }
                if let Some(at) = expires_at {
                    body["expires_at"] = json!(at);
                }
                let key = admin.post("/admin/v1/keys", &body, None).await?;
                if json {
                    output::json(&key);
                } else {
                    println!("{}", output::text(&key, "/key"));
                    eprintln!("{}: keep the key safe, it is not shown again", output::text(&key, "/id"));
                }
            }
            Self::List { account, json } => {
                let query = account.map(|account| format!("?account={}", segment(&account))).unwrap_or_default();
                let list = admin.get(&format!("/admin/v1/keys{query}")).await?;
                if json {
                    output::json(&list);
                } else {
                    let columns = ["/id", "/account", "/mode", "/prefix", "/name", "/state"];
                    let rows = output::rows(&list, |row| columns.map(|at| output::text(row, at)));
                    output::table(["ID", "ACCOUNT", "MODE", "PREFIX", "NAME", "STATE"], &rows);
                }
            }
            Self::Revoke { id, json } => {
                let key = admin.post(&format!("/admin/v1/keys/{}/revoke", segment(&id)), &json!({}), None).await?;
                if json {
                    output::json(&key);
                } else {
                    println!("{} revoked", output::text(&key, "/id"));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
