//! `bellwether receipt …`.

use std::{io::Read as _, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use gateway_billing::receipt::ReceiptKeys;
use serde_json::Value;

use super::output;
use crate::{config::Environment, stack::RECEIPT_KEYS};

/// A text of this length that names no file is taken for a receipt: nobody has such long file names.
const RECEIPT_CHARS_MIN: usize = 200;
/// Most bytes read of a receipt or a key set.
const BYTES_MAX: u64 = 1_024 * 1_024;

#[derive(Debug, Subcommand)]
pub(super) enum Receipt {
    /// Print the public keys that a running gateway's receipts are checked with, as a JWK set
    Key {
        /// The gateway; without it BELLWETHER_URL, else http://127.0.0.1:8080
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Check a signed receipt; exit status 0 genuine, 1 forged or altered, 2 could not run
    Verify {
        /// The receipt itself, a file that holds it, or - for standard input
        receipt: String,
        /// The gateway's public keys: a file, or the address of a key set
        #[arg(long, value_name = "FILE-or-URL")]
        keys: String,
        /// Machine-readable output
        #[arg(long)]
        json: bool,
    },
}

impl Receipt {
    pub(super) async fn run(self, environment: &dyn Environment) -> Result<ExitCode> {
        match self {
            Self::Key { url } => {
                let base = url.or_else(|| environment.var("BELLWETHER_URL")).unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
                let text = fetched(&format!("{}{RECEIPT_KEYS}", base.trim_end_matches('/'))).await?;
                ReceiptKeys::parse(&text)?;
                println!("{text}");
                Ok(ExitCode::SUCCESS)
            }
            Self::Verify { receipt, keys, json } => Ok(verify(&receipt, &keys, json).await),
        }
    }
}

async fn verify(receipt: &str, keys: &str, json: bool) -> ExitCode {
    let (receipt, keys) = match read(receipt, keys).await {
        Ok(read) => read,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::from(2);
        }
    };
    match keys.verify(&receipt) {
        Ok(claims) if json => output::json(&claims),
        Ok(claims) => show(&claims),
        Err(invalid) => {
            eprintln!("not genuine: {invalid}");
            return ExitCode::from(1);
        }
    }
    ExitCode::SUCCESS
}

async fn read(receipt: &str, keys: &str) -> Result<(String, ReceiptKeys)> {
    let set = if keys.starts_with("http://") || keys.starts_with("https://") { fetched(keys).await? } else { file(Path::new(keys))? };
    let set = ReceiptKeys::parse(&set).with_context(|| keys.to_owned())?;
    let text = match receipt {
        "-" => bounded(std::io::stdin().lock()).context("cannot read standard input")?,
        path if Path::new(path).exists() => file(Path::new(path))?,
        text if text.len() >= RECEIPT_CHARS_MIN => text.to_owned(),
        path => bail!("`{path}` is neither a file nor a receipt"),
    };
    Ok((unwrapped(text), set))
}

/// The receipt in the gateway's answer, which may have been saved as it came.
fn unwrapped(text: String) -> String {
    let answer = serde_json::from_str::<Value>(&text).ok();
    answer.as_ref().and_then(|answer| answer["receipt"].as_str()).map_or(text, str::to_owned)
}

fn file(path: &Path) -> Result<String> {
    let open = std::fs::File::open(path).and_then(bounded);
    open.with_context(|| format!("cannot read {}", path.display()))
}

/// Bytes that are not text stay visible as such: they make a receipt a forgery, not an input that cannot be read.
fn bounded(from: impl std::io::Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    from.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn fetched(url: &str) -> Result<String> {
    crate::tls::install_crypto_provider();
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().context("cannot make an HTTP client")?;
    let response = http.get(url).send().await.map_err(|error| anyhow!("cannot reach {url}: {error}"))?;
    let status = response.status();
    if !status.is_success() {
        bail!("{url} answers with status {}", status.as_u16());
    }
    response.text().await.with_context(|| format!("the answer of {url} broke off"))
}

fn show(claims: &Value) {
    println!("genuine");
    let text = |pointer: &str| output::text(claims, pointer);
    let money = |pointer: &str| {
        let amount = claims.pointer(pointer).and_then(Value::as_object);
        let amount = amount.and_then(|money| money.iter().find(|(name, _)| *name != "nano")).and_then(|(_, amount)| amount.as_str());
        format!("{} {}", amount.unwrap_or("?"), text("/currency"))
    };
    let mut rows = vec![
        ["request".to_owned(), text("/id")],
        ["account".to_owned(), format!("{} ({})", text("/account"), text("/mode"))],
        ["state".to_owned(), text("/state")],
        ["asked".to_owned(), format!("{} at {}", text("/requested_model"), text("/created_at"))],
        ["served".to_owned(), format!("{} by {} at {}", text("/model"), text("/provider"), text("/served_at"))],
    ];
    for (leaf, count) in claims["leaves"].as_object().into_iter().flatten() {
        rows.push([leaf.clone(), count.to_string()]);
    }
    rows.push(["price".to_owned(), format!("version {}, SHA-256 {}", text("/price/version"), text("/price/sha256"))]);
    rows.push(["multiplier".to_owned(), format!("{} ppm", text("/price/multiplier_ppm"))]);
    rows.push(["charge".to_owned(), money("/charge")]);
    rows.push(["written off".to_owned(), money("/written_off")]);
    for attempt in claims["attempts"].as_array().into_iter().flatten() {
        let of = |pointer: &str| output::text(attempt, pointer);
        let charged = if attempt["charged"] == true { ", charged" } else { "" };
        rows.push([format!("attempt {}", of("/n")), format!("{}/{}: {}{charged}", of("/provider"), of("/upstream_model"), of("/outcome"))]);
    }
    output::table(["WHAT", "STATED"], &rows);
}
