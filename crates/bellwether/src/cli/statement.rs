//! `bellwether statement …`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    admin_client::{AdminClient, segment},
    output::{self, amount},
};

#[derive(Debug, Subcommand)]
pub(super) enum Statement {
    /// List the statements of an account, oldest first
    List {
        /// The account's name or id
        account: String,
        /// Those of the test wallet
        #[arg(long)]
        test: bool,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Show one statement
    Show {
        /// The account's name or id
        account: String,
        /// Its number, such as ST-000001
        number: String,
        /// One of the test wallet
        #[arg(long)]
        test: bool,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
    /// Issue the statement of a month that is over now, before the gateway does it by itself
    Issue {
        /// The account's name or id
        account: String,
        /// The month, such as 2026-11
        month: String,
        /// For the test wallet
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

impl Statement {
    pub(super) async fn run(self, admin: &AdminClient) -> Result<ExitCode> {
        match self {
            Self::List { account, test, json } => {
                let list = all(admin, &account, mode(test)).await?;
                if json { output::json(&list) } else { heads(&list) }
            }
            Self::Show { account, number, test, json } => {
                let path = format!("/admin/v1/accounts/{}/statements/{}?mode={}", segment(&account), segment(&number), mode(test));
                let view = admin.get(&path).await?;
                if json { output::json(&view) } else { show(&view) }
            }
            Self::Issue { account, month, test, json } => {
                let path = format!("/admin/v1/accounts/{}/statements", segment(&account));
                let head = admin.post(&path, &json!({ "month": month, "mode": mode(test) }), None).await?;
                if json { output::json(&head) } else { heads(&json!({ "data": [head] })) }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All pages as one list.
async fn all(admin: &AdminClient, account: &str, mode: &str) -> Result<Value> {
    let path = format!("/admin/v1/accounts/{}/statements?mode={mode}", segment(account));
    let mut list = admin.get(&path).await?;
    while let Some(after) = list["next"].as_str().map(segment) {
        let mut page = admin.get(&format!("{path}&after={after}")).await?;
        if let (Some(rows), Some(more)) = (list["data"].as_array_mut(), page["data"].as_array_mut()) {
            rows.append(more);
        }
        list["has_more"] = page["has_more"].take();
        list["next"] = page["next"].take();
    }
    Ok(list)
}

fn heads(list: &Value) {
    let rows = output::rows(list, |row| {
        [
            output::text(row, "/number"),
            output::text(row, "/month"),
            amount(&row["opening"]),
            amount(&row["closing"]),
            output::text(row, "/sha256"),
        ]
    });
    output::table(["NUMBER", "MONTH", "OPENING", "CLOSING", "SHA256"], &rows);
}

fn show(view: &Value) {
    let body = &view["statement"];
    let text = |at| output::text(body, at);
    println!("{}  {}  {} to {} ({})", text("/number"), text("/month"), text("/from"), text("/to"), text("/tz"));
    let mut rows = vec![["opening".to_owned(), amount(&body["opening"])]];
    for section in ["credits", "adjustments"] {
        for (kind, money) in body[section].as_object().into_iter().flatten() {
            rows.push([kind.clone(), amount(money)]);
        }
    }
    rows.push(["expired (taken)".to_owned(), amount(&body["expired"])]);
    rows.push([format!("usage, {} requests (taken)", output::text(body, "/usage/requests")), amount(&body["usage"]["paid"])]);
    rows.push(["closing".to_owned(), amount(&body["closing"])]);
    output::table(["", "AMOUNT"], &rows);
    for (model, line) in body["usage"]["by_model"].as_object().into_iter().flatten() {
        println!("  {model}: {} requests, {}", line["requests"], amount(&line["charge"]));
    }
    println!("{}", text("/notice"));
}
