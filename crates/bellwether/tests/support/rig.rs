//! A whole gateway in this process, with a scripted upstream reached in one of three ways.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bellwether::{Registry, cli::AdminClient, config::Config, serve::Gateway};
use gateway_providers::simulator::{Scenario, Simulator};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, SemaphorePermit},
};
use tokio_rustls::TlsAcceptor;

use super::{upstream::Scripted, wire::Speaks};

/// How the gateway reaches the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A test key: no socket at all.
    InProcess,
    /// Plain HTTP/1.1.
    Tcp,
    /// HTTP/2 over TLS.
    TlsHttp2,
}

/// Time limits are short here, so only so many rigs run at once, and those that measure run alone.
static TURNS: Semaphore = Semaphore::const_new(TURNS_AT_ONCE as usize);
const TURNS_AT_ONCE: u32 = 4;

/// Whether a test measures time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// Others may run beside it; what is late is given up soon.
    Shared,
    /// Nothing may, and nothing is given up: whatever ends, the caller ended it.
    Alone,
}

impl Company {
    fn turns(self) -> u32 {
        match self {
            Self::Shared => 1,
            Self::Alone => TURNS_AT_ONCE,
        }
    }

    fn timeouts(self) -> String {
        let limit = match self {
            Self::Shared => 200,
            Self::Alone => 5_000,
        };
        format!(
            "[timeouts]\nconnect_ms = 1000\ntotal_ms = 5000\nfirst_byte_stream_ms = {limit}\nfirst_byte_whole_ms = {limit}\nbetween_chunks_ms = {limit}\n"
        )
    }
}

/// Who stands behind the gateway.
pub(crate) enum Provider<'f> {
    /// The simulator, which does this to `primary`.
    Simulated(&'f Value),
    /// The tests' own provider; only over a socket.
    Scripted(Scripted),
}

impl Provider<'_> {
    fn scenario(&self) -> Scenario {
        let rules = match self {
            Self::Simulated(fault) => json!([{ "match": { "model": "faulty" }, "fault": fault }]),
            Self::Scripted(_) => json!([]),
        };
        serde_json::from_value(json!({ "seed": 1, "rules": rules })).expect("a valid scenario")
    }
}

/// A gateway, a key, and what is needed to look at its books.
pub(crate) struct Rig {
    _turn: SemaphorePermit<'static>,
    pub(crate) gateway: Gateway,
    pub(crate) key: String,
    pub(crate) folder: TempDir,
    pub(crate) way: Way,
    admin: AdminClient,
}

/// What is asked: 47 bytes.
pub(crate) const PROMPT: &str = "Tell me of the sea and of all that lives in it.";

/// Two models: `primary` at a provider of its own, which every rule of the scenario names, and `backup`.
const MODELS: &str = r#"
    [routing]
    backoff_ms = 1
    backoff_ms_max = 2
    [[models]]
    name = "primary"
    deployments = [{ provider = "first", model = "faulty" }]
    fallbacks = ["backup"]
    price = { input = "2", output = "8" }
    [[models]]
    name = "backup"
    deployments = [{ provider = "second", model = "sound" }]
    price = { input = "1", output = "4" }
"#;

impl Rig {
    /// Starts it before an OpenAI chat upstream; `fault` is what the simulator does to `primary`.
    pub(crate) async fn start(way: Way, company: Company, fault: &Value) -> Self {
        Self::before(way, company, Speaks::OpenAiChat, Provider::Simulated(fault)).await
    }

