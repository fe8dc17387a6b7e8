//! `bellwether team …` and `bellwether user …`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    admin_client::{AdminClient, segment},
    output,
};

#[derive(Debug, Subcommand)]
pub(super) enum Team {
    /// Make a team
    Create {
        /// Its name, unique in the account
        name: String,
        #[command(flatten)]
        of: Of,
    },
    /// List an account's teams
    List {
        #[command(flatten)]
        of: Of,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Add a user
    Create {
        /// Their name, unique in the account
        name: String,
        /// Their team, by name or id
        #[arg(long)]
        team: Option<String>,
        #[command(flatten)]
        of: Of,
    },
    /// List an account's users
    List {
        #[command(flatten)]
        of: Of,
    },
}

/// Whose, and how to show it.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// The account's name or id
    #[arg(long)]
    account: String,
    /// Machine-readable output
    #[arg(long)]
    json: bool,
}

impl Of {
    fn path(&self, what: &str) -> String {
        format!("/admin/v1/accounts/{}/{what}", segment(&self.account))
    }

    fn show_new(&self, new: &Value) {
        if self.json {
            output::json(new);
        } else {
            println!("{}  {}", output::text(new, "/id"), output::text(new, "/name"));
        }
    }
}

impl Team {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        match self {
            Self::Create { name, of } => of.show_new(&admin.post(&of.path("teams"), &json!({ "name": name }), None).await?),
            Self::List { of } => {
                let list = admin.get(&of.path("teams")).await?;
                if of.json {
                    output::json(&list);
                } else {
                    let rows = output::rows(&list, |row| ["/id", "/name", "/created_at"].map(|at| output::text(row, at)));
                    output::table(["ID", "NAME", "CREATED"], &rows);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl User {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        match self {
            Self::Create { name, team, of } => {
                let body = json!({ "name": name, "team": team });
                of.show_new(&admin.post(&of.path("users"), &body, None).await?);
            }
            Self::List { of } => {
                let list = admin.get(&of.path("users")).await?;
                if of.json {
                    output::json(&list);
                } else {
                    let rows = output::rows(&list, |row| ["/id", "/name", "/team", "/created_at"].map(|at| output::text(row, at)));
                    output::table(["ID", "NAME", "TEAM", "CREATED"], &rows);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
