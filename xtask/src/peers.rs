//! `cargo xtask peers`: our charges against independent calculators in Python, each pinned and in an environment of its own.
//!
//! The cases and the comparison are tests of `gateway-billing`, which skip a peer that is not installed; what is promised
//! here is that it is.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::shell;

/// Which peers, and how far.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Only the peers whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Install them and stop: the workspace's tests find them then
    #[arg(long)]
    install: bool,
}

/// A package that computes charges by itself.
struct Peer {
    package: &'static str,
    version: &'static str,
    /// Its environment, below the target folder.
    folder: &'static str,
    test: &'static str,
}

const PEERS: [Peer; 2] = [
    Peer { package: "genai-prices", version: "0.2.3", folder: "peer-venv", test: "charges_equal_those_of_genai_prices" },
    // Some 170 MB, so it is compared with now and then and not by every run.
    Peer { package: "litellm", version: "1.106.2", folder: "peer-venv-litellm", test: "charges_agree_with_those_of_litellm" },
];

pub(crate) fn peers(options: &Options) -> Result<()> {
    let chosen: Vec<&Peer> = PEERS.iter().filter(|peer| options.only.as_ref().is_none_or(|only| peer.package.contains(only))).collect();
    if chosen.is_empty() {
        let known = PEERS.map(|peer| peer.package).join(", ");
        bail!("there is no such peer; there are {known}");
    }
    for peer in chosen {
        eprintln!("── {} {}", peer.package, peer.version);
        peer.install().with_context(|| format!("{} cannot be installed", peer.package))?;
        if !options.install {
            shell::cargo(&[
                "test",
                "--locked",
                "-p",
                "gateway-billing",
                "--test",
                "price_peer",
                "--",
                "--exact",
                peer.test,
                "--nocapture",
            ])?;
        }
    }
    Ok(())
}

impl Peer {
    fn install(&self) -> Result<()> {
        let environment = shell::root().join("target").join(self.folder);
        let interpreter = environment.join("bin/python");
        if !self.is_installed(&interpreter) {
            fs::create_dir_all(&environment)?;
            shell::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
            let wanted = format!("{}=={}", self.package, self.version);
            shell::run(Command::new(&interpreter).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &wanted]))?;
        }
        if !self.is_installed(&interpreter) {
            bail!("{} {} is not in {}", self.package, self.version, environment.display());
        }
        Ok(())
    }

    fn is_installed(&self, interpreter: &Path) -> bool {
        let check = format!("import importlib.metadata as m; raise SystemExit(m.version('{}') != '{}')", self.package, self.version);
        interpreter.to_str().is_some_and(|program| shell::works(program, &["-c", &check]))
    }
}