    /// Starts it before a provider that speaks this protocol.
    pub(crate) async fn before(way: Way, company: Company, speaks: Speaks, provider: Provider<'_>) -> Self {
        let turn = TURNS.acquire_many(company.turns()).await.expect("never closed");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let scenario = provider.scenario();
        let upstream = Upstream::start(way, provider, &folder).await;
        let provider = |name: &str| {
            let (protocol, version) = (speaks.protocol(), speaks.version());
            let base = format!("{}/{version}", upstream.base);
            let settings = &upstream.settings;
            format!("[providers.{name}]\nprotocol = \"{protocol}\"\nbase_url = \"{base}\"\napi_key = \"upstream-key\"\n{settings}\n")
        };
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[storage]\nurl = \"sqlite://{}\"\n{}{}{}{MODELS}",
            folder.path().join("rig.db").display(),
            provider("first"),
            provider("second"),
            company.timeouts(),
        );
        let environment: BTreeMap<String, String> = BTreeMap::new();
        let mut config = Config::parse(&text, "rig", &environment).expect("a valid configuration");
        config.simulator = scenario;
        let gateway = Gateway::start(&config, &environment, Registry::builtin().expect("shipped specs")).await.expect("it starts");
        let admin = AdminClient::new(&gateway.url(), gateway.admin_token().clone()).expect("a client");
        let mode = if way == Way::InProcess { "test" } else { "live" };
        let key = admin.post("/admin/v1/keys", &json!({ "account": "default", "mode": mode }), None).await.expect("a key");
        let key = key["key"].as_str().expect("shown once").to_owned();
        Self { _turn: turn, gateway, key, folder, way, admin }
    }

    /// Asks `primary`, whole or streamed, as a caller of OpenAI chat.
    pub(crate) async fn ask(&self, stream: bool) -> reqwest::Response {
        self.ask_at("/v1/chat/completions", stream, json!({})).await
    }

    /// Asks `primary` at a path, with these members besides; the two callers' protocols have the rest in common.
    pub(crate) async fn ask_at(&self, path: &str, stream: bool, besides: Value) -> reqwest::Response {
        let mut body = json!({ "model": "primary", "stream": stream, "max_tokens": 200,
            "messages": [{ "role": "user", "content": PROMPT }] });
        for (key, value) in besides.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        let request = client().post(format!("{}{path}", self.gateway.url())).bearer_auth(&self.key).json(&body);
        request.send().await.expect("the gateway answers")
    }

    /// The request's receipt, once it is resolved.
    pub(crate) async fn receipt(&self, id: &str) -> Value {
        for _ in 0..200 {
            let url = format!("{}/v1/billing/requests/{id}", self.gateway.url());
            let response = client().get(url).bearer_auth(&self.key).send().await.expect("the gateway answers");
            if response.status().is_success() {
                let receipt: Value = response.json().await.expect("JSON");
                if receipt["state"] != "open" {
                    return receipt;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} was not resolved within two seconds")
    }

    /// What stands on a ledger account, summed over its owners; credit is negative.
    pub(crate) fn posted(&self, code: i64) -> i64 {
        let file = self.folder.path().join("rig.db");
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = rusqlite::Connection::open_with_flags(file, flags).expect("the rig's database");
        let currency = if self.way == Way::InProcess { "XTS" } else { "USD" };
        let sum = "SELECT COALESCE(SUM(posted), 0) FROM account WHERE code = ?1 AND currency = ?2";
        database.query_row(sum, rusqlite::params![code, currency], |row| row.get(0)).expect("the account table")
    }

    /// Requests whose answer has not ended.
    pub(crate) async fn in_flight(&self) -> u64 {
        let url = format!("{}/metrics", self.gateway.url());
        let token = self.gateway.admin_token().expose().to_owned();
        let text = client().get(url).bearer_auth(token).send().await.expect("metrics").text().await.expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix("bellwether_in_flight "));
        line.and_then(|number| number.parse::<f64>().ok()).map_or(u64::MAX, |number| number as u64)
    }

    /// The books must hold, and nothing may be open.
    pub(crate) async fn close(self) {
        self.settled().await;
        self.gateway.stop().await.expect("it stops");
    }

    /// Waits until nothing is open; the books must hold all the while.
    pub(crate) async fn settled(&self) {
        // A settlement may be a commit away.
        for patience in (0..100).rev() {
            let verdict = self.admin.post("/admin/v1/ledger/verify", &json!({}), None).await.expect("a verdict");
            assert_eq!(verdict["ok"], true, "{verdict}");
            if verdict["open_holds"] == 0 {
                break;
            }
            assert!(patience > 0, "{verdict}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A client that keeps no connection, so that dropping an answer closes its socket. Made once: reading the system's
/// certificates takes longer than most tests.
pub(crate) fn client() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        bellwether::tls::install_crypto_provider();
        reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client")
    });
    CLIENT.clone()
}

struct Upstream {
    base: String,
    settings: String,
}

impl Upstream {
    async fn start(way: Way, provider: Provider<'_>, folder: &TempDir) -> Self {
        let simulator = Simulator::new(provider.scenario());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener").port();
        match way {
            Way::InProcess => {
                // Nothing may ever connect: the port is closed again.
                drop(listener);
                Self { base: format!("http://127.0.0.1:{port}"), settings: String::new() }
            }
            Way::Tcp => {
                match provider {
                    Provider::Scripted(scripted) => spawn(scripted.serve(listener, None)),
                    Provider::Simulated(_) => spawn(async move {
                        drop(gateway_providers::simulator::serve(listener, simulator, std::future::pending()).await);
                    }),
                }
                Self { base: format!("http://127.0.0.1:{port}"), settings: String::new() }
            }
            Way::TlsHttp2 => {
                let (acceptor, ca_file) = tls(folder);
                match provider {
                    Provider::Scripted(scripted) => spawn(scripted.serve(listener, Some(acceptor))),
                    Provider::Simulated(_) => spawn(serve_tls(listener, acceptor, simulator)),
                }
                Self { base: format!("https://localhost:{port}"), settings: format!("ca_file = \"{ca_file}\"\nhttp2 = true") }
            }
        }
    }
}

fn tls(folder: &TempDir) -> (TlsAcceptor, String) {
    bellwether::tls::install_crypto_provider();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let ca_file = folder.path().join("upstream.pem");
    std::fs::write(&ca_file, made.cert.pem()).expect("a writable folder");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a private key");
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("key and certificate belong together");
    config.alpn_protocols = vec![b"h2".to_vec()];
    (TlsAcceptor::from(Arc::new(config)), ca_file.display().to_string())
}

async fn serve_tls(listener: TcpListener, acceptor: TlsAcceptor, simulator: Simulator) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, simulator) = (acceptor.clone(), simulator.clone());
        spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = TowerToHyperService::new(simulator);
            drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
