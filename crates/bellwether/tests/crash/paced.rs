//! What a kill may cost a running stream: an Anthropic upstream of the test's own writes at a known pace and counts what it
//! has sent, each caller notes when it read how much, and after the kill the recovered charge must lie between the two.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    now,
    process::{Admin, Process, client, free_port, write_config},
    receipt,
};

const ROUNDS: usize = 5;
const ADMIN_TOKEN: &str = "crash-test-admin-token";

/// A running stream's checkpoint is due so long after the last one, …
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);
/// … or after so many bytes of content.
const CHECKPOINT_BYTES: u64 = 2_048;
/// Then it travels: 50 ms at most in the queue, the commit that is on its way, and its own. A commit slower than 250 ms
/// closes admission, so this is the most that a healthy ledger takes.
pub(super) const COMMIT: Duration = Duration::from_millis(50 + 2 * 250);

/// At most so long after the gateway has handed a frame to its socket the caller has noted it.
const LAG: Duration = Duration::from_millis(50);

/// What the upstream reports of the prompt at once, so that the input's charge is known.
const INPUT: u64 = 19;
/// Nano-dollars a token, input and output.
const RATES: (u64, u64) = (2_000, 8_000);

/// How a stream is written.
#[derive(Debug, Clone, Copy)]
struct Pace {
    name: &'static str,
    frame: usize,
    every_ms: u64,
    /// Frames until it falls silent.
    frames: usize,
}

const PACES: [Pace; 4] = [
    Pace { name: "slow", frame: 8, every_ms: 25, frames: usize::MAX },
    Pace { name: "usual", frame: 40, every_ms: 10, frames: usize::MAX },
    Pace { name: "fast", frame: 512, every_ms: 8, frames: usize::MAX },
    Pace { name: "burst", frame: 512, every_ms: 0, frames: 16 },
];
const STREAMS: usize = 3 * PACES.len();

/// One stream, as both ends saw it.
#[derive(Default)]
struct Log {
    id: Mutex<String>,
    /// Bytes of content the upstream has handed to its socket.
    sent: AtomicU64,
    /// When the caller had read how many of them.
    read: Mutex<Reading>,
}

/// When a caller had read how many bytes of content.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading(Vec<(Instant, u64)>);

impl Reading {
    pub(super) fn note(&mut self, bytes: u64) {
        self.0.push((now(), bytes));
    }

    /// All of it.
    pub(super) fn all(&self) -> u64 {
        self.0.last().map_or(0, |(_, bytes)| *bytes)
    }

    fn by(&self, at: Instant) -> u64 {
        self.0.iter().rev().find(|(when, _)| *when <= at).map_or(0, |(_, bytes)| *bytes)
    }

