//! A server that does what a script says, byte by byte, and tells what was done to it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
};

/// One step after a request was read.
#[derive(Clone)]
pub(crate) enum Act {
    Send(Vec<u8>),
    Wait(u64),
    /// Closes the connection.
    Close,
    /// Reads until the peer closes, and reports it.
    AwaitClose,
}

pub(crate) fn send(text: impl Into<String>) -> Act {
    Act::Send(text.into().into_bytes())
}

/// A whole answer with its length.
pub(crate) fn json(body: &str) -> Act {
    status("200 OK", "", body)
}

pub(crate) fn status(status: &str, headers: &str, body: &str) -> Act {
    send(format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()))
}

/// The head of a stream without a length: it ends with the connection.
pub(crate) fn stream_head() -> Act {
    send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
}

#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub(crate) fn requests(&self) -> Vec<String> {
        self.0.lock().expect("no test panics with it").clone()
    }
}

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Seen,
    pub(crate) closed: mpsc::UnboundedReceiver<()>,
    _tasks: JoinSet<()>,
}

type Script = Arc<dyn Fn(usize, &str) -> Vec<Act> + Send + Sync>;

impl Upstream {
    /// Answers request number `n` (from 0, over all connections) with `script(n, head and body)`.
    pub(crate) async fn start(script: impl Fn(usize, &str) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (report, closed) = mpsc::unbounded_channel();
        let seen = Seen::default();
        let script: Script = Arc::new(script);
        let mut tasks = JoinSet::new();
        let requests = seen.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&script), requests.clone(), report.clone()));
            }
        });
        Self { address, seen, closed, _tasks: tasks }
    }

    /// The same script for every request.
    pub(crate) async fn always(acts: Vec<Act>) -> Self {
        Self::start(move |_, _| acts.clone()).await
    }

    /// Whether the peer closes within 100 ms from now.
    pub(crate) async fn closes_at_once(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(100), self.closed.recv()).await.is_ok()
    }
}

pub(crate) async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Script, seen: Seen, report: mpsc::UnboundedSender<()>) {
    while let Some(request) = read_request(&mut stream).await {
        let n = {
            let mut all = seen.0.lock().expect("no test panics with it");
            all.push(request.clone());
            all.len() - 1
        };
        for act in script(n, &request) {
            match act {
                Act::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Act::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                Act::Close => return,
                Act::AwaitClose => {
                    let mut rest = [0; 256];
                    while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
                    report.send(()).ok();
                    return;
                }
            }
        }
    }
}

/// Head and body as text; `None` when the peer is gone.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        read.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

impl Seen {
    pub(crate) fn note(&self, request: String) {
        self.0.lock().expect("no test panics with it").push(request);
    }
}
