//! `bellwether account …`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::{
    admin_client::{AdminClient, fresh_key, segment},
    output, pending,
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
        /// The verified identity it is for; each gets one sign-up grant, however many accounts it has
        #[arg(long, value_name = "IDENTITY")]
        subject: Option<String>,
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
        /// When it ends, such as 2027-01-31T00:00:00Z; only where bought credit may end
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// List credits, campaigns and batches of codes that wait for a second administrator
    Pending {
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Confirm what another administrator has asked for
    Confirm {
        /// Its id: pend_…
        id: String,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Refuse what an administrator has asked for, or take back your own
    Refuse {
        /// Its id: pend_…
        id: String,
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
            Self::Create { name, no_grant, subject, json } => {
                let mut body = json!({ "name": name, "grant": !no_grant });
                if let Some(subject) = subject {
                    body["subject"] = json!(subject);
                }
                let account = admin.post("/admin/v1/accounts", &body, None).await?;
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
            Self::Credit { account, amount, test, reason, idempotency_key, expires_at, json } => {
                let key = idempotency_key.unwrap_or_else(fresh_key);
                let path = format!("/admin/v1/accounts/{}/credit", segment(&account));
                let mut body = json!({ "amount_usd": amount, "mode": mode(test), "reason": reason });
                if let Some(at) = expires_at {
                    body["expires_at"] = json!(at);
                }
                let credited = admin.post(&path, &body, Some(&key)).await?;
                if json {
                    output::json(&credited);
                } else if !pending::waits(&credited) {
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
            Self::Pending { json } => pending::list(admin, json).await?,
            Self::Confirm { id, json } => pending::confirm(admin, &id, json).await?,
            Self::Refuse { id, json } => pending::refuse(admin, &id, json).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn available(balance: &serde_json::Value) -> String {
    let currency = output::text(balance, "/currency");
    let unit = if currency == "XTS" { "xts" } else { "usd" };
    format!("{} {currency}", output::text(balance, &format!("/available/{unit}")))
}