    /// How much of it must have its checkpoint on disk when the process is killed. At each frame all that is older than the
    /// interval has one, and all but less than the allowed bytes; then it has to be committed.
    pub(super) fn checkpointed(&self, killed: Instant) -> u64 {
        let written = killed - COMMIT;
        let Some((last, bytes)) = self.0.iter().rev().find(|(when, _)| *when <= written) else { return 0 };
        self.by(*last - LAG - CHECKPOINT_EVERY).max(bytes.saturating_sub(CHECKPOINT_BYTES - 1))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_costs_a_running_stream_at_most_one_checkpoint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upstream = Upstream::start().await;
    let port = free_port();
    let config = write_config(folder.path(), &gateway_config(folder.path(), upstream.port, port));
    let start = || Process::start(&["serve", "--config", &config], port, &[("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN)]);
    let mut gateway = start();
    let key = Admin::new(&gateway.url, ADMIN_TOKEN).funded("crash", "1000").await;
    let mut worst = [(0, Duration::ZERO); PACES.len()];
    for round in 0..ROUNDS {
        let logs: Arc<Vec<Log>> = Arc::new((0..STREAMS).map(|_| Log::default()).collect());
        upstream.begin(Arc::clone(&logs));
        let callers: Vec<_> = (0..STREAMS).map(|n| spawn(call(gateway.url.clone(), key.clone(), n, Arc::clone(&logs)))).collect();
        // Not a multiple of any pace, and another moment of the checkpoints in every round.
        tokio::time::sleep(Duration::from_millis(1_500 + 83 * round as u64)).await;
        let killed = now();
        drop(gateway);
        for caller in callers {
            caller.await.expect("a caller does not panic");
        }
        gateway = start();
        for (n, log) in logs.iter().enumerate() {
            let pace = n % PACES.len();
            let (bytes, time) = check(round, PACES[pace], log, killed, &gateway.url, &key).await;
            worst[pace] = (worst[pace].0.max(bytes), worst[pace].1.max(time));
        }
        let verdict = Admin::new(&gateway.url, ADMIN_TOKEN).post("/admin/v1/ledger/verify", json!({})).await;
        assert_eq!((&verdict["ok"], &verdict["open_holds"]), (&json!(true), &json!(0)), "round {round}: {verdict}");
    }
    for (pace, (bytes, time)) in PACES.iter().zip(worst) {
        println!("{:>5}: a kill cost at most {bytes} bytes of content ({} tokens), read in the last {time:?}", pace.name, bytes / 4);
    }
}

/// Holds one stream's charge against both logs. Returns what of the content read is not charged, and how old its oldest
/// byte was.
async fn check(round: usize, pace: Pace, log: &Log, killed: Instant, url: &str, key: &str) -> (u64, Duration) {
    let id = log.id.lock().expect("nobody panics in it").clone();
    let receipt = receipt(url, key, &id).await.unwrap_or_else(|| panic!("round {round}: {id} delivered and left no hold"));
    let charge: u64 = receipt["charge"]["nano"].as_str().and_then(|nano| nano.parse().ok()).unwrap_or(0);
    let reading = log.read.lock().expect("nobody panics in it").clone();
    let (sent, read, least) = (log.sent.load(Ordering::Relaxed), reading.by(killed), reading.checkpointed(killed));
    let story = format!(
        "round {round}, {} stream {id}: the upstream sent {sent} bytes, the caller read {read} before the kill, of which at least {least} had \
         their checkpoint; charged {charge}, at least {} and at most {} expected: {receipt}",
        pace.name,
        worth(least),
        worth(sent),
    );
    assert_eq!(receipt["state"], "estimated", "{story}");
    assert!(charge <= worth(sent), "more than the upstream sent: {story}");
    assert!(charge >= worth(least), "lost more than one checkpoint: {story}");
    let tokens = (charge - INPUT * RATES.0) / RATES.1;
    assert_eq!(charge, INPUT * RATES.0 + tokens * RATES.1, "no whole number of tokens: {story}");
    assert_eq!(tokens % (pace.frame as u64 / 4), 0, "no state that the stream was ever in: {story}");
    let lost = read.saturating_sub(tokens * 4);
    let since = reading.0.iter().find(|(_, bytes)| *bytes > tokens * 4).map(|(at, _)| *at);
    (lost, since.filter(|_| lost > 0).map_or(Duration::ZERO, |at| killed.saturating_duration_since(at)))
}

/// The charge of the prompt and so many bytes of content: four bytes a token, rounded down.
fn worth(bytes: u64) -> u64 {
    INPUT * RATES.0 + bytes / 4 * RATES.1
}

async fn call(url: String, key: String, n: usize, logs: Arc<Vec<Log>>) {
    let body = json!({ "model": "plain", "stream": true, "max_tokens": 200_000,
        "messages": [{ "role": "user", "content": n.to_string() }] });
    let response = client().post(format!("{url}/v1/messages")).bearer_auth(key).json(&body).send().await;
    let mut response = response.expect("the gateway answers");
    assert!(response.status().is_success(), "{}", response.status());
    let log = &logs[n];
    *log.id.lock().expect("nobody panics in it") = response.headers()["x-bellwether-request-id"].to_str().expect("an id").to_owned();
    let (mut rest, mut bytes) = (String::new(), 0);
    // It ends with the kill.
    while let Ok(Some(chunk)) = response.chunk().await {
        rest.push_str(std::str::from_utf8(&chunk).expect("the upstream writes ASCII"));
        while let Some(end) = rest.find("\n\n") {
            let event: String = rest.drain(..end + 2).collect();
            let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or("null");
            let event: Value = serde_json::from_str(data).expect("whole events");
            bytes += event["delta"]["text"].as_str().map_or(0, str::len) as u64;
        }
        log.read.lock().expect("nobody panics in it").note(bytes);
    }
}

struct Upstream {
    port: u16,
    logs: Arc<Mutex<Arc<Vec<Log>>>>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener").port();
        let logs = Arc::new(Mutex::new(Arc::default()));
        let shared = Arc::clone(&logs);
        drop(spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Small writes must leave at once, or the pace is the kernel's.
                stream.set_nodelay(true).expect("a socket");
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| respond(request, Arc::clone(&shared.lock().expect("nobody panics in it"))));
                drop(spawn(async move {
                    // The gateway is killed in the middle of every stream.
                    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
                }));
            }
        }));
        Self { port, logs }
    }

    /// The streams of the next round.
    fn begin(&self, logs: Arc<Vec<Log>>) {
        *self.logs.lock().expect("nobody panics in it") = logs;
    }
}

