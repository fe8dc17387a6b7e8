//! The hostile hour: what callers, upstreams and disks do on their worst day, on real sockets against the real binary.
//! After each, an ordinary request is served and the ledger verifies with nothing left on hold.

#[path = "support/liar.rs"]
mod liar;
#[path = "support/process.rs"]
mod process;
#[path = "support/small_disk.rs"]
mod small_disk;

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use process::{Admin, Process, client, free_port, write_config};
use serde_json::{Value, json};
use small_disk::SmallDisk;
use tempfile::TempDir;

const ADMIN_TOKEN: &str = "hostile-hour-admin-token";
const BODY_MAX: usize = 64 * 1_024;
/// What a gateway may have used at its most, whatever is thrown at it.
const PEAK_KIB_MAX: u64 = 300 * 1_024;

struct Setting {
    gateway: Process,
    url: String,
    port: u16,
    admin: Admin,
    key: String,
    folder: TempDir,
}

fn config(database: &Path, port: u16) -> String {
    let upstream = liar::start();
    let mut text = format!(
        r#"
        [server]
        listen = "127.0.0.1:{port}"
        body_bytes_max = {BODY_MAX}
        header_bytes_max = 8192
        header_read_s = 1
        body_read_s = 1
        stalled_reader_s = 1
        [storage]
        url = "sqlite://{database}"
        [billing]
        admission_wait_ms = 0
        [routing]
        attempts_per_deployment = 1
        backoff_ms = 1
        backoff_ms_max = 2
        [log]
        level = "error"
        [providers.house]
        protocol = "openai-chat"
        base_url = "http://{upstream}/v1"
        api_key = "upstream-key"
        timeouts = {{ first_byte_whole_ms = 2000, first_byte_stream_ms = 2000, between_chunks_ms = 500, total_ms = 1500 }}
        "#,
        database = database.display(),
    );
    let lies = [&["good", "good-stream"], liar::WHOLE_LIES, liar::STREAM_LIES, liar::FLOODS, liar::STREAM_FLOODS].concat();
    for lie in lies {
        for (name, fallbacks) in [(lie.to_owned(), ""), (format!("{lie}-rescued"), r#""good""#)] {
            writeln!(
                text,
                r#"
                [[models]]
                name = "{name}"
                deployments = [{{ provider = "house", model = "{lie}" }}]
                fallbacks = [{fallbacks}]
                price = {{ input = "2", output = "8" }}"#
            )
            .expect("a String takes everything");
        }
    }
    text
}

async fn start() -> Setting {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = folder.path().join("hostile.db");
    start_on(folder, &database).await
}

async fn start_on(folder: TempDir, database: &Path) -> Setting {
    let port = free_port();
    let config = write_config(folder.path(), &config(database, port));
    let gateway = Process::start(&["serve", "--config", &config], port, &[("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN)]);
    let url = gateway.url.clone();
    let admin = Admin::new(&url, ADMIN_TOKEN);
    let key = admin.funded("hostile", "100").await;
    Setting { gateway, url, port, admin, key, folder }
}

fn question(model: &str, stream: bool) -> Value {
    json!({ "model": model, "max_tokens": 64, "stream": stream, "messages": [{ "role": "user", "content": "how are you?" }] })
}

impl Setting {
    async fn call(&self, model: &str, stream: bool) -> (u16, String) {
        let request = client().post(format!("{}/v1/chat/completions", self.url)).bearer_auth(&self.key).json(&question(model, stream));
        let response = request.send().await.unwrap_or_else(|error| panic!("{model}: no answer: {error:?}"));
        let status = response.status().as_u16();
        (status, response.text().await.unwrap_or_else(|error| panic!("{model}: no clean end: {error:?}")))
    }

    /// The end of a stream that may be very long, read as fast as it comes.
    async fn last_words(&self, model: &str) -> (u16, String) {
        let request = client().post(format!("{}/v1/chat/completions", self.url)).bearer_auth(&self.key).json(&question(model, true));
        let mut response = request.send().await.unwrap_or_else(|error| panic!("{model}: no answer: {error:?}"));
        let mut tail = Vec::new();
        while let Some(chunk) = response.chunk().await.unwrap_or_else(|error| panic!("{model}: no clean end: {error:?}")) {
            tail.drain(..tail.len().saturating_sub(300));
            tail.extend_from_slice(&chunk[chunk.len().saturating_sub(300)..]);
        }
        (response.status().as_u16(), String::from_utf8_lossy(&tail).into_owned())
    }

    /// Sends a body as it is, as a caller with a key.
    async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, String) {
        let request = client().post(format!("{}/v1/chat/completions", self.url)).bearer_auth(&self.key);
        let response = request.header("content-type", "application/json").body(body).send().await.expect("an answer that can be read");
        let status = response.status().as_u16();
        (status, response.text().await.expect("a whole answer"))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the gateway accepts");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time limit");
        stream
    }

    /// Sends bytes and reads until the gateway closes the connection, or 5 s of silence. `None`: reset, or silence.
    fn talk(&self, bytes: &[u8]) -> Option<String> {
        let mut stream = self.connect();
        drop(stream.write_all(bytes));
        read_all(&mut stream)
    }

    /// A request's head, up to the headers that differ.
    fn head(&self, rest: &str) -> String {
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n{rest}", self.key)
    }

    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.gateway.child.id())).expect("a running child");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells the peak");
        line.trim().trim_end_matches("kB").trim().parse().expect("a number")
    }

    /// An ordinary request is served, the books are right, and nothing stays on hold.
    async fn is_well(&self) {
        let (status, text) = self.call("good", false).await;
        assert_eq!(status, 200, "{text}");
        assert!(text.contains("all is well"), "{text}");
        let mut verdict = Value::Null;
        for _ in 0..60 {
            verdict = self.admin.post("/admin/v1/ledger/verify", json!({})).await;
            assert_eq!(verdict["ok"], true, "{verdict}");
            if verdict["open_holds"] == 0 {
                return;
            }
            pause(50).await;
        }
        panic!("a hold stayed open: {verdict}");
    }
}

