//! `bellwether code …`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    admin_client::{AdminClient, segment},
    output,
    pending::waits,
};

#[derive(Debug, Subcommand)]
pub(super) enum Code {
    /// Create a batch of codes; they are shown once
    Create {
        /// A name for the batch, unique in this gateway
        batch: String,
        /// What each use gives, in dollars, such as 5 or 0.50
        #[arg(allow_negative_numbers = true)]
        amount: String,
        /// How many codes
        #[arg(long, default_value_t = 1)]
        count: u32,
        /// How often each may be used, each time by another account
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// They were sold: the credit counts as bought
        #[arg(long)]
        paid: bool,
        /// When they can no longer be redeemed, such as 2027-01-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// How many days the credit is valid from its redemption; without it, for ever
        #[arg(long, value_name = "DAYS")]
        valid_days: Option<u32>,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// List the batches, without their codes
    List {
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Take back whatever of a batch is not redeemed
    Revoke {
        /// The batch's name
        batch: String,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
}

impl Code {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        match self {
            Self::Create { batch, amount, count, uses, paid, expires_at, valid_days, json } => {
                let body = json!({
                    "batch": batch, "count": count, "amount_usd": amount, "class": if paid { "paid" } else { "promo" }, "uses": uses,
                    "expires_at": expires_at, "valid_days": valid_days,
                });
                let made = admin.post("/admin/v1/codes", &body, None).await?;
                if json {
                    output::json(&made);
                } else if !waits(&made) {
                    show(&made);
                }
            }
            Self::List { json } => {
                let list = admin.get("/admin/v1/codes").await?;
                if json {
                    output::json(&list);
                } else {
                    let columns = ["/batch", "/amount/usd", "/class", "/count", "/uses", "/redeemed", "/redeemable", "/state"];
                    let rows = output::rows(&list, |row| columns.map(|at| output::text(row, at)));
                    output::table(["BATCH", "USD", "CLASS", "CODES", "USES", "REDEEMED", "LEFT", "STATE"], &rows);
                }
            }
            Self::Revoke { batch, json } => {
                let revoked = admin.post(&format!("/admin/v1/codes/{}/revoke", segment(&batch)), &json!({}), None).await?;
                if json {
                    output::json(&revoked);
                } else {
                    let (batch, redeemed) = (output::text(&revoked, "/batch"), output::text(&revoked, "/redeemed"));
                    println!("{batch} revoked; {redeemed} uses were redeemed before");
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints a new batch's codes, one a line, so that they can be piped.
pub(super) fn show(made: &Value) {
    for code in made["codes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        println!("{code}");
    }
    eprintln!("{}: keep the codes safe, they are not shown again", output::text(made, "/batch"));
}
