//! `bellwether ledger …`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Subcommand;
use gateway_billing::verify::verify_file;
use serde_json::{Value, json};

use super::{admin_client::AdminClient, output};
use crate::config::Environment;

#[derive(Debug, Subcommand)]
pub(super) enum Ledger {
    /// Check every invariant of the books; exit status 0 clean, 1 violated, 2 could not run
    Verify {
        /// A database file, read without changing it; without it the running gateway checks its own
        #[arg(long, value_name = "FILE")]
        database: Option<PathBuf>,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
}

impl Ledger {
    pub(super) async fn run(self, environment: &dyn Environment) -> Result<ExitCode> {
        let Self::Verify { database, json } = self;
        let report = match verify(database, environment).await {
            Ok(report) => report,
            Err(error) => {
                eprintln!("error: {error:#}");
                return Ok(ExitCode::from(2));
            }
        };
        if json {
            output::json(&report);
        } else {
            show(&report);
        }
        Ok(if report["ok"] == true { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

async fn verify(database: Option<PathBuf>, environment: &dyn Environment) -> Result<Value> {
    match database {
        Some(path) => Ok(serde_json::to_value(verify_file(&path)?)?),
        None => AdminClient::from_environment(environment)?.post("/admin/v1/ledger/verify", &json!({}), None).await,
    }
}

fn show(report: &Value) {
    let rows: Vec<_> = report["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|check| {
            let violations = check["violations"].as_array().map_or(0, Vec::len);
            [
                output::text(check, "/id"),
                output::text(check, "/rows"),
                if violations == 0 { "holds".to_owned() } else { format!("{violations} violations") },
            ]
        })
        .collect();
    output::table(["CHECK", "ROWS", "RESULT"], &rows);
    for check in report["checks"].as_array().into_iter().flatten() {
        for violation in check["violations"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            println!("{}: {violation}", output::text(check, "/id"));
        }
    }
    println!("open holds: {}, of earlier boots: {}", report["open_holds"], report["earlier_boot_holds"]);
}