async fn respond(
    request: Request<Incoming>,
    logs: Arc<Vec<Log>>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let body = request.into_body().collect().await.expect("the gateway sends all of it").to_bytes();
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let n: usize = body["messages"][0]["content"].as_str().and_then(|n| n.parse().ok()).expect("the number of a stream");
    let pace = PACES[n % PACES.len()];
    let frames = stream::unfold((0_usize, logs), move |(at, logs)| async move {
        if at > pace.frames {
            return std::future::pending().await;
        }
        let event = if at == 0 {
            opening()
        } else {
            tokio::time::sleep(Duration::from_millis(pace.every_ms)).await;
            logs[n].sent.fetch_add(pace.frame as u64, Ordering::Relaxed);
            let delta = json!({ "type": "text_delta", "text": "x".repeat(pace.frame) });
            named("content_block_delta", &json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
        };
        Some((Ok(Frame::data(Bytes::from(event))), (at + 1, logs)))
    });
    let response = Response::builder().header("content-type", "text/event-stream").body(StreamBody::new(frames));
    Ok(response.expect("a response of constants"))
}

fn opening() -> String {
    let usage = json!({ "input_tokens": INPUT, "output_tokens": 1 });
    let message = json!({ "id": "msg_01", "type": "message", "role": "assistant", "model": "plain", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage });
    let block = json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } });
    named("message_start", &json!({ "type": "message_start", "message": message })) + &named("content_block_start", &block)
}

fn named(name: &str, value: &Value) -> String {
    format!("event: {name}\ndata: {value}\n\n")
}

fn gateway_config(folder: &std::path::Path, upstream_port: u16, port: u16) -> String {
    format!(
        r#"
        [server]
        listen = "127.0.0.1:{port}"
        [storage]
        url = "sqlite://{database}"
        [log]
        level = "error"
        [providers.house]
        protocol = "anthropic-messages"
        base_url = "http://127.0.0.1:{upstream_port}/v1"
        api_key = "upstream-key"
        [[models]]
        name = "plain"
        deployments = [{{ provider = "house", model = "plain" }}]
        price = {{ input = "2", output = "8" }}
        "#,
        database = folder.join("paced.db").display(),
    )
}

#[expect(clippy::disallowed_methods, reason = "the test awaits every caller, and the upstream ends with the runtime")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(task)
}
