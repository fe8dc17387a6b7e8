//! TLS with a private authority, HTTP/2 by ALPN and by prior knowledge.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use gateway_core::{FaultKind, Secret, testing::TEST_PROTOCOL};
use gateway_providers::{ProxySettings, TransportSettings};
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::{
    house::{House, streamed, whole},
    upstream::read_request,
};

fn authority() -> &'static CertifiedKey<rcgen::KeyPair> {
    static AUTHORITY: OnceLock<CertifiedKey<rcgen::KeyPair>> = OnceLock::new();
    AUTHORITY.get_or_init(|| generate_simple_self_signed(["localhost".to_owned()]).expect("the name is valid"))
}

/// The authority's certificate as an operator would have it.
pub(crate) fn authority_file() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("gateway-providers-test-{}.pem", std::process::id()));
        std::fs::write(&path, authority().cert.pem()).expect("the temporary folder takes files");
        path
    })
    .clone()
}

fn trusting(http2: bool) -> TransportSettings {
    TransportSettings { ca_file: Some(authority_file()), http2, ..TransportSettings::default() }
}

struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    versions: mpsc::UnboundedReceiver<Version>,
    dropped: mpsc::UnboundedReceiver<()>,
    _tasks: JoinSet<()>,
}

/// Tells when a body is dropped, which is when the stream is reset or the connection closed.
struct Endless {
    sent: bool,
    dropped: mpsc::UnboundedSender<()>,
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.dropped.send(()).ok();
    }
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if std::mem::replace(&mut self.sent, true) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"text a\n")))))
    }
}

/// Answers whole requests at once or after `delay`; streams send one word and never end.
async fn server(tls: bool, alpn: &[&str], delay: Duration) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let port = listener.local_addr().expect("it is bound").port();
    let key = PrivateKeyDer::try_from(authority().signing_key.serialize_der()).expect("rcgen writes PKCS#8");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![authority().cert.der().clone()], key)
        .expect("they belong together");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = tls.then(|| TlsAcceptor::from(Arc::new(config)));
    let connections = Arc::new(AtomicUsize::new(0));
    let (version, versions) = mpsc::unbounded_channel();
    let (dropping, dropped) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    let count = Arc::clone(&connections);
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, version, dropping) = (acceptor.clone(), version.clone(), dropping.clone());
            let count = Arc::clone(&count);
            open.spawn(async move {
                let answer = service_fn(move |request: Request<Incoming>| {
                    version.send(request.version()).ok();
                    let dropping = dropping.clone();
                    async move {
                        let body = http_body_util::BodyExt::collect(request.into_body()).await.expect("sent whole").to_bytes();
                        tokio::time::sleep(delay).await;
                        let stream = body.windows(13).any(|window| window == b"\"stream\":true");
                        let body = if stream {
                            http_body_util::Either::Left(Endless { sent: false, dropped: dropping })
                        } else {
                            http_body_util::Either::Right(Full::new(Bytes::from_static(br#"{"text":"hi"}"#)))
                        };
                        let content_type = if stream { "text/event-stream" } else { "application/json" };
                        Ok::<_, std::convert::Infallible>(
                            Response::builder().header("content-type", content_type).body(body).expect("constant"),
                        )
                    }
                });
                let builder = Builder::new(TokioExecutor::new());
                match acceptor {
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            count.fetch_add(1, Ordering::Relaxed);
                            builder.serve_connection(TokioIo::new(stream), answer).await.ok();
                        }
                    }
                    None => {
                        count.fetch_add(1, Ordering::Relaxed);
                        builder.serve_connection(TokioIo::new(stream), answer).await.ok();
                    }
                }
            });
        }
    });
    Server { port, connections, versions, dropped, _tasks: tasks }
}

