//! `bellwether account …`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::{
    admin_client::{AdminClient, fresh_key, segment},
    output,
};

#[derive(Debug, Subcommand)]
pub(super) enum Account {
    /// Create an account; it gets the sign-up grant unless told otherwise
    Create {
        /// A name, unique in this gateway
        name: String,
        /// Without the sign-up grant
        #[arg(long)]
        no_grant: bool,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// List the accounts
    List {
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Put an account on a plan, or its months into a zone
    Set {
        /// The account's name or id
        account: String,
        /// The plan: what its calls cost from the next one on
        #[arg(long, required_unless_present = "tz")]
        plan: Option<String>,
        /// The zone whose months its statements follow, such as Asia/Shanghai
        #[arg(long)]
        tz: Option<String>,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Add bought credit by hand
    Credit {
        /// The account's name or id
        account: String,
        /// How much, in dollars, such as 20 or 0.50
        #[arg(allow_negative_numbers = true)]
        amount: String,
        /// Credit the test wallet
        #[arg(long)]
        test: bool,
        /// Why, for the books
        #[arg(long, default_value = "credited from the command line")]
        reason: String,
        /// A repeat with the same key credits nothing and shows the first result
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Show what an account has
    Balance {
        /// The account's name or id
        account: String,
        /// The test wallet
        #[arg(long)]
        test: bool,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
}

fn mode(test: bool) -> &'static str {
    if test { "test" } else { "live" }
}

impl Account {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        match self {
            Self::Create { name, no_grant, json } => {
                let account = admin.post("/admin/v1/accounts", &json!({ "name": name, "grant": !no_grant }), None).await?;
                if json {
                    output::json(&account);
                } else {
                    println!("{}  {}", output::text(&account, "/id"), output::text(&account, "/name"));
                }
            }
            Self::List { json } => {
                let list = admin.list("/admin/v1/accounts").await?;
                if json {
                    output::json(&list);
                } else {
                    let rows = output::rows(&list, |row| ["/id", "/name", "/created_at"].map(|at| output::text(row, at)));
                    output::table(["ID", "NAME", "CREATED"], &rows);
                }
            }
            Self::Set { account, plan, tz, json } => {
                let path = format!("/admin/v1/accounts/{}", segment(&account));
                let account = admin.patch(&path, &json!({ "plan": plan, "tz": tz })).await?;
                if json {
                    output::json(&account);
                } else {
                    println!("{}", ["/name", "/plan", "/tz"].map(|at| output::text(&account, at)).join("  "));
                }
            }
            Self::Credit { account, amount, test, reason, idempotency_key, json } => {
                let key = idempotency_key.unwrap_or_else(fresh_key);
                let path = format!("/admin/v1/accounts/{}/credit", segment(&account));
                let body = json!({ "amount_usd": amount, "mode": mode(test), "reason": reason });
                let credited = admin.post(&path, &body, Some(&key)).await?;
                if json {
                    output::json(&credited);
                } else {
                    println!("credited; available {}", available(&credited["balance"]));
                }
            }
            Self::Balance { account, test, json } => {
                let path = format!("/admin/v1/accounts/{}/balance?mode={}", segment(&account), mode(test));
                let balance = admin.get(&path).await?;
                if json {
                    output::json(&balance);
                } else {
                    println!("{}", available(&balance));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn available(balance: &serde_json::Value) -> String {
    let currency = output::text(balance, "/currency");
    let unit = if currency == "XTS" { "xts" } else { "usd" };
    format!("{} {currency}", output::text(balance, &format!("/available/{unit}")))
}
