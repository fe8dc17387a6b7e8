//! `bellwether prices plan …`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use crate::cli::{
    admin_client::{AdminClient, fresh_key},
    output,
};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Plan {
    /// Publish a version of a plan; a plan of a new name begins with it
    Set {
        /// The plan's name
        name: String,
        /// What every charge is multiplied by, such as 1.05
        multiplier: String,
        /// From when on, such as 2027-01-31T00:00:00Z; now if it is left out
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// A repeat with the same key publishes nothing and shows the first result
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// List every version of every plan
    List {
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
}

impl Plan {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        match self {
            Self::Set { name, multiplier, at, idempotency_key, json } => {
                let key = idempotency_key.unwrap_or_else(fresh_key);
                let mut body = json!({ "plan": name, "multiplier": multiplier });
                if let Some(at) = at {
                    body["effective_from"] = json!(at);
                }
                let version = admin.post("/admin/v1/plans", &body, Some(&key)).await?;
                if json {
                    output::json(&version);
                } else {
                    let [plan, multiplier, from] = ["/plan", "/multiplier", "/effective_from"].map(|at| output::text(&version, at));
                    output::line(format_args!("plan {plan}: multiplier {multiplier} from {from}"));
                }
            }
            Self::List { json } => {
                let list = admin.get("/admin/v1/plans").await?;
                if json {
                    output::json(&list);
                } else {
                    let columns = ["/plan", "/multiplier", "/effective_from", "/state"];
                    let rows = output::rows(&list, |row| columns.map(|at| output::text(row, at)));
                    output::table(["PLAN", "MULTIPLIER", "FROM", "STATE"], &rows);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
