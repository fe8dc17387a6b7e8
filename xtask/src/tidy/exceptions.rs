//! `xtask/tidy.toml`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    exception: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    file: String,
    rule: String,
    #[serde(rename = "reason")]
    _reason: String,
    #[serde(skip)]
    used: bool,
}

/// The list, and which of it was needed.
pub(super) struct Exceptions(Vec<Exception>);

impl Exceptions {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(root.join("xtask/tidy.toml")).context("cannot read xtask/tidy.toml")?;
        let file: File = toml::from_str(&text).context("xtask/tidy.toml")?;
        Ok(Self(file.exception))
    }

    pub(super) fn covers(&mut self, finding: &Finding) -> bool {
        let mut covered = false;
        for exception in &mut self.0 {
            if exception.file == finding.file && exception.rule == finding.rule {
                exception.used = true;
                covered = true;
            }
        }
        covered
    }

    pub(super) fn unused(&self) -> impl Iterator<Item = Finding> {
        self.0.iter().filter(|exception| !exception.used).map(|exception| Finding {
            file: "xtask/tidy.toml".to_owned(),
            line: 0,
            rule: "exception",
            message: format!("the exception `{}` for {} is no longer needed; delete it", exception.rule, exception.file),
        })
    }
}
