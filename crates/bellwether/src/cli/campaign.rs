//! `bellwether campaign …`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::{
    admin_client::{AdminClient, segment},
    output,
    pending::waits,
};

#[derive(Debug, Subcommand)]
pub(super) enum Campaign {
    /// Create a campaign; its amount and name are for ever
    Create {
        /// A name, unique in this gateway
        name: String,
        /// What each account or person is given, in dollars, such as 5 or 0.50
        #[arg(allow_negative_numbers = true)]
        amount: String,
        /// How many days each grant is valid; without it, for ever
        #[arg(long, value_name = "DAYS")]
        valid_days: Option<u32>,
        /// How many grants there are in all; without it, there is no limit
        #[arg(long, value_name = "COUNT")]
        grants_max: Option<u32>,
        /// When it begins, such as 2027-01-31T00:00:00Z; without it, now
        #[arg(long, value_name = "TIME")]
        starts_at: Option<String>,
        /// When it ends; without it, never
        #[arg(long, value_name = "TIME")]
        ends_at: Option<String>,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// List the campaigns
    List {
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Give an account its grant
    Grant {
        /// The campaign's name
        campaign: String,
        /// The account's name or id
        account: String,
        /// The verified identity it is for; without it, the account itself
        #[arg(long, value_name = "IDENTITY")]
        subject: Option<String>,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
}

impl Campaign {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        match self {
            Self::Create { name, amount, valid_days, grants_max, starts_at, ends_at, json } => {
                let body = json!({
                    "name": name, "amount_usd": amount, "valid_days": valid_days, "grants_max": grants_max,
                    "starts_at": starts_at, "ends_at": ends_at,
                });
                let campaign = admin.post("/admin/v1/campaigns", &body, None).await?;
                if json {
                    output::json(&campaign);
                } else if !waits(&campaign) {
                    println!("{}  {}", output::text(&campaign, "/name"), output::text(&campaign, "/state"));
                }
            }
            Self::List { json } => {
                let list = admin.get("/admin/v1/campaigns").await?;
                if json {
                    output::json(&list);
                } else {
                    let columns = ["/name", "/amount/usd", "/valid_days", "/grants_made", "/grants_max", "/state", "/ends_at"];
                    let rows = output::rows(&list, |row| columns.map(|at| output::text(row, at)));
                    output::table(["NAME", "USD", "DAYS", "MADE", "OF", "STATE", "ENDS"], &rows);
                }
            }
            Self::Grant { campaign, account, subject, json } => {
                let path = format!("/admin/v1/campaigns/{}/grants", segment(&campaign));
                let grant = admin.post(&path, &json!({ "account": account, "subject": subject }), None).await?;
                if json {
                    output::json(&grant);
                } else {
                    let before = if grant["repeated"] == true { " before; nothing was added" } else { "" };
                    println!("{} USD granted{before}", output::text(&grant, "/amount/usd"));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
