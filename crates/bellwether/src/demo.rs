//! `bellwether demo`: a throw-away gateway, the guide's story told to it over real HTTP, and its books checked.
//!
//! Nothing is taken on trust: every charge is recomputed from the quantities and prices on its receipt, the report must
//! equal their sum, and the ledger must verify.

mod caller;
mod receipts;
mod story;

use std::process::ExitCode;

use anyhow::{Context, Result};
use gateway_core::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::{
    Registry,
    cli::AdminClient,
    config::{Config, Environment},
    serve::Gateway,
};
use caller::Caller;

/// A demo must not depend on what happens to be set where it is run.
struct NoEnvironment;

impl Environment for NoEnvironment {
    fn var(&self, _name: &str) -> Option<String> {
        None
    }

    fn all(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Plays the story; success only if all of it held.
///
/// # Errors
/// The gateway could not be started or stopped. A step that fails is reported, not returned.
pub async fn demo(as_json: bool, registry: Registry) -> Result<ExitCode> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder for the demo's database")?;
    let mut config = Config::default();
    config.server.listen.set_port(0);
    config.storage.url = format!("sqlite://{}", folder.path().join("demo.db").display());
    config.log.level = "error".to_owned();
    let gateway = Gateway::start(&config, &NoEnvironment, registry).await.context("cannot start the demo's gateway")?;
    let result = play(&gateway, as_json).await;
    gateway.stop().await.context("the demo's gateway did not stop cleanly")?;
    Ok(if result? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(gateway: &Gateway, as_json: bool) -> Result<bool> {
    let base = gateway.url();
    let admin = AdminClient::new(&base, gateway.admin_token().clone())?;
    admin.post("/admin/v1/accounts", &json!({ "name": "demo", "grant": true }), None).await?;
    let key = admin.post("/admin/v1/keys", &json!({ "account": "demo", "mode": "test", "name": "demo" }), None).await?;
    let caller = Caller::new(&base, key["key"].as_str().context("the gateway made a key without showing it")?)?;
    if !as_json {
        println!("A gateway is listening on {base}, with an empty ledger and the simulated provider.\n");
    }
    let mut told = Told { as_json, ok: true };
    let mut ids = Vec::new();
    told.tell("chat", story::chat(&caller, &mut ids)).await;
    told.tell("fallback", story::fallback(&caller, &mut ids)).await;
    told.tell("stream", story::stream(&caller, &mut ids)).await;
    told.tell("batch", story::batch(&caller, &mut ids)).await;
    let report = told.tell("report", story::report(&caller, &ids)).await;
    let verified = told.tell("verify", story::verify(&admin)).await;
    let ledger_ok = verified.is_some();
    let charged = report.map_or(Value::Null, |report| report["total_cost"].clone());
    if as_json {
        println!("{}", json!({ "ok": told.ok, "requests": ids.len(), "charged": charged, "ledger_ok": ledger_ok }));
    } else {
        let verdict = if told.ok { "All of it held." } else { "Something did not hold; see above." };
        println!("\n{} requests, charged {} XTS (test money). {verdict}", ids.len(), charged["xts"].as_str().unwrap_or("?"));
    }
    Ok(told.ok)
}

/// Tells the story's steps as they happen.
struct Told {
    as_json: bool,
    ok: bool,
}

impl Told {
    async fn tell(&mut self, step: &str, story: impl Future<Output = Result<Value>>) -> Option<Value> {
        let started = SystemClock.monotonic();
        let result = story.await;
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (ok, detail) = match &result {
            Ok(detail) => (true, detail.clone()),
            Err(error) => (false, json!({ "error": format!("{error:#}") })),
        };
        self.ok &= ok;
        if self.as_json {
            println!("{}", json!({ "step": step, "ok": ok, "ms": ms, "detail": detail }));
        } else {
            let mark = if ok { "ok  " } else { "FAIL" };
            let words = detail.get("said").or(detail.get("error")).and_then(Value::as_str).unwrap_or_default();
            println!("{mark} {step:<9} {ms:>5} ms  {words}");
        }
        result.ok()
    }
}
