//! `cargo xtask clients`: real SDKs, pinned, against a gateway with a test key.
//!
//! What is tested is that programs written for other services work unchanged, so nothing here goes around an SDK: if its
//! parser, its retry logic or its types object, the test fails. Environments live in the target folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{gateway::Gateway, shell};

/// What to run.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Use the release build
    #[arg(long)]
    release: bool,
    /// A gateway that is built already
    #[arg(long, conflicts_with = "release")]
    binary: Option<PathBuf>,
    /// Only the suites whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Where the reference clients are
    #[arg(long, env = "BELLWETHER_REFERENCE", default_value = "../shared/reference")]
    reference: PathBuf,
}

/// One program to run.
struct Suite {
    name: &'static str,
    command: Command,
}

pub(crate) fn clients(options: &Options) -> Result<()> {
    let binary = options.binary.clone().map_or_else(|| build(options.release), |binary| Ok(shell::root().join(binary)))?;
    let folder = shell::root().join("target/clients");
    let python = python(&folder)?;
    let node = node(&folder)?;

    let home = folder.join("gateway");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    let gateway = Gateway::start(&binary, &home, "", None)?;
    let key = gateway.key("clients", None)?;

    let scripts = shell::root().join("xtask/clients");
    let mut suites = vec![
        Suite::new("python-openai", &python, &scripts.join("python/openai_suite.py")),
        Suite::new("python-anthropic", &python, &scripts.join("python/anthropic_suite.py")),
        Suite::new("node-openai", Path::new("node"), &node.join("openai_suite.mjs")),
    ];
    suites.extend(reference(&options.reference, &python, &node)?);
    let mut failed = Vec::new();
    for mut suite in suites.into_iter().filter(|suite| options.only.as_ref().is_none_or(|only| suite.name.contains(only))) {
        eprintln!("── {}", suite.name);
        suite.command.current_dir(&folder);
        suite.command.env("BELLWETHER_URL", gateway.url()).env("BELLWETHER_KEY", &key);
        suite.command.env("HOLYSHEEP_BASE_URL", format!("{}/v1", gateway.url())).env("HOLYSHEEP_API_KEY", &key);
        // A provider's key or proxy in the environment must not reach a test.
        for name in [
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_BASE_URL",
            "ANTHROPIC_AUTH_TOKEN",
            "HTTP_PROXY",
            "http_proxy",
        ] {
            suite.command.env_remove(name);
        }
        suite.command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        let status = suite.command.status().with_context(|| format!("cannot run the suite {}", suite.name))?;
        if !status.success() {
            failed.push(suite.name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}. The gateway said last:\n{}", failed.join(", "), gateway.log_tail());
    }
    gateway.stop()
}

fn build(release: bool) -> Result<PathBuf> {
    let profile: &[&str] = if release { &["--release"] } else { &[] };
    shell::cargo(&[&["build", "--locked", "-p", "bellwether"], profile].concat())?;
    Ok(shell::target().join(if release { "release" } else { "debug" }).join("bellwether"))
}

impl Suite {
    fn new(name: &'static str, program: &Path, script: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg(script);
        Self { name, command }
    }
}

/// The guide's own clients, unmodified.
fn reference(folder: &Path, python: &Path, node: &Path) -> Result<Vec<Suite>> {
    let folder = if folder.is_absolute() { folder.to_owned() } else { shell::root().join(folder) };
    let Ok(folder) = folder.canonicalize() else {
        eprintln!("the reference clients are not at {}: left out; BELLWETHER_REFERENCE says where they are", folder.display());
        return Ok(Vec::new());
    };
    let (py, ts) = (folder.join("holy_sheep_client.py"), folder.join("holy-sheep-client.ts"));
    for script in [&py, &ts] {
        if !script.is_file() {
            bail!("{} is missing", script.display());
        }
    }
    Ok(vec![Suite::new("reference-python", python, &py), Suite::new("reference-typescript", &node.join("node_modules/.bin/tsx"), &ts)])
}

/// A virtual environment with the pinned packages; its interpreter.
fn python(folder: &Path) -> Result<PathBuf> {
    let wanted = shell::root().join("xtask/clients/python/requirements.txt");
    let environment = folder.join("venv");
    let interpreter = environment.join("bin/python");
    let stamp = environment.join("installed.txt");
    if !up_to_date(&wanted, &stamp) {
        fs::create_dir_all(folder)?;
        shell::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
        shell::run(Command::new(&interpreter).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&wanted))?;
        fs::copy(&wanted, &stamp)?;
    }
    Ok(interpreter)
}

/// A folder with the pinned packages and the suites, which find their packages beside themselves.
fn node(folder: &Path) -> Result<PathBuf> {
    let source = shell::root().join("xtask/clients/node");
    let environment = folder.join("node");
    let stamp = environment.join("installed.json");
    fs::create_dir_all(&environment)?;
    fs::copy(source.join("openai_suite.mjs"), environment.join("openai_suite.mjs"))?;
    let wanted = source.join("package.json");
    if !up_to_date(&wanted, &stamp) {
        fs::copy(&wanted, environment.join("package.json"))?;
        let mut install = Command::new("npm");
        install.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", "--prefix"]).arg(&environment);
        shell::run(&mut install)?;
        fs::copy(&wanted, &stamp)?;
    }
    Ok(environment)
}

fn up_to_date(wanted: &Path, stamp: &Path) -> bool {
    match (fs::read(wanted), fs::read(stamp)) {
        (Ok(wanted), Ok(stamp)) => wanted == stamp,
        (Err(_), _) | (_, Err(_)) => false,
    }
}
