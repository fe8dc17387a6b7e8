//! `bellwether prices publish`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use gateway_billing::price::PriceList;
use serde_json::json;

use super::changes;
use crate::cli::{
    admin_client::{AdminClient, fresh_key},
    output,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Publish {
    /// A list of prices, as `prices import` writes it
    draft: PathBuf,
    /// From when on, such as 2027-01-31T00:00:00Z; now if it is left out
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Show what would change, and publish nothing
    #[arg(long)]
    dry_run: bool,
    /// A repeat with the same key publishes nothing and shows the first result
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

impl Publish {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        let text = fs::read_to_string(&self.draft).with_context(|| format!("cannot read {}", self.draft.display()))?;
        let list: PriceList = serde_json::from_str(&text).with_context(|| format!("{} is not a list of prices", self.draft.display()))?;
        let mut body = json!({ "list": list });
        if let Some(at) = &self.at {
            body["effective_from"] = json!(at);
        }
        if self.dry_run {
            let diff = admin.post("/admin/v1/prices/diff", &body, None).await?;
            if self.json {
                output::json(&diff);
            } else {
                changes::print(&diff);
            }
            return Ok(ExitCode::SUCCESS);
        }
        let key = self.idempotency_key.unwrap_or_else(fresh_key);
        let published = admin.post("/admin/v1/prices/publish", &body, Some(&key)).await?;
        if self.json {
            output::json(&published);
        } else {
            let count = |what: &str| published[what].as_u64().unwrap_or(0);
            let from = output::text(&published, "/effective_from");
            output::line(format_args!(
                "{} prices hold from {from}; {} ended with that, {} stay as they were",
                count("new"),
                count("ended"),
                count("unchanged")
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}
