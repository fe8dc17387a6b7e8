//! `bellwether models`: what the configuration sells, where it is served, and at what price.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::{ConfigFile, output};
use crate::{Registry, assembly::Outline, config::Environment, serve};

pub(super) fn models(file: &ConfigFile, environment: &dyn Environment, registry: &Registry, as_json: bool) -> Result<ExitCode> {
    let config = serve::load(file, environment)?;
    let outline = Outline::of(&config, environment, registry)?;
    let models = outline.models();
    if as_json {
        output::json(&json!({ "data": models }));
        return Ok(ExitCode::SUCCESS);
    }
    let list = json!({ "data": models });
    let rows = output::rows(&list, |row| {
        let join = |pointer: &str| match row.pointer(pointer) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" → "),
            _ => String::new(),
        };
        [
            output::text(row, "/name"),
            output::text(row, "/tier"),
            output::text(row, "/input"),
            output::text(row, "/output"),
            join("/deployments"),
            join("/fallbacks"),
        ]
    });
    output::table(["MODEL", "TIER", "IN $/M", "OUT $/M", "SERVED BY", "FALLBACKS"], &rows);
    Ok(ExitCode::SUCCESS)
}
