//! Log lines: for people on a terminal, as JSON for machines.

use std::io::IsTerminal;

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts logging to standard error.
pub(super) fn start(config: &LogConfig) -> Result<()> {
    let filter =
        EnvFilter::try_new(&config.level).with_context(|| format!("`log.level`: `{}` is not a level or a filter", config.level))?;
    // Colours are for people: a file or a journal gets none.
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow!("cannot start logging: {error}"))
}
