//! One kept-alive HTTP/1.1 connection.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Uri,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

use crate::payload;

/// Where requests go.
pub(super) struct Target {
    authority: String,
    host: HeaderValue,
    bearer: HeaderValue,
}

impl Target {
    pub(super) fn parse(url: &str, key: &str) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
        let authority = uri.authority().with_context(|| format!("`{url}` names no host and port"))?.to_string();
        Ok(Self { host: authority.parse()?, bearer: format!("Bearer {key}").parse()?, authority })
    }
}

/// How long an exchange took, from the moment it was due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) first_byte: Duration,
    pub(super) whole: Duration,
}

pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Drives the socket; ends with the connection.
    _driver: JoinSet<()>,
}

impl Connection {
    pub(super) async fn open(target: &Target) -> Result<Self> {
        let socket = TcpStream::connect(&target.authority).await.with_context(|| format!("cannot reach {}", target.authority))?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, _driver: driver })
    }

    pub(super) async fn exchange(&mut self, target: &Target, model: &str, stream: bool, number: u64, due: Instant) -> Result<Timing> {
        let request = Request::post("/v1/chat/completions")
            .header(HOST, &target.host)
            .header(AUTHORIZATION, &target.bearer)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(payload::request(model, stream, number)))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        let mut first_byte = None;
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                first_byte.get_or_insert_with(|| due.elapsed());
                bytes.extend_from_slice(&data);
            }
        }
        let whole = due.elapsed();
        ensure!(status.is_success(), "status {status}: {}", String::from_utf8_lossy(&bytes));
        if stream { payload::check_stream(&bytes, model, number) } else { payload::check_answer(&bytes, model, number) }?;
        Ok(Timing { first_byte: first_byte.unwrap_or(whole), whole })
    }
}
