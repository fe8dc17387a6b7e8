//! `bellwether check`: everything a start would refuse, without starting.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::{ConfigFile, output};
use crate::{Registry, administrators, assembly::Outline, config::Environment, serve, webhooks};

pub(super) fn check(file: &ConfigFile, environment: &dyn Environment, registry: &Registry, as_json: bool) -> Result<ExitCode> {
    let config = serve::load(file, environment)?;
    let outline = Outline::of(&config, environment, registry)?;
    administrators::named(&config, environment)?;
    webhooks::configured(&config, environment)?;
    let ready: Vec<_> = outline.ready_providers();
    let (unpriced, warnings) = (outline.unpriced(), outline.warnings());
    if as_json {
        output::json(
            &json!({ "ok": true, "listen": config.server.listen, "providers_ready": ready, "models_unpriced": unpriced, "warnings": warnings }),
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("The configuration is usable.");
    println!("  listens on        {}", config.server.listen);
    println!("  ledger            {}", config.storage.url);
    println!(
        "  providers with a key: {}",
        if ready.is_empty() { "none; only test keys will be served".to_owned() } else { ready.join(", ") }
    );
    for model in unpriced {
        println!("  model `{model}` has no price and will not be sold; give it a `price`");
    }
    for warning in warnings {
        println!("  {warning}");
    }
    Ok(ExitCode::SUCCESS)
}