fn read_all(stream: &mut TcpStream) -> Option<String> {
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    if answer.is_empty() && ended.is_err() {
        return None;
    }
    Some(String::from_utf8_lossy(&answer).into_owned())
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

fn status_of(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_bytes() {
    let setting = start().await;
    let mut random = fastrand::Rng::with_seed(1);
    for length in [1, 2, 24, 100, 4_096, 100_000] {
        let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).chain(*b"\r\n\r\n").collect();
        if let Some(answer) = setting.talk(&bytes).filter(|answer| !answer.is_empty()) {
            assert_eq!(status_of(&answer), "400", "{answer:?}");
        }
    }
    // A TLS greeting, an SSH banner, and the start of HTTP/2 that goes on as nonsense.
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        drop(setting.talk(bytes));
    }
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_http() {
    let setting = start().await;
    for (sent, expected) in [
        ("POST\r\n\r\n", "400"),
        ("GET / HTTP/9.9\r\n\r\n", "400"),
        ("G\0T / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nbad name : x\r\n\r\n", "400"),
        ("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -1\r\n\r\n", "400"),
        ("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n", "400"),
        ("POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", "400"),
        ("GET /../../etc/passwd HTTP/1.1\r\nconnection: close\r\n\r\n", "404"),
        ("BREW /v1/chat/completions HTTP/1.1\r\nconnection: close\r\n\r\n", "405"),
        ("GET /v1/chat/completions HTTP/1.1\r\nconnection: close\r\n\r\n", "405"),
        ("CONNECT example.com:443 HTTP/1.1\r\nconnection: close\r\n\r\n", "404"),
    ] {
        let answer = setting.talk(sent.as_bytes()).unwrap_or_default();
        assert_eq!(status_of(&answer), expected, "{sent:?} was answered with {answer:?}");
    }
    // With both framings a proxy and the gateway could disagree on where the request ends; the connection must not go on.
    let smuggled = setting.head("content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /readyz HTTP/1.1\r\n\r\n");
    let answer = setting.talk(smuggled.as_bytes()).unwrap_or_default();
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_junk_in_json() {
    let setting = start().await;
    let good = question("good", false).to_string();
    let bodies: [Vec<u8>; 8] = [
        b"".to_vec(),
        b"\0\0\0\0".to_vec(),
        vec![0xff; 1_000],
        [&good.as_bytes()[..good.len() - 10], b"\xc3\x28\"}]}"].concat(),
        good.as_bytes()[..good.len() - 1].to_vec(),
        format!("{good}{good}").into_bytes(),
        good.replace("64", "1e999").into_bytes(),
        good.replace("\"good\"", "{\"a\":[null]}").into_bytes(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let (status, text) = setting.post(body).await;
        assert_eq!(status, 400, "{shown:?} was answered with {text}");
        let error: Value = serde_json::from_str(&text).expect("an error in the caller's protocol");
        assert!(error["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{text}");
    }
    // Raw control characters inside a string move no boundary; the provider, who gets the caller's own bytes, judges them.
    let (status, text) = setting.post(good.replace("how are you", "how \u{0}\u{1}\u{1b}[2J are you")).await;
    assert_eq!(status, 200, "{text}");
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deeply_nested_json() {
    let setting = start().await;
    let depth = BODY_MAX / 8;
    let good = question("good", false).to_string();
    for nested in ["[".repeat(depth) + &"]".repeat(depth), "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth), "[".repeat(depth)] {
        for body in [nested.clone(), good.replacen('{', &format!("{{\"metadata\":{nested},"), 1), good.replace("\"how are you?\"", &nested)]
        {
            let (status, text) = setting.post(body).await;
            assert_eq!(status, 400, "{text}");
        }
    }
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_body_announced() {
    let setting = start().await;
    let head = setting.head("content-type: application/json\r\ncontent-length: 99999999999\r\n\r\n");
    // The caller writes and writes, as clients do that read only after they have sent everything.
    let answer = sent_then_read(&setting, &head, &vec![b'a'; 8 << 20]);
    assert_eq!(status_of(&answer), "413", "{answer}");
    assert!(answer.contains(&format!("larger than {BODY_MAX} bytes")), "{answer}");
    // One that announces what it sends.
    let (status, text) = setting.post(vec![b'a'; 8 << 20]).await;
    assert_eq!(status, 413, "{text}");
    // One that waits for our word sends nothing.
    let waits = setting.head("expect: 100-continue\r\nconnection: close\r\ncontent-length: 99999999999\r\n\r\n");
    let answer = setting.talk(waits.as_bytes()).unwrap_or_default();
    assert_eq!(status_of(&answer), "413", "{answer}");
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_body_chunked() {
    let setting = start().await;
    let head = setting.head("content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let body = chunk.repeat(128) + "0\r\n\r\n";
    let answer = sent_then_read(&setting, &head, body.as_bytes());
    assert_eq!(status_of(&answer), "413", "{answer}");
    assert!(answer.contains(&format!("larger than {BODY_MAX} bytes")), "{answer}");
    assert!(setting.peak_kib() < PEAK_KIB_MAX, "{} KiB", setting.peak_kib());
    setting.is_well().await;
}

/// Writes all of it before it reads a byte, then reads the first answer.
fn sent_then_read(setting: &Setting, head: &str, body: &[u8]) -> String {
    let mut stream = setting.connect();
    stream.write_all(head.as_bytes()).expect("the gateway reads a head");
    stream.write_all(body).expect("the gateway reads on, so that its answer can be read");
    let mut answer = vec![0; 4_096];
    let count = stream.read(&mut answer).expect("an answer, not a reset");
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_headers() {
    let setting = start().await;
    let one = setting.head(&format!("x-long: {}\r\n\r\n", "a".repeat(1 << 20)));
    let many = setting.head(&"x-many: one more\r\n".repeat(100_000));
    let path = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(1 << 20));
    for sent in [one, many, path] {
        // A caller that is still writing may meet a reset; one that gets an answer is told what was wrong.
        if let Some(answer) = setting.talk(sent.as_bytes()).filter(|answer| !answer.is_empty()) {
            assert!(matches!(status_of(&answer), "431" | "414"), "{answer}");
        }
    }
    let slightly = setting.head(&format!("x-long: {}\r\n\r\n", "a".repeat(70_000)));
    let answer = setting.talk(slightly.as_bytes()).unwrap_or_default();
    assert_eq!(status_of(&answer), "431", "{answer}");
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_headers() {
    let setting = start().await;
    let mut streams: Vec<_> = (0..50).map(|_| setting.connect()).collect();
    for byte in setting.head("x: y").bytes().take(12) {
        for stream in &mut streams {
            drop(stream.write_all(&[byte]));
        }
        pause(100).await;
    }
    pause(300).await;
    for stream in &mut streams {
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a time limit");
        let closed = match stream.read(&mut [0; 16]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        assert!(closed, "a head that does not end is waited for for longer than a second");
    }
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_body() {
    let setting = start().await;
    let mut stream = setting.connect();
    let head = setting.head("content-type: application/json\r\ncontent-length: 1000\r\nconnection: close\r\n\r\n{\"model\":");
    stream.write_all(head.as_bytes()).expect("the gateway reads");
    let mut writer = stream.try_clone().expect("a second handle");
    let dripping = std::thread::spawn(move || {
        for _ in 0..15 {
            drop(writer.write_all(b" "));
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let mut answer = vec![0; 4_096];
    let count = stream.read(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..count]);
    assert_eq!(status_of(&answer), "408", "{answer}");
    assert!(answer.contains("was not complete after 1s"), "{answer}");
    dripping.join().expect("the writer does not panic");
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closed_caller() {
    let setting = start().await;
    let body = question("good", false).to_string();
    let whole = setting.head(&format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    // After half a head, half a body, a whole request, and a request whose answer never ends.
    let endless = question("stream-endless-events", true).to_string();
    let endless = setting.head(&format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{endless}", endless.len()));
    for sent in [&whole[..40], &whole[..whole.len() - 20], &whole, &endless] {
        let mut stream = setting.connect();
        stream.write_all(sent.as_bytes()).expect("the gateway reads");
        stream.shutdown(Shutdown::Write).expect("a connection that can be half closed");
        drop(read_all(&mut stream));
    }
    // Gone altogether in the middle of an answer.
    let mut stream = setting.connect();
    stream.write_all(endless.as_bytes()).expect("the gateway reads");
    stream.read_exact(&mut [0; 1_000]).expect("the beginning of an answer");
    drop(stream);
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests() {
    let setting = start().await;
    let body = question("good", false).to_string();
    let one = setting.head(&format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    let refused = setting.head("content-length: 2\r\n\r\n{}");
    let last = "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = setting.talk(format!("{one}{refused}{one}{last}").as_bytes()).unwrap_or_default();
    let statuses: Vec<_> = answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
    assert_eq!(statuses, ["200", "400", "200", "200"], "in the order of the requests: {answer}");
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_keys_of_each_kind() {
    let setting = start().await;
    let stranger = start().await;
    let expired = {
        let at = (jiff::Timestamp::now() + Duration::from_millis(600)).to_string();
        setting.admin.post("/admin/v1/keys", json!({ "account": "hostile", "mode": "live", "expires_at": at })).await
    };
    let expired = expired["key"].as_str().expect("a new key is shown").to_owned();
    let revoked = setting.admin.post("/admin/v1/keys", json!({ "account": "hostile", "mode": "live", "name": "gone" })).await;
    let revoked_key = revoked["key"].as_str().expect("a new key is shown").to_owned();
    let asked = async |header: &'static str, value: &str| -> (u16, String) {
        let request = client().post(format!("{}/v1/chat/completions", setting.url)).json(&question("good", false));
        let request = if header.is_empty() { request } else { request.header(header, value) };
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.text().await.expect("a whole answer"))
    };
    assert_eq!(asked("x-api-key", &revoked_key).await.0, 200, "before it is revoked");
    let id = revoked["id"].as_str().expect("an id");
    setting.admin.post(&format!("/admin/v1/keys/{id}/revoke"), json!({})).await;
    pause(700).await;
    let mistyped = setting.key.replace(|c: char| c.is_ascii_digit(), "z") + "z";
    let cut = &setting.key[..setting.key.len() - 3];
    for (header, value, code, word) in [
        ("", "", "missing_api_key", "no API key"),
        ("x-api-key", "sk-proj-0123456789abcdef", "invalid_api_key", "another service"),
        ("x-api-key", "sk-ant-api03-0123456789abcdef", "invalid_api_key", "another service"),
        ("x-api-key", &mistyped, "invalid_api_key", "mistyped"),
        ("x-api-key", cut, "invalid_api_key", "mistyped"),
        ("x-api-key", "what?", "invalid_api_key", "not an API key"),
        ("x-api-key", &stranger.key, "invalid_api_key", "not valid"),
        ("x-api-key", ADMIN_TOKEN, "invalid_api_key", "not an API key"),
        ("authorization", "Basic dXNlcjpwYXNz", "invalid_api_key", "Bearer"),
        ("authorization", "Bearer", "missing_api_key", "no API key"),
        ("x-api-key", &revoked_key, "key_revoked", "revoked"),
        ("x-api-key", &expired, "key_expired", "expired"),
    ] {
        let (status, text) = asked(header, value).await;
        let error: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((status, error["error"]["code"].as_str()), (401, Some(code)), "{header} {value}: {text}");
        assert!(error["error"]["message"].as_str().is_some_and(|message| message.contains(word)), "{header} {value}: {text}");
        assert!(value.is_empty() || value == "Bearer" || !text.contains(value), "a key is shown: {text}");
    }
    for (header, value) in [
        ("x-api-key", format!("  {}\t", setting.key)),
        ("authorization", format!("Bearer   {}  ", setting.key)),
        ("authorization", format!("bearer\t{}", setting.key)),
    ] {
        assert_eq!(asked(header, &value).await.0, 200, "{header}: {value:?}");
    }
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(disk) = SmallDisk::mount(folder.path().join("small")) else {
        println!("skipped: this user may not mount a small file system");
        return;
    };
    let setting = start_on(folder, &disk.path().join("hostile.db")).await;
    setting.is_well().await;
    let before = nano(&setting.admin.get("/admin/v1/accounts/hostile/balance").await["available"]);
    disk.fill();
    let mut served = 0;
    let mut refused = 0;
    // What fits into the log's last page may still be served; then nothing is.
    for _ in 0..100 {
        match setting.call("good", false).await {
            (200, _) => served += 1,
            (503, text) => {
                assert!(text.contains("ledger"), "{text}");
                refused += 1;
            }
            (status, text) => panic!("{status}: {text}"),
        }
        if refused >= 5 {
            break;
        }
    }
    assert_eq!(refused, 5, "{served} were served on a full disk");
    println!("{served} were served while the log had room, then none");
    // It does not take the last free page for good news.
    for _ in 0..10 {
        let ready = client().get(format!("{}/readyz", setting.url)).send().await.expect("an answer");
        assert_eq!(ready.status(), 503);
        pause(50).await;
    }
    disk.free();
    for round in 0.. {
        if setting.call("good", false).await.0 == 200 {
            break;
        }
        assert!(round < 40, "it does not recover");
        pause(50).await;
    }
    served += 1;
    setting.is_well().await;
    served += 1;
    let after = nano(&setting.admin.get("/admin/v1/accounts/hostile/balance").await["available"]);
    assert_eq!(before - after, served * CHARGE, "{served} calls were served and each is charged once");
    // Before the disk is unmounted.
    drop(setting.gateway);
}

/// 11 prompt and 7 completion tokens at $2 and $8 a million.
const CHARGE: i64 = (11 * 2_000_000 + 7 * 8_000_000) / 1_000;

fn nano(value: &Value) -> i64 {
    value["nano"].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no money in {value}"))
}

/// Runs `bellwether ARGS` to its end, which must come by itself.
fn run(args: &[&str], unprivileged: bool) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.args(args).env_clear().env("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN).stdin(Stdio::null());
    // Where the configuration lies, so that a database of the default name would be seen.
    command.current_dir(Path::new(args.last().expect("it ends with the configuration")).parent().expect("in a folder"));
    if unprivileged {
        command.uid(65_534).gid(65_534);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary was built for this test");
    for _ in 0..400 {
        if child.try_wait().expect("a child of ours").is_some() {
            let output = child.wait_with_output().expect("a child of ours");
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(!text.contains("panicked"), "{text}");
            return (output, text);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(child.kill());
    let output = child.wait_with_output().expect("a child of ours");
    panic!("it should not have started: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

fn permit(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a path of ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_database() {
    let setting = start().await;
    setting.is_well().await;
    let Setting { gateway, folder, .. } = setting;
    drop(gateway);
    let config = folder.path().join("bellwether.toml").display().to_string();
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|entry| entry.path()).collect();
    // Root writes where nobody may, so as root the gateway runs as nobody.
    for (case, folder_mode, file_mode, database_mode) in [
        ("all is read-only", 0o555, 0o444, 0o444),
        ("the files are read-only", 0o777, 0o444, 0o444),
        ("the database alone is read-only", 0o777, 0o666, 0o444),
        ("the database cannot be read either", 0o777, 0o666, 0o000),
    ] {
        for file in &files {
            permit(file, if file.ends_with("hostile.db") { database_mode } else { file_mode });
        }
        permit(folder.path(), folder_mode);
        let (_, text) = run(&["serve", "--config", &config], is_root());
        println!("{case}: {text}");
        assert!(text.contains("hostile.db"), "{case}: {text}");
        assert!(text.contains("permission") || text.contains("read-only"), "{case}: {text}");
    }
    let bare = folder.path().join("bare");
    std::fs::create_dir(&bare).expect("a folder");
    permit(&bare, 0o555);
    let fresh = folder.path().join("fresh.toml");
    std::fs::write(&fresh, self::config(&bare.join("fresh.db"), free_port())).expect("a file");
    let (_, text) = run(&["serve", "--config", &fresh.display().to_string()], is_root());
    println!("no database, and the folder is read-only: {text}");
    assert!(text.contains("fresh.db") && text.contains("permission"), "{text}");
    permit(folder.path(), 0o755);
    for file in &files {
        permit(file, 0o644);
    }
    let port = free_port();
    let text = std::fs::read_to_string(&config).expect("our configuration");
    let listen = text.lines().find(|line| line.contains("listen =")).expect("it listens").to_owned();
    let config = write_config(folder.path(), &text.replace(&listen, &format!("listen = \"127.0.0.1:{port}\"")));
    let gateway = Process::start(&["serve", "--config", &config], port, &[("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN)]);
    let verdict = Admin::new(&gateway.url, ADMIN_TOKEN).post("/admin/v1/ledger/verify", json!({})).await;
    assert_eq!(verdict["ok"], true, "{verdict}");
    assert_eq!(verdict["open_holds"], 0, "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_locked_by_a_second_gateway() {
    let setting = start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let second = write_config(folder.path(), &config(&setting.folder.path().join("hostile.db"), free_port()));
    let (_, text) = run(&["serve", "--config", &second], false);
    assert!(text.contains("hostile.db") && text.contains("another process has it open"), "{text}");
    println!("{text}");
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_file_as_database() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notes.db");
    let notes = rusqlite::Connection::open(&path).expect("a database");
    notes.execute_batch("CREATE TABLE note(text); INSERT INTO note VALUES ('milk')").expect("a table");
    drop(notes);
    let letter = folder.path().join("letter.txt");
    std::fs::write(&letter, "Dear Sir or Madam, ".repeat(500)).expect("a file");
    for (path, word) in [(&path, "another program's data"), (&letter, "not a SQLite database")] {
        let before = std::fs::read(path).expect("a file");
        let foreign = write_config(folder.path(), &config(path, free_port()));
        let (_, text) = run(&["serve", "--config", &foreign], false);
        assert!(text.contains(&path.display().to_string()) && text.contains(word), "{text}");
        println!("{text}");
        assert_eq!(std::fs::read(path).expect("a file"), before, "it is left as it was");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_already_taken() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("a bound listener").port();
    let file = write_config(folder.path(), &config(&folder.path().join("hostile.db"), port));
    let (_, text) = run(&["serve", "--config", &file], false);
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("another process"), "{text}");
    println!("{text}");
    drop(taken);
    let (url, printed) = first_words(&["serve", "--config", &file]);
    assert!(printed.contains("test key"), "what is shown once was lost with the failed start: {printed}");
    drop(url);
}

/// Starts a gateway and reads what it prints until it suggests what to try.
fn first_words(args: &[&str]) -> (Process, String) {
    use std::io::BufRead;
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.args(args).env_clear().env("BELLWETHER_ADMIN_TOKEN", ADMIN_TOKEN).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary was built for this test");
    let stdout = child.stdout.take().expect("stdout is piped");
    let process = Process { child, url: String::new() };
    let (say, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let lines = std::io::BufReader::new(stdout).lines().map_while(Result::ok);
        lines.for_each(|line| drop(say.send(line)));
    });
    let mut text = String::new();
    while let Ok(line) = said.recv_timeout(Duration::from_secs(3)) {
        text += &line;
        if line.contains("Try it") {
            break;
        }
    }
    (process, text)
}

#[test]
fn bad_configuration() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (text, line, word) in [
        ("[server]\nlisten = \"127.0.0.1:1\"\nlistne = 3\n", ":3:", "did you mean `listen`"),
        ("[server]\nlisten = \"nowhere\"\n", ":2:", "socket address"),
        ("[server\n", ":1:", ""),
        ("[server]\n\nbody_bytes_max = \"much\"\n", ":3:", "a string, expected usize"),
        ("[server]\nheader_bytes_max = 1\n", "", "must be at least 8192"),
        ("[storage]\nurl = \"postgres://localhost/x\"\n", "", "sqlite://FILE"),
        ("[[models]]\nname = \"m\"\ndeployments = [{ provider = \"nobody\", model = \"m\" }]\n", "", "nobody"),
        ("\0\0\0", ":1:", ""),
    ] {
        let path = write_config(folder.path(), text);
        for command in ["check", "serve"] {
            let (output, said) = run(&[command, "--config", &path], false);
            let said = said + &String::from_utf8_lossy(&output.stdout);
            assert!(said.contains(&format!("{path}{line}")) && said.contains(word), "{command}: {text:?}: {said}");
            let left = std::fs::read_dir(folder.path()).expect("our folder").count();
            assert_eq!(left, 1, "{command}: {text:?} left more than the configuration behind");
        }
    }
    let missing = folder.path().join("missing.toml").display().to_string();
    let (_, said) = run(&["serve", "--config", &missing], false);
    assert!(said.contains(&missing), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_that_lies_about_a_whole_answer() {
    let setting = start().await;
    for lie in liar::WHOLE_LIES {
        let (status, text) = setting.call(lie, false).await;
        println!("{lie}: {status} {text}");
        assert!((500..600).contains(&status), "{lie}: {status} {text}");
        let error: Value = serde_json::from_str(&text).expect("an error in the caller's protocol");
        assert!(error["error"]["message"].is_string(), "{lie}: {text}");
        let (status, text) = setting.call(&format!("{lie}-rescued"), false).await;
        assert!(status == 200 && text.contains("all is well"), "{lie} with a fallback: {status} {text}");
    }
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_that_breaks_off_a_stream() {
    let setting = start().await;
    let (status, text) = setting.call("good-stream", true).await;
    assert!(status == 200 && text.ends_with("data: [DONE]\n\n"), "{status} {text}");
    for lie in liar::STREAM_LIES {
        let (status, text) = setting.call(lie, true).await;
        println!("{lie}: {status} {text}");
        assert_eq!(status, 200, "{lie}: {text}");
        assert!(text.contains("all ") && text.contains("\"error\""), "{lie}: the caller is not told: {text}");
        assert!(!text.contains("[DONE]"), "{lie}: taken for a clean end: {text}");
    }
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_that_floods() {
    let setting = start().await;
    for lie in liar::FLOODS {
        let (status, text) = setting.call(lie, false).await;
        println!("{lie}: {status} {text}");
        assert!((500..600).contains(&status), "{lie}: {status}");
        assert!(text.len() < 100_000, "{lie}: {} bytes of an error", text.len());
        assert!(setting.peak_kib() < PEAK_KIB_MAX, "{lie}: {} KiB", setting.peak_kib());
        let (status, text) = setting.call(&format!("{lie}-rescued"), false).await;
        assert!(status == 200 && text.contains("all is well"), "{lie} with a fallback: {status}");
    }
    println!("peak {} KiB", setting.peak_kib());
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_that_streams_without_end() {
    let setting = start().await;
    for lie in liar::STREAM_FLOODS {
        let (status, text) = setting.last_words(lie).await;
        println!("{lie}: {status} {text}");
        assert!(status >= 500 || text.contains("\"error\""), "{lie}: {status}");
        assert!(!text.contains("[DONE]"), "{lie}: taken for a clean end");
        assert!(setting.peak_kib() < PEAK_KIB_MAX, "{lie}: {} KiB", setting.peak_kib());
    }
    setting.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_who_stops_reading_a_stream_without_end() {
    let setting = start().await;
    // The gateway must not read ahead of its caller.
    let body = question("stream-endless-events", true).to_string();
    let head = setting.head(&format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    let mut stream = setting.connect();
    stream.write_all(head.as_bytes()).expect("the gateway reads");
    stream.read_exact(&mut [0; 1_000]).expect("the beginning of an answer");
    pause(1_000).await;
    println!("peak {} KiB", setting.peak_kib());
    assert!(setting.peak_kib() < PEAK_KIB_MAX, "{} KiB", setting.peak_kib());
    drop(stream);
    setting.is_well().await;
}
