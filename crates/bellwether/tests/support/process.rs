//! The real binary as a child process, killed by pid and never by name.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

/// A running `bellwether`, killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) url: String,
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port on loopback").port()
}

impl Process {
    /// Starts `bellwether ARGS` and waits until it answers on `port`.
    pub(crate) fn start(args: &[&str], port: u16, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        command.args(args).env_clear().stdout(Stdio::null()).stderr(Stdio::piped());
        command.envs(variables.iter().copied());
        let mut child = command.spawn().expect("the binary was built for this test");
        let stderr = child.stderr.take().expect("stderr is piped");
        // Drained, so that the child never blocks on a full pipe; the tail is shown when it dies early.
        std::thread::spawn(move || BufReader::new(stderr).lines().for_each(|line| drop(line.map(|line| eprintln!("    | {line}")))));
        let mut process = Self { child, url: format!("http://127.0.0.1:{port}") };
        process.wait_until_ready(port);
        process
    }

    fn wait_until_ready(&mut self, port: u16) {
        const LOOKS: u32 = 2_000;
        for _ in 0..LOOKS {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                panic!("the process ended at start with {status}");
            }
            if ready(port) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the process did not answer within 20 s");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether `/readyz` on the port answers 200, or, where there is no such path, anything at all.
fn ready(port: u16) -> bool {
    use std::io::Write;
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let sent = stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    sent.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 ") && !answer.starts_with("HTTP/1.1 503")
}

/// What a test needs of the admin API.
pub(crate) struct Admin {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Admin {
    pub(crate) fn new(base: &str, token: &str) -> Self {
        Self { http: client(), base: base.to_owned(), token: token.to_owned() }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.token).json(&body);
        let response =
            request.header("idempotency-key", format!("{:032x}", fastrand::u128(..))).send().await.expect("the admin API answers");
        let (status, text) = (response.status(), response.text().await.expect("a whole answer"));
        assert!(status.is_success(), "POST {path}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.token).send().await.expect("the admin API answers");
        let (status, text) = (response.status(), response.text().await.expect("a whole answer"));
        assert!(status.is_success(), "GET {path}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// An account without a grant, credited with `usd`, and a live key of it.
    pub(crate) async fn funded(&self, name: &str, usd: &str) -> String {
        self.post("/admin/v1/accounts", json!({ "name": name, "grant": false })).await;
        self.post(&format!("/admin/v1/accounts/{name}/credit"), json!({ "amount_usd": usd, "mode": "live", "reason": "test" })).await;
        self.key(name, "live").await
    }

    pub(crate) async fn key(&self, account: &str, mode: &str) -> String {
        let key = self.post("/admin/v1/keys", json!({ "account": account, "mode": mode, "name": "test" })).await;
        key["key"].as_str().expect("a new key is shown").to_owned()
    }
}

/// An HTTP client for loopback that never gives up before the test does.
pub(crate) fn client() -> reqwest::Client {
    bellwether::tls::install_crypto_provider();
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(Duration::from_secs(60)).build().expect("a client")
}

/// Writes a configuration file.
pub(crate) fn write_config(folder: &Path, text: &str) -> String {
    let path = folder.join("bellwether.toml");
    std::fs::write(&path, text).expect("a writable folder");
    path.display().to_string()
}
