use std::sync::Arc;

use bytes::Bytes;
use gateway_core::testing::Act;
use gateway_server::tls;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    hangup::hanging_stream,
    server::{Edge, KEY, Setup, ms},
    wire::{CHAT, CHAT_PATH, Caller, STREAM, post},
};

async fn caller<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: T) -> SendRequest<Full<Bytes>> {
    let (send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.expect("both sides speak HTTP/2");
    gateway_server::spawn("caller", connection);
    send
}

fn request(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("http://gateway{CHAT_PATH}")).header("x-api-key", KEY).body(Full::new(body.into())).expect("a valid request")
}

/// Plain HTTP/2, no upgrade.
async fn prior_knowledge(edge: &Edge) -> SendRequest<Full<Bytes>> {
    caller(TcpStream::connect(edge.address).await.expect("the server listens")).await
}

#[tokio::test]
async fn http2_works_by_prior_knowledge() {
    let edge = Edge::start(Act::text("hello"));
    let mut send = prior_knowledge(&edge).await;
    for _ in 0..2 {
        let answer = send.send_request(request(CHAT)).await.expect("answered");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-bellwether-provider"], "acme");
        assert!(answer.headers().contains_key(header::CONTENT_LENGTH));
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        assert!(body.windows(5).any(|window| window == b"hello"));
    }
}

#[tokio::test]
async fn a_413_and_a_401_are_readable_over_http2() {
    let setup = Setup { body: gateway_server::BodyLimits { bytes: 65_536, read: ms(500), drain: ms(500) }, ..Setup::default() };
    let edge = Edge::with(Act::text("hello"), setup);
    let mut send = prior_knowledge(&edge).await;
    let answer = send.send_request(request(vec![b'x'; 3_000_000])).await.expect("answered");
    assert_eq!(answer.status(), 413);
    answer.into_body().collect().await.expect("a whole body");
    let stranger = Request::post(format!("http://gateway{CHAT_PATH}")).body(Full::new(Bytes::from(vec![b'x'; 60_000]))).expect("valid");
    assert_eq!(send.send_request(stranger).await.expect("answered").status(), 401);
    assert_eq!(send.send_request(request(CHAT)).await.expect("answered").status(), 200);
}

#[tokio::test]
async fn a_panic_takes_no_other_request_of_the_connection_with_it() {
    let edge = Edge::start(hanging_stream());
    let mut send = prior_knowledge(&edge).await;
    let mut streaming = send.send_request(request(STREAM)).await.expect("answered").into_body();
    assert!(streaming.frame().await.is_some_and(|frame| frame.is_ok()));
    edge.provider.then(Act::panic());
    assert_eq!(send.send_request(request(CHAT)).await.expect("answered").status(), 500);
    assert_eq!(edge.provider.cancelled(), 1, "the panicking attempt only");
    drop(streaming);
    assert!(edge.cancelled_after(2).await < ms(100));
}

#[tokio::test]
async fn a_reset_stream_stops_its_call_before_and_after_the_head() {
    let edge = Edge::start(Act::hang());
    let mut send = prior_knowledge(&edge).await;
    let waiting = gateway_server::spawn("waiting caller", send.send_request(request(CHAT)));
    edge.reached(1).await;
    waiting.abort();
    let took = edge.cancelled_after(1).await;
    assert!(took < ms(100), "{took:?}");
    edge.provider.then(hanging_stream());
    let mut body = send.send_request(request(STREAM)).await.expect("answered").into_body();
    assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
    drop(body);
    let took = edge.cancelled_after(2).await;
    assert!(took < ms(100), "{took:?}");
}

#[tokio::test]
async fn a_lost_connection_stops_all_its_calls() {
    let edge = Edge::start(Act::hang());
    let address = edge.address;
    // A runtime of its own: what it drops is gone at once, the socket too.
    let callers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let sending = callers.spawn(async move {
        let send = caller(TcpStream::connect(address).await.expect("the server listens")).await;
        let waiting = (0..3).map(|_| {
            let mut send = send.clone();
            async move { send.send_request(request(CHAT)).await.is_ok() }
        });
        futures_util::future::join_all(waiting).await
    });
    edge.reached(3).await;
    drop(sending);
    callers.shutdown_background();
    let took = edge.cancelled_after(3).await;
    assert!(took < ms(100), "{took:?}");
}

#[tokio::test]
async fn who_opens_no_window_is_dropped_in_the_end() {
    let setup = Setup {
        limits: gateway_server::ServerLimits { request_life: ms(300), ..gateway_server::ServerLimits::default() },
        ..Setup::default()
    };
    let beats = (0..20).flat_map(|_| crate::hangup::beginning(&"x".repeat(200_000))).collect();
    let edge = Edge::with(Act::stream(beats), setup);
    let mut send = prior_knowledge(&edge).await;
    let body = send.send_request(request(STREAM)).await.expect("answered").into_body();
    edge.cancelled_after(1).await;
    drop(body);
}

/// A server's TLS settings and a connector that trusts them and offers these protocols.
fn tls_pair(offered: &[&[u8]]) -> (Arc<rustls::ServerConfig>, TlsConnector) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let server = tls::from_pem(certified.cert.pem().as_bytes(), certified.signing_key.serialize_pem().as_bytes()).expect("they fit");
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).expect("a root");
    let mut client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    (server, TlsConnector::from(Arc::new(client)))
}

async fn connect(edge: &Edge, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(edge.address).await.expect("the server listens");
    connector.connect(ServerName::try_from("localhost").expect("a name"), stream).await.expect("a handshake")
}

#[tokio::test]
async fn tls_speaks_what_alpn_agreed() {
    for (offered, agreed) in
        [(&[b"h2".as_slice(), b"http/1.1"][..], Some(b"h2".as_slice())), (&[b"http/1.1"], Some(b"http/1.1")), (&[], None)]
    {
        let (server, connector) = tls_pair(offered);
        let edge = Edge::with(Act::text("hello"), Setup { tls: Some(server), ..Setup::default() });
        let stream = connect(&edge, &connector).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        let status = if agreed == Some(b"h2") {
            caller(stream).await.send_request(request(CHAT)).await.expect("answered").status().as_u16()
        } else {
            let mut caller = Caller::over(stream);
            caller.send(post(CHAT_PATH, CHAT)).await;
            caller.answer().await.status
        };
        assert_eq!(status, 200, "{agreed:?}");
    }
}

#[tokio::test]
async fn a_hang_up_is_seen_through_tls() {
    let (server, connector) = tls_pair(&[b"http/1.1"]);
    let edge = Edge::with(hanging_stream(), Setup { tls: Some(server), ..Setup::default() });
    let mut caller = Caller::over(connect(&edge, &connector).await);
    caller.send(post(CHAT_PATH, STREAM)).await;
    caller.until("hello").await;
    drop(caller);
    let took = edge.cancelled_after(1).await;
    assert!(took < ms(100), "{took:?}");
}

#[test]
fn wrong_pem_is_named() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (chain, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    for (chain, key, says) in [("", &*key, "no certificate"), (&*chain, "", "no usable private key"), (&*chain, "junk", "private key")] {
        let error = tls::from_pem(chain.as_bytes(), key.as_bytes()).expect_err("wrong").to_string();
        assert!(error.contains(says), "{error}");
    }
}
