//! `cargo xtask ci`: every check, in the order in which a failure is cheapest to learn.

use anyhow::{Context, Result, bail};

use crate::{shell, tidy};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: [Step; 6] = [
    ("formatting", || shell::cargo(&["fmt", "--all", "--check"])),
    ("house rules", tidy::tidy),
    ("dependencies", dependencies),
    ("lints", || shell::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])),
    ("documentation", || shell::cargo_with(&["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")])),
    ("tests", || shell::cargo(&["test", "--workspace", "--locked"])),
];

pub(crate) fn ci() -> Result<()> {
    for (name, step) in STEPS {
        eprintln!("── {name}");
        step().with_context(|| format!("{name}: not as it should be"))?;
    }
    Ok(())
}

/// Bans, licences and sources. Advisories need a network and have a task of their own.
fn dependencies() -> Result<()> {
    if !shell::works("cargo", &["deny", "--version"]) {
        bail!("cargo-deny is missing; `cargo install cargo-deny --locked` installs it");
    }
    shell::cargo(&["deny", "--workspace", "check", "bans", "licenses", "sources"])
}
