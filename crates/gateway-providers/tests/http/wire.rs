//! Reused connections and proxies.

use gateway_core::{FaultKind, Retry, Secret, testing::TEST_PROTOCOL};
use gateway_providers::{ProxySettings, Transport, TransportSettings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    house::{House, whole},
    upstream::{Act, Upstream, json, read_request},
};

const GOOD: &str = r#"{"text":"hi"}"#;

#[tokio::test]
async fn a_reset_on_a_reused_connection_is_retried_once_and_unseen() {
    // The first request is answered; the second dies unread on the same connection; the third is on a new one.
    let upstream = Upstream::start(|n, _| if n == 1 { vec![Act::Close] } else { vec![json(GOOD)] }).await;
    let house = House::at(upstream.address);
    for _ in 0..2 {
        house.text(whole()).await.expect("answered");
    }
    assert_eq!(upstream.seen.requests().len(), 3);
}

#[tokio::test]
async fn a_reset_on_a_new_connection_is_a_fault() {
    let upstream = Upstream::always(vec![Act::Close]).await;
    let fault = House::at(upstream.address).text(whole()).await.expect_err("closed");
    assert_eq!((fault.kind(), fault.retry()), (FaultKind::Unavailable, Retry::SameDeployment));
    assert!(fault.message().contains("127.0.0.1"), "{fault}");
    assert_eq!(upstream.seen.requests().len(), 1);
}

#[tokio::test]
async fn a_reset_inside_a_head_is_not_retried() {
    let upstream =
        Upstream::start(|n, _| if n == 1 { vec![crate::upstream::send("HTTP/1.1 200"), Act::Close] } else { vec![json(GOOD)] }).await;
    let house = House::at(upstream.address);
    house.text(whole()).await.expect("answered");
    house.text(whole()).await.expect_err("it had begun to answer");
    assert_eq!(upstream.seen.requests().len(), 2);
}

#[tokio::test]
async fn nobody_there_is_a_fault_that_names_the_host() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("loopback").local_addr().expect("bound");
    let fault = House::at(free).text(whole()).await.expect_err("closed port");
    assert_eq!((fault.kind(), fault.retry(), fault.work_began()), (FaultKind::Unavailable, Retry::SameDeployment, false));
    assert!(fault.message().contains(&free.to_string()), "{fault}");
}

/// A proxy that tunnels CONNECT to `target`, whatever was asked, and answers other requests itself.
async fn proxy(target: std::net::SocketAddr, tasks: &mut JoinSet<()>) -> (std::net::SocketAddr, crate::upstream::Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let seen = Upstream::always(vec![]).await.seen;
    let told = seen.clone();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(request) = read_request(&mut stream).await else { continue };
            let connect = request.starts_with("CONNECT");
            told.note(request);
            if connect {
                let mut onward = TcpStream::connect(target).await.expect("the target listens");
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("open");
                copy_bidirectional(&mut stream, &mut onward).await.ok();
            } else {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{GOOD}", GOOD.len());
                stream.write_all(answer.as_bytes()).await.expect("open");
                stream.read_u8().await.ok();
            }
        }
    });
    (address, seen)
}

fn through(proxy: std::net::SocketAddr, no: &str) -> TransportSettings {
    let url = Secret::new(format!("http://user:pa%20ss@{proxy}"));
    TransportSettings {
        proxy: ProxySettings { all: Some(url), no: no.to_owned(), ..ProxySettings::default() },
        ..TransportSettings::default()
    }
}

#[tokio::test]
async fn plain_http_goes_to_the_proxy_by_full_url_and_exceptions_do_not() {
    let upstream = Upstream::always(vec![json(GOOD)]).await;
    let mut tasks = JoinSet::new();
    let (address, seen) = proxy(upstream.address, &mut tasks).await;
    let url = "http://provider.invalid/v1";
    let house = House::with(url, TEST_PROTOCOL, &["k"], &through(address, ""));
    house.text(whole()).await.expect("the proxy answers");
    assert!(seen.requests()[0].starts_with("POST http://provider.invalid/v1 HTTP/1.1"), "{:?}", seen.requests());

    let direct = House::with(&format!("http://{}/v1", upstream.address), TEST_PROTOCOL, &["k"], &through(address, "127.0.0.1"));
    direct.text(whole()).await.expect("reached directly");
    assert_eq!((seen.requests().len(), upstream.seen.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_proxy_that_refuses_the_tunnel_is_named_without_its_password() {
    let refusing = Upstream::always(vec![crate::upstream::status("407 No", "", "")]).await;
    let house = House::with(
        "https://provider.invalid/v1",
        TEST_PROTOCOL,
        &["k"],
        &TransportSettings { ca_file: Some(crate::tls::authority_file()), ..through(refusing.address, "") },
    );
    let fault = house.text(whole()).await.expect_err("no tunnel");
    assert!(fault.message().contains("provider.invalid"), "{fault}");
    assert!(!format!("{fault:?}").contains("pa ss") && !format!("{fault:?}").contains("pa%20ss"), "{fault:?}");
    let sent = refusing.seen.requests().remove(0);
    assert!(sent.starts_with("CONNECT provider.invalid:443") && sent.contains("Basic dXNlcjpwYSBzcw=="), "{sent}");
}

#[test]
fn a_proxy_of_another_kind_is_refused_at_start() {
    for url in ["socks5://127.0.0.1:1", "https://user:secret@proxy:1", "http://"] {
        let settings = TransportSettings {
            proxy: ProxySettings { https: Some(Secret::new(url)), ..ProxySettings::default() },
            ..TransportSettings::default()
        };
        let error = Transport::new(&settings).expect_err(url).to_string();
        assert!(error.contains("http://host:port") && !error.contains("secret"), "{error}");
    }
}