#[tokio::test]
async fn tls_speaks_the_version_that_was_configured_and_negotiated() {
    for (http2, alpn, expect) in [
        (false, &["h2", "http/1.1"][..], Version::HTTP_11),
        (true, &["h2", "http/1.1"], Version::HTTP_2),
        (true, &["http/1.1"], Version::HTTP_11),
        (true, &[], Version::HTTP_11),
    ] {
        let mut server = server(true, alpn, Duration::ZERO).await;
        let house = House::with(&format!("https://localhost:{}/v1", server.port), TEST_PROTOCOL, &["k"], &trusting(http2));
        for _ in 0..3 {
            assert_eq!(house.text(whole()).await.expect("trusted"), r#"{"text":"hi"}"#);
            assert_eq!(server.versions.recv().await, Some(expect));
        }
        assert_eq!(server.connections.load(Ordering::Relaxed), 1, "the connection is reused");
    }
}

#[tokio::test]
async fn plain_http_with_http2_is_prior_knowledge() {
    let mut server = server(false, &[], Duration::ZERO).await;
    let house = House::with(&format!("http://localhost:{}/v1", server.port), TEST_PROTOCOL, &["k"], &trusting(true));
    house.text(whole()).await.expect("answered");
    assert_eq!(server.versions.recv().await, Some(Version::HTTP_2));
}

#[tokio::test]
async fn a_dropped_reply_resets_the_stream_at_once_and_keeps_the_connection() {
    for (tls, http2) in [(true, true), (true, false), (false, true)] {
        let mut server = server(tls, &["h2", "http/1.1"], Duration::ZERO).await;
        let scheme = if tls { "https" } else { "http" };
        let house = House::with(&format!("{scheme}://localhost:{}/v1", server.port), TEST_PROTOCOL, &["k"], &trusting(http2));
        let mut reply = house.ask(streamed()).await.expect("the head came");
        reply.commit().await.expect("content came");
        drop(reply);
        let noticed = tokio::time::timeout(Duration::from_millis(100), server.dropped.recv()).await;
        assert!(noticed.is_ok(), "tls {tls}, http2 {http2}");
        house.text(whole()).await.expect("still usable");
        let expect = if http2 { 1 } else { 2 };
        assert_eq!(server.connections.load(Ordering::Relaxed), expect, "tls {tls}, http2 {http2}");
    }
}

#[tokio::test]
async fn busy_http2_connections_are_joined_by_further_ones() {
    let server = server(false, &[], Duration::from_millis(300)).await;
    let house = Arc::new(House::with(&format!("http://127.0.0.1:{}/v1", server.port), TEST_PROTOCOL, &["k"], &trusting(true)));
    let mut calls = JoinSet::new();
    for _ in 0..150 {
        let house = Arc::clone(&house);
        calls.spawn(async move { house.text(whole()).await.map(|_| ()) });
    }
    while let Some(ended) = calls.join_next().await {
        ended.expect("no panic").expect("answered");
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 2, "a hundred streams on the first, the rest on a second");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let server = server(true, &["http/1.1"], Duration::ZERO).await;
    let other = generate_simple_self_signed(["localhost".to_owned()]).expect("the name is valid");
    let file = std::env::temp_dir().join(format!("gateway-providers-other-{}.pem", std::process::id()));
    std::fs::write(&file, other.cert.pem()).expect("the temporary folder takes files");
    let settings = TransportSettings { ca_file: Some(file), ..TransportSettings::default() };
    let house = House::with(&format!("https://localhost:{}/v1", server.port), TEST_PROTOCOL, &["k"], &settings);
    let fault = house.text(whole()).await.expect_err("not trusted");
    assert_eq!(fault.kind(), FaultKind::Unavailable);
    assert!(fault.message().contains("TLS handshake with localhost"), "{fault}");
    assert!(!fault.work_began());
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_shows_at_start() {
    let empty = std::env::temp_dir().join(format!("gateway-providers-empty-{}.pem", std::process::id()));
    std::fs::write(&empty, "nothing").expect("the temporary folder takes files");
    for file in [empty, PathBuf::from("/nowhere/ca.pem")] {
        let settings = TransportSettings { ca_file: Some(file.clone()), ..TransportSettings::default() };
        let error = gateway_providers::Transport::new(&settings).expect_err("unusable").to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn tls_through_a_proxy_is_tunnelled() {
    let server = server(true, &["http/1.1"], Duration::ZERO).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let port = server.port;
    let mut tasks = JoinSet::new();
    let (told, mut asked) = mpsc::unbounded_channel();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(request) = read_request(&mut stream).await else { continue };
            told.send(request).ok();
            let mut onward = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").await.expect("open");
            tokio::io::copy_bidirectional(&mut stream, &mut onward).await.ok();
        }
    });
    let proxy = ProxySettings { https: Some(Secret::new(format!("http://{address}"))), ..ProxySettings::default() };
    let settings = TransportSettings { proxy, ..trusting(false) };
    let house = House::with(&format!("https://localhost:{}/v1", server.port), TEST_PROTOCOL, &["k"], &settings);
    house.text(whole()).await.expect("through the tunnel");
    let connect = asked.recv().await.expect("asked");
    assert!(connect.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1")) && !connect.contains("Bearer"), "{connect}");
}
