//! `cargo xtask tidy`: the rules of the house that a machine can check.
//!
//! Exceptions stand in `xtask/tidy.toml`, each with its reason; an exception that is no longer needed is an error, so the
//! list only gets shorter.

mod arrows;
mod exceptions;
mod source;
mod text;

use std::{fmt, path::PathBuf};

use anyhow::{Result, bail};

use exceptions::Exceptions;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Relative to the workspace's root.
    pub file: String,
    /// Counted from 1; 0 means the whole file.
    pub line: usize,
    /// The rule's name, as exceptions write it.
    pub rule: &'static str,
    /// What is wrong, and what is right.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {} [{}]", self.file, self.message, self.rule),
            line => write!(f, "{}:{line}: {} [{}]", self.file, self.message, self.rule),
        }
    }
}

/// A file of ours: where it is and what it says.
pub(crate) struct SourceFile {
    pub path: String,
    pub text: String,
}

impl SourceFile {
    /// Tests may be longer and may panic.
    pub(crate) fn is_test(&self) -> bool {
        let path = &self.path;
        path.contains("/tests/")
            || path.ends_with("/tests.rs")
            || path.contains("/benches/")
            || path.contains("/testing/")
            || path.ends_with("/testing.rs")
    }
}

pub(crate) fn tidy() -> Result<()> {
    let root = crate::shell::root();
    let mut exceptions = Exceptions::read(&root)?;
    let mut findings = arrows::check()?;
    for file in files(&root)? {
        if file.path.ends_with(".rs") {
            source::check(&file, &mut findings);
        }
        text::check(&file, &mut findings);
    }
    findings.retain(|finding| !exceptions.covers(finding));
    findings.extend(exceptions.unused());
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} house rules are broken"),
    }
}

/// Every text file that git tracks or would track.
fn files(root: &PathBuf) -> Result<Vec<SourceFile>> {
    let listing = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()?;
    let mut files = Vec::new();
    for path in String::from_utf8_lossy(&listing.stdout).split('\0').filter(|path| !path.is_empty()) {
        // A tracked file may have been deleted, and a binary one is not ours to read.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            files.push(SourceFile { path: path.to_owned(), text });
        }
    }
    Ok(files)
}
