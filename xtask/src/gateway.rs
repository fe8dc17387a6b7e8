//! A gateway started for a task, in a folder of its own, and stopped when the task is over.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::shell;

/// The admin token of every gateway started here; it is reachable on loopback only and lives for one task.
const ADMIN_TOKEN: &str = "xtask-admin-token-for-loopback-only";

/// How long a program may take to listen.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A program that is killed when it goes out of scope.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts the command.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start `{}`", shell::shown(&command)))?;
        Ok(Self(child))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; nothing is left to do then.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
    /// From the start of the program to its first 200 on `/readyz`.
    pub(crate) ready_after: Duration,
    binary: PathBuf,
    log: PathBuf,
}

impl Gateway {
    /// Starts `binary serve` in `folder`, which keeps its database between starts. `config` is appended to the sections
    /// that every such gateway has.
    pub(crate) fn start(binary: &Path, folder: &Path, config: &str, core: Option<u32>) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let address = free_address()?;
        let file = folder.join("bellwether.toml");
        let database = folder.join("bellwether.db");
        let text = format!("[server]\nlisten = \"{address}\"\n\n[storage]\nurl = \"sqlite://{}\"\n\n{config}", database.display());
        fs::write(&file, text)?;
        let log = folder.join("gateway.log");
        let mut command = shell::pinned(binary, core);
        command.args(["serve", "--config"]).arg(&file).current_dir(folder).stdin(Stdio::null());
        command.env("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN).env("HOUSE_KEY", "house-key-of-the-mock");
        command.env("BELLWETHER_SECRET", "xtask-secret-for-keyed-hashes-of-one-run");
        command.stdout(fs::File::create(&log)?).stderr(fs::OpenOptions::new().append(true).open(&log)?);
        let started = now();
        let running = Running::start(command)?;
        let mut gateway = Self { running, address, ready_after: Duration::ZERO, binary: binary.to_owned(), log };
        loop {
            if get_status(address, "/readyz") == Some(200) {
                gateway.ready_after = started.elapsed();
                return Ok(gateway);
            }
            if let Some(status) = gateway.running.0.try_wait()? {
                bail!("the gateway ended with {status} before it was ready:\n{}", gateway.log_tail());
            }
            ensure!(started.elapsed() < START_WITHIN, "the gateway was not ready within {START_WITHIN:?}:\n{}", gateway.log_tail());
            sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs the command line against this gateway and reads its JSON answer.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Result<Value> {
        let output = Command::new(&self.binary)
            .args(arguments)
            .arg("--json")
            .env("BELLWETHER_URL", self.url())
            .env("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN)
            .output()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        let shown = format!("bellwether {}", arguments.join(" "));
        ensure!(output.status.success(), "`{shown}` failed with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`{shown}` answered no JSON: {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// Makes an account and a key for it: a test key, or a live one with `live_usd` of credit.
    pub(crate) fn key(&self, account: &str, live_usd: Option<&str>) -> Result<String> {
        self.cli(&["account", "create", account])?;
        let mut arguments = vec!["key", "create", "--account", account];
        match live_usd {
            Some(usd) => drop(self.cli(&["account", "credit", account, usd])?),
            None => arguments.push("--test"),
        }
        let answer = self.cli(&arguments)?;
        Ok(answer["key"].as_str().context("`key create` answered no `key`")?.to_owned())
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = self.running.pid().to_string();
        ensure!(Command::new("kill").args(["-TERM", &pid]).status()?.success(), "cannot signal the gateway");
        let asked = now();
        while self.running.0.try_wait()?.is_none() {
            ensure!(asked.elapsed() < START_WITHIN, "the gateway did not stop within {START_WITHIN:?}:\n{}", self.log_tail());
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The end of what it printed, for error messages.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// An address nobody listens on at this moment.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// The status of a plain GET, if there is one.
pub(crate) fn get_status(address: SocketAddr, path: &str) -> Option<u16> {
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(socket, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut head = [0; 12];
    socket.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head[9..12]).ok()?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "tasks measure real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
