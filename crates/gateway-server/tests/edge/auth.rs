use gateway_core::testing::Act;

use crate::{
    server::{ADMIN, Edge, KEY, TEST_KEY},
    wire::{CHAT, CHAT_PATH, Caller, get, once, post_as},
};

/// What a caller with these headers meets: the status, the error's code and a word of its message.
async fn check(edge: &Edge, headers: &str, status: u16, code: Option<&str>, says: &str) {
    let answer = once(edge.address, post_as(CHAT_PATH, headers, CHAT)).await;
    assert_eq!(answer.status, status, "{headers}: {}", answer.body);
    assert_eq!(answer.json()["error"]["code"].as_str(), code, "{headers}");
    assert!(answer.message().contains(says), "{headers}: {}", answer.message());
    assert_eq!(edge.provider.count(), 0, "{headers} reached the inner service");
    assert!(answer.header("x-bellwether-request-id").starts_with("req_"), "{:?}", answer.headers);
}

#[tokio::test]
async fn each_refusal_helps_its_reader() {
    let edge = Edge::start(Act::text("hi"));
    check(&edge, "", 401, Some("missing_api_key"), "Authorization: Bearer").await;
    check(&edge, "x-api-key: sk-proj-123\r\n", 401, Some("invalid_api_key"), "another service").await;
    check(&edge, "authorization: Bearer hs_live_mistyped\r\n", 401, Some("invalid_api_key"), "mistyped").await;
    check(&edge, "api-key: hs_live_revoked\r\n", 401, Some("key_revoked"), "revoked").await;
    check(&edge, "x-goog-api-key: hs_live_expired\r\n", 401, Some("key_expired"), "expired").await;
    check(&edge, "authorization: Bearer hs_live_stranger\r\n", 401, Some("invalid_api_key"), "not valid").await;
    check(&edge, "authorization: Bearer \u{e9}\u{ff}\r\n", 401, Some("invalid_api_key"), "not an API key").await;
    check(&edge, "authorization: Bearer hs_live_down\r\n", 503, None, "cannot be checked").await;
    check(&edge, "x-api-key: hs_live_revoked\r\nauthorization: Bearer hs_live_good\r\n", 401, Some("key_revoked"), "x-api-key").await;
}

#[tokio::test]
async fn a_good_key_is_accepted_from_every_header_and_with_stray_space() {
    let edge = Edge::start(Act::text("hi"));
    let headers = ["authorization: Bearer", "authorization: bearer  ", "x-api-key:", "api-key: ", "x-goog-api-key:"];
    for header in headers {
        let answer = once(edge.address, post_as(CHAT_PATH, &format!("{header} {KEY} \t\r\n"), CHAT)).await;
        assert_eq!(answer.status, 200, "{header}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable() {
    let edge = Edge::start(Act::text("hi"));
    let mut caller = Caller::to(edge.address).await;
    caller.send(post_as(CHAT_PATH, "", &"x".repeat(300_000))).await;
    assert_eq!(caller.answer().await.status, 401);
    caller.send(post_as(CHAT_PATH, &format!("x-api-key: {KEY}\r\n"), CHAT)).await;
    assert_eq!(caller.answer().await.status, 200);
}

#[tokio::test]
async fn mounts_demand_what_they_say() {
    let edge = Edge::start(Act::text("hi"));
    let cases = [
        ("/v1/billing/balance", "", 401),
        ("/v1/billing/balance", ADMIN, 401),
        ("/v1/billing/balance", KEY, 200),
        ("/admin/v1/accounts", "", 401),
        ("/admin/v1/accounts", KEY, 401),
        ("/admin/v1/accounts", ADMIN, 200),
        ("/admin", "", 401),
        ("/administrator", ADMIN, 404),
    ];
    for (path, token, status) in cases {
        let answer = once(edge.address, get(path, &format!("authorization: Bearer {token}\r\n"))).await;
        assert_eq!(answer.status, status, "{path} with `{token}`: {}", answer.body);
    }
}

#[tokio::test]
async fn the_simulator_takes_orders_from_test_keys_only() {
    let edge = Edge::start(Act::text("hi"));
    for (key, status) in [(KEY, 400), (TEST_KEY, 200)] {
        let headers = format!("x-api-key: {key}\r\nx-bellwether-simulate: []\r\n");
        assert_eq!(once(edge.address, post_as(CHAT_PATH, &headers, CHAT)).await.status, status, "{key}");
    }
    let twice = format!("x-api-key: {TEST_KEY}\r\nx-bellwether-simulate: []\r\nx-bellwether-simulate: [1]\r\n");
    let answer = once(edge.address, post_as(CHAT_PATH, &twice, CHAT)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().contains("`x-bellwether-simulate` must be one header"), "{}", answer.body);
}

/// Whatever the method, the path and its spelling: without a key nothing but health is told, and nothing is served.
#[tokio::test]
async fn nothing_reaches_the_inner_service_without_a_key() {
    let edge = Edge::start(Act::text("hi"));
    let mut paths: Vec<String> = edge.site.paths().into_iter().map(|(_, path, _)| path).collect();
    paths.extend(
        ["/v1/chat/completions/", "//v1/chat/completions", "/V1/chat/completions", "/v1/chat/completions?key=hs_live_good"]
            .map(str::to_owned),
    );
    paths.extend(["/v1/./chat/completions", "/v1/chat%2fcompletions", "/v1/messages;x", "/v1/billing/x", "/admin/x"].map(str::to_owned));
    for path in &paths {
        for method in ["GET", "POST", "PUT", "HEAD", "OPTIONS", "PATCH", "DELETE"] {
            let mut caller = Caller::to(edge.address).await;
            caller.send(format!("{method} {path} HTTP/1.1\r\nhost: g\r\ncontent-length: {}\r\n\r\n{CHAT}", CHAT.len())).await;
            let answer = caller.answer_to(method == "HEAD").await;
            let open = ["/", "/healthz", "/readyz", "/metrics"].contains(&&**path) || path.starts_with("/health/");
            let expected: &[u16] = if open { &[200, 405] } else { &[401, 404, 405] };
            assert!(expected.contains(&answer.status), "{method} {path}: {}", answer.status);
        }
    }
    assert_eq!(edge.provider.count(), 0);
}
