//! A caller that speaks HTTP/1 by hand, so that it can also speak it badly.

use std::{collections::BTreeMap, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::server::{KEY, ms};

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

pub(crate) struct Caller<T = TcpStream> {
    pub(crate) io: T,
    read: Vec<u8>,
}

impl Caller {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("the server listens"))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Caller<T> {
    pub(crate) fn over(io: T) -> Self {
        Self { io, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.io.write_all(text.as_ref()).await.expect("the server reads");
    }

    /// One more read; `false` at the end or an error.
    async fn more(&mut self) -> bool {
        let mut chunk = [0; 16_384];
        let read = tokio::time::timeout(ms(5_000), self.io.read(&mut chunk)).await.expect("the server answers or closes");
        match read {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.read.extend_from_slice(&chunk[..n]);
                true
            }
        }
    }

    /// Reads until the text has come; the server must not close before.
    pub(crate) async fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.read).contains(text) {
            assert!(self.more().await, "closed before `{text}`: {}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Everything up to the close.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to(false).await
    }

    /// Reads one answer; one to HEAD has no body.
    pub(crate) async fn answer_to(&mut self, head_only: bool) -> Answer {
        let end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more().await, "closed before the head was whole: {:?}", String::from_utf8_lossy(&self.read));
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.drain(..end);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).expect("a status line");
        let headers: BTreeMap<String, String> =
            lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let body = match headers.get("content-length") {
            _ if head_only => String::new(),
            Some(length) => self.exactly(length.parse().expect("a number")).await,
            None => self.chunks().await,
        };
        Answer { status, headers, body }
    }

    async fn exactly(&mut self, length: usize) -> String {
        while self.read.len() < length {
            assert!(self.more().await, "closed inside the body");
        }
        String::from_utf8(self.read.drain(..length).collect()).expect("text")
    }

    async fn chunks(&mut self) -> String {
        let mut body = String::new();
        loop {
            let line = loop {
                if let Some(at) = find(&self.read, b"\r\n") {
                    break at;
                }
                assert!(self.more().await, "closed between chunks");
            };
            let size = std::str::from_utf8(&self.read[..line]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok()).expect("a size");
            self.read.drain(..line + 2);
            let chunk = self.exactly(size + 2).await;
            if size == 0 {
                return body;
            }
            body.push_str(&chunk[..size]);
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// A POST of the body with a good key.
pub(crate) fn post(path: &str, body: &str) -> String {
    post_as(path, &format!("authorization: Bearer {KEY}\r\n"), body)
}

pub(crate) fn post_as(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: gateway\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: gateway\r\n{headers}\r\n")
}

/// Sends one request on a connection of its own.
pub(crate) async fn once(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut caller = Caller::to(address).await;
    caller.send(request).await;
    caller.answer().await
}

pub(crate) const CHAT: &str = r#"{"model":"known-model","input":"hi"}"#;
pub(crate) const STREAM: &str = r#"{"model":"known-model","input":"hi","stream":true}"#;
pub(crate) const CHAT_PATH: &str = "/v1/chat/completions";
